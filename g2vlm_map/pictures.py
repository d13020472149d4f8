# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The one decoder of coded pictures: for the node, the replay, folders, data sets and the report.

A picture is walked first (`picture_walk.py`), then decoded upright, as its EXIF orientation says.
JPEG goes through libjpeg-turbo (simplejpeg): it tells where the entropy-coded data is corrupt,
which OpenCV prints to the terminal and Pillow keeps to itself. All else goes through Pillow, which
prints nothing once it is told to. A baseline JPEG has no check sum: of 200 each of a kitchen's
frame, cut pieces were told in 199, eight flipped bits in 139 of the 182 that became visibly wrong.

Shape letters: H W pixels.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import io
import logging
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .decode import BadInputError, SampleBits, check_size
from .picture_walk import CodedPicture, walk

__all__ = [
    "PICTURE_PIXELS",
    "Decoded",
    "decode_gray",
    "decode_rgb",
    "decode_samples",
    "open_picture",
    "read_rgb",
]

PICTURE_PIXELS = 178_956_970  # of a file, where no parameter says less: Pillow's own bound
_TEXT_CHARS = 200
_TILE_TAGS = (322, 323)  # TIFF 6.0, section 15: width and length of its tiles
_TILE_BEYOND = 1024
_LOG = logging.getLogger(__name__)
# Padding that some cameras write before a marker: libjpeg warns, the picture is whole.
_PADDING = re.compile(r"Corrupt JPEG data: [1-4] extraneous bytes")
# EXIF's orientation: what numpy does to the stored picture to turn it upright.
_TURNS: dict[int, tuple[int, bool]] = {  # quarter turns counter-clockwise, then mirrored
    1: (0, False),
    2: (0, True),
    3: (2, False),
    4: (2, True),
    5: (3, True),
    6: (3, False),
    7: (1, True),
    8: (1, False),
}


@dataclass(frozen=True)
class Decoded:
    """A decoded picture.

    Args:
        pixels: (H, W, 3) RGB or (H, W) grey, uint8, upright.
        damage: What is wrong with the coded data although it decodes; "" for nothing.
    """

    pixels: NDArray[np.uint8]
    damage: str = ""


def open_picture(data: Any, max_pixels: int = PICTURE_PIXELS, told: str = "") -> CodedPicture:
    """Check a coded picture without decoding it.

    Args:
        data: Bytes, or anything with a buffer of bytes.
        max_pixels: Largest H x W that is accepted.
        told: What the sender calls it, for the text.

    Raises:
        BadInputError: See `picture_walk.walk`.
    """
    picture = walk(memoryview(data).cast("B"), max_pixels, told)
    if picture.height:
        return picture
    with _quiet(picture.kind), Image.open(io.BytesIO(picture.data), formats=[picture.kind]) as file:
        width, height = file.size
        check_size(height, width, max_pixels)
        if picture.kind == "TIFF":
            _check_tiles(file)
    return CodedPicture(picture.kind, height, width, picture.data)  # Pillow turns TIFF itself


def decode_rgb(picture: CodedPicture) -> Decoded:
    """A picture as RGB, upright.

    Raises:
        BadInputError: Reason "bad_data": the decoder refuses it.
    """
    if picture.kind == "JPEG" and picture.channels in (1, 3) and _simplejpeg() is not None:
        pixels, damage = _turbo(picture, "RGB", 1)
        return Decoded(_upright(pixels, picture), damage)
    return Decoded(_upright(_pillow(picture, "RGB", 1), picture))


def decode_gray(picture: CodedPicture, shrink: int) -> Decoded:
    """A picture in grey, upright and smaller; JPEG decoders skip most of the work then.

    Args:
        picture: From `open_picture`.
        shrink: 1, 2, 4 or 8.

    Returns:
        About (H / shrink, W / shrink) where the decoder can shrink, (H, W) elsewhere.

    Raises:
        BadInputError: Reason "bad_data": the decoder refuses it.
    """
    if picture.kind == "JPEG" and picture.channels in (1, 3) and _simplejpeg() is not None:
        pixels, damage = _turbo(picture, "GRAY", shrink)
        return Decoded(_upright(pixels[..., 0], picture), damage)
    return Decoded(_upright(_pillow(picture, "L", shrink), picture))


def decode_samples(data: Any, max_pixels: int = PICTURE_PIXELS) -> NDArray[Any]:
    """The samples of a picture as they are stored: of depth, labels, trust.

    Returns:
        (H, W) or (H, W, C), uint8, uint16 or int32.

    Raises:
        BadInputError: It cannot be decoded.
    """
    picture = open_picture(data, max_pixels)
    with _quiet(picture.kind), Image.open(io.BytesIO(picture.data), formats=[picture.kind]) as file:
        return np.asarray(file)


