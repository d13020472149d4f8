# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Messages of a drive: what a bag holds, and what faults do to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_demo.drive_bag import RECORDED, faults_of, write_drive
from g2vlm_demo.drives import DriveSpec, make_drive
from g2vlm_demo.faults import Faults
from g2vlm_demo.messages import TYPES, MessageMaker
from g2vlm_demo.stream import Due, Streams, drive_messages
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from g2vlm_map.recordings.transforms import TransformTree, transform_from

SPEC = DriveSpec(
    "room", 0, size_hw=(24, 32), supersample=1, seconds=2.0, rate_hz=2.0, odometry_hz=10.0
)
NS = 1_000_000_000


@pytest.fixture(scope="module", autouse=True)
def kept_pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pictures of the drives of this file are rendered once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("G2VLM_DRIVES", str(tmp_path_factory.mktemp("drives")))
        yield


@pytest.fixture(scope="module")
def maker() -> MessageMaker:
    store = get_typestore(Stores.ROS2_KILTED)
    return MessageMaker(
        {name: store.types[name] for name in TYPES},
        floats=np.asarray,
        octets=lambda data: np.frombuffer(data, np.uint8),
    )


def messages(maker: MessageMaker, streams: Streams | None = None, **faults: Any) -> list[Due]:
    drive = make_drive(replace(SPEC, faults=Faults(**faults)))
    return list(drive_messages(drive, maker, streams or Streams(compressed=False)))


def stamp_of(message: Any) -> float:
    return float(message.header.stamp.sec - 1000 + message.header.stamp.nanosec / NS)


def test_a_bag_holds_a_connected_robot_and_its_truth(tmp_path: Path) -> None:
    path = write_drive(replace(SPEC, stereo_m=0.1), tmp_path / "drive.mcap")
    counts: dict[str, int] = {}
    tree = TransformTree()
    store = get_typestore(Stores.ROS2_KILTED)
    truth = {}
    with Reader(path) as reader:
        for connection, _, data in reader.messages():
            counts[connection.topic] = counts.get(connection.topic, 0) + 1
            message: Any = store.deserialize_cdr(data, connection.msgtype)
            if connection.topic in ("/tf", "/tf_static"):
                for item in message.transforms:
                    T = transform_from(item.transform.translation, item.transform.rotation)
                    static = connection.topic == "/tf_static"
                    stamp = item.header.stamp.sec * NS + item.header.stamp.nanosec
                    tree.add(item.header.frame_id, item.child_frame_id, stamp, T, static=static)
            elif connection.topic == "/ground_truth/odometry":
                pose = message.pose.pose
                truth[stamp_of(message)] = transform_from(pose.position, pose.orientation)
    assert counts == {
        "/camera/camera_info": 5, "/camera/image_raw/compressed": 5,
        "/right_camera/camera_info": 5, "/right_camera/image_raw/compressed": 5,
        "/ground_truth/depth/compressed": 5, "/ground_truth/odometry": 21,
        "/odom": 21, "/scan": 21, "/tf": 21, "/tf_static": 1,
    }  # fmt: skip
    chain = ["camera_optical_frame", "camera_link", "base_link", "odom"]
    assert tree.chain("camera_optical_frame") == chain
    assert tree.chain("right_camera_optical_frame")[-1] == "odom"
    assert tree.chain("laser") == ["laser", "base_link", "odom"]
    drive = make_drive(replace(SPEC, stereo_m=0.1))
    assert np.allclose(truth[2.0], drive.T_world_base_N44[-1], atol=1e-9)
    stamps = np.array([1000 * NS + 2 * NS], np.int64)
    T_odom_cam = tree.lookup("camera_optical_frame", stamps)[0]
    expected = drive.odometry.T_odom_base_M44[-1] @ drive.robot.T_base_optical()
    assert np.allclose(T_odom_cam, expected, atol=1e-9)


