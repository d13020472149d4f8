# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which conversations of a data set can be learned from, and why others cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..base import DataError
from .conversation import Conversation
from .pool import LanguagePool

__all__ = ["LanguageCheck", "check_language"]

_SHOWN = 20


@dataclass(frozen=True)
class LanguageCheck:
    """What was seen of a data set.

    Args:
        name: Layout and folder.
        entries: In its files.
        looked_at: Of them those whose pictures were read too.
        pictures, turns, longest: Of those: how many, and most tokens of one with its pictures.
        refused: Why entries, and files as a whole, cannot be used; each names its place.
    """

    name: str
    entries: int
    looked_at: int
    pictures: int
    turns: int
    longest: int
    refused: tuple[str, ...]

    def table(self) -> str:
        """The numbers, and the first of what is refused."""
        more = len(self.refused) - _SHOWN
        return "\n".join(
            [
                *self.refused[:_SHOWN],
                *([f"and {more} more"] if more > 0 else []),
                f"{self.name}: {self.entries} conversations; {self.looked_at} with their "
                f"{self.pictures} pictures read ({self.turns} questions, at most {self.longest} "
                f"tokens); {len(self.refused)} refused",
            ]
        )


def check_language(
    pool: LanguagePool,
    most: int,
    tokens_of: Callable[[Conversation], int],
    looked: Callable[[], None],
) -> LanguageCheck:
    """Look at all entries and their files' names, and into the pictures of some.

    Args:
        pool: The data set.
        most: Read the pictures of so many at most, spread evenly.
        tokens_of: Of a conversation with its pictures, for a model; raises DataError where that
            cannot learn from it.
        looked: Called for each entry.
    """
    refused = list(pool.refused.values())
    every = -(-len(pool) // max(1, most))
    looked_at = pictures = turns = longest = 0
    for index in range(len(pool)):
        looked()
        try:
            told = pool.told(index)
            if missing := told.missing():
                raise DataError(f"{told.name}: {missing} is missing")
            if index % every:
                continue
            conversation = told.read()
            longest = max(longest, tokens_of(conversation))
        except DataError as error:
            refused.append(str(error))
            continue
        looked_at += 1
        pictures += len(conversation.pictures)
        turns += len(conversation.turns)
    return LanguageCheck(pool.name, len(pool), looked_at, pictures, turns, longest, tuple(refused))
