# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Marks on live pictures, carried by the motion: how exactly, and when they are refused."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from g2vlm_map.live_marks import LivePictures, MarkLostError
from g2vlm_map.options import KeyframeOptions, PipelineOptions
from g2vlm_map.pipeline import InputFrame, Mark, Pipeline
from g2vlm_model.interface import AnswerStatus
from tests.ros.scripted_runtime import ScriptedRuntime

NS = 1_000_000_000
HW = (480, 640)
STEP_NS = NS // 30
_rng = np.random.default_rng(5)
_coarse, _fine = (
    _rng.integers(0, 256, shape).astype(np.float32) for shape in ((30, 40), (120, 160))
)
_WALL = 0.6 * cv2.resize(_coarse, (1600, 1200), interpolation=cv2.INTER_CUBIC)
_WALL += 0.4 * cv2.resize(_fine, (1600, 1200), interpolation=cv2.INTER_CUBIC)
WALL = np.clip(_WALL, 0, 255).astype(np.uint8)
Motion = Callable[[float], NDArray[np.float64]]


def slide(seconds: float) -> NDArray[np.float64]:
    """(2, 3) affine from the wall to the picture: 120 px/s to the left, 40 px/s up."""
    return np.array([[1.0, 0.0, -400.0 - 120.0 * seconds], [0.0, 1.0, -300.0 - 40.0 * seconds]])


def turn(seconds: float) -> NDArray[np.float64]:
    """12 degrees and 15 % of approach a second about the middle of the picture."""
    angle, zoom = np.deg2rad(12.0 * seconds), 1.15**seconds
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    A = np.array([[c, -s], [s, c]])
    offset = np.array([320.0, 240.0]) - A @ np.array([800.0, 600.0])
    return np.column_stack([A, offset])


def taken(motion: Motion, seconds: float) -> NDArray[np.uint8]:
    """The picture of an instant, with noise of its own."""
    picture = cv2.warpAffine(WALL, motion(seconds), HW[::-1]).astype(np.float32)
    picture += np.random.default_rng(round(seconds * 1e3)).normal(0.0, 3.0, HW)
    return np.clip(picture, 0, 255).astype(np.uint8)


def small(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA).astype(np.uint8)


def moved(motion: Motion, place: tuple[float, float], t: float, to: float) -> NDArray[np.float64]:
    """Where a place of the picture of `t` is in that of `to`."""
    A, B = motion(t), motion(to)
    wall = np.linalg.solve(A[:, :2], np.array(place) - A[:, 2])
    found: NDArray[np.float64] = B[:, :2] @ wall + B[:, 2]
    return found


