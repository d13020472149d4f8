"""Every encoding against pictures with known colours; refusals are in test_bad_input."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.decode import ENCODINGS, BadInputError, check_raw, raw_to_rgb
from g2vlm_map.pixels import compressed_size, compressed_to_rgb

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


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "order"), [("rgb8", "rgb"), ("bgr8", "bgr"), ("rgba8", "rgba"), ("bgra8", "bgra")]
)
def test_colour_orders(encoding: str, order: str, padding: int) -> None:
    rgb = random_rgb()
    alpha = np.full((HEIGHT, WIDTH, 1), 3, np.uint8)
    full = np.concatenate([rgb, alpha], axis=2)
    stored = np.ascontiguousarray(full[..., ["rgba".index(letter) for letter in order]])
    np.testing.assert_array_equal(decode(message(stored, encoding, padding)), rgb)


@pytest.mark.parametrize("padding", [0, 3])
def test_mono(padding: int) -> None:
    gray = random_rgb()[..., 0]
    expected = np.repeat(gray[..., None], 3, axis=2)
    np.testing.assert_array_equal(
        decode(message(np.ascontiguousarray(gray), "mono8", padding)), expected
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
    # ITU-R BT.601, video range.
    y = 16 + np.dot([65.481, 128.553, 24.966], colour) / 255
    u = 128 + np.dot([-37.797, -74.203, 112.0], colour) / 255
    v = 128 + np.dot([112.0, -93.786, -18.214], colour) / 255
    pair = [y, u, y, v] if luma_first else [u, y, v, y]
    row = np.tile(np.round(pair).astype(np.uint8), WIDTH // 2)
    decoded = decode(message(np.tile(row, (HEIGHT, 1)), encoding, padding=4)).astype(int)
    np.testing.assert_allclose(decoded, np.broadcast_to(colour, decoded.shape), atol=3)


def test_every_encoding_has_been_tried() -> None:
    tried = {"rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "yuv422", "uyvy"}
    tried |= {"yuv422_yuy2", "yuyv"}
    tried |= {f"bayer_{p}{b}" for p in ("rggb", "bggr", "gbrg", "grbg") for b in (8, 16)}
    assert tried == set(ENCODINGS)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_files(suffix: str) -> None:
    ramp = np.linspace(0, 255, 48).astype(np.uint8)
    rgb = np.stack([np.tile(ramp, (32, 1)), np.full((32, 48), 90, np.uint8)] * 2, -1)[..., :3]
    data = cv2.imencode(suffix, np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
    image = SimpleNamespace(format="rgb8; jpeg compressed bgr8", data=data)
    assert compressed_size(image, LIMIT) == (32, 48)
    out = np.zeros((32, 48, 3), np.uint8)
    compressed_to_rgb(image, out)
    assert np.abs(out.astype(int) - rgb).max() <= (0 if suffix == ".png" else 12)


def test_padded_jpeg_is_whole() -> None:
    data = cv2.imencode(".jpg", random_rgb())[1].tobytes()
    for tail in (b"\0" * 3, b"\0" * 500):
        image = SimpleNamespace(format="jpeg", data=data + tail)
        assert compressed_size(image, LIMIT) == (HEIGHT, WIDTH)


def test_gray_files_become_rgb() -> None:
    gray = np.ascontiguousarray(random_rgb()[..., 0])
    image = SimpleNamespace(format="png", data=cv2.imencode(".png", gray)[1].tobytes())
    out = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    compressed_to_rgb(image, out)
    np.testing.assert_array_equal(out, np.repeat(gray[..., None], 3, axis=2))


def test_random_fields_never_crash() -> None:
    """Whatever the sizes claim: refused with a reason, or converted within the memory given."""
    generator = np.random.default_rng(3)
    sides = [0, 1, 2, 3, 7, 8, 160, 65536, 65537, 2**31, 2**32 - 1]
    names = [*ENCODINGS, "", "8UC3", "rgb9"]
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


def test_random_bytes_never_crash_the_decoder() -> None:
    generator = np.random.default_rng(4)
    good = [cv2.imencode(kind, random_rgb())[1].tobytes() for kind in (".jpg", ".png")]
    decoded = 0
    for index in range(200):
        data = bytearray(good[index % 2])
        for _ in range(int(generator.integers(1, 8))):
            data[int(generator.integers(0, len(data)))] = int(generator.integers(0, 256))
        image = SimpleNamespace(format="", data=bytes(data))
        try:
            size = compressed_size(image, 10_000)
            out = np.zeros((*size, 3), np.uint8)
            compressed_to_rgb(image, out)
            decoded += 1
        except BadInputError:
            continue
    assert decoded > 0
