# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What image tokens show: an auxiliary loss of the semantic stage, in training only.

Words of a question can only be found in the pictures once image tokens differ by what they show.
Three linear maps read the name and the colour of the thing that covers most of a token, and its
depth in metres, off the tokens as the language model gets them. The maps are not part of the
model.

Shape letters: B windows, N frames, S image tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..run.distribution import shared_mean
from ..synthetic.builder import COLOURS, SceneObject

__all__ = ["TokenProbe", "main_ids", "pooled_depth"]

_IGNORED = -100
_MIN_COVER = 0.3
_IDS = 256


class TokenProbe(nn.Module):
    """Linear maps of image tokens to names, colours and depth.

    Args:
        width: D.
        names: All names of things; other things are not asked for.
    """

    def __init__(self, width: int, names: Sequence[str]) -> None:
        super().__init__()
        self.name_of = {name: number for number, name in enumerate(names, start=1)}
        self.colour_of = {name: number for number, name in enumerate(COLOURS)}
        self.name = nn.Linear(width, 1 + len(names))
        self.colour = nn.Linear(width, len(COLOURS))
        self.depth = nn.Linear(width, 1)

    def forward(
        self,
        tokens_BNSD: Tensor,
        grid_hw: tuple[int, int],
        object_id_BNHW: Tensor,
        depth_BNHW: Tensor,
        objects: Sequence[Sequence[SceneObject]],
    ) -> tuple[Tensor, float]:
        """Mean of the three losses, and the share of things that got their name.

        Args:
            tokens_BNSD: Image tokens.
            grid_hw: Their rows and columns.
            object_id_BNHW: uint8 truth; 0 is the room itself.
            depth_BNHW: z-depth in metres, 0 where unknown.
            objects: The things of each window's room.
        """
        name_MS, colour_MS = self._labels(object_id_BNHW, grid_hw, objects)
        tokens_MSD = tokens_BNSD.flatten(0, 1)
        name_MSC = self.name(tokens_MSD)
        depth_MHW = depth_BNHW.flatten(0, 1)
        mean_MS, share_MS = pooled_depth(depth_MHW, grid_hw)
        error_MS = (self.depth(tokens_MSD)[..., 0].float() - mean_MS.clamp(min=0.05).log()).abs()
        known_MS = share_MS > 0.5
        total = (
            _surprise(name_MSC, name_MS)
            + _surprise(self.colour(tokens_MSD), colour_MS)
            + shared_mean(error_MS[known_MS].sum(), known_MS.sum())
        )
        things_MS = name_MS > 0
        right_MS = (name_MSC.argmax(-1) == name_MS) & things_MS
        return total, float(right_MS.sum() / things_MS.sum().clamp(min=1))

    def _labels(
        self,
        object_id_BNHW: Tensor,
        grid_hw: tuple[int, int],
        objects: Sequence[Sequence[SceneObject]],
    ) -> tuple[Tensor, Tensor]:
        """(B * N, S) int64 classes of names and colours, -100 where there is none to say."""
        names: list[Tensor] = []
        colours: list[Tensor] = []
        for ids_NHW, things in zip(object_id_BNHW, objects, strict=True):
            main_NS, cover_NS = main_ids(ids_NHW, grid_hw)
            name_I = torch.full((_IDS,), _IGNORED)
            name_I[0] = 0
            colour_I = torch.full((_IDS,), _IGNORED)
            for thing in things:
                name_I[thing.object_id] = self.name_of.get(thing.name, _IGNORED)
                colour_I[thing.object_id] = self.colour_of.get(thing.colour, _IGNORED)
            for table_I, rows in ((name_I, names), (colour_I, colours)):
                label_NS = table_I.to(main_NS.device)[main_NS]
                rows.append(torch.where(cover_NS >= _MIN_COVER, label_NS, _IGNORED))
        return torch.cat(names), torch.cat(colours)


def pooled_depth(depth_MHW: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean known depth of each cell of a grid, and the share of its pixels that is known.

    Args:
        depth_MHW: z-depth, 0 where unknown.
        grid_hw: Rows and columns.

    Returns:
        (M, S) each; the mean is 0 where nothing is known.
    """

    def pooled(map_MHW: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(map_MHW[:, None], grid_hw).flatten(1)

    share_MS = pooled((depth_MHW > 0).float())
    return pooled(depth_MHW) / share_MS.clamp(min=1e-3), share_MS


def _surprise(logits_MSC: Tensor, label_MS: Tensor) -> Tensor:
    """Mean cross-entropy of the cells that have a label."""
    total = F.cross_entropy(
        logits_MSC.flatten(0, 1).float(),
        label_MS.flatten(),
        ignore_index=_IGNORED,
        reduction="sum",
    )
    return shared_mean(total, (label_MS != _IGNORED).sum())


def main_ids(ids_NHW: Tensor, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(N, S) id that covers most of each cell of a grid, and its share of the cell."""
    size = (4 * grid_hw[0], 4 * grid_hw[1])  # 16 samples per cell
    sampled = F.interpolate(ids_NHW[:, None].float(), size, mode="nearest-exact")[:, 0].long()
    blocks = sampled.unflatten(2, (grid_hw[1], 4)).unflatten(1, (grid_hw[0], 4))
    cells_NSC = blocks.transpose(2, 3).flatten(3).flatten(1, 2)
    main_NS = cells_NSC.mode(dim=-1).values
    cover_NS = (cells_NSC == main_NS[..., None]).float().mean(dim=-1)
    return main_NS, cover_NS
