# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Raw images to RGB or grey: every field checked, one pass, into memory that exists.

Any object with the fields of `sensor_msgs/Image` will do. An image that cannot be trusted is a
`BadInputError` with a short reason (counted in the status) and a text (logged once a period).
What is coded (JPEG, PNG, WebP) is read by `pictures.py`.

Shape letters: H W pixels.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.words import plain

__all__ = [
    "BadInputError",
    "ImageLike",
    "RawLayout",
    "SampleBits",
    "check_raw",
    "check_size",
    "convert_into",
    "raw_to_gray",
    "raw_to_rgb",
]

MAX_SIDE = 32767  # OpenCV's pictures and ours: a side fits into 15 bits
_LOG = logging.getLogger(__name__)


class BadInputError(ValueError):
    """An input that is refused. `reason` is a short stable word, the text says the rest."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(plain(text))
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
        half_rows: Behind the picture, half as many rows hold the colour of four pixels each.
    """

    channels: int
    itemsize: int
    code: int | None
    gray: int | None = None
    luma: int = 0
    cells: bool = False
    even_width: bool = False
    half_rows: bool = False


def _bayer(code: int, itemsize: int) -> _Encoding:
    return _Encoding(1, itemsize, code, cells=True, even_width=True)


_UYVY = _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY, luma=1, even_width=True)
_YUYV = _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUY2, luma=0, even_width=True)

_GRAY = _Encoding(1, 1, cv2.COLOR_GRAY2RGB)
_BGR = _Encoding(3, 1, cv2.COLOR_BGR2RGB, cv2.COLOR_BGR2GRAY)
_BGRA = _Encoding(4, 1, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2GRAY)
_GRAY_16 = _Encoding(1, 2, cv2.COLOR_GRAY2RGB)
_BGR_16 = _Encoding(3, 2, cv2.COLOR_BGR2RGB, cv2.COLOR_BGR2GRAY)

# By the names of sensor_msgs/image_encodings. 8UC1 ... 16UC3 are OpenCV's: no colours are said,
# so those that OpenCV itself stores are meant.
ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, 1, None, cv2.COLOR_RGB2GRAY),
    "bgr8": _BGR,
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2GRAY),
    "bgra8": _BGRA,
    "rgb16": _Encoding(3, 2, None, cv2.COLOR_RGB2GRAY),
    "bgr16": _BGR_16,
    "rgba16": _Encoding(4, 2, cv2.COLOR_RGBA2RGB, cv2.COLOR_RGBA2GRAY),
    "bgra16": _Encoding(4, 2, cv2.COLOR_BGRA2RGB, cv2.COLOR_BGRA2GRAY),
    "mono8": _GRAY,
    "mono16": _GRAY_16,
    "8UC1": _GRAY,
    "8UC3": _BGR,
    "8UC4": _BGRA,
    "16UC1": _GRAY_16,
    "16UC3": _BGR_16,
    "yuv422": _UYVY,
    "uyvy": _UYVY,
    "yuv422_yuy2": _YUYV,
    "yuyv": _YUYV,
    "nv12": _Encoding(1, 1, cv2.COLOR_YUV2RGB_NV12, cells=True, even_width=True, half_rows=True),
    "nv21": _Encoding(1, 1, cv2.COLOR_YUV2RGB_NV21, cells=True, even_width=True, half_rows=True),
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
# What is no picture of colours, by the beginning of its name, and what to use instead.
NO_COLOUR = {
    "32FC": "is a picture of distances or of a matrix; choose the camera's colour topic",
    "64FC": "is a picture of distances or of a matrix; choose the camera's colour topic",
    "h264": "is a film; decode it to raw (ros2 run image_transport republish ffmpeg raw)",
    "h265": "is a film; decode it to raw (ros2 run image_transport republish ffmpeg raw)",
    "hevc": "is a film; decode it to raw (ros2 run image_transport republish ffmpeg raw)",
    "jpeg": "belongs into a CompressedImage",
    "mjpeg": "belongs into a CompressedImage",
    "png": "belongs into a CompressedImage",
}


class SampleBits:
    """How many bits of their 16 a camera's samples use: 8, 10, 12, 14 or 16.

    `mono16` says nothing of it, and what a sensor of 10 or 12 bits gives is black where its upper
    byte is taken. So the largest sample that came so far decides; it can but grow, and the
    brightness changes then and is constant from there on.

    Args:
        name: Of the camera, for the log.
    """

    def __init__(self, name: str = "") -> None:
        self._name = name
        self.bits = 0  # none came yet

    def see(self, samples: NDArray[np.uint16]) -> int:
        """Take the samples of a picture into account; the bits that are used so far."""
        used = int(samples.max()).bit_length() if samples.size else 0
        bits = next(size for size in (8, 10, 12, 14, 16) if used <= size)
        if bits > self.bits:
            self.bits = bits
            if bits < 16:
                _LOG.info(
                    "%s: samples of 16 bits use %d; they are scaled by that", self._name, bits
                )
        return self.bits


