"""Windows of clips: what one training step sees.

Shape letters: B clips, N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .augment import AugmentOptions, augment
from .datasets.base import Clip, DataError, FrameSequence, SceneInfo
from .datasets.shards import Shard, ShardClip, shard_paths
from .synthetic import Split

__all__ = [
    "ClipPool",
    "ClipSource",
    "WindowBatch",
    "batch_of",
    "draw_batch",
    "pixels_of",
    "world_points",
]

_LOG = logging.getLogger(__name__)
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class WindowBatch:
    """B windows of N frames, random order of the frames.

    Args:
        rgb_BN3HW: float in [0, 1], augmented.
        depth_BNHW: float32 z-depth, 0 where unknown; metres where the clip is metric.
        object_id_BNHW: uint8, 0 where nothing is named.
        T_world_cam_BN44: float32 camera-to-world.
        K_BN33: float32 intrinsics in pixels.
        scenes: What is known about each place; None where nothing is.
        normals_BN3HW: float32 unit normals in camera axes, 0 where unknown; None where a clip
            has none.
    """

    rgb_BN3HW: Tensor
    depth_BNHW: Tensor
    object_id_BNHW: Tensor
    T_world_cam_BN44: Tensor
    K_BN33: Tensor
    scenes: tuple[SceneInfo | None, ...]
    normals_BN3HW: Tensor | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(H, W) of the pictures."""
        return self.rgb_BN3HW.shape[-2], self.rgb_BN3HW.shape[-1]


class ClipSource(Protocol):
    """Where windows are drawn from."""

    def draw(self, clips: int, generator: torch.Generator) -> Sequence[FrameSequence]:
        """Draw up to so many sequences of equal picture size and length."""


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
            ValueError: One of them is not there.
        """
        wanted = set(names)
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

    def draw(self, clips: int, generator: torch.Generator) -> list[ShardClip]:
        """Clips of one size and length, without repetition; see `ClipSource`."""
        sizes = torch.tensor([len(group) for group in self._groups], dtype=torch.float64)
        group = self._groups[int(torch.multinomial(sizes, 1, generator=generator))]
        chosen = torch.randperm(len(group), generator=generator)[:clips]
        return [group[index] for index in chosen.tolist()]


def draw_batch(
    source: ClipSource,
    clips: int,
    frames: int,
    generator: torch.Generator,
    augmentation: AugmentOptions | None,
) -> WindowBatch:
    """Draw windows; the same data and state of the generator give the same batch.

    Args:
        source: Where from.
        clips: B; fewer where the source has fewer of one size.
        frames: N, at most the frames of a clip; their order is random.
        generator: Source of every random choice.
        augmentation: None leaves the pictures as they are.

    Raises:
        ValueError: More frames than the clips have.
    """
    chosen = []
    for sequence in source.draw(clips, generator):
        if frames > len(sequence):
            raise ValueError(
                f"windows of {frames} frames, but {sequence.name} has {len(sequence)} frames"
            )
        order = torch.randperm(len(sequence), generator=generator)[:frames]
        chosen.append(sequence.read(order.tolist()))
    batch = batch_of(chosen)
    if augmentation is None:
        return batch
    rgb = augment(batch.rgb_BN3HW, augmentation, generator)
    return dataclasses.replace(batch, rgb_BN3HW=rgb)


def batch_of(clips: Sequence[Clip]) -> WindowBatch:
    """Stack clips of equal size and length.

    Raises:
        DataError: Their sizes or lengths differ.
    """
    shapes = {clip.rgb.shape[:3] for clip in clips}
    if len(shapes) != 1:
        raise DataError(f"clips of a batch have unequal (frames, height, width): {sorted(shapes)}")
    normals = [clip.normals for clip in clips if clip.normals is not None]
    rgb = torch.from_numpy(np.stack([clip.rgb for clip in clips]))
    return WindowBatch(
        rgb_BN3HW=rgb.permute(0, 1, 4, 2, 3).float() / 255,
        depth_BNHW=torch.from_numpy(np.stack([clip.depth for clip in clips])),
        object_id_BNHW=torch.from_numpy(np.stack([_object_id(clip) for clip in clips])),
        T_world_cam_BN44=torch.from_numpy(np.stack([clip.T_world_cam for clip in clips])).float(),
        K_BN33=torch.from_numpy(np.stack([clip.K for clip in clips])).float(),
        scenes=tuple(clip.scene for clip in clips),
        normals_BN3HW=(
            torch.from_numpy(np.stack(normals)).permute(0, 1, 4, 2, 3).contiguous()
            if len(normals) == len(clips)
            else None
        ),
    )


def _object_id(clip: Clip) -> NDArray[np.uint8]:
    return np.zeros(clip.depth.shape, np.uint8) if clip.object_id is None else clip.object_id


def pixels_of(rgb_BN3HW: Tensor) -> Tensor:
    """Normalise [0, 1] pictures with the ImageNet mean and deviation."""
    mean = rgb_BN3HW.new_tensor(MEAN)[:, None, None]
    return (rgb_BN3HW - mean) / rgb_BN3HW.new_tensor(DEVIATION)[:, None, None]


def world_points(depth_BNHW: Tensor, T_world_cam_BN44: Tensor, K_BN33: Tensor) -> Tensor:
    """(B, N, H, W, 3) world points of z-depth maps."""
    height, width = depth_BNHW.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack((u, v, torch.ones_like(u)), dim=-1).to(depth_BNHW)
    rays = pixel.flatten(0, 1) @ torch.linalg.inv(K_BN33).mT
    local = rays.unflatten(2, (height, width)) * depth_BNHW[..., None]
    R, t = T_world_cam_BN44[..., :3, :3], T_world_cam_BN44[..., :3, 3]
    world: Tensor = local @ R.mT[:, :, None] + t[:, :, None, None]
    return world
