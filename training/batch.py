"""Windows of clips: what one training step sees.

Shape letters: B clips, N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .augment import AugmentOptions, augment
from .datasets.shards import Clips, read_shard, shard_paths
from .synthetic import Split

__all__ = ["ClipPool", "WindowBatch", "draw_batch", "pixels_of", "world_points"]

MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WindowBatch:
    """B windows of N frames, random order of the frames.

    Args:
        rgb_BN3HW: float in [0, 1], augmented.
        depth_BNHW: float32 metres, 0 where unknown.
        object_id_BNHW: uint8.
        T_world_cam_BN44, K_B33: float32.
        room_seed_B: int64.
    """

    rgb_BN3HW: Tensor
    depth_BNHW: Tensor
    object_id_BNHW: Tensor
    T_world_cam_BN44: Tensor
    K_B33: Tensor
    room_seed_B: Tensor

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.rgb_BN3HW.shape[-2], self.rgb_BN3HW.shape[-1]


class ClipPool:
    """The shards of a folder, kept in memory once read; new shards are found by `refresh`."""

    def __init__(self, folder: Path, split: Split) -> None:
        self.folder, self.split = folder, split
        self.paths: list[Path] = []
        self._loaded: dict[Path, Clips] = {}
        self.refresh()

    def refresh(self) -> int:
        """Look for new shards; return how many shards there are."""
        self.paths = shard_paths(self.folder, self.split)
        return len(self.paths)

    def pin(self, names: Sequence[str]) -> None:
        """Keep to the shards with these names, e.g. those of a run that is resumed."""
        wanted = set(names)
        self.paths = [path for path in self.paths if path.name in wanted]
        missing = sorted(wanted - {path.name for path in self.paths})
        if missing:
            raise ValueError(f"{self.folder} lacks the shards {missing[:3]} of the resumed run")

    def shard(self, index: int) -> Clips:
        """The index-th shard, read on first use."""
        path = self.paths[index % len(self.paths)]
        if path not in self._loaded:
            self._loaded[path] = read_shard(path)
        return self._loaded[path]


def draw_batch(
    pool: ClipPool,
    clips: int,
    frames: int,
    generator: torch.Generator,
    augmentation: AugmentOptions | None,
) -> WindowBatch:
    """Draw windows from one random shard.

    Args:
        pool: Where from.
        clips: B, taken without repetition.
        frames: N, at most the frames of a clip; their order is random.
        generator: Source of every random choice.
        augmentation: None leaves the pictures as rendered.

    Raises:
        ValueError: More frames than the clips have.
    """
    shard = pool.shard(int(torch.randint(len(pool.paths), (), generator=generator)))
    available = shard.rgb.shape[1]
    if frames > available:
        raise ValueError(f"windows of {frames} frames, but the clips have {available}")
    pick = torch.randperm(len(shard), generator=generator)[:clips]
    order = torch.rand(len(pick), available, generator=generator).argsort(dim=1)[:, :frames]
    rows = pick[:, None]
    rgb = shard.rgb[rows, order].permute(0, 1, 4, 2, 3).float() / 255
    if augmentation is not None:
        rgb = augment(rgb, augmentation, generator)
    return WindowBatch(
        rgb_BN3HW=rgb,
        depth_BNHW=shard.depth[rows, order].float(),
        object_id_BNHW=shard.object_id[rows, order],
        T_world_cam_BN44=shard.T_world_cam[rows, order],
        K_B33=shard.K[pick],
        room_seed_B=shard.room_seed[pick],
    )


def pixels_of(rgb_BN3HW: Tensor) -> Tensor:
    """Normalise [0, 1] pictures with the ImageNet mean and deviation."""
    mean = rgb_BN3HW.new_tensor(MEAN)[:, None, None]
    return (rgb_BN3HW - mean) / rgb_BN3HW.new_tensor(DEVIATION)[:, None, None]


def world_points(depth_BNHW: Tensor, T_world_cam_BN44: Tensor, K_B33: Tensor) -> Tensor:
    """(B, N, H, W, 3) world points of z-depth maps."""
    height, width = depth_BNHW.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack((u, v, torch.ones_like(u)), dim=-1).to(depth_BNHW)
    rays = pixel.flatten(0, 1) @ torch.linalg.inv(K_B33).mT
    local = rays.unflatten(1, (height, width))[:, None] * depth_BNHW[..., None]
    R, t = T_world_cam_BN44[..., :3, :3], T_world_cam_BN44[..., :3, 3]
    world: Tensor = local @ R.mT[:, :, None] + t[:, :, None, None]
    return world
