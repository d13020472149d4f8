# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that looks at frames: it goes on whatever a frame does."""

from __future__ import annotations

import pytest

from g2vlm_ros.frame_thread import FrameThread
from tests.helpers import wait_for
from tests.map.bench import Bench, Make
from tests.map.conftest import bench  # noqa: F401
from tests.map.frames import given
from tests.ros.graph import camera_info


@pytest.fixture
def one(bench: Make) -> Bench:  # noqa: F811
    return bench()


def test_a_frame_that_does_not_fit_into_memory_does_not_make_the_node_deaf(
    one: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = FrameThread(one.pipeline, 8)
    camera = one.pipeline._intake._cameras["camera"]
    admit = camera.admit

    def too_large(*arguments: object) -> None:
        raise MemoryError("33 megapixels")

    monkeypatch.setattr(camera, "admit", too_large)
    frames.put(given(10.0, "camera"))
    assert "33 megapixels" in one.becomes("UNEXPECTED_ERROR")
    monkeypatch.setattr(camera, "admit", admit)
    for k in range(3):
        frames.put(given(10.1 + 0.1 * k, "camera"))
    wait_for(lambda: one.pipeline.snapshot().scenes >= 1, 10.0, what="a scene")
    one.becomes("UNEXPECTED_ERROR", present=False)
    frames.cancel()
    frames.join(5.0)
    assert one.balanced()


def test_a_calibration_waits_in_the_thread_and_only_the_newest_does(one: Bench) -> None:
    """The intake is locked while a picture is decoded: the executor must not wait for that."""
    frames = FrameThread(one.pipeline, 8)
    with one.pipeline._intake.lock:
        frames.put(given(10.0, "camera"))
        for focal in (100.0, 110.0, 120.0):
            frames.calibrate("camera", camera_info(64, 48, focal=focal))
        wait_for(lambda: len(frames._waits) == 1, 10.0, what="the frame is in hand")
        assert one.pipeline.pending_frames >= 0, "asking waits for nobody"
        one.pipeline.pause(True)
        one.pipeline.pause(False)
    wait_for(lambda: one.pipeline._intake._cameras["camera"].calibration.has_info, 10.0)
    frames.cancel()
    frames.join(5.0)
