"""SHA-256 of files, which decides whether they are loaded. Standard library only."""

from __future__ import annotations

import hashlib
from pathlib import Path

__all__ = ["file_sha256", "known_sha256"]

_CHUNK_BYTES = 4 << 20
_KNOWN: dict[tuple[str, int, int, int], str] = {}
"""(path, inode, size, time of the last change) -> hash."""


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
