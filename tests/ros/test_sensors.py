# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Other sensors of the robot: what becomes a sample, and what is refused with a reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, Imu, LaserScan, PointCloud2, PointField

from g2vlm_map.recordings.frames import depth_metres
from g2vlm_map.sensing import DepthSample, Gravity, OdometrySample, PointSample, Sample
from g2vlm_ros import messages
from g2vlm_ros.sensor_messages import cloud_points, scan_points, up_of_imu
from tests.map.placed import NS, mounted, pose
from tests.ros.test_frames import Robot, odometry, stamped, started

Make = Callable[..., Any]
STAMP = 100_000 * NS


def scan(ranges: list[float], **changes: Any) -> Any:
    fields = {"angle_min": 0.0, "angle_increment": math.pi / 2, "range_min": 0.1, "range_max": 10.0}
    return LaserScan(ranges=ranges, **{**fields, **changes})


def cloud(points: np.ndarray, names: str = "xyz", datatype: int = 7, extra: int = 4) -> Any:
    """A cloud of float32 points with some bytes behind each."""
    padded = np.zeros((len(points), len(names) * 4 + extra), np.uint8)
    padded[:, : len(names) * 4] = np.ascontiguousarray(points, np.float32).view(np.uint8)
    fields = [
        PointField(name=name, offset=4 * index, datatype=datatype, count=1)
        for index, name in enumerate(names)
    ]
    step = padded.shape[1]
    return PointCloud2(
        height=1,
        width=len(points),
        fields=fields,
        point_step=step,
        row_step=step * len(points),
        data=padded.tobytes(),
    )


def imu(acceleration: tuple[float, float, float], **changes: Any) -> Any:
    message = Imu()
    a = message.linear_acceleration
    a.x, a.y, a.z = map(float, acceleration)
    message.orientation_covariance[0] = -1.0
    for name, value in changes.items():
        setattr(message, name, value)
    return message


