# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rigs through the pipeline: leaps, cameras apart, cameras that fail, windows that fit."""

from __future__ import annotations

import dataclasses
import threading
import time
from typing import Any

import numpy as np
import pytest

from g2vlm_map.events import (
    ConditionChanged,
    FrameRefused,
    SceneReady,
    SegmentStarted,
)
from g2vlm_map.options import (
    ImageOptions,
    PipelineOptions,
)
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import RuntimeLimits
from tests.helpers import wait_for
from tests.map.bench import Make
from tests.map.frames import given
from tests.ros.scripted_runtime import ScriptedRuntime


def test_an_array_may_be_written_to_once_it_was_added(bench: Make) -> None:
    one = bench(cameras=("left", "right"))
    left = given(1.0, "left")
    one.pipeline.add(left)
    left.pixels[:] = 0  # type: ignore[index]
    one.pipeline.add(given(1.0, "right"))
    for camera in ("left", "right"):
        one.pipeline.add(given(1.1, camera))
    assert one.pipeline.wait(10.0)
    assert all(frame.image.any() for frame in one.runtime.windows[0].frames)


def test_one_leap_of_a_rig_is_one_restart(bench: Make) -> None:
    rig = ("left", "middle", "right")
    for leap_s in (-3.0, -3600.0, 3600.0):
        one = bench(cameras=rig)
        for _ in range(4):
            one.add(*rig)
        assert one.pipeline.wait(10.0)
        one.stamp_s += leap_s
        for _ in range(4):
            one.add(*rig)
            assert one.pipeline.wait(10.0)
        assert [event.number for event in one.told(SegmentStarted)] == [1, 2], leap_s
        # The new segment sees the same place: the map may join it with the first again.
        assert 2 in {event.record.segment for event in one.told(SceneReady)}
        assert one.balanced()


def test_a_second_leap_of_a_rig_is_a_second_restart(bench: Make) -> None:
    rig = ("left", "right")
    one = bench(cameras=rig)
    for leap_s in (0.0, -1000.0, -1000.0):
        one.stamp_s += leap_s + 3000.0 * (leap_s == 0.0)
        for _ in range(3):
            one.add(*rig)
    assert [event.number for event in one.told(SegmentStarted)] == [1, 2, 3]


def test_cameras_apart_are_told_with_the_tolerance_that_pairs_them(bench: Make) -> None:
    one = bench(cameras=("left", "right"), images=ImageOptions(timeout_s=0.3))
    running = threading.Event()

    def feed() -> None:
        while not running.wait(0.02):
            one.add("left", step_s=0.07)
            one.add("right", step_s=0.03)

    thread = threading.Thread(target=feed)
    thread.start()
    try:
        text = one.becomes("UNSYNCHRONISED")
    finally:
        running.set()
        thread.join()
    assert "frames of right are stamped 0.030 s after those of left" in text
    assert "sync.tolerance_s = 0.033 would pair them" in text
    assert one.pipeline.snapshot().scenes == 0
    assert any(event.code == "UNSYNCHRONISED" for event in one.told(ConditionChanged))


def test_a_camera_whose_frames_cannot_be_decoded_is_silent(bench: Make) -> None:
    """The rig goes on without it, and the reason says what is wrong with its frames."""
    one = bench(cameras=("left", "right"), images=ImageOptions(timeout_s=0.3))

    def feed() -> bool:
        one.add("left")
        bad = dataclasses.replace(given(one.stamp_s, "right"), pixels=Undecodable())
        one.pipeline.add(bad)
        return one.pipeline.snapshot().scenes > 1

    wait_for(feed, 10.0, interval_s=0.02, what="scenes of the good camera")
    assert {frame.camera for frame in one.runtime.windows[-1].frames} == {"left"}
    text = one.becomes("NO_IMAGES")
    assert "right: no frame is good; the last one: bad_data: not a picture" in text
    refused = one.told(FrameRefused)[0]
    assert (refused.camera, refused.reason) == ("right", "bad_data")
    wait_for(one.balanced, 10.0)


class Undecodable:
    """Its header is fine."""

    def size(self, max_pixels: int) -> tuple[int, int]:
        return 120, 160

    def gray(self) -> Any:
        from g2vlm_map.decode import BadInputError

        raise BadInputError("bad_data", "not a picture")

    def write_rgb(self, out_HW3: Any) -> None:
        self.gray()


@pytest.mark.parametrize(("most", "size"), [(24, 6), (12, 3), (32, 8)])
def test_windows_hold_what_the_runtime_takes(bench: Make, most: int, size: int) -> None:
    runtime, rig = ScriptedRuntime(), ("a", "b", "c", "d")
    runtime.info = dataclasses.replace(runtime.info, limits=RuntimeLimits(most))
    one = bench(runtime, cameras=rig)
    for _ in range(10):
        one.add(*rig)
        assert one.pipeline.wait(10.0)
    assert max(len(window) for window in runtime.windows) == 4 * size
    now = one.pipeline.snapshot()
    assert now.window_size == size
    assert now.segment == 1
    text = one.reason("WINDOW_SHORTENED")
    assert bool(text) == (size < 8)
    assert "SCALE_UNKNOWN" in {reason.code for reason in now.reasons}
    if text:
        assert f"takes {most} frames; windows hold {size} moments" in text


def test_a_rig_that_does_not_fit_at_all_is_refused() -> None:
    runtime = ScriptedRuntime()
    runtime.info = dataclasses.replace(runtime.info, limits=RuntimeLimits(8))
    with pytest.raises(ValueError, match=r"takes 8 frames, which are 2 moments of 4 cameras"):
        Pipeline(runtime, PipelineOptions(cameras=("a", "b", "c", "d")))


def test_free_running_cameras_with_extrinsics_make_scenes(bench: Make) -> None:
    """50 ms apart, where frames used to find no partner: their poses are those of their stamps."""
    one = bench(cameras=("left", "right"), images=ImageOptions(timeout_s=0.5))
    one.add("left")
    assert "where it sits on the rig is not known" in one.becomes("NO_EXTRINSICS")
    for camera in ("left", "right"):
        one.pipeline.sense(Extrinsics(camera, np.eye(4)))
    one.becomes("NO_EXTRINSICS", present=False)
    for _ in range(6):
        one.add("left", step_s=0.05)
        one.add("right", step_s=0.05)
        assert one.pipeline.wait(10.0)
    assert one.pipeline.snapshot().scenes >= 4
    record = one.pipeline.scene
    assert record is not None
    left, right = (record.frames[index] for index in record.moment)
    assert abs(left.stamp_ns - right.stamp_ns) == 50_000_000
    T = record.geometry.T_world_cam.astype(np.float64)
    lefts = [index for index, item in enumerate(record.frames) if item.camera == "left"]
    step = T[lefts[-1], :3, 3] - T[lefts[-2], :3, 3]
    ahead = T[record.moment[1], :3, 3] - T[record.moment[0], :3, 3]
    later = np.sign(right.stamp_ns - left.stamp_ns)  # whichever of its neighbours was there
    np.testing.assert_allclose(ahead, later * step / 2, atol=1e-6)
    assert not one.reason("UNSYNCHRONISED")


def test_a_camera_alone_needs_no_extrinsics(bench: Make) -> None:
    one = bench()
    one.scenes(2)
    time.sleep(0.3)  # the watch looks ten times a second
    assert not one.reason("NO_EXTRINSICS")
