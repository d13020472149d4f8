# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files and folders that are there whole or not at all, whenever a process is killed.

    with whole_file(path) as partial:
        partial.write_bytes(content)

What is written lies beside its place, in a hidden folder, until it is on the disk; then it takes
its name in one step. A folder also for a file: what libraries put beside a file that they write
(safetensors, a temporary one) lies in it too. While its process lives, it holds a lock on the
folder (flock(2), which the kernel drops with the process, so none is stale, in whatever container
it ran); what nobody holds was left by a process that was killed, and goes when something of that
name is written again. Who leaves alone what is there already, as with shards, calls
`remove_remains` first: its name may never be written again. Standard library only.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import glob
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = [
    "check_writable",
    "only_writer",
    "remove_remains",
    "scratch_folder",
    "sync",
    "whole_file",
    "whole_folder",
    "write_text",
]

SUFFIX = ".partial"
_TAG_BYTES = 4  # of a name of its own for each writer
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h
# Of file systems that know no locks: there nothing is removed, as nobody knows who still writes.
_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give the name of a file to be written; at the end of the block it takes the place of `path`.

    Where the block fails, nothing is left behind and `path` is as it was.

    Raises:
        OSError: It cannot be written, or the disk is full.
    """
    with scratch_folder(path) as folder:
        partial = folder / path.name
        yield partial
        sync(partial)
        os.replace(partial, path)
        sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Write a file in UTF-8, whole or not at all.

    Raises:
        OSError: As `whole_file`.
    """
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def check_writable(*paths: Path) -> None:
    """Fail before the work and not after it; folders that files are to lie in are made.

    Args:
        paths: Files that will be written.

    Raises:
        OSError: One cannot be written.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(path):
            pass


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Give an empty folder to be filled; at the end of the block it takes the place of `path`.

    As `whole_file`. A folder that was there goes; both names change in one step where the file
    system can (renameat2(2), RENAME_EXCHANGE). Who else reads the old one keeps what it has open.

    Raises:
        OSError: It cannot be written, or the disk is full.
    """
    if path.exists() and not path.is_dir():  # now, not when an hour's work is to be put there
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    with scratch_folder(path) as partial:
        yield partial
        for inner in sorted(partial.rglob("*")):
            sync(inner)
        sync(partial)
        if not (path.is_dir() and _exchanged(partial, path)):
            if path.is_dir():  # no exchange here: a kill before the next line costs the old one
                shutil.rmtree(path)
            os.rename(partial, path)
        sync(path.parent)


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """Give an empty hidden folder beside a path, which this process holds; it goes at the end.

    What killed processes left of the same name goes too.

    Raises:
        OSError: It cannot be made.
    """
    remove_remains(beside.parent, glob.escape(beside.name))
    while True:
        name = f".{beside.name}.{secrets.token_hex(_TAG_BYTES)}{SUFFIX}"
        folder = beside.with_name(name)
        try:
            folder.mkdir()
        except OSError as error:
            error.filename = str(beside.parent)  # whose fault it is; nobody asked for ours
            raise
        descriptor = _locked(folder)
        if descriptor is not None:
            break  # else it was taken for a remain in the moment before it was held
    try:
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep others who ask the same out of a folder; a file system without locks lets all in.

    Raises:
        BlockingIOError: Another process writes there.
        OSError: The folder cannot be opened.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        text = "another process writes there; wait for it or choose another folder"
        raise BlockingIOError(errno.EWOULDBLOCK, text, str(folder)) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        os.close(descriptor)  # the lock ends with it


def remove_remains(folder: Path, pattern: str = "*") -> list[str]:
    """Remove what killed processes left in a folder; what somebody still writes stays.

    Args:
        folder: In which files or folders were written whole.
        pattern: Of their names, as `glob` has it.

    Returns:
        The names of what was removed.
    """
    removed = []
    for path in folder.glob(f".{pattern}.{'[0-9a-f]' * 2 * _TAG_BYTES}{SUFFIX}"):
        with suppress(OSError):  # gone meanwhile, or somebody else's
            descriptor = os.open(path, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
                removed.append(path.name)
            finally:
                os.close(descriptor)
    return removed


def sync(path: Path) -> None:
    """Have a file or folder on the disk before anything relies on it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _locked(folder: Path) -> int | None:
    """Lock what was just made; None where somebody removed it first."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino == folder.stat().st_ino:
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return descriptor
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two names in one step; False where this system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return not call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
