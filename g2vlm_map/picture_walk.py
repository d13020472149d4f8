# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A coded picture before it is decoded: what it is, whether it is whole, how much work it is.

The bytes decide, not a file's ending nor a message's `format`. A JPEG's segments and a PNG's chunks
are walked from the start: every length is held against the bytes that are there, so that none
makes a decoder allocate or read beyond them; scans are counted, as each one costs a pass over the
picture (ITU-T T.81 G, K.2); the end marker is the one of the picture, so that a film behind it (as
phones append) or a driver's padding is not looked at. Of a PNG only the chunks that carry pixels
are kept, with their CRCs checked (W3C PNG, 5.3): comments and colour profiles can neither be
bombs nor make libpng talk. What cannot be shown as a picture is refused with its name.

Shape letters: H W pixels.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .decode import BadInputError, check_size

__all__ = ["MAX_SCANS", "CodedPicture", "kind_of", "walk"]

MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10, cameras 1
# Coefficients times scans: a pass over a megapixel costs some milliseconds.
MAX_SCANNED_PIXELS = 500_000_000
_MAX_PARTS = 50_000  # segments or chunks
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_PNG_START = b"\x89PNG\r\n\x1a\n"
_STILLS = {b"heic", b"heix", b"mif1", b"msf1", b"heim", b"heis", b"hevc", b"hevx"}


