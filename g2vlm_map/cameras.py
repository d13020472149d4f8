# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One camera: which of its frames are let in, what its clock did, memory for their pixels.

A frame is checked by its header when it comes in and decoded when somebody needs it. Shape
letters: H W pixels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .calibration import CameraCalibration
from .decode import BadInputError
from .frame_optics import CameraFrame
from .frame_pool import FramePool
from .options import ImageOptions
from .pixels import ArrayPixels, Pixels

__all__ = [
    "NS",
    "Admission",
    "Arrival",
    "Camera",
    "InputFrame",
    "Leap",
    "skew_text",
]

NS = 1_000_000_000
_FRAME_CHANGES = 10  # frames in a row under another frame_id until that is believed
_SKEWED = 3  # frames in a row whose stamps are of another clock until that is said
_MB = 2**20
MAX_STAMP_NS = 2**62  # the year 2116; far below what int64 holds
_LONG_AGO_NS = 10 * 365 * 86400 * NS

# Frames get running numbers that never repeat within the process: a runtime caches what it
# computed for a frame under its key, also across a new segment or another pipeline.
_numbers = itertools.count(1)


@dataclass(frozen=True, eq=False)
class InputFrame:
    """A frame as it is handed in.

    Args:
        pixels: (H, W, 3) uint8 RGB, or whatever can become that; see `pixels.py`.
        stamp_ns: When it was taken, nanoseconds on the clock of all cameras.
        camera: Name of its camera; "" is the first one.
        frame_id: TF name of the optical frame; None: the camera's name.
        K: (3, 3) intrinsics in pixels; None: those that the camera was calibrated with.
    """

    pixels: NDArray[np.uint8] | Pixels
    stamp_ns: int
    camera: str = ""
    frame_id: str | None = None
    K: NDArray[np.float64] | None = None


@dataclass(frozen=True, eq=False)
class Arrival:
    """A frame that was let in and is not decoded yet.

    Args:
        camera, stamp_ns, frame_id, K, pixels: As in `InputFrame`.
        size: (H, W).
        received_ns: Monotonic clock of its arrival.
        takes_damage: Whether pixels of corrupt data may be used.
    """

    camera: str
    stamp_ns: int
    frame_id: str
    K: NDArray[np.float64] | None
    pixels: Pixels
    size: tuple[int, int]
    received_ns: int
    takes_damage: bool = False

    @property
    def damage(self) -> str:
        """What is wrong with the pixels that were decoded so far; "" for nothing."""
        return str(getattr(self.pixels, "damage", ""))

    @cached_property
    def gray(self) -> NDArray[np.uint8]:
        """Small and grey.

        Raises:
            BadInputError: It cannot be decoded, or is damaged.
        """
        gray = self.pixels.gray()
        self._judge_damage()
        return gray

    def write_rgb(self, out_HW3: NDArray[np.uint8]) -> None:
        """The whole picture.

        Raises:
            BadInputError: It cannot be decoded, or is damaged.
        """
        self.pixels.write_rgb(out_HW3)
        self._judge_damage()

    def _judge_damage(self) -> None:
        if self.damage and not self.takes_damage:
            raise BadInputError(
                "damaged", f"{self.damage}; images.damaged = use takes such frames all the same"
            )


@dataclass(frozen=True)
class Leap:
    """The stamps of a camera do not go on from where they were.

    Args:
        from_ns: The last stamp before.
        to_ns: The first one behind.
    """

    from_ns: int
    to_ns: int

    @property
    def seconds(self) -> float:
        """How far they leapt."""
        return (self.to_ns - self.from_ns) / NS


@dataclass(frozen=True)
class Admission:
    """What becomes of a frame that came in, and of one that was held back before it.

    Args:
        arrivals: Frames to go on with, oldest first.
        leap: The first of them lies behind a leap.
        refused: Why the one that was held back is refused.
        renamed: The camera's frame_id is another one from here on, in words; "" where it is not.
    """

    arrivals: tuple[Arrival, ...] = ()
    leap: Leap | None = None
    refused: BadInputError | None = None
    renamed: str = ""


