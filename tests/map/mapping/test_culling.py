# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A map within its bound: what goes is redundant, what stays hangs together and stays put."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from g2vlm_map.mapping.closing import Closed, LoopCloser
from g2vlm_map.mapping.culling import Culler, redundancy
from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.mapping.loops import turn_deg
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.place_options import MemoryOptions

from .boxes import Box, look
from .drives import OPTIONS, Drive, circuit

BOUND_MB = 4


def parts(graph: MapGraph) -> int:
    """Connected parts of the graph."""
    row = {one.keyframe.number: k for k, one in enumerate(graph.placed)}
    ends = np.array([(row[edge.i], row[edge.j]) for edge in graph.edges]).T
    shape = (len(row), len(row))
    near = sparse.coo_matrix((np.ones(ends.shape[1]), tuple(ends)), shape=shape)
    return int(connected_components(near, directed=False)[0])


@pytest.fixture(scope="module")
def bounded() -> tuple[Drive, LoopCloser]:
    """Five times round a room in a map that may hold about half of that."""
    drive = Drive(seed=21)
    options = dataclasses.replace(OPTIONS, memory=MemoryOptions(max_memory_mb=BOUND_MB))
    told: list[Closed] = []
    closer = LoopCloser(drive.graph, options, told.append)
    for T in circuit(140, turns=5):
        closer.step(drive.go(Box(31), [T])[0].keyframe.number)
    closer.settle()
    return drive, closer


def test_the_bound_holds_and_what_went_is_forgotten_everywhere(
    bounded: tuple[Drive, LoopCloser],
) -> None:
    drive, closer = bounded
    kept = sum(one.keyframe.nbytes for one in drive.graph.placed)
    assert 0.8 * BOUND_MB < kept / 1e6 <= BOUND_MB
    assert closer.culler.megabytes == pytest.approx(kept / 1e6)
    assert closer.culler.culled == 140 - len(drive.graph.placed) > 30
    numbers = {one.keyframe.number for one in drive.graph.placed}
    assert {n for edge in drive.graph.edges for n in (edge.i, edge.j)} <= numbers
    index = closer.search._indices["words"]
    assert len(index) == len(numbers)
    assert all(number in index for number in numbers)


def test_what_stays_hangs_together_where_it_was(bounded: tuple[Drive, LoopCloser]) -> None:
    drive, _ = bounded
    assert any(edge.kind == "merged" for edge in drive.graph.edges)
    assert parts(drive.graph) == 1
    before, scale = drive.errors()
    assert before < 0.12, before
    assert 0.8 < scale < 1.25
    drive.graph.solve_global()
    again, scale = drive.errors()
    assert again < 0.12, again
    assert 0.8 < scale < 1.25, "the unit of the map drifted with what was culled"


def test_merged_edges_say_what_was_true(bounded: tuple[Drive, LoopCloser]) -> None:
    drive, _ = bounded
    _, scale = drive.errors()
    merged = [edge for edge in drive.graph.edges if edge.kind == "merged"]
    for edge in merged:
        T = np.linalg.inv(drive.truth[edge.i]) @ drive.truth[edge.j]
        assert turn_deg(T[:3, :3].T @ edge.T_i_j[:3, :3]) < 5
        assert np.linalg.norm(T[:3, 3] - scale * edge.T_i_j[:3, 3]) < 0.25


def test_the_newest_and_the_first_stay(bounded: tuple[Drive, LoopCloser]) -> None:
    drive, _ = bounded
    numbers = [one.keyframe.number for one in drive.graph.placed]
    assert numbers[0] == 1
    assert numbers[-60:] == list(range(81, 141))


def test_segments_without_end_stay_within_the_bound() -> None:
    """A camera whose stamps leap begins a segment with every few keyframes."""
    drive = Drive(seed=23)
    (shape,) = drive.go(Box(33), [look(0, 0, 0)])
    graph = MapGraph(drive.graph.graph, drive.graph.lengths)
    culler = Culler(graph, 70 * shape.keyframe.nbytes / 1e6)
    for segment in range(1, 101):
        for number in range(2 * segment - 1, 2 * segment + 1):
            keyframe = dataclasses.replace(shape.keyframe, number=number)
            tied = [Edge(number - 1, number, "model", np.eye(4), 0.01, 0.01, 0.01)]
            placed = graph.insert(keyframe, [] if number % 2 else tied, segment)
            culler.grown(placed)
        assert len(graph) <= 70
    kept = [one.keyframe.number for one in graph.placed]
    assert kept[-60:] == list(range(141, 201))
    # The second ones went first, then the oldest firsts.
    assert kept[:-60] == [n for n in range(121, 141) if n % 2]


def test_what_nobody_else_sees_goes_last() -> None:
    drive = Drive(seed=22)
    box = Box(32)
    poses = [look(0.02 * k, 0, 0) for k in range(10)] + [look(0.2, 0, 0.9), look(0.2, 0, 1.8)]
    placed = drive.go(box, poses, odometry=True)
    score = redundancy(placed, drive.graph.placed)
    assert set(np.argsort(score)[:2]) == {10, 11}
