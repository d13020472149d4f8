# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Synthetic rooms rendered into shards: what one shard number of a split holds."""

from __future__ import annotations

import logging
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from g2vlm_model.interface.whole_files import remove_remains

from ..synthetic import (
    PATH_STYLES,
    Shot,
    Split,
    camera_path,
    draw_camera,
    intrinsics,
    make_room,
    photograph,
    render_shots,
    scene_seed,
)
from ..synthetic.paths import PathStyle
from .base import Clip, SceneInfo, known_depth
from .shards import write_shard

__all__ = ["ShardPlan", "render_room", "write_shards"]

_LOG = logging.getLogger(__name__)
# Between neighbouring frames: from a stream at full rate to keyframes far apart.
_STEP_M = (0.03, 0.35)
_TURN_DEG = (1.0, 12.0)


@dataclass(frozen=True)
class ShardPlan:
    """What `write_shards` renders.

    Args:
        split: Whose seeds.
        rooms: Rooms per shard.
        clips: Clips per room.
        frames: Frames per clip.
        width: Picture width in pixels.
        heights: Picture heights; shard i takes `heights[i % len(heights)]`.
        smooth: Share of rooms with 2 x 2 colour rays per pixel of an edge.
        camera: Share of clips taken by a drawn camera: blur, noise, colour, JPEG.
        fov_deg: Range of the field of view along the longer side.
        styles: Kinds of camera paths, each as often as it is named.

    Raises:
        ValueError: A number out of range.
    """

    split: Split = "train"
    rooms: int = 40
    clips: int = 3
    frames: int = 6
    width: int = 112
    heights: tuple[int, ...] = (84, 84, 84, 70, 84, 84, 84, 56, 84, 84, 98)
    smooth: float = 0.5
    camera: float = 0.7
    fov_deg: tuple[float, float] = (45.0, 100.0)
    styles: tuple[str, ...] = ("robot", "arm", "hand")

    def __post_init__(self) -> None:
        for name in ("rooms", "clips", "frames", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.heights:
            raise ValueError("heights is empty, expected at least one picture height")
        unknown = sorted(set(self.styles) - set(PATH_STYLES))
        if unknown or not self.styles:
            raise ValueError(f"styles is {self.styles}, expected some of {PATH_STYLES}")
        low, high = self.fov_deg
        if not 1 <= low <= high <= 170:
            raise ValueError(f"fov_deg is {self.fov_deg}, expected two numbers in 1..170, ordered")


def write_shards(
    folder: Path, plan: ShardPlan, first: int, count: int, device: str = "cpu"
) -> Iterator[Path]:
    """Render shards `first` to `first + count - 1`; those that exist are left alone.

    A shard is made by its number alone, so a folder can be continued, by several processes
    with different numbers.

    Args:
        folder: Where to.
        plan: What to.
        first, count: Numbers of the shards.
        device: Torch device of the rays.

    Yields:
        The path of each shard when it is there.
    """
    remove_remains(folder)
    for index in range(first, first + count):
        path = folder / f"{plan.split}-{index:05d}.tar"
        if not path.is_file():
            write_shard(path, _clips(plan, index, device))
            _LOG.info("rendered %s", path)
        yield path


def _clips(plan: ShardPlan, index: int, device: str) -> Iterator[Clip]:
    size = (plan.heights[index % len(plan.heights)], plan.width)
    for number in range(index * plan.rooms, (index + 1) * plan.rooms):
        yield from render_room(plan, scene_seed(plan.split, number), size, device)


def _across(fov_deg: float, size_hw: tuple[int, int]) -> float:
    """Horizontal field of view of square pixels from that of the longer side."""
    height, width = size_hw
    if height <= width:
        return fov_deg
    tangent = np.tan(np.radians(fov_deg) / 2) * width / height
    return float(np.degrees(2 * np.arctan(tangent)))


def render_room(
    plan: ShardPlan, seed: int, size_hw: tuple[int, int], device: str = "cpu"
) -> list[Clip]:
    """The clips of one room, along different camera paths.

    Args:
        plan: Clips, frames, field of view and smoothness.
        seed: From `scene_seed` of the plan's split.
        size_hw: Of the pictures.
        device: Torch device of the rays.
    """
    rng = np.random.default_rng([seed, 31])
    room = make_room(seed)
    shots = []
    for clip in range(plan.clips):
        style = plan.styles[int(rng.integers(len(plan.styles)))]
        T_world_cam = camera_path(
            room,
            clip,
            plan.frames,
            typing.cast(PathStyle, style),
            step=float(np.exp(rng.uniform(*np.log(_STEP_M)))),
            turn_deg=float(np.exp(rng.uniform(*np.log(_TURN_DEG)))),
        )
        K = intrinsics(_across(float(rng.uniform(*plan.fov_deg)), size_hw), size_hw)
        shots.append(Shot(room, T_world_cam, K))
    rendered = render_shots(
        shots,
        size_hw,
        supersample=2 if rng.random() < plan.smooth else 1,
        device=device,
    )
    scene = SceneInfo(
        objects=room.objects,
        room_size=room.size if room.kind == "indoor" else None,
        floor_area=room.floor_area if room.kind == "indoor" else None,
        seed=seed,
        split=plan.split,
    )
    taken = [
        photograph(frames, draw_camera(rng), rng) if rng.random() < plan.camera else frames
        for frames in rendered
    ]
    return [
        Clip(
            rgb=frames.rgb,
            depth=known_depth(frames.depth),
            T_world_cam=frames.T_world_cam,
            K=np.tile(frames.K, (plan.frames, 1, 1)),
            object_id=frames.object_id,
            normals=frames.normals,
            scene=scene,
            name=f"{plan.split} room {seed} path {clip}",
            complete=True,
        )
        for clip, frames in enumerate(taken)
    ]
