"""Synthetic rooms rendered into shards: what one shard number of a split holds."""

from __future__ import annotations

import logging
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..synthetic import PATH_STYLES, Split, camera_path, intrinsics, make_room, render, scene_seed
from ..synthetic.paths import PathStyle
from .base import Clip, SceneInfo, known_depth
from .shards import write_shard

__all__ = ["ShardPlan", "render_clip", "write_shards"]

_LOG = logging.getLogger(__name__)


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
        smooth: Share of clips with 2 x 2 colour rays per pixel.
        fov_deg: Range of the horizontal field of view.

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
    fov_deg: tuple[float, float] = (45.0, 100.0)

    def __post_init__(self) -> None:
        for name in ("rooms", "clips", "frames", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.heights:
            raise ValueError("heights is empty, expected at least one picture height")
        low, high = self.fov_deg
        if not 1 <= low <= high <= 170:
            raise ValueError(f"fov_deg is {self.fov_deg}, expected two numbers in 1..170, ordered")


def write_shards(folder: Path, plan: ShardPlan, first: int, count: int) -> Iterator[Path]:
    """Render shards `first` to `first + count - 1`; those that exist are left alone.

    A shard is made by its number alone, so a folder can be continued, by several processes
    with different numbers.

    Yields:
        The path of each shard when it is there.
    """
    for index in range(first, first + count):
        path = folder / f"{plan.split}-{index:05d}.tar"
        if not path.is_file():
            write_shard(path, _clips(plan, index))
            _LOG.info("rendered %s", path)
        yield path


def _clips(plan: ShardPlan, index: int) -> Iterator[Clip]:
    size = (plan.heights[index % len(plan.heights)], plan.width)
    for number in range(index * plan.rooms, (index + 1) * plan.rooms):
        for clip in range(plan.clips):
            yield render_clip(plan, scene_seed(plan.split, number), clip, size)


def render_clip(plan: ShardPlan, seed: int, clip: int, size: tuple[int, int]) -> Clip:
    """One camera path through the room of a seed.

    Args:
        plan: Frames, field of view and smoothness.
        seed: From `scene_seed` of the plan's split.
        clip: Number of the path.
        size: (H, W) of the pictures.
    """
    rng = np.random.default_rng([seed, clip, 31])
    room = make_room(seed)
    K = intrinsics(float(rng.uniform(*plan.fov_deg)), size)
    style = PATH_STYLES[int(rng.integers(len(PATH_STYLES)))]
    T_world_cam = camera_path(
        room,
        clip,
        plan.frames,
        typing.cast(PathStyle, style),
        step=float(rng.uniform(0.05, 0.16)),
        turn_deg=float(rng.uniform(1.5, 6.0)),
    )
    frames = render(
        room,
        T_world_cam,
        K,
        size,
        supersample=2 if rng.random() < plan.smooth else 1,
        exposure=float(np.exp(rng.normal(0, 0.2))),
    )
    return Clip(
        rgb=frames.rgb,
        depth=known_depth(frames.depth),
        T_world_cam=frames.T_world_cam,
        K=np.broadcast_to(frames.K, (plan.frames, 3, 3)).copy(),
        object_id=frames.object_id,
        normals=getattr(frames, "normals", None),
        scene=SceneInfo(room.objects, room.size, seed, plan.split),
        name=f"{plan.split} room {seed} path {clip}",
    )
