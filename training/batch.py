# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows of clips: what one training step sees.

Shape letters: B clips, N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .augment import AugmentOptions, augment
from .datasets.base import Clip, DataError, FrameSequence, Refusals, SceneInfo
from .datasets.shards import Shard, ShardClip, shard_paths
from .datasets.views import (
    ViewOptions,
    draw_boxes,
    draw_frames,
    draw_size,
    mirror,
    resample,
    round_lens,
)
from .synthetic import Split

__all__ = [
    "ClipPool",
    "ClipSource",
    "WindowBatch",
    "batch_of",
    "draw_batch",
    "local_points",
    "pixels_of",
    "world_points",
]

_LOG = logging.getLogger(__name__)
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
_TRIES = 5


@dataclass(frozen=True)
class WindowBatch:
    """B windows of N frames, random order of the frames.

    Args:
        rgb_BN3HW: float in [0, 1], augmented.
        depth_BNHW: float32 z-depth, 0 where unknown; metres where the clip is metric.
        object_id_BNHW: uint8, 0 where nothing is named.
        T_world_cam_BN44: float32 camera-to-world.
        K_BN33: float32 intrinsics in pixels.
        invalid_BNHW: bool, pixels known to show nothing that has a depth: sky, the rim of a lens.
        scenes: What is known about each place; None where nothing is.
    """

    rgb_BN3HW: Tensor
    depth_BNHW: Tensor
    object_id_BNHW: Tensor
    T_world_cam_BN44: Tensor
    K_BN33: Tensor
    invalid_BNHW: Tensor
    scenes: tuple[SceneInfo | None, ...]

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.rgb_BN3HW.shape[-2], self.rgb_BN3HW.shape[-1]


class ClipSource(Protocol):
    """Where windows are drawn from; counts the windows that were refused."""

    @property
    def refusals(self) -> Refusals:
        """Windows that could not be read, or had too little known depth."""

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> Sequence[FrameSequence]:
        """Draw up to so many sequences that have that many frames.

        Raises:
            ValueError: No sequence has as many.
        """


class ClipPool:
    """The clips of a folder's shards; new shards are found by `refresh`.

    Shards that cannot be read are refused with a warning and listed in `refused`.

    Args:
        folder: Of the shards.
        split: Whose.

    Raises:
        FileNotFoundError: There is no shard.
        DataError: None of the shards can be read.
    """

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder, self.split = folder, split
        self.refused: dict[Path, str] = {}
        self.refusals = Refusals(f"windows of {folder}")
        self._shards: dict[Path, Shard] = {}
        self._groups: list[list[ShardClip]] = []
        self.refresh()

    @property
    def paths(self) -> list[Path]:
        """Files of the shards in use, in order."""
        return list(self._shards)

    @property
    def shards(self) -> list[Shard]:
        """The shards in use, in order."""
        return list(self._shards.values())

    @property
    def clips(self) -> list[ShardClip]:
        """All clips, in the order of the shards."""
        return [clip for shard in self.shards for clip in shard.clips]

    def refresh(self) -> int:
        """Look for new shards; return how many shards are in use."""
        shards = {}
        for path in shard_paths(self.folder, self.split):
            if path in self.refused:
                continue
            try:
                shards[path] = self._shards.get(path) or Shard(path)
            except DataError as error:
                self.refused[path] = str(error)
                _LOG.warning("left out shard %d: %s", len(self.refused), error)
        if not shards:
            raise DataError(f"none of {len(self.refused)} shards of {self.folder} can be read")
        self._use(shards)
        return len(shards)

    def pin(self, names: Sequence[str]) -> None:
        """Keep to the shards with these names, e.g. those of a run that is resumed.

        Raises:
            ValueError: None is named, or one of them is not there.
        """
        wanted = set(names)
        if not wanted:
            raise ValueError(f"no shard of {self.folder} is named, expected at least one")
        missing = sorted(wanted - {path.name for path in self._shards})
        if missing:
            raise ValueError(f"{self.folder} lacks the shards {missing[:3]} of the resumed run")
        self._use({path: shard for path, shard in self._shards.items() if path.name in wanted})

    def _use(self, shards: dict[Path, Shard]) -> None:
        self._shards = shards
        groups: dict[tuple[int, ...], list[ShardClip]] = {}
        for clip in self.clips:
            groups.setdefault((*clip.size_hw, len(clip)), []).append(clip)
        self._groups = [groups[key] for key in sorted(groups)]

    def draw(
        self,
        clips: int,
        frames: int,
        generator: torch.Generator,
        fits: Callable[[tuple[int, int]], bool] | None = None,
    ) -> list[ShardClip]:
        """Clips of one size and length, without repetition; see `ClipSource`.

        Args:
            clips, frames, generator: See `ClipSource`.
            fits: Whether an (H, W) will do; None: any. Where none does, the list is empty.
        """
        groups = [group for group in self._groups if len(group[0]) >= frames]
        if not groups:
            longest = max(len(group[0]) for group in self._groups)
            raise ValueError(
                f"windows of {frames} frames, but the clips of {self.folder} have {longest}"
            )
        if fits is not None:
            groups = [group for group in groups if fits(group[0].size_hw)]
            if not groups:
                return []
        sizes = torch.tensor([len(group) for group in groups], dtype=torch.float64)
        group = groups[int(torch.multinomial(sizes, 1, generator=generator))]
        chosen = torch.randperm(len(group), generator=generator)[:clips]
        return [group[index] for index in chosen.tolist()]