@dataclass(frozen=True)
class CodedPicture:
    """A coded picture whose structure holds.

    Args:
        kind: "JPEG", "PNG", "WebP", or another that Pillow reads: "BMP", "GIF", "PPM", "TIFF".
        height, width: As it is stored.
        data: Its bytes, without what is behind it.
        orientation: EXIF's, 1..8; 1 is upright.
        channels: Components of a JPEG; 0 elsewhere.
    """

    kind: str
    height: int
    width: int
    data: bytes | memoryview
    orientation: int = 1
    channels: int = 0

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) upright, as it is decoded."""
        turned = self.orientation >= 5
        return (self.width, self.height) if turned else (self.height, self.width)


def kind_of(head: bytes) -> str:
    """What begins with these bytes: a name for a text, "" where nothing is known by it.

    Args:
        head: The first 32 bytes, or fewer.
    """
    for start, name in (
        (b"\xff\xd8\xff", "JPEG"),
        (_PNG_START, "PNG"),
        (b"BM", "BMP"),
        (b"GIF8", "GIF"),
        (b"II*\0", "TIFF"),
        (b"MM\0*", "TIFF"),
        (b"P5", "PPM"),
        (b"P6", "PPM"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"%PDF", "PDF"),
        (b"<svg", "SVG"),
        (b"\x1a\x45\xdf\xa3", "film (Matroska or WebM)"),
        (b"\0\0\x01\xba", "film (MPEG)"),
        (b"\x89MCAP0\r\n", "MCAP bag"),
        (b"#ROSBAG V", "ROS 1 bag"),
        (b"SQLite format 3\0", "sqlite3 bag"),
    ):
        if head.startswith(start):
            return name
    if head[:4] == b"RIFF":
        return {b"WEBP": "WebP", b"AVI ": "film (AVI)"}.get(head[8:12], "")
    if head[4:8] == b"ftyp":
        brand = head[8:12]
        if brand in _STILLS:
            return "HEIC"
        return "AVIF" if brand in (b"avif", b"avis") else "film (MP4)"
    if re.match(rb"\0?\0\0\x01[\x09\x06\x07\x27\x67\x41\x61\x65]", head):
        return "film (H.264)"
    if re.match(rb"\0?\0\0\x01[\x40\x42\x44\x46\x26\x28\x02]\x01", head):
        return "film (H.265)"
    return ""


def walk(data: memoryview, max_pixels: int, told: str = "") -> CodedPicture:
    """Look at a coded picture's structure; not a pixel of it is decoded.

    Args:
        data: Its bytes, flat.
        max_pixels: Largest H x W that is accepted.
        told: What the sender calls it, for the text.

    Raises:
        BadInputError: Reason "bad_data" (empty, cut off, lengths that contradict the data),
            "bad_encoding" (something else, by name) or "bad_size".
    """
    if len(data) == 0:
        raise BadInputError("bad_data", "picture has 0 bytes")
    head = bytes(data[:32])
    kind = kind_of(head)
    if not kind and re.search("h.?26[45]|hevc", told.lower()):
        kind = "film (H.264 or H.265)"
    walks: dict[str, Callable[[memoryview], CodedPicture]] = {
        "JPEG": _walk_jpeg,
        "PNG": _walk_png,
        "WebP": _walk_webp,
    }
    if kind in walks:
        picture = walks[kind](data)
        check_size(picture.height, picture.width, max_pixels)
        return picture
    if kind in ("BMP", "GIF", "PPM", "TIFF"):
        return CodedPicture(kind, 0, 0, data)
    raise BadInputError("bad_encoding", _not_shown(kind, head, told))


def _not_shown(kind: str, head: bytes, told: str) -> str:
    said = f" (called {told!r:.60})" if told else ""
    if kind.startswith("film (H.26"):
        return (
            f"data is a {kind}{said}, no single picture; decode it to raw before: ros2 run "
            "image_transport republish ffmpeg raw"
        )
    if kind.startswith("film"):
        return f"data is a {kind}{said}; take its frames out: ffmpeg -i FILM frame_%06d.jpg"
    if kind in ("HEIC", "AVIF", "JPEG XL", "JPEG 2000", "PDF", "SVG"):
        return f"data is {kind}{said}, which is not read; convert it to JPEG or PNG"
    return f"data starts with {head[:8].hex()}{said}, expected a JPEG, PNG or WebP"


def _cut(kind: str, data: memoryview, what: str) -> BadInputError:
    return BadInputError("bad_data", f"{kind} of {len(data)} bytes is truncated or corrupt: {what}")


def _walk_jpeg(data: memoryview) -> CodedPicture:
    """ITU-T T.81, annex B: segments with lengths, entropy-coded data between them."""
    position, scans, orientation = 2, 0, 1
    frame: tuple[int, int, int] | None = None
    markers = _jpeg_markers(data)
    for _ in range(_MAX_PARTS):
        found = int(np.searchsorted(markers, position))
        if found == len(markers):
            raise _cut("JPEG", data, "no end-of-image marker")
        position = int(markers[found]) + 2
        marker = data[position - 1]
        if marker == 0xD9:
            break
        if marker == 0x01:  # stands alone
            continue
        length = int.from_bytes(data[position : position + 2], "big")
        if marker == 0xD8 or length < 2 or position + length > len(data):
            raise _cut("JPEG", data, f"segment {marker:02x} at byte {position} of {length} bytes")
        segment = data[position + 2 : position + length]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if frame is not None or len(segment) < 6:
                raise _cut("JPEG", data, "two frame headers, or half of one")
            sides = int.from_bytes(segment[1:3], "big"), int.from_bytes(segment[3:5], "big")
            frame = (*sides, segment[5])
        elif marker == 0xDA:
            scans += 1
            _bound_scans(scans, frame)
        elif marker == 0xE1 and bytes(segment[:6]) == b"Exif\0\0":
            orientation = _orientation(bytes(segment[6:]))
        position += length
    else:
        raise _cut("JPEG", data, f"more than {_MAX_PARTS} segments")
    if frame is None or not scans:
        raise _cut("JPEG", data, "no frame header or no scan")
    height, width, channels = frame
    return CodedPicture("JPEG", height, width, data[:position], orientation, channels)


def _jpeg_markers(data: memoryview) -> NDArray[np.intp]:
    """Where a marker may stand; stuffed bytes and restarts are of the entropy-coded data."""
    codes = np.frombuffer(data, np.uint8)
    at = np.flatnonzero(codes[:-1] == 0xFF)
    code = codes[at + 1]
    found: NDArray[np.intp] = at[(code != 0) & (code != 0xFF) & ((code < 0xD0) | (code > 0xD7))]
    return found


def _bound_scans(scans: int, frame: tuple[int, int, int] | None) -> None:
    pixels = 0 if frame is None else frame[0] * frame[1]
    if scans > MAX_SCANS or (scans > 12 and scans * pixels > MAX_SCANNED_PIXELS):
        raise BadInputError(
            "bad_size",
            f"JPEG of {pixels} px has {scans} scans or more, expected at most {MAX_SCANS}, and "
            f"scans x pixels at most {MAX_SCANNED_PIXELS}: each scan is a pass over the picture",
        )


def _walk_png(data: memoryview) -> CodedPicture:
    """W3C PNG, 5.3: chunks of length, type, data and CRC."""
    position, orientation, kept = len(_PNG_START), 1, [memoryview(_PNG_START)]
    head: memoryview | None = None
    for _ in range(_MAX_PARTS):
        length = int.from_bytes(data[position : position + 4], "big")
        name, end = bytes(data[position + 4 : position + 8]), position + 12 + length
        if len(name) < 4 or end > len(data):
            raise _cut("PNG", data, f"chunk {name!r} at byte {position} claims {length} bytes")
        if name in _PIXEL_CHUNKS:
            crc = zlib.crc32(data[position + 4 : end - 4])
            if crc != int.from_bytes(data[end - 4 : end], "big"):
                raise _cut("PNG", data, f"the CRC of chunk {name!r} at byte {position} is wrong")
            kept.append(data[position:end])
        if name == b"IHDR" and head is None and length == 13:
            head = data[position + 8 : end - 4]
        elif name == b"eXIf":
            orientation = _orientation(bytes(data[position + 8 : end - 4]))
        position = end
        if name == b"IEND":
            break
    else:
        raise _cut("PNG", data, f"more than {_MAX_PARTS} chunks")
    if head is None:
        raise _cut("PNG", data, "no header")
    width, height = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:8], "big")
    return CodedPicture("PNG", height, width, b"".join(kept), orientation)


def _walk_webp(data: memoryview) -> CodedPicture:
    """RFC 9649: RIFF chunks; the size stands in the first, EXIF behind the picture."""
    size = int.from_bytes(data[4:8], "little") + 8
    if size < 30 or size > len(data):
        raise _cut("WebP", data, f"it claims {size} bytes")
    first, body = bytes(data[12:16]), data[20:]
    orientation = 1
    if first == b"VP8X":
        width, height = (1 + int.from_bytes(body[at : at + 3], "little") for at in (4, 7))
        if body[0] & 2:
            raise BadInputError("bad_encoding", "WebP is animated, expected a single picture")
        position = 12
        for _ in range(_MAX_PARTS):
            if position + 8 > size:
                break
            length = int.from_bytes(data[position + 4 : position + 8], "little")
            if bytes(data[position : position + 4]) == b"EXIF":
                orientation = _orientation(bytes(data[position + 8 : position + 8 + length]))
            position += 8 + length + length % 2
    elif first == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    elif first == b"VP8 ":
        width, height = (int.from_bytes(body[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    else:
        raise _cut("WebP", data, f"its first chunk is {first!r}")
    return CodedPicture("WebP", height, width, data[:size], orientation)


def _orientation(tiff: bytes) -> int:
    """Tag 0x0112 of an EXIF block (CIPA DC-008, 4.6.4); 1 where it says nothing that can be."""
    tiff = tiff.removeprefix(b"Exif\0\0")
    if tiff[:2] not in (b"II", b"MM"):
        return 1

    def number(at: int, size: int) -> int:
        return int.from_bytes(tiff[at : at + size], "little" if tiff[:2] == b"II" else "big")

    directory = number(4, 4)
    for entry in range(min(number(directory, 2), 200)):
        at = directory + 2 + 12 * entry
        if number(at, 2) == 0x0112:
            value = number(at + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
