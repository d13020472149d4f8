# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the named tokens of questions carry: features of marks, things, cameras, and a summary.

`references.py` says which tokens these are, `fusion.py` holds the networks.

Shape letters: M questions, T text tokens, R references, K of them with a slot, N frames, S image
tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model import G2VLM
from .fusion import FusedImages, Places, ReferenceSlots
from .references import FRAME_SLOTS, PLACE_SLOTS, Reference

__all__ = ["NamedFeatures", "reference_features"]


@dataclass(frozen=True)
class NamedFeatures:
    """What the references of M questions add to them.

    Args:
        added_MTD: To their embeddings; zero where a token names nothing.
        things: (question, reference) of everything that was looked for by name.
        weight_RNS: How much each image token counted for it; None where nothing was.
    """

    added_MTD: Tensor
    things: tuple[tuple[int, Reference], ...] = ()
    weight_RNS: Tensor | None = None


def reference_features(
    model: G2VLM,
    images: FusedImages,
    references: Sequence[Sequence[Reference]],
    starts: Sequence[int],
    tokens: int,
) -> NamedFeatures:
    """What the references of M questions add to their embeddings.

    Args:
        model: With `reference_features`.
        images: B windows; each was asked M / B questions, window after window.
        references: Of every question.
        starts: Index of every question's start of the answer, which carries the summary.
        tokens: T, more than the largest start.
    """
    fusion = model.fusion
    assert fusion is not None, "reference_features is off"
    cameras_BND = images.cameras_BND
    device, count = cameras_BND.device, len(references)
    each = count // cameras_BND.shape[0]
    every = [(row, one) for row, several in enumerate(references) for one in several]
    marks = [pair for pair in every if pair[1].share is not None]
    things = [pair for pair in every if pair[1].words]
    frames = [pair for pair in every if pair[1].share is None and not pair[1].words]
    named = NamedFeatures(cameras_BND.new_zeros(count, tokens, cameras_BND.shape[-1]))
    slots = _empty_slots(images, references, each)
    for kind in (marks, things, frames):
        if not kind:
            continue
        rows = [(row // each, one.frame) for row, one in kind]
        window_R, frame_R = torch.tensor(rows, device=device).unbind(1)
        first_R3 = None
        if kind is marks:
            share_R2 = torch.tensor([one.share for _, one in kind], device=device)
            places = Places(window_R, frame_R, share_R2)
            features_RD, first_R3 = fusion.places(images, places), places.points(images.reading)[1]
        elif kind is things:
            words_RD = _mean_embeddings(model, [one.words for _, one in kind])
            features_RD, first_R3, weight_RNS = fusion.things(images, words_RD, window_R, frame_R)
            named = replace(named, things=tuple(kind), weight_RNS=weight_RNS)
        else:
            features_RD = cameras_BND[window_R, frame_R]
        named = replace(named, added_MTD=_put(named.added_MTD, kind, features_RD))
        slots = _filled(slots, kind, features_RD, first_R3, frame_R)
    summary_MD = fusion.summaries(images.reading, slots)
    start_M = torch.tensor(list(starts), device=device)
    row_M = torch.arange(count, device=device)
    added = named.added_MTD.index_put((row_M, start_M), summary_MD, accumulate=True)
    return replace(named, added_MTD=added)


def _mean_embeddings(model: G2VLM, names: Sequence[tuple[int, ...]]) -> Tensor:
    """(R, D) mean of the embeddings of each name's tokens."""
    flat = torch.tensor([token for name in names for token in name], device=model.device)
    ends = torch.tensor([len(name) for name in names], device=model.device).cumsum(0)
    begins = torch.cat((ends.new_zeros(1), ends[:-1]))
    return F.embedding_bag(flat, model.trunk.embed_tokens.weight, begins, mode="mean")


def _put(added_MTD: Tensor, kind: Sequence[tuple[int, Reference]], features_RD: Tensor) -> Tensor:
    places = [(row, one.token) for row, one in kind]
    row_R, token_R = torch.tensor(places, device=added_MTD.device).unbind(1)
    return added_MTD.index_put((row_R, token_R), features_RD.to(added_MTD.dtype), accumulate=True)


def _filled(
    slots: ReferenceSlots,
    kind: Sequence[tuple[int, Reference]],
    features_RD: Tensor,
    first_R3: Tensor | None,
    frame_R: Tensor,
) -> ReferenceSlots:
    """Slots with one mention of each thing in them."""
    once = {(row, one.slot): r for r, (row, one) in enumerate(kind) if one.slot >= 0}
    if not once:
        return slots
    keep_K = torch.tensor(list(once.values()), device=features_RD.device)
    row_K, slot_K = torch.tensor(list(once), device=features_RD.device).unbind(1)
    features = features_RD[keep_K].to(slots.features_MSD.dtype)
    filled_MS = slots.filled_MS.clone()
    filled_MS[row_K, slot_K] = 1.0
    slots = replace(
        slots,
        features_MSD=slots.features_MSD.index_put((row_K, slot_K), features),
        filled_MS=filled_MS,
    )
    if first_R3 is None:
        index = (row_K, slot_K - PLACE_SLOTS)
        return replace(slots, frame_MF=slots.frame_MF.index_put(index, frame_R[keep_K]))
    first = first_R3[keep_K].to(slots.first_MP3.dtype)
    return replace(slots, first_MP3=slots.first_MP3.index_put((row_K, slot_K), first))


def _empty_slots(
    images: FusedImages, references: Sequence[Sequence[Reference]], each: int
) -> ReferenceSlots:
    """Slots of M questions, looked at from the camera of their first place."""
    cameras_BND = images.cameras_BND
    count, device = len(references), cameras_BND.device
    viewers = [
        next((one.frame for one in several if one.slot >= 0 and one.frame >= 0), 0)
        for several in references
    ]
    return ReferenceSlots(
        window_M=torch.arange(count, device=device) // each,
        first_MP3=images.reading.local_BNHW3.new_zeros(count, PLACE_SLOTS, 3),
        frame_MF=torch.tensor(viewers, device=device)[:, None].repeat(1, FRAME_SLOTS),
        features_MSD=cameras_BND.new_zeros(count, PLACE_SLOTS + FRAME_SLOTS, cameras_BND.shape[-1]),
        filled_MS=cameras_BND.new_zeros(count, PLACE_SLOTS + FRAME_SLOTS),
    )
