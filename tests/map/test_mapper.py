# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What moments become: keyframes, edges of all kinds, segments, places of what stands still."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.instant_runtime import wall
from g2vlm_map.mapping import making
from g2vlm_map.mapping import mapper as mapper_module
from g2vlm_map.mapping.features import Features, find_features
from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe
from g2vlm_map.mapping.making import WORKERS, FeatureSearch
from g2vlm_map.mapping.mapper import Added, Mapper
from g2vlm_map.mapping.options import FeatureOptions, MapOptions
from g2vlm_map.mapping.pass_units import PassUnits, Sighting
from g2vlm_map.mapping.sensed_edges import SensedEdges
from g2vlm_map.poses import inverse
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.samples import Samples
from g2vlm_map.sensing import Extrinsics, OdometrySample, PoseSample
from g2vlm_model.interface import Frame
from tests.map.keyframes_made import Points, pose, turn_between_deg

Floats = NDArray[np.float64]
NS = 1_000_000_000
PICTURE = np.zeros((8, 8, 3), np.uint8)
TILE = np.ones((12, 12, 1), np.uint8)
METRIC = ScaleEstimate(metric=True, log_scale=math.log(2.0), sigma=0.02)
METRES = ScaleEstimate(metric=True, log_scale=0.0, sigma=0.02)


