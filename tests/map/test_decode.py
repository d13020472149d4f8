# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every encoding against pictures with known colours."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.decode import (
    ENCODINGS,
    BadInputError,
    SampleBits,
    check_raw,
    raw_to_gray,
    raw_to_rgb,
)

LIMIT = 10**6
HEIGHT, WIDTH = 8, 12
CELLS = {"r": 0, "g": 1, "b": 2}


def message(data: NDArray[Any], encoding: str, padding: int = 0, bigendian: int = 0) -> Any:
    """An image message of a (H, row bytes) array, each row followed by padding."""
    rows = data.reshape(HEIGHT, -1).view(np.uint8)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=77)
    return SimpleNamespace(
        height=HEIGHT,
        width=WIDTH,
        encoding=encoding,
        is_bigendian=bigendian,
        step=padded.shape[1],
        data=padded.tobytes(),
    )


def decode(image: Any) -> NDArray[np.uint8]:
    out = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
    raw_to_rgb(image, check_raw(image, LIMIT), out)
    return out


def random_rgb() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


def yuv(colour: NDArray[np.float64]) -> tuple[float, float, float]:
    """ITU-R BT.601, video range."""
    return (
        float(16 + np.dot([65.481, 128.553, 24.966], colour) / 255),
        float(128 + np.dot([-37.797, -74.203, 112.0], colour) / 255),
        float(128 + np.dot([112.0, -93.786, -18.214], colour) / 255),
    )


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        *[("rgb8", "rgb"), ("bgr8", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")],
        *[("8UC3", "bgr"), ("8UC4", "bgra")],
    ],
)
def test_colour_orders(encoding: str, order: str, padding: int) -> None:
    rgb = random_rgb()
    alpha = np.full((HEIGHT, WIDTH, 1), 3, np.uint8)
    full = np.concatenate([rgb, alpha], axis=2)
    stored = np.ascontiguousarray(full[..., ["rgba".index(letter) for letter in order]])
    np.testing.assert_array_equal(decode(message(stored, encoding, padding)), rgb)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
