# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Parents to kill, started in tests: `python -m tests.families KIND` prints its children's ids.

Each waits for ever, and so do its children.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from g2vlm_model import processes

__all__ = ["KINDS"]

WORKERS = 2


def by_lifeline(kind: str) -> list[int]:
    """A child by `started`, from a thread that goes on."""
    command = [sys.executable, "-m", "tests.families", "child", kind]
    return [processes.started(command).pid]


def by_pool() -> list[int]:
    """The workers of a pool."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WORKERS, context, processes.end_with_spawner)
    threading.Thread(target=lambda: list(pool.map(time.sleep, [600.0] * WORKERS))).start()
    while len(children := multiprocessing.active_children()) < WORKERS:
        time.sleep(0.01)
    return [child.pid for child in children if child.pid]


def child(kind: str) -> None:
    """What `by_lifeline` starts."""
    if kind == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        vars(processes)["_GRACE_S"] = 0.3
    if kind == "no prctl":  # as where the kernel sends nothing
        vars(processes)["ctypes"] = None
    processes.end_with_parent(kill=kind == "kill")
    print("up", flush=True)
    while True:
        time.sleep(600.0)


def hang(words: list[str]) -> int:
    """A sub-command that is told to end, and takes its time to clean up."""
    try:
        print(os.getpid(), flush=True)
        time.sleep(600.0)
    finally:
        print("cleaning", flush=True)
        time.sleep(1.5)
        print("clean", flush=True)
    return 0


class Told:
    """Is told to end while it is collected, where Python lets no exception out."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


def lost(words: list[str]) -> int:
    """A sub-command whose interrupt is lost in a callback."""
    Told()
    time.sleep(600.0)
    return 0


def imports(words: list[str]) -> int:
    """A sub-command that is told to end while it imports a module, which swallows what it meets."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "told_at_import.py").write_text(
            "import os, signal, time\n"
            "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(0.2)\n"
            "except BaseException:\n    print('broken off', flush=True)\n"
        )
        sys.path.insert(0, folder)
        importlib.import_module("told_at_import")
        time.sleep(600.0)
    return 0


class Watch(threading.Thread):
    """A thread at whose start the process is told to end."""

    def _set_ident(self) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.2)
        super()._set_ident()  # type: ignore[misc]  # threading's own


def starts(words: list[str]) -> int:
    """A sub-command that is told to end while it starts a thread."""
    ended = threading.Event()
    thread = Watch(target=ended.wait)
    thread.start()
    try:
        time.sleep(600.0)
    finally:
        ended.set()
        thread.join()
        print("joined", flush=True)
    return 0


def refuses(words: list[str]) -> int:
    """A sub-command whose parser has said what is wrong."""
    _ends_slowly()
    raise SystemExit(3)


def deaf_hang() -> None:
    """A main thread in C that does not come back, where no handler of Python's runs."""
    with processes.ended_by_signals():
        print("hangs", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # many minutes


def at_work() -> None:
    """Ends while a thread works in C++, which comes back into Python again and again."""
    import torch

    torch.set_num_threads(1)
    square = torch.rand(500, 500)

    def work() -> None:
        while True:
            torch.mm(square, square)

    threading.Thread(target=work, daemon=True).start()
    atexit.register(print, "given back")
    print("ends")
    processes.leave(3)


def leaves() -> None:
    """Is done, and takes its time to end."""
    _ends_slowly()
    processes.leave(3)


def _ends_slowly() -> None:
    def take_time() -> None:  # in pieces: a signal ahead of one long sleep would wait for its end
        for _ in range(6000):
            time.sleep(0.1)

    atexit.register(take_time)
    atexit.register(print, "ends", flush=True)


KINDS = {
    "term": lambda: by_lifeline("term"),
    "kill": lambda: by_lifeline("kill"),
    "deaf": lambda: by_lifeline("deaf"),
    "no prctl": lambda: by_lifeline("no prctl"),
    "pool": by_pool,
}


def main() -> int:
    """See the module."""
    if sys.argv[1] == "child":
        child(sys.argv[2])
    if sys.argv[1] == "at work":
        at_work()
    if sys.argv[1] == "leaves":
        leaves()
    if sys.argv[1] == "deaf hang":
        deaf_hang()
    if (name := sys.argv[1]) in ("hang", "lost", "imports", "starts", "refuses"):
        from importlib.metadata import EntryPoint

        from g2vlm_model import cli

        vars(cli)["_commands"] = lambda: {name: EntryPoint(name, f"tests.families:{name}", "x")}
        sys.argv = ["g2vlm", name]
        cli.command()
    print(*KINDS[sys.argv[1]](), flush=True)
    time.sleep(600.0)
    return 0


if __name__ == "__main__":
    processes.leave(main())
