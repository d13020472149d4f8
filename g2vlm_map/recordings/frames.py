# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A frame of a recording, and how the colour and depth that it holds are decoded.

A node under test decodes its own frames; what is decoded here serves the report, the ground
truth, the data sets and, where it is depth, the node. Raw frames go through the same conversion as
the live ones, so that what the pipeline takes can be replayed. Messages may come from rosbags,
rclpy or a folder: only their fields are used. Shape letters: H W pixels.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decode import BadInputError, SampleBits, check_raw, raw_to_rgb
from ..pictures import PICTURE_PIXELS, decode_rgb, decode_samples, open_picture
from .source import RecordingError
from .transforms import MAX_METRES

PNG_SIGNATURE = b"\x89PNG"
COMPRESSED_DEPTH_HEADER_BYTES = 12
NO_READING = 65535
DEPTH_ENCODINGS = {"16UC1": "<u2", "mono16": "<u2", "32FC1": "<f4"}


@dataclass(frozen=True)
class RecordedFrame:
    """A frame that is read when it is asked for.

    Args:
        index: running number in the recording.
        stamp_ns: of the capture.
        time_ns: when it was received while recording; a replay's clock.
        frame_id: the camera's optical frame.
        load: reads the frame as it was recorded: an object with the fields of
            `sensor_msgs/Image` or `CompressedImage`.
    """

    index: int
    stamp_ns: int
    time_ns: int
    frame_id: str
    load: Callable[[], Any] = field(repr=False)

    def rgb(self) -> NDArray[np.uint8]:
        """The frame decoded, (H, W, 3) uint8 RGB.

        Raises:
            RecordingError: It cannot be decoded.
        """
        return message_rgb(self.load(), f"frame {self.index}")


def message_rgb(message: Any, name: str, used: SampleBits | None = None) -> NDArray[np.uint8]:
    """Decode a sensor_msgs Image or CompressedImage to (H, W, 3) uint8 RGB, upright.

    Args:
        message: Anything with the fields of one of them.
        name: Of the frame, for the text.
        used: Bits that the camera's samples use; None: this frame alone decides.

    Raises:
        RecordingError: It cannot be decoded.
    """
    try:
        if hasattr(message, "format"):
            return decode_rgb(open_picture(message.data, told=message.format)).pixels
        layout = check_raw(message, PICTURE_PIXELS)
        rgb_HW3 = np.empty((layout.height, layout.width, 3), np.uint8)
        raw_to_rgb(message, layout, rgb_HW3, used)
    except BadInputError as error:
        raise RecordingError(f"{name}: {error}") from error
    return rgb_HW3


def message_depth(message: Any, name: str, step: int = 1) -> NDArray[np.float32]:
    """Decode a depth message to (H, W) float32 metres, 0 where there is no reading.

    16UC1 is millimetres and 32FC1 metres (REP-118); as CompressedImage either a PNG of those
    or the `compressedDepth` transport (12 bytes of header, 32FC1 as quantised inverse depth).

    Args:
        message: Anything with the fields of one of them.
        name: Of the frame, for the text.
        step: Every step-th row and column is decoded, from the first one on.

    Raises:
        RecordingError: Another encoding, or bytes that cannot be decoded.
    """
    if hasattr(message, "format"):
        return _compressed_depth(message, name)[::step, ::step]
    dtype = DEPTH_ENCODINGS.get(message.encoding)
    if dtype is None:
        raise RecordingError(
            f"{name}: depth encoding {message.encoding!r:.40}, expected {sorted(DEPTH_ENCODINGS)}"
        )
    if message.is_bigendian:
        dtype = dtype.replace("<", ">")
    rows = np.ascontiguousarray(_rows(message, np.dtype(dtype).itemsize, name)[::step])
    return depth_metres(rows.view(dtype)[:, ::step])


def depth_metres(raw_HW: NDArray[Any], unit_m: float = 1e-3) -> NDArray[np.float32]:
    """Raw depth (H, W), whole numbers of `unit_m` or float metres, to metres; 0 = no reading."""
    with np.errstate(over="ignore", invalid="ignore"):
        metres = raw_HW.astype(np.float32)
    if raw_HW.dtype.kind == "u":
        metres *= np.float32(unit_m)
        metres[raw_HW >= NO_READING] = 0.0
    else:
        metres[~((metres > 0) & (metres <= MAX_METRES))] = 0.0
    return metres


def _rows(message: Any, bytes_per_pixel: int, name: str) -> NDArray[np.uint8]:
    """(height, width * bytes_per_pixel) uint8 without the padding of each row."""
    data = np.frombuffer(message.data, np.uint8)
    height, step, used = message.height, message.step, message.width * bytes_per_pixel
    if height < 1 or used < 1 or step < used or data.size < step * height:
        raise RecordingError(
            f"{name}: {data.size} bytes for {message.width}x{height} {message.encoding} "
            f"with step {step}, expected at least {max(step, used) * height}"
        )
    return data[: step * height].reshape(height, step)[:, :used]


def _compressed_depth(message: Any, name: str) -> NDArray[np.float32]:
    payload = bytes(message.data)
    start = payload[: COMPRESSED_DEPTH_HEADER_BYTES + len(PNG_SIGNATURE)].find(PNG_SIGNATURE)
    if start < 0:
        raise RecordingError(
            f"{name}: format {message.format!r} holds no PNG; lossy depth cannot be a ground truth"
        )
    try:
        raw = decode_samples(payload[start:])
    except BadInputError as error:
        raise RecordingError(f"{name}: {error}") from error
    if raw.ndim != 2 or raw.dtype not in (np.uint16, np.int32):
        raise RecordingError(
            f"{name}: depth PNG decodes to {raw.dtype} {raw.shape}, expected uint16 (H, W)"
        )
    raw = raw.astype(np.uint16)
    if start == COMPRESSED_DEPTH_HEADER_BYTES and message.format.startswith("32FC1"):
        _, quant_a, quant_b = struct.unpack_from("<iff", payload)
        with np.errstate(divide="ignore"):
            metres = quant_a / (raw.astype(np.float32) - np.float32(quant_b))
        return depth_metres(np.where(raw > 0, metres, np.float32(0)))
    return depth_metres(raw)
