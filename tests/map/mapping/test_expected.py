# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Patterns that repeat: what is followed from picture to picture is not taken for its neighbour."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.keyframes import PictureTracks, Reference
from g2vlm_map.mapping.edges import verified_edge
from g2vlm_map.mapping.expected import carried
from g2vlm_map.mapping.keyframe import Keyframe, View
from g2vlm_map.mapping.options import EdgeOptions, FeatureOptions
from tests.map.keyframes_made import K, Points, pose

FEATURES, EDGES = FeatureOptions(), EdgeOptions()
HERE = pose((0, 0, 0), (0, 0, 0))
AHEAD = pose((0.5, 1.0, 0), (0.05, 0, 0.9))
PERIOD_M = 1.6  # of a pattern along the way: the camera does more than half of it


def tracks_of(points: np.ndarray, T: np.ndarray, rng: np.random.Generator) -> PictureTracks:
    """What a tracker of small pictures says of the way from HERE to T."""
    ends = []
    for T_world_cam in (HERE, T):
        local = (points - T_world_cam[:3, 3]) @ T_world_cam[:3, :3]
        ends.append(((local @ K.T)[:, :2] / local[:, 2:] + 0.5) / (80, 60))
    start, end = ends
    kept = ((start > 0) & (start < 1) & (end > 0) & (end < 1)).all(axis=1)
    noise = rng.normal(0, 0.3 / 160, (int(kept.sum()), 2))
    return PictureTracks(0, start[kept], end[kept] + noise)


def slipped(world: Points, share: float) -> Keyframe:
    """A keyframe at AHEAD in which much of the pattern shows its next period in its place."""
    moved = world.rng.random(len(world.points)) < share
    true = world.points.copy()
    world.points = world.points + np.where(moved[:, None], (0.0, 0.0, PERIOD_M), 0.0)
    seen: View = world.keyframe(2, AHEAD).views[0]
    world.points = true
    depth = world.keyframe(2, AHEAD).views[0].depth_HW
    return Keyframe(2, 2 * 10**9, "2", (replace(seen, depth_HW=depth),), {})


def direction_off_deg(T: np.ndarray) -> float:
    ways = [one[:3, 3] / np.linalg.norm(one[:3, 3]) for one in (T, AHEAD)]
    return math.degrees(math.acos(float(np.clip(ways[0] @ ways[1], -1, 1))))


@pytest.mark.parametrize("seed", range(4))
def test_a_pattern_that_slipped_a_period_is_no_match(seed: int) -> None:
    world = Points(count=900, low=(-3, -2, 3), high=(3, 2, 9), seed=seed)
    i, j = world.keyframe(1, HERE), slipped(world, 0.7)
    free = verified_edge(i, j, FEATURES, EDGES)
    assert free is not None
    assert direction_off_deg(free.T_i_j) > 90, "matches alone do not err: nothing is tested"
    tracks = tracks_of(world.points[:80], AHEAD, world.rng)
    led = verified_edge(i, j, FEATURES, EDGES, tracks=[tracks])
    assert led is not None
    assert direction_off_deg(led.T_i_j) < 10
    foreseen = verified_edge(i, j, FEATURES, EDGES, guess=AHEAD @ pose((0, 1, 0), (0.1, 0, 0.1)))
    assert foreseen is not None
    assert direction_off_deg(foreseen.T_i_j) < 10


def test_where_all_matches_contradict_what_led_there_is_no_edge() -> None:
    world = Points(count=900, low=(-3, -2, 3), high=(3, 2, 9), seed=1)
    i, j = world.keyframe(1, HERE), slipped(world, 0.99)
    assert verified_edge(i, j, FEATURES, EDGES) is not None
    assert verified_edge(i, j, FEATURES, EDGES, guess=AHEAD) is None


def test_places_are_carried_along_several_steps() -> None:
    rng = np.random.default_rng(0)
    place = rng.uniform(0.2, 0.8, (50, 2))
    steps = [PictureTracks(k, start, start + shift) for k, (start, shift) in enumerate(
        (rng.uniform(0, 1, (60, 2)), np.array(shift)) for shift in ((0.02, 0.0), (0.0, -0.03))
    )]  # fmt: skip
    np.testing.assert_allclose(carried(place, steps) - place, [[0.02, -0.03]] * 50, atol=1e-6)


def test_a_pattern_that_moves_by_more_than_its_period_is_followed() -> None:
    """Stripes of 16 pixels that go 6 pixels a picture: after five of them 30, and not -2 or 14."""
    column = np.arange(160)
    rows = np.random.default_rng(1).uniform(0.7, 1.0, (120, 1))

    def stripes(shift: float) -> np.ndarray:
        wave = 128 + 90 * np.sin(2 * np.pi * (column - shift) / 16)
        checked = wave[None] * np.where((np.arange(120) // 8 % 2)[:, None], rows, 0.4)
        return checked.clip(0, 255).astype(np.uint8)

    followed, jumped = Reference(stripes(0), 7), Reference(stripes(0), 7)
    for step in range(1, 6):
        motion = followed.motion_to(stripes(6.0 * step))
    assert motion.tracks is not None
    assert motion.tracks.since_ns == 7
    went = (motion.tracks.end_M2 - motion.tracks.start_M2)[:, 0] * 160
    assert np.median(went) == pytest.approx(30, abs=1.0)
    assert motion.movement == pytest.approx(30 / 160, abs=0.01)
    assert jumped.motion_to(stripes(30.0)).movement < 0.1, "one look does not tell periods apart"
