# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Overlapping windows: what is in them, what falls out, what a failed pass costs."""

from __future__ import annotations

import threading

from g2vlm_map.options import WindowOptions
from g2vlm_map.window import WindowBuilder, WindowJob
from tests.map.frames import NS, Drops, moment


class Windows(WindowBuilder):
    """A builder whose passes all succeed, unless told otherwise."""

    def __init__(self, size: int = 4, overlap: int = 2, min_moments: int = 1) -> None:
        self.drops = Drops()
        options = WindowOptions(size=size, min_moments=min_moments, overlap=overlap)
        super().__init__(options, self.drops)

    def taken(self) -> WindowJob | None:
        job = self.take(0.0)
        if job is not None:
            self.succeed(job)
        return job

    def succeed(self, job: WindowJob) -> None:
        self.commit(job)
        self.done()

    def fail(self, job: WindowJob) -> None:
        self.give_back(job)
        self.done()


def stamps(job: WindowJob | None) -> list[float]:
    assert job is not None
    return [m.stamp_ns / NS for m in job.moments]


def test_windows_slide_when_the_model_is_fast() -> None:
    windows = Windows()
    seen = []
    for index in range(6):
        windows.offer(moment(index + 1))
        job = windows.taken()
        assert job is not None
        seen.append((stamps(job), job.overlap, job.new_frames))
    assert windows.take(0.0) is None
    expected = [([1], 0, 1), ([1, 2, 3, 4], 3, 1), ([3, 4, 5, 6], 3, 1)]
    assert [seen[index] for index in (0, 3, 5)] == expected
    assert dict(windows.drops) == {}


def test_newest_win_and_windows_overlap_when_it_is_slow() -> None:
    windows = Windows(size=4, overlap=2)
    windows.offer(moment(1))
    windows.offer(moment(2))
    first = windows.take(0.0)
    assert first is not None
    for index in range(3, 11):
        windows.offer(moment(index))
    windows.succeed(first)
    second = windows.taken()
    assert second is not None
    assert second.overlap == 2
    assert stamps(second)[:2] == [1, 2]
    assert stamps(second)[-1] == 10
    assert windows.drops == {"superseded": 6}


def test_thinning_keeps_the_spread() -> None:
    windows = Windows(size=4, overlap=1)
    for stamp in (1.0, 1.1, 1.2, 2.0, 3.0, 4.0):
        windows.offer(moment(stamp))
    found = stamps(windows.taken())
    assert found[-3:] == [2.0, 3.0, 4.0]
    assert found[0] < 1.3


def test_a_failed_pass_costs_nothing_but_its_scene() -> None:
    windows = Windows(size=4, overlap=2)
    for index in (1, 2):
        windows.offer(moment(index))
    assert stamps(windows.taken()) == [1, 2]
    windows.offer(moment(3))
    job = windows.take(0.0)
    assert job is not None
    windows.offer(moment(4))
    windows.fail(job)
    again = windows.taken()
    assert stamps(again) == [1, 2, 3, 4]
    assert again is not None
    assert again.overlap == 2
    assert windows.drops == {}


def test_a_failed_window_is_tried_again_with_the_next_keyframe_and_only_once() -> None:
    windows = Windows(size=4, overlap=2)
    windows.offer(moment(1))
    windows.taken()
    windows.offer(moment(2))
    job = windows.take(0.0)
    assert job is not None
    windows.fail(job)
    assert windows.take(0.0) is None, "the same window fails again"
    assert windows.pending_frames == 1
    windows.offer(moment(3))
    job = windows.take(0.0)
    assert stamps(job) == [1, 2, 3]
    assert job is not None
    windows.fail(job)
    assert windows.drops == {"pass_failed": 1}
    windows.offer(moment(4))
    assert stamps(windows.taken()) == [1, 3, 4]


def test_standing_still_leaves_the_window_as_it_was() -> None:
    windows = Windows(size=4, overlap=2)
    for index in range(1, 5):
        windows.offer(moment(index))
        windows.taken()
    for second in range(3600):
        windows.offer(moment(10 + second, still=True))
        job = windows.taken()
        assert stamps(job) == [1, 2, 3, 10 + second]
        assert job is not None
        assert job.overlap == 3
    windows.offer(moment(5000))
    assert stamps(windows.taken()) == [2, 3, 3609, 5000]


def test_a_slow_model_sees_one_keyframe_of_standing_still() -> None:
    windows = Windows(size=4, overlap=2)
    for index in range(1, 5):
        windows.offer(moment(index))
    job = windows.take(0.0)
    assert job is not None
    for second in range(10):
        windows.offer(moment(10 + second, still=True))
    windows.succeed(job)
    assert stamps(windows.taken()) == [1, 2, 3, 19]
    assert windows.drops == {"superseded": 9}


def test_standing_still_from_the_start_gives_a_first_window_that_can_be_joined() -> None:
    windows = Windows(size=4, overlap=2, min_moments=2)
    windows.offer(moment(1))
    assert windows.take(0.0) is None
    windows.offer(moment(2, still=True))
    assert stamps(windows.taken()) == [1, 2]
    windows.offer(moment(3, still=True))
    third = windows.taken()
    assert stamps(third) == [1, 3]
    assert third is not None
    assert third.overlap == 1
    alone = Windows(size=4, overlap=2, min_moments=1)
    alone.offer(moment(1))
    alone.taken()
    alone.offer(moment(2, still=True))
    assert stamps(alone.taken()) == [1, 2]


def test_a_still_keyframe_behind_a_failed_pass() -> None:
    windows = Windows(size=4, overlap=2)
    windows.offer(moment(1))
    windows.offer(moment(2))
    windows.taken()
    windows.offer(moment(3))
    job = windows.take(0.0)
    assert job is not None
    windows.offer(moment(4, still=True))
    windows.fail(job)
    assert stamps(windows.taken()) == [1, 2, 4]
    assert windows.drops == {"superseded": 1}


def test_a_restart_shares_nothing() -> None:
    windows = Windows()
    windows.offer(moment(1))
    windows.taken()
    windows.offer(moment(2))
    job = windows.take(0.0)
    assert job is not None
    windows.offer(moment(3))
    windows.restart("time_jump")
    assert windows.drops == {"time_jump": 2}
    assert not windows.commit(job)
    windows.give_back(job)
    windows.done()
    assert windows.pending_frames == 0
    windows.offer(moment(4))
    found = windows.taken()
    assert found is not None
    assert (found.era, found.overlap, stamps(found)) == (2, 0, [4])


def test_take_wakes_for_a_keyframe_and_for_the_end() -> None:
    windows = Windows()
    jobs: list[object] = []
    thread = threading.Thread(target=lambda: jobs.append(windows.take(10.0)))
    thread.start()
    windows.offer(moment(1))
    thread.join(5.0)
    assert jobs[0] is not None
    thread = threading.Thread(target=lambda: jobs.append(windows.take(10.0)))
    thread.start()
    windows.close()
    thread.join(5.0)
    assert jobs[1] is None


def test_first_window_waits_for_its_moments() -> None:
    windows = Windows(size=4, overlap=1, min_moments=3)
    windows.offer(moment(1))
    windows.offer(moment(2))
    assert windows.take(0.0) is None
    assert windows.wait_idle(0.0)
    windows.offer(moment(3))
    assert not windows.wait_idle(0.0)
    assert windows.taken() is not None
    assert windows.wait_idle(0.0)
