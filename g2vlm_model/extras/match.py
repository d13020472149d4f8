# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Match injection: tell each geometric token where it went in the other frames.

An option that the published architecture lacks (`ModelConfig.match_width`, 0 is off). Fine
descriptors, a few per patch, are compared between every two frames; the displacement of the
best match, how sure it is and whether it is mutual become a message to the token, ahead of the
mixture of transformers and again behind it. One frame alone gets no message. The search itself
carries no gradient; descriptors learn from the correspondence loss of the training package.

What a frame is told of another one, its cues, hangs on the encoder's tokens of the two alone.
Whoever keeps the tokens of frames between passes can keep the cues of pairs too.

Shape letters: B batch, N frames, K pairs of frames, P patches per frame, Q fine cells per frame, R
the 9 cells around one, D width, E descriptor width, C cues of a patch (`CUES`).
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import TableCache, full_precision

__all__ = [
    "CUES",
    "Cells",
    "MatchInjection",
    "MatchMessages",
    "PairCues",
    "argmax_last",
    "cell_centres",
    "pair_cues",
]

CELLS_PER_SIDE = 2
CUES = 4 * CELLS_PER_SIDE**2
_TEMPERATURE = 0.07
_NEAR = 1.5 / CELLS_PER_SIDE  # in patches: the cell itself and the eight around it


PairCues = MutableMapping[tuple[int, int], Tensor]
"""Cues (B, P, C) of frame i about frame j of a window, by (i, j)."""


@dataclass(frozen=True)
class MatchMessages:
    """What the matches say to the tokens of a window; both (B, N, P, D).

    Args:
        early: Added to the tokens ahead of the transformer.
        late: Added to its final-normed hidden states.
    """

    early_BNPD: Tensor
    late_BNPD: Tensor


class Cells(NamedTuple):
    """The fine cells of a grid of patches.

    Args:
        centres_Q2: Centres (x, y) in units of patches.
        around_QR: int64 indices of the 3 x 3 cells around each; of some other cell where there
            is none.
        inside_QR: bool, which of them exist.
    """

    centres_Q2: Tensor
    around_QR: Tensor
    inside_QR: Tensor

    @classmethod
    def of(cls, grid_hw: tuple[int, int], like: Tensor) -> Cells:
        """Cells over rows and columns of patches, on the device and in the type of a tensor."""
        device = like.device
        rows, columns = (size * CELLS_PER_SIDE for size in grid_hw)
        step_3 = torch.arange(-1, 2, device=device)
        y_R3 = torch.arange(rows, device=device)[:, None] + step_3
        x_S3 = torch.arange(columns, device=device)[:, None] + step_3
        inside_R3, inside_S3 = (y_R3 >= 0) & (y_R3 < rows), (x_S3 >= 0) & (x_S3 < columns)
        y_R3, x_S3 = y_R3.clamp(0, rows - 1), x_S3.clamp(0, columns - 1)
        around = y_R3[:, None, :, None] * columns + x_S3[None, :, None, :]  # R S 3 3
        inside = inside_R3[:, None, :, None] & inside_S3[None, :, None, :]
        return cls(
            cell_centres(grid_hw, device).to(like.dtype),
            around.flatten(2).flatten(0, 1),
            inside.flatten(2).flatten(0, 1),
        )


def cell_centres(grid_hw: tuple[int, int], device: torch.device | None = None) -> Tensor:
    """(Q, 2) centres (x, y) of the fine cells in units of patches, row by row."""
    step = 1.0 / CELLS_PER_SIDE
    rows = (torch.arange(grid_hw[0] * CELLS_PER_SIDE, device=device) + 0.5) * step
    columns = (torch.arange(grid_hw[1] * CELLS_PER_SIDE, device=device) + 0.5) * step
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack((x, y), dim=-1).flatten(0, 1)


