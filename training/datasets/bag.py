# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Recordings written as shards that training reads: `g2vlm dataset bag`.

Which frames says `bag_frames.py`; here they are read, straightened, made smaller and written. What
cannot be read is left out and counted with its reason. The folder is there whole or not at all.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings import NS
from g2vlm_map.scale.sources.depth_ratio import in_millimetres
from g2vlm_model.interface.progress import Progress, progress
from g2vlm_model.interface.whole_files import only_writer, whole_folder
from g2vlm_model.interface.words import plain

from ..synthetic import Split
from .bag_frames import LEAST, BagPlan, Run, planned
from .base import Clip, DataError
from .check import SequenceCheck, check_sequence
from .folder import Frame
from .recording import Recorded, open_recorded
from .shards import write_shard
from .views import resample

__all__ = ["Taken", "write_bags"]

Floats = NDArray[np.float64]

_CLIPS = 8  # in a shard
_LOOKED_AT = 12  # depth maps whose unit is judged
_CHECKED = 6  # clips of a recording
_NEAREST_M = 0.05  # median depth below: not metres
_UP_TO_SCALE = (
    "poses are up to scale and depth is in metres, so they do not belong together; choose one of "
    "them: --no-depth, or --poses none --unposed"
)


@dataclass
class Taken:
    """What was taken of one recording; filled as it is written.

    Args:
        recorded: The recording.
        runs: Its clips; those that cannot be read lose frames while they are written.
        left_out: Frames by reason.
        depth_share: Known depth of each frame that was written, as a share of its pixels.
        shown: Some pictures (H, W, 3) with the depth beside them.
        checks: Whether depth and poses belong together, clip by clip of a few.
    """

    recorded: Recorded
    runs: list[Run]
    left_out: Counter[str]
    depth_share: list[float] = field(default_factory=list)
    shown: list[tuple[NDArray[np.uint8], NDArray[np.float32]]] = field(default_factory=list)
    checks: list[SequenceCheck] = field(default_factory=list)

    def frames(self, split: Split) -> list[int]:
        """Indices of the frames of a split."""
        return [index for run in self.runs if run.split == split for index in run.frames]

    def content(self) -> dict[str, Any]:
        """Numbers for bag.json."""
        recorded, depth = self.recorded, np.array(self.depth_share)
        path = recorded.path_of_camera
        return {
            "path": str(recorded.path),
            "frames": len(recorded.stamps_ns),
            "train": len(self.frames("train")),
            "val": len(self.frames("val")),
            "clips": {
                name: sum(run.split == name and bool(run.frames) for run in self.runs)
                for name in ("train", "val")
            },
            "left_out": dict(self.left_out),
            "poses": "" if path is None else path.origin,
            "metric": path is None or path.metric,
            "depth": recorded.depth,
            "frames_with_depth": int((depth > 0).sum()),
            "depth_share": float(depth[depth > 0].mean()) if (depth > 0).any() else 0.0,
            "nearest_train_to_val_s": self._nearest_s(),
            "agreement": _mean([check.agreement for check in self.checks]),
            "notes": list(recorded.notes),
        }

    def _nearest_s(self) -> float | None:
        """Least time between a frame to train on and one to validate with."""
        stamps = self.recorded.stamps_ns
        train, val = stamps[self.frames("train")], stamps[self.frames("val")]
        if not len(train) or not len(val):
            return None
        return float(np.abs(train[:, None] - val).min() / NS)