def read_rgb(path: Path, max_pixels: int = PICTURE_PIXELS) -> NDArray[np.uint8]:
    """A picture file as (H, W, 3) RGB, upright; damage that it decodes with is logged.

    Raises:
        BadInputError: It cannot be decoded.
        OSError: It cannot be read.
    """
    decoded = decode_rgb(open_picture(path.read_bytes(), max_pixels, path.name))
    if decoded.damage:
        _LOG.warning("%s is damaged: %s", path.name, decoded.damage)
    return decoded.pixels


def _check_tiles(tiff: Any) -> None:
    """Refuse tiles far larger than the picture: libtiff makes room for a whole one.

    Raises:
        BadInputError: Reason "bad_size".
    """
    across, down = (tiff.tag_v2.get(tag, 0) for tag in _TILE_TAGS)
    width, height = tiff.size
    if not (0 <= across <= width + _TILE_BEYOND and 0 <= down <= height + _TILE_BEYOND):
        raise BadInputError(
            "bad_size",
            f"TIFF of {width} x {height} px has tiles of {across} x {down}, expected at most "
            f"{_TILE_BEYOND} beyond the picture",
        )


@functools.cache
def _silence_tiff() -> None:
    """Keep TIFF's readers off the terminal: what they print of a broken file is raised too.

    Pillow gives no way to libtiff's handlers; the library is the one that this process has loaded.
    """
    logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
    with suppress(OSError, AttributeError):
        maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
        for name in {line.split(maxsplit=5)[-1] for line in maps if "libtiff" in line}:
            library = ctypes.CDLL(name)
            for handler in (library.TIFFSetErrorHandler, library.TIFFSetWarningHandler):
                handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
                handler(None)


@functools.cache
def _simplejpeg() -> Any:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        _LOG.warning("simplejpeg is missing: damaged JPEGs are not told; pip install simplejpeg")
        return None


def _turbo(picture: CodedPicture, colours: str, shrink: int) -> tuple[NDArray[np.uint8], str]:
    """(H, W, C) as stored, and what libjpeg warned of."""
    rows, columns = -(-picture.height // shrink), -(-picture.width // shrink)
    smallest = {} if shrink == 1 else {"min_height": rows, "min_width": columns}
    decode = _simplejpeg().decode_jpeg
    try:
        return decode(picture.data, colours, **smallest), ""
    except ValueError as error:
        damage = str(error)[:_TEXT_CHARS]
    try:
        pixels = decode(picture.data, colours, strict=False, **smallest)
    except ValueError as error:
        raise _refusal(picture.kind, error) from error
    return pixels, "" if _PADDING.match(damage) else damage


def _pillow(picture: CodedPicture, mode: str, shrink: int) -> NDArray[np.uint8]:
    with _quiet(picture.kind), Image.open(io.BytesIO(picture.data), formats=[picture.kind]) as file:
        if file.size != (picture.width, picture.height):
            raise BadInputError("bad_data", f"{picture.kind} decodes to {file.size}")
        if picture.kind == "JPEG" and shrink > 1:
            file.draft(mode, (-(-picture.width // shrink), -(-picture.height // shrink)))
        if file.mode.startswith("I"):  # 16 bits of grey
            samples = np.asarray(file).astype(np.uint16)
            gray = np.asarray(samples >> (SampleBits().see(samples) - 8), np.uint8)
            return gray if mode == "L" else np.repeat(gray[..., None], 3, axis=2)
        return np.asarray(file.convert(mode), np.uint8)


class _quiet:
    """Makes a BadInputError of whatever Pillow raises at a broken file; lets it warn of nothing.

    Args:
        kind: Of the picture, for the text. Only TIFF's reader warns.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._warnings = warnings.catch_warnings() if kind == "TIFF" else None

    def __enter__(self) -> None:
        if self._warnings is not None:
            _silence_tiff()
            self._warnings.__enter__()
            warnings.simplefilter("ignore")

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._warnings is not None:
            self._warnings.__exit__(None, None, None)
        if isinstance(error, Exception) and not isinstance(error, BadInputError):
            raise _refusal(self._kind, error) from error


def _refusal(kind: str, error: BaseException) -> BadInputError:
    text = " ".join(str(error).split())[:_TEXT_CHARS] or type(error).__name__
    return BadInputError("bad_data", f"the decoder refuses the {kind}: {text}")


def _upright(pixels: NDArray[np.uint8], picture: CodedPicture) -> NDArray[np.uint8]:
    quarters, mirrored = _TURNS[picture.orientation]
    if quarters:
        pixels = np.rot90(pixels, quarters)
    return pixels[:, ::-1] if mirrored else pixels
