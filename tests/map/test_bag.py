# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags: written and read in both formats, topics chosen, ground truth found, damage named."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.recordings import RecordingError, TopicChoice, is_bag
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.recordings.frames import message_depth, message_rgb
from tests.replay.bags import (
    NS,
    OPTICAL,
    K,
    Scribe,
    jpeg,
    pattern,
    png,
    translation,
    write_plain_bag,
)


@pytest.mark.parametrize("mcap", [True, False], ids=["mcap", "sqlite3"])
def test_both_formats_round_trip(tmp_path: Path, mcap: bool) -> None:
    write_plain_bag(tmp_path / "bag", mcap=mcap)
    assert is_bag(tmp_path / "bag")
    source = BagRecording(tmp_path / "bag")
    info = source.info
    assert info.kind == ("MCAP bag" if mcap else "sqlite3 bag")
    assert info.image_topic == "/camera/image_raw/compressed"
    assert info.info_topic == "/camera/camera_info"
    assert info.frame_id == OPTICAL
    assert info.stamps_ns == tuple(10 * NS + i * NS // 10 for i in range(5))
    assert info.size_hw == (48, 64)
    assert info.duration_s == pytest.approx(0.4)
    assert info.calibration is not None
    np.testing.assert_array_equal(info.calibration.K, K)
    assert info.calibration.is_pinhole

    played = list(source.messages())
    messages = [message for message in played if message.topic != "/tf_static"]
    assert len(played) == len(messages) + 1
    assert [message.frame for message in messages] == [-1, 0, -1, 1, -1, 2, -1, 3, -1, 4]
    assert [message.time_ns for message in messages] == sorted(m.time_ns for m in messages)
    assert all(message.stamp_ns == message.time_ns for message in messages)

    (shown,) = source.frames([3, 99])
    assert (shown.index, shown.stamp_ns, shown.frame_id) == (3, info.stamps_ns[3], OPTICAL)
    assert np.abs(shown.rgb().astype(int) - pattern(3)).mean() < 3.0  # JPEG
    assert [frame.index for frame in source.frames()] == [0, 1, 2, 3, 4]

    truth = source.true_poses()
    assert truth is not None
    assert truth.origin == f"TF world -> {OPTICAL}"
    np.testing.assert_allclose(truth.T_world_cam_M44[:, 0, 3], 0.1 * np.arange(5))
    np.testing.assert_allclose(truth.T_world_cam_M44[:, 2, 3], 0.5)

    depths = dict(source.true_depths([info.stamps_ns[2] + 20_000_000, info.stamps_ns[4]]))
    assert sorted(depths) == [info.stamps_ns[2] + 20_000_000, info.stamps_ns[4]]
    assert depths[info.stamps_ns[4]][5, 5] == pytest.approx(1.04)
    assert depths[info.stamps_ns[4]][0, 5] == 0.0


def test_a_single_mcap_file_is_a_bag(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    alone = tmp_path / "alone.mcap"
    alone.write_bytes(file.read_bytes())
    assert is_bag(alone)
    assert len(BagRecording(alone).info.stamps_ns) == 5


def test_interpolated_tf_and_rotation(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        turned = np.eye(4)
        turned[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
        for ns, T in ((NS, np.eye(4)), (2 * NS, turned), (3 * NS, turned)):
            scribe.tf("/tf", ns, "world", "turntable", T)
        for i in range(5):
            scribe.tf("/tf", NS + i * NS // 2, "turntable", OPTICAL, translation(float(i)))
        scribe.compressed("/image", NS, jpeg(pattern(0)))
    truth = BagRecording(tmp_path / "bag").true_poses()
    assert truth is not None
    # At 1.5 s the lower link is translation(1), the upper one has turned by half of 90 degrees.
    half = np.sqrt(0.5)
    expected = [[half, -half, 0, half], [half, half, 0, half], [0, 0, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(truth.T_world_cam_M44[1], expected, atol=1e-9)


@pytest.mark.parametrize("frames", [("map", "odom"), ("g2vlm_map",), ("world", "odom"), ("odom",)])
def test_what_a_robot_estimates_is_no_truth_until_somebody_says_so(
    frames: tuple[str, ...], tmp_path: Path
) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for i in range(3):
            ns = NS + i * NS // 2
            for parent, child in itertools.pairwise((*frames, OPTICAL)):
                scribe.tf("/tf", ns, parent, child, translation(float(i)))
            scribe.compressed("/image", ns, jpeg(pattern(i)))
    source = BagRecording(tmp_path / "bag")
    assert source.true_poses() is None
    asked = any("--truth-pose-topic /tf" in note for note in source.info.notes)
    assert asked is (frames != ("odom",))
    named = BagRecording(tmp_path / "bag", TopicChoice(pose="/tf")).true_poses()
    assert named is not None
    np.testing.assert_allclose(named.T_world_cam_M44[2, 0, 3], 2.0 * len(frames))


def test_pose_topics(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.tf("/tf_static", NS, "base", OPTICAL, translation(0, 0, 2.0))
        for i in range(3):
            ns = NS + i * NS
            scribe.compressed("/image", ns, jpeg(pattern(i)))
            scribe.pose("/slam/pose", ns, translation(9.0))
            scribe.odometry("/ground_truth/odom", ns, "base", translation(float(i)))
    truth = BagRecording(tmp_path / "bag").true_poses()
    assert truth is not None
    assert "/ground_truth/odom" in truth.origin
    np.testing.assert_allclose(truth.T_world_cam_M44[2, :3, 3], [2.0, 0, 2.0])
    named = BagRecording(tmp_path / "bag", TopicChoice(pose="/slam/pose")).true_poses()
    assert named is not None
    np.testing.assert_allclose(named.T_world_cam_M44[2, :3, 3], [9.0, 0, 0])
    with pytest.raises(RecordingError, match=r"carries no poses.*/slam/pose"):
        BagRecording(tmp_path / "bag", TopicChoice(pose="/image"))


def test_two_poses_are_not_guessed(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.compressed("/image", NS, jpeg(pattern(0)))
        scribe.pose("/a/pose", NS, np.eye(4))
        scribe.pose("/b/pose", NS, np.eye(4))
    source = BagRecording(tmp_path / "bag")
    assert source.true_poses() is None
    assert any("--truth-pose-topic" in note for note in source.info.notes)


def test_topics_that_cannot_be_told_apart(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        for topic in ("/left/image", "/right/image"):
            scribe.image(topic, NS, pattern(1), "rgb8")
        scribe.compressed("/left/image/compressed", NS, jpeg(pattern(1)))
        scribe.image("/left/depth", NS, np.ones((4, 4), np.float32), "32FC1")
    with pytest.raises(RecordingError, match=r"several cameras: /left/image, /right/image"):
        BagRecording(tmp_path / "bag")
    source = BagRecording(tmp_path / "bag", TopicChoice(image="/right/image"))
    np.testing.assert_array_equal(next(source.frames()).rgb(), pattern(1))
    with pytest.raises(RecordingError, match="no image topic"):
        BagRecording(tmp_path / "bag", TopicChoice(image="/tf"))
    with pytest.raises(RecordingError, match="no CameraInfo topic"):
        BagRecording(tmp_path / "bag", TopicChoice(image="/right/image", camera_info="/x"))
    with pytest.raises(RecordingError, match="no image topic"):
        BagRecording(tmp_path / "bag", TopicChoice(image="/right/image", depth="/x"))


def test_a_broken_first_frame_is_left_to_the_node(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.compressed("/image", NS, b"broken")
        scribe.compressed("/image", 2 * NS, jpeg(pattern(1)))
    source = BagRecording(tmp_path / "bag")
    assert source.info.size_hw == (48, 64)
    assert [message.frame for message in source.messages()] == [0, 1]
    broken, whole = source.frames()
    with pytest.raises(RecordingError, match="frame 0: data starts with"):
        broken.rgb()
    assert whole.rgb().shape == (48, 64, 3)
    with BagWriter(tmp_path / "broken") as writer:
        Scribe(writer).compressed("/image", NS, b"broken")
    with pytest.raises(RecordingError, match="none of 1 frames of /image can be decoded"):
        BagRecording(tmp_path / "broken")


def test_no_colour_frame(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.image("/depth/image", NS, np.ones((4, 4), np.float32), "32FC1")
        scribe.tf("/tf", NS, "a", "b", np.eye(4))
    with pytest.raises(RecordingError, match=r"no topic with colour frames.*/depth/image, /tf"):
        BagRecording(tmp_path / "bag")


def test_not_a_bag(tmp_path: Path) -> None:
    (tmp_path / "x.mcap").write_bytes(b"not an mcap at all" * 100)
    (tmp_path / "x.db3").write_bytes(b"not a database" * 100)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "metadata.yaml").write_text("rosbag2_bagfile_information: [")
    for name in ("x.mcap", "x.db3", "folder", "missing.mcap"):
        with pytest.raises(RecordingError, match="cannot be read as a bag"):
            BagRecording(tmp_path / name)


@pytest.mark.parametrize("mcap", [True, False], ids=["mcap", "sqlite3"])
@pytest.mark.parametrize("share", [0.002, 0.3, 0.6, 0.95])
def test_a_bag_that_was_cut_off_is_read_as_far_as_it_goes(
    tmp_path: Path, mcap: bool, share: float
) -> None:
    write_plain_bag(tmp_path / "bag", mcap=mcap, count=40)
    (file,) = (tmp_path / "bag").glob("*.mcap" if mcap else "*.db3")
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    if share < 0.01:
        with pytest.raises(RecordingError, match="cannot be read as a bag"):
            BagRecording(tmp_path / "bag")
        return
    cut = BagRecording(tmp_path / "bag")  # MCAP in one chunk too
    lost = " ".join(str(item) for item in cut.info.left_out)
    assert "is no whole bag" in lost
    assert 0 < len(cut.info.stamps_ns) <= 40
    *whole, last = cut.frames()
    assert all(frame.rgb().shape == (48, 64, 3) for frame in whole)
    try:
        last.rgb()
    except RecordingError as error:  # sqlite3 pads the page that was cut
        assert "truncated or corrupt" in str(error)  # noqa: PT017


def test_a_whole_bag_has_lost_nothing(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "bag", mcap=True)
    assert BagRecording(tmp_path / "bag").info.left_out == ()


def fake(**fields: object) -> SimpleNamespace:
    return SimpleNamespace(is_bigendian=0, **fields)


def test_depth_encodings() -> None:
    mm = np.array([[0, 1500, 65535], [250, 1, 2]], np.uint16)
    expected = np.array([[0, 1.5, 0], [0.25, 0.001, 0.002]], np.float32)
    padded = np.zeros((2, 8), np.uint8)
    padded[:, :6] = mm.view(np.uint8).reshape(2, 6)
    raw = fake(encoding="16UC1", height=2, width=3, step=8, data=padded.tobytes())
    np.testing.assert_allclose(message_depth(raw, "d"), expected)
    np.testing.assert_allclose(message_depth(raw, "d", 2), expected[::2, ::2])
    swapped = padded.copy()
    swapped[:, :6] = mm.astype(">u2").view(np.uint8).reshape(2, 6)
    big = fake(encoding="mono16", height=2, width=3, step=8, data=swapped.tobytes())
    big.is_bigendian = 1
    np.testing.assert_allclose(message_depth(big, "d"), expected)
    metres = np.array([[np.nan, np.inf, 2.0], [-1, 0, 0.5]], np.float32)
    floats = fake(encoding="32FC1", height=2, width=3, step=12, data=metres.tobytes())
    np.testing.assert_allclose(message_depth(floats, "d"), [[0, 0, 2.0], [0, 0, 0.5]])
    header = struct.pack("<iff", 0, 0.0, 0.0)
    for payload in (png(mm), header + png(mm)):
        compressed = SimpleNamespace(format="16UC1; compressedDepth png", data=payload)
        np.testing.assert_allclose(message_depth(compressed, "d"), expected)
    quantised = np.array([[0, 110, 60]] * 2, np.uint16)  # depth = 100 / (raw - 10)
    inverse = SimpleNamespace(
        format="32FC1; compressedDepth png",
        data=struct.pack("<iff", 0, 100.0, 10.0) + png(quantised),
    )
    np.testing.assert_allclose(message_depth(inverse, "d"), [[0, 1.0, 2.0]] * 2)


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (fake(encoding="rgb8", height=2, width=2, step=6, data=b"12"), "depth encoding 'rgb8'"),
        (fake(encoding="16UC1", height=2, width=2, step=4, data=b"1234"), "4 bytes"),
        (fake(encoding="16UC1", height=2, width=2, step=2, data=b"12345678"), "with step 2"),
        (SimpleNamespace(format="16UC1; jpeg", data=b"\xff\xd8abc"), "no PNG"),
        (SimpleNamespace(format="16UC1", data=png(np.zeros((2, 2, 3), np.uint8))), "expected uint"),
    ],
)
def test_depth_that_cannot_be_read(message: SimpleNamespace, says: str) -> None:
    with pytest.raises(RecordingError, match=says):
        message_depth(message, "d")


def test_colour_encodings() -> None:
    rgb = pattern(2)
    cases = {
        "rgb8": rgb,
        "bgr8": rgb[..., ::-1],
        "rgba8": np.dstack([rgb, rgb[..., :1]]),
        "mono8": rgb[..., 0],
        "mono16": rgb[..., 0].astype(np.uint16) * 256 + 77,  # the upper byte counts
    }
    for encoding, pixels in cases.items():
        height, width = pixels.shape[:2]
        step = pixels.nbytes // height
        message = fake(
            encoding=encoding, height=height, width=width, step=step, data=pixels.tobytes()
        )
        want = np.dstack([rgb[..., 0]] * 3) if encoding.startswith("mono") else rgb
        np.testing.assert_array_equal(message_rgb(message, "p"), want)
    with pytest.raises(RecordingError, match="encoding 'mono12'"):
        message_rgb(fake(encoding="mono12", height=2, width=2, step=3, data=b"123456"), "p")
    with pytest.raises(RecordingError, match="data has 5 bytes"):
        message_rgb(fake(encoding="mono8", height=2, width=3, step=3, data=b"12345"), "p")
    with pytest.raises(RecordingError, match="expected a JPEG"):
        message_rgb(SimpleNamespace(format="jpeg", data=b"junk"), "p")
