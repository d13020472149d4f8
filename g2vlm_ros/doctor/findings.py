# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One thing that is wrong, and how a check says so."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from g2vlm_model.interface.words import plain
from g2vlm_ros.doctor.seen import Seen

__all__ = ["FIRST_S", "Check", "Finding", "absence_s", "told_apart"]

_CHARS = 600
_SOME = 4  # messages
FIRST_S = 1.0  # within which what is there is known and heard where cores are free


@dataclass(frozen=True)
class Finding:
    """What is wrong.

    Args:
        code: Of the node's reason codes where it has one for this, else the doctor's own.
        about: The topic, frame, camera, library or process.
        text: What is, and what was expected; becomes plain.
        mend: The line that mends it: a parameter, a command.
        explains: Further codes of the node's status that follow from this.
        margin_s: So long a wait for a core makes the same of a healthy robot; no wait does by
            default.
    """

    code: str
    about: str
    text: str
    mend: str
    explains: tuple[str, ...] = ()
    margin_s: float = math.inf

    def __post_init__(self) -> None:
        for name in ("about", "text", "mend"):
            object.__setattr__(self, name, plain(getattr(self, name), _CHARS))


def absence_s(seen: Seen) -> float:
    """The margin of what did not come: none where others came to the same listener."""
    heard = any(len(hearing.marks) >= _SOME for hearing in seen.heard.values())
    return math.inf if heard else FIRST_S


def told_apart(found: list[Finding], seen: Seen) -> tuple[list[Finding], list[Finding]]:
    """Part what is wrong from what a look that was kept from a core cannot tell.

    Returns:
        The findings that stand, and the others.
    """
    lost_s = seen.attention.lost_s
    stand = [item for item in found if item.margin_s > lost_s]
    return stand, [item for item in found if item.margin_s <= lost_s]


# Each looks at one kind of fault, and finds nothing where that cannot be told.
Check = Callable[[Seen], Iterator[Finding]]
