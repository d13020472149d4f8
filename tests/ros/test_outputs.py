# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a scene becomes on the wire: fields, frames, stamps, units, joined windows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from g2vlm_map.pipeline import Pipeline
from g2vlm_map.world import World
from g2vlm_ros.frame_options import UP_TO_SCALE
from tests.helpers import REPO
from tests.map.placed import placed
from tests.ros.scripted_runtime import HEIGHT, WIDTH

Make = Callable[..., Any]
NS = 1_000_000_000
SPEED = 0.1
FLOAT32 = 7  # sensor_msgs/PointField.FLOAT32


def cloud_of(message: Any) -> np.ndarray:
    """The message's records, read by what its fields say."""
    assert [f.datatype for f in message.fields] == [FLOAT32] * len(message.fields)
    dtype = np.dtype(
        {
            "names": [f.name for f in message.fields],
            "formats": ["<f4"] * len(message.fields),
            "offsets": [f.offset for f in message.fields],
            "itemsize": message.point_step,
        }
    )
    assert message.row_step == message.point_step * message.width
    assert len(message.data) == message.row_step * message.height
    return np.frombuffer(message.data, dtype).reshape(message.height, message.width)


def stamp(header: Any) -> int:
    return as_ns(header.stamp)


def as_ns(stamp: Any) -> int:
    return int(stamp.sec) * NS + int(stamp.nanosec)


def last(graph: Any, name: str) -> Any:
    return graph.wait(lambda: graph.received[name] and graph.received[name][-1], f"~/{name}")


def test_stamps_frames_and_values(graph: Any) -> None:
    graph.publisher("/camera/image_raw")
    graph.scene()
    for name in ("points", "depth/image", "depth/camera_info", "image", "pose", "odometry"):
        message = last(graph, name)
        assert stamp(message.header) == graph.stamp_ns, name
    for name in ("points", "depth/image", "depth/camera_info", "image"):
        assert last(graph, name).header.frame_id == "camera_optical_up_to_scale", name
    assert last(graph, "pose").header.frame_id == "g2vlm_map_up_to_scale"
    assert last(graph, "pose").pose.pose.orientation.w == pytest.approx(1.0, abs=0.02)

    depth = last(graph, "depth/image")
    assert (depth.encoding, depth.height, depth.width) == ("32FC1", HEIGHT, WIDTH)
    np.testing.assert_allclose(np.frombuffer(depth.data, np.float32), 2.0, rtol=0.01)
    info = last(graph, "depth/camera_info")
    assert (info.height, info.width) == (HEIGHT, WIDTH)

    points = cloud_of(last(graph, "points")).reshape(-1)
    assert len(points) == HEIGHT * WIDTH
    # The depth picture and its K give the cloud.
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    z = np.frombuffer(depth.data, np.float32).reshape(HEIGHT, WIDTH)
    np.testing.assert_allclose(points["x"], ((u - info.k[2]) / info.k[0] * z).ravel(), atol=1e-5)
    np.testing.assert_allclose(points["y"], ((v - info.k[5]) / info.k[4] * z).ravel(), atol=1e-5)
    packed = points["rgb"].copy().view(np.uint32)
    shade = np.linspace(0, 255, WIDTH).astype(np.uint32)
    np.testing.assert_array_equal(
        packed.reshape(HEIGHT, WIDTH)[0], shade << 16 | shade << 8 | shade
    )


