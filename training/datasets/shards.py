"""Pre-rendered clips of synthetic rooms, one safetensors file per shard.

A shard holds clips of equal size: `rgb` (C, N, H, W, 3) uint8, `depth` (C, N, H, W) float16
metres, `object_id` (C, N, H, W) uint8, `T_world_cam` (C, N, 4, 4) float32, `K` (C, 3, 3)
float32 and `room_seed` (C,) int64, from which `make_room` gives the objects back. A shard is
made by its number alone, so a folder can be continued, and written under a temporary name, so
a shard that exists is whole.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..synthetic import (
    RenderedFrames,
    Split,
    camera_path,
    intrinsics,
    make_room,
    render,
    scene_seed,
)

__all__ = ["Clips", "ShardPlan", "read_shard", "shard_paths", "write_shards"]

_LOG = logging.getLogger(__name__)
_KEYS = ("rgb", "depth", "object_id", "T_world_cam", "K", "room_seed")


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
    """

    split: Split = "train"
    rooms: int = 40
    clips: int = 3
    frames: int = 6
    width: int = 112
    heights: tuple[int, ...] = (84, 84, 84, 70, 84, 84, 84, 56, 84, 84, 98)
    smooth: float = 0.5
    fov_deg: tuple[float, float] = (50.0, 85.0)

    def __post_init__(self) -> None:
        for name in ("rooms", "clips", "frames", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.heights:
            raise ValueError("heights is empty, expected at least one picture height")


@dataclass(frozen=True)
class Clips:
    """One shard in memory; see the module's docstring for the tensors."""

    rgb: Tensor
    depth: Tensor
    object_id: Tensor
    T_world_cam: Tensor
    K: Tensor
    room_seed: Tensor

    def __len__(self) -> int:
        return int(self.rgb.shape[0])


def write_shards(folder: Path, plan: ShardPlan, first: int, count: int) -> Iterator[Path]:
    """Render shards `first` to `first + count - 1`; those that exist are left alone.

    Yields:
        The path of each shard when it is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(first, first + count):
        path = folder / f"{plan.split}-{index:05d}.safetensors"
        if not path.is_file():
            tensors = _render_shard(plan, index)
            partial = path.with_suffix(f".{os.getpid()}.partial")
            save_file(tensors, partial)
            os.replace(partial, path)
        yield path


def shard_paths(folder: Path, split: Split) -> list[Path]:
    """Shards of a split in a folder, in order.

    Raises:
        FileNotFoundError: There is none.
    """
    paths = sorted(folder.glob(f"{split}-*.safetensors"))
    if not paths:
        raise FileNotFoundError(
            f"no {split} shards in {folder}; make some with "
            f"`g2vlm dataset synthetic --split {split} --out {folder}`"
        )
    return paths


def read_shard(path: Path) -> Clips:
    """Read one shard.

    Raises:
        ValueError: The file is cut off or lacks a tensor.
    """
    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"shard {path} cannot be read ({error}); delete it and render it again"
        ) from error
    missing = [key for key in _KEYS if key not in tensors]
    if missing:
        raise ValueError(f"shard {path} lacks {missing}, expected the tensors {list(_KEYS)}")
    return Clips(**{key: tensors[key] for key in _KEYS})


def _render_shard(plan: ShardPlan, index: int) -> dict[str, Tensor]:
    size = (plan.heights[index % len(plan.heights)], plan.width)
    clips: list[RenderedFrames] = []
    seeds: list[int] = []
    for number in range(index * plan.rooms, (index + 1) * plan.rooms):
        seed = scene_seed(plan.split, number)
        for clip in range(plan.clips):
            clips.append(_render_clip(plan, seed, clip, size))
            seeds.append(seed)
    _LOG.info("rendered shard %d: %d clips of %s", index, len(clips), size)
    return {
        "rgb": torch.from_numpy(np.stack([clip.rgb for clip in clips])),
        "depth": torch.from_numpy(np.stack([clip.depth for clip in clips])).half(),
        "object_id": torch.from_numpy(np.stack([clip.object_id for clip in clips])),
        "T_world_cam": torch.from_numpy(np.stack([clip.T_world_cam for clip in clips])).float(),
        "K": torch.from_numpy(np.stack([clip.K for clip in clips])).float(),
        "room_seed": torch.tensor(seeds),
    }


def _render_clip(plan: ShardPlan, seed: int, clip: int, size: tuple[int, int]) -> RenderedFrames:
    rng = np.random.default_rng([seed, clip, 31])
    room = make_room(seed)
    K = intrinsics(float(rng.uniform(*plan.fov_deg)), size)
    robot = bool(rng.random() < 0.35)
    T_world_cam = camera_path(
        room,
        clip,
        plan.frames,
        "robot" if robot else "hand",
        step=float(rng.uniform(0.05, 0.16)),
        turn_deg=float(rng.uniform(1.5, 6.0)),
    )
    return render(
        room,
        T_world_cam,
        K,
        size,
        supersample=2 if rng.random() < plan.smooth else 1,
        exposure=float(np.exp(rng.normal(0, 0.2))),
    )