class Walk:
    """A mapper whose keyframes are views of points; one moment a pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.samples = Samples()
        self.refused: list[str] = []
        self.sensed = SensedEdges(self.samples, "camera", self.refused.append)
        self.mapper = Mapper(MapOptions(), "camera", self.sensed)
        self.mapper.start()
        self.world = Points(1500, (-4, -2, 3), (8, 2, 8))
        self.poses: dict[str, Floats] = {}
        self.blind: set[str] = set()
        self.shrink = 1.0  # factor on the model's depth, from keyframe to keyframe
        self.moments: list[Sighting] = []
        monkeypatch.setattr(mapper_module, "make_keyframe", self._make)

    def _make(self, number: int, frames: Any, *arguments: Any) -> Keyframe:
        key = frames[0].key
        points = Points(0) if key in self.blind else self.world
        view = points.view(self.poses[key], depth_factor=self.shrink**number)
        return Keyframe(number, frames[0].stamp_ns, key, (view,), {})

    def step(
        self,
        T: Floats,
        *,
        still: bool = False,
        movement: float = 0.2,
        tracked: float = 1.0,
        blind: bool = False,
        model_x: float = 0.0,
        scale: ScaleEstimate | None = None,
        camera: str = "camera",
    ) -> Added:
        """Show the next moment, taken at T; the model says that it moved by `model_x`."""
        number = len(self.poses) + 1
        key = f"frame {number}"
        self.poses[key] = T
        if blind:
            self.blind.add(key)
        frame = Frame(PICTURE, number * NS, camera, camera, key)
        before = self.moments[-1:]
        old = [Sighting(m.frames, (0,), is_new=False) for m in before]
        new = Sighting((frame,), (len(old),), True, still, movement, tracked)
        self.moments.append(new)
        geometry = wall((0.0, model_x)[: len(old) + 1], 60, 80)
        return self.mapper.add([*old, new], geometry, scale or ScaleEstimate())

    def walk(self, count: int, start: int = 0) -> list[Added]:
        return [self.step(at(k)) for k in range(start, start + count)]


def at(k: int) -> Floats:
    return pose((0, 2.0 * (k % 3), 0), (0.25 * k, 0.02 * (k % 2), 0.03 * k))


@pytest.fixture
def walk(monkeypatch: pytest.MonkeyPatch) -> Walk:
    return Walk(monkeypatch)


def test_moments_become_keyframes_tied_to_those_before(walk: Walk) -> None:
    heard: list[PlacedKeyframe] = []
    walk.mapper.listen(heard.append)
    added = walk.walk(7)
    assert [a.placed.keyframe.number for a in added] == list(range(1, 8))
    assert [a.verified for a in added] == [0, 1, 2, 3, 3, 4, 4]
    assert not any(a.weak or a.started for a in added)
    assert {edge.kind for edge in walk.mapper.graph.edges} == {"visual"}
    assert {edge.i for edge in walk.mapper.graph.edges_of(7)} == {6, 5, 4, 2}
    assert [placed.keyframe.number for placed in heard] == list(range(1, 8))
    found = added[-1].T_map_body
    assert found is not None
    assert turn_between_deg(found, inverse(at(0)) @ at(6)) < 0.5
    np.testing.assert_allclose(found[:3, 3], at(6)[:3, 3], atol=0.1)


def test_standing_still_adds_nothing_and_slow_motion_is_followed(walk: Walk) -> None:
    walk.walk(3)
    same = walk.step(at(2), still=True, movement=0.0)
    assert (same.keyframes, same.placed.keyframe.number) == ((), 3)
    np.testing.assert_array_equal(same.T_map_body, same.placed.T_map_body)
    slow = pose((0, 4.5, 0), at(2)[:3, 3] + (0.08, 0, 0))
    aside = walk.step(slow, still=True, movement=0.04)
    assert aside.keyframes == ()
    assert len(walk.mapper.graph) == 3
    assert aside.T_map_body is not None
    np.testing.assert_allclose(aside.T_map_body[:3, 3], slow[:3, 3], atol=0.05)


def test_a_blank_wall_is_passed_by_the_models_own_pose(walk: Walk) -> None:
    walk.walk(3)
    added = walk.step(at(3), blind=True, model_x=0.3)
    assert (added.verified, added.weak, added.started) == (0, True, "")
    (edge,) = walk.mapper.graph.edges_of(4)
    assert edge.kind == "model"
    assert edge.T_i_j[0, 3] == pytest.approx(0.3, rel=0.2)
    assert edge.sigma_rotation > 0.05
    again = walk.step(at(4))
    assert again.placed.segment == 1
    assert again.verified == 2, "with the keyframes ahead of the wall"


def test_a_view_that_changed_altogether_begins_a_segment_until_it_is_met_again(walk: Walk) -> None:
    walk.walk(3)
    lost = walk.step(at(3), blind=True, tracked=0.0)
    assert "shares 20 matches" in lost.started
    assert lost.placed.segment == walk.mapper.segment == 2
    back = walk.step(at(3))
    assert back.placed.segment == walk.mapper.segment == 1
    assert back.started == ""
    assert {placed.segment for placed in walk.mapper.graph.placed} == {1, 2}


def test_after_a_restart_nothing_reaches_back(walk: Walk) -> None:
    walk.walk(3)
    assert walk.mapper.begin() == 2
    added = walk.step(at(3))
    assert added.placed.segment == 2
    assert added.started == "", "it was told with the restart"
    assert walk.mapper.graph.edges_of(4) == ()
    assert len(walk.mapper.graph) == 4
    assert walk.mapper.begin(forget=True) == 3
    assert len(walk.mapper.graph) == 0


def test_odometry_bridges_a_covered_camera(walk: Walk) -> None:
    """Base and camera lie on each other; 2 metres are one map unit."""
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    for k in range(8):
        T = at(k).copy()
        T[:3, 3] *= 2.0
        walk.samples.add(OdometrySample((k + 1) * NS, T, 0.02))
    walk.samples.add(OdometrySample(9 * NS, T, 0.02))
    for k in range(3):
        walk.step(at(k), scale=METRIC)
    kinds = [edge.kind for edge in walk.mapper.graph.edges_of(3)]
    assert sorted(kinds) == ["odometry", "visual", "visual"]
    covered = walk.step(at(3), blind=True, tracked=0.0, scale=METRIC)
    assert (covered.started, covered.placed.segment) == ("", 1)
    assert covered.weak
    np.testing.assert_allclose(covered.placed.T_map_body[:3, 3], at(3)[:3, 3], atol=0.08)
    assert walk.refused == []


def test_odometry_that_is_a_little_late_bridges_all_the_same(walk: Walk) -> None:
    """What the newest samples lead to holds the map together until the next ones are there."""
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    straight = [pose((0, 0, 0), (0.25 * k / 10, 0, 0)) for k in range(80)]
    times = [NS + k * NS // 10 for k in range(80)]
    for T, time_ns in zip(straight[:30], times[:30], strict=True):
        walk.samples.add(OdometrySample(time_ns, T, 0.02))
    for k in (0, 10, 20):
        walk.step(straight[k], scale=METRES)
    covered = walk.step(straight[30], blind=True, tracked=0.0, scale=METRES)
    assert covered.started == ""
    (guess,) = walk.mapper.graph.edges_of(4)
    assert guess.kind == "odometry"
    assert guess.T_i_j[0, 3] == pytest.approx(0.25, abs=0.02)
    for T, time_ns in zip(straight[30:], times[30:], strict=True):
        walk.samples.add(OdometrySample(time_ns, T, 0.02))
    walk.step(straight[40], blind=True, tracked=0.0, scale=METRES)
    edges = {edge.i: edge for edge in walk.mapper.graph.edges if edge.j == 4}
    assert edges[3].sigma_log_length < guess.sigma_log_length, "as measured by now"


def test_lengths_of_odometry_are_of_one_unit_though_the_depth_drifts(walk: Walk) -> None:
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    for k in range(14):
        walk.samples.add(OdometrySample((k + 1) * NS, at(k), 0.02))
    walk.shrink = 0.95
    walk.walk(14)
    edges = {edge.i: edge for edge in walk.mapper.graph.edges if edge.kind == "odometry"}
    assert sorted(edges) == list(range(1, 14))
    unit = walk.sensed.gate.metres_per_unit
    assert unit is not None
    for i, edge in edges.items():  # those ahead of the unit were made again
        true = np.linalg.norm((inverse(at(i - 1)) @ at(i))[:3, 3]) / unit
        assert np.linalg.norm(edge.T_i_j[:3, 3]) == pytest.approx(true, rel=1e-6)
        assert edge.sigma_log_length < 0.06


def test_visual_edges_that_slipping_wheels_deny_are_told_and_not_in_the_map(walk: Walk) -> None:
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    for k in range(12):
        T = at(k).copy()
        T[:3, 3] += (1.0, 0.0, 0.0) if k == 11 else (0.0, 0.0, 0.0)
        walk.samples.add(OdometrySample((k + 1) * NS, T, 0.02))
    walk.walk(12)
    assert not any(walk.mapper.denied[number] for number in range(1, 12))
    denied = {(edge.i, edge.j) for edge in walk.mapper.denied[12]}
    assert (11, 12) in denied
    assert not denied & {(edge.i, edge.j) for edge in walk.mapper.graph.edges if edge.tracks}


def test_odometry_that_comes_late_is_taken_in_late(walk: Walk) -> None:
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    walk.samples.add(OdometrySample(1 * NS, at(0), 0.02))
    walk.walk(2)
    assert [edge.kind for edge in walk.mapper.graph.edges] == ["visual"]
    for number in (2, 3):
        walk.samples.add(OdometrySample(number * NS, at(number - 1), 0.02))
    walk.step(at(2))
    pairs = {(edge.i, edge.j) for edge in walk.mapper.graph.edges if edge.kind == "odometry"}
    assert pairs == {(1, 2), (2, 3)}


@pytest.mark.parametrize(
    ("change", "words"),
    [(pose((0, 40, 0), (0, 0, 0)), "turned by"), (pose((0, 0, 0), (9.0, 0, 0)), "moved by")],
)
def test_odometry_that_contradicts_the_pictures_is_refused(
    walk: Walk, change: Floats, words: str
) -> None:
    walk.samples.add(Extrinsics("camera", np.eye(4)))
    walk.samples.add(OdometrySample(1 * NS, at(0), 0.02))
    walk.samples.add(OdometrySample(2 * NS, at(1) @ change, 0.02))
    for k in range(2):
        walk.step(at(k), scale=METRES)
    assert "odometry" not in {edge.kind for edge in walk.mapper.graph.edges}
    assert words in walk.refused[0]


def test_known_poses_are_tied_to_the_first_one(walk: Walk) -> None:
    origin = pose((0, 30, 0), (5, 6, 7))
    for k in range(4):
        T = origin @ at(k)
        walk.sensed.sense(PoseSample((k + 1) * NS, T, 0.002, 0.01))
    one = ScaleEstimate(metric=True, log_scale=0.0, sigma=0.01)
    for k in range(4):
        walk.step(at(k), blind=k > 0, tracked=0.0, scale=one)
    edges = [edge for edge in walk.mapper.graph.edges if edge.kind == "prior"]
    assert [(edge.i, edge.j) for edge in edges] == [(1, 2), (1, 3), (1, 4)]
    assert {placed.segment for placed in walk.mapper.graph.placed} == {1}
    np.testing.assert_allclose(
        walk.mapper.graph.placed[3].T_map_body, inverse(at(0)) @ at(3), atol=0.02
    )
    walk.sensed.sense(PoseSample(9 * NS, np.full((4, 4), np.nan)))
    assert "known pose" in walk.refused[0]


def test_a_moment_without_the_reference_camera_is_no_keyframe(walk: Walk) -> None:
    walk.walk(2)
    added = walk.step(at(2), camera="other")
    assert added.T_map_body is None
    assert (added.keyframes, len(walk.mapper.graph)) == ((), 2)


def test_poses_that_are_not_finite_are_refused(walk: Walk) -> None:
    geometry = wall((0.0,), 60, 80)
    geometry.T_world_cam[0, 0, 3] = np.nan
    frame = Frame(PICTURE, 1, "camera", "camera", "frame 1")
    with pytest.raises(ValueError, match="not finite"):
        walk.mapper.add([Sighting((frame,), (0,))], geometry, ScaleEstimate())
    assert len(walk.mapper.graph) == 0


def test_a_pass_of_another_unit_is_brought_back_and_a_bias_is_left_alone() -> None:
    frames = [Frame(PICTURE, k, "camera", "camera", f"frame {k}") for k in range(6)]
    units = PassUnits()
    factors = []
    for k, unit in enumerate((1.0, 1.2, 6.0, 6.0, 1.0)):
        base = wall((0.0, 0.1), 60, 80)
        base = type(base)(**{**vars(base), "local_points": base.local_points * np.float32(unit)})
        moments = [Sighting((frames[k],), (0,)), Sighting((frames[k + 1],), (1,))]
        units.follow(moments, base)
        factors.append(units.factor)
    np.testing.assert_allclose(factors, [1, 1, 0.2, 0.2, 1.2], rtol=1e-4)


def test_features_that_were_begun_beside_the_pass_are_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    pictures = [np.kron(rng.integers(0, 255, (15, 20, 3), np.uint8), TILE) for _ in range(3)]
    frames = [Frame(p, k * NS, "camera", "camera", f"f{k}") for k, p in enumerate(pictures)]
    searched: list[str] = []

    def find(picture: Any, options: Any) -> Features:
        searched.append(threading.current_thread().name)
        return find_features(picture, options)

    monkeypatch.setattr(making, "find_features", find)
    search = FeatureSearch(FeatureOptions())
    search.begin(frames[:2])
    found = [search.found(frame, PICTURE) for frame in frames]
    for frame, one in zip(frames, found, strict=True):
        alone = find_features(frame.image, FeatureOptions())
        assert len(one.pixel_F2) > 20
        np.testing.assert_array_equal(one.pixel_F2, alone.pixel_F2)
        np.testing.assert_array_equal(one.descriptor_FE, alone.descriptor_FE)
    here = threading.current_thread().name
    assert [name.startswith(WORKERS) for name in searched] == [True, True, False]
    assert searched[2] == here


def test_a_search_that_fails_is_told_to_who_asks_and_one_nobody_asks_for_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(picture: Any, options: Any) -> Features:
        raise RuntimeError("no memory")

    monkeypatch.setattr(making, "find_features", fail)
    search = FeatureSearch(FeatureOptions())
    frames = [Frame(PICTURE, k * NS, "camera", "camera", f"f{k}") for k in range(2)]
    search.begin(frames)
    with pytest.raises(RuntimeError, match="no memory"):
        search.found(frames[0], PICTURE)
    monkeypatch.undo()
    search.begin([])  # the next window holds the second one no more
    assert len(search.found(frames[1], PICTURE).pixel_F2) == 0
