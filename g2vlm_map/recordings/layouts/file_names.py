# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What names of files say: their order, and when the frames were taken.

Names are written by people and phones: digits of other scripts are letters here, and a clock time
is no number of seconds ("at 10.15.28" is no 15.28 s).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from datetime import datetime, timezone

from ...cameras import MAX_STAMP_NS
from ..source import NS

__all__ = ["are_stamps", "increasing", "natural_key", "stamps_of_names"]

_SECONDS = re.compile(r"(?<![\d.:])([0-9]{1,12})\.([0-9]{1,12})$", re.ASCII)
_EPOCH = re.compile(r"(?<!\d)(1[0-9]{12}|1[0-9]{15}|1[0-9]{18})$", re.ASCII)
_CLOCK = re.compile(
    r"(20\d\d)[-_. ]?(\d\d)[-_. ]?(\d\d)(?:[-_ T]| at )*(\d\d)[-_.:h]?(\d\d)[-_.:m]?(\d\d)"
    r"(?:[._]?(\d{3}))?(?!\d)",
    re.ASCII,
)


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key that reads digits as numbers: frame_9 comes before frame_10."""
    parts = re.split("([0-9]+)", name)
    return [
        (0, int(part), "") if part[0] in "0123456789" else (1, 0, part) for part in parts if part
    ]


def increasing(stamps: list[int]) -> bool:
    """Whether each stamp is later than the one before."""
    return all(later > earlier for earlier, later in itertools.pairwise(stamps))


def are_stamps(stamps: list[int]) -> bool:
    """Whether these can be the stamps of a camera's frames: each later, within what int64 holds."""
    return bool(stamps) and stamps[0] > 0 and stamps[-1] < MAX_STAMP_NS and increasing(stamps)


def stamps_of_names(stems: list[str]) -> tuple[list[int], str] | None:
    """Capture times in nanoseconds as all names say them, and in words what they are.

    None where one name says nothing, or where the times do not increase.

    Args:
        stems: Names without their endings, in playing order.
    """
    readers: tuple[tuple[Callable[[str], int | None], str], ...] = (
        (_seconds, "capture times"),
        (_epoch, "capture times since 1970"),
        (_clock, "clock times"),
    )
    for read, words in readers:
        found = [read(stem) for stem in stems]
        stamps = [stamp for stamp in found if stamp is not None]
        if len(stamps) == len(stems) and are_stamps(stamps):
            utc = ", taken as UTC" if read is _clock else ""
            return stamps, f"Stamps are the {words} in the file names{utc}."
    return None


def _seconds(stem: str) -> int | None:
    found = _SECONDS.search(stem)
    if found is None or _CLOCK.search(stem):
        return None
    return int(found[1]) * NS + int(found[2].ljust(9, "0")[:9])  # a float has not the digits


def _epoch(stem: str) -> int | None:
    found = _EPOCH.search(stem)
    return None if found is None else int(found[1]) * 10 ** (19 - len(found[1]))


def _clock(stem: str) -> int | None:
    found = _CLOCK.search(stem)
    if found is None:
        return None
    *parts, millis = found.groups()
    try:
        moment = datetime(*(int(part) for part in parts), tzinfo=timezone.utc)  # type: ignore[misc, arg-type]
    except ValueError:
        return None
    return round(moment.timestamp()) * NS + int(millis or 0) * 1_000_000
