# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every rename, replace and fsync of a process: listed, and one of them made the last or a failure.

Runs in a process of its own: the functions of `os` are exchanged and never put back.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["FAULTS", "OPERATIONS", "watch"]

OPERATIONS = ("rename", "replace", "fsync")
KILL = "kill"
FAULTS: dict[str, int] = {
    KILL: 0,
    "full disk": errno.ENOSPC,
    "read-only": errno.EROFS,
    "no permission": errno.EACCES,
}
_ROOT = str(Path(__file__).resolve().parents[2])


def watch(log: Path, stop_at: int = -1, fault: str = KILL) -> None:
    """Note each of `OPERATIONS` from now on; at one of them, before it is done, do something else.

    Args:
        log: A line for each: the operation and the nearest line of the project's own code.
        stop_at: Number of that one, from 0; none where it is negative.
        fault: "kill": this process ends by SIGKILL; else a name of `FAULTS`, raised as OSError.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    count = 0

    def watched(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def one(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            number, count = count, count + 1
            os.write(descriptor, f"{name} {_place()}\n".encode())
            if number == stop_at:
                if fault == KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                raise OSError(FAULTS[fault], os.strerror(FAULTS[fault]), str(arguments[0]))
            return call(*arguments, **options)

        return one

    for name in OPERATIONS:
        setattr(os, name, watched(name, getattr(os, name)))


def _place() -> str:
    """File and line of the innermost frame in the project, without this package."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(_ROOT) and "/tests/chaos/" not in path and "/.venv" not in path:
            return f"{path[len(_ROOT) + 1 :]}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "outside"
