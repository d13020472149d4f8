# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Bags as other tools write them: ROS 1, other encodings, several channels, cut off, films."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from g2vlm_replay.node.bag_writer import BagWriter

from g2vlm_map.recordings import RecordingError, TopicChoice, open_recording
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.recordings.bag_opening import rosbags_typestore
from tests.replay.bags import NS, Scribe, jpeg, pattern, png, translation

CASES = Path(__file__).parents[3] / "shared" / "cases"
IMAGE = "sensor_msgs/msg/CompressedImage"
Message = tuple[int, int, bytes]  # channel, time, data


def text(value: str) -> bytes:
    return struct.pack("<I", len(value.encode())) + value.encode()


def record(code: int, body: bytes) -> bytes:
    return struct.pack("<BQ", code, len(body)) + body


def mcap(
    channels: list[tuple[str, str, str]], messages: list[Message], profile: str = "ros2"
) -> bytes:
    """An MCAP without chunks, index and end, as a recorder leaves it that was killed.

    Args:
        channels: topic, type, encoding; numbered from 1.
        messages: channel, time, data.
    """
    data = b"\x89MCAP0\r\n" + record(1, text(profile) + text("test"))
    for number, (topic, msgtype, encoding) in enumerate(channels, start=1):
        schema = struct.pack("<H", number) + text(msgtype) + text("jsonschema") + text("")
        data += record(3, schema)
        channel = struct.pack("<HH", number, number) + text(topic) + text(encoding) + text("")
        data += record(4, channel)
    for number, time_ns, body in messages:
        data += record(5, struct.pack("<HIQQ", number, 0, time_ns, time_ns) + body)
    return data


def picture(index: int) -> bytes:
    store = rosbags_typestore()
    types = store.types
    stamp = types["builtin_interfaces/msg/Time"](sec=index + 1, nanosec=0)
    header = types["std_msgs/msg/Header"](stamp=stamp, frame_id="cam")
    shown = np.frombuffer(jpeg(pattern(index)), np.uint8)
    message = types[IMAGE](header=header, format="jpeg", data=shown)
    return bytes(store.serialize_cdr(message, IMAGE))


def ros1(cdr: bytes) -> bytes:
    return bytes(rosbags_typestore().cdr_to_ros1(cdr, IMAGE))


def frames_of(path: Path) -> int:
    return sum(frame.rgb().shape == (48, 64, 3) for frame in open_recording(path).frames())


def test_a_topic_of_another_encoding_costs_only_itself(tmp_path: Path) -> None:
    channels = [("/image", IMAGE, "cdr"), ("/log", "Log", "json")]
    messages = [(1, NS, picture(0)), (2, NS, b"{}"), (1, 2 * NS, picture(1))]
    (tmp_path / "a.mcap").write_bytes(mcap(channels, messages))
    assert frames_of(tmp_path / "a.mcap") == 2
    lost = [str(item) for item in open_recording(tmp_path / "a.mcap").info.left_out]
    assert "/log: 1 messages of encoding 'json', expected cdr" in lost


def test_ros_1_in_mcap(tmp_path: Path) -> None:
    data = mcap(
        [("/image", "sensor_msgs/CompressedImage", "ros1")],
        [(1, index * NS, ros1(picture(index))) for index in range(3)],
        profile="ros1",
    )
    (tmp_path / "a.mcap").write_bytes(data)
    assert frames_of(tmp_path / "a.mcap") == 3
    stamps = open_recording(tmp_path / "a.mcap").info.stamps_ns
    assert stamps == (NS, 2 * NS, 3 * NS)


def test_a_ros_1_bag(tmp_path: Path) -> None:
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    with Writer(tmp_path / "a.bag") as writer:
        connection = writer.add_connection("/image", IMAGE, typestore=store)
        for index in range(3):
            writer.write(connection, (index + 1) * NS, ros1(picture(index)))
    recording = open_recording(tmp_path / "a.bag")
    assert recording.info.kind == "ROS 1 bag"
    assert frames_of(tmp_path / "a.bag") == 3
    assert open_recording(tmp_path / "a.bag").info.left_out == ()


