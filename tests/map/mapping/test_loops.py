# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Loops are found and never wrong: equal rooms, weak evidence, and what drifts."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed

from g2vlm_map.mapping.closing import Closed, LoopCloser
from g2vlm_map.mapping.features import find_features
from g2vlm_map.mapping.keyframe import Edge, Keyframe, View
from g2vlm_map.mapping.loops import Found, LoopSearch, turn_deg
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.place_options import LoopOptions
from g2vlm_map.mapping.places import place_vectors
from g2vlm_map.options import StatusOptions
from g2vlm_map.status import StatusBoard
from tests.map.keyframes_made import Points

from .boxes import Box, look
from .drives import OPTIONS, Drive, circuit, equal_rooms

DRIFT_RAD = np.radians(0.25)


def wrong(drive: Drive, edges: list[Edge]) -> list[str]:
    """Loops that are off by more than 10 deg or 0.5 m."""
    found = []
    for edge in edges:
        T = np.linalg.inv(drive.truth[edge.i]) @ drive.truth[edge.j]
        off_deg = turn_deg(T[:3, :3].T @ edge.T_i_j[:3, :3])
        off = np.linalg.norm(T[:3, 3] - edge.T_i_j[:3, 3] * drive.unit)
        if off_deg > 10 or off > 0.5:
            found.append(f"{edge.i}-{edge.j}: {off_deg:.1f} deg, {off:.2f} m")
    return found


def search_of(drive: Drive, options: LoopOptions | None = None) -> LoopSearch:
    chosen = options or OPTIONS.loops
    return LoopSearch(drive.graph, OPTIONS.features, OPTIONS.edges, chosen)


def test_a_circuit_closes_and_what_drifted_comes_back() -> None:
    drive = Drive(seed=1)
    drive.go(Box(3), circuit(44, turns=1.4), drift_rad=DRIFT_RAD)
    told: list[Closed] = []
    closer = LoopCloser(drive.graph, OPTIONS, told.append)
    before = drive.errors()[0]
    for placed in drive.graph.placed:
        closer.step(placed.keyframe.number)
    closer.settle()
    after, _ = drive.errors()
    loops = [edge for edge in drive.graph.edges if edge.kind == "loop"]
    assert len(loops) >= 10
    assert all(edge.j - edge.i > OPTIONS.loops.gap for edge in loops)
    assert not wrong(drive, loops)
    assert before > 0.06, before
    assert after < 0.5 * before, (before, after)
    assert [one.cause for one in told] == ["loop"]


def test_a_room_that_equals_the_first_one_is_another() -> None:
    """Two rooms alike to the last point, 7 m apart; the way between them is bridged by wheels."""
    drive = Drive(seed=2)
    equal_rooms(drive, seed=5, apart=7.0, count=14)
    told: list[Closed] = []
    closer = LoopCloser(drive.graph, OPTIONS, told.append)
    for placed in drive.graph.placed:
        closer.step(placed.keyframe.number)
    closer.settle()
    loops = [edge for edge in drive.graph.edges if edge.kind == "loop"]
    assert not wrong(drive, loops)
    assert [one for one in told if one.cause == "alike"], "nobody was told that places look alike"
    assert "looks alike" in told[0].text
    assert drive.errors()[0] < 0.3


def test_few_matches_need_a_cycle() -> None:
    """With fewer than the inliers that stand alone, a pair is believed with a second one only."""
    drive = Drive(seed=3)
    drive.go(Box(7), circuit(36, turns=1.2))
    strict = LoopOptions(min_inliers=9000, min_cycle_inliers=20, top=1)
    search = search_of(drive, strict)
    numbers = [placed.keyframe.number for placed in drive.graph.placed]
    with_cycle: list[Edge] = []
    for number in numbers:
        found = search.find(number)
        with_cycle += found.loops
    assert with_cycle, "no loop closed a cycle"
    assert not wrong(drive, with_cycle)
    alone = LoopSearch(drive.graph, OPTIONS.features, OPTIONS.edges, strict)
    query = drive.graph.placed[-1]
    for placed in drive.graph.placed[:5]:
        alone.know(placed.keyframe)
    alone._beside = lambda hit, query: []  # type: ignore[method-assign]
    found = alone.find(query.keyframe.number, allowed=numbers[:1])
    assert not found.loops
    assert not found.compared or all("inliers" in text for text in found.refused)


