"""What is kept in the store: an entry's key, its files and the manifest that vouches for them.

A thing is bound to what it was made from and by. A change of any of these facts is another key,
so the store misses and the thing is made anew. An entry is a folder of files with `entry.json`:
the key, the size and SHA-256 of every file, facts that the builder noted. Standard library only.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar

__all__ = [
    "EngineKey",
    "EntryDamagedError",
    "ExportKey",
    "StoreEntry",
    "StoreKey",
    "file_sha256",
    "fsync",
    "known_sha256",
    "no_space_explained",
    "read_manifest",
    "require_own",
    "verified_entry",
    "write_json",
    "write_manifest",
]


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
        named = asdict(self)
        return {"kind": self.kind} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in named.items()
        }

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all facts: the name of the entry's folder."""
        text = json.dumps(self.as_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differences(self, other: Mapping[str, object]) -> tuple[str, ...]:
        """Where the facts of an entry are not these, in words.

        Args:
            other: `as_json()` of the key that the entry was built under.

        Returns:
            One text per fact, "name: built with X, here is Y"; empty where all agree.
        """
        mine = self.as_json()
        return tuple(
            f"{name}: built with {other.get(name)!r}, here is {mine.get(name)!r}"
            for name in sorted({*mine, *other})
            if mine.get(name) != other.get(name)
        )


@dataclass(frozen=True)
class EngineKey(StoreKey):
    """What an engine is bound to.

    Args:
        source: SHA-256 of the exported folder that it was compiled from.
        builder: Python module of the TensorRT, "tensorrt" or "tensorrt_rtx".
        builder_version: As that module says, all its parts.
        gpu: Name of the device, "" for an engine that was compiled ahead for `targets`.
        compute_capability: Of that device, "8.7"; for one compiled ahead its targets in
            alphabetical order, "sm86,sm89".
        driver: Version of the device's driver, "" for one compiled ahead.
        precision: Of the exported graphs, "fp32" or "fp16".
        profile: Range of input sizes, as the profile writes itself.
        flags: What else was asked of the builder, in alphabetical order.
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

    Args:
        source: SHA-256 over the files of the model folder.
        exporter_version: Changes with whatever changes the exported graphs.
        precision: "fp32" or "fp16".
        opset: "18" or "23".
        parts: In alphabetical order.
        flags: What else was asked of the exporter, in alphabetical order.
    """

    kind: ClassVar[str] = "export"

    source: str
    exporter_version: str
    precision: str
    opset: str
    parts: tuple[str, ...]
    flags: tuple[str, ...] = ()


FORMAT = 1
MANIFEST = "entry.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class EntryDamagedError(ValueError):
    """An entry that its own manifest does not vouch for; the text says why."""


@dataclass(frozen=True)
class StoreEntry:
    """A folder whose files were compared with its manifest.

    Args:
        folder: Where the files are.
        key: `StoreKey.as_json()` of what it was built under.
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


def verified_entry(folder: Path, key: StoreKey | None = None) -> StoreEntry:
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


def write_manifest(folder: Path, key: Mapping[str, object], facts: Mapping[str, Any]) -> StoreEntry:
    """Vouch for the files that are in a folder now.

    Args:
        folder: Of the entry.
        key: `StoreKey.as_json()`.
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
    return StoreEntry(folder, key, files, facts)


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


def read_manifest(folder: Path) -> StoreEntry:
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
    return StoreEntry(folder, key, files, facts)


_CHUNK_BYTES = 4 << 20
_KNOWN: dict[tuple[str, int, int, int], str] = {}
"""(path, inode, size, time of the last change) -> hash."""


def write_json(path: Path, tree: object) -> None:
    """Write a file in one step for all readers."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(tree, file, indent=1)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


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
