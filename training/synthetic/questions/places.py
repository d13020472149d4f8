# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places that questions are about, by mark or by name, and the writing of their words.

Shape letters: M places.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import PixelMark
from g2vlm_model.marks import question_with_marks

from .base import Ground, Question
from .view import Seen, View
from .words import LETTERS, template

__all__ = ["Place", "Pool", "choice", "draw_pool", "write"]

_SPOTS = 48  # marks to choose from, in all frames together
_ON_THINGS = 0.6  # share of the marks that stand on named things
_BY_NAME = 0.6  # how often a form by name is tried; it is possible less often than marks
_LETTERED = 0.5  # share of the choices that offer lettered options


@dataclass(frozen=True)
class Place:
    """One place as words mean it.

    Args:
        frame: Index of the frame that shows it.
        pixel: (row, column) there.
        seen: The thing, where the place is given by name.
        label: The label of its mark, where it is given by a mark.
        tell_frame: Whether its frame is part of its name.
    """

    frame: int
    pixel: tuple[int, int]
    seen: Seen | None
    label: str
    tell_frame: bool

    @staticmethod
    def of(seen: Seen) -> Place:
        """A named thing."""
        return Place(seen.frame, (round(seen.row), round(seen.column)), seen, "", False)


@dataclass(frozen=True, eq=False)
class Pool:
    """Places to choose from, all marks or all names.

    Args:
        frame_M: Index of the frame that shows each.
        pixel_M2: (row, column) there.
        world_M3: Their points: the marked one, or the middle of the thing's box.
        seen: The things, empty for marks.
        several: Whether the places lie in different frames.
    """

    frame_M: NDArray[np.int64]
    pixel_M2: NDArray[np.int64]
    world_M3: NDArray[np.float64]
    seen: tuple[Seen, ...]
    several: bool

    def __len__(self) -> int:
        return len(self.frame_M)

    @property
    def by_name(self) -> bool:
        """Whether its places are given by name."""
        return bool(self.seen)

    def place(self, index: int, label: str) -> Place:
        """One of them, with the label that its mark gets."""
        row, column = (int(x) for x in self.pixel_M2[index])
        seen = self.seen[index] if self.seen else None
        return Place(int(self.frame_M[index]), (row, column), seen, label, self.several)


def draw_pool(view: View, rng: np.random.Generator, several: bool, least: int) -> Pool | None:
    """Places by mark or by name: of one random frame, or of several.

    Args:
        view: The window.
        rng: Source of every choice.
        several: From all frames, at least two.
        least: How many are needed.
    """
    if several and view.frames < 2:
        return None
    frames = range(view.frames) if several else [int(rng.integers(view.frames))]
    if rng.random() < _BY_NAME:
        pool = _named_pool(view, rng, frames, several)
    else:
        pool = _marked_pool(view, rng, frames, several)
    if pool is None or len(pool) < least:
        return None
    return pool


def _named_pool(
    view: View, rng: np.random.Generator, frames: Sequence[int], several: bool
) -> Pool | None:
    """Each uniquely named thing once, in a random one of the frames that show its middle."""
    shown: dict[int, list[Seen]] = {}
    for one in view.named_anywhere if several else view.named[frames[0]]:
        shown.setdefault(one.thing.object_id, []).append(one)
    if not shown:
        return None
    chosen = tuple(options[int(rng.integers(len(options)))] for options in shown.values())
    return Pool(
        frame_M=np.array([one.frame for one in chosen]),
        pixel_M2=np.array([[round(one.row), round(one.column)] for one in chosen]),
        world_M3=np.array([one.thing.centre for one in chosen], np.float64),
        seen=chosen,
        several=several,
    )


