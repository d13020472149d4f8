# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One thing that is wrong, and how a check says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from g2vlm_model.interface.words import plain
from g2vlm_ros.doctor.seen import Seen

__all__ = ["Check", "Finding"]

_CHARS = 600


@dataclass(frozen=True)
class Finding:
    """What is wrong.

    Args:
        code: Of the node's reason codes where it has one for this, else the doctor's own.
        about: The topic, frame, camera, library or process.
        text: What is, and what was expected; becomes plain.
        mend: The line that mends it: a parameter, a command.
        explains: Further codes of the node's status that follow from this.
    """

    code: str
    about: str
    text: str
    mend: str
    explains: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("about", "text", "mend"):
            object.__setattr__(self, name, plain(getattr(self, name), _CHARS))


# Each looks at one kind of fault, and finds nothing where that cannot be told.
Check = Callable[[Seen], Iterator[Finding]]
