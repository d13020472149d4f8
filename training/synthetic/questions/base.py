# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question is: words, answer, score's ingredients, and where its words point to."""

from __future__ import annotations

from dataclasses import dataclass, replace

from g2vlm_model.interface import PixelMark

__all__ = ["Ground", "Question"]


@dataclass(frozen=True)
class Ground:
    """What some words of a question are about.

    Args:
        end: Index in the text behind the last of these words.
        frame: Index of the frame, -1 for all frames.
        objects: Object ids that are meant, or empty.
        pixel: (row, column) that is meant, or None. Without objects and pixel: the whole frame.
    """

    end: int
    frame: int
    objects: tuple[int, ...] = ()
    pixel: tuple[int, int] | None = None


@dataclass(frozen=True)
class Question:
    """A question as the model sees it, and its answer.

    Args:
        task: One of `TASKS`.
        text: One line per mark, then the question.
        answer: The words to say.
        value: The number in the answer, None where there is no single one.
        grounds: Where the words of `text` point to.
        bare: The question without the lines of the marks.
        marks: The marks, in the order of their lines.
        options: Every answer that a choice offers, of equal chance; empty for numbers.
        values: The numbers of a view change: right, up, forward in metres, turn right, turn up
            in degrees; else empty.
        by_name: Whether places are given by the names of things instead of marks.
    """

    task: str
    text: str
    answer: str
    value: float | None = None
    grounds: tuple[Ground, ...] = ()
    bare: str = ""
    marks: tuple[PixelMark, ...] = ()
    options: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    by_name: bool = False

    @property
    def unmarked(self) -> Question:
        """The question as a model reads it that sees the marks in the pictures."""
        return replace(self, text=self.bare, grounds=self.bare_grounds)

    @property
    def bare_grounds(self) -> tuple[Ground, ...]:
        """The grounds of the words of `bare`, counted in `bare`."""
        start = len(self.text) - len(self.bare)
        return tuple(replace(g, end=g.end - start) for g in self.grounds if g.end > start)
