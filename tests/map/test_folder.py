# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders of frames: order, stamps, intrinsics, the 7-Scenes layout, unreadable files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from g2vlm_map.recordings import NS, LeftOut, RecordingError, open_recording
from g2vlm_map.recordings.folder import FolderRecording, natural_key
from g2vlm_map.recordings.source import COMPRESSED, IMAGE
from tests.helpers import REPO
from tests.replay.bags import jpeg, pattern


def test_natural_order_and_counted_stamps(tmp_path: Path) -> None:
    for i in (1, 2, 10):
        (tmp_path / f"frame_{i}.jpg").write_bytes(jpeg(pattern(i)))
    (tmp_path / "notes.txt").write_text("no frame")
    source = FolderRecording(tmp_path, fps=5.0)
    assert source.info.stamps_ns == (NS, NS + NS // 5, NS + 2 * NS // 5)
    assert source.info.image_type == COMPRESSED
    for frame, i in zip(source.frames(), (1, 2, 10), strict=True):
        assert (frame.load().format, frame.load().data) == ("jpeg", jpeg(pattern(i)))  # as it is
        assert frame.stamp_ns == frame.time_ns == source.info.stamps_ns[frame.index]
    assert [frame.index for frame in source.frames([2, 7])] == [2]
    assert source.true_poses() is None
    assert list(source.true_depths(source.info.stamps_ns)) == []


def test_natural_key_orders_mixed_names() -> None:
    names = ["b2", "b10", "a", "10", "9", "b2a"]
    assert sorted(names, key=natural_key) == ["9", "10", "a", "b2", "b2a", "b10"]


def test_capture_times_in_names(tmp_path: Path) -> None:
    for seconds in ("74735.839", "74736.506", "80000.1"):
        (tmp_path / f"47_{seconds}.jpg").write_bytes(jpeg(pattern(1)))
    source = FolderRecording(tmp_path)
    assert source.info.stamps_ns == (74735_839_000_000, 74736_506_000_000, 80000_100_000_000)
    assert FolderRecording(tmp_path, fps=2).info.stamps_ns == (NS, NS + NS // 2, 2 * NS)
    assert len(FolderRecording(tmp_path, limit=2).info.stamps_ns) == 2


def test_seven_scenes_layout(tmp_path: Path) -> None:
    for i in (0, 4, 8):
        stem = tmp_path / f"frame-{i:06d}"
        Path(f"{stem}.color.jpg").write_bytes(jpeg(pattern(i)))
        depth_mm = np.full((48, 64), 2000, np.uint16)
        depth_mm[0, :2] = [0, 65535]
        cv2.imwrite(f"{stem}.depth.png", depth_mm)
        T = np.eye(4)
        T[0, 3] = i / 10
        np.savetxt(f"{stem}.pose.txt", T)
    np.savetxt(tmp_path / "camera-intrinsics.txt", [[50, 0, 32], [0, 50, 24], [0, 0, 1]])
    source = FolderRecording(tmp_path)
    assert source.info.stamps_ns == (NS, NS + round(4 / 30 * NS), NS + round(8 / 30 * NS))
    assert source.info.calibration is not None
    assert (source.info.calibration.K[0, 0], source.info.calibration.K[0, 2]) == (50.0, 32.0)
    truth = source.true_poses()
    assert truth is not None
    np.testing.assert_allclose(truth.T_world_cam_M44[:, 0, 3], [0, 0.4, 0.8])
    ((stamp, depth),) = source.true_depths([source.info.stamps_ns[1]])
    assert stamp == source.info.stamps_ns[1]
    assert depth[0, 0] == depth[0, 1] == 0.0
    assert depth[9, 9] == 2.0
    (tmp_path / "frame-000004.depth.png").write_bytes(b"cut off")
    left_out: list[LeftOut] = []
    assert list(source.true_depths([stamp], left_out)) == []
    assert [str(item) for item in left_out] == [
        "frame-000004.depth.png: data starts with 637574206f6666, expected a JPEG, PNG or WebP"
    ]


def test_other_formats_are_decoded(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.bmp"), pattern(3)[..., ::-1])
    recording = FolderRecording(tmp_path)
    (frame,) = recording.frames()
    raw = frame.load()
    assert recording.info.image_type == IMAGE
    assert (raw.encoding, raw.height, raw.width, raw.step) == ("rgb8", 48, 64, 64 * 3)
    np.testing.assert_array_equal(frame.rgb(), pattern(3))


def test_the_odd_file_among_jpegs_travels_as_png(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(jpeg(pattern(1)))
    cv2.imwrite(str(tmp_path / "2.bmp"), pattern(2)[..., ::-1])
    _, odd = FolderRecording(tmp_path).frames()
    assert odd.load().format == "png"
    np.testing.assert_array_equal(odd.rgb(), pattern(2))


def test_what_is_left_out_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"not a frame")
    (tmp_path / "b.jpg").write_bytes(b"")
    (tmp_path / "c.jpg").write_bytes(jpeg(pattern(0)))
    info = FolderRecording(tmp_path).info
    assert [item.name for item in info.left_out] == ["a.jpg", "b.jpg"]
    assert len(info.stamps_ns) == 1
    (tmp_path / "c.jpg").unlink()
    with pytest.raises(RecordingError, match=r"holds no frame.*found 2 others"):
        FolderRecording(tmp_path)


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match="holds no frame"):
        FolderRecording(tmp_path)
    with pytest.raises(RecordingError, match="is no folder"):
        FolderRecording(tmp_path / "missing")
    (tmp_path / "a.jpg").write_bytes(jpeg(pattern(0)))
    for fps in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(RecordingError, match=f"fps is {fps:g}, expected above 0"):
            FolderRecording(tmp_path, fps=fps)


@pytest.mark.parametrize("text", ["1 2\n3 4", "a b c", "0 0 0\n0 0 0\n0 0 1", "nan 0 0\n" * 3])
def test_bad_intrinsics(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(pattern(0)))
    (tmp_path / "camera-intrinsics.txt").write_text(text)
    with pytest.raises(RecordingError, match=r"camera-intrinsics\.txt"):
        FolderRecording(tmp_path)


def test_a_folder_needs_no_rosbags_and_a_bag_says_that_it_does(tmp_path: Path) -> None:
    folder, bag = tmp_path / "frames", tmp_path / "a.mcap"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(pattern(0)))
    bag.write_bytes(b"")
    code = (
        "import sys; from pathlib import Path\n"
        "for name in ('rosbags', 'scipy', 'rclpy', 'torch'): sys.modules[name] = None\n"
        "from g2vlm_map.recordings import RecordingError, open_recording\n"
        "print(len(open_recording(Path(sys.argv[1])).info.stamps_ns))\n"
        "try: open_recording(Path(sys.argv[2]))\n"
        "except RecordingError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(folder), str(bag)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    count, said = done.stdout.splitlines()
    assert count == "1"
    assert "is a bag, and the library that reads bags is missing" in said
    assert said.endswith("pip install rosbags")


def test_what_is_neither_a_bag_nor_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    (tmp_path / "a.bag").write_text("ROS 1")
    (tmp_path / "empty").mkdir()
    for name, says in (
        ("missing", "does not exist"),
        ("a.txt", "is no bag"),
        ("a.bag", "rosbag reindex"),
        ("empty", "holds no frame"),
    ):
        with pytest.raises(RecordingError, match=says):
            open_recording(tmp_path / name)


def test_the_bytes_decide_what_is_a_frame(tmp_path: Path) -> None:
    """Phones and messengers name files as they like; what is left out has its name and reason."""
    for name in ("a.JPG", "b.jfif", "c.png", "d"):
        (tmp_path / name).write_bytes(jpeg(pattern(1)))
    webp = cv2.imencode(".webp", pattern(2)[..., ::-1])[1].tobytes()
    (tmp_path / "e.jpg").write_bytes(webp)
    (tmp_path / "f.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    (tmp_path / "g.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    (tmp_path / "h.dng").write_bytes(b"raw")
    (tmp_path / "._a.JPG").write_bytes(b"of a Macintosh")
    (tmp_path / "notes.txt").write_text("no frame")
    source = FolderRecording(tmp_path)
    assert [frame.load().format for frame in source.frames()] == ["jpeg"] * 4 + ["webp"]
    assert all(frame.rgb().shape == (48, 64, 3) for frame in source.frames())
    assert [str(item) for item in source.info.left_out] == [
        "f.HEIC: is HEIC, which is not read; convert it",
        "g.mp4: is film (MP4), which is not read; convert it",
        "h.dng: is no picture that is known",
    ]


@pytest.mark.parametrize(
    ("stems", "seconds"),
    [
        (["WhatsApp Image 2024-01-02 at 10.15.28", "WhatsApp Image 2024-01-02 at 10.16.02"], 34.0),
        (["PXL_20240101_100000", "PXL_20240101_100003"], 3.0),
        (["IMG_20240101_100000123", "IMG_20240101_100000623"], 0.5),
        (["1403636579763555584", "1403636579813555456"], 0.049999872),
        (["rgb_1403636579763", "rgb_1403636579863"], 0.1),
        (["1305031102.175304", "1305031102.211214"], 0.03591),
        (["v1.2.3", "v1.2.4"], 0.1),
        (["99999999_999999", "20241350_999999"], 0.1),
        (["room1\u00b20", "room1\u00b21"], 0.1),
        (["9" * 200, "9" * 201], 0.1),
    ],
)
def test_what_names_say_of_time(tmp_path: Path, stems: list[str], seconds: float) -> None:
    for stem in stems:
        (tmp_path / f"{stem}.jpg").write_bytes(jpeg(pattern(1)))
    first, second = FolderRecording(tmp_path).info.stamps_ns
    assert (second - first) / NS == pytest.approx(seconds, abs=1e-9)


def test_a_word_in_two_names_is_no_layout(tmp_path: Path) -> None:
    for name in ("p0", "p1", "p2.color_corrected", "p3", "p4.color"):
        (tmp_path / f"{name}.jpg").write_bytes(jpeg(pattern(1)))
    info = FolderRecording(tmp_path).info
    assert (len(info.stamps_ns), info.kind) == (5, "folder of frames")
    (tmp_path / "p4.pose.txt").write_text("1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1")
    info = FolderRecording(tmp_path).info
    assert (len(info.stamps_ns), len(info.left_out)) == (1, 4)


def test_folders_in_folders(tmp_path: Path) -> None:
    inner = tmp_path / "2024" / "rgb"
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "0.png").write_bytes(cv2.imencode(".png", pattern(0))[1].tobytes())
    inner.mkdir(parents=True)
    (inner / "0.jpg").write_bytes(jpeg(pattern(0)))
    assert len(open_recording(tmp_path).info.stamps_ns) == 1
    second = tmp_path / "other"
    second.mkdir()
    (second / "0.jpg").write_bytes(jpeg(pattern(0)))
    with pytest.raises(RecordingError, match="2 folders in it do: 2024/rgb, other; choose one"):
        open_recording(tmp_path)
    (tmp_path / "top.jpg").write_bytes(jpeg(pattern(0)))
    info = open_recording(tmp_path).info
    assert len(info.stamps_ns) == 1
    assert [item.name for item in info.left_out] == ["2024/rgb/", "other/"]
