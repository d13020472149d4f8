# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Memory that C's allocator keeps for later is given back to the system, now and then.

A pass allocates and frees hundreds of blocks of some megabytes; what the map keeps of it lies
between them, and glibc gives back the end of its heap only. The holes are used again, but each
hole that was ever touched stays resident: for a map of 60 MB that came to 220 MB. `malloc_trim(3)`
gives the pages within all holes back, in 10 to 50 ms; the next pass faults some in again
(docs/reliability.md, "Soak"). Models of gigabytes on a CPU keep no such holes to begin with
(`machine.keep_no_large_blocks`).
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

__all__ = ["Heap"]

_PERIOD_S = 30.0
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)


class Heap:
    """Gives the holes of the heap back; used by one thread. Does nothing without glibc.

    Args:
        period_s: Between two times.
        clock: Seconds that rise.
    """

    def __init__(
        self, period_s: float = _PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._period_s, self._clock = period_s, clock
        self._last = clock()

    def tend(self) -> bool:
        """To be called between passes; whether it was time and there was something to give back."""
        if _TRIM is None or self._clock() - self._last < self._period_s:
            return False
        given_back = bool(_TRIM(0))
        self._last = self._clock()
        return given_back