def write_bags(
    paths: Sequence[Path],
    out: Path,
    plan: BagPlan,
    validation: Sequence[Path] = (),
    tell: Callable[[str], None] | None = None,
) -> list[Taken]:
    """Write recordings as the shards of a new folder, with a report.

    Args:
        paths: To train on, and by `val_share` to validate with.
        out: A folder that is empty or not there.
        plan: What is taken.
        validation: Recordings to validate with alone; then all of the others is to train on.
        tell: Told of each recording and shard; None prints it. How far it is is shown beside.

    Raises:
        DataError: A recording cannot be used; nothing is written.
        ValueError: The folder holds something, or a recording is given twice.
        OSError: It cannot be written, the disk is full, or somebody else writes there; nothing is
            left behind.
    """
    every = [*paths, *validation]
    twice = [str(path) for path, count in Counter(p.resolve() for p in every).items() if count > 1]
    if twice or not paths:
        raise ValueError(f"recordings are given twice: {twice}" if twice else "no recording given")
    out.mkdir(parents=True, exist_ok=True)
    with only_writer(out):
        if any(out.iterdir()):
            raise ValueError(f"{out} is not empty; give a folder that is, or a new one")
        with progress(len(every), "looking", "recordings") as shown:
            told = tell or (lambda line: shown.say(plain(line)))
            taken = []
            for number, path in enumerate(every):
                share = 1.0 if number >= len(paths) else 0.0 if validation else plan.val_share
                taken.append(_taken(path, plan, share, told))
                shown.advance()
            if not any(one.frames("train") for one in taken):
                raise DataError(f"no frame to train on is left: {[one.left_out for one in taken]}")
            _write(out, taken, plan, told, shown)
    return taken


def _write(
    out: Path, taken: list[Taken], plan: BagPlan, tell: Callable[[str], None], shown: Progress
) -> None:
    frames = sum(len(run.frames) for one in taken for run in one.runs)
    with whole_folder(out) as folder:
        shown.begin("writing", frames, "frames")
        for split in ("train", "val"):
            _write_split(folder, split, taken, plan, tell, shown)
        shown.stage("drawing the report")
        content = {"plan": dataclasses.asdict(plan), "recordings": [t.content() for t in taken]}
        text = json.dumps(content, indent=2, default=str) + "\n"
        (folder / "bag.json").write_text(text, encoding="utf-8")
        from .bag_report import write_report  # matplotlib takes a second to load

        write_report(folder / "report.html", content, taken)


def _taken(path: Path, plan: BagPlan, share: float, tell: Callable[[str], None]) -> Taken:
    """Which frames of a recording are taken."""
    recorded = open_recorded(path, plan.choice)
    track = recorded.path_of_camera
    tell(
        f"{path}: {len(recorded.stamps_ns)} frames; poses: {track.origin if track else 'none'}; "
        f"depth: {recorded.depth or 'none'}"
    )
    if recorded.depth and track is not None and not track.metric and track.source == "map":
        raise DataError(f"{path}: {_UP_TO_SCALE}")
    if recorded.depth:
        _check_unit(recorded)
    left_out: Counter[str] = Counter()
    runs = planned(recorded, plan, share, left_out)
    if not runs:
        raise DataError(f"{path}: no frame can be used: {_reasons(left_out)}")
    return Taken(recorded, runs, left_out)


def _write_split(
    folder: Path,
    split: Split,
    taken: Sequence[Taken],
    plan: BagPlan,
    tell: Callable[[str], None],
    shown: Progress,
) -> None:
    clips = _clips_of(split, taken, plan, shown)
    for number in itertools.count():
        first = next(clips, None)
        if first is None:
            return
        path = folder / f"{split}-{number:05d}.tar"
        write_shard(path, itertools.chain([first], itertools.islice(clips, _CLIPS - 1)))
        tell(f"{path.name}: {path.stat().st_size / 1e6:.0f} MB")


def _clips_of(
    split: Split, taken: Sequence[Taken], plan: BagPlan, shown: Progress
) -> Iterator[Clip]:
    for one in taken:
        for place, run in enumerate(one.runs):
            if run.split == split:
                clip, used = _clip(one, run, plan)
                shown.advance(len(run.frames))
                one.runs[place] = dataclasses.replace(run, frames=tuple(used))
                if clip is not None:
                    yield clip


