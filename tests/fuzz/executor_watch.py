# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How long an executor was away, less what the machine held everybody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["IDLE_S", "Watch"]

IDLE_S = 0.05  # that the executor sleeps where nothing comes


class Watch:
    """The longest time that the executor was away, less what the machine held everybody up.

    Args:
        rounds: Rounds of the executor so far.
    """

    def __init__(self, rounds: Callable[[], int]) -> None:
        self.worst_s = 0.0
        self._rounds = rounds
        self._running = True
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._running = False
        self._thread.join()

    def _run(self) -> None:
        seen, since, late_s = self._rounds(), time.monotonic(), 0.0
        while self._running:
            before = time.monotonic()
            time.sleep(0.02)
            late_s += time.monotonic() - before - 0.02  # of this watch itself
            now = self._rounds()
            if now != seen:
                seen, since, late_s = now, time.monotonic(), 0.0
                continue
            away_s = time.monotonic() - since - IDLE_S - late_s
            self.worst_s = max(self.worst_s, away_s)