def test_organised_cloud_keeps_rows(make_graph: Make) -> None:
    graph = make_graph(points__organized=True, points__decimation=2, points__max_range=2.1)
    graph.listen("points", "status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.scene()
    message = last(graph, "points")
    assert (message.height, message.width) == (HEIGHT // 2, WIDTH // 2)
    assert not message.is_dense
    points = cloud_of(message)
    far = np.isnan(points["x"])
    assert far.any()
    assert not far.all()
    distance = np.sqrt(points["x"] ** 2 + points["y"] ** 2 + points["z"] ** 2)
    assert np.nanmax(distance) <= 2.1 + 1e-5


@pytest.mark.parametrize("organized", [False, True])
def test_the_cloud_reader_of_ros_finds_the_same_points(make_graph: Make, organized: bool) -> None:
    reader = pytest.importorskip(
        "sensor_msgs_py.point_cloud2", reason="ROS's sensor_msgs_py is not installed"
    )
    graph = make_graph(points__organized=organized, points__max_range=2.1)
    graph.listen("points", "status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.scene()
    message = last(graph, "points")
    own = cloud_of(message)
    own = own[~np.isnan(own["x"])]  # no colour may be NaN: its point would be skipped
    assert 0 < own.size < HEIGHT * WIDTH
    xyz = ["x", "y", "z"]
    rows = reader.read_points_numpy(message, xyz, skip_nans=True)
    np.testing.assert_array_equal(rows, np.stack([own[name] for name in xyz], axis=-1))
    assert reader.read_points(message, skip_nans=True).size == own.size
    grid = reader.read_points(message, xyz, reshape_organized_cloud=True)
    # Released readers give an organized cloud as (width, height), its points in the same order.
    shapes = [(HEIGHT, WIDTH), (WIDTH, HEIGHT)] if organized else [(own.size,)]
    assert grid.shape in shapes
    flat = reader.read_points(message, xyz)
    for name in xyz:  # field by field: NaN equals NaN then
        np.testing.assert_array_equal(grid.ravel()[name], flat[name])


def test_a_cloud_may_be_empty_and_full_again(make_graph: Make) -> None:
    from rclpy.parameter import Parameter

    graph = make_graph()
    graph.listen("points", "status")
    graph.start()
    graph.publisher("/camera/image_raw")
    sizes = []
    for limit in (0.0, 1.0, 1.0, 0.0, 0.0):  # the wall's confidence is 1, its depth 2
        graph.node.set_parameters([Parameter("points.max_range", value=limit)])
        graph.received["points"].clear()
        graph.scene()
        sizes.append(cloud_of(last(graph, "points")).size)
    full = HEIGHT * WIDTH
    assert sizes == [full, 0, 0, full, full]


def test_whole_window_is_one_cloud_in_the_newest_camera(make_graph: Make) -> None:
    graph = make_graph(points__source="window")
    graph.listen("points", "status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.scene()
    points = cloud_of(last(graph, "points")).reshape(-1)
    assert len(points) == 2 * HEIGHT * WIDTH
    # The wall's world points stand still; the newest camera is 0.01 further along x.
    first = points[: HEIGHT * WIDTH].reshape(HEIGHT, WIDTH)
    assert first["x"].mean() == pytest.approx(
        graph.runtime.scenes[-1].geometry.world_points[0, ..., 0].mean() - SPEED * 0.1, abs=1e-5
    )


def test_windows_are_joined_whatever_their_scale(make_graph: Make) -> None:
    graph = make_graph(window__size=4)
    graph.listen("pose", "depth/image", "status", "path")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.runtime.scales = [1.0, 1.7, 0.6, 2.5, 0.9, 1.3]
    graph.scene()
    for _ in range(5):
        graph.scene()
    poses = graph.received["pose"]
    graph.wait(lambda: len(poses) == 6, "six poses")
    np.testing.assert_allclose(
        np.frombuffer(last(graph, "depth/image").data, np.float32), 2.0, rtol=0.1
    )
    status = graph.status(lambda s: s.scenes == 6)
    assert status.segment == 1
    assert status.overlap_frames == 3
    assert status.keyframes == 4
    graph.wait(lambda: len(last(graph, "path").poses) >= 6, "six poses in the path")


def test_every_pose_can_be_tied_to_its_segment(graph: Any) -> None:
    """By the stamps that the status gives of a segment, also where a status was missed."""
    graph.publisher("/camera/image_raw")
    graph.scene()
    graph.scene()
    graph.scene()
    assert graph.node.pipeline.wait()
    assert graph.reset().success
    status = graph.status(lambda s: s.segment == 2)
    assert (as_ns(status.first_scene_stamp), as_ns(status.scene_stamp)) == (0, 0)
    graph.received["status"].clear()
    graph.scene()
    newest = graph.status(lambda s: s.segment == 2 and as_ns(s.scene_stamp) > 0)
    graph.wait(
        lambda: as_ns(graph.received["pose"][-1].header.stamp) == as_ns(newest.scene_stamp),
        "its pose",
    )
    stamps = [as_ns(message.header.stamp) for message in graph.received["pose"]]
    before = [number for number in stamps if number < as_ns(newest.first_scene_stamp)]
    assert as_ns(newest.first_scene_stamp) == stamps[len(before)]
    seen = {(s.segment, as_ns(s.first_scene_stamp), as_ns(s.scene_stamp)) for s in graph.statuses}
    spans = {
        number: (first, max(last for n, f, last in seen if (n, f) == (number, first)))
        for number, first, _ in seen
        if first
    }
    found = [[n for n, (a, b) in spans.items() if a <= stamp_ns <= b] for stamp_ns in stamps]
    assert found == [*[[1]] * len(before), *[[2]] * (len(stamps) - len(before))]
    assert len(before) >= 3


def test_the_path_keeps_the_newest_poses(make_graph: Make) -> None:
    graph = make_graph(path__max_poses=3)
    graph.listen("path", "pose", "status")
    graph.start()
    graph.publisher("/camera/image_raw")
    for _ in range(5):
        graph.scene()
    graph.wait(lambda: len(graph.received["pose"]) >= 5, "five poses")

    def newest() -> list[int]:
        return [stamp(message.header) for message in graph.received["pose"][-3:]]

    graph.wait(
        lambda: [stamp(p.header) for p in last(graph, "path").poses] == newest(), "the newest"
    )


def test_a_long_path_takes_a_small_share_of_the_time(
    make_graph: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5000 poses take some 100 ms to publish, and there is a new one in each period of 20 ms."""
    graph = make_graph(path__max_poses=100000)
    graph.listen("path", "status")
    graph.start()
    first = placed(1, np.eye(4))
    long = [dataclasses.replace(first) for _ in range(4999)]
    worlds = (World(segment=1, keyframes=(*long, placed(n, np.eye(4)))) for n in itertools.count(2))
    monkeypatch.setattr(Pipeline, "world", property(lambda pipeline: next(worlds)))
    assert len(last(graph, "path").poses) in (0, 5000)
    graph.received["path"].clear()
    for _ in range(30):
        graph.status()
    assert len(graph.received["path"]) <= 2


def test_pictures_of_another_place_start_a_segment(graph: Any) -> None:
    graph.publisher("/camera/image_raw")
    graph.scene()
    graph.good_image(shift=4000)
    status = graph.codes("SEGMENT_BROKEN")
    assert status.segment == 2
    graph.codes("SEGMENT_BROKEN", present=False)


def test_every_topic_and_service_is_documented(make_graph: Make) -> None:
    graph = make_graph(tf__publish=True)
    graph.start()
    graph.wait(lambda: graph.client.count_publishers("/tf"), "the node's publishers")
    node = graph.node
    topics = dict(node.get_publisher_names_and_types_by_node("g2vlm", "/"))
    topics |= dict(node.get_service_names_and_types_by_node("g2vlm", "/"))
    ours = {
        name.replace("/g2vlm/", "~/").partition("/_action/")[0]
        for name, (kind, *_) in topics.items()
        if not kind.startswith(("lifecycle_msgs", "rcl_interfaces", "type_description"))
    }
    assert {"~/points", "~/query", "~/ask", "/tf"} <= ours
    for page in ("docs/node.md", "README.md"):
        text = (REPO / page).read_text(encoding="utf-8")
        told = {name for name in ours if page == "docs/node.md" or UP_TO_SCALE not in name}
        assert not [name for name in told if f"`{name}`" not in text], page


def test_no_transform_unless_asked_for(graph: Any) -> None:
    assert graph.client.count_publishers("/tf") == 0


def test_status_and_diagnostics_agree(graph: Any) -> None:
    graph.publisher("/camera/image_raw")
    graph.scene()
    status = graph.status(lambda s: s.scenes == 1)
    assert status.frames_received == 2
    assert status.frames_used == 2
    assert status.frames_dropped == 0
    assert status.latency_ms > 0
    assert status.runtime == "scripted"
    assert status.scale_source == "none"
    assert not status.is_metric
    assert np.isnan(status.scale_sigma)

    def values() -> dict[str, str]:
        entry = graph.diagnostics[-1].status[0] if graph.diagnostics else None
        return {} if entry is None else {pair.key: pair.value for pair in entry.values}

    graph.wait(lambda: values().get("scenes") == "1", "diagnostics of the scene")
    entry = graph.diagnostics[-1].status[0]
    names = [status.name for status in graph.diagnostics[-1].status]
    tasks = ("scene", "map", "image topic status", "dense map", "cameras")
    wanted = [f"g2vlm: {task}" for task in tasks]
    assert names == wanted
    assert {status.hardware_id for status in graph.diagnostics[-1].status} == {entry.hardware_id}


def test_every_picture_is_used_or_dropped(make_graph: Make) -> None:
    graph = make_graph(window__size=4, window__overlap=1)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    graph.scene()
    graph.runtime.observe_gate.clear()  # the model hangs: newer keyframes win
    for _ in range(12):
        graph.good_image()
    graph.good_image(shift=0)  # shows nothing new
    graph.runtime.observe_gate.set()
    board, pipeline = graph.board, graph.node.pipeline

    def balanced() -> bool:
        accounted = board.used + sum(board.drops.values()) + pipeline.pending_frames
        return bool(board.received == accounted)

    graph.wait(balanced, "received = used + dropped + waiting")
    assert board.drops["superseded"] > 0
    assert board.drops["not_keyframe"] == 1
    graph.wait(lambda: len(graph.runtime.windows) >= 3, "the window after the hang")
    last_window = [frame.key for frame in graph.runtime.windows[-1].frames]
    before = [frame.key for frame in graph.runtime.windows[-2].frames]
    assert set(last_window) & set(before)