def test_a_loop_never_reaches_a_neighbour_in_time() -> None:
    drive = Drive(seed=4)
    drive.go(Box(8), [look(0.02 * k, 0, 0) for k in range(16)])
    search = search_of(drive)
    loops = [edge for p in drive.graph.placed for edge in search.find(p.keyframe.number).loops]
    assert loops
    assert min(edge.j - edge.i for edge in loops) > OPTIONS.loops.gap


def test_what_was_culled_is_not_found() -> None:
    drive = Drive(seed=5)
    drive.go(Box(9), circuit(30, turns=1.3))
    search = search_of(drive)
    numbers = [placed.keyframe.number for placed in drive.graph.placed]
    for number in numbers[:-1]:
        search.know(drive.graph.placed[number - 1].keyframe)
    for number in numbers[:10]:
        search.forget(number)
        drive.graph.take_out([number])
    found = search.find(numbers[-1])
    assert all(edge.i > numbers[9] for edge in found.loops)
    assert search.find(numbers[0]).compared == 0, "a keyframe that is gone was looked for"


def photographed(
    number: int, picture: np.ndarray, true_depth: np.ndarray, K: np.ndarray
) -> Keyframe:
    """A keyframe of a picture and its depth."""
    found = find_features(picture, OPTIONS.features)
    height, width = picture.shape[:2]
    depth = true_depth[2::4, 2::4].astype(np.float16)
    assert depth.shape == (height // 4, width // 4)
    view = View(
        *("camera", "camera_optical", number, np.eye(4), K * [[0.25], [0.25], [1.0]]),
        *((height, width), depth, np.ones(depth.shape, np.uint8)),
        np.zeros((*depth.shape, 3), np.uint8),
        found.pixel_F2,
        found.descriptor_FE,
    )
    places = place_vectors(found.descriptor_FE, None)
    return Keyframe(number, number, str(number), (view,), places)


def test_what_a_mirror_shows_is_no_place_that_was_seen() -> None:
    """A room and its reflection: alike as a whole, and no two points of them fit together."""
    size_hw, room = (240, 320), make_room(scene_seed("test", 3), "indoor")
    K = intrinsics(65.0, size_hw)
    path = camera_path(room, 1, 2, "hand", step=0.2, turn_deg=4.0)
    made = render(room, path, K, size_hw)
    (first, second), (near, far) = made.rgb, made.depth
    graph = MapGraph(OPTIONS.graph, OPTIONS.lengths)
    graph.insert(photographed(1, first, near, K), [], 1)
    found = []
    for number, picture, depth in ((20, second, far), (40, second[:, ::-1], far[:, ::-1])):
        step = Edge(1, number, "odometry", np.eye(4), 0.2, np.inf, np.inf, sigma_still=1.0)
        shown = photographed(number, np.ascontiguousarray(picture), depth, K)
        graph.insert(shown, [step], 1)
        easy = LoopOptions(min_inliers=20)
        search = LoopSearch(graph, OPTIONS.features, OPTIONS.edges, easy)
        search.know(graph.placed[0].keyframe)
        found.append(search.find(number))
    assert found[0].loops, "the room itself was not recognised: the test shows nothing"
    assert found[1].compared, "the reflection was not even compared"
    assert not found[1].loops


@pytest.mark.parametrize("flat", [True, False])
def test_a_pattern_on_one_plane_closes_no_loop(flat: bool) -> None:
    """The same tiles in front of the camera again, 4 m further: nothing but wheels tells."""
    rng = np.random.default_rng(3)
    here = Points(count=400, low=(-3, -2, 4), high=(3, 2, 4.01 if flat else 8), seed=5)
    graph = MapGraph(OPTIONS.graph, OPTIONS.lengths)
    first, again = (here.keyframe(number, np.eye(4)) for number in (1, 30))
    graph.insert(first, [], 1)
    step = Edge(1, 30, "odometry", np.eye(4), 0.05, 0.5, 1.0, sigma_still=1.0)
    graph.insert(again, [step], 1)
    search = LoopSearch(graph, OPTIONS.features, OPTIONS.edges, OPTIONS.loops)
    search.know(first)
    place = rng.normal(size=8).astype(np.float16)
    for keyframe in (first, again):
        keyframe.places["tokens"] = place / np.linalg.norm(place)
    search.know(replace(first, places={"tokens": first.places["tokens"]}))
    found = search.find(30)
    assert found.compared
    if flat:
        assert not found.loops
        assert "off one plane" in found.refused[0]
    else:
        assert found.loops


def test_a_queue_that_overflows_counts_and_goes_on() -> None:
    drive = Drive(seed=6)
    placed = drive.go(Box(10), circuit(12))
    options = type(OPTIONS)(loops=LoopOptions(queue=4))
    closer = LoopCloser(drive.graph, options, lambda closed: None)
    closer._stopping.clear()  # it takes note, and nobody looks
    for one in placed:
        closer.hear(one)
    assert closer.overflowed == 8
    closer.stop(0.1)


def test_what_falls_out_of_the_queue_is_known_and_counted_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive = Drive(seed=6)
    options = type(OPTIONS)(loops=LoopOptions(queue=2))
    closer = LoopCloser(drive.graph, options, lambda closed: None)
    step, looks, go_on = closer.step, threading.Event(), threading.Event()

    def slow(number: int) -> Found:
        looks.set()
        assert go_on.wait(20)
        return step(number)

    monkeypatch.setattr(closer, "step", slow)
    closer.start()
    try:
        assert closer.wait_idle(20)
        placed = drive.go(Box(10), circuit(8))
        closer.hear(placed[0])
        assert looks.wait(20)
        for one in placed[1:]:
            closer.hear(one)
        go_on.set()
        assert closer.wait_idle(20)
    finally:
        go_on.set()
        closer.stop(5)
    assert closer.overflowed == 5
    assert len(closer.search._indices["words"]) == 8
    total = sum(one.keyframe.nbytes for one in placed)
    assert closer.culler.megabytes == pytest.approx(total / 1e6)


def test_a_thread_that_a_stop_gave_up_ends_and_the_next_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive = Drive(seed=6)
    closer = LoopCloser(drive.graph, OPTIONS, lambda closed: None)
    looks, go_on, looked = threading.Event(), threading.Event(), []

    def slow(number: int) -> Found:
        looks.set()
        assert go_on.wait(20)
        looked.append(number)
        return Found()

    monkeypatch.setattr(closer, "step", slow)
    closer.start()
    try:
        first, second = drive.go(Box(10), circuit(2))
        closer.hear(first)
        assert looks.wait(20)
        closer.stop(0.05)
        old = closer._thread
        closer.start()
        assert not closer.wait_idle(0.1), "it has not even begun"
        closer.hear(second)
        go_on.set()
        assert closer.wait_idle(20)
        assert old is not None
        assert not old.is_alive()
        assert looked == [first.keyframe.number, second.keyframe.number]
    finally:
        go_on.set()
        closer.stop(5)


def test_the_thread_looks_for_everything_that_it_hears() -> None:
    drive = Drive(seed=7)
    told: list[Closed] = []
    closer = LoopCloser(drive.graph, OPTIONS, told.append)
    closer.start()
    try:
        drive.graph_listener = closer.hear  # type: ignore[attr-defined]
        for T in circuit(40, turns=1.3):
            closer.hear(drive.go(Box(3), [T], drift_rad=DRIFT_RAD)[0])
        assert closer.wait_idle(60)
    finally:
        closer.stop(5)
    assert drive.graph.loops > 0
    assert {one.cause for one in told} == {"loop"}


def test_an_error_that_nobody_foresaw_is_told_until_the_next_keyframe_was_looked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drive, board = Drive(seed=8), StatusBoard(StatusOptions())
    closer = LoopCloser(drive.graph, OPTIONS, lambda closed: None, board=board)
    first, second, third = drive.go(Box(4), circuit(40)[:3])
    find = closer.search.find

    def broken(number: int) -> Found:
        if number != third.keyframe.number:
            raise KeyError("of a test")
        return find(number)

    monkeypatch.setattr(closer.search, "find", broken)
    closer.start()
    try:
        for count, placed in enumerate((first, second), 1):
            closer.hear(placed)
            assert closer.wait_idle(20)
            assert board.error_counts() == (("loops", count),)
        (reason,) = board.reasons(0.0)
        assert reason.code == "UNEXPECTED_ERROR"
        looked = f"looking for keyframe {second.keyframe.number} failed (2 times so far)"
        assert reason.text == f"loops: {looked}: KeyError: 'of a test'"
        closer.hear(third)
        assert closer.wait_idle(20)
        assert not board.reasons(0.0)
    finally:
        closer.stop(5)


@pytest.mark.parametrize("options", [{"min_inliers": 15}, {"gap": 0}, {"cycle_deg": 0.0}])
def test_senseless_options_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"loops\."):
        LoopOptions(**options)  # type: ignore[arg-type]
