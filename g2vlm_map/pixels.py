"""A frame's pixels before anybody has decoded them: size, small and grey, or whole.

A keyframe is chosen on a small grey picture; only then is the whole one worth its time. So a
frame comes in as an object that can do both when it is asked, whatever it is made of.

Shape letters: H W pixels.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .compressed import CompressedLike, compressed_size, compressed_to_gray, compressed_to_rgb
from .decode import (
    BadInputError,
    ImageLike,
    RawLayout,
    check_raw,
    check_size,
    raw_to_gray,
    raw_to_rgb,
)
from .motion import gray_step, shrink_gray, small_gray

__all__ = ["ArrayPixels", "CompressedPixels", "Pixels", "RawPixels"]


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
        """Small and grey, as `motion.Reference` compares them.

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
