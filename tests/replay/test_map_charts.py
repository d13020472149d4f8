# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The charts of the map: they are drawn from what a run leaves, however little that is."""

from __future__ import annotations

import re

import numpy as np
import pytest
from g2vlm_replay.kept import furthest_move
from g2vlm_replay.map_charts import (
    PathsShown,
    change_chart,
    occupancy_chart,
    path_chart,
    scale_chart,
    trajectory_chart,
)
from g2vlm_replay.map_metrics import FinalMap, MapSegment, ScaleSample, score_map
from g2vlm_replay.pose_metrics import PoseSegment

from g2vlm_map.dense.occupancy import FREE, OCCUPIED, UNKNOWN, Grid
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe
from g2vlm_map.world import World
from tests.replay.test_map_metrics import arc, in_map_units, stamps, truth_of


def is_svg(content: bytes) -> bool:
    return re.search(rb"<svg .*</svg>\s*$", content, re.DOTALL) is not None


@pytest.mark.parametrize("count", [2, 30])
def test_a_path_without_a_truth_is_drawn(count: int) -> None:
    assert is_svg(path_chart([PoseSegment(1, stamps(count), arc(count))], "map units"))


def test_paths_lie_on_the_truth() -> None:
    true = arc(20)
    final = FinalMap((MapSegment(PoseSegment(1, stamps(20), in_map_units(true))),))
    report = score_map(final, [], truth_of(true))
    assert report.poses is not None
    segments = report.poses.segments
    assert is_svg(trajectory_chart(PathsShown(segments, segments)))
    positions = [segment.T_world_cam_M44[:, :3, 3] for segment in segments]
    assert is_svg(change_chart([positions[0] + 0.3], positions, true[:, :3, 3], "m"))
    assert is_svg(change_chart(positions, positions, None, "map units"))


@pytest.mark.parametrize("carried", [True, False])
def test_a_scale_is_drawn_with_its_band(carried: bool) -> None:
    samples = [
        ScaleSample(10**9 * i, 1, carried and i > 3, 1.2, float("inf") if i < 2 else 0.5 / i)
        for i in range(9)
    ]
    assert is_svg(scale_chart(samples, 1.25))
    assert is_svg(scale_chart(samples, None))


def test_occupancy_is_drawn_with_the_way() -> None:
    cells = np.array([[UNKNOWN, FREE], [OCCUPIED, FREE]], np.int8)
    way = np.array([[-0.98, 2.02], [-0.94, 2.06]])
    shown = Grid(0.05, (-1.0, 2.0), cells)
    drawn = [occupancy_chart(shown, way, loops) for loops in (way[None], np.empty((0, 2, 2)))]
    assert all(is_svg(chart) for chart in drawn)
    assert drawn[0] != drawn[1]


def test_the_furthest_move_is_that_of_a_keyframe_in_both() -> None:
    def world(*places: tuple[int, float]) -> World:
        made = []
        for number, x in places:
            T = np.eye(4)
            T[0, 3] = x
            keyframe = Keyframe(number, number, str(number), (), {})
            made.append(PlacedKeyframe(keyframe, T, 0.0, np.eye(6), 1))
        return World(keyframes=tuple(made))

    assert furthest_move(world((1, 0.0), (2, 1.0)), world((1, 0.1), (2, 1.4), (3, 9.0))) == (
        pytest.approx(0.4)
    )
    assert furthest_move(World(), world((1, 0.0))) == 0.0
