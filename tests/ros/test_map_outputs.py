# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dense map on the wire: frames, stamps, units, late listeners, silence without a scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from nav_msgs.msg import OccupancyGrid
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import LaserScan, PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.world import World
from tests.map.box_world import Drive, tour
from tests.ros.test_outputs import cloud_of, stamp

Make = Callable[..., Any]
CRATE = (0.8, -0.4, 0.0, 1.2, 0.3, 0.6)
KINDS = {
    "map/points": PointCloud2,
    "map/occupancy": OccupancyGrid,
    "obstacles": PointCloud2,
    "scan": LaserScan,
    "map/graph": MarkerArray,
    "up_to_scale/map/graph": MarkerArray,
}
DENSE = ("map/points", "map/occupancy", "obstacles", "scan")
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


@pytest.fixture(scope="module")
def drive() -> Drive:
    return tour([CRATE], stops=6)


@pytest.fixture
def shown(make_graph: Make, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes an active node whose map is a given world."""

    def show(world: World) -> tuple[Any, list[World]]:
        worlds = [world]
        monkeypatch.setattr(Pipeline, "world", property(lambda pipeline: worlds[-1]))
        graph = make_graph(frames__base="base_link", dense__min_period_s=0.1, dense__sweep=False)
        graph.listen("status")
        graph.start()
        graph.publisher("/camera/image_raw")
        return graph, worlds

    return show


def listen(graph: Any, *names: str) -> dict[str, list[Any]]:
    heard: dict[str, list[Any]] = {name: [] for name in names}
    for name, taken in heard.items():
        qos = LATCHED if "map/" in name else QoSProfile(depth=10)
        graph.client.create_subscription(KINDS[name], f"/g2vlm/{name}", taken.append, qos)
    return heard


def test_points_occupancy_obstacles_and_scan_of_one_world(shown: Any, drive: Drive) -> None:
    graph, _ = shown(drive.world())
    heard = listen(graph, *DENSE)
    graph.scene()
    graph.wait(lambda: all(heard.values()), "all four outputs")
    newest = drive.placed[-1].keyframe.stamp_ns
    assert {stamp(messages[-1].header) for messages in heard.values()} == {newest}

    points = cloud_of(heard["map/points"][-1]).reshape(-1)
    assert heard["map/points"][-1].header.frame_id == "g2vlm_map"
    assert len(points) > 1000
    assert abs(points["z"].min()) < 0.02, "the floor is at 0, in metres"
    assert (points["rgb"].view(np.uint32) == 90 << 16 | 90 << 8 | 90).all()

    grid = heard["map/occupancy"][-1]
    assert grid.header.frame_id == "g2vlm_map"
    assert grid.info.resolution == pytest.approx(0.05)
    cells = np.array(grid.data, np.int8).reshape(grid.info.height, grid.info.width)
    assert set(np.unique(cells)) == {-1, 0, 100}
    front = np.array([2.8 + 0.025, 0.0])  # of the crate; the drive starts at x = -2
    at = (front - (grid.info.origin.position.x, grid.info.origin.position.y)) / 0.05
    assert cells[int(at[1]), int(at[0]) - 1 : int(at[0]) + 2].max() == 100

    obstacles = cloud_of(heard["obstacles"][-1]).reshape(-1)
    assert heard["obstacles"][-1].header.frame_id == "base_link"
    assert obstacles.dtype.names == ("x", "y", "z")
    yaw = 12 * np.sin(5.0)
    to_crate = 0.6 * np.cos(np.radians(yaw)), -0.6 * np.sin(np.radians(yaw))
    away = np.hypot(obstacles["x"] - to_crate[0], obstacles["y"] - to_crate[1])
    assert away.min() < 0.08, "the crate's front is 0.6 m ahead of the base"

    scan = heard["scan"][-1]
    assert scan.header.frame_id == "base_link"
    ahead = round((np.radians(-yaw) - scan.angle_min) / scan.angle_increment)
    assert np.nanmin(scan.ranges[ahead - 2 : ahead + 3]) == pytest.approx(0.6, abs=0.08)
    assert np.isnan(scan.ranges[0]), "nobody looks back"
    assert len(scan.ranges) == 360
    assert scan.angle_max == pytest.approx(scan.angle_min + 359 * scan.angle_increment, abs=1e-4)

    status = graph.codes("NOT_SAFETY_RATED")
    text = status.reason_texts[list(status.reason_codes).index("NOT_SAFETY_RATED")]
    assert "never let them be all" in text
    task = next(t for t in graph.diagnostics[-1].status if t.name.endswith(": dense map"))
    assert task.message == "not safety-rated"
    values = {item.key: item.value for item in task.values}
    assert 0.0 <= float(values["share of points left out"]) < 0.5
    assert values["worlds overtaken"].isdigit()


def test_who_comes_late_gets_the_newest_map_at_once(shown: Any, drive: Drive) -> None:
    graph, _ = shown(drive.world())
    first = listen(graph, "map/points")
    graph.scene()
    graph.wait(lambda: first["map/points"], "the map")
    late = listen(graph, "map/points")
    graph.wait(lambda: late["map/points"], "the latched map without another scene")
    assert late["map/points"][-1].data == first["map/points"][-1].data


def test_nothing_while_the_scale_does_not_carry_and_all_when_it_does(
    shown: Any, drive: Drive
) -> None:
    known = drive.world()
    graph, worlds = shown(replace(known, scale=replace(known.scale, metric=False)))
    heard = listen(graph, *DENSE)
    graph.scene()
    graph.spin_for(0.8)
    assert not any(heard.values())
    assert "NOT_SAFETY_RATED" not in graph.status().reason_codes
    worlds.append(replace(known, version=2))
    graph.scene()
    graph.wait(lambda: all(heard.values()), "all four outputs in metres")


def test_obstacles_without_a_base_give_a_reason(shown: Any, drive: Drive) -> None:
    graph, _ = shown(drive.world(T_base_body=None))
    heard = listen(graph, "obstacles", "map/occupancy", "map/points")
    graph.scene()
    graph.wait(lambda: heard["map/points"], "points need no base")
    status = graph.codes("BASE_UNKNOWN")
    text = status.reason_texts[list(status.reason_codes).index("BASE_UNKNOWN")]
    assert "extrinsics" in text
    assert not heard["obstacles"]
    assert not heard["map/occupancy"]


def test_it_survives_the_lifecycle_twice_round(shown: Any, drive: Drive) -> None:
    graph, worlds = shown(drive.world())
    heard = listen(graph, "obstacles")
    for version in (1, 2):
        worlds.append(drive.world(version=version))
        before = len(heard["obstacles"])
        graph.scene()
        graph.wait(lambda before=before: len(heard["obstacles"]) > before, "obstacles")
        assert graph.deactivate()
        assert graph.cleanup()
        graph.start()
        graph.publisher("/camera/image_raw")


def test_the_graph_is_keyframes_and_loops_told_when_they_changed(shown: Any, drive: Drive) -> None:
    first, last = drive.placed[0].keyframe.number, drive.placed[-1].keyframe.number
    loop = Edge(first, last, "loop", np.eye(4), 0.1, 0.1, 0.1)
    other = replace(loop, kind="visual")
    free = replace(drive.world().scale, metric=False)
    graph, worlds = shown(drive.world(edges=(loop, other), loops=1, scale=free))
    names = ("map/graph", "up_to_scale/map/graph")
    heard = listen(graph, *names)
    metric, units = (heard[name] for name in names)
    graph.scene()
    graph.wait(lambda: units, "the graph in map units")
    assert not metric
    gone, balls, lines = units[-1].markers
    assert gone.action == Marker.DELETEALL
    assert {marker.header.frame_id for marker in units[-1].markers} == {"g2vlm_map_up_to_scale"}
    assert (balls.ns, balls.type, lines.ns) == ("keyframes", Marker.SPHERE_LIST, "loops")
    assert lines.type == Marker.LINE_LIST
    assert len(balls.points) == len(drive.placed)
    assert [*lines.points] == [balls.points[0], balls.points[-1]]
    graph.scene()
    graph.spin_for(0.2)
    assert len(units) == 1, "nothing has changed"
    worlds.append(drive.world(edges=(loop,), loops=1, version=2))
    graph.scene()
    graph.wait(lambda: metric, "the graph in metres")
    assert metric[-1].markers[0].header.frame_id == "g2vlm_map"
    assert np.isfinite([p.x for p in metric[-1].markers[2].points]).all()
    graph.wait(lambda: len(units) > 1, "an end of the other")
    assert [marker.action for marker in units[-1].markers] == [Marker.DELETEALL]
    late = listen(graph, "map/graph")["map/graph"]
    graph.wait(lambda: late, "the latched graph without another scene")
    assert late[-1] == metric[-1]
