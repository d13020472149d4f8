"""A long `g2vlm` command as a child process: its progress is read, its children end with it.

The child prints one JSON object per line, {"stage": str, "fraction": 0..1, "seconds_left":
float | null}, and what went wrong to stderr. Standard library only.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

__all__ = ["BuildFailedError", "BuildStopped", "OnStage", "run_command"]

_LOG = logging.getLogger(__name__)

OnStage = Callable[[str, float, float | None], None]

POLL_S = 0.1
GRACE_S = 2.0  # for a command that was interrupted, to remove its temporary files
TAIL_LINES = 40
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class BuildFailedError(RuntimeError):
    """A command of a build ended without success; the text says which, how, and what it said."""


class BuildStopped(Exception):  # noqa: N818 - not an error: nobody wants the result any more
    """The build was ended before it was done."""


def run_command(words: Sequence[str], on_stage: OnStage, stopping: threading.Event) -> None:
    """Run a `g2vlm` command to its end, at the lowest priority.

    Args:
        words: Behind `g2vlm`, without `--progress`.
        on_stage: Called in another thread with stage, fraction and seconds left.
        stopping: Set by another thread: the command and its children are ended.

    Raises:
        BuildFailedError: It could not be started, was killed, or returned another code than 0.
        BuildStopped: `stopping` was set.
    """
    shown = f"`g2vlm {' '.join(words)}`"
    module = f"{__package__}.background"
    command = [sys.executable, "-m", module, str(os.getpid()), *words, "--progress", "json"]
    try:
        process = subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # a group of its own, so that all of it can be ended
        )
    except OSError as error:
        raise BuildFailedError(f"{shown} could not be started: {error}") from error
    assert process.stdout is not None, command
    assert process.stderr is not None, command
    said: deque[str] = deque(maxlen=TAIL_LINES)
    readers = [
        threading.Thread(target=_read, args=(stream, take), name="build-output", daemon=True)
        for stream, take in (
            (process.stdout, lambda lines: _report(lines, on_stage)),
            (process.stderr, said.extend),
        )
    ]
    try:
        for reader in readers:
            reader.start()
        while not _has_ended(process) and not stopping.wait(POLL_S):
            pass
        if stopping.is_set():
            _interrupt(process)
    finally:
        _end_group(process)
        code = process.wait()
        for reader in readers:
            reader.join(GRACE_S)
    if stopping.is_set():
        raise BuildStopped
    if code:
        words = _last_words(said)
        raise BuildFailedError(
            f"{words} ({shown} {_how(code)})" if words else f"{shown} {_how(code)}"
        )


def _environment() -> dict[str, str]:
    """Of the child: finds this package too, and leaves half of the cores alone."""
    environment = dict(os.environ)
    paths = [str(PACKAGE_ROOT), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // 2)))
    environment["PYTHONUNBUFFERED"] = "1"
    return environment


def _read(stream: IO[str], take: Callable[[Iterable[str]], object]) -> None:
    with stream:
        take(stream)


def _report(lines: Iterable[str], on_stage: OnStage) -> None:
    for line in lines:
        try:
            said = json.loads(line)
            left = said["seconds_left"]
            fraction = min(1.0, max(0.0, float(said["fraction"])))
            on_stage(str(said["stage"]), fraction, None if left is None else float(left))
        except (ValueError, TypeError, KeyError):
            _LOG.debug("a build said: %s", line.rstrip())


def _has_ended(process: subprocess.Popen[str]) -> bool:
    """Whether the child has ended; it stays a zombie, so that its group's id stays its own."""
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _interrupt(process: subprocess.Popen[str]) -> None:
    """Let the command remove what it has written so far."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    deadline = time.monotonic() + GRACE_S
    while not _has_ended(process) and time.monotonic() < deadline:
        time.sleep(POLL_S / 5)


def _end_group(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _how(code: int) -> str:
    if code > 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    memory = "; memory ran out, or somebody ended it" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"


def _last_words(said: Iterable[str]) -> str:
    """The last line that says something: the message of an error, traceback or not."""
    lines = [line.strip() for line in said if line.strip()]
    return lines[-1] if lines else ""
