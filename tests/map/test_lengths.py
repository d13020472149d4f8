# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Lengths of edges from shared tracks and from depths that are biased."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.mapping.edges import verified_edge
from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.mapping.lengths import LengthProblem, Tie, find_ties
from g2vlm_map.mapping.options import EdgeOptions, FeatureOptions, LengthOptions
from tests.map.keyframes_made import Points, pose

OPTIONS = LengthOptions()
COUNT = 12


def walk(
    factors: list[float], noise_px: float = 0.3, seed: int = 0
) -> tuple[list[Edge], list[Tie], dict[tuple[int, int], float]]:
    """Edges and ties of a walk to the right past points, and the true log lengths."""
    world = Points(1600, (-3.0, -2.0, 3.0), (6.0, 2.0, 8.0), seed)
    rng = np.random.default_rng(seed)
    poses = [
        pose(rng.normal(scale=2, size=3), (0.25 * k, 0.05 * (k % 3), 0.03 * k))
        for k in range(len(factors))
    ]
    keyframes = [
        world.keyframe(k + 1, T, noise_px, depth_factor=factor)
        for k, (T, factor) in enumerate(zip(poses, factors, strict=True))
    ]
    edges: list[Edge] = []
    ties: list[Tie] = []
    truth = {}
    for j in range(len(factors)):
        for gap in (1, 2, 3):
            if j >= gap:
                edge = verified_edge(
                    keyframes[j - gap], keyframes[j], FeatureOptions(), EdgeOptions()
                )
                assert edge is not None
                ties += find_ties(edge, edges)
                edges.append(edge)
                step = poses[j][:3, 3] - poses[j - gap][:3, 3]
                truth[edge.i, edge.j] = math.log(np.linalg.norm(step))
    return edges, ties, truth


def problem(edges: list[Edge], ties: list[Tie], count: int = COUNT) -> LengthProblem:
    made = LengthProblem(OPTIONS, range(1, count + 1))
    made.add_edges(edges, {})
    made.add_ties(ties, {})
    return made


def spread(
    found: dict[tuple[int, int], tuple[float, float]], truth: dict[tuple[int, int], float]
) -> float:
    return float(np.std([found[key][0] - truth[key] for key in truth]))


def test_tracks_make_lengths_agree_where_depths_do_not() -> None:
    rng = np.random.default_rng(1)
    factors = np.exp(rng.normal(scale=0.3, size=COUNT)).tolist()
    edges, ties, truth = walk(factors)
    assert len(ties) > 2 * len(edges)
    with_ties = problem(edges, ties).solve()
    without = problem(edges, []).solve()
    assert spread(with_ties.log_length, truth) < 0.06
    assert spread(without.log_length, truth) > 2 * spread(with_ties.log_length, truth)
    scales = np.array([with_ties.log_depth_scale[k + 1][0] for k in range(COUNT)])
    assert np.std(scales + np.log(factors)) < 0.08, "depth scale undoes the depth's factor"


def test_the_depths_prior_gives_the_unit_and_its_sigma_covers_the_error() -> None:
    rng = np.random.default_rng(2)
    factors = np.exp(rng.normal(scale=0.1, size=COUNT) + 0.1).tolist()
    edges, ties, truth = walk(factors, seed=3)
    found = problem(edges, ties).solve()
    errors = np.array([found.log_length[key][0] - truth[key] for key in truth])
    sigmas = np.array([found.log_length[key][1] for key in truth])
    assert abs(errors.mean()) < 0.2
    assert (np.abs(errors) < 2 * sigmas).all()
    assert sigmas.max() < OPTIONS.depth_bias + 0.02


def test_a_wrong_tie_is_outvoted() -> None:
    edges, ties, truth = walk([1.0] * COUNT)
    right = problem(edges, ties).solve()
    wrong = [*ties, *(replace(tie, log_ratio=tie.log_ratio + 1.0) for tie in ties[::9])]
    found = problem(edges, wrong).solve()
    assert spread(found.log_length, truth) < spread(right.log_length, truth) + 0.03


