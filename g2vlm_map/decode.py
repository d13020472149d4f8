"""Raw images to RGB or grey: every field checked, one pass, into memory that exists.

Any object with the fields of `sensor_msgs/Image` will do. An image that cannot be trusted is a
`BadInputError` with a short reason (counted in the status) and a text (logged once a period).

Shape letters: H W pixels.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BadInputError",
    "ImageLike",
    "RawLayout",
    "check_raw",
    "check_size",
    "convert_into",
    "raw_to_gray",
    "raw_to_rgb",
]

MAX_SIDE = 32767  # OpenCV's pictures and ours: a side fits into 15 bits


class BadInputError(ValueError):
    """An input that is refused. `reason` is a short stable word, the text says the rest."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ImageLike(Protocol):
    """The fields of `sensor_msgs/msg/Image` that matter here."""

    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: Any


@dataclass(frozen=True)
class _Encoding:
    """How one encoding is stored, and how it is read.

    Args:
        channels: Samples per pixel.
        itemsize: Bytes per sample.
        code: OpenCV's conversion to RGB; None where it is RGB.
        gray: OpenCV's conversion to grey; None where `luma` says which channel is.
        luma: The channel that is grey already.
        cells: One colour a pixel, four pixels a cell; the sides are even.
        even_width: Two pixels share their colour.
    """

    channels: int
    itemsize: int
    code: int | None
    gray: int | None = None
    luma: int = 0
    cells: bool = False
    even_width: bool = False


def _bayer(code: int, itemsize: int) -> _Encoding:
    return _Encoding(1, itemsize, code, cells=True, even_width=True)


_UYVY = _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY, luma=1, even_width=True)
_YUYV = _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUY2, luma=0, even_width=True)

ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, 1, None, cv2.COLOR_RGB2GRAY),
    "bgr8": _Encoding(3, 1, cv2.COLOR_BGR2RGB, cv2.COLOR_BGR2GRAY),
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2GRAY),
    "bgra8": _Encoding(4, 1, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2GRAY),
    "mono8": _Encoding(1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": _Encoding(1, 2, cv2.COLOR_GRAY2RGB),
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    **{
        f"bayer_{pattern}{bits}": _bayer(code, bits // 8)
        for pattern, code in (
            ("rggb", cv2.COLOR_BayerRGGB2RGB),
            ("bggr", cv2.COLOR_BayerBGGR2RGB),
            ("gbrg", cv2.COLOR_BayerGBRG2RGB),
            ("grbg", cv2.COLOR_BayerGRBG2RGB),
        )
        for bits in (8, 16)
    },
}


@dataclass(frozen=True)
class RawLayout:
    """A raw picture whose sizes multiply out: safe to view and to convert."""

    height: int
    width: int
    encoding: str


def check_raw(image: ImageLike, max_pixels: int) -> RawLayout:
    """Check every size of a raw picture before a byte of it is touched.

    Args:
        image: The message.
        max_pixels: Largest height x width that is accepted.

    Raises:
        BadInputError: Reason "bad_size", "bad_encoding" or "bad_data".
    """
    height, width, step = int(image.height), int(image.width), int(image.step)
    check_size(height, width, max_pixels)
    encoding = image.encoding
    spec = ENCODINGS.get(encoding)
    size = len(image.data)
    if spec is None:
        if _cv_bridge() is None or not encoding:
            raise BadInputError(
                "bad_encoding",
                f"encoding {encoding!r:.60} is unknown, expected one of {', '.join(ENCODINGS)}",
            )
        row_bytes = 1
    else:
        row_bytes = width * spec.channels * spec.itemsize
        if (spec.even_width and width % 2) or (spec.cells and height % 2):
            raise BadInputError(
                "bad_size", f"{encoding} picture of {width} x {height}, expected even sides"
            )
    if step < row_bytes:
        raise BadInputError(
            "bad_size",
            f"step is {step} bytes, expected at least {row_bytes} for {width} px of {encoding}",
        )
    if size != step * height:
        raise BadInputError(
            "bad_data",
            f"data has {size} bytes, expected step x height = {step} x {height} = {step * height}",
        )
    return RawLayout(height, width, encoding)


def raw_to_rgb(image: ImageLike, layout: RawLayout, out_HW3: NDArray[np.uint8]) -> None:
    """Write a checked raw picture as RGB.

    16-bit samples keep their upper 8 bits (the full 16-bit range is black to white).

    Args:
        image: The message that `layout` was read from.
        layout: Result of `check_raw`.
        out_HW3: (H, W, 3) uint8 C-contiguous, overwritten.

    Raises:
        BadInputError: Reason "bad_encoding": a rare encoding that cv_bridge refuses too.
    """
    assert out_HW3.shape == (layout.height, layout.width, 3), (out_HW3.shape, layout)
    spec = ENCODINGS.get(layout.encoding)
    if spec is None:
        np.copyto(out_HW3, _through_cv_bridge(image, layout))
        return
    pixels = _samples(image, layout, spec)
    if spec.code is None:
        np.copyto(out_HW3, pixels)
        return
    if spec.itemsize == 2:
        pixels = np.ascontiguousarray(pixels)
    convert_into(pixels, spec.code, out_HW3)


def raw_to_gray(image: ImageLike, layout: RawLayout, step: int) -> NDArray[np.uint8]:
    """About every `step`-th row and column of a checked raw picture in grey.

    Args:
        image: The message that `layout` was read from.
        layout: Result of `check_raw`.
        step: At least 1.

    Returns:
        (~H / step, ~W / step) uint8; of mosaics half of that where `step` is 1, a cell a pixel.

    Raises:
        BadInputError: As `raw_to_rgb`.
    """
    spec = ENCODINGS.get(layout.encoding)
    if spec is None:
        rgb = np.ascontiguousarray(_through_cv_bridge(image, layout)[::step, ::step])
        return np.asarray(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY), np.uint8)
    pixels = _samples(image, layout, spec)
    if spec.cells:
        every = 2 * max(1, step // 2)
        corners = [pixels[row::every, column::every] for row in (0, 1) for column in (0, 1)]
        return np.asarray(np.mean(corners, axis=0, dtype=np.float32), np.uint8)
    pixels = pixels[::step, ::step]
    if spec.gray is not None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), spec.gray), np.uint8)
    return np.ascontiguousarray(pixels[..., spec.luma] if spec.channels > 1 else pixels)


