# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Work in forked processes: what is imported once serves many runs."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

__all__ = ["Child", "be_subreaper"]

_PR_SET_CHILD_SUBREAPER = 36  # of linux/prctl.h
_CRASHED = 70  # EX_SOFTWARE: an exception came out of the work
_POLL_S = 0.005


def be_subreaper() -> None:
    """Inherit what killed children leave behind, so that it can be seen and ended.

    Raises:
        OSError: This system has no such thing.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


class Child:
    """A forked process that does some work.

    Args:
        work: Gives the exit code; what it raises is 70, with its traceback in the log.
        log: Gets stdout and stderr; None: nobody does.
    """

    def __init__(self, work: Callable[[], int], log: Path | None = None) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._code: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            _work(work, log)

    def signal(self, number: int) -> None:
        """Send a signal, where it still runs."""
        if self._code is None:
            os.kill(self.pid, number)

    def wait_or(self, seconds: float) -> bool:
        """Wait for some time; True where it has ended."""
        deadline = time.monotonic() + seconds
        while not self._has_ended():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def wait(self, seconds: float) -> int:
        """The exit code, negative for a signal; who takes longer than that is killed."""
        if not self.wait_or(seconds):
            self.signal(signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._code = -signal.SIGALRM  # of what did not end in time
        assert self._code is not None
        return self._code

    def _has_ended(self) -> bool:
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code is not None


def _work(work: Callable[[], int], log: Path | None) -> None:
    """The child's life; does not return."""
    code = _CRASHED
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        sink = os.open(os.devnull if log is None else log, flags, 0o666)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        code = work()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
