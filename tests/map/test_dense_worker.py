# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that makes the dense map: only what is wanted, of the newest world, counted."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from g2vlm_map.dense import worker as module
from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.obstacles import obstacles_around
from g2vlm_map.dense.options import DenseOptions, ObstacleOptions, ScanOptions
from g2vlm_map.dense.worker import Around, DenseWorker, Whole
from g2vlm_map.events import ConditionChanged
from g2vlm_map.options import StatusOptions
from g2vlm_map.status import StatusBoard
from g2vlm_map.world import World
from tests.helpers import wait_for
from tests.map.box_world import Drive, tour

CRATE = (0.8, -0.4, 0.0, 1.2, 0.3, 0.6)
FAST = DenseRules(DenseOptions(min_period_s=0.1, sweep=False))


class Watched:
    """A worker with all that it delivered and said."""

    def __init__(self, *wanted: str, rules: DenseRules = FAST) -> None:
        self.wanted = set(wanted)
        self.made: list[Whole | Around] = []
        self.notes: dict[str, str] = {}
        self.board = StatusBoard(StatusOptions(), self.note)
        self.worker = DenseWorker(
            lambda: self.wanted, self.made.append, self.board, rules, ScanOptions()
        )
        self.worker.start()

    def note(self, event: object) -> None:
        assert isinstance(event, ConditionChanged)
        self.notes.pop(event.code, None)
        if event.holds:
            self.notes[event.code] = event.text

    def count(self, kind: type) -> int:
        return sum(isinstance(item, kind) for item in self.made)

    def settle(self) -> None:
        """Until the worker has looked at what there is, twice."""
        looked = threading.Event()
        calls = 0

        def wanted() -> set[str]:
            nonlocal calls
            calls += 1
            if calls > 2:
                looked.set()
            return self.wanted

        self.worker._wanted = wanted
        assert looked.wait(5.0)


@pytest.fixture(scope="module")
def drive() -> Drive:
    return tour([CRATE], stops=8)


def test_what_is_wanted_is_made_and_said_to_be_no_safety_device(drive: Drive) -> None:
    watched = Watched("points", "occupancy", "obstacles", "scan")
    watched.worker.offer(drive.world())
    wait_for(lambda: len(watched.made) >= 2, 10.0, what="both products")
    around = next(item for item in watched.made if isinstance(item, Around))
    whole = next(item for item in watched.made if isinstance(item, Whole))
    assert around.stamp_ns == whole.stamp_ns == 8 * 10**9
    assert len(around.obstacles_P3) > 100
    assert np.isfinite(around.scan.range_A).any()
    assert whole.grid is not None
    assert len(whole.snapshot.voxels) > 1000
    assert "not safety-rated" in watched.notes["NOT_SAFETY_RATED"]
    watched.worker.stop()
    assert watched.notes == {}
    counts = watched.worker.counts
    assert (counts.wholes, counts.arounds, counts.offered) == (1, 1, 1)
    assert counts.seconds > 0


def test_nothing_is_made_for_nobody_and_at_once_for_who_comes_late(drive: Drive) -> None:
    watched = Watched()
    watched.worker.offer(drive.world())
    watched.settle()
    assert watched.made == []
    watched.wanted = {"points"}
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the map for a late listener")
    watched.settle()
    assert watched.count(Whole) == 1, "nothing changed, nothing is made"
    assert watched.notes == {}, "points alone are nothing that a robot drives by"
    watched.wanted = {"points", "occupancy"}
    wait_for(lambda: watched.count(Whole) == 2, 10.0, what="occupancy for another one")
    watched.worker.stop()


def test_nothing_is_made_without_a_scale(drive: Drive) -> None:
    watched = Watched("points", "occupancy", "obstacles", "scan")
    known = drive.world()
    unknown = replace(known, scale=replace(known.scale, metric=False, reason="none"))
    watched.worker.offer(unknown)
    watched.settle()
    assert watched.made == []
    assert watched.notes == {}
    watched.worker.offer(replace(known, version=5))
    wait_for(lambda: len(watched.made) >= 2, 10.0, what="the map once the scale carries")
    watched.worker.stop()


