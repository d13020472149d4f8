"""Words of a question that name a mark or a frame, and the tokens that spell them.

With `ModelConfig.reference_features` these tokens carry the features of what they name
(`fusion.py`), so a question reads what is at "A" without looking for it. The token that starts
the answer carries a summary of all of them: what has to be compared stands side by side where it
is needed.

Shape letters: M questions, T text tokens, R references, S slots of a summary, D width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .fusion import (
    FRAME_SLOTS,
    PLACE_SLOTS,
    FusedImages,
    GeometryFusion,
    Places,
    ReferenceSlots,
)
from .interface import PixelMark
from .tokenizer import Tokenizer

__all__ = ["Reference", "find_references", "reference_features"]

_FRAME = re.compile(r"\b(?:frame|image|picture|view) (\d+)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """A token that names something of the scene.

    Args:
        token: Index of the name's last token in the question.
        frame: Index of the frame.
        share: (x, y) of a mark as shares of the picture's width and height; None: the frame.
        slot: Place in the summary: marks in their order, then the frames that the question
            itself names in theirs; -1 for more than there are slots.
    """

    token: int
    frame: int
    share: tuple[float, float] | None = None
    slot: int = -1


def find_references(
    tokenizer: Tokenizer,
    text: str,
    marks: Sequence[PixelMark],
    sizes_hw: Sequence[tuple[int, int]],
) -> tuple[Reference, ...]:
    """Find every mention of a mark's label or of a frame's number ("frame 2").

    Labels are whole words and case counts, so the article in "is there a chair" is no mark "A".
    A mark without a label is called `mark`, as `question_with_marks` calls it.

    Args:
        tokenizer: Of the model.
        text: The question with the lines of its marks.
        marks: Of the question, inside their pictures.
        sizes_hw: (height, width) of each frame's original picture.
    """
    begins = tokenizer.begins(text)

    def token(end: int) -> int:
        return sum(begin < end for begin in begins) - 1

    found = []
    for number, mark in enumerate(marks):
        height, width = sizes_hw[mark.frame_index]
        share = ((mark.u + 0.5) / width, (mark.v + 0.5) / height)
        name = re.escape(mark.label or "mark")
        slot = number if number < PLACE_SLOTS else -1
        for match in re.finditer(rf"(?<!\w){name}(?!\w)", text):
            found.append(Reference(token(match.end()), mark.frame_index, share, slot))
    head = sum(len(line) for line in text.splitlines(keepends=True)[: len(marks)])
    order: list[int] = []
    for match in _FRAME.finditer(text):
        frame = int(match.group(1)) - 1
        if not 0 <= frame < len(sizes_hw):
            continue
        if match.start() >= head and frame not in order:
            order.append(frame)
        rank = order.index(frame) if match.start() >= head else FRAME_SLOTS
        slot = PLACE_SLOTS + rank if rank < FRAME_SLOTS else -1
        found.append(Reference(token(match.end()), frame, slot=slot))
    return tuple(found)


def reference_features(
    fusion: GeometryFusion,
    images: FusedImages,
    references: Sequence[Sequence[Reference]],
    starts: Sequence[int],
    tokens: int,
) -> Tensor:
    """What the references of M questions add to their embeddings.

    Args:
        fusion: Of the model.
        images: B windows; each was asked M / B questions, window after window.
        references: Of every question.
        starts: Index of every question's start of the answer, which carries the summary.
        tokens: T, more than the largest start.

    Returns:
        (M, T, D), zero where a token names nothing.
    """
    cameras_BND = images.cameras_BND
    count, each = len(references), len(references) // cameras_BND.shape[0]
    added_MTD = cameras_BND.new_zeros(count, tokens, cameras_BND.shape[-1])
    marked = [(row, one) for row, several in enumerate(references) for one in several if one.share]
    framed = [
        (row, one) for row, several in enumerate(references) for one in several if not one.share
    ]
    device = cameras_BND.device
    slots = _empty_slots(images, references, each)
    for named in (marked, framed):
        if not named:
            continue
        rows = [(row, one.token, row // each, one.frame) for row, one in named]
        row_R, token_R, window_R, frame_R = torch.tensor(rows, device=device).unbind(1)
        if named is marked:
            share_R2 = torch.tensor([one.share for _, one in named], device=device)
            places = Places(window_R, frame_R, share_R2)
            features_RD = fusion.places(images, places)
        else:
            features_RD = cameras_BND[window_R, frame_R]
        added_MTD = added_MTD.index_put((row_R, token_R), features_RD, accumulate=True)
        # One mention of each thing goes into its slot.
        once = {(row, one.slot): r for r, (row, one) in enumerate(named) if one.slot >= 0}
        if not once:
            continue
        keep_K = torch.tensor(list(once.values()), device=device)
        row_K, slot_K = torch.tensor(list(once), device=device).unbind(1)
        features_MSD = slots.features_MSD.index_put((row_K, slot_K), features_RD[keep_K])
        filled_MS = slots.filled_MS.clone()
        filled_MS[row_K, slot_K] = 1.0
        first_MP3, frame_MF = slots.first_MP3, slots.frame_MF
        if named is marked:
            first_R3 = places.points(images.reading)[1]
            first_MP3 = first_MP3.index_put((row_K, slot_K), first_R3[keep_K])
        else:
            frame_MF = frame_MF.index_put((row_K, slot_K - PLACE_SLOTS), frame_R[keep_K])
        slots = ReferenceSlots(slots.window_M, first_MP3, frame_MF, features_MSD, filled_MS)
    summary_MD = fusion.summaries(images.reading, slots)
    start_M = torch.tensor(list(starts), device=device)
    row_M = torch.arange(count, device=device)
    return added_MTD.index_put((row_M, start_M), summary_MD, accumulate=True)


def _empty_slots(
    images: FusedImages, references: Sequence[Sequence[Reference]], each: int
) -> ReferenceSlots:
    """Slots of M questions, looked at from the camera of their first place."""
    cameras_BND = images.cameras_BND
    count, device = len(references), cameras_BND.device
    viewers = [
        next((one.frame for one in several if one.share is not None), 0) for several in references
    ]
    return ReferenceSlots(
        window_M=torch.arange(count, device=device) // each,
        first_MP3=images.reading.local_BNHW3.new_zeros(count, PLACE_SLOTS, 3),
        frame_MF=torch.tensor(viewers, device=device)[:, None].repeat(1, FRAME_SLOTS),
        features_MSD=cameras_BND.new_zeros(count, PLACE_SLOTS + FRAME_SLOTS, cameras_BND.shape[-1]),
        filled_MS=cameras_BND.new_zeros(count, PLACE_SLOTS + FRAME_SLOTS),
    )
