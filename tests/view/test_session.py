# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a page shows and asks for, without a browser: the same numbers as the pipeline's own API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from g2vlm_replay.errors import ReplayInputError
from g2vlm_view.drawing import Look
from g2vlm_view.play import CameraPlayer
from g2vlm_view.replies import answer_fields
from g2vlm_view.session import RefusedError, lettered, picked
from scipy.spatial.transform import Rotation

from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.occupancy import OCCUPIED, grid
from g2vlm_map.options import PipelineOptions
from g2vlm_map.pipeline import Mark, Pipeline, Question
from tests.helpers import wait_for
from tests.ros.scripted_runtime import ScriptedRuntime
from tests.view.viewed import Viewed


@pytest.fixture(autouse=True)
def _no_marks(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "viewed" in request.fixturenames:
        viewed: Viewed = request.getfixturevalue("viewed")
        viewed.do("unmark")


def wordless(runtime: ScriptedRuntime) -> None:
    """Let the runtime say a length and leave the measuring to the map."""
    said: dict[str, Any] = {
        "value": None,
        "unit": "",
        "points": np.zeros((0, 3), np.float32),
        "labels": (),
    }
    runtime.break_answer = lambda answer: replace(answer, **said)


def test_the_state_says_what_the_map_is(viewed: Viewed) -> None:
    state, world = viewed.session.state(), viewed.pipeline.world
    assert state["map"]["keyframes"] == len(world.keyframes) > 2
    assert state["map"]["points"] == len(viewed.session.newest().points())
    assert state["scale"] == {"metric": False, "sigma": None, "sources": []}
    assert state["playing"]["frames"] == state["playing"]["total"] == 6
    codes = {reason["code"]: reason for reason in state["status"]["reasons"]}
    assert codes["SCALE_UNKNOWN"]["title"] == "Lengths are up to scale: nothing metric fixes them."


def test_pictures_are_those_of_the_newest_keyframe(viewed: Viewed) -> None:
    record = viewed.pipeline.scene
    assert record is not None
    for name in ("keyframe", "depth", "current"):
        data = viewed.session.picture(name)
        assert data is not None
        shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert shown is not None
        assert shown.ndim == 3
    assert viewed.session.picture("/etc/passwd") is None
    assert viewed.session.state()["pictures"]["keyframe"] == str(record.stamp_ns)


def test_a_mark_and_a_question_are_answered_as_by_the_api(viewed: Viewed) -> None:
    assert viewed.do("mark", x=0.25, y=0.5) == "A is marked"
    (mark,) = viewed.session.marks
    record = viewed.pipeline.scene
    assert record is not None
    height, width = record.frames[record.newest].image.shape[:2]
    assert (mark.u, mark.v) == (0.25 * width - 0.5, 0.5 * height - 0.5)
    text = "How far away is A?"
    wordless(viewed.runtime)
    viewed.do("ask", question=text)
    wait_for(lambda: not viewed.session.asking, 10.0, what="the answer")
    answered = viewed.session.answers[-1]
    own = viewed.pipeline.ask(Question(text, (Mark(mark.u, mark.v, "A"),)))
    expected = answer_fields(text, own.answer, own.queue_ms)
    assert {**answered.fields, "ms": 0} == {**expected, "ms": 0}
    assert answered.evidence is not None
    place = answered.evidence.point_M3[list(answered.evidence.names).index("A")]
    assert mark.place_3 is not None
    np.testing.assert_allclose(place, mark.place_3, atol=1e-4)


def test_a_click_in_3d_and_one_on_the_picture_mean_the_same_place(viewed: Viewed) -> None:
    viewed.do("mark", x=0.6, y=0.4)
    first = viewed.session.marks[0]
    assert first.place_3 is not None
    camera = viewed.session.newest().path_N3[-1]
    found = picked(viewed.session.newest(), Look(), camera, first.place_3 - camera, angle=0.05)
    assert found is not None
    assert np.linalg.norm(found - first.place_3) < 0.2
    viewed.session.mark_in_space(first.place_3)
    second = viewed.session.marks[1]
    assert second.label == "B"
    assert second.stamp_ns == first.stamp_ns
    assert (second.u, second.v) == pytest.approx(
        (first.u, first.v), abs=3.0
    )  # a pixel of the model is five


def test_what_no_picture_shows_cannot_be_marked(viewed: Viewed) -> None:
    with pytest.raises(RefusedError, match="in none of the"):
        viewed.session.mark_in_space(np.array([500.0, 500.0, -500.0]))
    with pytest.raises(RefusedError, match="shares of the picture"):
        viewed.do("mark", x=2.0, y=0.0)
    with pytest.raises(RefusedError, match="expected a number"):
        viewed.do("mark", x="left", y=0.0)


def test_nothing_is_picked_where_no_point_is_shown(viewed: Viewed) -> None:
    picture = viewed.session.newest()
    up, away = np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 900.0])
    assert picked(picture, Look(), away, up) is None
    hidden = Look(min_confidence=1.0, max_range=1e-6)
    assert picked(picture, hidden, picture.path_N3[-1], picture.points()[0]) is None


