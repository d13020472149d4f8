# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions of synthetic windows: exact, in the words that inference uses, well-behaved."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed
from g2vlm_training.synthetic.questions import (
    LEVELS,
    SPAR_TASKS,
    TASKS,
    Question,
    View,
    ask,
    corpus,
)
from g2vlm_training.synthetic.questions.medium import view_change
from numpy.typing import NDArray

from g2vlm_map.answers.quantity import parse_quantity
from g2vlm_model.marks import question_with_marks

SIZE = (42, 56)


def _view(index: int, frames: int = 3) -> View:
    room = make_room(scene_seed("test", index))
    K = intrinsics(75.0, SIZE)
    path = camera_path(room, index, frames, "hand", step=0.25, turn_deg=10.0)
    shot = render(room, path, K, SIZE)
    K_N33 = np.broadcast_to(K, (frames, 3, 3)).astype(np.float64)
    poses = np.asarray(shot.T_world_cam, np.float64)
    return View(room.objects, shot.depth, shot.object_id, poses, K_N33, room.size)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [_view(index) for index in range(10)]


@pytest.fixture(scope="module")
def asked(views: list[View]) -> dict[str, list[tuple[View, Question]]]:
    rng = np.random.default_rng(0)
    found: dict[str, list[tuple[View, Question]]] = {task: [] for task in TASKS}
    for view in views:
        for task in TASKS:
            made = [ask(view, task, rng) for _ in range(20)]
            found[task] += [(view, question) for question in made if question is not None]
    return found


def test_the_twenty_types_of_the_benchmark_and_two_more() -> None:
    assert len(SPAR_TASKS) == 20
    assert {"object_count", "room_size"} <= set(LEVELS["scene"])
    assert set(TASKS) == {task for level in LEVELS.values() for task in level}


def test_every_task_is_asked(asked: dict[str, list[tuple[View, Question]]]) -> None:
    assert {task: len(made) for task, made in asked.items() if len(made) < 5} == {}


