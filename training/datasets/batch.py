# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows of clips: what one training step sees.

Shape letters: B clips, N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.preprocess import resize_geometric, scaled_intrinsics

from .augment import AugmentOptions, augment
from .base import Clip, DataError, FrameSequence, Refusals, SceneInfo
from .views import (
    ViewOptions,
    draw_boxes,
    draw_frames,
    draw_size,
    mirror,
    resample,
    round_lens,
)

__all__ = [
    "ClipSource",
    "WindowBatch",
    "WindowPlan",
    "augmented",
    "batch_of",
    "draw_batch",
    "draw_seeds",
    "local_points",
    "pixels_of",
    "plan_windows",
    "read_window",
    "squeezed",
    "world_points",
]

_LOG = logging.getLogger(__name__)
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)
_TRIES = 5
_SEEDS = 2**32


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
        posed_BN: bool, frames whose pose is known; of the others it says nothing.
        clean_B: bool, windows whose depth is clean enough for normals.
        scenes: What is known about each place; None where nothing is.
        prepared: What the stage made of each window ahead of its step (`stage.Preparer`).
        seeds: Of each window's augmentation, while that has not been done.
    """

    rgb_BN3HW: Tensor
    depth_BNHW: Tensor
    object_id_BNHW: Tensor
    T_world_cam_BN44: Tensor
    K_BN33: Tensor
    invalid_BNHW: Tensor
    posed_BN: Tensor
    clean_B: Tensor
    scenes: tuple[SceneInfo | None, ...]
    prepared: tuple[Any, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.rgb_BN3HW.shape[-2], self.rgb_BN3HW.shape[-1]

    @property
    def placed_depth_BNHW(self) -> Tensor:
        """Depth of the frames that have a pose: what can be followed into other frames."""
        return torch.where(self.posed_BN[..., None, None], self.depth_BNHW, 0.0)

    def window(self, index: int) -> WindowBatch:
        """One of the windows as a batch."""
        mine = slice(index, index + 1)
        parts = {name: value[mine] for name, value in vars(self).items()}
        return dataclasses.replace(self, **parts)

    def without(self, dropped_B: Tensor) -> WindowBatch:
        """The batch with nothing known of some windows, so that they teach nothing."""
        pixels = dropped_B[:, None, None, None]
        return dataclasses.replace(
            self,
            depth_BNHW=self.depth_BNHW.masked_fill(pixels, 0),
            invalid_BNHW=self.invalid_BNHW & ~pixels,
            posed_BN=self.posed_BN & ~dropped_B[:, None],
            clean_B=self.clean_B & ~dropped_B,
        )

    def to(self, device: torch.device) -> WindowBatch:
        """The same with its tensors on a device."""
        moved: dict[str, Any] = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if isinstance(value, Tensor)
        }
        return dataclasses.replace(self, **moved)


class ClipSource(Protocol):
    """Where windows are drawn from; counts the windows that were refused."""

    @property
    def refusals(self) -> Refusals:
        """Windows that could not be read, or had too little known depth."""

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> Sequence[FrameSequence]:
        """Draw so many sequences that have that many frames, some of them twice if need be.

        Raises:
            ValueError: No sequence has as many.
        """


@dataclass(frozen=True)
class WindowPlan:
    """What the windows of a step have in common; each is read on its own, by whichever process.

    Args:
        sequences: Of the B windows.
        frames: N.
        size_hw: Of the pictures; None where it is a matter of the sequences.
    """

    sequences: tuple[FrameSequence, ...]
    frames: int
    size_hw: tuple[int, int] | None


def plan_windows(
    source: ClipSource, clips: int, frames: int, generator: torch.Generator, views: ViewOptions
) -> WindowPlan:
    """Draw the sequences of a batch; nothing is read yet.

    Raises:
        ValueError: More frames than the sequences have.
    """
    size = draw_size(views, generator)
    return WindowPlan(tuple(source.draw(clips, frames, generator)), frames, size)


def read_window(
    plan: WindowPlan,
    index: int,
    source: ClipSource,
    generator: torch.Generator,
    views: ViewOptions,
) -> Clip:
    """Read a window of a plan.

    One that cannot be read or knows too little depth is read again with other frames of its
    sequence, then from the other sequences of the plan, then from others of the source; each
    refusal is counted in `source.refusals`.

    Args:
        plan: From `plan_windows`.
        index: Which window.
        source: That of the plan.
        generator: Source of every random choice of this window.
        views: Those of the plan.

    Raises:
        DataError: No window can be read.
    """
    known, before = plan.sequences, source.refusals.count
    drawn = (source.draw(1, plan.frames, generator) for _ in range(_TRIES))
    others = (one for some in drawn for one in some if _are_alike(one, known[0], views))
    for sequence in itertools.chain(known[index:], known[:index], others):
        window = _window(sequence, plan.frames, plan.size_hw, views, generator, source.refusals)
        if window is not None:
            return window
    refused = source.refusals.count - before
    raise DataError(f"{refused} {source.refusals.what} were refused, none read")


def _are_alike(one: FrameSequence, other: FrameSequence, views: ViewOptions) -> bool:
    """Whether windows of both can be in one batch."""
    try:
        return views.size_of(one.size_hw) == views.size_of(other.size_hw)
    except DataError:  # the size is that of a picture, which cannot be read
        return False


def draw_batch(
    source: ClipSource,
    clips: int,
    frames: int,
    generator: torch.Generator,
    augmentation: AugmentOptions | None,
    views: ViewOptions | None = None,
) -> WindowBatch:
    """Draw windows; the same data and state of the generator give the same batch.

    Args:
        source: Where from.
        clips: B.
        frames: N, at most the frames of a sequence; their order is random.
        generator: Source of every random choice.
        augmentation: None leaves the pictures as they are.
        views: Which frames, at what size; by default pictures keep their size.

    Raises:
        ValueError: More frames than the sequences have.
        DataError: See `read_window`.
    """
    views = ViewOptions() if views is None else views
    plan = plan_windows(source, clips, frames, generator, views)
    windows = range(len(plan.sequences))
    batch = batch_of([read_window(plan, index, source, generator, views) for index in windows])
    if augmentation is None:
        return batch
    seeds = draw_seeds(len(windows), generator)
    return augmented(dataclasses.replace(batch, seeds=tuple(seeds)), augmentation)


def draw_seeds(count: int, generator: torch.Generator) -> list[int]:
    """The seed of each of so many windows."""
    seeds: list[int] = torch.randint(_SEEDS, (count,), generator=generator).tolist()
    return seeds


def augmented(batch: WindowBatch, options: AugmentOptions) -> WindowBatch:
    """The batch as worse cameras would have taken it, by its `seeds`; where it is, CPU or GPU."""
    truth = (batch.depth_BNHW, batch.K_BN33)
    rgb_BN3HW = augment(batch.rgb_BN3HW, options, batch.seeds, *truth)
    return dataclasses.replace(batch, rgb_BN3HW=rgb_BN3HW, seeds=())


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
        known = _least_known(clip)
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
        posed_BN=torch.from_numpy(np.stack([_posed(clip) for clip in clips])),
        clean_B=torch.tensor([clip.clean for clip in clips]),
        scenes=tuple(clip.scene for clip in clips),
    )


def _posed(clip: Clip) -> NDArray[np.bool_]:
    return np.ones(len(clip), np.bool_) if clip.posed is None else clip.posed


def squeezed(batch: WindowBatch, views: ViewOptions) -> WindowBatch:
    """Whole pictures at the geometric encoder's size, made as the runtime makes them.

    Depth and ids are those of the nearest pixel; what the stage prepared is told of the new size.

    Args:
        batch: At the pictures' own size, on the CPU.
        views: With a width.
    """
    from_hw, to_hw = batch.grid, views.squeezed(batch.grid)
    if from_hw == to_hw:
        return batch
    pictures = (batch.rgb_BN3HW * 255).round().byte().permute(0, 1, 3, 4, 2).numpy()
    rgb = np.stack([[resize_geometric(one, to_hw) for one in window] for window in pictures])
    row, column = (
        torch.from_numpy(((np.arange(new) + 0.5) * old / new).astype(np.int64))
        for new, old in zip(to_hw, from_hw, strict=True)
    )
    nearest = {
        name: getattr(batch, name)[..., row[:, None], column]
        for name in ("depth_BNHW", "object_id_BNHW", "invalid_BNHW")
    }
    K = [[scaled_intrinsics(one, from_hw, to_hw) for one in window] for window in batch.K_BN33]
    return dataclasses.replace(
        batch,
        **nearest,
        rgb_BN3HW=torch.from_numpy(rgb).permute(0, 1, 4, 2, 3).float() / 255,
        K_BN33=torch.from_numpy(np.array(K)).float(),
        prepared=tuple(one.squeezed(from_hw, to_hw) for one in batch.prepared),
    )


def _least_known(clip: Clip) -> float:
    """Least share of known depth of a frame, of those that have nothing else to teach.

    A frame with a pose and no depth at all teaches its camera alone.
    """
    known = (clip.depth > 0).mean(axis=(1, 2))
    counted = known[(known > 0) | ~_posed(clip) | clip.complete]
    return float(counted.min()) if len(counted) else 1.0


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
