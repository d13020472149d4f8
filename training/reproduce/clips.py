# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Clips at the size of the small models, resized once and kept in memory.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ..datasets.base import Clip, FrameSequence, Refusals
from ..datasets.mixture import ClipPool
from ..datasets.views import draw_boxes, resample
from ..evaluate.depth import mean_depth

__all__ = ["SmallClips"]


class SmallClips:
    """A source of windows (`batch.ClipSource`) with pictures of one small size.

    Args:
        pool: Where the clips come from; evenly spread over it.
        size_hw: (H, W) of the pictures.
        most: Clips that are kept.
    """

    def __init__(self, pool: ClipPool, size_hw: tuple[int, int], most: int) -> None:
        generator = torch.Generator().manual_seed(0)
        known = pool.clips
        chosen = [known[index] for index in range(0, len(known), max(1, len(known) // most))]
        self.refusals = Refusals("small clips")
        self.clips: list[FrameSequence] = []
        kept: list[Clip] = []
        for sequence in chosen[:most]:
            clip = sequence.read(range(len(sequence)))
            box_N4 = draw_boxes(clip, size_hw, 0.0, generator)
            kept.append(resample(clip, box_N4, size_hw))
            self.clips.append(_KeptClip(kept[-1]))
        self._kept = kept

    def draw(self, clips: int, frames: int, generator: torch.Generator) -> list[FrameSequence]:
        """Clips that are long enough, without repetition; see `ClipSource`."""
        long = [clip for clip in self.clips if len(clip) >= frames]
        if not long:
            raise ValueError(f"windows of {frames} frames, but no clip has as many")
        order = torch.randperm(len(long), generator=generator)[:clips]
        return [long[index] for index in order.tolist()]

    def mean_depth_map(self) -> Tensor:
        """(H, W) mean depth of all frames; see `evaluate.depth.mean_depth`."""
        return mean_depth(torch.from_numpy(one) for clip in self._kept for one in clip.depth)


class _KeptClip:
    """A clip that gives its frames one by one (`FrameSequence`)."""

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.name, self.size_hw = clip.name, clip.size_hw

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, frames: Sequence[int]) -> Clip:
        """These frames, in this order."""
        index = np.asarray(list(frames))
        fields = ("rgb", "depth", "T_world_cam", "K", "object_id", "normals")
        values = {name: getattr(self.clip, name) for name in fields}
        return dataclasses.replace(
            self.clip, **{k: v[index] for k, v in values.items() if v is not None}
        )
