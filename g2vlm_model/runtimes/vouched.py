# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders that a manifest vouches for: exports, engines, and what the store keeps.

The manifest names each file with its size and SHA-256, and lies in the folder itself. Nothing is
loaded that it does not vouch for: what is damaged, cut off, edited, of another format or outside
the folder is refused. Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..config_fields import from_strict
from ..interface.documents import parse_json
from ..interface.whole_files import write_text

__all__ = [
    "FileRecord",
    "ManifestFile",
    "file_sha256",
    "known_sha256",
    "require_own",
    "require_plain",
]

T = TypeVar("T")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_CHUNK_BYTES = 4 << 20
_KNOWN: dict[tuple[str, int, int, int], str] = {}
"""(path, inode, size, time of the last change) -> hash."""


@dataclass(frozen=True)
class FileRecord:
    """What a file of a folder has to be."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ManifestFile(Generic[T]):
    """The manifests of one kind of folder.

    Args:
        name: Of the file.
        kind: Dataclass of its content; its fields' types are checked.
        format: Number of the layout; others are refused.
        advice: What to do about a refusal.
        refused: Error of a refusal.
    """

    name: str
    kind: type[T]
    format: int
    advice: str
    refused: type[ValueError] = ValueError

    def read(self, folder: Path) -> T:
        """Read the manifest of a folder; its files are not looked at.

        Raises:
            FileNotFoundError: There is none.
            ValueError: As `parse`.
        """
        path = folder / self.name
        if not path.is_file():
            raise FileNotFoundError(f"{folder} has no {self.name}; {self.advice}")
        return self.parse(path.read_bytes(), path)

    def parse(self, content: bytes, path: Path) -> T:
        """Read a manifest's content; `path` is named in errors.

        Raises:
            ValueError: `refused`, for what is not JSON, of another format, lacks a key, has an
                unknown one, or a value that does not fit.
        """
        try:
            tree = parse_json(content)
        except ValueError as error:
            raise self.refused(f"{path} is not valid JSON: {error}; {self.advice}") from None
        found = tree.pop("format", None) if isinstance(tree, dict) else None
        if found != self.format:
            raise self.refused(
                f"{path} has format {found!r}, this version reads {self.format}; {self.advice}"
            )
        try:
            return from_strict(self.kind, tree, path)
        except (ValueError, TypeError) as error:
            raise self.refused(f"{error}; {self.advice}") from None

    def check(self, folder: Path, files: Mapping[str, FileRecord]) -> None:
        """Compare files with what the manifest says of them, every byte.

        Raises:
            FileNotFoundError: One is missing.
            ValueError: `refused`, for one that is not what it has to be, or not in the folder.
        """
        try:
            require_plain(*files)
        except ValueError as error:
            raise self.refused(f"{folder / self.name}: {error}; {self.advice}") from None
        for name, record in files.items():
            path = folder / name
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing, {self.name} names it; {self.advice}")
            size = path.stat().st_size
            if size != record.bytes:
                raise self.refused(
                    f"{path} has {size} bytes, {self.name} says {record.bytes}: it was cut off or "
                    f"changed; {self.advice}"
                )
            found = known_sha256(path)
            if found != record.sha256:
                raise self.refused(
                    f"{path} has the SHA-256 {found[:12]}, {self.name} says {record.sha256[:12]}: "
                    f"it was changed since; {self.advice}"
                )

    def text(self, manifest: Any) -> str:
        """The content of the manifest's file."""
        return json.dumps({"format": self.format, **asdict(manifest)}, indent=1) + "\n"

    def write(self, folder: Path, manifest: Any) -> None:
        """Write the manifest in one step for all readers."""
        write_text(folder / self.name, self.text(manifest))


def require_plain(*names: str) -> None:
    """Refuse names that could lead out of a folder.

    Raises:
        ValueError: One is no plain name of a file.
    """
    for name in names:
        if not _PLAIN_NAME.fullmatch(name):
            raise ValueError(f"{name!r:.80} is no plain file name")


def file_sha256(path: Path) -> str:
    """Return the hash of a file's content, hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def known_sha256(path: Path) -> str:
    """As `file_sha256`, remembered while the file stays as it is, for the life of the process."""
    state = path.stat()
    key = (str(path.resolve()), state.st_ino, state.st_size, state.st_mtime_ns)
    if key not in _KNOWN:
        _KNOWN[key] = file_sha256(path)
    return _KNOWN[key]


def require_own(folder: Path) -> None:
    """Refuse a folder that somebody else could have filled.

    Raises:
        PermissionError: It belongs to another user, or others may write there.
    """
    status = folder.stat()
    reason = ""
    if status.st_uid != os.geteuid():
        reason = (
            f"the folder belongs to user {status.st_uid}, this process is user {os.geteuid()}; an "
            "engine is code, so only one's own is loaded: set G2VLM_CACHE to a folder of your own"
        )
    elif status.st_mode & 0o022:
        reason = (
            f"others may write to the folder (mode {status.st_mode & 0o777:o}), and an engine is "
            "code: chmod 700 it, or set G2VLM_CACHE to another folder"
        )
    if reason:
        raise PermissionError(errno.EPERM, reason, str(folder))
