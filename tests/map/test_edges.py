# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges between keyframes: what matches and depths say, and what they cannot say."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.mapping.edges import pair_seed, verified_edge
from g2vlm_map.mapping.features import Features, match
from g2vlm_map.mapping.keyframe import Edge, Keyframe
from g2vlm_map.mapping.options import EdgeOptions, FeatureOptions
from g2vlm_map.scale.estimate import ScaleEstimate
from tests.map.keyframes_made import Points, pose, turn_between_deg

FEATURES, EDGES = FeatureOptions(), EdgeOptions()
HERE = pose((0, 0, 0), (0, 0, 0))
THERE = pose((2, -6, 1), (0.4, 0.05, 0.1))
ONE_METRE = ScaleEstimate(metric=True, sigma=0.02)


def edge_of(i: Keyframe, j: Keyframe, **change: int) -> Edge:
    found = verified_edge(i, j, FEATURES, replace(EDGES, **change))
    assert found is not None
    return found


def test_an_edge_has_the_true_pose_and_the_length_of_the_depths() -> None:
    world = Points()
    edge = edge_of(world.keyframe(3, HERE), world.keyframe(7, THERE, outliers=0.3))
    assert (edge.i, edge.j, edge.kind) == (3, 7, "visual")
    assert turn_between_deg(edge.T_i_j, THERE) < 0.3
    np.testing.assert_allclose(edge.T_i_j[:3, 3], THERE[:3, 3], atol=0.02)
    assert edge.inliers > 100
    assert edge.parallax_deg == pytest.approx(5.0, abs=2.0)


def test_wrong_depths_are_weighed_and_the_scales_of_the_keyframes_count() -> None:
    world = Points()
    i, j = world.keyframe(1, HERE), world.keyframe(2, THERE, depth_factor=1.44)
    edge = edge_of(i, j)
    length = np.linalg.norm(edge.T_i_j[:3, 3]) / np.linalg.norm(THERE[:3, 3])
    assert length == pytest.approx(1.2, rel=0.03), "the middle of the two, in logs"
    assert 0.1 < edge.sigma_log_length < 0.2, "a depth is biased by more than its scatter"
    corrected = verified_edge(i, j, FEATURES, EDGES, log_depth_scales=(0.0, -math.log(1.44)))
    assert corrected is not None
    np.testing.assert_allclose(corrected.T_i_j[:3, 3], THERE[:3, 3], atol=0.02)
    assert edge.tracks is not None
    ratio = edge.tracks.log_ratio_2[1] - edge.tracks.log_ratio_2[0]
    assert ratio == pytest.approx(math.log(1.44), abs=0.03)


def test_a_track_holds_the_depth_at_unit_length_in_both_cameras() -> None:
    world = Points()
    i, j = world.keyframe(1, HERE, noise_px=0), world.keyframe(2, THERE, noise_px=0)
    tracks = edge_of(i, j).tracks
    assert tracks is not None
    length = np.linalg.norm(THERE[:3, 3])
    for side, (keyframe, T) in enumerate(((i, HERE), (j, THERE))):
        view = keyframe.views[0]
        pixel = view.feature_F2[tracks.feature_K2[:, side]]
        ray = np.c_[pixel, np.ones(len(pixel))] @ np.linalg.inv(view.K_image).T
        depth = np.exp(tracks.log_depth_K2[:, side]) * length
        points = ray * depth[:, None] @ T[:3, :3].T + T[:3, 3]
        good = np.isfinite(depth)
        assert good.mean() > 0.9
        distance = np.linalg.norm(points[good, None] - world.points[None], axis=2).min(axis=1)
        assert np.median(distance) < 0.01


def test_the_sigma_of_an_edge_is_that_of_its_errors() -> None:
    """Never above 1 by much in a perfect pinhole camera; the floors are for what real ones add."""
    turns, directions = [], []
    for seed in range(12):
        world = Points(seed=seed)
        i, j = (world.keyframe(k, T, noise_px=1.0) for k, T in ((1, HERE), (2, THERE)))
        edge = edge_of(i, j)
        turn = math.radians(turn_between_deg(edge.T_i_j, THERE))
        unit = [T[:3, 3] / np.linalg.norm(T[:3, 3]) for T in (edge.T_i_j, THERE)]
        sine = float(np.linalg.norm(np.cross(*unit)))
        turns.append((turn / edge.sigma_rotation) ** 2 / 3)
        directions.append((math.asin(sine) / edge.sigma_direction) ** 2 / 2)
    assert 0.001 < np.mean(turns) < 2.0, turns
    assert 0.001 < np.mean(directions) < 2.0, directions


