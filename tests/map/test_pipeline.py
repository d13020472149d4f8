# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The embeddable object: frames in, scenes, segments and events out; no ROS."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from g2vlm_map.events import (
    Event,
    FramesDropped,
    PassFinished,
    SceneReady,
    SegmentBroken,
    SegmentStarted,
)
from g2vlm_map.mapping.place_options import LoopOptions
from g2vlm_map.options import (
    KeyframeOptions,
    PathOptions,
    PipelineOptions,
    StatusOptions,
    WindowOptions,
)
from g2vlm_map.pipeline import InputFrame, Pipeline, Question
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import AnswerStatus
from g2vlm_ros.launch_arguments import MALLOC
from tests.helpers import wait_for
from tests.map.bench import EVERY, Make
from tests.map.frames import NS, given
from tests.ros.scripted_runtime import ScriptedRuntime


def test_frames_become_scenes_of_one_segment_and_everything_is_told(bench: Make) -> None:
    one = bench()
    one.scenes(4)
    assert one.told(SegmentStarted)[0].cause == "start"
    records = [event.record for event in one.told(SceneReady)]
    assert [len(record.frames) for record in records] == [2, 3, 4]
    assert {record.segment for record in records} == {1}
    assert len(one.told(PassFinished)) == 3
    now = one.pipeline.snapshot()
    assert (now.received, now.used, now.scenes, now.dropped) == (4, 4, 3, 0)
    assert (now.keyframes, now.overlap, now.segment) == (4, 3, 1)
    assert now.scene_stamp_ns == records[-1].stamp_ns == round(one.stamp_s * 1e9)
    assert now.latency.total > 0
    newest = one.pipeline.scene
    assert newest is not None
    assert newest is records[-1]
    path = one.pipeline.path
    stamps = [record.stamp_ns for record in records]
    assert [pose.stamp_ns for pose in path][-3:] == stamps, "and the first keyframe before them"
    np.testing.assert_array_equal(path[-1].T_map_cam, newest.T_map_cam)
    with pytest.raises(dataclasses.FrozenInstanceError):
        now.scenes = 0  # type: ignore[misc]


def test_the_path_is_bounded(bench: Make) -> None:
    one = bench(path=PathOptions(max_poses=3))
    one.scenes(8)
    assert len(one.pipeline.path) == 3
    assert one.pipeline.path[-1].stamp_ns == round(one.stamp_s * 1e9)


def test_frame_keys_never_repeat() -> None:
    runtime = ScriptedRuntime()
    for _ in range(2):
        with Pipeline(runtime, PipelineOptions(keyframe=EVERY)) as pipeline:
            for stamp_s in (1.0, 2.0, 3.0):  # the same stamps and pictures in both
                pipeline.add(given(stamp_s))
                assert pipeline.wait(10.0)
    first, second = runtime.windows[1], runtime.windows[3]
    assert not {frame.key for frame in first.frames} & {frame.key for frame in second.frames}


def test_one_failed_pass_does_not_break_the_segment(bench: Make) -> None:
    one = bench(window=WindowOptions(size=4, overlap=1))
    one.scenes(4)
    one.runtime.observe_error = RuntimeError("out of memory")
    one.scenes(1)
    assert "out of memory" in one.becomes("RUNTIME_FAILED")
    one.runtime.observe_gate.clear()  # while the next pass runs, the whole window goes by
    one.add()
    wait_for(lambda: len(one.runtime.windows) == 5, 10.0)
    for _ in range(4):
        one.add()
    one.runtime.observe_gate.set()
    wait_for(lambda: len(one.runtime.windows) == 6, 10.0)
    one.runtime.observe_error = None
    one.scenes(3)
    assert not one.told(SegmentBroken)
    now = one.pipeline.snapshot()
    assert now.segment == 1
    assert "RUNTIME_FAILED" not in {reason.code for reason in now.reasons}
    assert one.balanced()


def test_a_broken_segment_is_told_and_the_next_one_begins(bench: Make) -> None:
    one = bench()
    one.scenes(3)
    one.add(shift=900)  # nothing of what was seen is seen any more
    assert one.pipeline.wait(10.0)
    (broken,) = one.told(SegmentBroken)
    assert broken.number == 1
    assert [event.number for event in one.told(SegmentStarted)] == [1, 2]
    assert one.pipeline.snapshot().segment == 2
    assert len(one.pipeline.path) == 1


