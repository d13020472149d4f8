"""Match injection: tell each geometric token where it went in the other frames.

An option that the published architecture lacks (`ModelConfig.match_width`, 0 is off). Fine
descriptors, a few per patch, are compared between every two frames; the displacement of the
best match, how sure it is and whether it is mutual become a message to the token, ahead of the
mixture of transformers and again behind it. One frame alone gets no message. The search itself
carries no gradient; descriptors learn from the correspondence loss of the training package.

Shape letters: B batch, N frames, P patches per frame, Q fine cells per frame, K the 9 cells
around one, D width, E descriptor width, S cells per patch side.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers import full_precision

__all__ = ["MatchInjection", "MatchMessages", "cell_centres"]

CELLS_PER_SIDE = 2
_TEMPERATURE = 0.07
_CUES_PER_CELL = 4
_NEAR = 1.5 / CELLS_PER_SIDE  # in patches: the cell itself and the eight around it


@dataclass(frozen=True)
class MatchMessages:
    """What the matches say to the tokens of a window; both (B, N, P, D).

    Args:
        early: Added to the tokens ahead of the transformer.
        late: Added to its final-normed hidden states.
    """

    early_BNPD: Tensor
    late_BNPD: Tensor


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
        cells = CELLS_PER_SIDE**2
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Linear(width, 2 * width)
        self.describe = nn.Linear(2 * width, cells * match_width)
        self.read = nn.Linear(cells * _CUES_PER_CELL + 2, width)
        self.early = nn.Linear(width, width)
        self.late = nn.Linear(width, width)

    def descriptors(self, tokens_BNPD: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """Return unit-length fine descriptors (B, N, Q, E), cells in row order."""
        rows, columns = grid_hw
        raw = self.describe(F.gelu(self.hidden(self.norm(tokens_BNPD))))
        side = CELLS_PER_SIDE
        cells = raw.unflatten(-1, (side, side, -1)).unflatten(2, (rows, columns))
        ordered = cells.permute(0, 1, 2, 4, 3, 5, 6)  # B N row cell-row column cell-column E
        return F.normalize(ordered.flatten(2, 5), dim=-1)

    def forward(
        self, tokens_BNPD: Tensor, grid_hw: tuple[int, int], causal: bool = False
    ) -> MatchMessages:
        """Turn the matches between the frames into messages.

        Args:
            tokens_BNPD: Tokens of the geometric encoder.
            grid_hw: Rows and columns of patches.
            causal: A frame hears of earlier frames only, and the first one nothing.
        """
        frames = tokens_BNPD.shape[1]
        if frames == 1 and not torch.compiler.is_compiling():  # a graph serves any number
            silent = torch.zeros_like(tokens_BNPD)
            return MatchMessages(silent, silent)
        with torch.no_grad(), full_precision(tokens_BNPD):
            precise_BNPD = tokens_BNPD.to(self.norm.weight.dtype)
            cues_BNNPC = self._cues(self.descriptors(precise_BNPD, grid_hw), grid_hw)
        read_BNNPD = F.gelu(self.read(cues_BNNPC.to(self.read.weight.dtype)))
        other_NN = 1.0 - torch.eye(frames, device=cues_BNNPC.device, dtype=read_BNNPD.dtype)
        heard_NN = other_NN.tril() if causal else other_NN
        count_N11 = heard_NN.sum(dim=1).clamp(min=1)[:, None, None]
        mean_BNPD = torch.einsum("bijpd,ij->bipd", read_BNNPD, heard_NN) / count_N11
        any_N11 = heard_NN.amax(dim=1)[:, None, None]
        return MatchMessages(self.early(mean_BNPD) * any_N11, self.late(mean_BNPD) * any_N11)

    def _cues(self, descriptors_BNQE: Tensor, grid_hw: tuple[int, int]) -> Tensor:
        """(B, N, N, P, 4 cells + 2): what token p of frame i knows of frame j."""
        device = descriptors_BNQE.device
        centres_Q2 = cell_centres(grid_hw, device).to(descriptors_BNQE.dtype)
        around_QK, inside_QK = _cells_around(grid_hw, device)
        batch, frames = descriptors_BNQE.shape[:2]
        if torch.compiler.is_compiling():
            # One graph for any number of frames; the loop below needs a frame's share of memory.
            targets = descriptors_BNQE[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
            sources = descriptors_BNQE.flatten(0, 1)
            cues = self._frame_cues(sources, targets, centres_Q2, around_QK, inside_QK)
            cues_BNNQC = cues.unflatten(0, (batch, frames))
        else:
            parts = [
                self._frame_cues(source, descriptors_BNQE, centres_Q2, around_QK, inside_QK)
                for source in descriptors_BNQE.unbind(1)
            ]
            cues_BNNQC = torch.stack(parts, dim=1)
        per_patch = _group_cells(cues_BNNQC, grid_hw)
        rows, columns = (torch.arange(size, device=centres_Q2.device) for size in grid_hw)
        # Not repeat_interleave: its export repeats by a number that is not in the graph's shapes.
        x = columns.expand(*grid_hw).flatten()
        y = rows[:, None].expand(*grid_hw).flatten()
        from_middle = (2.0 * (x + 0.5) - grid_hw[1], 2.0 * (y + 0.5) - grid_hw[0])
        place_P2 = torch.stack(from_middle, dim=-1).to(per_patch.dtype) / grid_hw[1]
        return torch.cat((per_patch, place_P2.expand(*per_patch.shape[:-1], 2)), dim=-1)

    def _frame_cues(
        self,
        source_BQE: Tensor,
        target_BNQE: Tensor,
        centres_Q2: Tensor,
        around_QK: Tensor,
        inside_QK: Tensor,
    ) -> Tensor:
        """(B, N, Q, 4): displacement in patches (x, y), probability, mutual flag.

        The displacement is that of the cells around the best one, weighted by their softmax.
        """
        similar_BNQQ = (source_BQE / _TEMPERATURE)[:, None] @ target_BNQE.mT
        best_BNQ, back_BNQ = similar_BNQQ.argmax(dim=-1), similar_BNQQ.argmax(dim=-2)
        top_BNQ1 = similar_BNQQ.gather(-1, best_BNQ[..., None])
        returned_BNQ = torch.gather(back_BNQ, -1, best_BNQ)
        apart_BNQ = (centres_Q2[returned_BNQ] - centres_Q2).abs().amax(dim=-1)
        mutual_BNQ = apart_BNQ < _NEAR
        chance_BNQ = (similar_BNQQ - top_BNQ1).exp().sum(dim=-1).reciprocal()
        around_BNQK = around_QK[best_BNQ]
        local_BNQK = torch.gather(similar_BNQQ, -1, around_BNQK)
        local_BNQK = local_BNQK.masked_fill(~inside_QK[best_BNQ], float("-inf")).softmax(dim=-1)
        place_BNQ2 = (local_BNQK[..., None] * centres_Q2[around_BNQK]).sum(dim=-2)
        cues = (place_BNQ2 - centres_Q2, chance_BNQ[..., None], mutual_BNQ[..., None])
        return torch.cat([cue.to(chance_BNQ) for cue in cues], dim=-1)


def _weighted(read_BNNPD: Tensor, weight_NN: Tensor) -> Tensor:
    """(B, N, P, D): for each frame the weighted sum over the others.

    As a product of matrices: einsum is exported as an operator that is slow everywhere.
    """
    patches_width = read_BNNPD.shape[3:]
    summed_BN1F = weight_NN[:, None] @ read_BNNPD.flatten(3)
    summed_BNPD: Tensor = summed_BN1F[:, :, 0].unflatten(-1, patches_width)
    return summed_BNPD


def _cells_around(grid_hw: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Each cell's 3 x 3 neighbourhood: indices (Q, 9) int64, and which of them exist.

    Where there is no cell the index is that of some other one.
    """
    rows, columns = (size * CELLS_PER_SIDE for size in grid_hw)
    step_3 = torch.arange(-1, 2, device=device)
    y_R3 = torch.arange(rows, device=device)[:, None] + step_3
    x_S3 = torch.arange(columns, device=device)[:, None] + step_3
    inside_R3, inside_S3 = (y_R3 >= 0) & (y_R3 < rows), (x_S3 >= 0) & (x_S3 < columns)
    y_R3, x_S3 = y_R3.clamp(0, rows - 1), x_S3.clamp(0, columns - 1)
    cells = y_R3[:, None, :, None] * columns + x_S3[None, :, None, :]  # R S 3 3
    inside = inside_R3[:, None, :, None] & inside_S3[None, :, None, :]
    return cells.flatten(2).flatten(0, 1), inside.flatten(2).flatten(0, 1)


def _group_cells(cells: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """(.., Q, C) in row order to (.., P, cells per patch * C)."""
    side = CELLS_PER_SIDE
    split = cells.unflatten(-2, (grid_hw[0], side, grid_hw[1], side))
    axes = list(range(split.dim() - 5))
    first = len(axes)
    ordered = split.permute(*axes, first, first + 2, first + 1, first + 3, first + 4)
    grouped: Tensor = ordered.flatten(-3).flatten(-3, -2)
    return grouped
