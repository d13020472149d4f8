"""Questions of synthetic windows: exact, balanced, in the words that inference uses."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed
from g2vlm_training.synthetic.questions import TASKS, Question, View, ask, corpus

SIZE = (42, 56)


def _view(index: int, frames: int = 3) -> View:
    room = make_room(scene_seed("test", index))
    K = intrinsics(70.0, SIZE)
    path = camera_path(room, index, frames, "hand", step=0.2, turn_deg=8.0)
    shot = render(room, path, K, SIZE)
    return View(room, shot.depth, shot.object_id, shot.T_world_cam, K)


@pytest.fixture(scope="module")
def views() -> list[View]:
    return [_view(index) for index in range(12)]


@pytest.fixture(scope="module")
def asked(views: list[View]) -> dict[str, list[Question]]:
    rng = np.random.default_rng(0)
    found: dict[str, list[Question]] = {task: [] for task in TASKS}
    for view in views:
        for task in TASKS:
            found[task] += [q for q in (ask(view, task, rng) for _ in range(10)) if q is not None]
    return found


def test_every_task_is_asked(asked: dict[str, list[Question]]) -> None:
    assert {task: len(questions) for task, questions in asked.items() if len(questions) < 5} == {}


@pytest.mark.parametrize("task", ["nearer", "side", "turn"])
def test_two_sided_choices_are_balanced(asked: dict[str, list[Question]], task: str) -> None:
    tally = Counter(question.answer for question in asked[task])
    assert len(tally) == 2
    assert min(tally.values()) / sum(tally.values()) > 0.25, tally


def test_depth_is_the_distance_of_the_marked_pixel(views: list[View]) -> None:
    view = views[0]
    for seed in range(5):
        question = ask(view, "depth", np.random.default_rng(seed))
        assert question is not None
        words = question.text.splitlines()[0].split()
        frame, x, y = int(words[2]) - 1, int(words[4]), int(words[6])
        # The mark names the pixel to a percent of the picture: the truth is among its neighbours.
        u, v = (x + 0.5) / 100 * SIZE[1] - 0.5, (y + 0.5) / 100 * SIZE[0] - 0.5
        near = [
            float(np.linalg.norm(view.point(frame, row, column)))
            for row in range(max(0, int(v) - 1), min(SIZE[0], int(v) + 3))
            for column in range(max(0, int(u) - 1), min(SIZE[1], int(u) + 3))
        ]
        assert question.value is not None
        assert min(near) - 1e-6 <= question.value <= max(near) + 1e-6
        assert question.answer == f"{question.value:.1f} m"


def test_turn_and_angle_follow_the_poses(views: list[View]) -> None:
    view = views[1]
    for seed in range(8):
        rng = np.random.default_rng(seed)
        question = ask(view, "angle", rng)
        assert question is not None
        words = question.text.replace("?", " ").split()
        i, j = (int(words[k + 1]) - 1 for k, word in enumerate(words) if word == "frame")
        relative = view.T_world_cam_N44[i][:3, :3].T @ view.T_world_cam_N44[j][:3, :3]
        angle = np.degrees(np.arccos(np.clip((np.trace(relative) - 1) / 2, -1, 1)))
        assert question.value == pytest.approx(angle)
        assert question.answer == f"{round(angle)} degrees"


def test_a_turn_to_the_right_is_called_right(views: list[View]) -> None:
    """Right: what was ahead moves to the left of the picture."""
    view = views[2]
    poses = np.stack([np.eye(4), np.eye(4), np.eye(4)])
    c, s = np.cos(0.3), np.sin(0.3)
    poses[1:, :3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    poses[2] = poses[1]
    ahead_in_turned = np.linalg.inv(poses[1]) @ np.array([0, 0, 1.0, 1.0])
    assert ahead_in_turned[0] < 0
    turned = View(view.room, view.depth_NHW, view.object_id_NHW, poses, view.K_33)
    said = {}
    for seed in range(30):
        question = ask(turned, "turn", np.random.default_rng(seed))
        if question is not None:
            words = question.text.replace("?", " ").replace(",", " ").split()
            i, j = (int(words[k + 1]) for k, word in enumerate(words) if word == "frame")
            said[i, j] = question.answer
    assert said[1, 2] == "right"
    assert said[2, 1] == "left"


def test_one_frame_allows_no_motion_question() -> None:
    view = _view(3, frames=1)
    for task in ("turn", "angle", "motion"):
        assert ask(view, task, np.random.default_rng(0)) is None


def test_unknown_task_is_refused(views: list[View]) -> None:
    with pytest.raises(ValueError, match="task is 'riddle'"):
        ask(views[0], "riddle", np.random.default_rng(0))


def test_corpus_is_the_same_each_time() -> None:
    assert list(corpus()) == list(corpus())
