# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What was built once and is used again: engines and exports, vouched for by their manifest.

    store = Store.open()
    entry = store.lookup(key)
    if entry is None:
        with store.building(key) as building:
            if building.entry is None:  # else another process has just finished it
                compile_into(building.folder)
                building.commit()
            entry = building.entry

Only what a manifest vouches for is loaded. An entry appears by renaming a complete folder, so a
build that is killed leaves none. Between processes a file lock per key serves, which the kernel
drops with the process that holds it: there are no stale locks. Standard library only.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..interface.documents import parse_json
from ..interface.whole_files import sync, write_text
from .store_entry import (
    ENTRY,
    EngineKey,
    EntryDamagedError,
    ExportKey,
    StoreEntry,
    StoreKey,
    no_space_explained,
    verified_entry,
    write_manifest,
)
from .vouched import file_sha256, require_own

__all__ = [
    "Building",
    "EngineKey",
    "EntryDamagedError",
    "ExportKey",
    "Store",
    "StoreEntry",
    "cache_root",
]

_LOG = logging.getLogger(__name__)

ENTRIES, BUILDING, LOCKS, DAMAGED = "entries", "building", "locks", "damaged"
DIGESTS = "digests.json"
KEPT_DAMAGED = 2  # folders set aside, to look at; older ones go
# Of each kind, the last used: two models in two precisions, or one through three upgrades. An
# entry may take four times the model's weights.
KEPT_ENTRIES = 4
KEPT_VARIABLE = "G2VLM_CACHE_ENTRIES"
LOCK_POLL_S = 0.1
NO_SPACE_ADVICE = "free some (old entries can go), or set G2VLM_CACHE to a folder on a larger disk"


@dataclass
class Building:
    """A build under way: write the files into `folder`, which is temporary and empty.

    `entry` is what was committed; set from the start where another process was faster.
    """

    key: StoreKey
    folder: Path
    entry: StoreEntry | None
    _target: Path

    def commit(self) -> StoreEntry:
        """Write the manifest and make the folder an entry, in one step for all readers."""
        assert self.entry is None, f"{self.entry} was committed already"
        manifest = write_manifest(self.folder, self.key)
        self.folder.rename(self._target)
        sync(self._target.parent)
        self.entry = StoreEntry(self._target, manifest)
        return self.entry


def kept_entries() -> int:
    """Entries of each kind that are kept: $G2VLM_CACHE_ENTRIES, else `KEPT_ENTRIES`."""
    chosen = os.environ.get(KEPT_VARIABLE, "") or str(KEPT_ENTRIES)
    if not chosen.isdecimal() or int(chosen) < 1:
        raise ValueError(f"{KEPT_VARIABLE} is {chosen!r}, expected a whole number from 1")
    return int(chosen)


def cache_root() -> Path:
    """Folder of the cache: $G2VLM_CACHE, else g2vlm in $XDG_CACHE_HOME or ~/.cache."""
    chosen = os.environ.get("G2VLM_CACHE", "")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if base else Path.home() / ".cache") / "g2vlm"


