"""Camera messages to RGB pictures: every field checked, one pass, into memory that exists.

Nothing here imports rclpy: any object with the fields of `sensor_msgs/Image` (or
`CompressedImage`, `CameraInfo`) will do. A picture that cannot be trusted is a `BadInputError`
with a short reason (counted in the status) and a text (logged once a period).

Shape letters: H W pixels.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BadInputError",
    "CameraInfoLike",
    "CompressedLike",
    "ImageLike",
    "RawLayout",
    "camera_matrix",
    "check_raw",
    "compressed_size",
    "compressed_to_rgb",
    "raw_to_rgb",
]

MAX_SIDE = 32767  # OpenCV's pictures and ours: a side fits into 15 bits
MAX_FOCAL_PX = 1_000_000


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


class CompressedLike(Protocol):
    """The fields of `sensor_msgs/msg/CompressedImage` that matter here."""

    format: str
    data: Any


class CameraInfoLike(Protocol):
    """The fields of `sensor_msgs/msg/CameraInfo` that matter here."""

    height: int
    width: int
    k: Sequence[float]


@dataclass(frozen=True)
class _Encoding:
    """How one encoding is stored: channels per pixel, bytes per channel, OpenCV code to RGB."""

    channels: int
    itemsize: int
    code: int | None
    even_width: bool = False
    even_height: bool = False


def _bayer(code: int, itemsize: int) -> _Encoding:
    return _Encoding(1, itemsize, code, even_width=True, even_height=True)


ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(3, 1, None),
    "bgr8": _Encoding(3, 1, cv2.COLOR_BGR2RGB),
    "rgba8": _Encoding(4, 1, cv2.COLOR_RGBA2RGB),
    "bgra8": _Encoding(4, 1, cv2.COLOR_BGRA2RGB),
    "mono8": _Encoding(1, 1, cv2.COLOR_GRAY2RGB),
    "mono16": _Encoding(1, 2, cv2.COLOR_GRAY2RGB),
    "yuv422": _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "uyvy": _Encoding(2, 1, cv2.COLOR_YUV2RGB_UYVY, even_width=True),
    "yuv422_yuy2": _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
    "yuyv": _Encoding(2, 1, cv2.COLOR_YUV2RGB_YUY2, even_width=True),
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
    _check_size(height, width, max_pixels)
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
        if (spec.even_width and width % 2) or (spec.even_height and height % 2):
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
    if spec.code is None:
        np.copyto(out_HW3, pixels)
        return
    if spec.itemsize == 2:
        pixels = np.ascontiguousarray(pixels)
    _convert(pixels, spec.code, out_HW3)


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
    _check_size(*size, max_pixels)
    return size


def compressed_to_rgb(image: CompressedLike, out_HW3: NDArray[np.uint8]) -> None:
    """Decode a JPEG or PNG that `compressed_size` has accepted.

    Args:
        image: The message.
        out_HW3: (H, W, 3) uint8 of the size that `compressed_size` said; overwritten.

    Raises:
        BadInputError: Reason "bad_data": the decoder refuses it.
    """
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        bgr = cv2.imdecode(np.frombuffer(image.data, np.uint8), flags)
    except cv2.error as error:
        raise BadInputError("bad_data", f"the decoder refuses the picture: {error.err}") from error
    if bgr is None or bgr.shape != out_HW3.shape:
        got = None if bgr is None else bgr.shape
        raise BadInputError("bad_data", f"picture decodes to {got}, expected {out_HW3.shape}")
    _convert(np.asarray(bgr, np.uint8), cv2.COLOR_BGR2RGB, out_HW3)


def camera_matrix(info: CameraInfoLike) -> NDArray[np.float64]:
    """The intrinsics of a CameraInfo, checked.

    Returns:
        (3, 3) float64, pixels of a picture of info.width x info.height.

    Raises:
        BadInputError: Reason "bad_camera_info": not finite, uncalibrated (zero focal length), a
            focal length that no lens has, or a principal point outside of the picture.
    """
    K = np.array(info.k, np.float64).reshape(3, 3)
    if not np.isfinite(K).all():
        raise BadInputError("bad_camera_info", f"K holds a number that is not finite: {K.tolist()}")
    fx, fy, cx, cy = float(K[0, 0]), float(K[1, 1]), float(K[0, 2]), float(K[1, 2])
    if not (0 < fx <= MAX_FOCAL_PX and 0 < fy <= MAX_FOCAL_PX):
        raise BadInputError(
            "bad_camera_info",
            f"focal lengths are {fx:g} and {fy:g} px, expected > 0 (0 means uncalibrated) and at "
            f"most {MAX_FOCAL_PX}",
        )
    if not np.array_equal(K[2], (0.0, 0.0, 1.0)):
        raise BadInputError(
            "bad_camera_info", f"last row of K is {K[2].tolist()}, expected [0, 0, 1]"
        )
    # Drivers may leave the size at zero; no picture is larger than the largest that we take.
    width, height = int(info.width), int(info.height)
    if not (width or height):
        width = height = MAX_SIDE
    if not (0 <= cx <= width and 0 <= cy <= height):
        raise BadInputError(
            "bad_camera_info",
            f"principal point ({cx:g}, {cy:g}) lies outside of the {width} x {height} picture",
        )
    return K


def _check_size(height: int, width: int, max_pixels: int) -> None:
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


def _convert(source: NDArray[np.uint8], code: int, out_HW3: NDArray[np.uint8]) -> None:
    """cv2.cvtColor straight into `out_HW3`."""
    result = cv2.cvtColor(source, code, dst=out_HW3)
    if result is not out_HW3 and not np.shares_memory(result, out_HW3):
        np.copyto(out_HW3, result)


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
