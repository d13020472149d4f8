# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions about the map while it changes: loaded, broken off, laid upon another, scaled."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from g2vlm_map.answers.asked import Mark, Question, Reply, Scope
from g2vlm_map.poses import metric
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.world import World
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from tests.helpers import wait_for
from tests.map.bench import Bench
from tests.map.mapping.boxes import Box, look
from tests.map.mapping.drives import circuit
from tests.map.placed import placed, pose
from tests.map.scale.test_answers_in_metres import record
from tests.map.test_map_keeper import Robot

METRIC = ScaleEstimate(True, math.log(3.0), 0.05, sources=("odometry",))
BACK = "How do I get back to the start?"
FAR = Question("How far away is A?", (Mark(80.0, 60.0, "A"),), scope=Scope.MAP)


@pytest.fixture
def bench() -> Iterator[Bench]:
    one = Bench()
    # Words alone: value and places are then read off the geometry.
    one.runtime.break_answer = lambda said: SpatialAnswer(said.status, text=said.text)
    one.scenes(2)
    yield one
    one.pipeline.stop()


def in_one_piece(reply: Reply, world: World) -> None:
    """Value, points and pose of an answer about how far a mark is: one scale, one frame."""
    answer = reply.answer
    assert answer.status is AnswerStatus.OK, answer.message
    assert answer.measured_value is not None
    assert answer.unit == ("m" if answer.is_metric else "scene_unit")
    assert reply.recalled is not None
    ((_, T_level_base),) = [(it.stamp_ns, it.T_level_base) for it in reply.recalled.poses]
    away = float(np.linalg.norm(answer.points[0] - T_level_base[:3, 3]))
    assert away == pytest.approx(answer.measured_value, rel=1e-3)


def test_an_answer_about_the_map_is_in_its_axes(bench: Bench) -> None:
    reply = bench.pipeline.ask(FAR)
    in_one_piece(reply, bench.pipeline.world)
    assert not reply.answer.is_metric
    scene = bench.pipeline.ask(replace(FAR, scope=Scope.SCENE))
    assert scene.recalled is None
    assert scene.answer.measured_value == pytest.approx(reply.answer.measured_value)


def test_a_scale_that_comes_between_admission_and_answer_is_whole(bench: Bench) -> None:
    before = bench.pipeline.ask(FAR).answer.measured_value
    assert before is not None
    asked = len(bench.runtime.queries)
    bench.runtime.ask_gate.clear()
    replies: list[Reply] = []
    done = threading.Event()

    def respond(reply: Reply) -> None:
        replies.append(reply)
        done.set()

    bench.pipeline.submit(FAR, respond)
    wait_for(lambda: len(bench.runtime.queries) > asked, 10.0, what="the model is asked")
    bench.pipeline._scale.restore(METRIC)
    bench.runtime.ask_gate.set()
    assert done.wait(10.0)
    in_one_piece(replies[0], bench.pipeline.world)
    assert replies[0].answer.is_metric
    assert replies[0].answer.measured_value == pytest.approx(3.0 * before, rel=1e-3)


def test_a_scene_of_another_segment_has_no_metres_of_this_one(bench: Bench) -> None:
    """The map broke off: the scene that is there shares neither axes nor unit with what grows."""
    bench.pipeline.mapper.begin()
    bench.pipeline._scale.restore(METRIC)
    assert bench.pipeline.world.scale.metric
    reply = bench.pipeline.ask(FAR)
    assert not reply.answer.is_metric
    assert reply.answer.unit == "scene_unit"
    assert reply.recalled is None
    assert "no part of the present map" in reply.answer.message


def test_a_scene_moves_and_grows_with_its_keyframe() -> None:
    """Segment 2 is laid upon segment 1: turned, shifted, its unit half as long."""
    T_laid, unit = pose((0.2, 0.1, -0.4), (3.0, 1.0, 2.0)), 2.0
    then = placed(1, pose((0.0, 0.3, 0.0), (1.0, 0.0, 0.0)), segment=2)
    T_map_cam = pose((0.0, 0.5, 0.0), (1.2, 0.1, 0.3))
    seen = replace(record(), anchor=then, T_map_cam=T_map_cam, segment=2)
    laid = replace(
        then,
        T_map_body=T_laid @ metric(then.T_map_body, unit),
        log_depth_scale=then.log_depth_scale + math.log(unit),
        segment=1,
    )
    now = seen.at(World(segment=1, keyframes=(laid,)))
    assert now.segment == 1
    assert now.scale == pytest.approx(unit * seen.scale)
    assert now.T_map_cam is not None
    np.testing.assert_allclose(now.T_map_cam, T_laid @ metric(T_map_cam, unit), atol=1e-12)
    assert seen.at(World(segment=2, keyframes=(then,))) is seen
    gone: SceneRecord = seen.at(World(segment=1, keyframes=(placed(1, np.eye(4)),)))
    assert (gone.segment, gone.T_map_cam) == (0, None)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    robot = Robot()
    robot.go(Box(41), circuit(24))
    robot.pipeline._scale.restore(METRIC)
    path = robot.pipeline.save_map(tmp_path_factory.mktemp("maps") / "room").path
    robot.pipeline.stop()
    return path


def test_a_loaded_map_answers_once_the_robot_is_found_in_it(saved: Path) -> None:
    robot = Robot()
    try:
        robot.pipeline.load_map(saved)
        before = robot.pipeline.ask(Question(BACK, scope=Scope.MAP))
        assert before.answer.status is AnswerStatus.UNSUPPORTED
        assert "no keyframe of this place yet" in before.answer.message
        robot.drive.begin()
        robot.drive.truth = dict(enumerate(circuit(24), start=1))
        ways = [look(0.1 * k - 0.2, 0.2, 0.5 + 0.05 * k) for k in range(8)]
        robot.go(Box(41), ways[:1])
        alone = robot.pipeline.ask(Question(BACK, scope=Scope.MAP)).answer
        if "localized" not in robot.causes():
            assert "not connected" in alone.message, "the start of this part, and it says so"
        robot.go(Box(41), ways[1:])
        assert "localized" in robot.causes()
        world = robot.pipeline.world
        reply = robot.pipeline.ask(Question(BACK, scope=Scope.MAP))
        assert reply.answer.status is AnswerStatus.OK
        assert reply.answer.is_metric == world.scale.metric
        assert reply.answer.unit == ("m" if world.scale.metric else "scene_unit")
        assert reply.recalled is not None
        start, here = (it.T_level_base[:3, 3] for it in reply.recalled.poses)
        assert np.linalg.norm(start - here) == pytest.approx(reply.answer.value, rel=1e-6)
        first = min(world.keyframes, key=lambda one: one.keyframe.stamp_ns)
        assert reply.recalled.poses[0].stamp_ns == first.keyframe.stamp_ns
    finally:
        robot.pipeline.stop()


def test_without_a_scene_poses_answer_and_eyes_do_not() -> None:
    robot = Robot()
    try:
        robot.go(Box(41), circuit(4))
        asked = robot.pipeline.ask(Question("How far have you travelled?", scope=Scope.MAP))
        assert asked.answer.status is AnswerStatus.OK
        assert asked.answer.unit == "scene_unit"
        assert asked.record is None
        scene = robot.pipeline.ask(Question("How far have you travelled?"))
        assert scene.answer.status is AnswerStatus.NO_SCENE
        seen = robot.pipeline.ask(Question("Is there a chair?", scope=Scope.MAP))
        assert seen.answer.status is AnswerStatus.NO_SCENE
    finally:
        robot.pipeline.stop()