@pytest.mark.parametrize("motion", [slide, turn])
@pytest.mark.parametrize("looked_at", [1, 4])
def test_a_mark_lands_within_two_pixels(
    motion: Motion, looked_at: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """640 x 480 at 30 Hz for a second; also where only every fourth picture was looked at."""
    live = LivePictures()
    for index in range(0, 31, looked_at):
        live.add("cam", NS + index * STEP_NS, small(taken(motion, index / 30)))
    keyframes = [NS + index * STEP_NS for index in (0, 28)]
    errors = []
    for index in range(1, 28, 3):
        for place in ((150.0, 130.0), (320.0, 240.0), (460.0, 330.0)):
            nearest = 0 if index < 14 else 28
            carried = live.carry("cam", NS + index * STEP_NS, place, HW, keyframes)
            assert carried.stamp_ns == NS + nearest * STEP_NS
            expected = moved(motion, place, index / 30, nearest / 30)
            errors.append(float(np.hypot(*(np.array([carried.u, carried.v]) - expected))))
    with capsys.disabled():
        print(f" [{np.median(errors):.2f} px, worst {max(errors):.2f}] ", end="")
    assert np.median(errors) < 0.5
    assert max(errors) < 2.0


def test_features_around_carry_a_mark_on_a_plain_patch() -> None:
    """A door's middle: nothing on it can be followed, its frame can."""
    live = LivePictures()
    for index in range(9):
        picture = taken(slide, index / 30)
        u, v = moved(slide, (320.0, 240.0), 0.0, index / 30).round().astype(int)
        cv2.rectangle(picture, (u - 34, v - 34), (u + 34, v + 34), 128, -1)
        live.add("cam", NS + index * STEP_NS, small(picture))
    carried = live.carry("cam", NS, (320.0, 240.0), HW, [NS + 8 * STEP_NS])
    expected = moved(slide, (320.0, 240.0), 0.0, 8 / 30)
    assert np.hypot(*(np.array([carried.u, carried.v]) - expected)) < 2.0


def refusal(live: LivePictures, stamp_ns: int, keyframes: list[int]) -> str:
    with pytest.raises(MarkLostError) as raised:
        live.carry("cam", stamp_ns, (320.0, 240.0), HW, keyframes)
    return str(raised.value)


def test_what_cannot_be_carried_is_refused_with_the_stamps_that_would_do() -> None:
    live = LivePictures()
    keyframe = NS + 100 * STEP_NS
    assert "no live pictures of it are kept" in refusal(live, NS, [keyframe])
    # Too much motion: another part of the wall in every picture.
    for index in range(5):
        live.add("cam", NS + index * STEP_NS, small(taken(slide, index * 2.0)))
    text = refusal(live, NS + STEP_NS, [NS + 4 * STEP_NS])
    assert "is lost on the way" in text
    assert text.endswith(f"nearest frames of cam have [{NS + 4 * STEP_NS}]")
    # A blank wall.
    live.clear()
    for index in range(5):
        live.add("cam", NS + index * STEP_NS, np.full((120, 160), 150, np.uint8))
    assert "shows nothing that could be followed" in refusal(live, NS, [NS + 4 * STEP_NS])
    # Too old, too new, beside every picture, and a keyframe that is gone.
    assert "0.50 s before the oldest" in refusal(live, NS // 2, [NS])
    assert "1.00 s after the newest" in refusal(live, 2 * NS + 4 * STEP_NS, [NS])
    live.add("cam", 3 * NS, np.full((120, 160), 150, np.uint8))
    text = refusal(live, 2 * NS, [NS])
    assert f"the nearest are [{NS + 3 * STEP_NS}, {NS + 4 * STEP_NS}]" in text
    assert "no keyframe of the scene is kept any more" in refusal(live, NS, [NS // 2])


def test_a_place_that_has_left_the_picture_is_refused() -> None:
    live = LivePictures()
    for index in range(31):
        live.add("cam", NS + index * STEP_NS, small(taken(slide, index / 30)))
    with pytest.raises(MarkLostError):
        live.carry("cam", NS, (60.0, 200.0), HW, [NS + 30 * STEP_NS])


def test_old_pictures_make_room() -> None:
    live = LivePictures()
    for index in range(300):
        live.add("cam", NS + index * STEP_NS, np.zeros((120, 160), np.uint8))
    assert "before the oldest" in refusal(live, NS, [NS])


def test_the_pipeline_carries_marks_of_live_pictures_to_its_keyframes() -> None:
    """A keyframe each 0.3 s; marks on every picture between."""
    runtime = ScriptedRuntime()
    options = PipelineOptions(
        keyframe=KeyframeOptions(min_motion=1.0, min_interval_s=0.0, max_interval_s=0.29)
    )
    with Pipeline(runtime, options) as pipeline:
        for index in range(34):
            rgb = np.repeat(taken(slide, index / 30)[..., None], 3, axis=2)
            pipeline.add(InputFrame(rgb, NS + index * STEP_NS))
            if index % 9 == 0:
                assert pipeline.wait(10.0)
        assert pipeline.wait(10.0)
        scene = pipeline.scene
        assert scene is not None
        stamps = scene.stamps_of(scene.frames[0].camera)
        checked = 0
        for index in range(1, 34):
            stamp_ns = NS + index * STEP_NS
            reply = pipeline.ask("How deep is A?", [Mark(300.0, 200.0, "A", stamp_ns=stamp_ns)])
            assert reply.answer.status == AnswerStatus.OK, reply.answer.message
            (mark,) = runtime.queries[-1].marks
            at = (stamps[mark.frame_index] - NS) / NS
            expected = moved(slide, (300.0, 200.0), index / 30, at)
            assert np.hypot(*(np.array([mark.u, mark.v]) - expected)) < 2.0
            checked += stamp_ns not in stamps
        assert checked > 20
        outside = pipeline.ask("How deep is A?", [Mark(640.0, 2.0, "A", stamp_ns=NS + STEP_NS)])
        assert outside.answer.status == AnswerStatus.REJECTED
        assert "lies outside of the 640 x 480 frame" in outside.answer.message
        pipeline.reset()
