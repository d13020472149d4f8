# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report's panels: frame, the depth that came out and the true depth side by side."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings import NS, Recording, RecordingError

from .depth_metrics import depth_error, resample_truth
from .outcome import Outputs

PANEL_WIDTH = 320
NO_DEPTH_RGB = (236, 238, 242)
COUNT = 5
_NEAR = 4  # scenes to either side of an even place that a panel may be of


@dataclass(frozen=True)
class Panel:
    """One scene of the report.

    Args:
        seconds: since the first frame.
        frame: its index.
        input_jpeg: the frame.
        depth_jpeg: the depth that came out, coloured.
        truth_jpeg: the true depth on the same colours, b"" where there is none.
        near, far: the ends of the colours, `unit`.
        unit: "m" after median scaling, "map units" without a ground truth.
        abs_rel: of this scene, None without a ground truth.
    """

    seconds: float
    frame: int
    input_jpeg: bytes
    depth_jpeg: bytes
    truth_jpeg: bytes
    near: float
    far: float
    unit: str
    abs_rel: float | None


def make_panels(recording: Recording, outputs: Outputs, count: int = COUNT) -> list[Panel]:
    """Panels of some scenes, spread evenly over the recording; of neighbours those with a truth.

    Args:
        recording: frames and true depth.
        outputs: the depth that came out.
        count: how many at most.
    """
    index_of = {stamp: index for index, stamp in enumerate(recording.info.stamps_ns)}
    stamps = [stamp for stamp, _ in outputs.depths() if stamp in index_of]
    if not stamps:
        return []
    spread = np.linspace(0, len(stamps) - 1, count + 2).round().astype(int)[1:-1]
    around = [stamps[max(0, at - _NEAR) : at + _NEAR + 1] for at in spread]
    truths = dict(recording.true_depths({stamp for near in around for stamp in near}))
    chosen = set(stamps)
    if len(stamps) > count:
        chosen = {
            nearest_with(truths, stamps[at], near) for at, near in zip(spread, around, strict=True)
        }
    depths = {stamp: depth for stamp, depth in outputs.depths() if stamp in chosen}
    panels = []
    for frame in recording.frames(index_of[stamp] for stamp in sorted(chosen)):
        stamp = recording.info.stamps_ns[frame.index]
        try:
            rgb = frame.rgb()
        except RecordingError:  # a stamp that came twice, its last frame cut off
            continue
        seconds = (stamp - recording.info.stamps_ns[0]) / NS
        panels.append(_panel(frame.index, seconds, rgb, depths[stamp], truths.get(stamp)))
    return panels


def nearest_with(truths: Container[int], own: int, near: Sequence[int]) -> int:
    """The stamp nearest to one's own that has a true depth; the own one where none has."""
    return min((s for s in near if s in truths), key=lambda s: abs(s - own), default=own)


def colour_depth(depth_HW: NDArray[np.floating], near: float, far: float) -> NDArray[np.uint8]:
    """Depth as colours (H, W, 3) RGB: near is red, far is blue, none is grey.

    Args:
        depth_HW: (H, W); 0 and non-finite is none.
        near: the depth of the first colour; the scale is linear in 1 / depth.
        far: the depth of the last colour.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        read = np.isfinite(depth_HW) & (depth_HW > 0)
        share = (1.0 / depth_HW - 1.0 / far) / (1.0 / near - 1.0 / far)
    level = (np.where(read, share, 0.0).clip(0, 1) * 235 + 10).astype(np.uint8)
    bgr = cv2.applyColorMap(level, cv2.COLORMAP_TURBO)
    bgr[~read] = NO_DEPTH_RGB[::-1]
    return np.asarray(bgr[..., ::-1], np.uint8)


def colour_bar_png() -> bytes:
    """The colours of `colour_depth` from near (left) to far (right)."""
    level = np.linspace(245, 10, 256).astype(np.uint8)[None].repeat(12, 0)
    return cv2.imencode(".png", cv2.applyColorMap(level, cv2.COLORMAP_TURBO))[1].tobytes()


def jpeg(rgb_HW3: NDArray[np.uint8], quality: int = 88, width: int = PANEL_WIDTH) -> bytes:
    """Encode an image (H, W, 3) RGB, resized to so many pixels of width."""
    height = max(1, round(rgb_HW3.shape[0] * width / rgb_HW3.shape[1]))
    method = cv2.INTER_AREA if rgb_HW3.shape[1] > width else cv2.INTER_NEAREST
    resized = cv2.resize(rgb_HW3, (width, height), interpolation=method)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", resized[..., ::-1], options)[1].tobytes()


def _panel(
    index: int,
    seconds: float,
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float32],
    truth: NDArray[np.float32] | None,
) -> Panel:
    truth = resample_truth(truth, depth.shape) if truth is not None else None
    error = depth_error(depth, truth) if truth is not None else None
    scaled = depth * np.float32(error.scale) if error is not None else depth
    reference = truth if truth is not None and error is not None else scaled
    read = reference[np.isfinite(reference) & (reference > 0)]
    near, far = (float(v) for v in np.percentile(read, (2, 98))) if read.size else (1.0, 2.0)
    far = max(far, near * 1.01)
    return Panel(
        seconds=seconds,
        frame=index,
        input_jpeg=jpeg(rgb),
        depth_jpeg=jpeg(colour_depth(scaled, near, far)),
        truth_jpeg=b"" if truth is None else jpeg(colour_depth(truth, near, far)),
        near=near,
        far=far,
        unit="m" if error is not None else "map units",
        abs_rel=None if error is None else error.abs_rel,
    )