def _marked_pool(
    view: View, rng: np.random.Generator, frames: Sequence[int], several: bool
) -> Pool | None:
    width = view.size_hw[1]
    frame_parts, pixel_parts, world_parts = [], [], []
    for frame in frames:
        every, on_things = view.spots[frame]
        if len(every) < 4:
            continue
        count = max(4, _SPOTS // len(frames))
        of_things = rng.random(count) < _ON_THINGS if len(on_things) else np.zeros(count, bool)
        flat = every[rng.integers(len(every), size=count)]
        if len(on_things):
            flat = np.where(of_things, on_things[rng.integers(len(on_things), size=count)], flat)
        pixel = np.stack(np.divmod(flat, width), axis=-1)
        frame_parts.append(np.full(count, frame))
        pixel_parts.append(pixel)
        world_parts.append(view.world(frame, pixel))
    if not frame_parts:
        return None
    return Pool(
        np.concatenate(frame_parts), np.concatenate(pixel_parts), np.concatenate(world_parts),
        (), several,
    )  # fmt: skip


@dataclass
class _Writer:
    """Text that grows, with the grounds of its words."""

    text: str = ""

    def __post_init__(self) -> None:
        self.grounds: list[Ground] = []
        self.marks: list[PixelMark] = []

    def add(self, slot: Place | int | str) -> None:
        """Append words, a frame (by index) or a place."""
        if isinstance(slot, str):
            self.text += slot
        elif isinstance(slot, int):
            self.text += f"frame {slot + 1}"
            self.grounds.append(Ground(len(self.text), slot))
        elif slot.seen is None:
            self.text += slot.label
            self.grounds.append(Ground(len(self.text), slot.frame, pixel=slot.pixel))
            mark = PixelMark(slot.frame, slot.pixel[1], slot.pixel[0], slot.label)
            if mark not in self.marks:
                self.marks.append(mark)
        else:
            self.text += f"the {slot.seen.name}"
            ids = (slot.seen.thing.object_id,)
            self.grounds.append(Ground(len(self.text), slot.frame, ids))
            if slot.tell_frame:
                self.add(" in ")
                self.add(slot.frame)


def write(
    view: View,
    task: str,
    template: str,
    slots: Mapping[str, Place | int | str],
    answer: str,
    *,
    value: float | None = None,
    options: Sequence[str] = (),
    values: Sequence[float] = (),
    extra_marks: Sequence[Place] = (),
    kinds: Sequence[tuple[str, int, tuple[int, ...]]] = (),
) -> Question:
    """Fill a template and ground its words.

    A clause " in {f}" (which frame) is left out where marks say it already.

    Args:
        view: The window.
        task: Name of the type.
        template: With fields in braces.
        slots: What each field is: a place, a frame's index or words.
        answer, value, options, values: See `Question`.
        extra_marks: Marks that the text does not name one by one.
        kinds: Words of the text that mean several things: (words, frame or -1, object ids).
    """
    places = [slot for slot in slots.values() if isinstance(slot, Place)]
    by_name = any(place.seen is not None for place in places)
    if any(place.seen is None for place in places):
        template = template.replace(" in {f}", "")
    writer = _Writer()
    for literal, field, _, _ in string.Formatter().parse(template):
        writer.add(literal)
        if field is not None:
            writer.add(slots[field])
    bare = writer.text
    for words, frame, ids in kinds:
        writer.grounds.append(Ground(bare.index(words) + len(words), frame, ids))
    marks = list(writer.marks)
    for place in extra_marks:
        mark = PixelMark(place.frame, place.pixel[1], place.pixel[0], place.label)
        if mark not in marks:
            marks.append(mark)
    marks.sort(key=lambda mark: mark.label)
    text = question_with_marks(bare, marks, view.sizes)
    grounds, end = [], -1
    for mark, line in zip(marks, text.splitlines(), strict=False):
        end += len(line) + 1
        grounds.append(Ground(end, mark.frame_index, pixel=(int(mark.v), int(mark.u))))
    start = len(text) - len(bare)
    grounds += [Ground(g.end + start, g.frame, g.objects, g.pixel) for g in writer.grounds]
    return Question(
        task, text, answer, value, tuple(grounds), bare, tuple(marks), tuple(options),
        tuple(values), by_name,
    )  # fmt: skip


def choice(
    view: View,
    rng: np.random.Generator,
    task: str,
    slots: Mapping[str, Place | int | str],
    options: Sequence[str],
    right: int,
) -> Question:
    """A question with a choice: half of them by letter in random order, half by words.

    Args:
        view: The window.
        rng: Source of every choice.
        task: Name of the type and of its templates.
        slots: See `write`.
        options: All answers in words.
        right: Index of the right one.
    """
    asked = template(rng, task)
    if rng.random() < _LETTERED:
        order = rng.permutation(len(options))
        offered = " ".join(f"{LETTERS[k]}. {options[o]}" for k, o in enumerate(order))
        letter = LETTERS[int(np.flatnonzero(order == right)[0])]
        return write(
            view, task, f"{asked} {offered}", slots, letter, options=LETTERS[: len(options)]
        )
    offered = "left or right, in front or behind" if len(options) > 2 else " or ".join(options)
    return write(view, task, f"{asked[:-1]}, {offered}?", slots, options[right], options=options)