def test_the_depths_bias_is_that_of_the_units_they_are_in() -> None:
    """The second half came in units of half the length, and was laid upon the first."""
    count, laid = 8, range(5, 9)
    edges, _, truth = walk([0.5 if number in laid else 1.0 for number in range(1, count + 1)])
    edges = [edge for edge in edges if (edge.i in laid) == (edge.j in laid)]
    centres = dict.fromkeys(laid, math.log(2.0))
    for known in (centres, {}):
        made = LengthProblem(OPTIONS, range(1, count + 1), centres=known)
        made.add_edges(edges, {})
        found = made.solve()
        off = [found.log_length[e.i, e.j][0] - truth[e.i, e.j] for e in edges if e.i in laid]
        assert (abs(float(np.mean(off))) < 0.05) == bool(known), off
    late = LengthProblem(OPTIONS, laid, before=(4, 0.1), centres=centres)
    scales = late.solve().log_depth_scale
    assert scales[5][0] == pytest.approx(math.log(2.0) + 0.1 * OPTIONS.bias_memory)
    steady = LengthProblem(OPTIONS, [5, 6], measured={4, 5, 6}, before=(4, 0.1), centres=centres)
    scales = steady.solve().log_depth_scale
    assert scales[5][0] == pytest.approx(math.log(2.0) + 0.1 * OPTIONS.bias_memory)
    assert scales[6][0] == pytest.approx(scales[5][0], abs=1e-6), "both are a sensor's"


def test_known_lengths_and_fixed_neighbours_count() -> None:
    edges, ties, truth = walk([1.5] * COUNT)
    made = problem(edges, ties)
    made.add_known((1, 2), truth[1, 2], 0.02)
    made.add_known((98, 99), 0.0, 0.02)
    found = made.solve()
    assert found.log_length[1, 2][0] == pytest.approx(truth[1, 2], abs=0.05)
    assert found.log_length[2, 3][0] == pytest.approx(truth[2, 3], abs=0.1)
    # The second half alone, the first one held at the truth.
    late = LengthProblem(OPTIONS, range(7, COUNT + 1), before=(6, math.log(1 / 1.5)))
    late.add_edges(
        [edge for edge in edges if edge.j >= 7], {k: math.log(1 / 1.5) for k in range(7)}
    )
    late.add_ties(ties, truth)
    held = late.solve()
    assert set(held.log_depth_scale) == set(range(7, COUNT + 1))
    for key, (value, _) in held.log_length.items():
        assert value == pytest.approx(truth[key], abs=0.1)


def test_thin_and_dense_solves_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    edges, ties, _ = walk([1.0] * COUNT)
    dense = problem(edges, ties).solve()
    monkeypatch.setattr("g2vlm_map.mapping.lengths._DENSE", 0)
    thin = problem(edges, ties).solve()
    for key, (value, _) in dense.log_length.items():
        assert thin.log_length[key][0] == pytest.approx(value, abs=1e-6)


def test_edges_that_share_no_keyframe_or_few_features_have_no_tie() -> None:
    edges, _, _ = walk([1.0] * 5)
    first = next(edge for edge in edges if (edge.i, edge.j) == (1, 2))
    last = next(edge for edge in edges if (edge.i, edge.j) == (4, 5))
    near = next(edge for edge in edges if (edge.i, edge.j) == (2, 3))
    assert find_ties(first, [last, first]) == []
    assert len(find_ties(first, [near])) == 1
    assert near.tracks is not None
    few = replace(
        near.tracks,
        feature_K2=near.tracks.feature_K2[:4],
        log_depth_K2=near.tracks.log_depth_K2[:4],
        sigma_K=near.tracks.sigma_K[:4],
    )
    assert find_ties(first, [replace(near, tracks=few)]) == []
    assert find_ties(first, [replace(near, tracks=None)]) == []
    assert LengthProblem(OPTIONS, []).solve().log_length == {}
