# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Segments become one where several pairs agree, in the right units, and only then."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest

from g2vlm_map.mapping.closing import Closed, LoopCloser
from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.mapping.loops import turn_deg
from g2vlm_map.mapping.merge import Similarity, agreed, similarity_of
from tests.helpers import wait_for

from .boxes import Box, look
from .drives import OPTIONS, Drive, circuit, equal_rooms

UNIT = 2.5  # metres


def two_segments(unit: float, box: Box | None = None) -> tuple[Drive, list[int]]:
    """A mapped room, and 6 keyframes in it that hang on nothing, in units of their own."""
    box = box or Box(11)
    drive = Drive(seed=8)
    drive.go(box, circuit(24))
    drive.begin()
    drive.unit = unit
    ours = drive.go(box, [look(0.1 * k - 0.3, 0.2, 0.5 + 0.05 * k) for k in range(6)], segment=2)
    return drive, [one.keyframe.number for one in ours]


def closer_of(drive: Drive, told: list[Closed], known: int) -> LoopCloser:
    closer = LoopCloser(drive.graph, OPTIONS, told.append)
    for placed in drive.graph.placed[:known]:
        closer.search.know(placed.keyframe)
    return closer


def test_a_pair_says_how_two_segments_lie_to_each_other_and_in_which_units() -> None:
    drive, ours = two_segments(unit=1.7)
    closer = closer_of(drive, [], 24)
    hits = [hit for number in ours for hit in closer.search.find(number).hits]
    assert len(hits) >= 4
    first = drive.graph.placed[0]
    T_world_a = drive.truth[1] @ np.linalg.inv(first.T_map_body)
    for hit in hits:
        place, query = drive.graph.get(hit.place), drive.graph.get(hit.query)
        assert place is not None
        assert query is not None
        said = similarity_of(hit, place, query)
        assert abs(said.log_scale - math.log(1.7)) < 2.5 * said.sigma
        T_world = T_world_a @ said.pose(query.T_map_body)
        assert turn_deg(T_world[:3, :3].T @ drive.truth[hit.query][:3, :3]) < 4


def test_who_looks_while_the_graph_is_solved_sees_one_segment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Poses, the segment that goes on and the unit change in one step."""
    drive, ours = two_segments(unit=1.7)
    joined: list[tuple[int, int, float]] = []
    seen: list[tuple[set[int], int]] = []
    closer = LoopCloser(
        drive.graph, OPTIONS, lambda closed: None, join=lambda *parts: joined.append(parts)
    )
    for placed in drive.graph.placed[:24]:
        closer.search.know(placed.keyframe)
    lay = drive.graph.lay

    def laid(*parts: Any) -> None:
        lay(*parts)
        looker = threading.Thread(target=look_at)
        looker.start()
        looker.join(0.2)  # it waits for the lock

    def look_at() -> None:
        with drive.graph.lock:
            seen.append(({one.segment for one in drive.graph.placed}, len(joined)))

    monkeypatch.setattr(drive.graph, "lay", laid)
    for number in ours:
        closer.step(number)
    wait_for(lambda: seen, 10.0, what="the look")
    assert seen == [({1}, 1)]
    ((absorbed, onto, log_scale),) = joined
    assert (absorbed, onto) == (2, 1)
    assert abs(log_scale - math.log(1.7)) < 0.15


def test_segments_that_meet_become_one_in_the_units_of_the_older() -> None:
    drive, ours = two_segments(unit=1.7)
    told: list[Closed] = []
    closer = closer_of(drive, told, 24)
    for number in ours:
        closer.step(number)
    assert [one.cause for one in told if one.cause != "loop"] == ["merged"]
    merged = told[0]
    assert (merged.segment, merged.absorbed) == (1, 2)
    assert merged.similarity is not None
    assert abs(merged.similarity.log_scale - math.log(1.7)) < 0.15
    assert {one.segment for one in drive.graph.placed} == {1}
    off, scale = drive.errors()
    assert off < 0.15, off
    assert abs(math.log(scale)) < 0.1
    lengths = [
        (
            np.linalg.norm(edge.T_i_j[:3, 3]),
            np.linalg.norm((np.linalg.inv(drive.truth[edge.i]) @ drive.truth[edge.j])[:3, 3]),
        )
        for edge in drive.graph.edges
        if edge.i in ours and edge.j in ours
    ]
    ratios = [math.log(a / b) for a, b in lengths if b > 0.05]
    assert abs(float(np.median(ratios))) < 0.15, "edges kept the units of the segment that ended"


def test_what_comes_after_segments_met_is_as_long_as_what_was_before() -> None:
    """Depths go on in the units that the segment began in, whatever it was laid upon."""
    drive, ours = two_segments(unit=UNIT)
    box = Box(11)
    drive.graph.lay(2, 1, math.log(UNIT), np.eye(3), np.zeros(3))
    on = [look(0.3 + 0.1 * k, 0.2, 0.8 + 0.05 * k) for k in range(8)]
    later = {one.keyframe.number for one in drive.go(box, on)}
    new = [edge for edge in drive.graph.edges if edge.j in later]
    assert abs(float(np.median([log_error(drive, edge) for edge in new]))) < 0.05
    drive.graph.solve_global()
    for numbers in (set(ours), later):
        own = [edge for edge in drive.graph.edges if {edge.i, edge.j} <= numbers]
        assert abs(float(np.median([log_error(drive, edge) for edge in own]))) < 0.05


def log_error(drive: Drive, edge: Edge) -> float:
    """Log of an edge's length over the true one."""
    true = np.linalg.inv(drive.truth[edge.i]) @ drive.truth[edge.j]
    return math.log(np.linalg.norm(edge.T_i_j[:3, 3]) / np.linalg.norm(true[:3, 3]))


