# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Has a test that measures time run while the other workers of the run have none under way.

Every test takes its turn: many share one, a test marked `alone` has one for itself. Two file
locks make it fair: who wants a turn alone holds the gate meanwhile, so no new test starts.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["turn"]


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Wait for a turn, and keep it.

    Args:
        folder: Holds the locks, the same for all workers of a run.
        alone: Nobody else has one meanwhile.
    """
    with (folder / "gate").open("w") as gate, (folder / "floor").open("w") as floor:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(floor, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
            if not alone:
                fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:
            # Not by closing alone: a child that a test forked may have the files open too.
            fcntl.flock(floor, fcntl.LOCK_UN)
            fcntl.flock(gate, fcntl.LOCK_UN)
