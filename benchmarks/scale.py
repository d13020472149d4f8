# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Is the scale as good as its sigma says? Hundreds of drives, sensors by seeds.

    python -m benchmarks.scale record FOLDER --split val --drives 8       # 18 s of CPU a drive
    python -m benchmarks.scale record FOLDER --split test --drives 20
    python -m benchmarks.scale record REAL --of ../shared/data/hololens
    python -m benchmarks.scale score FOLDER --recording REAL/hololens.npz

`record` drives a robot through synthetic rooms and keeps what the real pipeline (nano, real
two-view geometry) made of it, one file a drive; what is there already is left alone. `score` runs
simulated sensors over the drives of a split in seconds: wheels change the map, so the graph is
solved anew with theirs (`scale_replay.py`). Everything that was chosen was chosen on `val`.
`--modelled` adds drives out of a model whose parameters are measured on those of `val`
(`scale_model.py`), `--recording` real frames that `record --of` has kept, whose sensors are
simulated from their truth. `focal` asks whether a K that is wrong by a tenth is found.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from g2vlm_demo.drives import Drive, DriveSpec, make_drive

from g2vlm_map.options import PipelineOptions
from g2vlm_map.recordings import Recording, open_recording
from g2vlm_model.runtimes import load_runtime

from .common import add_common_arguments, print_table, set_threads, write_report
from .scale_focal import FOCAL_HEADER, focal_row
from .scale_history import History, Seen, record
from .scale_model import MapErrors, measured, modelled
from .scale_runs import Stretch, drive
from .scale_sensors import MIXTURES
from .scale_table import HEADER, Row, row_of

_SCENES = ("room", "hall")
_RATE_HZ = 5.0
_SIZE_HW = (192, 256)
_WEAK = {"lidar row": ("scan",)}
_OUTLIERS = 0.15


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record")
    recording.add_argument("folder", type=Path)
    recording.add_argument("--split", choices=("val", "test"), default="test")
    recording.add_argument("--drives", type=int, default=4)
    recording.add_argument("--first", type=int, default=40, help="index of the first scene")
    recording.add_argument("--frames", type=int, default=90)
    recording.add_argument("--of", type=Path, nargs="*", default=[], help="recordings instead")
    recording.add_argument("--stride", type=int, default=1, help="of their frames")
    recording.add_argument("--focal", type=float, default=1.0, help="K that is told over the true")
    scoring = commands.add_parser("score")
    scoring.add_argument("folder", type=Path)
    scoring.add_argument("--split", choices=("val", "test"), default="test")
    scoring.add_argument("--modelled", type=int, default=0, help="drives out of the model")
    scoring.add_argument("--seeds", type=int, default=3, help="of the sensors, each recorded drive")
    scoring.add_argument("--recording", type=Path, nargs="*", default=[], help="kept by `record`")
    checking = commands.add_parser("focal")
    checking.add_argument("folder", type=Path)
    checking.add_argument("--split", choices=("val", "test"), default="test")
    checking.add_argument("--seeds", type=int, default=3, help="of the wheels, each drive")
    for command in (recording, scoring, checking):
        add_common_arguments(command, "scale")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    if arguments.command == "record":
        _record(arguments, device)
        return
    if arguments.command == "focal":
        _focal(arguments, device)
        return
    rows = _score(arguments)
    print_table([list(HEADER), *(row.cells() for row in rows)])
    write_report(arguments.out, "scale", device, {"rows": [asdict(row) for row in rows]})


def _record(arguments: argparse.Namespace, device: torch.device) -> None:
    cv2.setNumThreads(1)
    runtime = load_runtime("torch", model="nano", device=str(device), precision="fp32")
    for path in arguments.of:
        source = open_recording(path)
        calibration = source.info.calibration
        if calibration is None:
            raise SystemExit(f"{path} has no K, which the pipeline is told here")
        history = record(runtime, _read(source, arguments.stride), calibration.K, PipelineOptions())
        history.save(arguments.folder / f"{path.name}.npz")
        print(f"{path.name}: {len(history.stamp_N)} keyframes")
    if arguments.of:
        return
    for number in range(arguments.drives):
        scene, index = _SCENES[number % len(_SCENES)], arguments.first + number
        path = arguments.folder / f"{arguments.split}_{scene}_{index}.npz"
        if path.exists():
            continue
        made = make_drive(_spec(scene, index, arguments.split, arguments.frames), keep=False)
        K_33 = made.K.copy()
        K_33[[0, 1], [0, 1]] *= arguments.focal
        history = record(runtime, _seen(made), K_33, PipelineOptions())
        history.save(path)
        print(f"{path.name}: {len(history.stamp_N)} keyframes of {len(made.stamp_N)} frames")


