# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags that unpack to far more than they are: refused in words, without the memory."""

from __future__ import annotations

import bz2
import tracemalloc
from pathlib import Path
from typing import Any

import lz4.frame
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin
from rosbags.rosbag2 import Writer as Rosbag2Writer

from g2vlm_map.recordings import RecordingError, open_recording, unpacking
from g2vlm_map.recordings.bag_opening import rosbags_typestore
from g2vlm_map.recordings.unpacking import unpacked
from tests.replay.bags import NS

IMAGE = "sensor_msgs/msg/Image"
SIDE = 4096  # of a grey picture of zeros, 16 MB
ALLOWED = 1 << 20


def black(store: Any) -> bytes:
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=1, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="camera")
    message = types[IMAGE](
        header=header, height=SIDE, width=SIDE, encoding="mono8", is_bigendian=0, step=SIDE,
        data=np.zeros(SIDE * SIDE, np.uint8),
    )  # fmt: skip
    return bytes(store.serialize_cdr(message, IMAGE))


def bomb(folder: Path, kind: str) -> Path:
    """A bag of three pictures of 16 MB, packed."""
    store = rosbags_typestore()
    data = black(store)
    if kind in ("lz4", "bz2"):
        path = folder / "bomb.bag"
        packed = Rosbag1Writer(path)
        packed.set_compression(Rosbag1Writer.CompressionFormat[kind.upper()])
        with packed:
            connection = packed.add_connection("/image", IMAGE, typestore=store)
            for number in range(3):
                packed.write(connection, number * NS, store.cdr_to_ros1(data, IMAGE))
        return path
    path = folder / "bomb"
    plugin = StoragePlugin.SQLITE3 if kind == "message" else StoragePlugin.MCAP
    writer = Rosbag2Writer(path, version=9, storage_plugin=plugin)
    writer.set_compression(CompressionMode[kind.upper()], CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/image", IMAGE, typestore=store)
        for number in range(3):
            writer.write(topic, number * NS, data)
    return path


@pytest.mark.parametrize("kind", ["storage", "message", "file", "lz4", "bz2"])
def test_a_bag_does_not_unpack_beyond_its_bound(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bomb(tmp_path, kind)
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.*")) < 1 << 20
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", ALLOWED)
    monkeypatch.setattr(unpacking, "ANYWAY", ALLOWED)
    monkeypatch.setattr("g2vlm_map.recordings.bag_parts.MAX_UNPACKED", ALLOWED)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    tracemalloc.start()
    with pytest.raises(RecordingError) as caught:
        for frame in open_recording(path).frames():
            frame.rgb()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 12 << 20, f"{most >> 20} MB for pictures of 16 MB, with 1 MB allowed"
    assert not list((tmp_path / "scratch").rglob("*"))
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["storage", "message", "file", "lz4", "bz2"])
def test_large_pictures_within_the_bound_are_read(kind: str, tmp_path: Path) -> None:
    frame = next(iter(open_recording(bomb(tmp_path, kind)).frames()))
    assert frame.rgb().shape == (SIDE, SIDE, 3)


@pytest.mark.parametrize("kind", ["lz4", "zstd", "bz2"])
def test_frames_one_behind_the_other(kind: str) -> None:
    pack = {
        "lz4": lz4.frame.compress,
        "bz2": bz2.compress,
        "zstd": unpacking._ZSTD.compress,
    }[kind]
    packed = pack(bytes(1000)) + pack(b"x" * 500)
    assert unpacked(kind, packed, 1500) == bytes(1000) + b"x" * 500
    assert unpacked(kind, b"", 0) == b""
    with pytest.raises(ValueError, match=f"bytes of {kind} unpack to more than 1499"):
        unpacked(kind, packed, 1499)
    with pytest.raises(ValueError, match="cut off"):
        unpacked(kind, packed[:-5], 1500)
