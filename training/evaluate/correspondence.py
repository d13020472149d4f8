# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether a language model knows where things are: matches in its queries and keys.

The analysis of GASP's section 5.3: points of a first frame are looked for in later frames by the
similarity of queries and keys of one layer (eqs. 10 and 11); a match is right within two patches
(PCK); the confidence of a match is its attention (eq. 13). Nothing is trained or added.

Shape letters: N later frames, S patches per frame, Q points, A query heads, G key heads, C head
width, T = N + 1 frames, L layers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.base import Clip
from ..datasets.batch import batch_of
from ..gasp.gasp_heads import LayerTap
from ..gasp.gasp_readers import PictureReader
from ..gasp.gasp_tracks import PointTracks, patch_of, point_tracks

__all__ = [
    "Matches",
    "SequenceMatches",
    "correlation",
    "match_sequence",
    "query_key_matches",
    "tracks_px",
]

Floats = NDArray[np.float64]
THRESHOLD = 2.0  # patches


@dataclass(frozen=True)
class Matches:
    """Best patch for each point in each later frame.

    Args:
        best_NQ: int64 patch.
        confidence_NQ: Highest attention among the patches of that frame, mean over heads.
        nearby_NQ: Attention of all patches within two of the best one, mean over heads.
    """

    best_NQ: Tensor
    confidence_NQ: Tensor
    nearby_NQ: Tensor


@dataclass(frozen=True)
class SequenceMatches:
    """One sequence: what is right in each layer, by later frame.

    Args:
        name: Of the sequence.
        right_LNQ: bool, match within two patches of the truth.
        confidence_LNQ, nearby_LNQ: float64, see `Matches`.
        visible_NQ: bool, points that count.
        chance_NQ: Share of a frame's patches that would be right.
        still_NQ: bool, right if nothing had moved.
        grid_hw: Rows and columns of patches.
    """

    name: str
    right_LNQ: NDArray[np.bool_]
    confidence_LNQ: Floats
    nearby_LNQ: Floats
    visible_NQ: NDArray[np.bool_]
    chance_NQ: Floats
    still_NQ: NDArray[np.bool_]
    grid_hw: tuple[int, int]

    @property
    def moved_NQ(self) -> NDArray[np.bool_]:
        """Points that count and have moved by more than two patches."""
        return self.visible_NQ & ~self.still_NQ

    def pck_L(self, counted_NQ: NDArray[np.bool_] | None = None) -> Floats:
        """Share of right points per layer, of those that count; NaN where none does."""
        counted = self.visible_NQ if counted_NQ is None else counted_NQ
        if not counted.any():
            return np.full(len(self.right_LNQ), np.nan)
        shares: Floats = self.right_LNQ[:, counted].mean(axis=1)
        return shares

    def at_gap(self, frame: int) -> NDArray[np.bool_]:
        """The points of one later frame that count."""
        only = np.zeros_like(self.visible_NQ)
        only[frame] = self.visible_NQ[frame]
        return only

    def correlation_L(self, confidence_LNQ: Floats) -> Floats:
        """Eq. 13 per layer; NaN where all matches are right, all wrong or alike."""
        seen = self.visible_NQ
        return np.array(
            [
                correlation(confidence[seen], right[seen])
                for confidence, right in zip(confidence_LNQ, self.right_LNQ, strict=True)
            ]
        )


def query_key_matches(
    q_SAC: Tensor, k_NSGC: Tensor, own_Q: Tensor, grid_hw: tuple[int, int]
) -> Matches:
    """Look for patches of the first frame in later ones (eqs. 10 and 11).

    Args:
        q_SAC: Queries of the first frame.
        k_NSGC: Keys of the later frames; a key head serves A / G query heads.
        own_Q: int64 patches of the first frame.
        grid_hw: Rows and columns of the S patches.
    """
    q_QAC = q_SAC[own_Q].float()
    repeats = q_SAC.shape[1] // k_NSGC.shape[2]
    k_NSAC = k_NSGC.float().repeat_interleave(repeats, dim=2)
    product_ANQS = torch.einsum("qac,nsac->anqs", q_QAC, k_NSAC)
    lengths_NQS = q_QAC.flatten(1).norm(dim=1)[:, None] * k_NSAC.flatten(2).norm(dim=2)[:, None]
    similar_NQS = product_ANQS.sum(dim=0) / lengths_NQS.clamp(min=1e-12)
    attention_NQS = (product_ANQS * q_SAC.shape[-1] ** -0.5).softmax(dim=-1).mean(dim=0)
    best_NQ = similar_NQS.argmax(dim=-1)
    rows, columns = (torch.arange(side, device=own_Q.device) for side in grid_hw)
    place_S2 = torch.cartesian_prod(rows, columns)
    near_SS = (place_S2[:, None] - place_S2).square().sum(dim=-1) <= THRESHOLD**2
    nearby_NQ = (attention_NQS * near_SS[best_NQ]).sum(dim=-1)
    return Matches(best_NQ, attention_NQS.amax(dim=-1), nearby_NQ)


