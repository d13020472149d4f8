# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small and grey without the whole: close to what the decoded picture gives, and cheaper."""

from __future__ import annotations

import zlib
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.decode import ENCODINGS, BadInputError
from g2vlm_map.pixels import (
    GRAY_WIDTH,
    ArrayPixels,
    CompressedPixels,
    Pixels,
    RawPixels,
    small_gray,
)

LIMIT = 10**7


def scene(height: int, width: int) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: smooth blobs of colour."""
    noise = np.random.default_rng(4).integers(0, 256, (9, 12, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def raw(rgb: NDArray[np.uint8], encoding: str, step_padding: int = 4) -> Any:
    """An Image message of that picture in an encoding, rows padded."""
    height, width = rgb.shape[:2]
    gray = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    samples = encoding.removesuffix("8").removesuffix("16")
    samples = {"8UC1": "mono", "16UC1": "mono", "8UC3": "bgr", "16UC3": "bgr", "8UC4": "bgra"}.get(
        encoding, samples
    )
    if encoding.startswith("bayer"):
        rows = np.zeros((height, width), np.uint8)
        for index, letter in enumerate(encoding[6:10]):
            at = (slice(index // 2, None, 2), slice(index % 2, None, 2))
            rows[at] = rgb[..., "rgb".index(letter)][at]
    elif encoding in ("yuv422", "uyvy", "yuv422_yuy2", "yuyv"):
        first = encoding in ("yuv422_yuy2", "yuyv")
        rows = np.full((height, width, 2), 128, np.uint8)
        rows[..., 0 if first else 1] = gray
    elif encoding in ("nv12", "nv21"):
        rows = np.concatenate([gray, np.full((height // 2, width), 128, np.uint8)])
    elif samples == "mono":
        rows = np.asarray(gray, np.uint8)
    else:
        order = [("rgba".index(letter)) for letter in samples]
        alpha = np.full((height, width, 1), 255, np.uint8)
        rows = np.ascontiguousarray(np.concatenate([rgb, alpha], 2)[..., order])
    if "16" in encoding:
        rows = (rows.astype(np.uint16) << 8).view(np.uint8)
    lines = len(rows) if encoding.startswith("nv") else height
    flat = np.pad(rows.reshape(lines, -1), ((0, 0), (0, step_padding)))
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, is_bigendian=0,
        step=flat.shape[1], data=flat.tobytes(),
    )  # fmt: skip


def compressed(rgb: NDArray[np.uint8], suffix: str) -> Any:
    data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
    return SimpleNamespace(format=suffix, data=data)


@pytest.mark.parametrize("size", [(120, 160), (480, 640), (1080, 1920)])
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_raw_images(encoding: str, size: tuple[int, int]) -> None:
    rgb = scene(*size)
    pixels = RawPixels(raw(rgb, encoding))
    assert pixels.size(LIMIT) == size
    gray, wanted = pixels.gray(), small_gray(rgb)
    assert gray.shape == wanted.shape == (round(GRAY_WIDTH * size[0] / size[1]), GRAY_WIDTH)
    if ENCODINGS[encoding].gray is not None:
        np.testing.assert_array_equal(gray, wanted)
        return
    # A mosaic's cell weighs its colours differently; what moves in it is the same.
    likeness = np.corrcoef(gray.ravel(), wanted.ravel())[0, 1]
    assert likeness > (0.93 if ENCODINGS[encoding].cells else 0.999), likeness


@pytest.mark.parametrize("size", [(120, 160), (240, 320), (481, 643), (1080, 1920)])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_compressed_images(suffix: str, size: tuple[int, int]) -> None:
    rgb = scene(*size)
    pixels = CompressedPixels(compressed(rgb, suffix))
    assert pixels.size(LIMIT) == size
    difference = np.abs(pixels.gray().astype(int) - small_gray(rgb))
    assert pixels.gray().shape == small_gray(rgb).shape
    assert difference.max() <= 8, (difference.mean(), difference.max())


def test_the_whole_is_what_it_was() -> None:
    rgb = scene(48, 64)
    inputs: list[Pixels] = [
        ArrayPixels(rgb),
        RawPixels(raw(rgb, "bgr8")),
        CompressedPixels(compressed(rgb, ".png")),
    ]
    for pixels in inputs:
        out = np.zeros((48, 64, 3), np.uint8)
        assert pixels.size(LIMIT) == (48, 64)
        pixels.write_rgb(out)
        np.testing.assert_array_equal(out, rgb)


def test_what_is_too_large_is_refused_before_it_is_decoded() -> None:
    rgb = scene(48, 64)
    inputs: list[Pixels] = [
        ArrayPixels(rgb),
        RawPixels(raw(rgb, "rgb8")),
        CompressedPixels(compressed(rgb, ".jpg")),
    ]
    for pixels in inputs:
        with pytest.raises(BadInputError, match=r"more than images.max_pixels = 1000"):
            pixels.size(1000)


def test_a_file_that_cannot_be_decoded_small_either() -> None:
    broken = bytearray(compressed(scene(48, 64), ".png").data)
    broken[60:400] = bytes(340)
    body = broken.index(b"IDAT") - 4
    length = int.from_bytes(broken[body : body + 4], "big")  # the sender itself coded nonsense:
    crc = zlib.crc32(broken[body + 4 : body + 8 + length])  # its check sum is right
    broken[body + 8 + length : body + 12 + length] = crc.to_bytes(4, "big")
    pixels = CompressedPixels(SimpleNamespace(format="png", data=bytes(broken)))
    assert pixels.size(LIMIT) == (48, 64)
    with pytest.raises(BadInputError) as caught:
        pixels.gray()
    assert caught.value.reason == "bad_data"