@pytest.mark.parametrize("packed", ["", "BZ2", "LZ4"])
def test_a_ros_1_bag_that_was_cut_off(tmp_path: Path, packed: str) -> None:
    """At whatever byte: what is there is read, in the last chunk too, and the rest is told."""
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS1_NOETIC)
    writer = Writer(tmp_path / "a.bag")
    writer.chunk_threshold = 6000
    if packed:
        writer.set_compression(Writer.CompressionFormat[packed])
    with writer:
        connection = writer.add_connection("/image", IMAGE, typestore=store)
        for index in range(12):
            writer.write(connection, (index + 1) * NS, ros1(picture(index)))
    data = (tmp_path / "a.bag").read_bytes()
    found = []
    for share in (0.55, 0.7, 0.85, 0.95):
        path = tmp_path / f"{share}.active"  # the content says what it is
        path.write_bytes(data[: int(share * len(data))])
        info = open_recording(path).info
        found.append(frames_of(path))
        assert found[-1] == len(info.stamps_ns)
        assert f"{found[-1]} messages are read (rosbag reindex)" in str(info.left_out[0])
    assert found == sorted(found)
    assert 0 < found[0] < found[-1] <= 12


def test_damage_in_one_chunk_costs_its_end_only(tmp_path: Path) -> None:
    head = b"\x89MCAP0\r\n" + record(1, text("ros2") + text("test"))
    data = head
    for number in range(3):
        body = mcap(
            [("/image", IMAGE, "cdr")],
            [(1, (2 * number + one + 1) * NS, picture(number)) for one in range(2)],
        )[len(head) :]
        if number == 1:  # the length of its last message
            at = body.rindex(struct.pack("<Q", (2 * number + 2) * NS)) - 23
            body = body[:at] + struct.pack("<BQ", 5, 2**40) + body[at + 9 :]
        size = struct.pack("<QQQI", 0, 0, len(body), 0)
        data += record(6, size + text("") + struct.pack("<Q", len(body)) + body)
    (tmp_path / "a.mcap").write_bytes(data)
    assert frames_of(tmp_path / "a.mcap") == 5
    lost = " ".join(str(item) for item in open_recording(tmp_path / "a.mcap").info.left_out)
    assert "1 chunks are damaged and read in part" in lost
    assert "ends without an index" in lost