@pytest.mark.parametrize("padding", [0, 3])
def test_mono(encoding: str, padding: int) -> None:
    gray = random_rgb()[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_array_equal(
        decode(message(np.ascontiguousarray(gray), encoding, padding)), expected
    )


@pytest.mark.parametrize("bigendian", [0, 1])
@pytest.mark.parametrize("padding", [0, 6])
def test_mono16_keeps_the_upper_byte(bigendian: int, padding: int) -> None:
    values = np.random.default_rng(2).integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
    stored = values.astype(">u2" if bigendian else "<u2")
    expected = np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(decode(message(stored, "mono16", padding, bigendian)), expected)


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "bigendian"), [(8, 0), (16, 0), (16, 1)])
def test_bayer_puts_each_colour_in_its_place(pattern: str, bits: int, bigendian: int) -> None:
    colour = np.array([200, 100, 50], np.uint8)
    mosaic = np.zeros((HEIGHT, WIDTH), np.uint16)
    for index, letter in enumerate(pattern):
        mosaic[index // 2 :: 2, index % 2 :: 2] = colour[CELLS[letter]]
    stored = mosaic.astype(np.uint8)
    if bits == 16:
        stored = (mosaic << 8).astype(">u2" if bigendian else "<u2")
    decoded = decode(message(stored, f"bayer_{pattern}{bits}", bigendian=bigendian))
    inner = decoded[2:-2, 2:-2].astype(int)
    np.testing.assert_allclose(inner, np.broadcast_to(colour, inner.shape), atol=1)


@pytest.mark.parametrize(
    ("encoding", "luma_first"),
    [("yuv422", False), ("uyvy", False), ("yuv422_yuy2", True), ("yuyv", True)],
)
def test_yuv422(encoding: str, luma_first: bool) -> None:
    colour = np.array([180, 60, 90], np.float64)
    y, u, v = yuv(colour)
    pair = [y, u, y, v] if luma_first else [u, y, v, y]
    row = np.tile(np.round(pair).astype(np.uint8), WIDTH // 2)
    decoded = decode(message(np.tile(row, (HEIGHT, 1)), encoding, padding=4)).astype(int)
    np.testing.assert_allclose(decoded, np.broadcast_to(colour, decoded.shape), atol=3)


@pytest.mark.parametrize("bigendian", [0, 1])
@pytest.mark.parametrize(
    ("encoding", "order"),
    [
        *[("rgb16", "rgb"), ("bgr16", "bgr"), ("rgba16", "rgba"), ("bgra16", "bgra")],
        ("16UC3", "bgr"),
    ],
)
def test_colours_of_16_bits(encoding: str, order: str, bigendian: int) -> None:
    rgb = random_rgb()
    full = np.concatenate([rgb, np.full((HEIGHT, WIDTH, 1), 255, np.uint8)], axis=2)
    stored = full[..., ["rgba".index(letter) for letter in order]].astype(np.uint16) << 8
    stored = np.ascontiguousarray(stored.astype(">u2" if bigendian else "<u2"))
    image = message(stored, encoding, 6, bigendian)
    np.testing.assert_array_equal(decode(image), rgb)
    gray = raw_to_gray(image, check_raw(image, LIMIT), 1)
    np.testing.assert_allclose(gray, rgb @ [0.299, 0.587, 0.114], atol=1)


@pytest.mark.parametrize("encoding", ["mono16", "16UC1", "bayer_rggb16"])
@pytest.mark.parametrize(("bits", "shift"), [(10, 2), (12, 4), (14, 6), (16, 8)])
def test_samples_of_16_bits_are_scaled_by_those_that_are_used(
    encoding: str, bits: int, shift: int
) -> None:
    values = np.full((HEIGHT, WIDTH), 2**bits - 1, np.uint16)
    image = message(values, encoding)
    assert decode(image).min() == 255
    used = SampleBits()
    layout = check_raw(image, LIMIT)
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    raw_to_rgb(image, layout, out, used)
    assert used.bits == bits
    dark = message(np.full((HEIGHT, WIDTH), 40 << shift, np.uint16), encoding)
    raw_to_rgb(dark, layout, out, used)  # a darker one after it is darker
    assert (out.min(), out.max()) == (40, 40)
    np.testing.assert_array_equal(raw_to_gray(dark, layout, 1, used), 40)


@pytest.mark.parametrize(("encoding", "v_first"), [("nv12", False), ("nv21", True)])
@pytest.mark.parametrize("padding", [0, 4])
def test_planes_of_brightness_and_colour(encoding: str, v_first: bool, padding: int) -> None:
    colour = np.array([180, 60, 90], np.float64)
    y, u, v = yuv(colour)
    chroma = np.tile([v, u] if v_first else [u, v], (HEIGHT // 2, WIDTH // 2))
    planes = np.concatenate([np.full((HEIGHT, WIDTH), y), chroma])
    rows = np.pad(np.round(planes).astype(np.uint8), ((0, 0), (0, padding)))
    image = message(np.zeros((HEIGHT, WIDTH), np.uint8), encoding)
    image.step, image.data = WIDTH + padding, rows.tobytes()
    decoded = decode(image).astype(int)
    np.testing.assert_allclose(decoded, np.broadcast_to(colour, decoded.shape), atol=3)
    np.testing.assert_array_equal(raw_to_gray(image, check_raw(image, LIMIT), 2), round(y))
    image.data = image.data[: HEIGHT * image.step]
    with pytest.raises(BadInputError, match="step x rows"):
        check_raw(image, LIMIT)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [("32FC1", "choose the camera's colour topic"), ("h264", "republish"), ("jpeg", "Compressed")],
)
def test_what_is_no_colour_is_refused_with_what_to_use_instead(encoding: str, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        check_raw(message(np.zeros((HEIGHT, WIDTH), np.uint8), encoding), LIMIT)


def test_every_encoding_has_been_tried() -> None:
    tried = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "yuv422", "uyvy"}
    tried |= {"yuv422_yuy2", "yuyv", "8UC1", "8UC3", "8UC4", "16UC1", "16UC3"}
    tried |= {"rgb16", "bgr16", "rgba16", "bgra16", "nv12", "nv21"}
    tried |= {f"bayer_{p}{b}" for p in ("rggb", "bggr", "gbrg", "grbg") for b in (8, 16)}
    assert tried == set(ENCODINGS)


def test_random_fields_never_crash() -> None:
    """Whatever the sizes claim: refused with a reason, or converted within the memory given."""
    generator = np.random.default_rng(3)
    sides = [0, 1, 2, 3, 7, 8, 160, 65536, 65537, 2**31, 2**32 - 1]
    names = [*ENCODINGS, "", "8UC2", "rgb9"]
    outcomes = set()
    for _ in range(5000):
        height, width, step = (int(generator.choice(sides)) for _ in range(3))
        data = bytes(int(generator.integers(0, 4000)))
        image = SimpleNamespace(
            height=height,
            width=width,
            encoding=str(generator.choice(names)),
            is_bigendian=int(generator.integers(0, 2)),
            step=step,
            data=data if generator.random() < 0.5 else bytes(min(step * height, 100_000)),
        )
        try:
            layout = check_raw(image, LIMIT)
        except BadInputError as error:
            outcomes.add(error.reason)
            continue
        out = np.zeros((layout.height, layout.width, 3), np.uint8)
        raw_to_rgb(image, layout, out)
        outcomes.add("converted")
    assert outcomes == {"bad_size", "bad_data", "bad_encoding", "converted"}
