"""Keyframes, windows, rigs, the picture pool: no ROS, no threads but where they matter."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest

from g2vlm_map.frame_pool import FramePool
from g2vlm_map.motion import Reference, small_gray
from g2vlm_map.window import (
    KeyframeRules,
    Moment,
    Synchroniser,
    WindowBuilder,
    WindowJob,
    WindowRules,
)
from g2vlm_model.interface import Frame

NS = 1_000_000_000
NOISE = np.random.default_rng(5).integers(0, 256, (20, 200), np.uint8)
TEXTURE = np.kron(NOISE, np.ones((6, 6), np.uint8))


def frame(stamp_s: float, camera: str = "camera", shift: int = 0) -> Frame:
    gray = TEXTURE[:120, shift : shift + 160]
    image = np.repeat(gray[..., None], 3, axis=2)
    key = f"{camera}@{stamp_s}"
    return Frame(np.ascontiguousarray(image), round(stamp_s * NS), f"{camera}_optical", camera, key)


def moment(stamp_s: float, shift: int = 0) -> Moment:
    return Moment((frame(stamp_s, shift=shift),), received_ns=0)


class Drops(Counter[str]):
    def __call__(self, reason: str, frames: int) -> None:
        if frames:
            self[reason] += frames


EVERY = KeyframeRules(min_motion=0.0, min_interval_s=0.0, max_interval_s=0.0)


def builder(
    size: int = 4, overlap: int = 2, rules: KeyframeRules = EVERY
) -> tuple[WindowBuilder, Drops]:
    drops = Drops()
    made = WindowBuilder(WindowRules(size, 1, overlap), rules, drops)
    made.reset("reset")
    return made, drops


def stamps(job: WindowJob) -> list[float]:
    return [m.stamp_ns / NS for m in job.moments]


def test_windows_slide_when_the_model_is_fast() -> None:
    windows, drops = builder()
    seen = []
    for index in range(6):
        windows.offer(moment(index + 1))
        job = windows.take(0.0)
        assert job is not None
        seen.append((stamps(job), job.overlap))
    assert windows.take(0.0) is None
    expected = [([1], 0), ([1, 2, 3, 4], 3), ([3, 4, 5, 6], 3)]
    assert [seen[index] for index in (0, 3, 5)] == expected
    assert dict(drops) == {}


def test_newest_win_and_windows_overlap_when_it_is_slow() -> None:
    windows, drops = builder(size=4, overlap=2)
    windows.offer(moment(1))
    windows.offer(moment(2))
    first = windows.take(0.0)
    for index in range(3, 11):
        windows.offer(moment(index))
    second = windows.take(0.0)
    assert first is not None
    assert second is not None
    assert second.overlap == 2
    assert stamps(second)[:2] == [1, 2]
    assert stamps(second)[-1] == 10
    assert drops == {"superseded": 6}


def test_thinning_keeps_the_spread() -> None:
    windows, _ = builder(size=4, overlap=0)
    for stamp in (1.0, 1.1, 1.2, 2.0, 3.0, 4.0):
        windows.offer(moment(stamp))
    job = windows.take(0.0)
    assert job is not None
    assert stamps(job)[-3:] == [2.0, 3.0, 4.0]
    assert stamps(job)[0] < 1.3


def test_reset_starts_a_segment_without_overlap() -> None:
    windows, drops = builder()
    windows.offer(moment(1))
    windows.take(0.0)
    windows.offer(moment(2))
    assert windows.reset("time_jump") == 2
    assert drops == {"time_jump": 1}
    windows.offer(moment(3))
    job = windows.take(0.0)
    assert job is not None
    assert (job.segment, job.overlap, stamps(job)) == (2, 0, [3])


def test_keyframes_by_movement_and_by_time() -> None:
    rules = KeyframeRules(min_motion=0.05, min_interval_s=0.2, max_interval_s=2.0)
    windows, drops = builder(rules=rules)
    assert windows.offer(moment(1.0))
    assert not windows.offer(moment(1.1, shift=12))  # moved, but too early
    assert not windows.offer(moment(1.3, shift=3))  # too little
    assert windows.offer(moment(1.5, shift=12))
    assert not windows.offer(moment(2.5, shift=12))
    assert windows.offer(moment(3.6, shift=12))  # nothing moved for two seconds
    assert drops == {"not_keyframe": 3}


def test_take_wakes_for_a_picture_and_for_the_end() -> None:
    windows, _ = builder()
    jobs: list[object] = []
    thread = threading.Thread(target=lambda: jobs.append(windows.take(10.0)))
    thread.start()
    windows.offer(moment(1))
    thread.join(5.0)
    assert jobs[0] is not None
    thread = threading.Thread(target=lambda: jobs.append(windows.take(10.0)))
    thread.start()
    time.sleep(0.05)
    windows.close()
    thread.join(5.0)
    assert jobs[1] is None


def test_first_window_waits_for_its_moments() -> None:
    drops = Drops()
    windows = WindowBuilder(WindowRules(4, 3, 1), EVERY, drops)
    windows.reset("reset")
    windows.offer(moment(1))
    windows.offer(moment(2))
    assert windows.take(0.0) is None
    windows.offer(moment(3))
    assert windows.take(0.0) is not None


def test_rig_puts_partners_together() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], NS // 50, drops)
    assert rig.add(frame(1.0, "left"), 1) is None
    found = rig.add(frame(1.01, "right"), 2)
    assert found is not None
    assert [f.camera for f in found.frames] == ["left", "right"]
    assert found.received_ns == 2
    assert rig.add(frame(2.0, "right"), 3) is None
    assert rig.add(frame(2.1, "left"), 4) is None  # 0.1 s apart: no partner
    assert rig.add(frame(2.11, "right"), 5) is not None
    assert drops == {"unsynchronised": 1}
    assert rig.waiting == 0


def test_rig_bounds_what_waits() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], 0, drops)
    for index in range(20):
        assert rig.add(frame(1.0 + index, "left"), 0) is None
    assert rig.waiting == 8
    assert drops == {"unsynchronised": 12}
    rig.clear("reset")
    assert drops["reset"] == 8


def test_rig_goes_on_without_a_silent_camera() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], NS // 50, drops)
    rig.add(frame(1.0, "left"), 0)
    found = rig.add(frame(1.5, "right"), 0, silent=frozenset({"left"}))
    assert found is not None
    assert [f.camera for f in found.frames] == ["right"]
    assert rig.waiting == 0
    assert drops == {"unsynchronised": 1}


def test_motion_of_a_shift_and_of_depth() -> None:
    flat = Reference(small_gray(frame(0, shift=0).image)).motion_to(
        small_gray(frame(0, shift=8).image)
    )
    assert flat.movement == pytest.approx(8 / 160, rel=0.05)
    assert flat.parallax < 0.001
    near = frame(0, shift=16).image.copy()
    near[:60] = frame(0, shift=2).image[:60]
    deep = Reference(small_gray(frame(0, shift=0).image)).motion_to(small_gray(near))
    assert deep.parallax > 0.005


def test_motion_without_texture_is_none() -> None:
    gray = np.full((90, 160), 128, np.uint8)
    assert Reference(gray).motion_to(gray).movement == 0.0


def test_motion_to_another_place_is_infinite() -> None:
    other = np.random.default_rng(9).integers(0, 256, (120, 160), np.uint8)
    assert Reference(small_gray(frame(0).image)).motion_to(other).movement == float("inf")


def test_pool_lends_each_buffer_to_one() -> None:
    pool = FramePool(2)
    first, second = pool.take(4, 6), pool.take(4, 6)
    assert first is not None
    assert second is not None
    assert not np.shares_memory(first, second)
    assert pool.take(4, 6) is None
    view = first[::2, :, 1].T
    del first
    assert pool.take(4, 6) is None, "a view of a view still uses it"
    del view
    third = pool.take(4, 6)
    assert third is not None
    assert pool.nbytes == 2 * 4 * 6 * 3


def test_pool_follows_the_picture_size() -> None:
    pool = FramePool(1)
    small = pool.take(2, 2)
    large = pool.take(4, 4)
    assert small is not None
    assert large is not None
    assert large.shape == (4, 4, 3)
    del small  # of the old size: freed, not reused
    assert pool.take(4, 4) is None
    del large
    assert pool.take(4, 4) is not None
