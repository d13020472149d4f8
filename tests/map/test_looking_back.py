# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a thing was last seen: which keyframes are looked at, and what is claimed."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from g2vlm_map.answers.asked import Question
from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.reliability import FEATURES, Curve, Reliability
from g2vlm_map.answers.spelling import plural, singular
from g2vlm_map.looking_back import MOST, WINDOW, LookingBack, spread, told
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from g2vlm_model.interface import AnswerStatus, RuntimeLimits, SpatialAnswer
from tests.map.mapping.boxes import Box
from tests.map.mapping.drives import circuit
from tests.map.placed import NS, placed, pose
from tests.map.test_map_keeper import Robot
from tests.ros.scripted_runtime import ScriptedRuntime

DOOR = understand("Where did I last see a door?")
METRIC = ScaleEstimate(True, math.log(2.0), 0.05, sources=("odometry",))


class Eyes(ScriptedRuntime):
    """Sees a door in the pictures of given stamps (s), and says so."""

    def __init__(self, doors: set[int]) -> None:
        super().__init__()
        self.doors = doors

    def ask(self, scene: Any, query: Any, **others: Any) -> SpatialAnswer:
        self.queries.append(query)
        match = re.search(r"How many doors are visible in frame (\d)", query.question)
        assert match, query.question
        stamp_s = scene.window.frames[int(match[1]) - 1].stamp_ns // NS
        return SpatialAnswer(
            AnswerStatus.OK, text="1" if stamp_s in self.doors else "0", confidence=0.8
        )

    def looked(self) -> list[list[int]]:
        return [[frame.stamp_ns // NS for frame in window.frames] for window in self.windows]


def world(count: int, step: float = 2.0, segment: int = 1) -> World:
    """A way straight on: every keyframe shows another place."""
    ours = [placed(k, pose(shift=(step * k, 0.0, 0.0))) for k in range(1, count + 1)]
    return World(segment=segment, keyframes=tuple(ours), scale=METRIC)


def sure(accuracy: float) -> Reliability:
    curve = Curve((0.0,) * len(FEATURES), {}, (0.0,), (accuracy,), 100, accuracy)
    return Reliability("scripted-0", {"memory/text": curve})


FOREVER = 1e12


def test_the_newest_keyframe_that_shows_it_is_found_and_the_rest_not_looked_at() -> None:
    runtime = Eyes({2, 5, 6})
    sought = LookingBack(runtime).search("door", world(10), FOREVER)
    assert sought.placed is not None
    assert sought.placed.keyframe.stamp_ns == 6 * NS
    assert runtime.looked() == [[7, 8, 9, 10], [3, 4, 5, 6]], "newest first, in order of time"
    assert all(scene.closed for scene in runtime.scenes)
    keys = [frame.key for window in runtime.windows for frame in window.frames]
    assert len(set(keys)) == len(keys)


def test_a_thing_that_none_shows_is_not_seen_and_says_how_far_it_looked() -> None:
    of = world(6)
    sought = LookingBack(Eyes(set())).search("door", of, FOREVER)
    assert (sought.placed, sought.looked, sought.complete) == (None, 6, True)
    answer, recalled = told(DOOR, sought, of, sure(0.8), 0.3)
    assert (answer.status, answer.reply) == (AnswerStatus.OK, "not seen")
    assert "6 keyframes back to 5 s ago" in answer.message
    assert recalled.poses == ()


def test_a_find_gives_stamp_pose_and_place_in_the_map() -> None:
    of = world(6)
    sought = LookingBack(Eyes({3})).search("door", of, FOREVER)
    answer, recalled = told(DOOR, sought, of, sure(0.8), 0.3)
    assert answer.reply == "3 s ago, seen from x 12.00, y 0.00, z 0.00 m"
    assert (answer.value, answer.unit, answer.is_calibrated) == (3.0, "s", True)
    assert answer.confidence == pytest.approx(0.8)
    ((stamp_ns, T),) = [(one.stamp_ns, one.T_level_base) for one in recalled.poses]
    assert stamp_ns == 3 * NS
    np.testing.assert_allclose(T[:3, 3], answer.points[0])
    apart = replace(of, segment=2, keyframes=(*of.keyframes, placed(9, np.eye(4), segment=2)))
    elsewhere, recalled = told(DOOR, sought, apart, sure(0.8), 0.3)
    assert "not connected" in elsewhere.message
    assert recalled.poses == ()


def test_what_no_measurement_bears_out_is_not_claimed() -> None:
    of = world(6)
    sought = LookingBack(Eyes({3})).search("door", of, FOREVER)
    unmeasured, _ = told(DOOR, sought, of, Reliability(), 0.0)
    assert unmeasured.status is AnswerStatus.UNSUPPORTED
    assert "make calibrate" in unmeasured.message
    coin, recalled = told(DOOR, sought, of, sure(0.55), 0.3)
    assert coin.status is AnswerStatus.ABSTAINED
    assert "right in 55%" in coin.message
    assert recalled.poses == ()


def test_a_search_is_bounded_in_keyframes_time_and_by_the_runtime() -> None:
    assert len(spread(world(500), MOST)) <= MOST
    assert len(spread(world(500, step=0.01), MOST)) < 12, "places that look alike count once"
    runtime = Eyes(set())
    stopped = LookingBack(runtime).search("door", world(40), time.monotonic() - 1.0)
    assert (stopped.looked, stopped.complete, runtime.windows) == (0, False, [])
    runtime.info = replace(runtime.info, limits=RuntimeLimits(max_frames=2))
    LookingBack(runtime).search("door", world(6), FOREVER)
    assert [len(group) for group in runtime.looked()] == [2, 2, 2]
    assert WINDOW > 2


def test_an_empty_map_is_said() -> None:
    with pytest.raises(ValueError, match="no keyframe yet"):
        LookingBack(Eyes(set())).search("door", World(), FOREVER)


def test_the_pipeline_looks_back_without_a_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    robot = Robot(Eyes({2}))
    try:
        robot.go(Box(41), circuit(6))
        known: Callable[[Any], Reliability] = lambda info: sure(0.9)  # noqa: E731
        monkeypatch.setattr(robot.pipeline._desk._reliability, "of", known)
        reply = robot.pipeline.ask(Question("When did you last see a door?"))
        assert reply.answer.status is AnswerStatus.OK, reply.answer.message
        assert reply.recalled is not None
        shown = [one for one in robot.pipeline.world.keyframes if one.keyframe.stamp_ns // NS == 2]
        assert len(reply.recalled.poses) == len(shown)
    finally:
        robot.pipeline.stop()


def test_plurals_are_the_way_back_of_singulars() -> None:
    for name in ("door", "box", "shelf", "battery", "person", "red chair", "wall clock", "dish"):
        assert singular(plural(name)) == name
