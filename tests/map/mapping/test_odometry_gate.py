# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Edges that odometry contradicts are refused, and odometry that contradicts everything is not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.odometry_gate import OdometryGate
from g2vlm_map.mapping.options import GraphOptions, LengthOptions
from g2vlm_map.mapping.sensed_edges import SensedEdges
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scale.samples import Samples
from g2vlm_map.sensing import Extrinsics, OdometrySample, PoseSample
from tests.map.keyframes_made import Points, pose

NS = 1_000_000_000
VIEW = Points(50).view(np.eye(4))
UNITS = 0.5  # map units per metre
EMPTY = Keyframe(99, 0, "nobody noted it", (), {})
SCALE = ScaleEstimate(True, math.log(1 / UNITS), 0.02, sources=("odometry",))


def gate_of(steps: int = 30, step_m: float = 2.0, forwards: bool = True) -> OdometryGate:
    """A robot on a straight road whose keyframes 1, 2 ... are a step apart."""
    samples = Samples()
    samples.add(Extrinsics("camera", np.eye(4)))
    gate = OdometryGate(samples)
    for number in range(1, steps + 1):
        z = step_m * number * (1 if forwards else -1)
        samples.add(OdometrySample(number * NS, pose((0, 0, 0), (0, 0, z)), 0.02))
        gate.note(Keyframe(number, number * NS, f"{number}", (VIEW,), {}))
    return gate


def edge(i: int, j: int, z_m: float, kind: str = "visual") -> Edge:
    T = pose((0, 0, 0), (0, 0, z_m * UNITS))
    return Edge(i, j, kind, T, 0.01, 0.06, 0.15, 80, 3.0)


def driven(gate: OdometryGate, steps: int = 12) -> OdometryGate:
    for i in range(1, steps):
        assert gate.denies(edge(i, i + 1, 2.0)) == ""
    return gate


def test_a_match_one_facade_off_leads_backwards_and_is_denied() -> None:
    gate = driven(gate_of())
    assert "180 deg away" in gate.denies(edge(12, 14, -0.3))
    assert gate.denies(edge(12, 14, 4.0)) == ""


def test_a_match_one_facade_short_is_denied_once_the_unit_is_known() -> None:
    gate = gate_of()
    assert gate.denies(edge(1, 2, 0.4)) == "", "nobody knows yet how long it is"
    gate = driven(gate)
    assert gate.metres_per_unit == pytest.approx(1 / UNITS)
    assert "0.20 times as long as the 12.00 m" in gate.denies(edge(6, 12, 2.4))
    assert gate.denies(edge(6, 12, 10.0)) == "", "within what the model's depth is sure of"


def test_a_match_that_turns_elsewhere_is_denied_where_the_step_before_bears_wheels_out() -> None:
    gate = driven(gate_of())
    turned = replace(edge(9, 12, 6.0), T_i_j=pose((0, 30, 0), (0, 0, 6.0 * UNITS)))
    assert "turn by 30 deg" in gate.denies(turned)
    step = replace(edge(11, 12, 2.0), T_i_j=pose((0, 30, 0), (0, 0, 2.0 * UNITS)))
    assert gate.denies(step) == "", "which is right is decided elsewhere"
    assert gate.denies(turned) == "", "and now the wheels are in doubt"


def test_lengths_that_are_denied_more_often_than_not_are_believed() -> None:
    """The unit came of five edges, and these were wrong."""
    gate = driven(gate_of(), 6)
    told = [gate.denies(edge(i, i + 1, 6.0)) for i in range(6, 20)]
    assert any(told[:4])
    assert not any(told[5:])
    assert "180 deg away" in gate.denies(edge(12, 14, -0.3)), "ways are"


def test_a_segment_keeps_its_unit_and_the_next_has_one_of_its_own() -> None:
    gate = driven(gate_of())
    gate.denies(edge(12, 13, 2.5))
    assert gate.metres_per_unit == pytest.approx(1 / UNITS)
    gate.rescale(math.log(2.0))
    assert gate.metres_per_unit == pytest.approx(0.5 / UNITS)
    gate.begin()
    assert gate.metres_per_unit is None


