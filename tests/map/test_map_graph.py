# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map as it grows: segments, loops, solves beside each other, what is taken out."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.mapping import graph_solve, map_graph
from g2vlm_map.mapping.drift import Drift
from g2vlm_map.mapping.graph_solve import transport
from g2vlm_map.mapping.keyframe import Edge, Keyframe
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.options import GraphOptions, LengthOptions
from g2vlm_map.poses import inverse
from tests.map.keyframes_made import pose

Floats = NDArray[np.float64]


def way(count: int) -> list[Floats]:
    """Poses around a square of 10 a side, back to where they began."""
    poses = []
    for k in range(count):
        s = 4 * k / count
        corner, share = int(s) % 4, s - int(s)
        at = [(10 * share, 0), (10, 10 * share), (10 - 10 * share, 10), (0, 10 - 10 * share)]
        x, z = at[corner]
        poses.append(pose((0, -90.0 * (corner + share), 0), (x, 0.1 * np.sin(k), z)))
    return poses


def blank(number: int) -> Keyframe:
    return Keyframe(number, number, f"key {number}", (), {})


def between(poses: list[Floats], i: int, j: int, rng: np.random.Generator | None = None) -> Edge:
    """Edge between keyframes i and j, whose numbers are one above their places in the list."""
    T = inverse(poses[i]) @ poses[j]
    if rng is not None:
        T[:3, 3] *= 1 + rng.normal(scale=0.05)
        T = T @ pose(rng.normal(scale=0.5, size=3), (0, 0, 0))
    return Edge(i + 1, j + 1, "visual", T, 0.01, 0.02, 0.05, 50)


def driven(poses: list[Floats], seed: int | None = None) -> MapGraph:
    graph = MapGraph(GraphOptions(), LengthOptions())
    rng = None if seed is None else np.random.default_rng(seed)
    for j in range(len(poses)):
        keyframe = blank(graph.next_number())
        edges = [between(poses, j - d, j, rng) for d in (1, 2) if j >= d]
        graph.insert(keyframe, edges, 1)
    return graph


def found(graph: MapGraph) -> Floats:
    return np.array([item.T_map_body for item in graph.placed])


def drift(graph: MapGraph, poses: list[Floats]) -> float:
    true = np.array([inverse(poses[0]) @ T for T in poses])
    off = found(graph)[:, :3, 3] - true[:, :3, 3]
    return float(np.sqrt((off**2).sum(axis=1).mean()))


def test_keyframes_lie_where_their_edges_say() -> None:
    poses = way(20)
    graph = driven(poses)
    assert [item.keyframe.number for item in graph.placed] == list(range(1, 21))
    assert drift(graph, poses) < 1e-6
    assert {item.segment for item in graph.placed} == {1}
    assert graph.version == 0, "a new keyframe changes no past"
    assert len(graph.edges) == 37
    assert {edge.i for edge in graph.edges_of(20)} == {18, 19}


def test_the_covariance_grows_along_the_way_and_is_zero_at_its_start() -> None:
    graph = driven(way(80), seed=0)
    sizes = [float(np.trace(item.covariance[:3, :3])) for item in graph.placed]
    assert sizes[0] == 0
    assert sizes[5] < sizes[20] < sizes[79], "beyond the local solve, too"


def test_the_covariance_knows_that_all_lengths_rest_on_one_depth_or_on_wheels() -> None:
    """Along a straight way of 10 units: 15 % of it by the model's depth, 2 % by odometry."""
    poses = [pose((0, 0, 0), (0, 0, 0.5 * k)) for k in range(21)]
    along = {}
    for kind in ("visual", "odometry"):
        graph = MapGraph(GraphOptions(), LengthOptions())
        for j in range(len(poses)):
            edges = [replace(between(poses, j - d, j), kind=kind) for d in (1, 2) if j >= d]
            graph.insert(blank(graph.next_number()), edges, 1)
        along[kind] = float(np.sqrt(graph.placed[-1].pose_covariance[2, 2]))
    own = np.sqrt(along["odometry"] ** 2 - 0.2**2)
    assert along["visual"] == pytest.approx(np.hypot(own, 1.5), rel=1e-3)


