# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which frames of a sequence make a window, and how they are cropped, resized and mirrored.

Follows section 4 of the paper and its published sampler: a reference frame and others around it,
uniform or one per stratum, in random order; crops about the principal point with one random
aspect ratio for the whole batch.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from g2vlm_model.config import ModelConfig
from g2vlm_model.preprocess import geometric_size, scaled_intrinsics

from ..ranges import CHANCE, WEIGHT, check_range
from .base import Clip

__all__ = [
    "PATCH",
    "ViewOptions",
    "draw_boxes",
    "draw_frames",
    "draw_size",
    "mirror",
    "model_clip",
    "resample",
    "round_lens",
]

_RIM_RADIUS = (0.8, 1.15)  # of the circle, in halves of the picture's longer side
_RIM_LEVEL = 12  # brightest of the black
PATCH = 14  # side, of every encoder
_SPREAD = 30  # frames to both sides of the reference per frame of the window
_STRATIFIED = 0.5  # chance that a window takes one frame of each stratum, not just any
_WHOLE = 0.1  # chance that a window of many frames spans the whole sequence
_MANY = 16  # from so many frames on, some windows span the whole sequence


@dataclass(frozen=True)
class ViewOptions:
    """How windows are taken from sequences.

    Args:
        width: Width of the pictures; None keeps every sequence's own size.
        aspect: Range of height over width, one draw per batch; heights are multiples of
            the patch.
        own_aspect: Every sequence keeps its own aspect, up to a multiple; only its width changes.
        crop: False leaves whole pictures, as at inference: a stage that asks sees them at their own
            size, the semantic encoder too, and the geometric encoder squeezed to `width`.
        zoom: Largest relative cut at the border of a frame beyond what the aspect asks for.
        radius: Frames to both sides of the reference whatever the length of the window, others
            uniform among them (GASP's section 5.2, 48 there); 0: 30 for each frame of
            the window, as published.
        flip: Chance that a window is mirrored left to right with its geometry. Its scene is
            forgotten, because left and right in words would be wrong.
        rim: Chance that a window of a clip whose depth is complete is seen through a round lens:
            black outside of a circle, where nothing has a depth.
        min_known: Least share of pixels with known depth in every frame of a window; frames that
            have a pose and no depth at all are taken, and teach their camera alone.

    Raises:
        ValueError: A number out of range.
    """

    width: int | None = None
    aspect: tuple[float, float] = (0.5, 1.0)
    own_aspect: bool = False
    crop: bool = True
    zoom: float = 0.1
    radius: int = 0
    flip: float = 0.0
    rim: float = 0.0
    min_known: float = 0.05

    def __post_init__(self) -> None:
        if self.width is not None and (self.width < 1 or self.width % PATCH):
            raise ValueError(f"width is {self.width}, expected a multiple of {PATCH}")
        if self.own_aspect and self.width is None:
            raise ValueError("own_aspect is on and width is None: say how wide pictures become")
        if not self.crop and self.width is None:
            raise ValueError("crop is off and width is None: say how wide pictures become")
        low, high = self.aspect
        if not 0 < low <= high <= 4:
            raise ValueError(f"aspect is {self.aspect}, expected two numbers in 0..4, ordered")
        check_range(self, CHANCE, "zoom", "flip", part="views")
        check_range(self, CHANCE, "rim", "min_known", part="views")
        check_range(self, WEIGHT, "radius", part="views")

    def size_of(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """(H, W) that pictures of a sequence have in a batch; (0, 0): whatever the batch draws."""
        if self.width is None or not self.crop:
            return size_hw
        if not self.own_aspect:
            return 0, 0
        return self.squeezed(size_hw)

    def squeezed(self, size_hw: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of a picture of `width` that keeps its shape, up to a multiple."""
        assert self.width is not None
        rows = max(1, round(size_hw[0] * self.width / size_hw[1] / PATCH))
        return rows * PATCH, self.width


def draw_frames(
    length: int, frames: int, options: ViewOptions, generator: torch.Generator
) -> list[int]:
    """Draw distinct frames of a sequence, in random order.

    Args:
        length: Frames of the sequence, at least `frames`.
        frames: How many to draw.
        options: Spread and chances.
        generator: Source of every random choice.
    """
    assert frames <= length, (frames, length)
    reference = int(torch.randint(length, (), generator=generator))
    chance = torch.rand(2, generator=generator).tolist()
    reach = options.radius or _SPREAD * frames
    if not options.radius and frames > _MANY and chance[0] < _WHOLE:
        reach = length
    low = max(0, min(reference - reach, length - frames))
    high = min(length, max(reference + reach + 1, low + frames))
    if not options.radius and chance[1] < _STRATIFIED:
        edges = np.linspace(low, high, frames + 1).astype(int)
        share = torch.rand(frames, generator=generator).numpy()
        chosen = edges[:-1] + (share * np.diff(edges)).astype(int)
        mine = int(np.searchsorted(edges, reference, side="right")) - 1
        chosen[mine] = reference
    else:
        others = torch.randperm(high - low, generator=generator).numpy() + low
        chosen = np.array([reference, *others[others != reference][: frames - 1]])
    order = torch.randperm(frames, generator=generator).tolist()
    return [int(chosen[index]) for index in order]


def draw_size(options: ViewOptions, generator: torch.Generator) -> tuple[int, int] | None:
    """Draw the (H, W) of a batch; None where that is a matter of its sequences."""
    if options.width is None or options.own_aspect or not options.crop:
        return None
    low, high = options.aspect
    aspect = low + (high - low) * float(torch.rand((), generator=generator))
    rows = max(1, round(aspect * options.width / PATCH))
    return rows * PATCH, options.width


def draw_boxes(
    clip: Clip, size_hw: tuple[int, int], zoom: float, generator: torch.Generator
) -> NDArray[np.float64]:
    """Crops of the shape of a size, their middles at the principal points.

    Args:
        clip: What is cropped.
        size_hw: Gives the aspect ratio.
        zoom: Each frame loses up to this share more, mostly none or all of it (Beta(.5, .5)).
        generator: Source of every random choice.

    Returns:
        (N, 4) left, top, right, bottom from the outer corner of the first pixel.
    """
    height, width = clip.size_hw
    centre = clip.K[:, :2, 2] + 0.5
    half = np.minimum(centre, np.array([width, height]) - centre)
    # A principal point far off the middle would leave a sliver: then stay near the middle.
    half = np.maximum(half, np.array([width, height]) * 0.2)
    centre = centre.clip(half, np.array([width, height]) - half)
    unit = np.array([size_hw[1], size_hw[0]], np.float64)
    scale = (half / unit).min(axis=1)
    angle = torch.rand(len(clip), generator=generator).numpy() * np.pi / 2
    scale = scale * (1 - zoom * np.sin(angle) ** 2)
    return np.concatenate([centre - scale[:, None] * unit, centre + scale[:, None] * unit], axis=1)


def resample(clip: Clip, box_N4: NDArray[np.float64], size_hw: tuple[int, int]) -> Clip:
    """Crop and resize: pictures filtered, depth, ids and normals by the nearest pixel.

    Args:
        clip: What is changed.
        box_N4: Left, top, right, bottom per frame, inside of the picture.
        size_hw: (H, W) afterwards.
    """
    height, width = size_hw
    shrinks = (box_N4[:, 2] - box_N4[:, 0]).min() >= width
    kernel = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    frame = np.arange(len(clip))[:, None, None]
    x = box_N4[:, :1] + (np.arange(width) + 0.5) * (box_N4[:, 2:3] - box_N4[:, :1]) / width
    y = box_N4[:, 1:2] + (np.arange(height) + 0.5) * (box_N4[:, 3:] - box_N4[:, 1:2]) / height
    column = x.astype(int).clip(0, clip.size_hw[1] - 1)[:, None]
    row = y.astype(int).clip(0, clip.size_hw[0] - 1)[:, :, None]
    K = clip.K.copy()
    for index, (left, top, right, bottom) in enumerate(box_N4):
        K[index, :2, 2] -= left, top
        K[index] = scaled_intrinsics(K[index], (bottom - top, right - left), size_hw)
    rgb = []
    for picture, (left, top, right, bottom) in zip(clip.rgb, box_N4.tolist(), strict=True):
        image = Image.fromarray(picture)
        rgb.append(np.asarray(image.resize((width, height), kernel, (left, top, right, bottom))))
    return dataclasses.replace(
        clip,
        rgb=np.stack(rgb),
        depth=clip.depth[frame, row, column],
        object_id=None if clip.object_id is None else clip.object_id[frame, row, column],
        normals=None if clip.normals is None else clip.normals[frame, row, column],
        K=K,
    )


def model_clip(clip: Clip, config: ModelConfig) -> Clip:
    """A clip at the size at which a model sees it: the whole picture, not cropped."""
    size = geometric_size(config, *clip.size_hw)
    height, width = clip.size_hw
    return resample(clip, np.tile([0.0, 0.0, width, height], (len(clip), 1)), size)


def mirror(clip: Clip) -> Clip:
    """The clip of the mirrored world: x of the world and of every camera is turned round.

    Poses stay rigid motions (R becomes M R M with M = diag(-1, 1, 1)), depth stays as it is.
    """
    sign = np.array([-1.0, 1.0, 1.0, 1.0])
    K = clip.K.copy()
    K[:, 0, 2] = clip.size_hw[1] - 1 - K[:, 0, 2]
    turned = (
        None if clip.normals is None else clip.normals[:, :, ::-1] * sign[:3].astype(np.float32)
    )
    return dataclasses.replace(
        clip,
        rgb=np.ascontiguousarray(clip.rgb[:, :, ::-1]),
        depth=np.ascontiguousarray(clip.depth[:, :, ::-1]),
        object_id=None
        if clip.object_id is None
        else np.ascontiguousarray(clip.object_id[:, :, ::-1]),
        normals=turned,
        T_world_cam=clip.T_world_cam * sign[:, None] * sign,
        K=K,
        scene=None,
    )


def round_lens(clip: Clip, generator: torch.Generator) -> Clip:
    """The clip through a lens whose image circle ends inside of the picture, as of fisheyes.

    The circle is the same for all frames.

    Args:
        clip: Its depth is complete, so 0 says that nothing is there.
        generator: Source of every random choice.
    """
    assert clip.complete, clip.name
    height, width = clip.size_hw
    draw = torch.rand(4, generator=generator).tolist()
    low, high = _RIM_RADIUS
    radius = max(height, width) / 2 * (low + (high - low) * draw[0])
    centre = ((width - 1) * (0.46 + 0.08 * draw[1]), (height - 1) * (0.46 + 0.08 * draw[2]))
    v, u = np.mgrid[:height, :width]
    outside = np.hypot(u - centre[0], v - centre[1]) > radius
    black = np.uint8(draw[3] * _RIM_LEVEL)
    return dataclasses.replace(
        clip,
        rgb=np.where(outside[:, :, None], black, clip.rgb),
        depth=np.where(outside, np.float32(0), clip.depth),
        object_id=None
        if clip.object_id is None
        else np.where(outside, np.uint8(0), clip.object_id),
        normals=None
        if clip.normals is None
        else np.where(outside[:, :, None], np.float32(0), clip.normals),
    )
