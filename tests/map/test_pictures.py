# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Coded pictures: what they claim is checked first, damage is told, nothing is printed."""

from __future__ import annotations

import io
import itertools
import os
import struct
import time
import zlib
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from g2vlm_map.decode import BadInputError
from g2vlm_map.picture_walk import MAX_SCANS
from g2vlm_map.pictures import decode_gray, decode_rgb, decode_samples, open_picture, read_rgb
from g2vlm_map.pixels import CompressedPixels

CASES = Path(__file__).parents[3] / "shared" / "cases"
LIMIT = 10**6
PNG = b"\x89PNG\r\n\x1a\n"


def scene(height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """(H, W, 3): a smooth picture with an edge, different at every corner."""
    rows, columns = np.mgrid[:height, :width]
    rgb = np.stack([255 * columns / width, 255 * rows / height, 90 + 0 * rows], axis=2)
    rgb[height // 4 : height // 2, : width // 3] = (250, 20, 20)
    return np.asarray(rgb, np.uint8)


def coded(kind: str, rgb: NDArray[np.uint8] | None = None, **how: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(scene() if rgb is None else rgb).save(file, kind, **how)
    return file.getvalue()


def chunk(name: bytes, body: bytes, claims: int | None = None) -> bytes:
    length = len(body) if claims is None else claims
    return struct.pack(">I", length) + name + body + struct.pack(">I", zlib.crc32(name + body))


@pytest.mark.parametrize(
    ("kind", "how", "tolerance"),
    [
        ("JPEG", {"quality": 95}, 14),
        ("JPEG", {"quality": 95, "progressive": True}, 14),
        ("PNG", {}, 0),
        ("WebP", {"lossless": True}, 0),
        ("WebP", {"quality": 95}, 30),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("PPM", {}, 0),
    ],
)
def test_the_bytes_decide_what_a_picture_is(kind: str, how: dict, tolerance: int) -> None:  # type: ignore[type-arg]
    pixels = CompressedPixels(SimpleNamespace(format="rgb8; png", data=coded(kind, **how)))
    assert pixels.size(LIMIT) == (48, 64)
    out = np.zeros((48, 64, 3), np.uint8)
    pixels.write_rgb(out)
    assert np.median(np.abs(out.astype(int) - scene())) <= tolerance
    assert np.abs(out.astype(int) - scene()).mean() <= tolerance / 4
    assert pixels.gray().shape == (120, 160)
    assert pixels.damage == ""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "TIFF"])
def test_pictures_come_upright(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = coded(kind, exif=exif.tobytes() if kind != "TIFF" else exif)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    picture = open_picture(data)
    assert picture.size == expected.shape[:2]
    shown = decode_rgb(picture).pixels
    assert shown.shape == expected.shape
    assert np.abs(shown.astype(int) - expected).mean() < 3
    gray = decode_gray(picture, 1).pixels
    assert np.abs(gray - expected @ [0.299, 0.587, 0.114]).mean() < 3


def test_bytes_behind_the_picture_do_not_matter() -> None:
    for kind, tail in itertools.product(
        ("JPEG", "PNG", "WebP"), (b"\0" * 3, b"\0" * 500, b"\0\0\0\x18ftypmp42" + os.urandom(5000))
    ):
        picture = open_picture(coded(kind) + tail)
        assert decode_rgb(picture).damage == ""
        assert len(picture.data) <= len(coded(kind))


def test_a_thumbnail_is_not_taken_for_the_picture() -> None:
    data = coded("JPEG")
    small = coded("JPEG", scene(16, 16))
    block = b"\xff\xe1" + struct.pack(">H", len(small) + 8) + b"Thumbs" + small
    assert open_picture(data[:2] + block + data[2:]).size == (48, 64)


def test_grey_and_other_colours_become_rgb() -> None:
    gray = scene()[..., 0]
    for kind in ("JPEG", "PNG"):
        shown = decode_rgb(open_picture(coded(kind, gray))).pixels
        assert np.abs(shown.astype(int) - gray[..., None]).max() <= 24
    file = io.BytesIO()
    Image.fromarray(scene()).convert("CMYK").save(file, "JPEG", quality=95)
    shown = decode_rgb(open_picture(file.getvalue())).pixels
    assert np.abs(shown.astype(int) - scene()).mean() < 6
    palette = io.BytesIO()
    Image.fromarray(scene()).quantize(8).save(palette, "PNG", transparency=0)
    assert decode_rgb(open_picture(palette.getvalue())).pixels.shape == (48, 64, 3)


def test_sixteen_bits_are_scaled_by_what_is_used_and_given_as_stored() -> None:
    values = np.linspace(0, 4095, 48 * 64).astype(np.uint16).reshape(48, 64)
    data = cv2.imencode(".png", values)[1].tobytes()
    np.testing.assert_array_equal(decode_samples(data), values)
    shown = decode_rgb(open_picture(data)).pixels
    np.testing.assert_array_equal(shown[..., 1], values >> 4)


@pytest.mark.parametrize(
    ("name", "data", "reason", "said"),
    [
        ("a chunk of 2 GB", PNG + chunk(b"IHDR", b"", 2**31 - 1) + bytes(60), "bad_data", "claims"),
        ("a comment of 2 GB", coded("PNG")[:33] + b"\x7f\xff\xff\xfftEXt", "bad_data", "claims"),
        ("a wrong CRC", coded("PNG")[:60] + b"!" + coded("PNG")[61:], "bad_data", "CRC"),
        ("half a PNG", coded("PNG")[:200], "bad_data", "truncated"),
        ("half a JPEG", coded("JPEG")[:300], "bad_data", "truncated"),
        ("a JPEG without its end", coded("JPEG")[:-2], "bad_data", "end-of-image"),
        ("a segment beyond the end", b"\xff\xd8\xff\xe0\xff\xff\xff\xd9", "bad_data", "segment"),
        ("two JPEGs in one", coded("JPEG")[:-2] + coded("JPEG"), "bad_data", "segment d8"),
        ("half a WebP", coded("WebP")[:100], "bad_data", "claims"),
        ("an animation", coded("WebP", append_images=[Image.new("RGB", (64, 48))], save_all=True),
         "bad_encoding", "animated"),
        ("HEIC", b"\0\0\0\x18ftypheic" + bytes(20), "bad_encoding", "HEIC.*convert it to JPEG"),
        ("AVIF", b"\0\0\0\x18ftypavif" + bytes(20), "bad_encoding", "AVIF"),
        ("a film", b"\0\0\0\x18ftypisom" + bytes(20), "bad_encoding", "MP4.*ffmpeg -i"),
        ("H.264", bytes.fromhex("000000016742001f"), "bad_encoding", "H.264.*republish"),
        ("H.265", bytes.fromhex("0000000140010c01"), "bad_encoding", "H.265.*republish"),
        ("noise", bytes(range(1, 256)), "bad_encoding", "expected a JPEG, PNG or WebP"),
        ("nothing", b"", "bad_data", "0 bytes"),
    ],
)  # fmt: skip
def test_what_is_refused_before_it_is_decoded(
    name: str, data: bytes, reason: str, said: str
) -> None:
    started = time.perf_counter()
    with pytest.raises(BadInputError, match=said) as caught:
        decode_rgb(open_picture(data))
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 400
    assert time.perf_counter() - started < 0.5


def test_pictures_that_are_named_for_what_they_are() -> None:
    for told, said in (("h264", "H.264"), ("16UC1; compressedDepth png", "depth picture")):
        with pytest.raises(BadInputError, match=said):
            CompressedPixels(SimpleNamespace(format=told, data=b"\x01\x02\x03" * 20)).size(LIMIT)


def test_a_header_that_claims_too_much_is_refused_by_its_size() -> None:
    header = struct.pack(">IIBBBBB", 65537, 65537, 8, 2, 0, 0, 0)
    huge = PNG + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(BadInputError, match="expected sides") as caught:
        open_picture(huge)
    assert caught.value.reason == "bad_size"
    with pytest.raises(BadInputError, match="max_pixels = 100"):
        open_picture(coded("JPEG"), 100)


def test_thousands_of_scans_are_refused_at_once() -> None:
    data = coded("JPEG", scene(480, 640), progressive=True)
    at = data.rindex(b"\xff\xda")
    length = 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    bomb = data[:-2] + data[at : at + length] * 20_000 + b"\xff\xd9"
    started = time.perf_counter()
    with pytest.raises(BadInputError, match=f"expected at most {MAX_SCANS}"):
        open_picture(bomb)
    assert time.perf_counter() - started < 0.5


def test_a_piece_missing_inside_is_damage_and_nothing_is_printed(
    capfd: pytest.CaptureFixture[str],
) -> None:
    data = coded("JPEG", scene(240, 320), quality=90)
    generator = np.random.default_rng(1)
    told = 0
    for _ in range(40):
        at = int(generator.integers(700, len(data) - 400))
        cut = data[:at] + data[at + int(generator.integers(100, 300)) :]
        decoded = decode_rgb(open_picture(cut))
        assert decoded.pixels.shape == (240, 320, 3)
        told += bool(decoded.damage)
        assert bool(decode_gray(open_picture(cut), 4).damage) == bool(decoded.damage)
    assert told >= 38, told
    with_profile = coded("PNG", icc_profile=b"nonsense" * 20)
    assert decode_rgb(open_picture(with_profile)).pixels.shape == (48, 64, 3)
    assert capfd.readouterr() == ("", "")


def test_padding_before_the_end_is_no_damage() -> None:
    data = coded("JPEG")
    for count in (1, 4):
        assert decode_rgb(open_picture(data[:-2] + b"\x11" * count + data[-2:])).damage == ""


def test_random_bytes_never_crash_the_decoder() -> None:
    generator = np.random.default_rng(4)
    good = [coded(kind) for kind in ("JPEG", "PNG", "WebP", "TIFF", "BMP")]
    decoded = 0
    for index in range(400):
        data = bytearray(good[index % len(good)])
        for _ in range(int(generator.integers(1, 8))):
            data[int(generator.integers(0, len(data)))] = int(generator.integers(0, 256))
        try:
            picture = open_picture(bytes(data), 10_000)
            assert decode_rgb(picture).pixels.shape == (*picture.size, 3)
            decoded += 1
        except BadInputError:
            continue
    assert decoded > 0


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases of other people's inputs are not here")
def test_other_peoples_pictures() -> None:
    sideways = read_rgb(CASES / "F01_exif" / "IMG_0000.jpg")
    assert sideways.shape == (240, 180, 3)
    (film, *_) = sorted((CASES / "F02_motion_photo").iterdir())
    assert read_rgb(film).shape == (240, 320, 3)
    with pytest.raises(BadInputError, match="HEIC"):
        read_rgb(CASES / "F08_heic_mixed" / "IMG_1.HEIC")


def tiff(tile: int, samples: int = 1) -> bytes:
    """A TIFF of 16 x 16 px in one tile, its LZW data cut off where the tile is not 16 x 16."""
    whole = tile == 16
    data = bytes(range(256)) if whole else b"\x80\x00" * 50
    tags = {256: 16, 257: 16, 258: 8, 259: 1 if whole else 5, 262: 1, 277: samples,
            322: tile, 323: tile, 324: 134, 325: len(data)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + data


def test_a_tiff_whose_tile_is_far_larger_than_itself(capfd: pytest.CaptureFixture[str]) -> None:
    """Of 234 bytes, for which libtiff would take 900 MB."""
    assert decode_rgb(open_picture(tiff(16))).pixels[1, 1, 0] == 17
    with pytest.raises(BadInputError, match="tiles of 30000 x 30000") as caught:
        open_picture(tiff(30_000))
    assert caught.value.reason == "bad_size"
    with pytest.raises(BadInputError, match="refuses the TIFF"):
        decode_rgb(open_picture(tiff(256)))
    with pytest.raises(BadInputError):
        decode_rgb(open_picture(tiff(16, samples=153)))
    assert capfd.readouterr().err == "", "its readers say it to the terminal, too"
