# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which moments become keyframes, and what is looked at to decide."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.keyframes import KeyframeChooser, Moment
from g2vlm_map.options import KeyframeOptions
from g2vlm_map.pixels import small_gray
from tests.map.frames import NS, picture


class Chooser(KeyframeChooser):
    """Takes pictures by their shift, and counts the grey ones that were asked for."""

    def __init__(self, **options: float) -> None:
        super().__init__(KeyframeOptions(**options))
        self.grays = 0

    def offer(self, stamp_s: float, image: NDArray[np.uint8]) -> Moment | None:
        def gray() -> NDArray[np.uint8]:
            self.grays += 1
            return small_gray(image)

        verdict = self.judge("camera", round(stamp_s * NS), gray)
        return None if verdict is None else self.accept(verdict, (), 0)


def test_keyframes_by_movement_and_by_time() -> None:
    chooser = Chooser(min_motion=0.05, min_interval_s=0.2, max_interval_s=2.0)
    first = chooser.offer(1.0, picture())
    assert first is not None
    assert first.motion is None
    assert not chooser.offer(1.1, picture(12))  # moved, but too early
    assert not chooser.offer(1.3, picture(3))  # too little
    moved = chooser.offer(1.5, picture(12))
    assert moved is not None
    assert not moved.still
    assert not chooser.offer(2.5, picture(12))
    still = chooser.offer(3.6, picture(12))  # nothing moved for two seconds
    assert still is not None
    assert still.still
    assert still.motion == moved.motion


def test_nothing_is_decoded_before_the_interval_is_over() -> None:
    chooser = Chooser(min_motion=0.05, min_interval_s=0.2)
    chooser.offer(1.0, picture())
    for stamp_s in (1.05, 1.1, 1.15):
        assert not chooser.offer(stamp_s, picture(40))
    assert chooser.grays == 1


def test_slow_motion_adds_up() -> None:
    """What stands for the keyframe before does not take its place in the comparison."""
    chooser = Chooser(min_motion=0.05, max_interval_s=1.0)
    chooser.offer(1.0, picture())
    seen = [chooser.offer(2.0 + index, picture(2 * index)) for index in range(1, 5)]
    stills = [moment.still for moment in seen if moment is not None]
    assert stills == [True, True, False, True]


def test_driving_forward_makes_keyframes_though_most_of_the_picture_hardly_moves() -> None:
    """A picture that grows by 2 % each 0.1 s: its middle stays, its rim moves by 1.3 px."""
    chooser = Chooser(min_motion=0.05, max_interval_s=1.0)
    rng = np.random.default_rng(0)
    large = cv2.resize(rng.integers(0, 255, (48, 64, 3), np.uint8), (640, 480))
    chosen = []
    for number in range(30):
        share = 1.02**-number
        height, width = round(480 * share), round(640 * share)
        top, left = (480 - height) // 2, (640 - width) // 2
        shown = cv2.resize(large[top : top + height, left : left + width], (160, 120))
        moment = chooser.offer(1.0 + 0.1 * number, np.asarray(shown, np.uint8))
        if moment is not None:
            chosen.append((number, moment.still))
    assert not any(still for _, still in chosen)
    gaps = np.diff([number for number, _ in chosen])
    assert 3 <= gaps.min() <= gaps.max() <= 8, gaps


def test_without_texture_only_a_picture_that_looks_the_same_is_still() -> None:
    def grey(level: int) -> NDArray[np.uint8]:
        return np.full((120, 160, 3), level, np.uint8)

    chooser = Chooser(max_interval_s=1.0)
    chooser.offer(1.0, grey(100))
    same, other = chooser.offer(2.0, grey(101)), chooser.offer(3.0, grey(140))
    assert same is not None
    assert other is not None
    assert (same.still, other.still) == (True, False)


def test_another_leading_camera_is_always_new() -> None:
    chooser = KeyframeChooser(KeyframeOptions())
    gray: Callable[[], NDArray[np.uint8]] = lambda: small_gray(picture())  # noqa: E731
    first = chooser.judge("left", NS, gray)
    assert first is not None
    chooser.accept(first, (), 0)
    other = chooser.judge("right", 2 * NS, gray)
    assert other is not None
    assert not other.still