def test_odometry_knows_the_ratio_of_the_units_better_than_depth() -> None:
    drive, ours = two_segments(unit=1.7)
    told: list[Closed] = []
    asked: list[tuple[int, int]] = []

    def ratio(places: int, queries: int) -> float:
        asked.append((places, queries))
        return math.log(1.7)

    closer = LoopCloser(drive.graph, OPTIONS, told.append, log_ratio=ratio)
    for placed in drive.graph.placed[:24]:
        closer.search.know(placed.keyframe)
    for number in ours:
        closer.step(number)
    assert set(asked) == {(1, 2)}
    assert told[0].similarity is not None
    assert abs(told[0].similarity.log_scale - math.log(1.7)) < 0.03


def test_one_pair_is_not_enough() -> None:
    drive, ours = two_segments(unit=1.0)
    told: list[Closed] = []
    closer = closer_of(drive, told, 24)
    closer.step(ours[0])
    assert not told
    assert {one.segment for one in drive.graph.placed} == {1, 2}
    hits = list(closer._hits)
    assert hits, "the first keyframe was not found at all: the test shows nothing"
    answer = agreed(hits, drive.graph.get, OPTIONS.loops)
    assert answer.similarity is None
    assert "1 keyframes agree on a place, 2 must" in answer.text


def test_a_robot_set_down_in_one_of_two_equal_rooms_is_told_so() -> None:
    """The map holds both; nothing can say which it is, so nothing does."""
    drive = Drive(seed=9)
    first, _ = equal_rooms(drive, seed=12, apart=8.0, count=20)
    drive.begin()
    ours = drive.go(first, [look(0.1 * k, 0.1, 0.4 + 0.05 * k) for k in range(6)], segment=2)
    told: list[Closed] = []
    closer = closer_of(drive, told, 52)
    for one in ours:
        closer.step(one.keyframe.number)
    assert {one.segment for one in drive.graph.placed} == {1, 2}
    assert "merged" not in [one.cause for one in told]
    assert any("two places look alike" in one.text for one in told)


def test_a_kidnapped_robot_in_a_place_that_nobody_knows_stays_apart() -> None:
    drive, _ = two_segments(unit=1.0)
    drive.begin()
    ours = drive.go(Box(99), circuit(8), segment=3)
    told: list[Closed] = []
    closer = closer_of(drive, told, 30)
    for one in ours:
        closer.step(one.keyframe.number)
    assert 3 in {one.segment for one in drive.graph.placed}
    assert not told


def test_similarities_invert() -> None:
    rng = np.random.default_rng(0)
    one = Similarity(0.4, look(0, 0, 0.7)[:3, :3], rng.normal(size=3), 0.1)
    T = look(0.3, -0.2, 1.1)
    np.testing.assert_allclose(one.inverse().pose(one.pose(T)), T, atol=1e-12)
