# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A long `g2vlm` command as a child process, behind everything else on the machine.

The robot's own work goes first: the child has the lowest priority, is the first that the kernel
ends when memory runs out, and ends with its parent, however that one ends; its own children end
with it. It prints one JSON object per line, {"stage": str, "fraction": 0..1, "seconds_left":
float | null}, and what went wrong to stderr.

    python -m g2vlm_model.runtimes.build_process export onnx ...
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
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from ..interface import SpatialRuntime
from ..processes import end_with_parent, started
from .store import Store
from .store_entry import StoreEntry, StoreKey

__all__ = ["BuildContext", "BuildFailedError", "BuildStopped", "OnStage", "main", "run_command"]

_LOG = logging.getLogger(__name__)

OnStage = Callable[[str, float, float | None], None]

POLL_S = 0.1
LOCK_WAIT_S = 0.5
GRACE_S = 2.0  # for a command that was interrupted, to remove its temporary files
TAIL_LINES = 40
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


class BuildFailedError(RuntimeError):
    """A command of a build ended without success; the text says which, how, and what it said."""


class BuildStopped(Exception):  # noqa: N818 - not an error: nobody wants the result any more
    """The build was ended before it was done."""


@dataclass(frozen=True)
class BuildContext:
    """What a build may use; all of it ends with `BuildStopped` when the runtime is closed.

    Args:
        on_stage: Takes stage, fraction and seconds left.
        stopping: Set when the build has to end.
        serving: What serves meanwhile; not the build's to close.
        alone: Enters a block in which nothing is served: who asks meanwhile waits.
    """

    on_stage: OnStage
    stopping: threading.Event
    serving: SpatialRuntime
    alone: Callable[[], AbstractContextManager[None]]

    def stage(self, name: str, fraction: float = 0.0, seconds_left: float | None = None) -> None:
        """Say what the build is at; raises `BuildStopped` where it has to end."""
        if self.stopping.is_set():
            raise BuildStopped
        self.on_stage(name, fraction, seconds_left)

    def entry(
        self, store: Store, key: StoreKey, words: Sequence[str], needed_bytes: int = 0
    ) -> StoreEntry:
        """An entry of the store, built by a command where it is not there yet.

        One process builds, others that want the same wait for it and share the result.

        Args:
            store, key, needed_bytes: As in `Store.building`.
            words: Of the `g2vlm` command that writes it, without `--out`.

        Raises:
            BuildFailedError, OSError: The build failed; the text says what to do.
            BuildStopped: The build has to end.
        """
        with ExitStack() as stack:
            while True:
                try:
                    waiting = store.building(key, needed_bytes=needed_bytes, wait_s=LOCK_WAIT_S)
                    building = stack.enter_context(waiting)
                    break
                except TimeoutError:
                    self.stage("waiting for another process that builds the same")
            if building.entry is None:
                command = (*words, "--out", str(building.folder))
                run_command(command, self.on_stage, self.stopping)
                building.commit()
            assert building.entry is not None, key
            return building.entry


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
    module = f"{__package__}.build_process"
    command = [sys.executable, "-m", module, *words, "--progress", "json"]
    try:
        process = started(
            command,
            _environment(),
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
    takers = ((process.stdout, partial(_report, on_stage)), (process.stderr, said.extend))
    readers = [
        threading.Thread(target=_read, args=pair, name="build-output", daemon=True)
        for pair in takers
    ]
    try:
        for reader in readers:
            reader.start()
        while not _has_ended(process) and not stopping.wait(POLL_S):
            pass
        if stopping.is_set():
            _interrupt(process)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
        for reader in readers:
            reader.join(GRACE_S)
    if stopping.is_set():
        raise BuildStopped
    if code:
        last = next((line.strip() for line in reversed(said) if line.strip()), "")  # the error
        how = f"{shown} {_how(code)}"
        raise BuildFailedError(f"{last} ({how})" if last else how)


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


def _report(on_stage: OnStage, lines: Iterable[str]) -> None:
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


def _how(code: int) -> str:
    if code > 0:
        return f"ended with code {code}"
    name = signal.Signals(-code).name
    memory = "; memory ran out, or somebody ended it" if name == "SIGKILL" else ""
    return f"was ended by {name}{memory}"


LOWEST_PRIORITY = 19
END_ME_FIRST = "1000"  # the highest of proc(5) oom_score_adj


def main(argv: Sequence[str]) -> int:
    """Run the command: the words behind `g2vlm`."""
    end_with_parent(kill=True)  # what it leaves, the store sweeps away
    os.setpriority(os.PRIO_PROCESS, 0, LOWEST_PRIORITY)
    with suppress(OSError):  # another system than Linux, or a sandbox
        Path("/proc/self/oom_score_adj").write_text(END_ME_FIRST, encoding="ascii")
    from g2vlm_model.cli import main as g2vlm

    return g2vlm(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