class Store:
    """The entries under one folder, shared by all processes of a user.

    Args:
        root: Exists, belongs to this user and nobody else may write there (see `open`).
        keep: Entries of each kind, the last used.
    """

    def __init__(self, root: Path, keep: int = KEPT_ENTRIES) -> None:
        self.root = root
        self.keep = keep
        self.damaged = 0  # entries set aside by this object

    @classmethod
    def open(cls, root: Path | None = None, keep: int | None = None) -> Store:
        """Make the folder where it is missing, for this user only.

        Args:
            root, keep: Default: `cache_root()`, `kept_entries()`.

        Raises:
            ValueError: $G2VLM_CACHE_ENTRIES holds no whole number from 1.
            PermissionError: The folder belongs to somebody else, or others may write there:
                an engine is code, and theirs is not run.
            OSError: The folder cannot be made.
        """
        root = cache_root() if root is None else root
        for folder in (root, *(root / name for name in (ENTRIES, BUILDING, LOCKS, DAMAGED))):
            try:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                reason = f"{os.strerror(error.errno or 0)}, and engines are kept there: set "
                reason += "G2VLM_CACHE to a folder that can be written to"
                raise OSError(error.errno, reason, str(folder)) from error
            require_own(folder)
        store = cls(root, keep or kept_entries())
        store.sweep()
        return store

    def sweep(self) -> None:
        """Remove what builds that were killed have left: folders whose key nobody builds."""
        for path in (self.root / BUILDING).iterdir():
            digest = path.name.lstrip(".").partition(".")[0]
            with suppress(OSError), self._try_lock(digest) as locked:  # read-only: it stays
                if locked:
                    _LOG.warning("a build was interrupted; %s is removed", path.name)
                    _remove(path)

    def sha256(self, path: Path, known_only: bool = False) -> str:
        """The hash of a file outside the store, remembered by path, size and time of change.

        With `known_only` it is not read: "" where its present state is not known.
        """
        state = path.stat()
        name, now = str(path.resolve()), [state.st_size, state.st_mtime_ns, state.st_ino]
        known = self._digests().get(name)
        if known and known[:-1] == now:
            return str(known[-1])
        if known_only:
            return ""
        digest = file_sha256(path)
        with suppress(OSError):  # a full or read-only disk: read again the next time
            tree = {**self._digests(), name: [*now, digest]}
            write_text(self.root / DIGESTS, json.dumps(tree, indent=1))
        return digest

    def _digests(self) -> dict[str, list[Any]]:
        try:
            tree = parse_json((self.root / DIGESTS).read_bytes())
            return {str(name): list(facts) for name, facts in tree.items()}
        except (OSError, ValueError, TypeError, AttributeError):  # none yet, or damaged
            return {}

    def lookup(self, key: StoreKey) -> StoreEntry | None:
        """The entry of a key; None where there is none that may be used.

        A damaged one is logged, set aside and counted; in a cache that is read-only it stays.
        """
        folder = self._folder(key)
        try:
            entry = verified_entry(folder, key)
            with suppress(OSError):  # a store that is read-only
                os.utime(folder)  # it was used
            return entry
        except FileNotFoundError:
            return None
        except EntryDamagedError as error:
            damage = str(error)
        try:
            with self._try_lock(key.digest) as locked:
                if locked:  # else somebody builds it anew already
                    self._sound_entry(key)
        except OSError as error:  # such as a cache that is read-only
            _LOG.warning("the entry is not used: %s; it stays where it is: %s", damage, error)
        else:
            _LOG.warning("the entry is not used: %s", damage)
        return None

    def find(self, kind: str, **facts: object) -> tuple[StoreEntry, ...]:
        """Entries of a kind whose keys say all of some facts, the newest first.

        Damaged ones, and those that others may write to, are logged and left out.
        """
        found = []
        for folder in (self.root / ENTRIES).iterdir():
            try:
                key = ENTRY.read(folder).key
                if key.get("kind") == kind and facts.items() <= key.items():
                    found.append((folder.stat().st_mtime_ns, verified_entry(folder)))
            except (EntryDamagedError, FileNotFoundError, PermissionError) as error:
                # Damaged, its own lookup sets it aside; somebody else's stays.
                _LOG.warning("the entry is not used: %s", error)
        return tuple(entry for _, entry in sorted(found, key=lambda item: -item[0]))

    @contextmanager
    def building(
        self, key: StoreKey, *, needed_bytes: int = 0, wait_s: float | None = None
    ) -> Iterator[Building]:
        """Build an entry alone: another process that wants the same key waits.

        Leaving the block without a commit removes the temporary folder.

        Args:
            key: What is to be built.
            needed_bytes: Refused before the build where the disk has less left.
            wait_s: How long to wait for another process; None: as long as it builds.

        Raises:
            OSError: No space is left on the disk; the text says where and what to do.
            TimeoutError: Another process still builds after `wait_s`.
        """
        with self._lock(key, wait_s):
            for name in self._remove_remains(key):
                _LOG.warning("a build was interrupted; %s is removed", name)
            entry = self._sound_entry(key)
            folder = Path(tempfile.mkdtemp(prefix=f"{key.digest}.", dir=self.root / BUILDING))
            needed_bytes = needed_bytes if entry is None else 0
            try:
                with no_space_explained(self.root, needed_bytes, NO_SPACE_ADVICE):
                    yield Building(key, folder, entry, self._folder(key))
                self._evict(key)
            finally:
                self._remove_remains(key)

    def set_aside(self, key: StoreKey, reason: str) -> None:
        """Take an entry out of use, such as one that fails its golden check.

        In a cache that is read-only it stays, which is logged.
        """
        try:
            with self._lock(key, None):
                if self._folder(key).exists():
                    self._move_aside(key, reason)
        except OSError as error:
            _LOG.warning("%s cannot be set aside (%s): %s", self._folder(key), reason, error)

    def _folder(self, key: StoreKey) -> Path:
        return self.root / ENTRIES / key.digest

    def _sound_entry(self, key: StoreKey) -> StoreEntry | None:
        """Under the lock, in which nobody replaces it: the entry; a damaged one is set aside."""
        try:
            return verified_entry(self._folder(key), key)
        except FileNotFoundError:
            pass
        except EntryDamagedError as error:
            self._move_aside(key, str(error))
        return None

    def _move_aside(self, key: StoreKey, reason: str) -> None:
        place = self.root / DAMAGED / f"{key.digest}.{time.time_ns()}"
        self._folder(key).rename(place)
        self.damaged += 1
        _LOG.warning("set aside %s: %s", place, reason)
        old = sorted(place.parent.iterdir(), key=lambda path: path.name.rpartition(".")[2])
        for path in old[:-KEPT_DAMAGED]:
            _remove(path)

    def _evict(self, newest: StoreKey) -> None:
        """Remove the entries of a kind that were used longest ago; never the newest one.

        One that another process has loaded stays readable to it.
        """
        found = []
        for folder in (self.root / ENTRIES).iterdir():
            with suppress(EntryDamagedError, OSError):
                if ENTRY.read(folder).key.get("kind") == newest.kind:
                    found.append((folder.stat().st_mtime_ns, folder))
        found = sorted(one for one in found if one[1] != self._folder(newest))
        for _, folder in found[: max(0, len(found) + 1 - self.keep)]:
            with self._try_lock(folder.name) as locked:
                if locked:
                    _LOG.info("%s is removed: %d newer ones are kept", folder, self.keep)
                    gone = self.root / BUILDING / f"{folder.name}.old"
                    folder.rename(gone)
                    _remove(gone)

    def _remove_remains(self, key: StoreKey) -> list[str]:
        """Under the lock: remove and name what a build that has ended, or was killed, has left.

        A command that was to write the folder may have been killed with a hidden one beside it.
        """
        found = [*(self.root / BUILDING).glob(f"{key.digest}.*")]
        found += (self.root / BUILDING).glob(f".{key.digest}.*")
        for path in found:
            _remove(path)
        return [path.name for path in found]

    @contextmanager
    def _try_lock(self, digest: str) -> Iterator[bool]:
        """Hold the key's lock if nobody does; the file stays, the lock goes with the process."""
        path = self.root / LOCKS / digest
        if path.is_dir():  # nobody's: a lock is a file; the folder is this user's own
            _LOG.warning("%s is a folder in the place of a lock; it is removed", path)
            _remove(path)
        with path.open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield True

    @contextmanager
    def _lock(self, key: StoreKey, wait_s: float | None) -> Iterator[None]:
        start, told = time.monotonic(), False
        while True:
            with self._try_lock(key.digest) as locked:
                if locked:
                    yield
                    return
            holder = (self.root / LOCKS / key.digest).read_text(encoding="utf-8") or "unknown"
            if wait_s is not None and time.monotonic() - start >= wait_s:
                raise TimeoutError(
                    f"process {holder} has been building {key.digest} for more than {wait_s:.0f} s;"
                    " wait for it, or end it and try again"
                )
            if not told:
                _LOG.info("process %s builds %s already; waiting for it", holder, key.digest)
                told = True
            time.sleep(LOCK_POLL_S)


def _remove(path: Path) -> None:
    """Remove a folder, or whatever lies in the place of one; what cannot be removed stays."""
    with suppress(OSError):
        path.unlink() if path.is_symlink() or not path.is_dir() else shutil.rmtree(path)