@pytest.mark.parametrize("minutes", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_standing_still_leaves_the_window_as_it_was(bench: Make, minutes: int) -> None:
    one = bench(keyframe=KeyframeOptions(min_motion=0.05, max_interval_s=1.0))
    for index in range(8):
        one.add(shift=12 * index, step_s=0.5)
        assert one.pipeline.wait(10.0)
    moved = [frame.key for frame in one.runtime.windows[-1].frames]
    assert len(moved) == 8
    for _ in range(60 * minutes):
        one.add(shift=84, step_s=1.0)
        del one.runtime.windows[:-1], one.runtime.scenes[:-1], one.events[:]  # they hold frames
    assert one.pipeline.wait(10.0)
    after = [frame.key for frame in one.runtime.windows[-1].frames]
    assert after[:-1] == moved[:-1]
    assert one.runtime.windows[-1].frames[-1].stamp_ns == round(one.stamp_s * 1e9)
    assert one.pipeline.snapshot().segment == 1


@pytest.mark.parametrize("length", [2, 3, 20])
def test_a_recording_that_loops_goes_on_in_a_new_segment(bench: Make, length: int) -> None:
    apart = LoopOptions(enabled=False)  # one place is one segment otherwise
    one = bench(status=StatusOptions(hold_s=600.0), loops=apart)
    for _ in range(3):
        for index in range(length):
            one.pipeline.add(given(10.0 + 0.1 * index))
            assert one.pipeline.wait(10.0)
    now = one.pipeline.snapshot()
    assert now.segment == 3
    assert "TIME_JUMP" in {reason.code for reason in now.reasons}
    causes = [event.cause for event in one.told(SegmentStarted)]
    assert causes == ["start", "time_jump", "time_jump"]
    segments = {event.record.segment for event in one.told(SceneReady)}
    assert segments == {1, 2, 3}
    assert dict(now.drops).get("out_of_order", 0) == 0
    assert one.balanced()


def test_a_listener_that_fails_costs_one_scene(bench: Make) -> None:
    one = bench()

    def fails(event: Event) -> None:
        if isinstance(event, SceneReady):
            raise MemoryError("no room for the cloud")

    end = one.pipeline.listen(fails)
    one.scenes(2)
    assert "no room for the cloud" in one.becomes("RUNTIME_FAILED")
    assert one.pipeline.snapshot().scenes == 0
    end()
    one.scenes(1)
    assert not one.reason("RUNTIME_FAILED")
    assert one.pipeline.snapshot().segment == 1


def test_a_listener_cannot_end_what_it_holds_up(bench: Make) -> None:
    """Both wait for the thread that the listener runs in."""
    one, refused = bench(), []

    def resets(event: Event) -> None:
        if isinstance(event, SceneReady):
            for forbidden in (one.pipeline.reset, one.pipeline.stop):
                with pytest.raises(RuntimeError, match="another thread"):
                    forbidden()
                refused.append(forbidden)

    end = one.pipeline.listen(resets)
    one.scenes(2)
    assert len(refused) == 2
    end()
    assert one.pipeline.reset() == 2
    one.scenes(2)
    assert one.pipeline.snapshot().scenes == 2


def test_a_listener_may_ask_while_a_reset_waits_for_it(bench: Make) -> None:
    """The reset holds the intake and waits for the scene; who asks must not wait for the intake."""
    one, asked = bench(), threading.Event()

    def asks(event: Event) -> None:
        if isinstance(event, SceneReady) and not asked.is_set():
            intake = one.pipeline._intake
            resets = threading.Thread(target=one.pipeline.reset, daemon=True)
            resets.start()

            def is_held() -> bool:
                free = intake.lock.acquire(blocking=False)
                if free:
                    intake.lock.release()
                return not free

            wait_for(is_held, 10.0, what="the reset to begin")
            assert one.pipeline.pending_frames >= 0
            one.pipeline.pause(True)
            one.pipeline.pause(False)
            one.pipeline.sense(Extrinsics("camera", np.eye(4)))
            one.pipeline.apply(one.pipeline.options)
            with pytest.raises(RuntimeError, match="calibrate was called by a listener"):
                one.pipeline.calibrate("camera", object())  # type: ignore[arg-type]
            asked.set()

    one.pipeline.listen(asks)
    one.add()
    one.add()
    assert asked.wait(15.0)
    wait_for(lambda: one.pipeline.snapshot().segment == 2, 10.0, what="the reset")
    assert not one.reason("RUNTIME_FAILED")


def test_what_may_change_while_it_runs(bench: Make) -> None:
    one = bench()
    options = one.pipeline.options
    slower = dataclasses.replace(options, keyframe=KeyframeOptions(min_interval_s=10.0))
    one.pipeline.apply(slower)
    one.add()
    one.add()
    assert one.pipeline.snapshot().drops == (("not_keyframe", 1),)
    assert one.told(FramesDropped)[-1] == FramesDropped("not_keyframe", 1, 1)
    with pytest.raises(ValueError, match=r"window.size is fixed: it is 8, asked for 4"):
        one.pipeline.apply(dataclasses.replace(options, window=WindowOptions(size=4)))


def test_frames_of_an_unknown_camera_and_outside_of_start_and_stop(bench: Make) -> None:
    one = bench()
    with pytest.raises(ValueError, match="frame is of camera 'rear'"):
        one.pipeline.add(given(1.0, "rear"))
    one.pipeline.stop()
    one.pipeline.add(given(1.0))
    assert one.pipeline.snapshot().drops == (("deactivated", 1),)
    assert not one.pipeline.snapshot().running


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_covered_lens_gives_no_scene_and_a_reason(bench: Make, level: int) -> None:
    """Black, grey or white, with the noise of a sensor."""
    one = bench()
    rng = np.random.default_rng(1)
    for index in range(12):
        noise = rng.integers(-1, 2, (120, 160, 3))
        shown = np.clip(level + noise, 0, 255).astype(np.uint8)
        one.pipeline.add(InputFrame(shown, (100 + index) * NS))
    assert dict(one.pipeline.snapshot().drops)["featureless"] > 0
    assert "the picture shows nothing" in one.reason("BAD_IMAGES")
    assert "is the lens covered" in one.reason("BAD_IMAGES")
    assert one.pipeline.snapshot().scenes == 0
    one.scenes(3)  # the cap is off
    assert one.pipeline.snapshot().scenes > 0


def test_what_was_paused_is_not_after_the_next_start(bench: Make) -> None:
    """The reason went with the stop: frames would be dropped and nobody told why."""
    one = bench()
    one.pipeline.pause(True, "for the test")
    one.pipeline.stop()
    one.pipeline.start()
    assert not one.pipeline.paused
    one.scenes(2)
    assert "paused" not in dict(one.pipeline.snapshot().drops)


def test_an_error_that_nobody_foresaw_ends_no_thread_and_loses_no_count(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()

    def fails() -> None:
        raise MemoryError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(one.pipeline._desk, "expire", fails)
        broken.setattr(one.pipeline._intake, "check", fails)
        said = one.becomes("UNEXPECTED_ERROR")
        wait_for(lambda: len(one.pipeline.snapshot().errors) == 2, 10.0, what="both at once")
    assert "MemoryError: no room" in said
    one.becomes("UNEXPECTED_ERROR", present=False)
    camera = one.pipeline._intake._cameras["camera"]
    for method in ("admit", "decode"):
        with monkeypatch.context() as broken:
            broken.setattr(camera, method, lambda *_: fails())
            with pytest.raises(MemoryError):
                one.add()
    assert dict(one.pipeline.snapshot().drops)["failed"] == 2
    assert one.balanced()


@pytest.mark.parametrize("after_keyframes", [False, True])
def test_a_scene_that_does_not_come_into_the_map_is_closed_and_tried_again(
    bench: Make, monkeypatch: pytest.MonkeyPatch, after_keyframes: bool
) -> None:
    """Keyframes that were made before the error are not made again."""
    one = bench()
    one.scenes(2)
    mapper = one.pipeline.mapper
    where = mapper._sensed if after_keyframes else mapper._units
    with monkeypatch.context() as broken:
        broken.setattr(where, "late" if after_keyframes else "follow", lambda *_: 1 / 0)
        one.scenes(1)
        assert "ZeroDivisionError" in one.reason("RUNTIME_FAILED")
    one.scenes(1)
    assert not one.reason("RUNTIME_FAILED")
    assert [scene.closed for scene in one.runtime.scenes].count(True) >= 1
    kept = {id(record.scene) for record in one.pipeline._scenes._records}
    assert all(scene.closed or id(scene) in kept for scene in one.runtime.scenes)
    keys = [placed.keyframe.key for placed in one.pipeline.world.keyframes]
    assert len(keys) == len(set(keys)) == 4
    assert one.balanced()


def test_a_question_that_nobody_can_answer_does_not_end_the_thread(
    bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bench()
    one.scenes(2)
    with monkeypatch.context() as broken:
        broken.setattr(one.pipeline._desk, "_serve", lambda ticket: 1 / 0)
        one.pipeline.submit(Question("How far is the wall?"), lambda reply: None)
        assert "ZeroDivisionError" in one.becomes("UNEXPECTED_ERROR")
    assert one.pipeline.ask("How far is the wall?").answer.status is AnswerStatus.OK
    assert not one.reason("UNEXPECTED_ERROR")


HOLES = """
import numpy as np, psutil
from g2vlm_map.heap import Heap
blocks = [np.ones(100_000, np.uint8) for _ in range(2_000)]
del blocks[::2]
now = [0.0]
heap = Heap(clock=lambda: now[0])
resident = psutil.Process().memory_info
before = resident().rss
assert not heap.tend() and resident().rss > before - 10_000_000
now[0] = 31.0
assert heap.tend(), "nothing came back"
assert not heap.tend()
print((before - resident().rss) // 1_000_000)
"""


def test_holes_in_the_heap_are_given_back_now_and_then() -> None:
    # With the settings of the launch file: holes stay in the process otherwise.
    environment = {**os.environ, **MALLOC}
    run = subprocess.run(
        [sys.executable, "-c", HOLES], env=environment, capture_output=True, text=True, timeout=60
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 60  # of 100 MB: a block's ends share pages with its neighbours
