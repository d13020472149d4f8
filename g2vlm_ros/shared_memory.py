# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files in shared memory that Fast DDS's killed processes leave behind. Standard library only.

A participant holds a lock on the file NAME_el as long as it lives, beside its segment NAME; whose
lock can be taken has no owner any more. `fastdds shm clean` looks at the same. Names begin with
fastdds, those of Fast DDS 2 (Jazzy) with fastrtps.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["SHARED_MEMORY", "dead_segments", "remove_dead_segments"]

SHARED_MEMORY = Path("/dev/shm")
_LOCKS = re.compile(r"fast(?:dds|rtps)_[0-9a-z]{16}_[es]l")
_YOUNG_S = 60.0  # an owner may have made the file and not locked it yet


def dead_segments(folder: Path = SHARED_MEMORY) -> Iterator[tuple[Path, Path]]:
    """(lock, segment) of owners that are gone; what cannot be asked counts as alive."""
    for lock in folder.glob("fast*_*_?l"):
        if _LOCKS.fullmatch(lock.name) and not _is_held(lock):
            yield lock, lock.with_name(lock.name[:-3])


def remove_dead_segments(folder: Path = SHARED_MEMORY) -> int:
    """Remove what killed processes of this user left a minute ago or earlier; how many there were.

    Each takes the size of the transport's segment: 32 MB with the profile that is shipped.
    """
    removed = 0
    for lock, segment in dead_segments(folder):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            facts = lock.stat()
            if facts.st_uid == os.geteuid() and time.time() - facts.st_mtime > _YOUNG_S:
                segment.unlink(missing_ok=True)
                lock.unlink()
                removed += 1
    return removed


def _is_held(lock: Path) -> bool:
    """Whether a living process holds a lock."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False