def test_a_turn_on_the_spot_is_a_rotation_and_no_more() -> None:
    world = Points()
    turned = pose((0, 8, 0), (0.001, 0, 0))
    edge = edge_of(world.keyframe(1, HERE), world.keyframe(2, turned))
    assert edge.parallax_deg < 0.4
    assert turn_between_deg(edge.T_i_j, turned) < 0.2
    assert math.isinf(edge.sigma_direction)
    assert math.isinf(edge.sigma_log_length)
    assert edge.tracks is None
    np.testing.assert_array_equal(edge.T_i_j[:3, 3], 0)


def test_other_places_and_keyframes_without_features_give_no_edge() -> None:
    world, other = Points(seed=1), Points(seed=2)
    one = world.keyframe(1, HERE)
    assert verified_edge(one, other.keyframe(2, THERE), FEATURES, EDGES) is None
    bare = replace(
        one.views[0],
        feature_F2=np.zeros((0, 2), np.float32),
        descriptor_FE=np.zeros((0, 128), np.uint8),
    )
    assert verified_edge(one, replace(one, number=2, views=(bare,)), FEATURES, EDGES) is None
    strict = replace(EDGES, min_inliers=10_000)
    assert verified_edge(one, world.keyframe(2, THERE), FEATURES, strict) is None


def test_keyframes_without_depth_still_know_rotation_and_direction() -> None:
    world = Points()
    i, j = world.keyframe(1, HERE), world.keyframe(2, THERE)
    blind = [
        replace(k, views=(replace(k.views[0], depth_HW=np.zeros_like(k.views[0].depth_HW)),))
        for k in (i, j)
    ]
    edge = edge_of(*blind)
    assert math.isinf(edge.sigma_log_length)
    assert edge.sigma_direction < 0.1
    assert turn_between_deg(edge.T_i_j, THERE) < 0.3


def test_the_same_pair_gives_the_same_edge_and_a_seed_may_change_it() -> None:
    def run(seed: int) -> Edge:
        world = Points(seed=4)
        i, j = world.keyframe(1, HERE), world.keyframe(2, THERE, noise_px=1.0, outliers=0.5)
        return edge_of(i, j, seed=seed)

    np.testing.assert_array_equal(run(0).T_i_j, run(0).T_i_j)
    assert len({pair_seed(seed, 1, 2) for seed in range(5)}) == 5
    assert pair_seed(0, 1, 2) != pair_seed(0, 2, 1)


def test_another_camera_of_the_rig_says_how_the_body_turned() -> None:
    """The reference camera sees nothing; the one that looks to the right does."""
    world = Points(low=(3.0, -2.0, -3.0), high=(7.0, 2.0, 3.0))
    right = pose((0, 90, 0), (0.1, 0, 0))
    keyframes = []
    for number, T_world_body in ((1, HERE), (2, THERE)):
        side = world.view(T_world_body @ right, camera="right", T_body_cam=right)
        ahead = world.view(T_world_body)
        assert len(ahead.feature_F2) < 20
        keyframes.append(Keyframe(number, number, str(number), (ahead, side), {}))
    edge = edge_of(*keyframes)
    assert turn_between_deg(edge.T_i_j, THERE) < 0.3
    assert math.isinf(edge.sigma_direction), "the lever arm is in metres"