def test_frames_that_all_have_one_stamp_get_those_of_their_recording(tmp_path: Path) -> None:
    messages = [(1, (index + 1) * NS // 2, picture(0)) for index in range(4)]
    (tmp_path / "a.mcap").write_bytes(mcap([("/image", IMAGE, "cdr")], messages))
    recording = open_recording(tmp_path / "a.mcap")
    assert isinstance(recording, BagRecording)
    times = (NS // 2, NS, 3 * NS // 2, 2 * NS)
    assert recording.info.stamps_ns == times
    assert tuple(frame.stamp_ns for frame in recording.frames()) == times
    assert tuple(message.stamp_ns for message in recording.messages()) == times
    assert any("All frames are stamped 1 s" in note for note in recording.info.notes)


def test_two_channels_of_one_topic_are_one_camera(tmp_path: Path) -> None:
    data = mcap(
        [("/image", IMAGE, "cdr"), ("/image", IMAGE, "cdr")],
        [(1 + index % 2, (index + 1) * NS, picture(index)) for index in range(4)],
    )
    (tmp_path / "a.mcap").write_bytes(data)
    assert frames_of(tmp_path / "a.mcap") == 4


@pytest.mark.parametrize("garbage", [b"", b"\x05", b"\xff" * 40, struct.pack("<BQ", 5, 2**60)])
def test_what_follows_the_last_good_record_is_told(tmp_path: Path, garbage: bytes) -> None:
    good = mcap([("/image", IMAGE, "cdr")], [(1, NS, picture(0)), (1, 2 * NS, picture(1))])
    (tmp_path / "a.mcap").write_bytes(good + garbage)
    assert frames_of(tmp_path / "a.mcap") == 2
    lost = " ".join(str(item) for item in open_recording(tmp_path / "a.mcap").info.left_out)
    assert (f"cannot be read from byte {len(good)}" in lost) == bool(garbage)


def test_a_folder_of_files_without_metadata(tmp_path: Path) -> None:
    for number in (2, 10):
        (tmp_path / f"part_{number}.mcap").write_bytes(
            mcap([("/image", IMAGE, "cdr")], [(1, number * NS, picture(number))])
        )
    assert frames_of(tmp_path) == 2


def test_transports_of_one_camera_are_one_camera(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.image("/cam/image_raw", NS, pattern(1), "rgb8")
        scribe.compressed("/cam/image_raw/compressed", NS, jpeg(pattern(1)))
        scribe.compressed("/cam/image_raw/zstd", NS, b"zstd", "zstd")
        scribe.compressed("/cam/image_raw/compressedDepth", NS, b"x", "16UC1; compressedDepth")
    assert open_recording(tmp_path / "bag").info.image_topic == "/cam/image_raw"


def test_depth_is_what_its_encoding_says_and_true_where_it_fits(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.image("/depth_cam/color/image", NS, pattern(1), "rgb8")
        scribe.image("/lidar/range_picture", NS, np.ones((20, 30), np.float32), "32FC1")
    recording = open_recording(tmp_path / "bag")
    assert recording.info.image_topic == "/depth_cam/color/image"
    assert list(recording.true_depths(recording.info.stamps_ns)) == []
    (note,) = [note for note in recording.info.notes if "true depth" in note]
    assert "it is 30 x 20, the camera 64 x 48" in note
    assert "--truth-depth-topic" in note
    named = open_recording(tmp_path / "bag", TopicChoice(depth="/lidar/range_picture"))
    assert len(list(named.true_depths(named.info.stamps_ns))) == 1


def test_a_goal_is_no_true_pose(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.compressed("/image", NS, jpeg(pattern(1)))
        scribe.pose("/goal_pose", NS, translation(1.0))
    recording = open_recording(tmp_path / "bag")
    assert recording.true_poses() is None
    assert any("/goal_pose; none is taken" in note for note in recording.info.notes)


def test_frames_that_cannot_be_decoded_have_their_reason(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.image("/image", NS, np.zeros((4, 4), np.float32), "64FC1")
    with pytest.raises(RecordingError, match=r"none of 1 frames.*64FC1"):
        open_recording(tmp_path / "bag")


def test_a_film(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    codec = cv2.VideoWriter.fourcc(*"mp4v")
    writer = cv2.VideoWriter(str(path), codec, 10.0, (64, 48))
    for index in range(5):
        writer.write(np.ascontiguousarray(pattern(index)[..., ::-1]))
    writer.release()
    recording = open_recording(path)
    assert recording.info.kind == "film"
    assert np.diff(recording.info.stamps_ns).tolist() == [NS // 10] * 4
    for index, frame in enumerate(recording.frames()):
        assert np.abs(frame.rgb().astype(int) - pattern(index)).mean() < 12
    assert [frame.index for frame in recording.frames([1, 3])] == [1, 3]
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(RecordingError, match="film"):
        open_recording(path)


def test_broken_bags_end_in_a_sentence(tmp_path: Path) -> None:
    """Thousands of mutations of a bag: read, read in part, or refused in words; nothing else."""
    generator = np.random.default_rng(5)
    whole = mcap([("/image", IMAGE, "cdr")], [(1, (i + 1) * NS, picture(i)) for i in range(3)])
    with BagWriter(tmp_path / "bag") as writer:
        scribe = Scribe(writer)
        scribe.compressed("/image", NS, jpeg(pattern(1)))
        scribe.compressed("/depth", NS, png(np.ones((48, 64), np.uint16)), "16UC1; png")
    (indexed,) = (tmp_path / "bag").glob("*.mcap")
    sources = [whole, indexed.read_bytes()]
    read = 0
    for turn in range(300):
        data = bytearray(sources[turn % 2])
        for _ in range(int(generator.integers(1, 6))):
            data[int(generator.integers(0, len(data)))] = int(generator.integers(0, 256))
        path = tmp_path / "m.mcap"
        path.write_bytes(bytes(data))
        try:
            recording = open_recording(path)
            for frame in recording.frames():
                frame.rgb()
            read += 1
        except RecordingError as error:
            assert str(error).isprintable()  # noqa: PT017
    assert read > 20


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases of other people's inputs are not here")
@pytest.mark.parametrize(
    "name",
    [
        "B17c_json_topic/c.mcap",
        "B22b_depth_cam_named/bag",
        "B25b_nv12/bag",
        "B29_ros1_mcap/r1.mcap",
    ],
)
def test_other_peoples_bags(name: str) -> None:
    assert all(
        frame.rgb().shape == (240, 320, 3) for frame in open_recording(CASES / name).frames()
    )
