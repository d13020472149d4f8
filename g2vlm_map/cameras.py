# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One camera: which of its frames are let in, what its clock did, memory for their pixels.

A frame is checked by its header when it comes in and decoded when somebody needs it. Shape
letters: H W pixels.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from .calibration import CameraCalibration
from .decode import BadInputError
from .frame_optics import CameraFrame
from .options import ImageOptions
from .pixels import ArrayPixels, Pixels

__all__ = [
    "NS",
    "Admission",
    "Arrival",
    "Camera",
    "FramePool",
    "InputFrame",
    "Leap",
]

NS = 1_000_000_000

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
    """

    camera: str
    stamp_ns: int
    frame_id: str
    K: NDArray[np.float64] | None
    pixels: Pixels
    size: tuple[int, int]
    received_ns: int

    @cached_property
    def gray(self) -> NDArray[np.uint8]:
        """Small and grey.

        Raises:
            BadInputError: It cannot be decoded.
        """
        return self.pixels.gray()


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
    """

    arrivals: tuple[Arrival, ...] = ()
    leap: Leap | None = None
    refused: BadInputError | None = None


class Camera:
    """One camera's state between frames; used by one thread at a time.

    Args:
        name: Its name.
        slots: Decoded frames that may be in use at once.
        options: Limits; may be replaced at any time.
    """

    def __init__(self, name: str, slots: int, options: ImageOptions) -> None:
        self.name = name
        self.options = options
        self.calibration = CameraCalibration(options.rectified_fov_deg)
        self._pool = FramePool(slots)
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
            arrival.pixels.write_rgb(image_HW3)
        else:
            if self._delivered_HW3.shape != image_HW3.shape:
                self._delivered_HW3 = np.empty_like(image_HW3)
            arrival.pixels.write_rgb(self._delivered_HW3)
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
        frame_id = self.name if frame.frame_id is None else frame.frame_id
        if frame.stamp_ns <= 0:
            raise BadInputError("bad_stamp", "the stamp is 0 or negative: the driver must stamp")
        if not frame_id or len(frame_id) > 255 or any(ch.isspace() for ch in frame_id):
            raise BadInputError(
                "bad_frame_id",
                f"frame_id is {frame_id!r:.60}, expected the optical frame's name; correct the "
                f"driver or set {self.name}.frame_id",
            )
        return Arrival(self.name, frame.stamp_ns, frame_id, frame.K, pixels, size, now_ns)

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


class FramePool:
    """A bounded set of equal buffers for decoded frames, allocated once and reused.

    A slot is lent as an array. It comes back by itself when the last reference to that array
    (the frame, the window, a scene that keeps it, a view into it) is gone, so nobody has to
    remember to return it and nobody can overwrite a frame that is still in use.

    Args:
        slots: Number of frames that can be alive at once, at least 1.
    """

    def __init__(self, slots: int) -> None:
        assert slots >= 1, slots
        self._slots = slots
        self._shape = (0, 0)
        self._free: deque[NDArray[np.uint8]] = deque()
        self._made = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all buffers of the present size."""
        return self._made * self._shape[0] * self._shape[1] * 3

    def take(self, height: int, width: int) -> NDArray[np.uint8] | None:
        """Lend a buffer.

        A new size drops the old buffers; those still in use live on until released.

        Returns:
            (H, W, 3) uint8 C-contiguous with old content, or None when all slots are in use.
        """
        if (height, width) != self._shape:
            self._shape = (height, width)
            self._free = deque()
            self._made = 0
        if self._free:
            owner = self._free.popleft()
        elif self._made < self._slots:
            owner = np.empty(height * width * 3, np.uint8)
            self._made += 1
        else:
            return None
        # The memoryview between owner and loan stops NumPy from shortening the chain of
        # bases, so every view of the loan keeps `loan` alive and not only `owner`.
        loan = np.frombuffer(owner.data, np.uint8)
        weakref.finalize(loan, self._free.append, owner).atexit = False
        return loan.reshape(height, width, 3)