def tracks_px(
    own_Q: Tensor, best_NQ: Tensor, grid_hw: tuple[int, int], size_hw: tuple[int, int]
) -> Tensor:
    """(T, Q, 2) pixel coordinates (column, row) of points through all frames (eq. 12).

    Args:
        own_Q: int64 patches of the first frame.
        best_NQ: int64 patches of the later ones.
        grid_hw: Rows and columns of patches.
        size_hw: Of the pictures.
    """
    patch_TQ = torch.cat((own_Q[None], best_NQ))
    column, row = patch_TQ % grid_hw[1], patch_TQ // grid_hw[1]
    share = torch.stack(((column + 0.5) / grid_hw[1], (row + 0.5) / grid_hw[0]), dim=-1)
    return share * share.new_tensor([size_hw[1], size_hw[0]]) - 0.5


def correlation(confidence: Floats, right: NDArray[np.bool_]) -> float:
    """Pearson's coefficient of confidences and correctness (eq. 13); NaN where one is constant."""
    if not len(right):
        return math.nan
    c, y = confidence - confidence.mean(), right - right.mean()
    spread = math.sqrt(float((c * c).sum()) * float((y * y).sum()))
    return float((c * y).sum()) / spread if spread > 1e-12 else math.nan


@torch.no_grad()
def match_sequence(
    reader: PictureReader, clip: Clip, name: str, points: int = 8
) -> SequenceMatches:
    """Match a lattice of points of the first frame through the later ones, in every layer.

    Args:
        reader: Of the model.
        clip: T frames in order, as the camera saw them: the truth is the same for all models.
        name: Of the sequence.
        points: Per side of the lattice.

    Raises:
        ValueError: Fewer than two frames, or no point of the first is seen in a later one.
        RuntimeError: The model's queries or keys are not finite.
    """
    frames = len(clip)
    if frames < 2:
        raise ValueError(f"{name}: got {frames} frame, expected at least 2")
    tracks = point_tracks(batch_of([clip]).to(reader.device), points)
    if not bool(tracks.visible_BNNQ[0, 0].any()):
        raise ValueError(
            f"{name}: no point of its first frame is seen in a later one; the frames need known "
            "depth and a common view"
        )
    with LayerTap(reader.layers, projections=True) as tap:
        grid_hw = reader.read(batch_of([reader.sized(clip)]).to(reader.device))
    own_Q = patch_of(tracks.own_Q2, grid_hw)
    right, confidence, nearby = [], [], []
    for layer in reader.layers:
        q_NSAC = reader.images(tap.queries[layer.index], frames)[0]
        k_NSGC = reader.images(tap.keys[layer.index], frames)[0]
        if not bool(q_NSAC.isfinite().all() and k_NSGC.isfinite().all()):
            raise RuntimeError(f"{name}: queries or keys of layer {layer.index} are not finite")
        found = query_key_matches(q_NSAC[0], k_NSGC[1:], own_Q, grid_hw)
        track_TQ2 = tracks_px(own_Q, found.best_NQ, grid_hw, clip.size_hw)
        right.append(_near(track_TQ2[1:], tracks, clip.size_hw, grid_hw))
        confidence.append(found.confidence_NQ.double())
        nearby.append(found.nearby_NQ.double())
    every_S = torch.arange(grid_hw[0] * grid_hw[1], device=own_Q.device)
    anywhere_TS2 = tracks_px(every_S, every_S[None], grid_hw, clip.size_hw)[1:]
    chance = [
        _near(patch_N2.expand(frames - 1, len(own_Q), 2), tracks, clip.size_hw, grid_hw)
        for patch_N2 in anywhere_TS2[0]
    ]
    still_TQ2 = tracks_px(own_Q, own_Q.expand(frames - 1, -1), grid_hw, clip.size_hw)
    return SequenceMatches(
        name=name,
        right_LNQ=torch.stack(right).cpu().numpy(),
        confidence_LNQ=torch.stack(confidence).cpu().numpy(),
        nearby_LNQ=torch.stack(nearby).cpu().numpy(),
        visible_NQ=tracks.visible_BNNQ[0, 0, 1:].cpu().numpy(),
        chance_NQ=torch.stack(chance).double().mean(dim=0).cpu().numpy(),
        still_NQ=_near(still_TQ2[1:], tracks, clip.size_hw, grid_hw).cpu().numpy(),
        grid_hw=grid_hw,
    )


def _near(
    place_NQ2: Tensor, tracks: PointTracks, size_hw: tuple[int, int], grid_hw: tuple[int, int]
) -> Tensor:
    """(N, Q) bool: places, in pixels, within two patches of the truth."""
    size = place_NQ2.new_tensor([size_hw[1], size_hw[0]])
    patch = size / place_NQ2.new_tensor([grid_hw[1], grid_hw[0]])
    true_NQ2 = tracks.place_BNNQ2[0, 0, 1:] * size - 0.5
    near_NQ: Tensor = ((place_NQ2 - true_NQ2) / patch).norm(dim=-1) <= THRESHOLD
    return near_NQ