def test_messages_come_in_the_order_in_which_they_are_due(maker: MessageMaker) -> None:
    due = messages(maker, tf_late_s=0.35)
    times = [item.time_ns for item in due]
    assert times == sorted(times)
    tf = [item for item in due if item.topic == "/tf"]
    late = [item.time_ns / NS - 1000 - stamp_of(item.message.transforms[0]) for item in tf]
    assert np.allclose(late, 0.35)
    assert len(tf) == 21


def test_tf_stops_leaps_and_loops(maker: MessageMaker) -> None:
    streams = Streams(raw=False, compressed=False, scan=False, depth_every=0)

    def links(**faults: float) -> dict[float, list[Any]]:
        found = [item.message for item in messages(maker, streams, **faults) if item.topic == "/tf"]
        return {stamp_of(message.transforms[0]): message.transforms for message in found}

    plain = links()
    stopped = links(tf_stops_at_s=0.5, tf_stops_for_s=1.0)
    assert sorted(set(plain) - set(stopped)) == sorted(s for s in plain if 0.5 <= s < 1.5)
    leapt = links(tf_leaps_at_s=1.0)
    gaps = [
        leapt[stamp][0].transform.translation.x - plain[stamp][0].transform.translation.x
        for stamp in sorted(plain)
    ]
    assert np.allclose(gaps[:10], 0.0)
    assert min(gaps[10:]) > 4.0
    looped = links(tf_loops_at_s=1.0)
    assert [len(looped[stamp]) for stamp in sorted(looped)] == [1] * 10 + [2] * 11
    assert looped[2.0][1].child_frame_id == "odom"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("", (24, 32, 1.0, "plumb_bob")),
        ("zero_k", (24, 32, 0.0, "plumb_bob")),
        ("other_size", (48, 64, 2.0, "plumb_bob")),
        ("wrong_model", (24, 32, 1.0, "kaleidoscope")),
        ("wrong_focal", (24, 32, 1.1, "plumb_bob")),
    ],
)
def test_wrong_camera_info(
    maker: MessageMaker, kind: str, expected: tuple[int, int, float, str]
) -> None:
    drive = make_drive(SPEC)
    infos = [item.message for item in messages(maker, camera_info=kind)
             if item.topic == "/camera/camera_info"]  # fmt: skip
    assert len(infos) == 5
    for info in infos:
        focal = info.k[0] / drive.K[0, 0]
        assert (info.height, info.width, round(focal, 6), info.distortion_model) == expected


def test_camera_info_that_changes_or_is_missing(maker: MessageMaker) -> None:
    focal = [item.message.k[0] for item in messages(maker, camera_info="changes")
             if item.topic == "/camera/camera_info"]  # fmt: skip
    assert focal[0] == focal[1]
    assert np.isclose(focal[-1] / focal[0], 1.1)
    topics = {item.topic for item in messages(maker, camera_info="missing")}
    assert "/camera/camera_info" not in topics
    assert "/camera/image_raw" in topics


def test_depth_in_millimetres(maker: MessageMaker) -> None:
    def depth(**faults: Any) -> np.ndarray:
        found = [item.message for item in messages(maker, **faults)
                 if item.topic == "/ground_truth/depth"]  # fmt: skip
        assert {message.encoding for message in found} == {"32FC1"}
        return np.frombuffer(found[0].data.tobytes(), np.float32)

    assert np.allclose(depth(depth_in_millimetres=True), 1000.0 * depth())


def test_faults_by_name_on_a_command_line() -> None:
    assert faults_of(["kidnap_at_s=20", "camera_info=zero_k", "lidar_upside_down=true"]) == Faults(
        kidnap_at_s=20.0, camera_info="zero_k", lidar_upside_down=True
    )
    with pytest.raises(ValueError, match="fault is 'kidnapped=3', expected NAME=VALUE with one of"):
        faults_of(["kidnapped=3"])
    assert RECORDED.depth_compressed
