# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The path in metres by measured depth at features that edges follow, good and bad."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe
from g2vlm_map.poses import Floats
from g2vlm_map.scale.fusion import Opinion, together
from g2vlm_map.scale.kinds import KINDS
from g2vlm_map.scale.readings import Measured
from g2vlm_map.scale.sources import ranged_path
from g2vlm_map.scale.sources.metric_step import MetricStep
from g2vlm_map.scale.sources.ranged_path import RangedPath
from g2vlm_map.scale.sources.sight import Sight
from tests.map.scale.made import (
    METRES_PER_UNIT,
    SIZE,
    T_BASE_CAM,
    Drive,
    base_pose,
    edges_back,
    room_depth,
    tracked_edge,
)

KEYFRAMES = 16
Points = tuple[Floats, Floats]


def seen_from(number: int, rows: int = SIZE[0]) -> Points:
    """True depth of a keyframe at all pixels of some rows."""
    depth = room_depth(base_pose(number) @ T_BASE_CAM)
    kept = np.linspace(2, SIZE[0] - 3, rows).astype(int)
    row, column = (grid.ravel() for grid in np.meshgrid(kept, np.arange(SIZE[1]), indexing="ij"))
    return np.stack((column, row), axis=1).astype(np.float64), depth[row, column]


def followed(
    points_of: list[Points | None],
    edges_of: list[tuple[Edge, ...]] | None = None,
    *,
    depth_bias: float = 0.0,
    log_metric: float | None = None,
    goes_on: bool = False,
) -> list[Measured]:
    """Chords of a path along `base_pose`, one keyframe for each element, or the open ones."""
    drive, path, made = Drive(depth_bias=depth_bias), RangedPath("range"), []
    placed: dict[int, PlacedKeyframe] = {}
    for number, points in enumerate(points_of):
        T_world_cam = base_pose(number) @ T_BASE_CAM
        view = drive.view(number, T_world_cam)
        T_map_body = T_world_cam.copy()
        T_map_body[:3, 3] /= METRES_PER_UNIT
        keyframe = Keyframe(number, view.stamp_ns, f"k{number}", (view,), {})
        placed[number] = PlacedKeyframe(keyframe, T_map_body, 0.0, np.zeros((6, 6)), 1)
        edges = edges_back(number) if edges_of is None else edges_of[number]
        made += path.add(Sight(placed[number], placed, {}, edges), points, log_metric)
    return [chord for chord in made if chord.open == goes_on]


def errors(chords: list[Measured]) -> Floats:
    """Log of each chord over the true one."""
    true = [
        np.linalg.norm(
            (base_pose(one.keyframe) @ T_BASE_CAM - base_pose(one.start) @ T_BASE_CAM)[:3, 3]
        )
        for one in chords
    ]
    return np.array([one.log_metric for one in chords]) - np.log(true)


@pytest.mark.parametrize("rows", [SIZE[0], 12])
def test_chords_are_as_long_as_the_way_whatever_the_models_depth(rows: int) -> None:
    points = [seen_from(number, rows) for number in range(KEYFRAMES)]
    for bias in (0.0, 0.5):
        chords = followed(list(points), depth_bias=bias)
        assert len(chords) == (KEYFRAMES - 1) // 3
        assert all(one.source == "range_path" for one in chords)
        assert np.abs(errors(chords)).max() < 0.05
        assert np.abs(errors(chords).mean()) < 0.02
        assert all(0.03 <= one.sigma < 0.15 for one in chords)


def test_chords_follow_upon_each_other() -> None:
    chords = followed([seen_from(number) for number in range(KEYFRAMES)])
    for before, after in pairwise(chords):
        assert before.keyframe == after.start
        assert before.ends_23 is not None
        assert after.ends_23 is not None
        np.testing.assert_array_equal(before.ends_23[1], after.ends_23[0])


def test_a_chord_is_open_until_it_ends() -> None:
    """Each keyframe on the way is told of with those before it, and where the camera was."""
    points = [seen_from(number) for number in range(KEYFRAMES)]
    ends = followed(list(points))
    open_ones = followed(list(points), goes_on=True)
    assert {one.keyframe for one in open_ones} == set(range(1, KEYFRAMES)) - {
        one.keyframe for one in ends
    }
    for one in open_ones:
        assert [number for number, _ in one.between] == list(range(one.start + 1, one.keyframe))
        assert one.ends_23 is not None
        way = float(np.linalg.norm(one.ends_23[1] - one.ends_23[0]))
        true = (base_pose(one.keyframe) @ T_BASE_CAM - base_pose(one.start) @ T_BASE_CAM)[:3, 3]
        assert way == pytest.approx(float(np.linalg.norm(true)), rel=0.06)


def test_gross_ranges_do_not_lengthen_the_way() -> None:
    rng = np.random.default_rng(1)
    points = []
    for number in range(KEYFRAMES):
        pixel, depth = seen_from(number)
        gross = rng.random(len(depth)) < 0.15
        points.append((pixel, np.where(gross, depth * rng.uniform(0.1, 4.0, len(depth)), depth)))
    assert np.abs(errors(followed(list(points)))).max() < 0.06