def test_without_a_base_the_points_come_and_the_reason_is_said(drive: Drive) -> None:
    watched = Watched("points", "obstacles")
    watched.worker.offer(drive.world(T_base_body=None))
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the points")
    assert watched.count(Around) == 0
    assert "obstacles" in watched.notes["BASE_UNKNOWN"]
    watched.worker.offer(drive.world())
    wait_for(lambda: watched.count(Around) == 1, 10.0, what="obstacles once the base is known")
    assert "BASE_UNKNOWN" not in watched.notes
    watched.worker.stop()


def test_the_newest_world_wins_and_the_others_are_counted(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    real = obstacles_around

    def slow(*given: object) -> object:
        begun.set()
        go.wait(10.0)
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "obstacles_around", slow)
    watched = Watched("obstacles")
    whole = drive.world()
    watched.worker.offer(replace(whole, keyframes=whole.keyframes[:4]))
    assert begun.wait(10.0)
    for count in (5, 6, 7, 8):
        watched.worker.offer(replace(whole, keyframes=whole.keyframes[:count]))
    go.set()
    wait_for(lambda: watched.count(Around) == 2, 10.0, what="the first and the newest")
    watched.settle()
    assert [item.stamp_ns // 10**9 for item in watched.made] == [4, 8]
    assert watched.worker.counts.superseded == 3
    watched.worker.stop()


def made_so_far(watched: Watched, count: int) -> bool:
    return watched.count(Around) == count


def test_the_map_is_rate_limited_and_obstacles_are_not(drive: Drive) -> None:
    watched = Watched(
        "points", "obstacles", rules=DenseRules(DenseOptions(min_period_s=3600.0, sweep=False))
    )
    whole = drive.world()
    for count in (5, 6, 7, 8):
        watched.worker.offer(replace(whole, keyframes=whole.keyframes[:count]))
        wait_for(partial(made_so_far, watched, count - 4), 10.0, what="obstacles")
    assert watched.count(Whole) == 1
    watched.worker.stop()


def test_a_version_that_changes_makes_all_anew(drive: Drive) -> None:
    watched = Watched("points")
    watched.worker.offer(drive.world(version=1))
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the map")
    watched.worker.offer(drive.world(version=2))
    wait_for(lambda: watched.count(Whole) == 2, 10.0, what="the map of another past")
    made = [item.snapshot.version for item in watched.made if isinstance(item, Whole)]
    assert made == [1, 2]
    watched.worker.stop()


def failed(board: StatusBoard, times: int) -> bool:
    return board.error_counts() == (("map points and occupancy", times),)


def test_a_world_that_cannot_be_mapped_is_told_until_the_next_can(
    drive: Drive, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason holds while nothing newer could be made, not only until somebody looks again."""
    watched = Watched("points")
    board = watched.board
    for version in (1, 2):
        watched.worker.offer(drive.world(version=version, T_level_map=np.zeros((2, 2))))
        wait_for(partial(failed, board, version), 10.0, what="the error")
    watched.settle()
    (reason,) = board.reasons(0.0)
    assert reason.code == "UNEXPECTED_ERROR"
    assert "map points and occupancy: making them of world 2 failed (2 times" in reason.text
    assert "ValueError" in reason.text
    assert "Traceback" in caplog.text
    watched.worker.offer(World())
    watched.settle()
    assert board.holds("UNEXPECTED_ERROR", "map points and occupancy"), "nothing was made yet"
    watched.worker.offer(drive.world(version=3))
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the next map")
    wait_for(lambda: not board.reasons(0.0), 10.0, what="the end of the reason")
    watched.worker.stop()


def test_a_product_that_fails_keeps_no_other_from_being_made(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: object) -> object:
        raise ZeroDivisionError("of a test")

    watched = Watched("points", "scan")
    monkeypatch.setattr(module, "scan_row", broken)
    watched.worker.offer(drive.world())
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the points")
    reason, _ = watched.board.reasons(0.0)  # NOT_SAFETY_RATED comes behind it
    assert "obstacles and scan: making them of world" in reason.text
    assert "ZeroDivisionError: of a test" in reason.text
    watched.worker.stop()
    assert not watched.board.reasons(0.0), "what has stopped has no trouble"


def test_what_fails_outside_of_the_products_does_not_end_the_thread(drive: Drive) -> None:
    watched = Watched("points")

    def gone() -> set[str]:
        raise RuntimeError("the publishers are gone")

    asked, watched.worker._wanted = watched.worker._wanted, gone
    watched.worker.offer(drive.world())
    wait_for(lambda: bool(watched.board.reasons(0.0)), 10.0, what="the error")
    assert "dense map: looking at world" in watched.board.reasons(0.0)[0].text
    watched.worker._wanted = asked
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the map")
    wait_for(lambda: not watched.board.reasons(0.0), 10.0, what="the end of the reason")
    watched.worker.stop()


def test_points_of_keyframes_that_were_culled_go(drive: Drive) -> None:
    watched = Watched("points")
    whole = drive.world()
    watched.worker.offer(whole)
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the map")
    left = replace(whole, keyframes=whole.keyframes[:3])  # the same version: nothing moved
    watched.worker.offer(left)
    wait_for(lambda: watched.count(Whole) == 2, 10.0, what="the map of those that are left")
    before, after = (item.snapshot for item in watched.made if isinstance(item, Whole))
    assert (before.keyframes, after.keyframes) == (8, 3)
    np.testing.assert_array_equal(after.voxels.key_V, DenseMap(FAST).update(left).voxels.key_V)
    assert len(np.setdiff1d(before.voxels.key_V, after.voxels.key_V)) > 100
    watched.worker.stop()


def test_other_options_hold_from_the_next_map_on(drive: Drive) -> None:
    watched = Watched("obstacles")
    watched.worker.offer(drive.world())
    wait_for(lambda: watched.count(Around) == 1, 10.0, what="obstacles")
    high = DenseRules(FAST.dense, ObstacleOptions(min_height=0.4, max_height=0.5))
    watched.worker.apply(high, ScanOptions(increment_deg=10.0))
    wait_for(lambda: watched.count(Around) == 2, 10.0, what="obstacles by other rules")
    after = watched.made[-1]
    assert isinstance(after, Around)
    assert len(after.scan.range_A) == 36
    assert after.obstacles_P3[:, 2].min() > 0.35
    watched.worker.stop()


def test_it_can_be_started_again(drive: Drive) -> None:
    watched = Watched("points")
    watched.worker.offer(drive.world())
    wait_for(lambda: watched.count(Whole) == 1, 10.0, what="the map")
    watched.worker.stop()
    watched.worker.offer(drive.world(version=9))
    watched.worker.start()
    time.sleep(0.6)  # it looks four times a second
    assert watched.count(Whole) == 1, "what was offered before the start is of another run"
    watched.worker.offer(drive.world(version=10))
    wait_for(lambda: watched.count(Whole) == 2, 10.0, what="the map of the second run")
    watched.worker.stop()


def test_what_a_stop_gave_up_is_not_delivered_after_the_next_start(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    making, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Any:
        making.set()
        assert go_on.wait(10.0)
        return obstacles_around(*arguments)

    monkeypatch.setattr("g2vlm_map.dense.worker.obstacles_around", slow)
    watched = Watched("obstacles")
    watched.worker.offer(drive.world())
    assert making.wait(10.0)
    old = watched.worker._thread
    assert old is not None
    watched.worker.stop(0.0)
    watched.worker.start()
    go_on.set()
    old.join(10.0)
    assert not old.is_alive()
    assert watched.made == []
    watched.worker.stop()
