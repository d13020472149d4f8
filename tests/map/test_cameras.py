# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One camera: its clock, what it lets in, memory that comes back by itself."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from g2vlm_map.cameras import NS, Admission, Camera, InputFrame
from g2vlm_map.decode import BadInputError
from g2vlm_map.frame_pool import FramePool
from g2vlm_map.options import ImageOptions
from g2vlm_map.pixels import CompressedPixels
from tests.map.frames import given, picture
from tests.map.test_pictures import coded


def camera(max_jump_s: float = 5.0) -> Camera:
    return Camera("camera", 8, ImageOptions(max_jump_s=max_jump_s))


def stamps(admission: Admission) -> list[float]:
    return [arrival.stamp_ns / NS for arrival in admission.arrivals]


def test_a_late_frame_is_refused_when_the_next_goes_on_from_before_it() -> None:
    one = camera()
    assert stamps(one.admit(given(10.0), 0)) == [10.0]
    assert one.admit(given(9.9), NS // 10) == Admission()
    assert one.holds == 1
    after = one.admit(given(10.1), NS // 5)
    assert (stamps(after), after.leap, one.holds) == ([10.1], None, 0)
    assert after.refused is not None
    assert after.refused.reason == "out_of_order"
    assert "0.100 s before" in str(after.refused)


def test_two_late_frames_in_a_row_are_another_round() -> None:
    one = camera()
    one.admit(given(10.0), 0)
    one.admit(given(9.0), NS // 10)
    second = one.admit(given(9.1), NS // 5)
    assert stamps(second) == [9.0, 9.1]
    assert second.leap is not None
    assert second.leap.seconds == -1.0
    assert stamps(one.admit(given(9.2), NS // 2)) == [9.2]


def test_the_same_stamp_for_ever_is_no_round() -> None:
    one = camera()
    one.admit(given(10.0), 0)
    for index in range(1, 9):
        again = one.admit(given(10.0), index)
        assert not again.arrivals
        assert again.leap is None


def test_a_leap_and_a_pause() -> None:
    one = camera(max_jump_s=5.0)
    one.admit(given(10.0), 0)
    leap = one.admit(given(20.0), NS).leap
    assert leap is not None
    assert leap.seconds == 10.0
    assert one.admit(given(40.0), 21 * NS).leap is None  # 20 s later by the wall clock too
    assert one.admit(given(30.0), 22 * NS).leap is not None


def test_frames_have_to_prove_themselves_after_one_that_could_not_be_decoded() -> None:
    class Broken:
        def size(self, max_pixels: int) -> tuple[int, int]:
            return 120, 160

        def gray(self) -> np.ndarray:
            raise BadInputError("bad_data", "noise")

        def write_rgb(self, out_HW3: np.ndarray) -> None:
            raise BadInputError("bad_data", "noise")

    one = camera()
    one.restart(0)
    with pytest.raises(BadInputError, match="noise"):
        one.admit(InputFrame(Broken(), NS), NS)
    assert one.silent_s(3 * NS) == 3.0
    (good,) = one.admit(given(2.0), 3 * NS).arrivals
    assert one.silent_s(3 * NS) == 0.0
    assert one.decode(good).key != one.decode(good).key
    one.admit(InputFrame(Broken(), 3 * NS), 4 * NS)  # its header is trusted
    assert one.silent_s(4 * NS) == 0.0
    one.distrust()
    with pytest.raises(BadInputError, match="noise"):
        one.admit(InputFrame(Broken(), 4 * NS), 5 * NS)
    assert one.silent_s(6 * NS) == 2.0


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ([[0]], "image is a list"),
        (np.zeros((4, 4), np.uint8), "expected uint8 .H, W, 3. RGB"),
        (np.zeros((4, 4, 3), np.float32), "image is float32"),
        (np.zeros((1, 4, 3), np.uint8), "4 x 1"),
    ],
)
def test_arrays_that_are_no_image(image: object, said: str) -> None:
    with pytest.raises(BadInputError, match=said):
        camera().admit(InputFrame(image, NS), 0)  # type: ignore[arg-type]


def test_frame_ids() -> None:
    (own,) = camera().admit(InputFrame(picture(), NS), 0).arrivals
    assert own.frame_id == "camera"
    with pytest.raises(BadInputError, match="frame_id is ''"):
        camera().admit(InputFrame(picture(), NS, frame_id=""), 0)


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


def test_a_frame_id_that_changes_is_believed_after_ten_frames() -> None:
    one = camera()
    one.admit(given(1.0, frame_id="/left"), 0)
    for index in range(9):
        with pytest.raises(BadInputError, match="frame_id is 'right', it was 'left'"):
            one.admit(given(1.1 + 0.1 * index, frame_id="right"), index)
    after = one.admit(given(2.1, frame_id="right"), 10)
    assert "it is 'right' for 10 frames" in after.renamed
    assert stamps(after) == [2.1]
    assert one.admit(given(2.2, frame_id="right"), 11).renamed == ""


def test_a_frame_id_that_never_stays_the_same_is_refused_for_ever() -> None:
    one = camera()
    one.admit(given(1.0, frame_id="cam_0"), 0)
    for index in range(1, 40):
        with pytest.raises(BadInputError) as caught:
            one.admit(given(1.0 + index, frame_id=f"cam_{index}"), index)
        assert caught.value.reason == "bad_frame_id"


@pytest.mark.parametrize("name", ["a b", "a\x1b[31m", "a\u202e", "x" * 300, "/", "a\n"])
def test_frame_ids_that_are_no_names(name: str) -> None:
    with pytest.raises(BadInputError) as caught:
        camera().admit(given(1.0, frame_id=name), 0)
    assert caught.value.reason == "bad_frame_id"
    assert str(caught.value).isprintable()


def test_stamps_are_held_against_the_clock() -> None:
    one = camera()
    for index in range(2):
        one.compare_clock((5000 + index) * NS, (1_700_000_000 + index) * NS)
        assert one.skew == ""
    one.compare_clock(5002 * NS, 1_700_000_002 * NS)
    assert "1699995000.0 s behind the node's clock: they count from the start" in one.skew
    one.compare_clock(1_700_000_003 * NS, 1_700_000_004 * NS)
    assert one.skew == ""
    for index in range(3):
        one.compare_clock((1_700_000_100 + index) * NS, (1_700_000_000 + index) * NS)
    assert "100.0 s ahead of" in one.skew


@pytest.mark.parametrize("stamp", [0, -1, 2**63 - 1, 2**70, -(2**63)])
def test_stamps_that_no_clock_gives(stamp: int) -> None:
    with pytest.raises(BadInputError, match="stamp is"):
        camera().admit(InputFrame(picture(), stamp), 0)


def test_memory_is_bounded_in_bytes() -> None:
    pool = FramePool(100, max_bytes=3 * 10 * 10 * 3)
    lent = [pool.take(10, 10) for _ in range(4)]
    assert [loan is None for loan in lent] == [False, False, False, True]
    one = Camera("camera", 100, ImageOptions(max_memory_mb=1), least=40)
    one.admit(InputFrame(np.zeros((80, 100, 3), np.uint8), NS), 0)
    with pytest.raises(BadInputError, match=r"40 of them.*max_memory_mb = 1") as caught:
        one.admit(InputFrame(np.zeros((120, 100, 3), np.uint8), 2 * NS), 0)
    assert caught.value.reason == "bad_size"


@pytest.mark.parametrize("damaged", ["refuse", "use"])
def test_damaged_frames_are_refused_or_used(damaged: str) -> None:
    data = coded("JPEG", np.asarray(picture(), np.uint8), quality=90)
    cut = data[: len(data) * 2 // 3] + data[len(data) * 2 // 3 + 60 :]
    one = Camera("camera", 8, ImageOptions(damaged=damaged))
    frame = InputFrame(CompressedPixels(SimpleNamespace(format="jpeg", data=cut)), NS)
    if damaged == "refuse":
        with pytest.raises(BadInputError, match=r"images.damaged = use") as caught:
            one.admit(frame, 0)
        assert caught.value.reason == "damaged"
        return
    (arrival,) = one.admit(frame, 0).arrivals
    assert one.decode(arrival).image.shape == picture().shape
    assert "Corrupt JPEG" in arrival.damage
