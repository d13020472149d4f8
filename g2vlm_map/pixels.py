"""A frame's pixels before anybody has decoded them: size, small and grey, or whole.

A keyframe is chosen on a small grey picture; only then is the whole one worth its time. So a
frame comes in as an object that can do both when it is asked, whatever it is made of.

A JPEG's or PNG's header is read first, and what it claims is checked. Shape letters: H W pixels.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from .decode import (
    BadInputError,
    ImageLike,
    RawLayout,
    check_raw,
    check_size,
    convert_into,
    raw_to_gray,
    raw_to_rgb,
)

__all__ = [
    "GRAY_WIDTH",
    "ArrayPixels",
    "CompressedLike",
    "CompressedPixels",
    "Pixels",
    "RawPixels",
    "compressed_size",
    "compressed_to_rgb",
    "gray_step",
    "shrink_gray",
    "small_gray",
]

GRAY_WIDTH = 160
_SHRINKING = {
    1: cv2.IMREAD_GRAYSCALE,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


@runtime_checkable
class Pixels(Protocol):
    """What can become a small grey picture and an RGB picture; `size` is asked first."""

    def size(self, max_pixels: int) -> tuple[int, int]:
        """Check everything that can be checked without decoding; (H, W).

        Args:
            max_pixels: Largest H x W that is accepted.

        Raises:
            BadInputError: With a reason.
        """
        ...

    def gray(self) -> NDArray[np.uint8]:
        """Small and grey, as `keyframes.Reference` compares them.

        Raises:
            BadInputError: It cannot be decoded.
        """
        ...

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """Write the whole picture as RGB.

        Raises:
            BadInputError: It cannot be decoded.
        """
        ...


class ArrayPixels:
    """An RGB array.

    Args:
        image_HW3: (H, W, 3) uint8; must not be written to while the frame waits.
    """

    def __init__(self, image_HW3: NDArray[np.uint8]) -> None:
        self._image_HW3 = image_HW3

    def size(self, max_pixels: int) -> tuple[int, int]:
        """See `Pixels`."""
        image = self._image_HW3
        if not isinstance(image, np.ndarray):
            raise BadInputError(
                "bad_data", f"image is a {type(image).__name__}, expected a numpy array"
            )
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise BadInputError(
                "bad_data", f"image is {image.dtype} {image.shape}, expected uint8 (H, W, 3) RGB"
            )
        check_size(image.shape[0], image.shape[1], max_pixels)
        return image.shape[0], image.shape[1]

    def gray(self) -> NDArray[np.uint8]:
        """See `Pixels`."""
        return small_gray(self._image_HW3)

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """See `Pixels`."""
        np.copyto(out_HW3, self._image_HW3)


class RawPixels:
    """An object with the fields of `sensor_msgs/Image`."""

    def __init__(self, image: ImageLike) -> None:
        self._image = image
        self._layout: RawLayout | None = None

    def size(self, max_pixels: int) -> tuple[int, int]:
        """See `Pixels`."""
        self._layout = check_raw(self._image, max_pixels)
        return self._layout.height, self._layout.width

    def gray(self) -> NDArray[np.uint8]:
        """See `Pixels`."""
        assert self._layout is not None, "size comes first"
        layout = self._layout
        gray = raw_to_gray(self._image, layout, gray_step(layout.width))
        return shrink_gray(gray, (layout.height, layout.width))

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """See `Pixels`."""
        assert self._layout is not None, "size comes first"
        raw_to_rgb(self._image, self._layout, out_HW3)


class CompressedPixels:
    """An object with the fields of `sensor_msgs/CompressedImage`: a JPEG or a PNG."""

    def __init__(self, image: CompressedLike) -> None:
        self._image = image
        self._size: tuple[int, int] | None = None

    def size(self, max_pixels: int) -> tuple[int, int]:
        """See `Pixels`."""
        self._size = compressed_size(self._image, max_pixels)
        return self._size

    def gray(self) -> NDArray[np.uint8]:
        """See `Pixels`."""
        assert self._size is not None, "size comes first"
        step = gray_step(self._size[1])
        shrink = max(factor for factor in (1, 2, 4, 8) if factor <= step)
        return shrink_gray(compressed_to_gray(self._image, shrink), self._size)

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """See `Pixels`."""
        compressed_to_rgb(self._image, out_HW3)


class CompressedLike(Protocol):
    """The fields of `sensor_msgs/msg/CompressedImage` that matter here."""

    format: str
    data: Any


def compressed_size(image: CompressedLike, max_pixels: int) -> tuple[int, int]:
    """Read (H, W) of a JPEG or PNG from its header, before anything is decoded.

    The first bytes decide, not the `format` field, which drivers fill in differently.

    Raises:
        BadInputError: Reason "bad_data" (empty, truncated, not an image), "bad_encoding" (neither
            JPEG nor PNG) or "bad_size".
    """
    if "compressedDepth" in image.format:
        raise BadInputError(
            "bad_encoding", f"format {image.format!r:.60} is a depth picture, not colour"
        )
    data = memoryview(image.data).cast("B")
    if len(data) == 0:
        raise BadInputError("bad_data", "data has 0 bytes, expected a JPEG or PNG")
    head = bytes(data[:8])
    if head[:3] == b"\xff\xd8\xff":
        size = _jpeg_size(data)
    elif head == b"\x89PNG\r\n\x1a\n":
        size = _png_size(data)
    else:
        raise BadInputError(
            "bad_encoding",
            f"data starts with {head.hex()} (format {image.format!r:.60}), expected JPEG or PNG",
        )
    check_size(*size, max_pixels)
    return size


def compressed_to_rgb(image: CompressedLike, out_HW3: NDArray[np.uint8]) -> None:
    """Decode a JPEG or PNG that `compressed_size` has accepted.

    Args:
        image: The message.
        out_HW3: (H, W, 3) uint8 of the size that `compressed_size` said; overwritten.

    Raises:
        BadInputError: Reason "bad_data": the decoder refuses it.
    """
    bgr = _decode(image, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if bgr is None or bgr.shape != out_HW3.shape:
        got = None if bgr is None else bgr.shape
        raise BadInputError("bad_data", f"picture decodes to {got}, expected {out_HW3.shape}")
    convert_into(bgr, cv2.COLOR_BGR2RGB, out_HW3)


def compressed_to_gray(image: CompressedLike, shrink: int) -> NDArray[np.uint8]:
    """Decode a JPEG or PNG in grey and smaller; JPEG decoders skip most of the work then.

    Args:
        image: The message.
        shrink: 1, 2, 4 or 8.

    Returns:
        (H / shrink, W / shrink) uint8, rounded up.

    Raises:
        BadInputError: Reason "bad_data": the decoder refuses it.
    """
    flags = _SHRINKING[shrink] | cv2.IMREAD_IGNORE_ORIENTATION
    gray = _decode(image, flags)
    if gray is None:
        raise BadInputError("bad_data", "the decoder finds no picture in the data")
    return gray


def _decode(image: CompressedLike, flags: int) -> NDArray[np.uint8] | None:
    try:
        decoded = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags)
    except cv2.error as error:
        raise BadInputError("bad_data", f"the decoder refuses the picture: {error.err}") from error
    return None if decoded is None else np.asarray(decoded, np.uint8)


def _png_size(data: memoryview) -> tuple[int, int]:
    if len(data) < 45 or bytes(data[12:16]) != b"IHDR" or b"IEND" not in bytes(data[-16:]):
        raise BadInputError(
            "bad_data", f"PNG of {len(data)} bytes is truncated: no header or no end"
        )
    return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")


def _jpeg_size(data: memoryview) -> tuple[int, int]:
    """(H, W) from the frame header; the end-of-image marker has to be there.

    Decoders fill what is missing of a cut JPEG with grey and only warn, so the end is
    looked for here; zeros behind it are the padding of some USB cameras.
    """
    if b"\xff\xd9" not in bytes(data[-64:]) and not bytes(data).rstrip(b"\0").endswith(b"\xff\xd9"):
        raise BadInputError(
            "bad_data", f"JPEG of {len(data)} bytes is truncated: no end-of-image marker"
        )
    position = 2
    while position + 9 <= len(data):
        if data[position] != 0xFF:
            break
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height = int.from_bytes(data[position + 5 : position + 7], "big")
            return height, int.from_bytes(data[position + 7 : position + 9], "big")
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    raise BadInputError("bad_data", "JPEG has no frame header")


def gray_step(width: int) -> int:
    """Every how many columns are enough: a factor of two is left to the averaging resize."""
    return max(1, width // (2 * GRAY_WIDTH))


def small_gray(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A grey picture of `GRAY_WIDTH` columns from an RGB picture of any size."""
    height, width = image_HW3.shape[:2]
    step = gray_step(width)
    gray = cv2.cvtColor(np.ascontiguousarray(image_HW3[::step, ::step]), cv2.COLOR_RGB2GRAY)
    return shrink_gray(np.asarray(gray, np.uint8), (height, width))


def shrink_gray(gray: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A grey picture of `GRAY_WIDTH` columns.

    Args:
        gray: Of any size.
        size: (H, W) of the original, whose proportions it gets.
    """
    rows = max(16, round(GRAY_WIDTH * size[0] / size[1]))
    small = cv2.resize(gray, (GRAY_WIDTH, min(rows, 4 * GRAY_WIDTH)), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8)