def test_names_go_on_after_z() -> None:
    assert lettered(set()) == "A"
    assert lettered({"A", "C"}) == "B"
    assert lettered(set("ABCDEFGHIJKLMNOPQRSTUVWXYZ")) == "A1"


def test_the_look_is_checked(viewed: Viewed) -> None:
    for wrong in (
        {"mode": "blue"},
        {"size": "big"},
        {"points": 1},
        {"min_confidence": 2.0},
        {"x": 1},
    ):
        with pytest.raises(RefusedError):
            viewed.do("look", **wrong)
    assert viewed.session.look == Look()


def test_points_follow_the_sliders(viewed: Viewed) -> None:
    every = viewed.session.state()["map"]["points"]
    chunks = list(viewed.session.newest().nodes.values())
    reach = float(np.median([np.median(node.chunk.range_P) * node.scale for node in chunks]))
    expected = sum(int((node.chunk.range_P * node.scale <= reach).sum()) for node in chunks)
    assert 0 < expected < every
    viewed.do("look", max_range=reach)
    try:
        wait_for(lambda: viewed.session.state()["map"]["points"] == expected, 5.0)
    finally:
        viewed.do("look", max_range=0.0)
    wait_for(lambda: viewed.session.state()["map"]["points"] == every, 5.0)


def test_maps_are_saved_and_loaded_by_name_alone(viewed: Viewed, tmp_path: Path) -> None:
    assert "keyframes were saved" in viewed.do("save", name="kitchen")
    assert viewed.session.state()["maps"] == ["kitchen"]
    for name in ("", "../up", "/etc/x", "a/b", ".hidden", "x" * 200):
        with pytest.raises(RefusedError, match="a map is called"):
            viewed.do("save", name=name)
    with pytest.raises(RefusedError):
        viewed.do("load", name="nowhere")


def test_pause_step_and_speed(tmp_path: Path) -> None:
    with Viewed(tmp_path, paused=True) as one:
        assert one.session.state()["playing"]["paused"]
        for count in (1, 2):
            one.do("step")
            wait_for(lambda: one.player.frames == count, 10.0, what=f"frame {count}")  # noqa: B023
        assert one.player.paused
        for wrong in (-1, float("nan"), "fast", True):
            with pytest.raises(RefusedError, match="speed is"):
                one.do("speed", speed=wrong)
        one.do("speed", speed=4)
        one.do("play")
        one.played()
        assert one.player.frames == 6


def test_two_marks_and_a_length_make_metres(tmp_path: Path) -> None:
    with Viewed(tmp_path, frames=6) as one:
        one.played()
        one.do("mark", x=0.2, y=0.5)
        with pytest.raises(RefusedError, match="mark the two ends"):
            one.do("scale", metres=1.0)
        one.do("mark", x=0.8, y=0.5)
        ends = [mark.place_3 for mark in one.session.marks]
        assert ends[0] is not None
        assert ends[1] is not None
        units = float(np.linalg.norm(ends[0] - ends[1]))
        with pytest.raises(RefusedError, match="above 0"):
            one.do("scale", metres=-1)
        assert "metres now" in one.do("scale", metres=3.0)
        world = one.pipeline.world
        assert world.scale.metres_per_unit == pytest.approx(3.0 / units, rel=0.02)
        state = one.session.state()["scale"]
        assert (state["metric"], state["sources"]) == (True, ["length"])
        wait_for(lambda: one.session.state()["map"]["unit"] == "m", 5.0)


