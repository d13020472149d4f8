# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Words of a question that name a mark, a thing or a frame, and the tokens that spell them.

With `ModelConfig.reference_features` these tokens carry the features of what they name
(`fusion.py`), so a question reads what is at "A" without looking for it; "the chair" is looked
for among the image tokens by its words. The token that starts the answer carries a summary of
all of them: what has to be compared stands side by side where it is needed. This module finds
the words and needs no torch; `named_features.py` computes what they carry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..interface import PixelMark
from ..tokenizer import Tokenizer

__all__ = ["FRAME_SLOTS", "PLACE_SLOTS", "Reference", "find_references"]

PLACE_SLOTS, FRAME_SLOTS = 4, 2
"""What a question names has so many places in its summary."""

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