def _clip(one: Taken, run: Run, plan: BagPlan) -> tuple[Clip | None, list[int]]:
    """Read the frames of a clip; those that cannot be read are left out and counted."""
    recorded, parts, used = one.recorded, list[Clip](), list[int]()
    track, posed = recorded.path_of_camera, run.posed
    for index, frame, lost in recorded.read(run.frames):
        if isinstance(frame, DataError):
            one.left_out[f"cannot be read: {frame}"[:200]] += 1
            continue
        if lost:
            one.left_out[f"(of depth alone) cannot be read: {lost}"[:200]] += 1
        part = _small(frame, recorded.poses[index], plan, recorded.name(index))
        known = float((part.depth > 0).mean())
        if not posed and known == 0:
            one.left_out["neither pose nor depth"] += 1
            continue
        one.depth_share.append(known)
        parts.append(part)
        used.append(index)
    if len(parts) < LEAST:
        one.left_out["alone in time"] += len(parts)
        return None, []
    half = parts[len(parts) // 2 :]
    shown = next((part for part in half if part.depth.any()), half[0])
    one.shown.append((shown.rgb[0], shown.depth[0]))
    clip = Clip(
        rgb=np.concatenate([part.rgb for part in parts]),
        depth=np.concatenate([part.depth for part in parts]),
        T_world_cam=np.concatenate([part.T_world_cam for part in parts]),
        K=np.concatenate([part.K for part in parts]),
        name=f"{recorded.path.name} from {recorded.name(used[0])}",
        metric=not posed or track is None or track.metric,
        posed=None if posed else np.zeros(len(parts), np.bool_),
        clean=plan.exact_depth,
    )
    if posed and len(one.checks) < _CHECKED:
        one.checks.append(check_sequence(_InMemory(clip)))
    return clip, used


@dataclass(frozen=True)
class _InMemory:
    """A clip as a `FrameSequence`."""

    clip: Clip

    @property
    def name(self) -> str:
        return self.clip.name

    @property
    def size_hw(self) -> tuple[int, int]:
        return self.clip.size_hw

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, frames: Sequence[int]) -> Clip:
        rows, clip = list(frames), self.clip
        return dataclasses.replace(
            clip,
            rgb=clip.rgb[rows],
            depth=clip.depth[rows],
            T_world_cam=clip.T_world_cam[rows],
            K=clip.K[rows],
        )


def _small(frame: Frame, pose: Floats | None, plan: BagPlan, name: str) -> Clip:
    """One frame, not wider than asked for."""
    size_hw = (frame.rgb.shape[0], frame.rgb.shape[1])
    depth = np.zeros(size_hw, np.float32) if frame.depth is None else frame.depth
    T_world_cam = np.eye(4) if pose is None else pose
    clip = Clip(frame.rgb[None], depth[None], T_world_cam[None], frame.K[None], name=name)
    if size_hw[1] <= plan.width:
        return clip
    whole_N4 = np.array([[0.0, 0.0, size_hw[1], size_hw[0]]])
    return resample(clip, whole_N4, (round(size_hw[0] * plan.width / size_hw[1]), plan.width))


def _check_unit(recorded: Recorded) -> None:
    """Refuse depth that is not in the unit that its encoding says."""
    places = np.unique(np.linspace(0, len(recorded.stamps_ns) - 1, _LOOKED_AT).astype(int))
    read = [frame for _, frame, _ in recorded.read(places.tolist())]
    depths = [frame.depth for frame in read if not isinstance(frame, DataError)]
    every = np.concatenate(
        [np.zeros(0), *(depth[depth > 0] for depth in depths if depth is not None)]
    )
    if not len(every):
        return
    middle, why = float(np.median(every)), in_millimetres(every)
    if middle < _NEAREST_M:
        why = f"its median is {1000 * middle:.1f} mm: these are metres where millimetres are said"
    if why:
        raise DataError(
            f"{recorded.path}: depth of {recorded.depth} is in a wrong unit: {why}. 16UC1 is read "
            "as millimetres and 32FC1 as metres (REP 118); record it so, or give --no-depth"
        )


def _mean(values: Iterable[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


def _reasons(left_out: Counter[str]) -> str:
    return "; ".join(f"{count} {reason}" for reason, count in left_out.most_common()) or "none"
