# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Speed of the data path: frames per second of a loading worker beside what a step computes.

    python -m benchmarks.data --threads 1                      # g2vlm_2b_1b on 8 devices
    python -m benchmarks.data --config nano_rooms --devices 1
    python -m benchmarks.data --threads 1 --workers 0          # where others want the cores too

Windows of rooms at 640x480 are read in this process, where CPU seconds count, to which others
that want the cores add nothing, and by 1 and by 2 workers in turns, where the clock does; from
shards and from a folder of JPEG pictures and PNG depth (the ScanNet layout), cropped and resized as
the config says; augmentation is the device's. The seconds behind a step are those of all its frames
on `--cores` cores, if frames/s grow with the workers as measured here; the seconds of computing are
the operations of the dry run over `--share` of `--tflops` a device.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from g2vlm_training.config import TrainConfig
from g2vlm_training.config_file import load_config
from g2vlm_training.datasets.augment import AugmentOptions
from g2vlm_training.datasets.base import Clip
from g2vlm_training.datasets.loading import Batches
from g2vlm_training.datasets.mixture import Mixture, SourceOptions
from g2vlm_training.datasets.shards import write_shard
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.dry_run import step_cost
from g2vlm_training.synthetic import (
    Shot,
    camera_path,
    intrinsics,
    make_room,
    render_shots,
    scene_seed,
)

from .common import add_common_arguments, print_table, set_threads, write_report

SIZE_HW = (480, 640)
FRAMES = 24
CLIPS = 3
WINDOW = 8  # frames
WARM_UP = 4  # steps
NONE = AugmentOptions(**{field.name: 0.0 for field in dataclasses.fields(AugmentOptions)})


def main() -> int:
    """Time loading; print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_common_arguments(parser, "data")
    parser.add_argument("--config", default="g2vlm_2b_1b")
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--cores", type=int, default=16, help="of the machine that trains")
    parser.add_argument("--tflops", type=float, default=989.0, help="peak of a device")
    parser.add_argument("--share", type=float, default=0.4, help="of the peak that is reached")
    parser.add_argument("--seconds", type=float, default=12.0, help="measured each time")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", choices=(0, 1, 2), default=(0, 1, 2))
    arguments = parser.parse_args()
    device = set_threads(arguments)
    config = load_config(arguments.config)
    with tempfile.TemporaryDirectory() as folder:
        sources = write_sources(Path(folder))
        rates = measured(config, sources, Path(folder), arguments)
    frames, compute_s = step_of(config, arguments)
    rows = [["source", "workers", "frames/s", "for each", "seconds behind a step"]]
    results: dict[str, Any] = {"frames_a_step": frames, "compute_s": compute_s, "rates": rates}
    for source in sources:
        for workers, rate in rates[source].items():
            each = rate / max(1, int(workers))
            loading = frames / (each * arguments.cores)
            what = workers if workers != "0" else "none, CPU s"
            rows.append([source, what, f"{rate:.0f}", f"{each:.0f}", f"{loading:.1f}"])
    print_table(rows)
    print(
        f"a step of {frames} frames computes for {compute_s:.1f} s on {arguments.devices} devices"
    )
    write_report(arguments.out, "data", device, results)
    return 0


def write_sources(folder: Path) -> dict[str, SourceOptions]:
    """The same rooms as shards and as a folder of files, by name."""
    K = intrinsics(70.0, SIZE_HW)
    for index in range(CLIPS):
        room = make_room(scene_seed("test", index))
        shot = Shot(room, camera_path(room, 0, FRAMES, "hand"), K)
        (taken,) = render_shots([shot], SIZE_HW)
        clip = Clip(
            rgb=taken.rgb, depth=taken.depth, T_world_cam=taken.T_world_cam,
            K=np.tile(K, (FRAMES, 1, 1)), name=f"room {index}", complete=True,
        )  # fmt: skip
        write_shard(folder / "shards" / f"train-{index:05d}.tar", [clip])
        write_scannet(folder / "files" / f"room{index}", clip)
    return {
        "shards": SourceOptions(root="shards"),
        "files": SourceOptions("scannet", "files"),
    }


def write_scannet(folder: Path, clip: Clip) -> None:
    """A clip as JPEG pictures, PNG depth in millimetres, and poses."""
    for name in ("color", "depth", "pose", "intrinsic"):
        (folder / name).mkdir(parents=True)
    K = np.eye(4)
    K[:3, :3] = clip.K[0]
    for which in ("color", "depth"):
        np.savetxt(folder / "intrinsic" / f"intrinsic_{which}.txt", K)
    for number, (rgb, depth) in enumerate(zip(clip.rgb, clip.depth, strict=True)):
        cv2.imwrite(str(folder / "color" / f"{number}.jpg"), rgb[..., ::-1])
        millimetres = (1000 * depth).clip(0, 65535).astype(np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{number}.png"), millimetres)
        np.savetxt(folder / "pose" / f"{number}.txt", clip.T_world_cam[number])


def measured(
    config: TrainConfig,
    sources: dict[str, SourceOptions],
    folder: Path,
    arguments: argparse.Namespace,
) -> dict[str, dict[str, float]]:
    """Median frames/s by source and number of workers, in turns; of 0 workers by CPU seconds."""
    # Augmentation is the device's.
    windows = ((CLIPS, WINDOW),)
    plain = dataclasses.replace(config, windows=windows, window_shares=(), augment=NONE)
    rates: dict[str, dict[str, list[float]]] = {
        name: {str(workers): [] for workers in arguments.workers} for name in sources
    }
    for _ in range(arguments.rounds):
        for name, source in sources.items():
            for workers in arguments.workers:
                given = dataclasses.replace(plain, sources=(source,), workers=workers)
                pool = Mixture(given.sources, folder, given.views)
                batches = Batches(given, pool, Processes())
                clock = time.monotonic if workers else time.process_time
                rates[name][str(workers)].append(frames_per_s(batches, arguments.seconds, clock))
    return {
        name: {workers: float(np.median(values)) for workers, values in by.items()}
        for name, by in rates.items()
    }


def frames_per_s(batches: Batches, seconds: float, clock: Callable[[], float]) -> float:
    """Read steps for some time of a clock, after those that the workers held ready."""
    for step in range(WARM_UP):
        batches.of_step(step)
    frames, started = 0, clock()
    step = WARM_UP
    while clock() - started < seconds:
        for part in batches.of_step(step):
            frames += part.depth_BNHW.shape[0] * part.depth_BNHW.shape[1]
        step += 1
    return frames / (clock() - started)


def step_of(config: TrainConfig, arguments: argparse.Namespace) -> tuple[int, float]:
    """Frames of a step, and seconds of its operations on all devices."""
    clips, frames = config.windows[0]
    cost = step_cost(config, clips // arguments.devices, frames)
    return clips * frames, cost.flops / (arguments.share * arguments.tflops * 1e12)


if __name__ == "__main__":
    raise SystemExit(main())