def _samples(image: ImageLike, layout: RawLayout, spec: _Encoding) -> NDArray[np.uint8]:
    """(H, W) or (H, W, C) view of the upper 8 bits of a raw picture's samples."""
    rows = np.frombuffer(image.data, np.uint8).reshape(layout.height, int(image.step))
    pixels = rows[:, : layout.width * spec.channels * spec.itemsize]
    if spec.itemsize == 2:  # the byte that holds the upper 8 bits
        pixels = pixels[:, 0 if image.is_bigendian else 1 :: 2]
    if spec.channels > 1:
        pixels = np.lib.stride_tricks.as_strided(
            pixels,
            (layout.height, layout.width, spec.channels),
            (rows.strides[0], spec.channels, 1),
            writeable=False,
        )
    return pixels


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Refuse sides that no camera has, and more pixels than are allowed.

    Raises:
        BadInputError: Reason "bad_size".
    """
    if not (2 <= height <= MAX_SIDE and 2 <= width <= MAX_SIDE):
        raise BadInputError(
            "bad_size", f"picture is {width} x {height}, expected sides of 2..{MAX_SIDE} px"
        )
    if height * width > max_pixels:
        raise BadInputError(
            "bad_size",
            f"picture is {width} x {height} = {height * width} px, more than "
            f"images.max_pixels = {max_pixels}",
        )


def convert_into(source: NDArray[np.uint8], code: int, out_HW3: NDArray[np.uint8]) -> None:
    """cv2.cvtColor straight into `out_HW3`."""
    result = cv2.cvtColor(source, code, dst=out_HW3)
    if result is not out_HW3 and not np.shares_memory(result, out_HW3):
        np.copyto(out_HW3, result)


@functools.cache
def _cv_bridge() -> Any:
    """cv_bridge of a ROS distribution, or None.

    The package of that name on the Python package index is a different one that returns
    wrong numbers for some encodings; it lacks the compiled part and is not used.
    """
    try:
        if importlib.util.find_spec("cv_bridge.boost.cv_bridge_boost") is None:
            return None
        return importlib.import_module("cv_bridge").CvBridge()
    except (ImportError, AttributeError):  # absent, or its compiled part fails with this NumPy
        return None


def _through_cv_bridge(image: ImageLike, layout: RawLayout) -> NDArray[np.uint8]:
    try:
        rgb = np.asarray(_cv_bridge().imgmsg_to_cv2(image, desired_encoding="rgb8"))
    except Exception as error:
        raise BadInputError(
            "bad_encoding", f"encoding {layout.encoding!r:.60}: cv_bridge says {error}"
        ) from error
    if rgb.shape != (layout.height, layout.width, 3) or rgb.dtype != np.uint8:
        raise BadInputError(
            "bad_encoding",
            f"encoding {layout.encoding!r:.60} became {rgb.dtype} {rgb.shape}, expected RGB",
        )
    return rgb
