# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A node that somebody started for himself ends with him, however he ends. Standard library."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
import time

__all__ = ["PARENT_VARIABLE", "end_with_parent"]

PARENT_VARIABLE = "G2VLM_PARENT_PID"  # who sets it wants his child to end with him
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_LOOK_S = 0.5


def end_with_parent() -> None:
    """Send this process a SIGTERM when the parent that asked for it is gone.

    The kernel does so where it can; a thread looks as well, as the kernel's signal follows the
    thread that started this process, and other systems have none.
    """
    asked = os.environ.get(PARENT_VARIABLE, "")
    if not (asked.isascii() and asked.isdigit()) or os.getppid() != int(asked):
        return  # inherited by a process further down, or the parent is gone already
    with contextlib.suppress(OSError, AttributeError):  # other systems have no such call
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    threading.Thread(target=_watch, args=(int(asked),), name="g2vlm-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_S)
    os.kill(os.getpid(), signal.SIGTERM)
