"""Runs a `g2vlm` command as the child of a runtime, behind everything else on the machine.

    python -m g2vlm_model.runtimes.background PARENT_PID export onnx ...

The robot's own work goes first: the child has the lowest priority, is the first that the kernel
ends when memory runs out, and ends with its parent, however that one ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

__all__ = ["main"]

LOWEST_PRIORITY = 19
PR_SET_PDEATHSIG = 1  # of linux/prctl.h
END_ME_FIRST = "1000"  # the highest of proc(5) oom_score_adj


def main(argv: Sequence[str]) -> int:
    """Run the command.

    Args:
        argv: Process id of the parent, then the words behind `g2vlm`.

    Returns:
        The command's exit code.
    """
    os.nice(LOWEST_PRIORITY)
    _be_ended_first()
    _end_with(int(argv[0]))
    from g2vlm_model.cli import main as g2vlm

    return g2vlm(argv[1:])


def _be_ended_first() -> None:
    with suppress(OSError):  # another system than Linux, or a sandbox
        Path("/proc/self/oom_score_adj").write_text(END_ME_FIRST, encoding="ascii")


def _end_with(parent: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        sys.exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