def test_places_are_given_by_mark_and_by_name(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    only_marks = {"camera_motion_infer", "view_change_infer"}
    for task in set(SPAR_TASKS) - only_marks:
        by_name = np.mean([question.by_name for _, question in asked[task]])
        assert 0.02 < by_name < 0.98, (task, by_name)


def test_text_is_the_marks_and_the_question(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    for made in asked.values():
        for view, question in made:
            assert question.text == question_with_marks(question.bare, question.marks, view.sizes)
            assert "{" not in question.text
            for ground, bare in zip(
                question.grounds[::-1], question.bare_grounds[::-1], strict=False
            ):
                assert question.text[: ground.end].endswith(question.bare[: bare.end])


def test_answers_have_the_form_that_is_scored(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    for task, made in asked.items():
        for _, question in made:
            if question.options:
                assert question.answer in question.options, question
            elif question.values:
                assert task == "view_change_infer"
                assert len(question.values) == 5
            else:
                quantity = parse_quantity(question.answer)
                assert quantity is not None, question
                assert question.value is not None, question
                assert quantity.value == pytest.approx(question.value, abs=0.5, rel=0.06)


def _pixel(view: View, question: Question, label: str) -> tuple[int, NDArray[np.float64]]:
    """Frame and world point of a mark, by an own back-projection."""
    mark = next(mark for mark in question.marks if mark.label == label)
    i, u, v = mark.frame_index, int(mark.u), int(mark.v)
    z = float(view.depth_NHW[i, v, u])
    ray = np.linalg.inv(view.K_N33[i]) @ np.array([u, v, 1.0])
    return i, (view.T_world_cam_N44[i] @ np.array([*(ray * z), 1.0]))[:3]


def test_marked_numbers_follow_from_depth_and_poses(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    checked = 0
    for task in ("distance_prediction_oo", "distance_prediction_oo_mv"):
        for view, question in asked[task]:
            if not question.by_name:
                (i, a), (j, b) = (_pixel(view, question, label) for label in "AB")
                assert (i != j) == task.endswith("_mv")
                assert question.value == pytest.approx(float(np.linalg.norm(a - b)), rel=1e-4)
                checked += 1
    for task in ("depth_prediction_oc", "distance_prediction_oc", "depth_prediction_oo"):
        for view, question in asked[task]:
            if question.by_name:
                continue
            i, a = _pixel(view, question, "A")
            if task == "distance_prediction_oc":
                truth = float(np.linalg.norm(a - view.T_world_cam_N44[i, :3, 3]))
            else:
                _, b = _pixel(view, question, "B")
                axis, centre = view.T_world_cam_N44[i, :3, 2], view.T_world_cam_N44[i, :3, 3]
                near, far = float(axis @ (a - centre)), float(axis @ (b - centre))
                truth = far if task == "depth_prediction_oc" else abs(far - near)
            assert question.value == pytest.approx(truth, rel=1e-4)
            checked += 1
    assert checked > 100


def test_named_distances_are_those_of_the_boxes(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    checked = 0
    for view, question in asked["distance_prediction_oo"]:
        if question.by_name:
            a, b = (view.by_id[g.objects[0]] for g in question.grounds if g.objects)
            gap = np.subtract(a.centre, b.centre)
            assert question.value == pytest.approx(float(np.linalg.norm(gap)), rel=1e-5)
            checked += 1
    assert checked > 5


def test_the_matching_mark_shows_the_same_point(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    checked = 0
    for view, question in asked["position_matching"]:
        if question.by_name:
            continue
        right = next(mark for mark in question.marks if mark.label == question.answer)
        _, point = _pixel(view, question, "P")
        row, column = view.project(right.frame_index, point[None])[0]
        assert np.hypot(row - right.v, column - right.u) < 1.0
        checked += 1
    assert checked > 5


def _posed(view: View, T_1_2: NDArray[np.float64]) -> View:
    return dataclasses.replace(
        view,
        depth_NHW=view.depth_NHW[:2], object_id_NHW=view.object_id_NHW[:2],
        T_world_cam_N44=np.stack([np.eye(4), T_1_2]), K_N33=view.K_N33[:2],
    )  # fmt: skip


def test_motion_has_the_signs_of_its_words(views: list[View]) -> None:
    """A turn to the right moves what was ahead to the left; up is against the image's rows."""
    c, s = np.cos(0.3), np.sin(0.3)
    T = np.eye(4)
    T[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    T[:3, 3] = [0.05, -0.1, 0.4]
    ahead_in_turned = np.linalg.inv(T) @ np.array([0, 0, 5.0, 1.0])
    assert ahead_in_turned[0] < 0
    assert view_change(T) == (0.05, 0.1, 0.4, 17.0, 0.0)
    view = _posed(views[0], T)
    said = {}
    for seed in range(20):
        for task in ("turn", "view_change_infer", "motion"):
            question = ask(view, task, np.random.default_rng(seed))
            if question is not None:
                first = question.text.index("frame 1") < question.text.index("frame 2")
                said[task, first] = question.answer
    assert said["turn", True] == "right"
    assert said["turn", False] == "left"
    assert said["view_change_infer", True] == "right 0.05 up 0.10 forward 0.40 turn right 17 up 0"
    assert said["motion", True] == "forward"
    assert said["motion", False] == "backward"


def _in_words(question: Question) -> str:
    """The answer, looked up where it is the letter of an option."""
    offered: dict[str, str] = dict(re.findall(r"([A-D])\. ([a-z ]+?)(?= [A-D]\.|$)", question.bare))
    return offered.get(question.answer, question.answer)


def _camera(view: View, frame: int, point: NDArray[np.float64]) -> NDArray[np.float64]:
    T = view.T_world_cam_N44[frame]
    local: NDArray[np.float64] = T[:3, :3].T @ (point - T[:3, 3])
    return local


def test_marked_relations_follow_from_the_points(
    asked: dict[str, list[tuple[View, Question]]],
) -> None:
    checked = dict.fromkeys(LEVELS["high"], 0)
    for task in checked:
        for view, question in asked[task]:
            if question.by_name:
                continue
            points = {mark.label: _pixel(view, question, mark.label)[1] for mark in question.marks}
            named = re.search(r"frame (\d+)", question.bare)
            frame = int(named[1]) - 1 if named else question.marks[0].frame_index
            said = _in_words(question)
            if task.startswith("distance_infer"):
                far = {k: float(np.linalg.norm(points[k] - points["P"])) for k in "AB"}
                nearest = min(far, key=lambda k: far[k])
                assert (said == nearest) == ("nearer" in question.bare)
            elif task == "obj_spatial_relation_oc_mv":
                x, y, z = _camera(view, frame, points["P"])
                truth = {"left": x < 0, "right": x > 0, "above": y < 0, "below": y > 0,
                         "in": z > 0, "front": z > 0, "behind": z < 0}  # fmt: skip
                assert all(truth[word] for word in said.split()), (said, x, y, z)
            elif task.startswith("obj_spatial_relation_oo"):
                gap = _camera(view, frame, points["P"])[2] - _camera(view, frame, points["Q"])[2]
                assert said == ("in front" if gap < 0 else "behind")
            else:
                ahead = (points["Q"] - points["P"])[:2]
                target = points["R"] - points["S" if "S" in points else "P"]
                to_left = float(ahead[0] * target[1] - ahead[1] * target[0])
                # In front of a thing is the observer's side of it, of the observer the far side.
                onward = float(ahead @ target[:2]) * (-1 if "S" in points else 1)
                side = "left" if to_left > 0 else "right"
                assert said == f"{side} {'in front' if onward > 0 else 'behind'}"
            checked[task] += 1
    assert min(checked.values()) >= 3, checked


def test_imagined_standpoint_by_hand() -> None:
    """At the origin, facing x: y is to the left, and what has negative x is behind."""
    from g2vlm_training.synthetic.questions.high import _turned

    flat = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 1.0], [-1.0, -1.0], [-1.0, 1.0]])
    bearing = np.arctan2(flat[:, 1], flat[:, 0])
    ok = np.linalg.norm(flat, axis=1) > 0
    right = {2: 0, 3: 3, 4: 2}  # left in front, right behind, left behind
    seen = set()
    for seed in range(300):
        found = _turned(np.random.default_rng(seed), ok, bearing)
        assert found is not None
        if found[0] == 1:
            assert found[3] == right[found[1]]
            seen.add(found[1])
    assert seen == set(right)


def test_one_frame_allows_no_question_about_two() -> None:
    view = _view(3, frames=1)
    rng = np.random.default_rng(0)
    for task in TASKS:
        if task.endswith("_mv") or task in {*LEVELS["medium"], "turn", "angle", "motion"}:
            assert [ask(view, task, rng) for _ in range(5)] == [None] * 5, task


def test_unknown_depth_is_never_asked_about(views: list[View]) -> None:
    hidden = views[0].depth_NHW.copy()
    hidden[:, :, 20:] = 0
    view = dataclasses.replace(views[0], depth_NHW=hidden)
    rng = np.random.default_rng(0)
    drawn = 0
    for task in ("distance_prediction_oo", "depth_prediction_oc_mv", "nearer"):
        for _ in range(30):
            question = ask(view, task, rng)
            if question is not None and not question.by_name:
                assert all(mark.u < 20 for mark in question.marks)
                drawn += 1
    assert drawn > 10
    nothing = dataclasses.replace(view, objects=(), depth_NHW=np.zeros_like(hidden))
    for task in set(TASKS) - {"view_change_infer", "camera_motion_infer", "room_size"}:
        if task not in {"turn", "angle", "motion"}:
            assert ask(nothing, task, rng) is None, task


def test_the_same_seed_asks_the_same(views: list[View]) -> None:
    twice = [[ask(views[1], task, np.random.default_rng(5)) for task in TASKS] for _ in range(2)]
    assert twice[0] == twice[1]


def test_unknown_task_is_refused(views: list[View]) -> None:
    with pytest.raises(ValueError, match="task is 'riddle'"):
        ask(views[0], "riddle", np.random.default_rng(0))


def test_corpus_is_the_same_each_time() -> None:
    assert list(corpus()) == list(corpus())
