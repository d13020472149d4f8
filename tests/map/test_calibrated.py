# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Calibrated cameras through the pipeline: marks, changes, what is wrong with a CameraInfo."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from g2vlm_map.camera_model import read_camera_info
from g2vlm_map.events import CalibrationChanged
from g2vlm_map.pipeline import Mark
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from tests.helpers import wait_for
from tests.map.bench import Make

HW = (120, 160)


def info(D: tuple[float, ...] = (), focal: float = 100.0, **changes: Any) -> Any:
    k = [focal, 0.0, 80.0, 0.0, focal, 60.0, 0.0, 0.0, 1.0]
    fields = {"height": 120, "width": 160, "k": k, "distortion_model": "plumb_bob", "d": list(D)}
    return SimpleNamespace(**{**fields, **changes})


BARREL = info((-0.28, 0.07, 0.0, 0.0, 0.0))


def test_marks_are_places_in_the_frame_as_it_was_delivered(bench: Make) -> None:
    one = bench()
    one.pipeline.calibrate("camera", BARREL)
    one.scenes(2)
    ray = np.array([[0.4, -0.3]])
    ((u, v),) = read_camera_info(BARREL, HW).pixels(ray)
    # Words alone: value and places are then read off the geometry.
    one.runtime.break_answer = lambda said: SpatialAnswer(said.status, text=said.text)
    reply = one.pipeline.ask("How far is A?", marks=[Mark(u, v, "A")])
    assert reply.answer.status == AnswerStatus.OK
    (mark,) = one.runtime.queries[-1].marks
    K = one.runtime.windows[-1].frames[mark.frame_index].K
    assert K is not None
    assert K[0, 0] != 100.0, "the runtime sees the straight picture's K"
    np.testing.assert_allclose((mark.u, mark.v), K[:2, :2] @ ray[0] + K[:2, 2], atol=1e-6)
    assert abs(mark.u - u) > 0.5, "the test needs a lens that moves the place"
    # The answer's place leads back to where it was marked, to a pixel of the model's picture.
    assert reply.record is not None
    (place,) = reply.record.places(reply.answer.points)
    np.testing.assert_allclose(place, (u, v), atol=160 / 32)
    exact = np.array([[0.4, -0.3, 1.0], [0.4, -0.3, -1.0]]) * 3.0
    there, behind = reply.record.places(exact)
    np.testing.assert_allclose(there, (u, v), atol=1e-3)
    assert np.isnan(behind).all()


def test_a_mark_beyond_the_straight_picture_is_refused_with_advice(bench: Make) -> None:
    one = bench()
    one.pipeline.calibrate("camera", BARREL)
    one.scenes(2)
    reply = one.pipeline.ask("How far is A?", marks=[Mark(0.0, 0.0, "A")])
    assert reply.answer.status == AnswerStatus.REJECTED
    assert "where the straightened frame of camera does not reach" in reply.answer.message
    outside = one.pipeline.ask("How far is A?", marks=[Mark(160.0, 0.0, "A")]).answer
    assert "lies outside of the 160 x 120 frame" in outside.message


def test_a_change_in_flight_is_told_once_and_holds_from_then_on(bench: Make) -> None:
    one = bench()
    one.pipeline.calibrate("camera", info())
    one.scenes(2)
    doubted = "CALIBRATION_DOUBTFUL"
    one.pipeline.board.condition(doubted, True, "the turns that the pictures show")
    one.pipeline.calibrate("camera", info())
    assert one.reason(doubted)
    for _ in range(3):
        one.pipeline.calibrate("camera", info(focal=120.0))
    assert not one.reason(doubted), "that was said of another K"
    one.scenes(1)
    focal = [frame.K[0, 0] for frame in one.runtime.windows[-1].frames if frame.K is not None]
    assert focal == [100.0, 100.0, 120.0]
    (changed,) = one.told(CalibrationChanged)
    assert "fx, fy, cx, cy were 100.0" in changed.text
    assert "and are 120.0" in one.reason("CAMERA_CHANGED")


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (info(focal=0.0), "0 means uncalibrated"),
        (info((0.1,) * 5, distortion_model="thin_prism"), "distortion_model is 'thin_prism'"),
        (info((0.1,) * 14), "D has 14 numbers"),
        (info(height=160), "another shape, so it was cut"),
        (info(roi=SimpleNamespace(x_offset=-9, y_offset=0, width=80, height=60)), "at (-9, 0)"),
        (info((0.0,) * 4, focal=8.0, distortion_model="equidistant"), "expected at most 360"),
    ],
)
def test_a_bad_camera_info_leaves_k_unknown_and_says_why(bench: Make, bad: Any, said: str) -> None:
    one = bench()
    one.pipeline.calibrate("camera", bad)
    one.scenes(2)
    one.pipeline.calibrate("camera", bad)
    assert said in one.reason("BAD_CAMERA_INFO")
    assert all(frame.K is None for frame in one.runtime.windows[-1].frames)
    one.pipeline.calibrate("camera", info())
    assert one.becomes("BAD_CAMERA_INFO", present=False) == ""
    one.scenes(1)
    assert one.runtime.windows[-1].frames[-1].K is not None


def test_without_a_source_for_it_a_missing_camera_info_is_no_trouble(bench: Make) -> None:
    one = bench()
    one.scenes(3)
    now = one.pipeline.snapshot()
    assert "NO_CAMERA_INFO" not in {reason.code for reason in now.reasons}


def test_the_first_frame_waits_for_the_calibration_that_is_sent_with_it(bench: Make) -> None:
    run = bench()
    run.pipeline.expect_calibration("camera", "/camera_info", sent=lambda: True)
    run.add()
    assert run.pipeline.pending_frames == 1
    run.pipeline.calibrate("camera", info())
    run.add()
    assert run.pipeline.wait(10.0)
    record = run.pipeline.scene
    assert record is not None
    assert [frame.K is not None for frame in record.frames] == [True, True]


def test_a_calibration_that_does_not_come_holds_no_frame_for_long(bench: Make) -> None:
    run = bench()
    run.pipeline.expect_calibration("camera", "/camera_info", sent=lambda: True)
    for _ in range(12):  # more than are held: the oldest are counted
        run.add()
    wait_for(lambda: run.pipeline.scene is not None, 10.0, what="a scene without K")
    wait_for(run.balanced, 10.0, what="every frame to be somewhere")


def test_where_nobody_sends_a_calibration_no_frame_waits(bench: Make) -> None:
    run = bench()
    run.pipeline.expect_calibration("camera", "/camera_info", sent=lambda: False)
    run.scenes(2)
    assert run.pipeline.pending_frames == 0
