# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Sends what is due when it is due, in a thread of its own; what comes far too late is dropped."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from ..stream import Due

__all__ = ["Ahead", "Paced"]

NS = 1_000_000_000
T = TypeVar("T")
_LOOK_S = 0.1  # how long a thread sleeps before it looks whether it shall end


class Ahead(Iterator[T]):
    """Makes the items of an iterator in a thread, some of them ahead of time.

    Args:
        items: Made one after the other.
        number: How many wait at most.
    """

    def __init__(self, items: Iterator[T], number: int) -> None:
        self._items = items
        self._made: queue.Queue[T | BaseException] = queue.Queue(number)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._make, daemon=True)
        self._thread.start()

    def __next__(self) -> T:
        while not self._ended.is_set():
            try:
                item = self._made.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            if isinstance(item, BaseException):
                raise item
            return item
        raise StopIteration

    @property
    def ready(self) -> bool:
        """Whether the first one is made, or none will be."""
        return not self._made.empty() or not self._thread.is_alive()

    def close(self) -> None:
        """Make no more."""
        self._ended.set()
        self._thread.join()

    def _make(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._ended.is_set():
                    return
            self._put(StopIteration())
        except Exception as error:  # handed to whoever waits for the next item
            self._put(error)

    def _put(self, item: T | BaseException) -> None:
        while not self._ended.is_set():
            try:
                self._made.put(item, timeout=_LOOK_S)
                return
            except queue.Full:
                continue


class Paced:
    """Sends the messages of a stream, each when it is due.

    Args:
        messages: In the order in which they are due.
        send: Takes one message.
        start_ns: Monotonic clock that stands for time 0 of the messages.
        late_ns: What is later than this is dropped.
    """

    def __init__(
        self, messages: Iterator[Due], send: Callable[[Due], None], start_ns: int, late_ns: int
    ) -> None:
        self._messages, self._send = messages, send
        self._start_ns, self._late_ns = start_ns, late_ns
        self.sent = self.dropped = 0
        self.error: Exception | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether there is more to come."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            for due in self._messages:
                late_ns = time.monotonic_ns() - self._start_ns - due.time_ns
                if late_ns < 0 and self._ended.wait(-late_ns / NS):
                    return
                if late_ns > self._late_ns:
                    self.dropped += 1
                else:
                    self._send(due)
                    self.sent += 1
                if self._ended.is_set():
                    return
        except Exception as error:  # the process's main thread raises it
            self.error = error
