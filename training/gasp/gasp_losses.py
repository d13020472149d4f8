# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The two losses of GASP (arXiv 2605.30231, eqs. 5 to 8), from one matrix of similarities.

A chunk of anchors is compared with all patches of its window at once; the contrastive loss, the
soft match and the expected depth all read that matrix, which is then dropped and made again in
the backward pass. So memory for similarities is that of one chunk, and what is kept grows with
the number of anchors only by their indices and depths.

Shape letters: M anchors (of a chunk), N frames, P patches per frame, K = N * P, E descriptor
width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .gasp_options import GaspOptions
from .gasp_tracks import Anchors

__all__ = ["MatchSums", "match_losses", "no_sums"]

_EPS = 1e-6


@dataclass(frozen=True)
class MatchSums:
    """Sums over the (anchor, target frame) pairs of a window.

    Args:
        correspondence: Of eq. 5.
        depth: Of eq. 8 over the pairs whose target frame has depth.
        right: Pairs whose most similar patch of the target frame is the true one; no gradient.
        pairs: How many pairs.
        depth_pairs: How many of them count for the depth.
    """

    correspondence: Tensor
    depth: Tensor
    right: Tensor
    pairs: int
    depth_pairs: int

    def __add__(self, other: MatchSums) -> MatchSums:
        return MatchSums(
            self.correspondence + other.correspondence,
            self.depth + other.depth,
            self.right + other.right,
            self.pairs + other.pairs,
            self.depth_pairs + other.depth_pairs,
        )


def no_sums(like: Tensor) -> MatchSums:
    """Nothing, on the device of a tensor and part of its graph."""
    zero = like.sum() * 0.0
    return MatchSums(zero, zero, zero.detach(), 0, 0)


def match_losses(
    queries_NPE: Tensor,
    keys_NPE: Tensor,
    anchors: Anchors,
    depth_NP: Tensor,
    known_NP: Tensor,
    options: GaspOptions,
) -> MatchSums:
    """Sums of both losses over the anchors of one window.

    Args:
        queries_NPE: Descriptors of the anchors' patches, unit length, fp32.
        keys_NPE: Descriptors of what they are compared with; the same where a head gives them.
        anchors: Of the window.
        depth_NP: Mean depth of each patch.
        known_NP: bool, patches whose depth counts.
        options: Temperature, negatives, chunk.
    """
    total = no_sums(queries_NPE)
    usable_N = known_NP.any(dim=1)
    for start in range(0, len(anchors.own_M), options.chunk):
        part = slice(start, start + options.chunk)
        match_MN = anchors.match_MN[part]
        seen_MN = match_MN >= 0
        match, depth, right = checkpoint(
            _chunk_sums, queries_NPE, keys_NPE, anchors.own_M[part], match_MN,
            anchors.depth_MN[part], depth_NP, known_NP, options, use_reentrant=False,
        )  # fmt: skip
        pairs, depth_pairs = int(seen_MN.sum()), int((seen_MN & usable_N).sum())
        total = total + MatchSums(match, depth, right, pairs, depth_pairs)
    return total


def _chunk_sums(
    queries_NPE: Tensor,
    keys_NPE: Tensor,
    own_M: Tensor,
    match_MN: Tensor,
    depth_MN: Tensor,
    depth_NP: Tensor,
    known_NP: Tensor,
    options: GaspOptions,
) -> tuple[Tensor, Tensor, Tensor]:
    frames, patches = keys_NPE.shape[:2]
    asked_ME = queries_NPE.flatten(0, 1)[own_M]
    similar_MK = asked_ME @ keys_NPE.flatten(0, 1).T / options.temperature
    similar_MNP = similar_MK.unflatten(1, (frames, patches))
    seen_MN = match_MN >= 0
    positive_MN = similar_MK.gather(1, match_MN.clamp(min=0))
    if options.negatives == "target":
        surprise_MN = similar_MNP.logsumexp(dim=2) - positive_MN
    else:
        rest_M1 = _rest(similar_MK, own_M, match_MN)
        surprise_MN = F.softplus(rest_M1 - positive_MN)  # -log of eq. 5's share
    correspondence = torch.where(seen_MN, surprise_MN, 0.0).sum()
    compared_MNP = similar_MNP if options.depth > 0 else similar_MNP.detach()  # to report it
    usable_MN = seen_MN & known_NP.any(dim=1)
    seen_depth_MN = torch.where(seen_MN, depth_MN, 1.0)  # elsewhere it may be any number
    errors_MN = _depth_errors(compared_MNP, seen_depth_MN, depth_NP, known_NP)
    depth = torch.where(usable_MN, errors_MN, 0.0).sum()
    best_MN = similar_MNP.detach().amax(dim=2)
    right = (seen_MN & (positive_MN.detach() >= best_MN)).sum().to(similar_MK.dtype)
    return correspondence, depth, right


def _rest(similar_MK: Tensor, own_M: Tensor, match_MN: Tensor) -> Tensor:
    """(M, 1) logsumexp over the patches that show something else than the anchor's point."""
    same_MK = torch.zeros_like(similar_MK, dtype=torch.bool).scatter_(1, own_M[:, None], True)
    seen_in_none_MN = torch.where(match_MN >= 0, match_MN, own_M[:, None])
    same_MK.scatter_(1, seen_in_none_MN, True)
    return similar_MK.masked_fill(same_MK, _lowest(similar_MK)).logsumexp(dim=1, keepdim=True)


def _lowest(like: Tensor) -> float:
    """Stands for minus infinity, and has a gradient where nothing else is left."""
    return torch.finfo(like.dtype).min


def _depth_errors(
    similar_MNP: Tensor, depth_MN: Tensor, depth_NP: Tensor, known_NP: Tensor
) -> Tensor:
    """(M, N) relative error of the depth that the soft match expects (eqs. 6 to 8)."""
    if not bool(known_NP.all()):
        similar_MNP = similar_MNP.masked_fill(~known_NP, _lowest(similar_MNP))
    weight_MNP = similar_MNP.softmax(dim=2)
    expected_MN = torch.einsum("mnp,np->mn", weight_MNP, depth_NP)
    return (depth_MN - expected_MN).abs() / (depth_MN + expected_MN + _EPS)
