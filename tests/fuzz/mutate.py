# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Changes of files that leave their outer structure whole, so that they come past the first check.

A byte that is flipped anywhere mostly breaks a length, a CRC or a bracket, and tries that check
again. Here what lies inside is changed: the entropy-coded data of a JPEG, a PNG's chunk under a CRC
that fits, a value of a document, bytes in the middle of a record.
"""

from __future__ import annotations

import json
import random
import re
import zlib
from collections.abc import Callable
from typing import Any

__all__ = ["change_bytes", "change_document", "change_picture"]

_PNG_START = b"\x89PNG\r\n\x1a\n"
_EXTREMES: tuple[Any, ...] = (
    *(0, 1, -1, 2**31, 2**63, -(2**63), 10**400, 1e308, 1e-308, 0.1, True, None),
    *("", "\x1b[31m", "\u0000", "..", "../../x", "x" * 5000, "\ud800", "nan"),
    *([], {}, [[]], [None], {"": None}),
)
_WORDS = (
    *(
        b": ",
        b"- ",
        b"\n",
        b"\n  ",
        b"[",
        b"]",
        b"{",
        b"}",
        b"&x ",
        b"*x",
        b"*y",
        b"? ",
        b"| ",
        b"> ",
    ),
    *(
        b"!!binary x",
        b"!!python/object:os.system",
        b"!!float ",
        b".inf",
        b".nan",
        b"1e999",
        b"0x10",
    ),
    *(
        b"<<: *x\n",
        b"---\n",
        b"...\n",
        b"%YAML 9.9\n",
        b"2024-13-45",
        b"#",
        b"'",
        b'"',
        b"~",
        b"1_0:9",
    ),
)


def change_bytes(data: bytes, rng: random.Random) -> bytes:
    """The same length, some bytes changed, seldom cut."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        if not changed:
            break
        at = rng.randrange(len(changed))
        piece = rng.choice(
            (b"\x00", b"\xff", b"\x7f\xff\xff\xff", rng.randbytes(rng.randint(1, 4)))
        )
        changed[at : at + len(piece)] = piece
    if rng.random() < 0.05:
        del changed[rng.randrange(len(changed) + 1) :]
    return bytes(changed)


def change_picture(data: bytes, rng: random.Random) -> bytes:
    """A picture whose segments or chunks still follow each other."""
    if data.startswith(_PNG_START):
        return _change_png(data, rng)
    changed = bytearray(data)
    first = 40 if len(data) > 200 else 2  # behind the header of whatever it is
    if data[:2] == b"\xff\xd8" and rng.random() < 0.8:  # behind the header of its scan
        first = max(2, data.find(b"\xff\xda") + 14)
    for _ in range(rng.randint(1, 4)):
        if len(changed) - 2 <= first:
            break
        at = rng.randrange(first, len(changed) - 2)
        changed[at] = rng.randrange(255)  # 255 would begin a marker
    return bytes(changed)


def _change_png(data: bytes, rng: random.Random) -> bytes:
    chunks, at = [], len(_PNG_START)
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    if not chunks:
        return change_bytes(data, rng)
    which = rng.randrange(len(chunks))
    name, body = chunks[which]
    what = rng.random()
    if what < 0.7:
        chunks[which] = (name, change_bytes(body, rng))
    elif what < 0.8:
        chunks.insert(which, chunks[rng.randrange(len(chunks))])
    elif what < 0.9:
        chunks[which] = (rng.choice((b"tRNS", b"PLTE", b"eXIf", b"iCCP", b"acTL", b"IDAT")), body)
    else:
        del chunks[which]
    out = bytearray(_PNG_START)
    for name, body in chunks:
        crc = zlib.crc32(name + body).to_bytes(4, "big")
        out += len(body).to_bytes(4, "big") + name + body + crc
    return bytes(out)


def change_document(data: bytes, rng: random.Random) -> bytes:
    """JSON with some of its values and keys replaced; still JSON, mostly. Of YAML the words."""
    try:
        tree = json.loads(data)
    except (ValueError, RecursionError):
        return _change_words(data, rng) if rng.random() < 0.9 else change_bytes(data, rng)
    for _ in range(rng.randint(1, 3)):
        tree = _change_value(tree, rng, 0)
    text = json.dumps(tree).encode("utf-8", "surrogatepass")
    return change_bytes(text, rng) if rng.random() < 0.05 else text


def _change_words(data: bytes, rng: random.Random) -> bytes:
    """Text with another word in the place of one, or between two."""
    words = re.split(rb"(\W+)", data)
    for _ in range(rng.randint(1, 2)):
        at = rng.randrange(len(words))
        words[at : at + rng.randint(0, 1)] = [rng.choice(_WORDS)]
    return b"".join(words)


def _change_value(value: Any, rng: random.Random, depth: int) -> Any:
    inner: dict[type, Callable[[], Any]] = {
        dict: lambda: _change_dict(dict(value), rng, depth),
        list: lambda: _change_list(list(value), rng, depth),
        int: lambda: rng.choice(
            (value + 1, -value, value * 2**40, value / 2 if abs(value) < 2**900 else 0.5)
        ),
        float: lambda: rng.choice((value * 1e300, -value, 1e-320, int(min(max(value, 0), 9e9)))),
        str: lambda: rng.choice((value[:1], value * 3, value + "\u00b2", f"../{value}")),
    }
    whole = 0.25 if depth else 0.04  # nothing is left of a document that is replaced whole
    if rng.random() < whole or depth > 30 or type(value) not in inner:
        return rng.choice(_EXTREMES)
    return inner[type(value)]()


def _change_dict(value: dict[str, Any], rng: random.Random, depth: int) -> dict[str, Any]:
    if not value or rng.random() < 0.1:
        value[rng.choice(("", "x", "format", "\x1b"))] = rng.choice(_EXTREMES)
        return value
    key = rng.choice(list(value))
    if key == "format" and rng.random() < 0.8:  # a number that opens or closes all the rest
        return value
    if rng.random() < 0.15:
        del value[key]
    else:
        value[key] = _change_value(value[key], rng, depth + 1)
    return value


def _change_list(value: list[Any], rng: random.Random, depth: int) -> list[Any]:
    what = rng.random()
    if not value or what < 0.1:
        return [*value, rng.choice(_EXTREMES)]
    at = rng.randrange(len(value))
    if what < 0.2:
        return value[:at] + value[at + 1 :]
    value[at] = _change_value(value[at], rng, depth + 1)
    return value
