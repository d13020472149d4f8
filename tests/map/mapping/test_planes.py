# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures of a wall: of the two poses that explain all matches the right one must be taken."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.mapping.edges import verified_edge
from g2vlm_map.mapping.features import features_of
from g2vlm_map.mapping.keyframe import Edge, Keyframe
from g2vlm_map.mapping.options import EdgeOptions, FeatureOptions
from g2vlm_map.mapping.planes import off_plane
from g2vlm_map.mapping.two_view import PairGeometry, two_view
from tests.map.keyframes_made import Points, pose, turn_between_deg

FEATURES, EDGES = FeatureOptions(), EdgeOptions()
HERE = pose((0, 0, 0), (0, 0, 0))
AROUND = pose((0, 30, 0), (-2.5, 0.2, 0.7))  # a quarter of the way round what it looks at
SEEDS = range(8)


def wall(seed: int, thickness_m: float = 0.0) -> Points:
    world = Points(low=(-2.5, -1.6, 0.0), high=(2.5, 1.6, thickness_m + 1e-6), seed=seed)
    world.points = world.points @ pose((0, 15, 0), (0, 0, 0))[:3, :3].T + (0, 0, 5)
    return world


def pictures(seed: int, thickness_m: float = 0.0) -> tuple[Keyframe, Keyframe]:
    world = wall(seed, thickness_m)
    return world.keyframe(1, HERE, noise_px=0.4), world.keyframe(2, AROUND, noise_px=0.4)


def pair_of(i: Keyframe, j: Keyframe, seed: int = 0) -> PairGeometry:
    views = (i.views[0], j.views[0])
    a, b = (features_of(view, FEATURES) for view in views)
    pair = two_view(a, b, views[0].K_image, views[1].K_image, FEATURES, seed)
    assert pair is not None
    return pair


def blind(keyframe: Keyframe) -> Keyframe:
    """Without depth."""
    view = keyframe.views[0]
    return replace(keyframe, views=(replace(view, depth_HW=np.zeros_like(view.depth_HW)),))


def edge_of(i: Keyframe, j: Keyframe, guess: np.ndarray | None = None) -> Edge:
    edge = verified_edge(i, j, FEATURES, EDGES, guess=guess)
    assert edge is not None
    return edge


def test_a_wall_allows_two_poses_and_one_of_them_is_right() -> None:
    wrong = 0
    for seed in SEEDS:
        pair = pair_of(*pictures(seed), seed)
        assert len(pair.rivals) >= 1
        turns = [turn_between_deg(one.R_i_j, AROUND) for one in (pair, *pair.rivals)]
        assert min(turns) < 1.5
        assert max(turns) > 10
        wrong += turns[0] > 10
    assert wrong, "matches alone never err: then nothing here tests a choice"


def test_depth_tells_which_pose_is_right() -> None:
    for seed in SEEDS:
        edge = edge_of(*pictures(seed))
        assert turn_between_deg(edge.T_i_j, AROUND) < 1.5
        assert edge.sigma_rotation < 0.05


def test_neighbours_tell_where_depth_does_not() -> None:
    off = AROUND @ pose((1, -2, 1), (0.1, 0, 0))
    for seed in SEEDS:
        i, j = (blind(keyframe) for keyframe in pictures(seed))
        assert turn_between_deg(edge_of(i, j, guess=off).T_i_j, AROUND) < 1.5


def test_where_nothing_tells_an_edge_says_how_far_the_poses_are_apart() -> None:
    for seed in SEEDS:
        i, j = (blind(keyframe) for keyframe in pictures(seed))
        edge = edge_of(i, j)
        error = math.radians(turn_between_deg(edge.T_i_j, AROUND))
        assert edge.sigma_rotation > max(error, math.radians(10)) / 1.5


@pytest.mark.parametrize("thickness_m", [2.0, 4.0])
def test_what_is_no_plane_has_no_rival(thickness_m: float) -> None:
    for seed in SEEDS:
        pair = pair_of(*pictures(seed, thickness_m), seed)
        assert pair.rivals == ()
        assert turn_between_deg(pair.R_i_j, AROUND) < 1.5


def test_what_lies_off_a_plane_is_counted() -> None:
    rng = np.random.default_rng(2)
    ray = np.c_[rng.uniform(-0.6, 0.6, (120, 2)), np.ones(120)]
    floor = 1.5 / (0.9 - 0.5 * ray[:, 0] - 0.4 * ray[:, 1])
    floor *= np.exp(rng.normal(0, 0.01, 120))
    assert off_plane(ray, floor) < 4
    floor[:30] *= rng.uniform(1.3, 2.0, 30)
    assert 25 <= off_plane(ray, floor) <= 34
    floor[:15] = np.nan
    assert 12 <= off_plane(ray, floor) <= 20, "what has no depth lies as the others do"
    assert off_plane(ray, np.full(120, np.nan)) == 120, "nothing is known of them"


def test_pure_rotation_has_no_rival() -> None:
    """Of a camera that only turned every scene is a plane, and the rotation is sure."""
    world = Points()
    turned = pose((0, 8, 0), (0, 0, 0))
    pair = pair_of(world.keyframe(1, HERE), world.keyframe(2, turned))
    assert pair.rivals == ()
    assert turn_between_deg(pair.R_i_j, turned) < 0.2
