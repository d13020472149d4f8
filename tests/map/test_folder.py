"""Folders of pictures: order, stamps, intrinsics, the 7-Scenes layout, unreadable files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from g2vlm_map.recordings.bag import rosbags_typestore
from g2vlm_map.recordings.errors import ReplayInputError
from g2vlm_map.recordings.folder import FolderSource, natural_key
from g2vlm_map.recordings.source import CAMERA_INFO, COMPRESSED, IMAGE, NS
from tests.replay.bags import jpeg, picture


def deserialize(data: bytes, msgtype: str) -> Any:
    return rosbags_typestore().deserialize_cdr(data, msgtype)


def test_natural_order_and_counted_stamps(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        (tmp_path / f"frame_{i}.jpg").write_bytes(jpeg(picture(i)))
    (tmp_path / "notes.txt").write_text("no picture")
    source = FolderSource(tmp_path, fps=5.0)
    assert source.info.stamps_ns == (NS, NS + NS // 5, NS + 2 * NS // 5)
    messages = list(source.messages())
    for message, i in zip(messages, (1, 2, 10), strict=True):
        assert message.msgtype == COMPRESSED
        decoded = deserialize(message.data, COMPRESSED)
        assert bytes(decoded.data) == jpeg(picture(i))  # the file travels as it is
        assert decoded.header.stamp.sec * NS + decoded.header.stamp.nanosec == message.stamp_ns
    assert source.truth_poses() is None
    assert list(source.truth_depths(source.info.stamps_ns)) == []


def test_natural_key_orders_mixed_names() -> None:
    names = ["b2", "b10", "a", "10", "9", "b2a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "b2", "b2a", "b10"]


def test_capture_times_in_names(tmp_path: Path) -> None:
    for seconds in ("74735.839", "74736.506", "80000.1"):
        (tmp_path / f"47_{seconds}.jpg").write_bytes(jpeg(picture(1)))
    source = FolderSource(tmp_path)
    assert source.info.stamps_ns == (74735_839_000_000, 74736_506_000_000, 80000_100_000_000)
    assert FolderSource(tmp_path, fps=2).info.stamps_ns == (NS, NS + NS // 2, 2 * NS)
    assert len(FolderSource(tmp_path, limit=2).info.stamps_ns) == 2


def test_seven_scenes_layout(tmp_path: Path) -> None:
    for i in (0, 4, 8):
        stem = tmp_path / f"frame-{i:06d}"
        Path(f"{stem}.color.jpg").write_bytes(jpeg(picture(i)))
        depth_mm = np.full((48, 64), 2000, np.uint16)
        depth_mm[0, :2] = [0, 65535]
        cv2.imwrite(f"{stem}.depth.png", depth_mm)
        T = np.eye(4)
        T[0, 3] = i / 10
        np.savetxt(f"{stem}.pose.txt", T)
    np.savetxt(tmp_path / "camera-intrinsics.txt", [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    source = FolderSource(tmp_path)
    assert source.info.stamps_ns == (NS, NS + round(4 / 30 * NS), NS + round(8 / 30 * NS))
    assert [m.msgtype for m in source.messages()] == [CAMERA_INFO, COMPRESSED] * 3
    info = deserialize(next(source.messages()).data, CAMERA_INFO)
    assert (info.width, info.height, info.k[0], info.p[2]) == (64, 48, 50.0, 32.0)
    truth = source.truth_poses()
    assert truth is not None
    np.testing.assert_allclose(truth.T_world_cam_M44[:, 0, 3], [0, 0.4, 0.8])
    ((stamp, depth),) = source.truth_depths([source.info.stamps_ns[1]])
    assert stamp == source.info.stamps_ns[1]
    assert depth[0, 0] == depth[0, 1] == 0.0
    assert depth[9, 9] == 2.0
    (tmp_path / "frame-000004.depth.png").write_bytes(b"cut off")
    unreadable: list[str] = []
    assert list(source.truth_depths([stamp], unreadable)) == []
    assert unreadable == ["frame-000004.depth.png is no depth picture, expected (H, W)"]


def test_other_formats_travel_as_rgb8(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.bmp"), picture(3)[..., ::-1])
    (message,) = FolderSource(tmp_path).messages()
    decoded = deserialize(message.data, IMAGE)
    assert (decoded.encoding, decoded.step) == ("rgb8", 64 * 3)
    np.testing.assert_array_equal(decoded.data.reshape(48, 64, 3), picture(3))


def test_unreadable_pictures_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a picture")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(jpeg(picture(0)))
    info = FolderSource(tmp_path).info
    assert info.unreadable == ("a.jpg", "b.jpg")
    assert len(info.stamps_ns) == 1
    (tmp_path / "c.jpg").unlink()
    with pytest.raises(ReplayInputError, match="none of 2 pictures can be decoded"):
        FolderSource(tmp_path)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(ReplayInputError, match="holds no picture"):
        FolderSource(tmp_path)
    with pytest.raises(ReplayInputError, match="is no folder"):
        FolderSource(tmp_path / "missing")
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(0)))
    for fps in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ReplayInputError, match=f"--fps is {fps:g}, expected above 0"):
            FolderSource(tmp_path, fps=fps)


@pytest.mark.parametrize("text", ["1 2\n3 4", "a b c", "0 0 0\n0 0 0\n0 0 1", "nan 0 0\n" * 3])
def test_bad_intrinsics(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(picture(0)))
    (tmp_path / "camera-intrinsics.txt").write_text(text)
    with pytest.raises(ReplayInputError, match=r"camera-intrinsics\.txt"):
        FolderSource(tmp_path)