def _spec(scene: str, index: int, split: Literal["val", "test"], frames: int) -> DriveSpec:
    seconds = (frames - 1) / _RATE_HZ
    return DriveSpec(
        scene, index, split, rate_hz=_RATE_HZ, size_hw=_SIZE_HW, supersample=1, seconds=seconds
    )


def _seen(made: Drive) -> Iterator[Seen]:
    for frame in made.frames():
        yield Seen(frame.stamp_ns, frame.rgb, frame.depth, frame.T_world_cam)


def _focal(arguments: argparse.Namespace, device: torch.device) -> None:
    rows = [
        focal_row(_kept(arguments.folder, arguments.split), told, arguments.seeds)
        for told in (0.9, 1.0, 1.1)
    ]
    print_table([list(FOCAL_HEADER), *(row.cells() for row in rows)])
    write_report(arguments.out, "scale_focal", device, {"rows": [asdict(row) for row in rows]})


def _read(source: Recording, stride: int) -> Iterator[Seen]:
    """Frames of a recording that have a true pose and a true depth."""
    poses = source.true_poses()
    if poses is None:
        raise SystemExit(f"{source.info.path} has no true poses to measure against")
    kept = source.info.stamps_ns[::stride]
    depths = dict(source.true_depths(kept))
    for frame in source.frames(range(0, len(source.info.stamps_ns), stride)):
        row = int(np.abs(poses.stamps_ns - frame.stamp_ns).argmin())
        if abs(int(poses.stamps_ns[row]) - frame.stamp_ns) > poses.tolerance_ns:
            continue
        if frame.stamp_ns in depths:
            T_world_cam = poses.T_world_cam_M44[row]
            yield Seen(frame.stamp_ns, frame.rgb(), depths[frame.stamp_ns], T_world_cam)


def _score(arguments: argparse.Namespace) -> list[Row]:
    cv2.setNumThreads(1)
    drives = _kept(arguments.folder, arguments.split)
    errors = []
    if arguments.modelled:
        errors = [
            item for _, history in _kept(arguments.folder, "val") for item in measured(history)
        ]
    rows = []
    for outliers in (0.0, _OUTLIERS):
        for name, sources in {**MIXTURES, **_WEAK}.items():
            said = f"{name}, {outliers:.0%} outliers" if outliers else name
            rows.append(row_of(said, _run(drives, sources, outliers, arguments.seeds)))
            if errors:
                made = _modelled(errors, arguments.modelled)
                rows.append(row_of(f"model: {said}", _run(made, sources, outliers, 1)))
    for path in arguments.recording:
        for name, sources in MIXTURES.items():
            stretches = _run([(path.stem, History.load(path))], sources, 0.0, arguments.seeds)
            rows.append(row_of(f"{path.stem}: {name}", stretches))
    return [row for row in rows if row.stretches]


def _kept(folder: Path, split: str) -> list[tuple[str, History]]:
    found = sorted(folder.glob(f"{split}_*.npz"))
    return [(path.stem, History.load(path)) for path in found if path.suffixes == [".npz"]]


def _modelled(errors: list[MapErrors], drives: int) -> Iterator[tuple[str, History]]:
    for seed in range(drives):
        yield f"model{seed}", modelled(errors, 1_000_000 + seed)


def _run(
    histories: Iterable[tuple[str, History]], sources: tuple[str, ...], outliers: float, seeds: int
) -> list[Stretch]:
    return [
        stretch
        for number, (name, history) in enumerate(histories)
        for seed in range(seeds)
        for stretch in drive(name, history, sources, 1000 * number + seed, outliers)
    ]


if __name__ == "__main__":
    np.seterr(all="ignore")
    main()
