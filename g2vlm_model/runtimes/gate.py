# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whose turn it is on the device: geometry first, questions in small steps.

One piece of work runs at a time. A question works in steps (one decode step, a bounded piece
of its prefill) and gives the device back after each; an observation that waits goes before
any waiting step. After an observation one waiting step goes first, so that observations that
follow each other without a gap do not starve the questions. Both ways the wait of an
observation is bounded by one step.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DeviceGate"]


class DeviceGate:
    """A lock with two kinds of holders; not re-entrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._busy = False
        self._urgent_waiting = 0
        self._steps_waiting = 0
        self._step_owed = False

    @contextmanager
    def observation(self) -> Iterator[None]:
        """Hold the device for a whole observation."""
        with self._changed:
            self._urgent_waiting += 1
            try:
                self._changed.wait_for(self._free_for_observation)
            finally:
                self._urgent_waiting -= 1
            self._busy = True
        try:
            yield
        finally:
            self._release(owed=True)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Hold the device for one step of a question."""
        with self._changed:
            self._steps_waiting += 1
            try:
                self._changed.wait_for(self._free_for_step)
            except BaseException:  # an interrupt while waiting: the turn goes to the next
                self._step_owed = False
                self._changed.notify_all()
                raise
            finally:
                self._steps_waiting -= 1
            self._busy = True
            self._step_owed = False
        try:
            yield
        finally:
            self._release(owed=False)

    def _release(self, owed: bool) -> None:
        with self._changed:
            self._busy = False
            self._step_owed = owed and self._steps_waiting > 0
            self._changed.notify_all()

    def _free_for_observation(self) -> bool:
        return not self._busy and not self._step_owed

    def _free_for_step(self) -> bool:
        return not self._busy and (self._step_owed or self._urgent_waiting == 0)
