# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Those who hear of events: told in order, in the thread in which the event came about."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from .events import Event

__all__ = ["Listener", "Listeners"]

_LOG = logging.getLogger(__name__)

Listener = Callable[[Event], object]


class Listeners:
    """A list of listeners; safe between threads.

    Args:
        first: The first of them; None where there is none yet.
    """

    def __init__(self, first: Listener | None = None) -> None:
        self._listeners: list[Listener] = [] if first is None else [first]
        self._telling: set[int] = set()  # threads in which listeners run

    def add(self, listener: Listener) -> Callable[[], None]:
        """Tell somebody all events from now on; returns what ends that."""
        self._listeners = [*self._listeners, listener]

        def end() -> None:
            self._listeners = [known for known in self._listeners if known is not listener]

        return end

    def tell(self, event: Event) -> list[str]:
        """Tell all listeners; what those said that failed."""
        failures = []
        thread = threading.get_ident()
        outermost = thread not in self._telling
        self._telling.add(thread)
        try:
            for listener in self._listeners:
                try:
                    listener(event)
                except Exception as error:  # somebody else's: it must not end a thread of ours
                    failures.append(f"{type(error).__name__}: {error}")
                    _LOG.error("a listener failed at %s: %s", type(event).__name__, failures[-1])
        finally:
            if outermost:
                self._telling.discard(thread)
        return failures

    def refuse(self, what: str) -> None:
        """What a listener holds up must not be waited for in its thread.

        Raises:
            RuntimeError: A listener runs in this thread.
        """
        if threading.get_ident() in self._telling:
            raise RuntimeError(f"{what} was called by a listener; call it in another thread")
