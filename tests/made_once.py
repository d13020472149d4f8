# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders that are made once for every process of a test run, whoever needs them first.

Workers of pytest-xdist share no memory, so what several of them need lies in a folder; a lock
file beside it has one of them make it while the others wait.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MadeOnce"]


class MadeOnce:
    """Makes folders by name, or finds them; what is found is complete, nobody may write to it.

    Args:
        root: Where they lie; made where it is missing. Processes that name the same one share.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, name: str, make: Callable[[Path], object]) -> Path:
        """The folder of a name.

        Args:
            name: Says all that the content depends on: a folder that is there is not made anew.
            make: Fills an empty folder. What it raises is passed on; the next one tries again.
        """
        target = self._root / name
        with self._alone(name):
            if target.exists():
                os.utime(target)
                return target
            # One deeper: a maker may put something beside its folder for a while.
            work = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=self._root))
            try:
                (work / name).mkdir(mode=0o700)
                make(work / name)
                (work / name).rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return target

    def keep_newest(self, number: int) -> None:
        """Remove all but the folders that were asked for last, and what killed makers left."""
        folders = [path for path in self._root.iterdir() if path.is_dir()]
        whole = [path for path in folders if not path.name.startswith(".")]
        old = sorted(whole, key=lambda path: -path.stat().st_mtime)[number:]
        for path in (*old, *(path for path in folders if path.name.startswith("."))):
            name = path.name if path in old else path.name[1:].rpartition(".")[0]
            with self._alone(name, wait=False) as mine:
                if mine:
                    shutil.rmtree(path, ignore_errors=True)

    @contextmanager
    def _alone(self, name: str, *, wait: bool = True) -> Iterator[bool]:
        """Hold the lock of a name; False where another does and this one need not wait."""
        with (self._root / f"{name}.lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            try:
                yield True
            finally:  # not by closing alone: a forked child may have the file open too
                fcntl.flock(file, fcntl.LOCK_UN)