def test_a_loop_is_taken_over_by_a_global_solve_only() -> None:
    poses = way(60)
    graph = driven(poses, seed=1)
    before = drift(graph, poses)
    assert not graph.add_edges([replace(between(poses, 0, 59), kind="loop")], loops=1)
    assert drift(graph, poses) == before
    assert graph.solve_global() is not None
    assert drift(graph, poses) < 0.6 * before
    assert (graph.loops, graph.version) == (1, 1)


def test_a_loop_that_later_ones_contradict_is_taken_back() -> None:
    poses = way(60)
    graph = driven(poses, seed=1)
    wrong = replace(between(poses, 0, 59), kind="loop", T_i_j=pose((0, 40, 0), (5, 0, 0)))
    graph.add_edges([wrong], loops=1)
    graph.solve_global()
    assert [(e.i, e.j) for e in graph.edges if e.kind == "loop"] == [(1, 60)], "nobody denies it"
    right = [replace(between(poses, i, 56 + i), kind="loop") for i in (0, 1, 2)]
    graph.add_edges(right, loops=1)
    graph.solve_global()
    loops = {(e.i, e.j) for e in graph.edges if e.kind == "loop"}
    assert loops == {(e.i, e.j) for e in right}
    assert not [e for e in graph.edges_of(60) if e.kind == "loop"]


def test_a_loop_whose_length_alone_is_contradicted_keeps_rotation_and_direction() -> None:
    poses = way(60)
    graph = driven(poses, seed=1)
    right = [replace(between(poses, i, 52 + i), kind="loop") for i in (0, 2, 4, 6)]
    short = replace(between(poses, 1, 53), kind="loop")
    T = short.T_i_j.copy()
    T[:3, 3] *= 0.6
    graph.add_edges([*right, replace(short, T_i_j=T)], loops=1)
    graph.solve_global()
    loops = {(e.i, e.j): e for e in graph.edges if e.kind == "loop"}
    assert len(loops) == 5
    found = loops[2, 54]
    assert not np.isfinite(found.sigma_log_length)
    assert np.isfinite(found.sigma_direction)
    np.testing.assert_allclose(found.T_i_j[:3, 3], short.T_i_j[:3, 3], rtol=0.2)
    assert all(np.isfinite(e.sigma_log_length) for key, e in loops.items() if key != (2, 54))
    T[:3, 3] *= 9.0
    graph.add_edges([replace(found, T_i_j=T)])
    graph.solve_global()
    again = next(e for e in graph.edges if (e.i, e.j) == (2, 54))
    placed = graph.by_number()
    apart = np.linalg.norm(placed[2].T_map_body[:3, 3] - placed[54].T_map_body[:3, 3])
    assert np.linalg.norm(again.T_i_j[:3, 3]) == pytest.approx(apart), "as long as the map has it"


def test_keyframes_that_come_during_a_global_solve_are_carried_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poses = way(40)
    graph = driven(poses[:30], seed=2)
    graph.add_edges([replace(between(poses, 0, 29), kind="loop")])
    solving, go_on = threading.Event(), threading.Event()
    plain = graph_solve.solve_all

    def slow(*arguments: Any) -> Any:
        solving.set()
        assert go_on.wait(10.0)
        return plain(*arguments)

    monkeypatch.setattr(map_graph, "solve_all", slow)
    thread = threading.Thread(target=graph.solve_global)
    thread.start()
    assert solving.wait(10.0)
    for j in range(30, 40):  # nobody is held up
        graph.insert(blank(graph.next_number()), [between(poses, j - d, j) for d in (1, 2)], 1)
    step = inverse(found(graph)[29]) @ found(graph)[39]
    go_on.set()
    thread.join(10.0)
    after = found(graph)
    assert len(after) == 40
    np.testing.assert_allclose(inverse(after[29]) @ after[39], step, atol=1e-9)
    assert np.linalg.norm(after[29, :3, 3] - (inverse(poses[0]) @ poses[29])[:3, 3]) < 0.3


