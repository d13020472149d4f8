# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is kept in the store: an entry's key, its files and the manifest that vouches for them.

A thing is bound to what it was made from and by. A change of any of these facts is another key,
so the store misses and the thing is made anew. Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import ClassVar

from ..interface.whole_files import sync
from .vouched import FileRecord, ManifestFile, file_sha256, require_own

__all__ = [
    "ENTRY",
    "EngineKey",
    "EntryDamagedError",
    "EntryManifest",
    "ExportKey",
    "StoreEntry",
    "StoreKey",
    "no_space_explained",
    "verified_entry",
    "write_manifest",
]

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class StoreKey:
    """Facts in words; two keys are the same when all of them are."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            words = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(word, str) for word in words):
                raise ValueError(f"{field.name} of a cache key is {value!r}, expected text")

    def as_json(self) -> dict[str, object]:
        """The facts by name, `kind` among them; tuples as lists."""
        named = {"kind": self.kind, **asdict(self)}
        return {k: list(fact) if isinstance(fact, tuple) else fact for k, fact in named.items()}

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all facts: the name of the entry's folder."""
        text = json.dumps(self.as_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differences(self, other: Mapping[str, object]) -> tuple[str, ...]:
        """Where `as_json()` of another key is not this one's, one text per fact."""
        mine = self.as_json()
        return tuple(
            f"{name}: built with {other.get(name)!r}, here is {mine.get(name)!r}"
            for name in sorted({*mine, *other})
            if mine.get(name) != other.get(name)
        )


@dataclass(frozen=True)
class EngineKey(StoreKey):
    """What an engine is bound to: see `EngineManifest`; `profile` is written as it writes itself.

    `flags` is what else was asked of the builder, in alphabetical order.
    """

    kind: ClassVar[str] = "engine"

    source: str
    builder: str
    builder_version: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    profile: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportKey(StoreKey):
    """What an automatic ONNX export of a model is bound to.

    `source` is a SHA-256 over the files of the model folder, `exporter_version` changes with
    whatever changes the exported graphs, `parts` stand in alphabetical order.
    """

    kind: ClassVar[str] = "export"

    source: str
    exporter_version: str
    precision: str
    opset: str
    parts: tuple[str, ...]


class EntryDamagedError(ValueError):
    """An entry that its own manifest does not vouch for; the text says why."""


@dataclass(frozen=True)
class EntryManifest:
    """What an entry says of itself: `StoreKey.as_json()`, and its files by name."""

    key: Mapping[str, object]
    files: Mapping[str, FileRecord]


ENTRY = ManifestFile("entry.json", EntryManifest, 2, "it is made anew", EntryDamagedError)


@dataclass(frozen=True)
class StoreEntry:
    """A folder whose files were compared with its manifest."""

    folder: Path
    manifest: EntryManifest

    def path(self, name: str) -> Path:
        """A file of the entry.

        Raises:
            EntryDamagedError: The manifest names no such file.
        """
        if name not in self.manifest.files:
            vouched = ", ".join(sorted(self.manifest.files))
            raise EntryDamagedError(f"{self.folder} vouches for {vouched}, not for {name!r}")
        return self.folder / name


def verified_entry(folder: Path, key: StoreKey | None = None) -> StoreEntry:
    """Read an entry and compare it with its manifest, every byte, and with a key if given.

    Raises:
        FileNotFoundError: There is nothing of that name.
        EntryDamagedError: It is no folder, the manifest is missing or no manifest, it names another
            key, or a file is not what it says.
        PermissionError: Somebody else owns the folder or may write there.
    """
    if not os.path.lexists(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such entry", str(folder))
    if folder.is_symlink() or not folder.is_dir():
        raise EntryDamagedError(f"{folder} is no folder; {ENTRY.advice}")
    require_own(folder)
    try:
        manifest = ENTRY.read(folder)
        if key is not None and (differences := key.differences(manifest.key)):
            raise EntryDamagedError(
                f"{folder} was built for something else: {'; '.join(differences)}"
            )
        ENTRY.check(folder, manifest.files)
    except FileNotFoundError as error:
        raise EntryDamagedError(str(error)) from None
    return StoreEntry(folder, manifest)


def write_manifest(folder: Path, key: StoreKey) -> EntryManifest:
    """Vouch for the files that are in a folder now; all of it is on the disk afterwards."""
    paths = sorted(folder.iterdir())
    files = {path.name: FileRecord(file_sha256(path), path.stat().st_size) for path in paths}
    for path in paths:
        sync(path)
    manifest = EntryManifest(key.as_json(), files)
    ENTRY.write(folder, manifest)
    sync(folder)
    return manifest


@contextmanager
def no_space_explained(folder: Path, needed_bytes: int, advice: str) -> Iterator[None]:
    """Say what to do where a disk is full.

    Args:
        folder: Where it is written.
        needed_bytes: Refused at once where the disk has less left; 0 is not known.
        advice: What to do, in words.

    Raises:
        OSError: There is too little space; the text says how much, where, and the advice.
    """
    try:
        if shutil.disk_usage(folder).free < needed_bytes:
            raise OSError(errno.ENOSPC, "less is free than is needed")
        yield
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        free_mb = shutil.disk_usage(folder).free / 1e6
        wanted = f", about {needed_bytes / 1e6:.0f} MB are needed" if needed_bytes else ""
        raise OSError(
            error.errno,
            f"no space left for the build ({os.strerror(error.errno)}): {free_mb:.0f} MB free"
            f"{wanted}; {advice}",
            str(folder),
        ) from error