def test_occupancy_lies_on_the_floor_where_the_map_has_it(tmp_path: Path) -> None:
    with Viewed(tmp_path, on_base=True) as one:
        session = one.played().session
        one.do("look", occupancy=True)
        assert "in metres or not at all" in session.state()["occupancy"]
        one.made_metric()
        drawn = session.drawing._others
        wait_for(lambda: "occupancy" in drawn, 10.0, what="the grid")
        options, world = one.pipeline.options, one.pipeline.world
        rules = DenseRules(options.dense, options.obstacles, options.occupancy)
        dense = DenseMap()
        dense.rules = rules
        snapshot = dense.update(world)
        own = grid(snapshot.cells, rules.occupancy, (snapshot.position[0], snapshot.position[1]))
        handle = drawn["occupancy"]
        height, width = own.cells_YX.shape
        size = (width * own.resolution, height * own.resolution)
        assert (handle.render_width, handle.render_height) == pytest.approx(size)
        row_N, column_N = np.nonzero(handle.image[..., 3] == 210)  # what is occupied
        # A picture's x is its columns, y its rows, about its middle.
        there_N2 = np.stack([column_N + 0.5 - width / 2, row_N + 0.5 - height / 2], 1)
        local_N3 = np.pad(there_N2 * own.resolution, ((0, 0), (0, 1)))
        turn = Rotation.from_quat(np.roll(handle.wxyz, -1))
        shown_N3 = turn.apply(local_N3) + handle.position
        y_N, x_N = np.nonzero(own.cells_YX == OCCUPIED)
        expected_N2 = (np.stack([x_N, y_N], 1) + 0.5) * own.resolution + own.origin
        assert len(expected_N2)
        order, other = np.lexsort(shown_N3.T[:2].round(4)), np.lexsort(expected_N2.T.round(4))
        np.testing.assert_allclose(shown_N3[order, :2], expected_N2[other], atol=1e-4)
        np.testing.assert_allclose(shown_N3[:, 2], -options.obstacles.base_height, atol=1e-6)
        points_P2 = session.newest().points()[:, :2]
        apart_NP = np.linalg.norm(expected_N2[:, None] - points_P2[None], axis=2)
        assert apart_NP.min(axis=1).max() < 3 * own.resolution, "occupied where the wall is"
        session.drawing.show_occupancy(*(session.occupancy() or (None, 0.0)))
        assert drawn["occupancy"] is handle, "what has not changed is not sent again"
        one.do("look", occupancy=False)
        wait_for(lambda: "occupancy" not in drawn, 5.0, what="an empty floor")


def test_a_camera_is_played_paused_and_given_up(tmp_path: Path) -> None:
    film = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(film), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    rng = np.random.default_rng(0)
    for _ in range(8):
        writer.write(rng.integers(0, 255, (120, 160, 3), np.uint8))
    writer.release()
    with Pipeline(ScriptedRuntime(), PipelineOptions()) as pipeline:
        player = CameraPlayer(0, pipeline, cv2.VideoCapture(str(film)))
        with pytest.raises(ValueError, match="its own speed"):
            player.set_speed(2.0)
        player.start()
        wait_for(lambda: player.frames == 7, 10.0, what="all frames but the one that was tried")
        assert pipeline.snapshot().received == 7
        current = player.current()
        assert current is not None
        assert current.shape == (120, 160, 3)
        player.close()
        with pytest.raises(ReplayInputError, match="camera 3 cannot be opened"):
            CameraPlayer(3, pipeline, cv2.VideoCapture(str(tmp_path / "none.avi")))