def test_the_unit_of_any_segment_is_told_by_the_ways_between_its_keyframes() -> None:
    gate = gate_of()
    placed = [
        PlacedKeyframe(
            Keyframe(number, number * NS, f"{number}", (VIEW,), {}),
            pose((0, 0, 0), (0, 0, 2.0 * number * UNITS)),
            0.0,
            np.zeros((6, 6)),
            1,
        )
        for number in range(3, 12)
    ]
    assert gate.metres_per_unit_of(placed) == pytest.approx(1 / UNITS)
    assert gate.metres_per_unit_of(placed[:4]) is None, "too few ways"
    assert gate.metres_per_unit_of(replace(one, keyframe=EMPTY) for one in placed) is None


def test_a_loop_between_equal_houses_is_denied_and_a_true_one_is_not() -> None:
    gate = driven(gate_of())
    assert "26.0 m elsewhere" in gate.denies(edge(1, 14, 0.0, "loop"))
    assert gate.denies(edge(1, 14, 27.0, "loop")) == ""


def test_a_loop_is_not_denied_while_no_unit_is_known() -> None:
    assert gate_of().denies(edge(1, 14, 0.0, "loop")) == ""


def test_wheels_that_deny_everything_are_not_heard_any_more() -> None:
    """The camera is said to look the other way: the map must not fall apart for it."""
    gate = gate_of(forwards=False)
    told = [gate.denies(edge(i, i + 1, 2.0)) for i in range(1, 20)]
    assert any(told[:5])
    assert not any(told[5:])


def test_what_hardly_moves_has_no_direction_and_unknown_keyframes_are_left_alone() -> None:
    assert gate_of(step_m=0.02).denies(edge(1, 2, -0.02)) == ""
    gate = driven(gate_of())
    assert gate.denies(edge(1, 99, -5.0)) == ""


def test_no_edge_is_denied_across_a_reset_of_odometry() -> None:
    samples = Samples()
    samples.add(Extrinsics("camera", np.eye(4)))
    gate = OdometryGate(samples)
    for number, z in ((1, 0.0), (2, 0.2), (3, 0.4), (4, -60.0), (5, -59.8)):
        samples.add(OdometrySample(number * NS, pose((0, 0, 0), (0, 0, z)), 0.02))
        gate.note(Keyframe(number, number * NS, f"{number}", (VIEW,), {}))
    assert gate.denies(edge(3, 4, 0.2)) == ""
    assert gate.denies(edge(4, 5, -0.2)) != ""


def test_keyframes_that_are_gone_are_forgotten() -> None:
    """A robot that drives for weeks in a bounded map, and a prior whose root was culled."""
    samples = Samples()
    samples.add(Extrinsics("camera", np.eye(4)))
    sensed = SensedEdges(samples, "camera", lambda why: None)
    graph = MapGraph(GraphOptions(), LengthOptions())
    before = None
    for number in range(1, 301):
        for sample in (
            OdometrySample(number * NS, pose((0, 0, 0), (0, 0, 2.0 * number)), 0.02),
            PoseSample(number * NS, pose((0, 0, 0), (0, 0, 2.0 * number))),
        ):
            samples.add(sample)
            sensed.sense(sample)
        keyframe = Keyframe(number, number * NS, f"{number}", (VIEW,), {})
        sensed.gate.note(keyframe)
        if before is not None:
            priors = [e for e in sensed.edges(before, keyframe, [], SCALE) if e.kind == "prior"]
            assert priors
            assert graph.get(priors[0].i) is not None, "it hangs on nothing"
        before = graph.insert(keyframe, [], 1)
        graph.take_out([number - 5])
        sensed.late(graph, SCALE)
    assert 5 <= len(sensed.gate) <= 120