class MatchInjection(nn.Module):
    """Fine descriptors, the search, and the messages.

    Args:
        width: D of the tokens.
        match_width: E, numbers of one descriptor.
    """

    def __init__(self, width: int, match_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 2 * width)
        self.describe = nn.Linear(2 * width, CELLS_PER_SIDE**2 * match_width)
        self.read = nn.Linear(CUES + 2, width)
        self.early = nn.Linear(width, width)
        self.late = nn.Linear(width, width)
        self._cells: TableCache[Cells] = TableCache()

    def descriptors(self, tokens_BNPD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Return unit-length fine descriptors (B, N, Q, E), cells in row order."""
        rows, columns = grid_hw
        raw = self.describe(F.gelu(self.hidden(self.norm(tokens_BNPD))))
        side = CELLS_PER_SIDE
        cells = raw.unflatten(-1, (side, side, -1)).unflatten(2, (rows, columns))
        ordered = cells.permute(0, 1, 2, 4, 3, 5, 6)  # B N row cell-row column cell-column E
        return F.normalize(ordered.flatten(2, 5), dim=-1)

    def forward(
        self,
        tokens_BNPD: Tensor,
        grid_hw: tuple[int, int],
        causal: bool = False,
        known: PairCues | None = None,
    ) -> MatchMessages:
        """Turn the matches between the frames into messages.

        Args:
            tokens_BNPD: Tokens of the geometric encoder.
            grid_hw: Rows and columns of patches.
            causal: A frame hears of earlier frames only, and the first one nothing.
            known: Cues that an earlier call has computed of the same frames' tokens; takes those
                that this one computes. None keeps nothing.
        """
        frames, device = tokens_BNPD.shape[1], tokens_BNPD.device
        with torch.no_grad(), full_precision(tokens_BNPD):
            precise_BNPD = tokens_BNPD.to(self.norm.weight.dtype)
            cues_BNNPC = self.cues(precise_BNPD, grid_hw, known)
        place_P2 = _places(grid_hw, device).to(cues_BNNPC.dtype)
        told_BNNPC = torch.cat((cues_BNNPC, place_P2.expand(*cues_BNNPC.shape[:-1], 2)), dim=-1)
        read_BNNPD = F.gelu(self.read(told_BNNPC.to(self.read.weight.dtype)))
        other_NN = 1.0 - torch.eye(frames, device=device, dtype=read_BNNPD.dtype)
        heard_NN = other_NN.tril() if causal else other_NN
        count_N11 = heard_NN.sum(dim=1).clamp(min=1)[:, None, None]
        mean_BNPD = _weighted(read_BNNPD, heard_NN) / count_N11
        any_N11 = heard_NN.amax(dim=1)[:, None, None]
        return MatchMessages(self.early(mean_BNPD) * any_N11, self.late(mean_BNPD) * any_N11)

    def cues(
        self, tokens_BNPD: Tensor, grid_hw: tuple[int, int], known: PairCues | None = None
    ) -> Tensor:
        """(B, N, N, P, C): what each token of frame i is told of frame j; 0 of its own frame.

        Args:
            tokens_BNPD, grid_hw, known: See `forward`.
        """
        batch, frames, patches = tokens_BNPD.shape[:3]
        pairs = [(i, j) for i in range(frames) for j in range(frames) if i != j]
        found = {} if known is None else {pair: known[pair] for pair in pairs if pair in known}
        missing = [pair for pair in pairs if pair not in found]
        described = self.descriptors(tokens_BNPD, grid_hw).unbind(1) if missing else ()
        like = tokens_BNPD[:0]
        cells = self._cells.get((grid_hw, like.device, like.dtype), lambda: Cells.of(grid_hw, like))
        # Some pairs at a time: each holds a number for every two cells.
        for first in range(0, len(missing), frames):
            some = missing[first : first + frames]
            sources_BKQE, targets_BKQE = (
                torch.stack([described[pair[side]] for pair in some], dim=1) for side in (0, 1)
            )
            cues_BKPC = pair_cues(sources_BKQE, targets_BKQE, cells, grid_hw)
            found |= dict(zip(some, cues_BKPC.unbind(1), strict=True))
        if known is not None:
            # Of their own: a view would keep the cues of all pairs that were computed with it.
            known.update({pair: found[pair].clone() for pair in missing})
        nothing_BPC = tokens_BNPD.new_zeros((batch, patches, CUES))
        every = [found.get((i, j), nothing_BPC) for i in range(frames) for j in range(frames)]
        cues_BNNPC: Tensor = torch.stack(every, dim=1).unflatten(1, (frames, frames))
        return cues_BNNPC


def pair_cues(
    source_BKQE: Tensor, target_BKQE: Tensor, cells: Cells, grid_hw: tuple[int, int]
) -> Tensor:
    """What frames are told of others: per cell displacement, probability, mutual flag.

    The displacement, in patches (x, y), is that of the cells around the best one, weighted by
    their softmax.

    Args:
        source_BKQE: Descriptors of the frames.
        target_BKQE: Of the others; K may be 1 in either, for one frame in all pairs.
        cells: Of the grid.
        grid_hw: Rows and columns of patches.

    Returns:
        (B, K, P, C), four numbers for each cell of a patch.
    """
    centres_Q2, around_QR, inside_QR = cells
    similar_BKQQ = (source_BKQE / _TEMPERATURE) @ target_BKQE.mT
    best_BKQ, back_BKQ = argmax_last(similar_BKQQ), argmax_last(similar_BKQQ.mT)
    top_BKQ1 = similar_BKQQ.gather(-1, best_BKQ[..., None])
    returned_BKQ = torch.gather(back_BKQ, -1, best_BKQ)
    apart_BKQ = (centres_Q2[returned_BKQ] - centres_Q2).abs().amax(dim=-1)
    mutual_BKQ = apart_BKQ < _NEAR
    chance_BKQ = (similar_BKQQ - top_BKQ1).exp().sum(dim=-1).reciprocal()
    around_BKQR = around_QR[best_BKQ]
    local_BKQR = torch.gather(similar_BKQQ, -1, around_BKQR)
    local_BKQR = local_BKQR.masked_fill(~inside_QR[best_BKQ], float("-inf")).softmax(dim=-1)
    place_BKQ2 = (local_BKQR[..., None] * centres_Q2[around_BKQR]).sum(dim=-2)
    cues = (place_BKQ2 - centres_Q2, chance_BKQ[..., None], mutual_BKQ[..., None])
    return _group_cells(torch.cat([cue.to(chance_BKQ) for cue in cues], dim=-1), grid_hw)


def argmax_last(x: Tensor) -> Tensor:
    """int64 index of the largest number along the last axis, the first where several are.

    On a CPU numpy finds it, 15 times as fast as torch (8 x 128 x 128 numbers).
    """
    # A subclass (a tensor without memory, of a trace) has no numbers.
    if type(x) is Tensor and x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64):
        return torch.from_numpy(x.detach().contiguous().numpy().argmax(axis=-1))
    return x.argmax(dim=-1)


def _places(grid_hw: tuple[int, int], device: torch.device) -> Tensor:
    """(P, 2) where each patch lies (x, y), from the middle, in halves of the picture's width."""
    rows, columns = (torch.arange(size, device=device) for size in grid_hw)
    # Not repeat_interleave: its export repeats by a number that is not in the graph's shapes.
    x = columns.expand(*grid_hw).flatten()
    y = rows[:, None].expand(*grid_hw).flatten()
    from_middle = (2.0 * (x + 0.5) - grid_hw[1], 2.0 * (y + 0.5) - grid_hw[0])
    return torch.stack(from_middle, dim=-1) / grid_hw[1]


def _weighted(read_BNNPD: Tensor, weight_NN: Tensor) -> Tensor:
    """(B, N, P, D): for each frame the weighted sum over the others.

    As a product of matrices: einsum is exported as an operator that is slow everywhere.
    """
    patches_width = read_BNNPD.shape[3:]
    summed_BN1F = weight_NN[:, None] @ read_BNNPD.flatten(3)
    summed_BNPD: Tensor = summed_BN1F[:, :, 0].unflatten(-1, patches_width)
    return summed_BNPD


def _group_cells(cells: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """(.., Q, C) in row order to (.., P, cells per patch * C)."""
    side = CELLS_PER_SIDE
    split = cells.unflatten(-2, (grid_hw[0], side, grid_hw[1], side))
    axes = list(range(split.dim() - 5))
    first = len(axes)
    ordered = split.permute(*axes, first, first + 2, first + 1, first + 3, first + 4)
    grouped: Tensor = ordered.flatten(-3).flatten(-3, -2)
    return grouped