def test_a_scan_becomes_points_where_something_came_back() -> None:
    found = scan_points(scan([1.0, 2.0, math.inf, math.nan, 0.05, 11.0, 3.0]))
    np.testing.assert_allclose(found[:2], [[1, 0, 0], [0, 2, 0]], atol=1e-6)
    assert np.isnan(found[2:6]).all()
    np.testing.assert_allclose(found[6], [-3, 0, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (scan([]), "no ranges"),
        (scan([1.0], angle_increment=0.0), "step by 0"),
        (scan([1.0], angle_min=math.nan), "start at nan"),
        (scan([1.0], range_min=5.0, range_max=5.0), "5..5 m, which is empty"),
    ],
)
def test_a_scan_that_contradicts_itself_is_refused(message: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        scan_points(message)


def test_a_cloud_is_read_by_its_fields() -> None:
    points = np.array([[1, 2, 3], [4, 5, 6], [np.nan, 0, 0]], np.float32)
    np.testing.assert_array_equal(cloud_points(cloud(points)), points)
    big = cloud(points)
    big.data = np.frombuffer(bytes(big.data), np.uint32).byteswap().tobytes()
    big.is_bigendian = True
    np.testing.assert_array_equal(cloud_points(big), points)
    many = np.random.default_rng(0).normal(size=(100_000, 3)).astype(np.float32)
    thinned = cloud_points(cloud(many))
    assert 10_000 < len(thinned) <= 20_000
    assert set(thinned[:, 0]) <= set(many[:, 0])


@pytest.mark.filterwarnings("error")
def test_what_no_sensor_reaches_is_no_reading() -> None:
    """A square of it would overflow, and numpy would say so behind the log's back."""
    far = np.array([[1.0, 3e38, 0.0], [2.0, 3.0, -2e9]], np.float32)
    np.testing.assert_array_equal(cloud_points(cloud(far)), [[1, np.nan, 0], [2, 3, np.nan]])
    signalling = cloud(far)
    signalling.data = np.full(8, 0x7F800001, np.uint32).tobytes()
    assert np.isnan(cloud_points(signalling)).all()
    assert np.isnan(scan_points(scan([3e38, 2e9], range_max=3.4e38))).all()
    depth = np.array([[3e38, 5.0]], np.float32)
    np.testing.assert_array_equal(depth_metres(depth), [[0.0, 5.0]])


def test_a_cloud_that_contradicts_itself_is_refused() -> None:
    points = np.zeros((4, 3), np.float32)
    short, narrow, outside = cloud(points), cloud(points), cloud(points)
    short.data = short.data[:-1]
    narrow.row_step = 8
    outside.fields[2].offset = 14
    for message, words in (
        (short, "expected 64"),
        (narrow, "a row of 4 points of 16 B has 8 B"),
        (outside, "do not fit"),
        (cloud(points, names="xyi"), "expected x, y and z"),
        (cloud(points, datatype=4), "expected 7 or 8"),
    ):
        with pytest.raises(ValueError, match=words):
            cloud_points(message)


def test_up_by_an_imu_at_rest_and_by_its_orientation() -> None:
    said = up_of_imu(imu((0.0, 0.0, 9.8)))
    assert said is not None
    np.testing.assert_allclose(said[0], [0, 0, 1])
    assert up_of_imu(imu((3.0, 0.0, 9.8))) is None, "it accelerates"
    turned = imu((3.0, 0.0, 9.8))
    turned.orientation_covariance[0] = 0.0001
    turned.orientation = messages.pose(pose((0.3, 0, 0))).orientation
    said = up_of_imu(turned)
    assert said is not None
    np.testing.assert_allclose(said[0], pose((0.3, 0, 0))[2, :3], atol=1e-9)
    assert said[1] == pytest.approx(0.01)
    spinning = imu((0.0, 0.0, 9.8))
    spinning.angular_velocity.z = 1e300  # its square is no float
    assert up_of_imu(spinning) is None
    for broken in (imu((math.nan, 0, 0)), imu((0, 0, 9.8))):
        if math.isfinite(broken.linear_acceleration.x):
            broken.linear_acceleration_covariance[0] = -1.0
        with pytest.raises(ValueError, match="IMU"):
            up_of_imu(broken)


class Heard:
    """A node with every sensor, and the samples that its pipeline was given."""

    def __init__(self, make_graph: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        self.samples: list[Sample] = []
        self.graph = started(
            make_graph,
            frames__base="base_link",
            frames__odom="odom",
            sensors__odometry_topic="/odom",
            sensors__odometry_sigma=0.02,
            sensors__imu_topic="/imu",
            sensors__cloud_topics="/lidar/front /lidar/rear",
            sensors__scan_topics="/scan",
            camera__depth_topic="/tof/depth/image_raw",
        )
        pipeline = self.graph.node.pipeline
        real = pipeline.sense

        def sense(sample: Sample) -> None:
            self.samples.append(sample)
            real(sample)

        monkeypatch.setattr(pipeline, "sense", sense)
        robot = Robot(self.graph)
        robot.mount()
        robot.tf_static.publish(
            stamped(pose((math.pi, 0, 0), (0, 0, 0.3)), 0, "base_link", "laser")
        )
        self.graph.spin_for(0.3)

    def send(self, topic: str, message: Any, frame: str, stamp_ns: int = STAMP) -> None:
        message.header = messages.header(stamp_ns, frame)
        publisher = self.graph.publisher(topic, type(message))
        self.graph.spin_for(0.1)  # best effort: the node's side of the match takes its time
        publisher.publish(message)

    def wait(self, kind: type) -> Any:
        """The first sample of a kind."""
        return self.graph.wait(
            lambda: next((s for s in self.samples if isinstance(s, kind)), None), kind.__name__
        )

    def refusal(self, topic: str) -> str:
        """The text with which a topic's message was refused."""

        def words(status: Any) -> str:
            texts = dict(zip(status.reason_codes, status.reason_texts, strict=True))
            return str(texts.get("SENSOR_REFUSED", ""))

        return words(self.graph.status(lambda status: words(status).startswith(topic)))


@pytest.fixture
def heard(make_graph: Make, monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(make_graph, monkeypatch)


def test_every_sensor_becomes_a_sample(heard: Heard) -> None:
    heard.send("/scan", scan([1.0, 2.0]), "laser")
    row = heard.wait(PointSample)
    assert row.is_scan
    np.testing.assert_allclose(row.points_M3, [[1, 0, 0], [0, 2, 0]], atol=1e-6)
    # Mounted upside down: left is right.
    points = row.points_M3 @ row.T_base_sensor[:3, :3].T + row.T_base_sensor[:3, 3]
    np.testing.assert_allclose(points, [[1, 0, 0.3], [0, -2, 0.3]], atol=1e-6)
    heard.samples.clear()
    heard.send("/lidar/rear", cloud(np.ones((5, 3), np.float32)), "laser")
    assert not heard.wait(PointSample).is_scan
    heard.send("/imu", imu((0.0, 0.0, -9.81)), "laser")
    np.testing.assert_allclose(heard.wait(Gravity).up_base_3, [0, 0, 1], atol=1e-6)
    heard.graph.publisher("/odom", type(odometry(0, pose()))).publish(odometry(STAMP, pose()))
    assert heard.wait(OdometrySample).sigma_share == 0.02
    k = [20.0, 0.0, 7.5, 0.0, 20.0, 5.5, 0.0, 0.0, 1.0]
    heard.send("/tof/depth/camera_info", CameraInfo(width=16, height=12, k=k), "camera_optical")
    heard.graph.good_image()  # by its frame the depth is known to be registered
    depth = np.full((12, 16), 1500, np.uint16)
    image = Image(height=12, width=16, step=32, encoding="16UC1", data=depth.tobytes())
    heard.send("/tof/depth/image_raw", image, "camera_optical")
    sample = heard.wait(DepthSample)
    assert sample.camera == "camera"
    assert sample.T_cam_depth is None
    np.testing.assert_allclose(sample.depth_HW, 1.5)
    np.testing.assert_allclose(sample.K.reshape(-1), k)


def test_a_large_depth_image_comes_thinned_with_the_k_of_what_is_left(heard: Heard) -> None:
    """What no model's picture shows is not converted at all."""
    K = np.array([[900.0, 0, 640], [0, 900, 2], [0, 0, 1]])
    info = CameraInfo(width=1280, height=4, k=K.ravel())
    heard.send("/tof/depth/camera_info", info, "camera_optical")
    heard.graph.good_image()
    depth = np.arange(4 * 1280, dtype=np.uint16).reshape(4, 1280)
    image = Image(height=4, width=1280, step=2560, encoding="16UC1", data=depth.tobytes())
    heard.send("/tof/depth/image_raw", image, "camera_optical")
    sample = heard.wait(DepthSample)
    np.testing.assert_allclose(sample.depth_HW, depth[::2, ::2] * 1e-3, rtol=1e-6)
    np.testing.assert_allclose(sample.K, [[450, 0, 320], [0, 450, 1], [0, 0, 1]])


def test_depth_of_a_sensor_beside_the_camera_comes_with_its_place(heard: Heard) -> None:
    heard.graph.good_image()
    k = [20.0, 0.0, 7.5, 0.0, 20.0, 5.5, 0.0, 0.0, 1.0]
    heard.send("/tof/depth/camera_info", CameraInfo(width=16, height=12, k=k), "laser")
    image = Image(height=12, width=16, step=64, encoding="32FC1", data=np.ones(192, "f4").tobytes())
    heard.send("/tof/depth/image_raw", image, "laser")
    T_base_laser = pose((math.pi, 0, 0), (0, 0, 0.3))
    expected = np.linalg.inv(mounted()) @ T_base_laser
    np.testing.assert_allclose(heard.wait(DepthSample).T_cam_depth, expected, atol=1e-9)


def test_odometry_of_another_frame_of_the_robot_is_carried_over(heard: Heard) -> None:
    T = pose((0, 0, 0.2), (1, 0, 0))
    publisher = heard.graph.publisher("/odom", type(odometry(0, T)))
    publisher.publish(odometry(STAMP, T, child="camera_optical"))
    found = heard.wait(OdometrySample).T_odom_base
    np.testing.assert_allclose(found, T @ np.linalg.inv(mounted()), atol=1e-9)


@pytest.mark.parametrize(
    ("topic", "message", "frame", "words"),
    [
        ("/scan", scan([1.0]), "nowhere", "nobody tells of nowhere"),
        ("/scan", scan([]), "laser", "no ranges"),
        ("/lidar/front", cloud(np.zeros((2, 3)), names="abc"), "laser", "expected x, y and z"),
        ("/imu", imu((0, 0, 9.81)), "nowhere", "nobody tells of nowhere"),
        ("/imu", imu((math.inf, 0, 0)), "laser", "acceleration is"),
        ("/odom", odometry(STAMP, pose()), "earth", "expected frames.odom = 'odom'"),
        ("/odom", odometry(STAMP, pose(), child="nowhere"), "odom", "nobody tells of nowhere"),
        ("/odom", odometry(STAMP, pose(shift=(math.nan, 0, 0))), "odom", "no rigid transform"),
        (
            "/tof/depth/image_raw",
            Image(height=1, width=1, step=4, encoding="32FC1", data=b"\0" * 4),
            "tof",
            "no CameraInfo has come on /tof/depth/camera_info yet",
        ),
        ("/tof/depth/camera_info", CameraInfo(width=16, height=12), "tof", ""),
    ],
)
def test_what_cannot_be_used_is_said(
    heard: Heard, topic: str, message: Any, frame: str, words: str
) -> None:
    heard.samples.clear()
    heard.send(topic, message, frame)
    if topic.endswith("camera_info"):  # it is looked at with the depth
        image = Image(height=12, width=16, step=64, encoding="32FC1", data=b"\0" * 768)
        heard.send("/tof/depth/image_raw", image, "tof")
        topic, words = "/tof/depth/image_raw", "focal lengths are 0"
    assert words in heard.refusal(topic)
    assert not heard.samples


def test_what_waits_for_a_transform_is_read_once_and_counted_where_it_falls_out(
    make_graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def reading(message: Any) -> Any:
        read.append(message)
        return scan_points(message)

    monkeypatch.setattr("g2vlm_ros.sensor_messages.scan_points", reading)
    graph = Heard(make_graph, monkeypatch).graph
    sensors = graph.node._active._sensors
    (subscription,) = [one for one in sensors._subscriptions if one.topic_name == "/scan"]
    message = scan([1.0])
    message.header = messages.header(STAMP, "nowhere")
    for _ in range(25):
        subscription.callback(message)
    assert sensors._refused["/scan"] == 5
    graph.spin_for(0.3)
    assert len(read) == 25
