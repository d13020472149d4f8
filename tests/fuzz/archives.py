# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Changes of archives: taken apart, one part changed in its own way, put together again.

Checksums, lengths and directories are made anew and fit, so that what is changed is what the
archive's reader reads behind them. What cannot be taken apart is changed anywhere.
"""

from __future__ import annotations

import io
import random
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable

from tests.fuzz.mutate import change_bytes, change_document, change_picture

__all__ = ["bag_ending", "change_bag", "change_map", "change_shard", "change_weights"]

Parts = list[tuple[str, bytes]]
_MCAP = b"\x89MCAP0\r\n"
_MCAP_ENDS = (0x02, 0x0F)  # footer and end of data say where what follows lies: left as they are
_ENDINGS = {_MCAP: ".mcap", b"SQLite f": ".db3", b"#ROSBAG ": ".bag"}


def change_shard(data: bytes, rng: random.Random) -> bytes:
    """A tar file with a member changed."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            parts = [(one.name, _content(archive, one)) for one in archive.getmembers()]
    except (tarfile.TarError, ValueError, OSError, EOFError):
        return change_bytes(data, rng)
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in _changed(parts, rng):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def change_map(data: bytes, rng: random.Random) -> bytes:
    """A zip file with a member changed."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [(one, archive.read(one)) for one in archive.namelist()]
    except Exception:  # whatever zipfile makes of bytes: its errors are of many kinds
        return change_bytes(data, rng)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, content in _changed(parts, rng):
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


def change_weights(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with a value of its header changed, or some of its numbers."""
    length = int.from_bytes(data[:8], "little")
    header, numbers = data[8 : 8 + length], data[8 + length :]
    if len(header) != length or rng.random() < 0.1:
        return change_bytes(data, rng)
    if rng.random() < 0.7:
        header = change_document(header, rng)
    else:
        numbers = change_bytes(numbers, rng)
    return len(header).to_bytes(8, "little") + header + numbers


def bag_ending(data: bytes) -> str:
    """What the name of a bag with these bytes ends in."""
    return _ENDINGS.get(data[:8], ".mcap")


def change_bag(data: bytes, rng: random.Random) -> bytes:
    """A bag with a record changed; of sqlite3 and ROS 1 bytes behind the first page or record."""
    if not data.startswith(_MCAP) or rng.random() < 0.1:
        first = 100 if len(data) > 200 else 0
        return data[:first] + change_bytes(data[first:], rng)
    records, at = [], len(_MCAP)
    while at + 9 <= len(data) - len(_MCAP):
        code, length = struct.unpack_from("<BQ", data, at)
        records.append((code, data[at + 9 : at + 9 + length]))
        at += 9 + length
    inner = [number for number, (code, _) in enumerate(records) if code not in _MCAP_ENDS]
    if not inner:
        return change_bytes(data, rng)
    which, what = rng.choice(inner), rng.random()
    code, body = records[which]
    if what < 0.8:
        records[which] = (code, change_bytes(body, rng) if body else rng.randbytes(4))
    elif what < 0.87:
        records.insert(which, records[rng.choice(inner)])
    elif what < 0.94:
        del records[which]
    else:
        records[which] = (rng.randrange(1, 20), body)
    out = bytearray(_MCAP)
    for code, body in records:
        out += struct.pack("<BQ", code, len(body)) + body
    return bytes(out + _MCAP)


def _changed(parts: Parts, rng: random.Random) -> Parts:
    """The parts of an archive, one of them changed, seldom missing, doubled or renamed."""
    if not parts:
        return [("x", b"")]
    which, what = rng.randrange(len(parts)), rng.random()
    name, content = parts[which]
    if what < 0.8:
        return [*parts[:which], (name, _by_kind(name)(content, rng)), *parts[which + 1 :]]
    if what < 0.87:
        return [*parts, parts[which]]
    if what < 0.94:
        return parts[:which] + parts[which + 1 :]
    return [*parts[:which], (f"{name[:-3]}\u00b2{name[-3:]}", content), *parts[which + 1 :]]


def _by_kind(name: str) -> Callable[[bytes, random.Random], bytes]:
    if name.endswith(".json"):
        return change_document
    if name.endswith(".npy"):
        return _change_array
    return change_picture if name.endswith((".jpg", ".png")) else change_bytes


def _change_array(data: bytes, rng: random.Random) -> bytes:
    """An array with another shape or dtype, or other numbers."""
    head = data.find(b"\n") + 1
    if rng.random() < 0.3:
        return change_bytes(data[:head], rng) + data[head:]
    return data[:head] + change_bytes(data[head:], rng)