@dataclass(frozen=True)
class RawLayout:
    """A raw picture whose sizes multiply out: safe to view and to convert."""

    height: int
    width: int
    encoding: str


def _encoding_error(encoding: str) -> BadInputError:
    for beginning, advice in NO_COLOUR.items():
        if encoding.lower().startswith(beginning.lower()):
            return BadInputError("bad_encoding", f"encoding {encoding!r:.60} {advice}")
    return BadInputError(
        "bad_encoding",
        f"encoding {encoding!r:.60} is unknown, expected one of {', '.join(ENCODINGS)}",
    )


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
            raise _encoding_error(encoding)
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
    rows = height + (height // 2 if spec is not None and spec.half_rows else 0)
    if size != step * rows:
        raise BadInputError(
            "bad_data",
            f"data has {size} bytes, expected step x rows = {step} x {rows} = {step * rows}",
        )
    return RawLayout(height, width, encoding)


def raw_to_rgb(
    image: ImageLike,
    layout: RawLayout,
    out_HW3: NDArray[np.uint8],
    used: SampleBits | None = None,
) -> None:
    """Write a checked raw picture as RGB.

    Of samples of 16 bits the upper 8 of those that are used are kept, see `SampleBits`.

    Args:
        image: The message that `layout` was read from.
        layout: Result of `check_raw`.
        out_HW3: (H, W, 3) uint8 C-contiguous, overwritten.
        used: What the camera's pictures before used; None: this one alone decides.

    Raises:
        BadInputError: Reason "bad_encoding": a rare encoding that cv_bridge refuses too.
    """
    assert out_HW3.shape == (layout.height, layout.width, 3), (out_HW3.shape, layout)
    spec = ENCODINGS.get(layout.encoding)
    if spec is None:
        np.copyto(out_HW3, _through_cv_bridge(image, layout))
        return
    if spec.half_rows:
        rows = _rows(image, layout.height + layout.height // 2)[:, : layout.width]
        convert_into(np.ascontiguousarray(rows), _code(spec), out_HW3)
        return
    pixels = _samples(image, layout, spec)
    if spec.itemsize == 2:
        pixels = _upper_byte(pixels, used)
    if spec.code is None:
        np.copyto(out_HW3, pixels)
        return
    convert_into(pixels, spec.code, out_HW3)


def raw_to_gray(
    image: ImageLike, layout: RawLayout, step: int, used: SampleBits | None = None
) -> NDArray[np.uint8]:
    """About every `step`-th row and column of a checked raw picture in grey.

    Args:
        image: The message that `layout` was read from.
        layout: Result of `check_raw`.
        step: At least 1.
        used: As in `raw_to_rgb`.

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
    if spec.cells and not spec.half_rows:
        every = 2 * max(1, step // 2)
        corners = [pixels[row::every, column::every] for row in (0, 1) for column in (0, 1)]
        if spec.itemsize == 2:
            corners = list(_upper_byte(np.stack(corners), used))
        return np.asarray(np.mean(corners, axis=0, dtype=np.float32), np.uint8)
    pixels = pixels[::step, ::step]
    if spec.itemsize == 2:
        pixels = _upper_byte(pixels, used)
    if spec.gray is not None:
        return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), spec.gray), np.uint8)
    return np.ascontiguousarray(pixels[..., spec.luma] if spec.channels > 1 else pixels)


def _rows(image: ImageLike, rows: int) -> NDArray[np.uint8]:
    return np.frombuffer(image.data, np.uint8).reshape(rows, int(image.step))


def _samples(image: ImageLike, layout: RawLayout, spec: _Encoding) -> NDArray[Any]:
    """(H, W) or (H, W, C) view of a raw picture's samples, uint8, or uint16 of this machine."""
    data = np.frombuffer(image.data, np.uint8)
    dtype: np.dtype[Any] = np.dtype(np.uint8)
    if spec.itemsize == 2:
        dtype = np.dtype(">u2" if image.is_bigendian else "<u2")
    shape, strides = [layout.height, layout.width], [int(image.step), spec.channels * spec.itemsize]
    if spec.channels > 1:
        shape, strides = [*shape, spec.channels], [*strides, spec.itemsize]
    pixels: NDArray[Any] = np.ndarray(shape, dtype, data.data, strides=strides)
    return pixels if dtype.isnative else pixels.astype(np.uint16)


def _upper_byte(samples: NDArray[np.uint16], used: SampleBits | None) -> NDArray[np.uint8]:
    bits = (used or SampleBits()).see(samples)
    return np.asarray(np.right_shift(samples, bits - 8), np.uint8)


def _code(spec: _Encoding) -> int:
    assert spec.code is not None
    return spec.code


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
