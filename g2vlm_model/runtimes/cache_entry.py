"""An entry of the cache: a folder of files and the manifest that vouches for each of them.

The manifest, `entry.json`, holds the key that the entry was built under, the size and SHA-256
of every file, and facts that the builder noted. Standard library only.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .cache_key import CacheKey
from .file_hash import file_sha256, known_sha256

__all__ = [
    "CacheEntry",
    "EntryDamagedError",
    "fsync",
    "no_space_explained",
    "read_manifest",
    "require_own",
    "verified_entry",
    "write_manifest",
]

FORMAT = 1
MANIFEST = "entry.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EntryDamagedError(ValueError):
    """An entry that its own manifest does not vouch for; the text says why."""


@dataclass(frozen=True)
class CacheEntry:
    """A folder whose files were compared with its manifest.

    Args:
        folder: Where the files are.
        key: `CacheKey.as_json()` of what it was built under.
        files: (bytes, SHA-256) of each file by its name in the folder.
        facts: What the builder noted: the golden check, the rung taken and why.
    """

    folder: Path
    key: Mapping[str, object]
    files: Mapping[str, tuple[int, str]]
    facts: Mapping[str, Any]

    def path(self, name: str) -> Path:
        """A file of the entry.

        Raises:
            EntryDamagedError: The manifest names no such file.
        """
        if name not in self.files:
            vouched = ", ".join(sorted(self.files))
            raise EntryDamagedError(f"{self.folder} vouches for {vouched}, not for {name!r}")
        return self.folder / name


def verified_entry(folder: Path, key: CacheKey | None = None) -> CacheEntry:
    """Read an entry and compare it with its manifest, every byte.

    Args:
        folder: Of the entry.
        key: What it must have been built under; None: whatever it says.

    Raises:
        FileNotFoundError: There is no such folder.
        EntryDamagedError: The manifest is missing or no manifest, it names another key, or a file
            is not what it says.
        PermissionError: Somebody else owns the folder or may write there.
    """
    if not folder.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such entry", str(folder))
    require_own(folder)
    entry = read_manifest(folder)
    if key is not None and (differences := key.differences(entry.key)):
        raise EntryDamagedError(f"{folder} was built for something else: {'; '.join(differences)}")
    for name, (size, digest) in entry.files.items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            got = "is missing" if found is None else f"has {found} bytes"
            raise EntryDamagedError(f"{path} {got}, its manifest says {size} bytes")
        if known_sha256(path) != digest:
            raise EntryDamagedError(f"{path} is not what its manifest vouches for: SHA-256 differs")
    return entry


def require_own(folder: Path) -> None:
    """Refuse a folder that somebody else could have filled.

    Raises:
        PermissionError: It belongs to another user, or others may write there.
    """
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(
            errno.EPERM,
            f"the folder belongs to user {status.st_uid}, this process is user {os.geteuid()}; an "
            "engine is code, so only one's own is loaded: set G2VLM_CACHE to a folder of your own",
            str(folder),
        )
    if status.st_mode & 0o022:
        raise PermissionError(
            errno.EPERM,
            f"others may write to the folder (mode {status.st_mode & 0o777:o}), and an engine is "
            f"code: chmod 700 it, or set G2VLM_CACHE to another folder",
            str(folder),
        )


def write_manifest(folder: Path, key: Mapping[str, object], facts: Mapping[str, Any]) -> CacheEntry:
    """Vouch for the files that are in a folder now.

    Args:
        folder: Of the entry.
        key: `CacheKey.as_json()`.
        facts: What the builder notes; JSON values.
    """
    files = _hash_files(folder)
    content = {
        "format": FORMAT,
        "key": key,
        "files": {name: {"bytes": size, "sha256": sha} for name, (size, sha) in files.items()},
        "facts": facts,
    }
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    return CacheEntry(folder, key, files, facts)


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


def fsync(*paths: Path) -> None:
    """Have files and folders on the disk before anything relies on them."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _hash_files(folder: Path) -> dict[str, tuple[int, str]]:
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, file_sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def read_manifest(folder: Path) -> CacheEntry:
    """Read what an entry says of itself; its files are not looked at.

    Raises:
        EntryDamagedError: The manifest is missing or no manifest.
    """
    path = folder / MANIFEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise EntryDamagedError(f"{path} has format {content['format']!r}, expected {FORMAT}")
        files = {
            str(name): (int(file["bytes"]), str(file["sha256"]))
            for name, file in content["files"].items()
        }
        key, facts = dict(content["key"]), dict(content["facts"])
    except FileNotFoundError as error:
        raise EntryDamagedError(f"{folder} has no {MANIFEST}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, EntryDamagedError):
            raise
        raise EntryDamagedError(
            f"{path} is no manifest: {type(error).__name__}: {error}"
        ) from error
    return CacheEntry(folder, key, files, facts)
