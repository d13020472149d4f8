# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A ROS domain of one's own: reserved on this machine by a lock file.

Two nodes in one domain hear each other. A number drawn at random meets another one's sooner than
one thinks (13 replays at once: even odds of a meeting among 100), so a domain is held by a lock
file in the system's folder for temporary files, for as long as the holder lives. The tests
reserve theirs in the same way.

No rclpy and nothing of the project: a test session takes its domain before anything else loads.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

__all__ = ["DOMAINS", "ReservedDomain"]

DOMAINS = range(1, 102)  # 0 is everybody's; above 101 the ports may belong to the system
LOCK_NAME = "ros_domain_{}.lock"
# DDS's mapping of a domain to the ports on which its participants are discovered.
FIRST_PORT, PORTS_PER_DOMAIN, UNICAST_OFFSET, PORTS_PER_PARTICIPANT = 7400, 250, 10, 2
LOOKED_AT = 10  # participants: the first may have ended before the others


class ReservedDomain:
    """A ROS domain that nobody else on this machine reserves; a context manager.

    A domain in which a participant already listens is passed over too, and so is the caller's
    own of `ROS_DOMAIN_ID`. The reservation ends with `close`, or with the process: child
    processes do not inherit it.

    Args:
        folder: where the lock files lie; the same for all who shall respect each other. They
            stay when the reservation ends.

    Raises:
        RuntimeError: Every domain is taken, or the folder cannot be written.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir())
        own = os.environ.get("ROS_DOMAIN_ID", "0")
        candidates = [number for number in DOMAINS if str(number) != own]
        random.SystemRandom().shuffle(candidates)
        for number in candidates:
            lock = self._lock(number)
            if lock is None:
                continue
            if _is_inhabited(number):
                os.close(lock)
                continue
            self._descriptor: int | None = lock
            self.number = number
            return
        raise RuntimeError(
            f"all {len(candidates)} ROS domains of this machine are taken (lock files in "
            f"{self._folder}); wait until another replay or test run ends"
        )

    def __enter__(self) -> ReservedDomain:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the domain back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _lock(self, number: int) -> int | None:
        """Descriptor of the locked file, None where another holds it."""
        path = self._folder / LOCK_NAME.format(number)
        try:
            try:
                # Without O_CREAT first: Linux refuses it on another user's file in /tmp.
                descriptor = os.open(path, os.O_RDONLY)
            except FileNotFoundError:
                descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        except OSError as error:
            raise RuntimeError(f"lock file {path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor


def _is_inhabited(number: int) -> bool:
    """Whether a participant of this machine listens in a domain."""
    first = FIRST_PORT + PORTS_PER_DOMAIN * number + UNICAST_OFFSET
    return any(_is_taken(first + PORTS_PER_PARTICIPANT * index) for index in range(LOOKED_AT))


def _is_taken(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return True
    return False