def draw_batch(
    source: ClipSource,
    clips: int,
    frames: int,
    generator: torch.Generator,
    augmentation: AugmentOptions | None,
    views: ViewOptions | None = None,
) -> WindowBatch:
    """Draw windows; the same data and state of the generator give the same batch.

    A window that cannot be read or knows too little depth is drawn again with other frames of
    its sequence, and replaced by another window of the batch's sequences after some tries; each
    refusal is counted in `source.refusals`.

    Args:
        source: Where from.
        clips: B; fewer where the source has fewer of one size.
        frames: N, at most the frames of a sequence; their order is random.
        generator: Source of every random choice.
        augmentation: None leaves the pictures as they are.
        views: Which frames, at what size; by default pictures keep their size.

    Raises:
        ValueError: More frames than the sequences have.
        DataError: No window can be read.
    """
    views = ViewOptions() if views is None else views
    size = draw_size(views, generator)
    chosen: list[Clip] = []
    good: list[FrameSequence] = []
    for _ in range(_TRIES):
        drawn = source.draw(clips, frames, generator)
        for sequence in drawn:
            window = _window(sequence, frames, size, views, generator, source.refusals)
            if window is not None:
                chosen.append(window)
                good.append(sequence)
        if chosen:
            break
    else:
        raise DataError(f"{source.refusals.count} {source.refusals.what} were refused, none read")
    for sequence in itertools.islice(itertools.cycle(good), len(drawn) - len(good)):
        window = _window(sequence, frames, size, views, generator, source.refusals)
        if window is not None:
            chosen.append(window)
    batch = batch_of(chosen)
    if augmentation is None:
        return batch
    rgb = augment(batch.rgb_BN3HW, augmentation, generator, batch.depth_BNHW, batch.K_BN33)
    return dataclasses.replace(batch, rgb_BN3HW=rgb)


def _window(
    sequence: FrameSequence,
    frames: int,
    size_hw: tuple[int, int] | None,
    views: ViewOptions,
    generator: torch.Generator,
    refusals: Refusals,
) -> Clip | None:
    """One window of a sequence, or None after some tries."""
    for _ in range(_TRIES):
        order = draw_frames(len(sequence), frames, views, generator)
        try:
            clip = sequence.read(order)
        except DataError as error:
            refusals.add(error)
            continue
        known = float((clip.depth > 0).mean(axis=(1, 2)).min())
        if known < views.min_known:
            refusals.add(f"{clip.name}: {known:.1%} of a frame's depth is known")
            continue
        wanted = views.size_of(clip.size_hw) if size_hw is None else size_hw
        if size_hw is not None or wanted != clip.size_hw:
            clip = resample(clip, draw_boxes(clip, wanted, views.zoom, generator), wanted)
        if views.flip > 0 and float(torch.rand((), generator=generator)) < views.flip:
            clip = mirror(clip)
        if views.rim > 0 and clip.complete:
            rim = float(torch.rand((), generator=generator)) < views.rim
            clip = round_lens(clip, generator) if rim else clip
        return clip
    return None


def batch_of(clips: Sequence[Clip]) -> WindowBatch:
    """Stack clips of equal size and length.

    Raises:
        DataError: Their sizes or lengths differ.
    """
    shapes = {clip.rgb.shape[:3] for clip in clips}
    if len(shapes) != 1:
        raise DataError(f"clips of a batch have unequal (frames, height, width): {sorted(shapes)}")
    rgb = torch.from_numpy(np.stack([clip.rgb for clip in clips]))
    return WindowBatch(
        rgb_BN3HW=rgb.permute(0, 1, 4, 2, 3).float() / 255,
        depth_BNHW=torch.from_numpy(np.stack([clip.depth for clip in clips])),
        object_id_BNHW=torch.from_numpy(np.stack([_object_id(clip) for clip in clips])),
        T_world_cam_BN44=torch.from_numpy(np.stack([clip.T_world_cam for clip in clips])).float(),
        K_BN33=torch.from_numpy(np.stack([clip.K for clip in clips])).float(),
        invalid_BNHW=torch.from_numpy(
            np.stack([(clip.depth == 0) & clip.complete for clip in clips])
        ),
        scenes=tuple(clip.scene for clip in clips),
    )


def _object_id(clip: Clip) -> NDArray[np.uint8]:
    return np.zeros(clip.depth.shape, np.uint8) if clip.object_id is None else clip.object_id


def pixels_of(rgb_BN3HW: Tensor) -> Tensor:
    """Normalise [0, 1] pictures with the ImageNet mean and deviation."""
    mean = rgb_BN3HW.new_tensor(MEAN)[:, None, None]
    return (rgb_BN3HW - mean) / rgb_BN3HW.new_tensor(DEVIATION)[:, None, None]


def world_points(depth_BNHW: Tensor, T_world_cam_BN44: Tensor, K_BN33: Tensor) -> Tensor:
    """(B, N, H, W, 3) world points of z-depth maps."""
    R, t = T_world_cam_BN44[..., :3, :3], T_world_cam_BN44[..., :3, 3]
    local = local_points(depth_BNHW, K_BN33)
    world: Tensor = local @ R.mT[:, :, None] + t[:, :, None, None]
    return world


def local_points(depth_BNHW: Tensor, K_BN33: Tensor) -> Tensor:
    """(B, N, H, W, 3) points of z-depth maps in the axes of their cameras."""
    height, width = depth_BNHW.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack((u, v, torch.ones_like(u)), dim=-1).to(depth_BNHW)
    rays = pixel.flatten(0, 1) @ torch.linalg.inv(K_BN33).mT
    points: Tensor = rays.unflatten(2, (height, width)) * depth_BNHW[..., None]
    return points