def test_one_factor_for_the_whole_depth_is_enough() -> None:
    """A marker, or a rig, says how much a keyframe's depth is off, and not where."""
    chords = followed(
        [None] * KEYFRAMES, depth_bias=0.3, log_metric=float(np.log(METRES_PER_UNIT)) - 0.3
    )
    assert len(chords) == (KEYFRAMES - 1) // 3
    assert np.abs(errors(chords)).max() < 0.05


def test_nothing_is_said_without_depth_or_without_edges() -> None:
    assert followed([None] * KEYFRAMES) == []
    points = [seen_from(number) for number in range(KEYFRAMES)]
    assert followed(list(points), [()] * KEYFRAMES) == []
    nan = [(pixel, np.full(len(depth), np.nan)) for pixel, depth in points]
    assert followed(list(nan)) == []


def test_a_gap_is_bridged_by_edges_that_span_it_and_else_breaks_the_path() -> None:
    points: list[Points | None] = [seen_from(number) for number in range(KEYFRAMES)]
    points[6] = None  # the depth at the other end of its edges is known
    assert len(followed(points)) == (KEYFRAMES - 1) // 3
    edges = [edges_back(number) if number != 8 else () for number in range(KEYFRAMES)]
    edges[9:] = [
        tuple(edge for edge in edges_back(number) if edge.i >= 8) for number in range(9, KEYFRAMES)
    ]
    chords = followed(points, edges)
    assert all(not one.start < 8 <= one.keyframe for one in chords)
    assert np.abs(errors(chords)).max() < 0.05


def test_a_keyframe_whose_edges_contradict_each_other_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Matches a period of a pattern off fit well, and each edge says another way."""
    measured = ranged_path._step

    def step(edge: Edge, *rest: Any) -> MetricStep | None:
        found = measured(edge, *rest)
        if edge.j != 8 or found is None:
            return found
        T = found.T_i_j.copy()
        T[:3, 3] *= 1.0 - 0.3 * (edge.j - edge.i)
        return replace(found, T_i_j=T)

    monkeypatch.setattr(ranged_path, "_step", step)
    chords = followed([seen_from(number) for number in range(KEYFRAMES)])
    assert len(chords) >= 4
    assert np.abs(errors(chords)).max() < 0.06
    known = {number for one in chords for number, _ in one.between}
    assert 7 in known
    assert 8 not in known | {one.keyframe for one in chords}


def test_a_keyframe_whose_ranges_are_all_wrong_is_left_out() -> None:
    """Millimetres for once, or another factor: the depths of its edges' ends contradict it."""
    points = [seen_from(number) for number in range(KEYFRAMES)]
    for wrong in (5, 11):
        points[wrong] = points[wrong][0], 2.5 * points[wrong][1]
    chords = followed(list(points))
    assert len(chords) >= 4
    assert np.abs(errors(chords)).max() < 0.05


def test_where_nothing_moved_the_way_is_none() -> None:
    """Edges without parallax: the robot stands, and no chord grows out of their noise."""
    still = [
        tuple(
            replace(edge, T_i_j=np.eye(4), sigma_direction=np.inf, parallax_deg=0.1, tracks=None)
            for edge in edges_back(number)
        )
        for number in range(40)
    ]
    assert followed([seen_from(0)] * 40, still) == []


def test_an_edge_of_another_camera_of_the_rig_says_nothing_of_the_reference() -> None:
    def beside(edge: Edge) -> Edge:
        assert edge.tracks is not None
        return replace(edge, tracks=replace(edge.tracks, view=1))

    edges = [tuple(beside(edge) for edge in edges_back(number)) for number in range(KEYFRAMES)]
    assert followed([seen_from(number) for number in range(KEYFRAMES)], edges) == []


def test_an_exact_edge_has_the_length_of_the_way() -> None:
    """The fixture itself: what its tracks say is what the poses say."""
    edge = tracked_edge(2, 5)
    assert edge.tracks is not None
    assert edge.inliers > 50
    metres = np.linalg.norm((base_pose(5) @ T_BASE_CAM - base_pose(2) @ T_BASE_CAM)[:3, 3])
    assert np.linalg.norm(edge.T_i_j[:3, 3]) * METRES_PER_UNIT == pytest.approx(metres)


def test_two_sensors_do_not_vouch_for_each_other_through_the_same_pictures() -> None:
    """A stretch of wrong matches or of wrong depth is wrong for both; wheels are another matter."""

    def opinion(name: str) -> Opinion:
        return Opinion(KINDS[name], 0.5, 0.05, span=6)

    for first, second in (("range_path", "stereo_path"), ("range", "stereo_path")):
        assert not together([opinion(first), opinion(second)]).vouched
    assert together([opinion("range_path"), opinion("odometry")]).vouched