class Camera:
    """One camera's state between frames; used by one thread at a time.

    Args:
        name: Its name.
        slots: Decoded frames that may be in use at once.
        options: Limits; may be replaced at any time.
        least: Slots without which no scene comes about.
    """

    def __init__(self, name: str, slots: int, options: ImageOptions, least: int = 1) -> None:
        self.name = name
        self.options = options
        self._least = least
        self.calibration = CameraCalibration(options.rectified_fov_deg)
        self._pool = FramePool(slots, options.max_memory_mb * _MB)
        self._delivered_HW3: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)
        self.restart(0)

    def restart(self, now_ns: int) -> None:
        """Forget the clock and what was held back: the pipeline starts."""
        self.first_ns: int | None = None  # monotonic clock of the first frame, good or bad
        self._good_ns = now_ns  # of the last good one
        self._proven = False  # a frame has been decoded since the last that could not be
        self._stamp_ns = 0
        self._stamp_received_ns = 0
        self._held: Arrival | None = None
        self._frame_id = ""  # of the frames so far
        self._other = ("", 0)  # another one that came since, and how often in a row
        self._skew = (0, 0)  # stamps behind the node's clock, ns, and for how many frames

    @property
    def holds(self) -> int:
        """Frames that are held back: 0 or 1."""
        return 0 if self._held is None else 1

    def admit(self, frame: InputFrame, now_ns: int) -> Admission:
        """Check a frame by its header and its stamp.

        A stamp that leaps, other than a pause explains, begins a new stretch of time. One that
        goes back by less than `max_jump_s` is a late frame, or the second round of a short
        recording: it is held back until the next frame tells. If that goes on from it, time
        leapt; if it goes on from before it, the late frame is refused.

        Args:
            frame: As handed in.
            now_ns: Monotonic clock of its arrival.

        Raises:
            BadInputError: The frame is refused.
        """
        if self.first_ns is None:
            self.first_ns = now_ns
        arrival = self._checked(frame, now_ns)
        renamed = self._renamed(arrival.frame_id)
        if renamed:
            self._held = None
            self._good_ns = now_ns
            self._go_on_from(arrival)
            return Admission((arrival,), renamed=renamed)
        if not self._proven:
            _ = arrival.gray  # raises; once a camera sent what cannot be decoded, headers lie
            self._proven = True
        self._good_ns = now_ns
        held, self._held = self._held, None
        step_ns = arrival.stamp_ns - self._stamp_ns
        limit_ns = round(self.options.max_jump_s * NS)
        if self._stamp_ns and -limit_ns <= step_ns <= 0:
            if held is not None and arrival.stamp_ns > held.stamp_ns:
                return self._leapt((held, arrival))
            self._held = arrival
            return Admission(refused=self._too_late(held))
        refused = self._too_late(held)
        waited_ns = now_ns - self._stamp_received_ns
        if self._stamp_ns and (step_ns < 0 or step_ns - waited_ns > limit_ns):
            return self._leapt((arrival,), refused)
        self._go_on_from(arrival)
        return Admission((arrival,), refused=refused)

    def decode(self, arrival: Arrival) -> CameraFrame:
        """The whole frame as straight RGB in a slot of the camera's memory, under its own key.

        Raises:
            BadInputError: Reason "no_free_slot", or that of the decoder.
        """
        image_HW3 = self._pool.take(*arrival.size)
        if image_HW3 is None:
            raise BadInputError("no_free_slot", "all frame buffers are in use: observe is too slow")
        K, optics = self.calibration.of_frame(arrival.size, arrival.gray)
        if arrival.K is not None:  # whoever gives K with a frame gives a straight one
            K, optics = arrival.K, replace(optics, rectification=None)
        if optics.rectification is None:
            arrival.write_rgb(image_HW3)
        else:
            if self._delivered_HW3.shape != image_HW3.shape:
                self._delivered_HW3 = np.empty_like(image_HW3)
            arrival.write_rgb(self._delivered_HW3)
            optics.rectification.apply(self._delivered_HW3, image_HW3)
        key = f"{self.name}#{next(_numbers)}"
        return CameraFrame(image_HW3, arrival.stamp_ns, arrival.frame_id, self.name, key, K, optics)

    def distrust(self) -> None:
        """A frame that was let in cannot be decoded: the next has to be before it counts."""
        self._proven = False

    def silent_s(self, now_ns: int) -> float:
        """Seconds since the last good frame, before the first one since the start."""
        return (now_ns - self._good_ns) / NS

    def _checked(self, frame: InputFrame, now_ns: int) -> Arrival:
        given = frame.pixels
        pixels = given if isinstance(given, Pixels) else ArrayPixels(given)
        size = pixels.size(self.options.max_pixels)
        self._check_memory(*size)
        frame_id = self.name if frame.frame_id is None else frame.frame_id.lstrip("/")
        if not 0 < frame.stamp_ns < MAX_STAMP_NS:
            raise BadInputError(
                "bad_stamp",
                f"the stamp is {frame.stamp_ns / NS:g} s, expected above 0: the driver must stamp",
            )
        if not frame_id or len(frame_id) > 255 or not frame_id.isprintable() or " " in frame_id:
            raise BadInputError(
                "bad_frame_id",
                f"frame_id is {frame_id!r:.60}, expected the optical frame's name; correct the "
                f"driver or set {self.name}.frame_id",
            )
        takes = self.options.damaged == "use"
        return Arrival(self.name, frame.stamp_ns, frame_id, frame.K, pixels, size, now_ns, takes)

    def _check_memory(self, height: int, width: int) -> None:
        needed_mb = self._least * height * width * 3 / _MB
        if needed_mb > self.options.max_memory_mb:
            raise BadInputError(
                "bad_size",
                f"picture is {width} x {height}; {self._least} of them, the least that scenes "
                f"need, take {needed_mb:.0f} MB, more than images.max_memory_mb = "
                f"{self.options.max_memory_mb}; raise it, or lower window.size or scenes.keep",
            )

    def _renamed(self, frame_id: str) -> str:
        """Why frames carry another frame_id from now on, "" where they carry that which they had.

        Raises:
            BadInputError: They carry another one, and it is not believed yet.
        """
        if frame_id == self._frame_id or not self._frame_id:
            self._frame_id, self._other = frame_id, ("", 0)
            return ""
        times = self._other[1] + 1 if frame_id == self._other[0] else 1
        self._other = (frame_id, times)
        if times < _FRAME_CHANGES:
            raise BadInputError(
                "bad_frame_id",
                f"frame_id is {frame_id!r:.60}, it was {self._frame_id!r:.60}: a camera has one; "
                f"correct the driver or set {self.name}.frame_id",
            )
        text = f"frame_id was {self._frame_id!r:.60}, it is {frame_id!r:.60} for {times} frames"
        self._frame_id, self._other = frame_id, ("", 0)
        return text

    def compare_clock(self, stamp_ns: int, clock_ns: int) -> None:
        """Hold a frame's stamp against the node's clock at its arrival."""
        behind_ns = clock_ns - stamp_ns
        off = 0 < self.options.max_skew_s < abs(behind_ns) / NS
        self._skew = (behind_ns, self._skew[1] + 1 if off else 0)

    @property
    def skew(self) -> str:
        """How the stamps lie to the node's clock, in words; "" where they fit."""
        behind_ns, times = self._skew
        return "" if times < _SKEWED else skew_text(behind_ns)

    def _go_on_from(self, arrival: Arrival) -> None:
        self._stamp_ns, self._stamp_received_ns = arrival.stamp_ns, arrival.received_ns

    def _leapt(
        self, arrivals: tuple[Arrival, ...], refused: BadInputError | None = None
    ) -> Admission:
        leap = Leap(self._stamp_ns, arrivals[0].stamp_ns)
        self._go_on_from(arrivals[-1])
        return Admission(arrivals, leap, refused)

    def _too_late(self, held: Arrival | None) -> BadInputError | None:
        if held is None:
            return None
        late_s = (self._stamp_ns - held.stamp_ns) / NS
        return BadInputError(
            "out_of_order",
            f"stamp is {late_s:.3f} s before the last frame's, expected a later one",
        )


def skew_text(behind_ns: int) -> str:
    """CLOCK_SKEW of stamps that lie `behind_ns` behind the node's clock, or ahead of it."""
    apart_s, side = abs(behind_ns) / NS, "behind" if behind_ns > 0 else "ahead of"
    likely = (
        "they count from the start of the machine or of the camera"
        if behind_ns > _LONG_AGO_NS
        else "two machines' clocks differ, or sim time is on in one place only"
    )
    return (
        f"stamps lie {apart_s:.1f} s {side} the node's clock: {likely}; transforms and "
        "odometry of other nodes do not meet them. Set use_sim_time or the driver's clock"
    )