def test_a_segment_that_is_laid_during_a_global_solve_keeps_its_new_lengths(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Edges of wheels have no tracks by which they would be made long again."""
    poses = way(40)
    graph = driven(poses[:10])
    for j in range(10, 16):
        edges = [replace(between(poses, j - 1, j), kind="odometry")] if j > 10 else []
        graph.insert(blank(graph.next_number()), edges, 2)
    before = {(e.i, e.j): np.linalg.norm(e.T_i_j[:3, 3]) for e in graph.edges_of(13)}
    plain = graph_solve.solve_all

    def laid(*arguments: Any) -> Any:
        graph.lay(2, 1, math.log(2.0), np.eye(3), np.zeros(3))
        return plain(*arguments)

    monkeypatch.setattr(map_graph, "solve_all", laid)
    graph.solve_global()
    assert graph.edges_of(13)
    for edge in graph.edges_of(13):
        length = np.linalg.norm(edge.T_i_j[:3, 3])
        assert length == pytest.approx(2.0 * before[edge.i, edge.j], rel=0.05)


def test_a_map_that_was_cleared_takes_no_old_solve_over(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = driven(way(5))
    plain = graph_solve.solve_all

    def cleared(*arguments: Any) -> Any:
        graph.clear()
        return plain(*arguments)

    monkeypatch.setattr(map_graph, "solve_all", cleared)
    assert graph.solve_global() is None
    assert graph.placed == ()
    assert graph.next_number() == 6, "numbers are never used twice"


def test_segments_that_meet_become_the_older_one() -> None:
    poses = way(40)
    graph = driven(poses[:10])
    for j in range(10, 20):
        edges = [between(poses, j - d, j) for d in (1, 2) if j - d >= 10]
        graph.insert(blank(graph.next_number()), edges, 2)
    assert [item.segment for item in graph.placed] == [1] * 10 + [2] * 10
    assert graph.add_edges([between(poses, 9, 10)])
    assert {item.segment for item in graph.placed} == {1}
    assert graph.version == 1
    assert drift(graph, poses[:20]) < 1e-6


def test_a_new_keyframe_can_join_segments() -> None:
    poses = way(40)
    graph = driven(poses[:6])
    graph.insert(blank(graph.next_number()), [], 2)
    placed = graph.insert(
        blank(graph.next_number()), [between(poses, 6, 7), between(poses, 5, 7)], 2
    )
    assert placed.segment == 1
    assert {item.segment for item in graph.placed} == {1}
    assert drift(graph, poses[:8]) < 1e-6


def test_what_is_taken_out_leaves_no_edge() -> None:
    graph = driven(way(10))
    graph.take_out([4, 5])
    assert graph.get(4) is None
    assert all(not {edge.i, edge.j} & {4, 5} for edge in graph.edges)
    assert {edge.j for edge in graph.edges_of(3)} == {3}
    assert graph.solve_global() is not None


def test_a_stored_map_is_put_back_beside_what_is_there() -> None:
    poses = way(12)
    stored = driven(poses)
    graph = MapGraph(GraphOptions(), LengthOptions())
    graph.put_back(stored.placed, stored.edges)
    assert graph.next_number() == 13
    assert graph.new_segment(0) == 2
    np.testing.assert_array_equal(found(graph), found(stored))
    assert len(graph.edges) == len(stored.edges)


def test_a_covariance_is_carried_by_its_lever() -> None:
    covariance = np.zeros((6, 6))
    covariance[5, 5] = 0.01**2  # about z
    carried = transport(covariance, pose((0, 0, 0), (0, 0, 0)), pose((0, 0, 0), (10, 0, 0)))
    assert np.sqrt(carried[1, 1]) == pytest.approx(0.1)
    assert carried[0, 0] == carried[2, 2] == 0
    assert carried[1, 5] == pytest.approx(10 * 0.01**2)


def test_a_pair_that_two_sources_tie_is_no_longer_way_for_that() -> None:
    poses = [pose((0, 0, 0), (0, 0, float(k))) for k in range(3)]
    round_about = replace(between(poses, 0, 2), T_i_j=pose((0, 0, 0), (0, 0, 2.5)))
    near = [between(poses, 0, 1), between(poses, 1, 2)]
    graph = MapGraph(GraphOptions(), LengthOptions())
    wheels = [replace(edge, kind="odometry") for edge in near]
    graph.put_back(driven(poses).placed, [round_about, *near, *wheels])
    assert Drift(graph, 1, 0.05).to(3)[0] == pytest.approx(2.0)
