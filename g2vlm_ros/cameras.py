"""From a camera's messages to checked frames: size, stamp, frame name, intrinsics, one copy.

No rclpy: the node hands in messages, tests hand in anything with the same fields.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.decode import (
    BadInputError,
    CameraInfoLike,
    camera_matrix,
    check_raw,
    compressed_size,
    compressed_to_rgb,
    raw_to_rgb,
)
from g2vlm_map.frame_pool import FramePool
from g2vlm_model.interface import Frame
from g2vlm_ros.params import CameraParams

__all__ = ["CameraIntake", "Received"]

NS = 1_000_000_000

# Pictures get running numbers that never repeat within the process: a runtime caches what it
# computed for a frame under its key, also across a reset or a new activation.
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Received:
    """A good picture.

    Args:
        frame: Its pixels lie in a slot of the camera's pool.
        jump: Why its stamp cannot belong to the stream before; "" where it does.
    """

    frame: Frame
    jump: str


class CameraIntake:
    """One camera's state between messages.

    Args:
        camera: Its parameters.
        slots: Pictures that can be in use at once.
        max_pixels: Largest picture that is accepted.
    """

    def __init__(self, camera: CameraParams, slots: int, max_pixels: int) -> None:
        self.camera = camera
        self.info_problem = ""
        self.has_info = False
        self.last_received_ns: int | None = None  # monotonic; any picture, good or bad
        self._pool = FramePool(slots)
        self._max_pixels = max_pixels
        self._K: NDArray[np.float64] | None = None
        self._info_size = (0, 0)
        self._stamp_ns = 0
        self._stamp_received_ns = 0

    def receive(self, message: Any, now_ns: int, max_jump_s: float) -> Received:
        """Check a picture and copy it as RGB into a slot.

        Args:
            message: Image or CompressedImage, as the camera's transport says.
            now_ns: Monotonic clock of its arrival.
            max_jump_s: See the parameter `images.max_jump_s`.

        Raises:
            BadInputError: The picture is refused.
        """
        self.last_received_ns = now_ns
        raw = self.camera.transport == "raw"
        layout = check_raw(message, self._max_pixels) if raw else None
        size = (
            (layout.height, layout.width) if layout else compressed_size(message, self._max_pixels)
        )
        stamp_ns = message.header.stamp.sec * NS + message.header.stamp.nanosec
        frame_id = self.camera.frame_id or message.header.frame_id
        self._check_header(stamp_ns, frame_id)
        jump = self._jump(stamp_ns, now_ns, round(max_jump_s * NS))
        image_HW3 = self._pool.take(*size)
        if image_HW3 is None:
            raise BadInputError(
                "no_free_slot", "all picture buffers are in use: observe is too slow"
            )
        if layout:
            raw_to_rgb(message, layout, image_HW3)
        else:
            compressed_to_rgb(message, image_HW3)
        self._stamp_ns, self._stamp_received_ns = stamp_ns, now_ns
        name = self.camera.name
        frame = Frame(
            image=image_HW3,
            stamp_ns=stamp_ns,
            frame_id=frame_id,
            camera=name,
            key=f"{name}#{next(_numbers)}",
            K=self._intrinsics(size),
        )
        return Received(frame, jump)

    def receive_info(self, info: CameraInfoLike) -> None:
        """Take over intrinsics; what is wrong with them stands in `info_problem`."""
        self.has_info = True
        try:
            self._K = camera_matrix(info)
        except BadInputError as error:
            self._K = None
            self.info_problem = str(error)
        else:
            self._info_size = (int(info.height), int(info.width))
            self.info_problem = ""

    def silent(self, now_ns: int, since_ns: int, timeout_s: float) -> bool:
        """Whether no picture has come for `timeout_s` (before the first: since `since_ns`)."""
        last = since_ns if self.last_received_ns is None else self.last_received_ns
        return now_ns - last > timeout_s * NS

    def _check_header(self, stamp_ns: int, frame_id: str) -> None:
        if stamp_ns <= 0:
            raise BadInputError("bad_stamp", "header.stamp is 0 or negative: the driver must stamp")
        if not frame_id or len(frame_id) > 255 or any(ch.isspace() for ch in frame_id):
            raise BadInputError(
                "bad_frame_id",
                f"header.frame_id is {frame_id!r:.60}, expected the optical frame's name; correct "
                f"the driver or set {self.camera.name}.frame_id",
            )

    def _jump(self, stamp_ns: int, now_ns: int, limit_ns: int) -> str:
        """Describe a leap of the stamps; refuses a picture that is only a little late.

        A leap forward is one that the wall clock does not explain, so a camera that paused
        does not jump.
        """
        if self._stamp_ns == 0:
            return ""
        step_ns = stamp_ns - self._stamp_ns
        if -limit_ns <= step_ns <= 0:
            raise BadInputError(
                "out_of_order",
                f"stamp is {-step_ns / NS:.3f} s before the last picture's, expected a later one",
            )
        if step_ns < 0 or step_ns - (now_ns - self._stamp_received_ns) > limit_ns:
            return f"stamp of {self.camera.name} leapt by {step_ns / NS:+.1f} s"
        return ""

    def _intrinsics(self, size: tuple[int, int]) -> NDArray[np.float64] | None:
        if self._K is None:
            return None
        if self._info_size not in ((0, 0), size):
            self.info_problem = (
                f"CameraInfo is for {self._info_size[1]} x {self._info_size[0]} px, the picture "
                f"has {size[1]} x {size[0]}"
            )
            return None
        self.info_problem = ""
        return self._K
