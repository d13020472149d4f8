# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Work in a process of its own: when a library crashes there, this one goes on and says so.

TensorRT compiles and runs in C++; a fault there ends the process that it is in, and an error of
the GPU stays with that process. A child also can be ended at any moment.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Event
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

from g2vlm_model.processes import end_with_spawner

from .progress import Report

__all__ = ["CancelledError", "CrashedError", "run_apart"]

T = TypeVar("T")
P = ParamSpec("P")

POLL_S = 0.05
GRACE_S = 1.5  # for a child that was asked to end


class CancelledError(Exception):
    """Somebody ended the work; nothing of it is left."""


class CrashedError(RuntimeError):
    """The child ended without a result; the text says how."""


def run_apart(
    what: str,
    report: Report,
    cancelled: Callable[[], bool],
    work: Callable[Concatenate[Report, Callable[[], bool], P], T],
    *arguments: P.args,
    **options: P.kwargs,
) -> T:
    """Call a function in a child process.

    Args:
        what: Is done, in words, for errors.
        report: Called here with what the child reports.
        cancelled: Asked here; the child is asked to end, and ended if it does not.
        work: Function of a module, called with a report, a `cancelled` and the arguments, which
            are sent to the child, as its result is sent back.
        arguments, options: Of `work`.

    Raises:
        CancelledError: `cancelled` was true.
        CrashedError: The child crashed or was ended.
        Exception: What `work` raised.
    """
    spawned = multiprocessing.get_context("spawn")
    ours, theirs = spawned.Pipe(duplex=False)
    stop = spawned.Event()
    child = spawned.Process(
        target=_child, args=(theirs, stop, work, arguments, options), daemon=True, name=what
    )
    with ours:
        try:
            child.start()
            theirs.close()
            return cast(T, _wait(what, child, ours, stop, report, cancelled))
        finally:
            if child.is_alive():
                child.kill()
            child.join()


def _wait(
    what: str,
    child: Any,
    ours: Connection,
    stop: Event,
    report: Report,
    cancelled: Callable[[], bool],
) -> object:
    """Pass on reports until there is a result."""
    asked_at: float | None = None
    while True:
        if asked_at is None and cancelled():
            stop.set()
            asked_at = time.monotonic()
        if asked_at is not None and time.monotonic() - asked_at > GRACE_S:
            raise CancelledError(f"{what} was cancelled")
        try:
            if not ours.poll(POLL_S):
                continue
            kind, content = ours.recv()
        except (EOFError, OSError):
            if asked_at is not None:
                raise CancelledError(f"{what} was cancelled") from None
            child.join()
            raise CrashedError(f"{what}: {_how(child.exitcode)}") from None
        if kind == "report":
            report(*content)
        elif asked_at is not None:
            raise CancelledError(f"{what} was cancelled")
        elif kind == "result":
            return content
        else:
            raise content


def _child(
    theirs: Connection,
    stop: Event,
    work: Callable[..., object],
    arguments: tuple[object, ...],
    options: dict[str, object],
) -> None:
    end_with_spawner()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which decides
    os.dup2(2, 1)  # what C++ prints is no result and no progress of the command

    def report(stage: str, fraction: float, seconds_left: float | None) -> None:
        theirs.send(("report", (stage, fraction, seconds_left)))  # fails when the parent is gone

    try:
        answer = ("result", work(report, stop.is_set, *arguments, **options))
    except Exception as error:  # handed to the parent, which raises it
        answer = ("error", error)
    theirs.send(answer)


def _how(code: int) -> str:
    if code >= 0:
        return f"its process ended with code {code} and no result"
    name = signal.Signals(-code).name
    memory = ", perhaps for want of memory" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{memory}"
