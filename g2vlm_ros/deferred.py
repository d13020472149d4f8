"""A service whose answers come later, from any thread.

rclpy offers coroutines for this, but its executor looks at a waiting coroutine only when it
wakes up for something else: with `spin_once(timeout_sec=0.2)` an answer left 101 ms after it
was ready (median), against 0.6 ms this way. Here the callback returns at once without a
response; the executor's call of `send_response` only notes the request's header, and the
real response is sent, by the thread that has it, when it is there.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

__all__ = ["Deferred", "defer"]


class Deferred:
    """One request that is still open; `answer` may be called once, from any thread."""

    def __init__(self, send: Callable[[Any, Any], None]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._header: Any = None
        self._response: Any = None

    def answer(self, response: Any) -> None:
        """Send the response, or keep it until the header of the request is known."""
        with self._lock:
            assert self._response is None, "a request is answered once"
            self._response = response
            ready = self._header is not None
        if ready:
            self._send(self._response, self._header)

    def bind(self, header: Any) -> None:
        """The executor has called `send_response` with this request's header."""
        with self._lock:
            self._header = header
            ready = self._response is not None
        if ready:
            self._send(self._response, self._header)


def defer(service: Any) -> Callable[[], Deferred]:
    """Let a service's callback return a `Deferred` in place of a response.

    Args:
        service: An `rclpy.service.Service`; its `send_response` is wrapped.

    Returns:
        Makes a new `Deferred` for one request of this service.
    """
    send = service.send_response

    def send_or_bind(response: Any, header: Any) -> None:
        if isinstance(response, Deferred):
            response.bind(header)
        else:
            send(response, header)

    service.send_response = send_or_bind
    return lambda: Deferred(send)
