# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A frame's pixels before anybody has decoded them: size, small and grey, or whole.

A keyframe is chosen on a small grey picture; only then is the whole one worth its time. So a
frame comes in as an object that can do both when it is asked, whatever it is made of.

What a coded picture claims is checked before it is decoded, see `pictures.py`. Shape letters:
H W pixels.
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
    SampleBits,
    check_raw,
    check_size,
    raw_to_gray,
    raw_to_rgb,
)
from .picture_walk import CodedPicture
from .pictures import Decoded, decode_gray, decode_rgb, open_picture

__all__ = [
    "GRAY_WIDTH",
    "ArrayPixels",
    "CompressedLike",
    "CompressedPixels",
    "Pixels",
    "RawPixels",
    "contrast",
    "gray_step",
    "shrink_gray",
    "small_gray",
]

GRAY_WIDTH = 160


@runtime_checkable
class Pixels(Protocol):
    """What can become a small grey picture and an RGB picture; `size` is asked first.

    An attribute `damage`, where there is one, says in words what is wrong with pixels that could
    be decoded all the same; "" is nothing.
    """

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
    """An object with the fields of `sensor_msgs/Image`.

    Args:
        image: The object.
        used: Of its camera; None: each picture by itself.
    """

    def __init__(self, image: ImageLike, used: SampleBits | None = None) -> None:
        self._image = image
        self._used = used
        self._layout: RawLayout | None = None

    def size(self, max_pixels: int) -> tuple[int, int]:
        """See `Pixels`."""
        self._layout = check_raw(self._image, max_pixels)
        return self._layout.height, self._layout.width

    def gray(self) -> NDArray[np.uint8]:
        """See `Pixels`."""
        assert self._layout is not None, "size comes first"
        layout = self._layout
        gray = raw_to_gray(self._image, layout, gray_step(layout.width), self._used)
        return shrink_gray(gray, (layout.height, layout.width))

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """See `Pixels`."""
        assert self._layout is not None, "size comes first"
        raw_to_rgb(self._image, self._layout, out_HW3, self._used)


class CompressedPixels:
    """An object with the fields of `sensor_msgs/CompressedImage`, or a file: what `pictures` reads.

    Attributes:
        damage: See `Pixels`.
    """

    def __init__(self, image: CompressedLike) -> None:
        self._image = image
        self._picture: CodedPicture | None = None
        self.damage = ""

    def size(self, max_pixels: int) -> tuple[int, int]:
        """See `Pixels`."""
        told = self._image.format
        if "compressedDepth" in told:
            raise BadInputError(
                "bad_encoding",
                f"format {told!r:.60} is a depth picture, no colour; choose the camera's colour "
                "topic, and depth as ground truth or sensor",
            )
        self._picture = open_picture(self._image.data, max_pixels, told)
        return self._picture.size

    def gray(self) -> NDArray[np.uint8]:
        """See `Pixels`."""
        assert self._picture is not None, "size comes first"
        step = gray_step(self._picture.size[1])
        shrink = max(factor for factor in (1, 2, 4, 8) if factor <= step)
        return shrink_gray(self._take(decode_gray(self._picture, shrink)), self._picture.size)

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """See `Pixels`."""
        assert self._picture is not None, "size comes first"
        rgb_HW3 = self._take(decode_rgb(self._picture))
        if rgb_HW3.shape != out_HW3.shape:
            raise BadInputError(
                "bad_data", f"picture decodes to {rgb_HW3.shape}, expected {out_HW3.shape}"
            )
        np.copyto(out_HW3, rgb_HW3)

    def _take(self, decoded: Decoded) -> NDArray[np.uint8]:
        self.damage = decoded.damage or self.damage
        return decoded.pixels


class CompressedLike(Protocol):
    """The fields of `sensor_msgs/msg/CompressedImage` that matter here."""

    format: str
    data: Any


def contrast(gray: NDArray[np.uint8]) -> int:
    """Levels of brightness between the 1st and the 99th percentile of a picture."""
    low, high = np.percentile(gray, (1, 99))
    return int(high - low)


def why_blind(gray: NDArray[np.uint8], least: int) -> str:
    """Words on a picture whose `contrast` is below the least."""
    return (
        f"the picture shows nothing: its brightness spans {contrast(gray)} levels of 256 around "
        f"{float(np.median(gray)):.0f}, expected {least} (images.min_contrast); is the lens "
        "covered, the room dark, the exposure right?"
    )


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