@pytest.mark.parametrize("metres", [1.0, 2.5])
def test_a_camera_on_a_lever_says_how_the_body_moved_where_the_scale_is_known(
    metres: float,
) -> None:
    """The rig turns by 10 degrees about a point beside it: the camera swings, the body stays."""
    lever = np.array([1.5, 0.0, 0.4])  # metres
    right = pose((0, 90, 0), (lever / metres).tolist())  # map units, where the points are
    turned = pose((0, 10, 0), (0.4, 0.05, 0.1))
    world = Points(low=(4.0, -2.0, -3.0), high=(8.0, 2.0, 3.0), count=1500)
    known = right.copy()
    known[:3, 3] = lever
    i, j = (
        Keyframe(
            *(number, number, str(number)),
            (world.view(T), world.view(T @ right, camera="right", T_body_cam=known)),
            {},
        )
        for number, T in ((1, HERE), (2, turned))
    )
    scale = ScaleEstimate(metric=True, log_scale=math.log(metres), sigma=0.02)
    edge = verified_edge(i, j, FEATURES, EDGES, scale=scale)
    assert edge is not None
    off = edge.T_i_j[:3, 3] - turned[:3, 3]
    np.testing.assert_allclose(off, 0, atol=0.04)
    assert math.isfinite(edge.sigma_direction)
    length = float(np.linalg.norm(turned[:3, 3]))
    assert np.linalg.norm(off) < 3 * length * math.hypot(
        edge.sigma_direction, edge.sigma_log_length
    )
    blind = verified_edge(i, j, FEATURES, EDGES)
    assert blind is not None
    assert math.isinf(blind.sigma_direction), "nobody knows how long the lever is in map units"


def side_edge(
    late_s: tuple[float, float], apart_s: float = 0.5, scale: ScaleEstimate = ONE_METRE
) -> Edge | None:
    """Of a camera that looks right and exposes late, on a rig in a steady turn past points.

    Args:
        late_s: After the first and the second keyframe.
        apart_s: Between the keyframes.
        scale: That the lever comes in by.
    """
    world = Points(low=(4.0, -2.0, -3.0), high=(8.0, 2.0, 3.0), count=1500)
    right = pose((0, 90, 0), (0.5, 0, 0.2))
    keyframes = []
    for number, start_s in ((1, 0.0), (2, apart_s)):
        seen_s = start_s + late_s[number - 1]
        side = world.view(steady(seen_s) @ right, camera="right", T_body_cam=right)
        views = (world.view(steady(start_s)), replace(side, stamp_ns=round(seen_s * 1e9)))
        keyframes.append(Keyframe(number, round(start_s * 1e9), str(number), views, {}))
    return verified_edge(keyframes[0], keyframes[1], FEATURES, EDGES, scale=scale)


def steady(at_s: float) -> NDArray[np.float64]:
    return pose((0, -8.0 * at_s, 0), (0.1 * at_s, 0, 0.6 * at_s))


@pytest.mark.parametrize("late_s", [(0.0, 0.1), (0.1, 0.0), (0.1, 0.1), (-0.1, 0.1), (0.0, 0.004)])
def test_a_camera_that_exposes_at_other_times_tells_of_the_step_of_the_keyframes(
    late_s: tuple[float, float],
) -> None:
    edge = side_edge(late_s)
    assert edge is not None
    step = steady(0.5)
    assert turn_between_deg(edge.T_i_j, step) < 0.4
    off = float(np.linalg.norm(edge.T_i_j[:3, 3] - step[:3, 3]))
    assert off < 0.04, "of 0.3"
    aside = sum(map(abs, late_s)) / 0.5
    assert edge.tracks is None
    if aside > 0.1:
        assert edge.sigma_log_length > aside
        assert edge.sigma_rotation > aside * math.radians(turn_between_deg(np.eye(4), step))
    else:
        assert edge.sigma_log_length < 0.2


@pytest.mark.parametrize(
    ("late_s", "apart_s"), [((0.0, 0.1), 3.0), ((0.15, 0.0), 0.15), ((0.2, 0.0), 0.1)]
)
def test_what_says_nothing_of_the_keyframes_step_is_no_edge(
    late_s: tuple[float, float], apart_s: float
) -> None:
    """Too long for the motion to be steady; both views at one instant; views in another order."""
    assert side_edge(late_s, apart_s) is None


def test_descriptors_of_two_detectors_are_told_apart() -> None:
    places = np.zeros((4, 2), np.float32)
    i = Features(places, np.zeros((4, 128), np.uint8), 1.0, (9, 9))
    j = Features(places, np.zeros((4, 32), np.uint8), 1.0, (9, 9))
    with pytest.raises(ValueError, match="different detectors"):
        match(i, j, 0.8)
