"""Words of a question that name a mark, a thing or a frame, and the tokens that spell them.

With `ModelConfig.reference_features` these tokens carry the features of what they name
(`fusion.py`), so a question reads what is at "A" without looking for it; "the chair" is looked
for among the image tokens by its words. The token that starts the answer carries a summary of
all of them: what has to be compared stands side by side where it is needed.

Shape letters: M questions, T text tokens, R references, K of them with a slot, N frames, S image
tokens per frame, D width.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from .fusion import FRAME_SLOTS, PLACE_SLOTS, FusedImages, Places, ReferenceSlots
from .interface import PixelMark
from .model import G2VLM
from .tokenizer import Tokenizer

__all__ = ["NamedFeatures", "Reference", "find_references", "reference_features"]

_FRAME = re.compile(r"\b(?:frame|image|picture|view) (\d+)\b", re.IGNORECASE)
_THE = re.compile(r"\b[Tt]he (?=[a-z])|\b[Hh]ow many (?=[a-z])")
_WORD = re.compile(r"[a-z]+(?: |\b)")
_OWN_FRAME = re.compile(r" (?:in|of) (?:frame|image|picture|view) (\d+)\b", re.IGNORECASE)
_MAX_WORDS = 3
# Words that end a name, and nouns that name nothing which could be seen.
_NO_NAME = frozenset(
    (
        *("in", "from", "at", "of", "to", "and", "or", "is", "are", "was", "were", "for", "with"),
        *("do", "does", "did", "differ", "left", "right", "nearer", "farther", "closer", "behind"),
        *("above", "below", "on", "under", "near", "beside", "visible", "there", "camera"),
        *("cameras", "frame", "depth", "depths", "difference", "distance", "floor", "room"),
        *("same", "motion", "position", "area", "place", "angle", "degrees", "size"),
    )
)


@dataclass(frozen=True)
class Reference:
    """A token that names something of the scene.

    Args:
        token: Index of the name's last token in the question.
        frame: Index of the frame; -1 for a thing in any frame.
        share: (x, y) of a mark as shares of the picture's width and height.
        words: Token ids of a thing's name; without share and words it is the frame itself.
        slot: Place in the summary: marks in their order, then things in theirs; frames that the
            question itself names in theirs; -1 for more than there are slots.
    """

    token: int
    frame: int
    share: tuple[float, float] | None = None
    words: tuple[int, ...] = ()
    slot: int = -1


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


class _Text:
    """A question's text with its tokens."""

    def __init__(self, tokenizer: Tokenizer, text: str) -> None:
        self.text = text
        self.ids = tokenizer.encode(text)
        self._begins = tokenizer.begins(text)

    def token(self, end: int) -> int:
        """Index of the token that holds the character ahead of `end`."""
        return sum(begin < end for begin in self._begins) - 1


def find_references(
    tokenizer: Tokenizer,
    text: str,
    marks: Sequence[PixelMark],
    sizes_hw: Sequence[tuple[int, int]],
) -> tuple[Reference, ...]:
    """Find every mention of a mark's label, of a thing ("the chair") or of a frame ("frame 2").

    Labels are whole words and case counts, so the article in "is there a chair" is no mark "A".
    A mark without a label is called `mark`, as `question_with_marks` calls it. A thing is looked
    for in the frame behind its name, else in the only frame of the question, else in all.

    Args:
        tokenizer: Of the model.
        text: The question with the lines of its marks.
        marks: Of the question, inside their pictures.
        sizes_hw: (height, width) of each frame's original picture.
    """
    whole = _Text(tokenizer, text)
    found = []
    for number, mark in enumerate(marks):
        height, width = sizes_hw[mark.frame_index]
        share = ((mark.u + 0.5) / width, (mark.v + 0.5) / height)
        name = re.escape(mark.label or "mark")
        slot = number if number < PLACE_SLOTS else -1
        for match in re.finditer(rf"(?<!\w){name}(?!\w)", text):
            found.append(Reference(whole.token(match.end()), mark.frame_index, share, slot=slot))
    head = sum(len(line) for line in text.splitlines(keepends=True)[: len(marks)])
    frames = [
        (match, int(match.group(1)) - 1)
        for match in _FRAME.finditer(text)
        if 1 <= int(match.group(1)) <= len(sizes_hw)
    ]
    order = list(dict.fromkeys(frame for match, frame in frames if match.start() >= head))
    for match, frame in frames:
        rank = order.index(frame) if match.start() >= head else FRAME_SLOTS
        slot = PLACE_SLOTS + rank if rank < FRAME_SLOTS else -1
        found.append(Reference(whole.token(match.end()), frame, slot=slot))
    only = order[0] if len(order) == 1 else -1
    return (*found, *_things(whole, head, only, len(sizes_hw), len(marks)))


def _things(whole: _Text, head: int, only: int, frames: int, first_slot: int) -> list[Reference]:
    """Things that a question names behind its lines of marks."""
    found: list[Reference] = []
    slots: dict[tuple[tuple[int, ...], int], int] = {}
    for start in _THE.finditer(whole.text, head):
        end = start.end()
        for _ in range(_MAX_WORDS):
            word = _WORD.match(whole.text, end if end == start.end() else end + 1)
            if word is None or word.group().strip() in _NO_NAME:
                break
            end = word.end() - word.group().endswith(" ")
        if end == start.end():
            continue
        own = _OWN_FRAME.match(whole.text, end)
        frame = only if own is None else int(own.group(1)) - 1
        if frame >= frames:
            continue
        last = whole.token(end)
        words = tuple(whole.ids[whole.token(start.end() + 1) : last + 1])
        slot = slots.setdefault((words, frame), first_slot + len(slots))
        found.append(Reference(last, frame, words=words, slot=slot if slot < PLACE_SLOTS else -1))
    return found


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
