"""The report's pictures: input, the node's depth and the true depth side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings.source import NS, ReplaySource

from .depth_metrics import depth_error, resample_truth
from .recording import Recording

PANEL_WIDTH = 320
NO_DEPTH_RGB = (236, 238, 242)
COUNT = 5


@dataclass(frozen=True)
class Panel:
    """One scene of the report.

    Args:
        seconds: since the first picture.
        picture: its index.
        input_jpeg: the picture.
        depth_jpeg: the node's depth, coloured.
        truth_jpeg: the true depth on the same colours, b"" where there is none.
        near, far: the ends of the colours, `unit`.
        unit: "m" after median scaling, "segment units" without a ground truth.
        abs_rel: of this scene, None without a ground truth.
    """

    seconds: float
    picture: int
    input_jpeg: bytes
    depth_jpeg: bytes
    truth_jpeg: bytes
    near: float
    far: float
    unit: str
    abs_rel: float | None


def make_panels(source: ReplaySource, recording: Recording, count: int = COUNT) -> list[Panel]:
    """Panels of some scenes, spread evenly over the recording.

    Args:
        source: pictures and true depth.
        recording: the node's depth.
        count: how many at most.
    """
    index_of = {stamp: index for index, stamp in enumerate(source.info.stamps_ns)}
    stamps = [stamp for stamp, _ in recording.depths() if stamp in index_of]
    if not stamps:
        return []
    chosen_index = np.unique(np.linspace(0, len(stamps) - 1, count + 2).round().astype(int)[1:-1])
    chosen = {stamps[i] for i in chosen_index} if len(stamps) > count else set(stamps)
    depths = {stamp: depth for stamp, depth in recording.depths() if stamp in chosen}
    pictures = source.pictures(index_of[stamp] for stamp in chosen)
    truths = dict(source.truth_depths(chosen))
    return [
        _panel(source, stamp, index_of[stamp], pictures[index_of[stamp]], depths[stamp], truths)
        for stamp in sorted(chosen)
        if index_of[stamp] in pictures
    ]


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


def jpeg(rgb_HW3: NDArray[np.uint8], quality: int = 88) -> bytes:
    """Encode a picture (H, W, 3) RGB, resized to the panels' width."""
    height = max(1, round(rgb_HW3.shape[0] * PANEL_WIDTH / rgb_HW3.shape[1]))
    method = cv2.INTER_AREA if rgb_HW3.shape[1] > PANEL_WIDTH else cv2.INTER_NEAREST
    resized = cv2.resize(rgb_HW3, (PANEL_WIDTH, height), interpolation=method)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    return cv2.imencode(".jpg", resized[..., ::-1], options)[1].tobytes()


def _panel(
    source: ReplaySource,
    stamp: int,
    index: int,
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float32],
    truths: Mapping[int, NDArray[np.float32]],
) -> Panel:
    truth = resample_truth(truths[stamp], depth.shape) if stamp in truths else None
    error = depth_error(depth, truth) if truth is not None else None
    scaled = depth * np.float32(error.scale) if error is not None else depth
    reference = truth if truth is not None and error is not None else scaled
    read = reference[np.isfinite(reference) & (reference > 0)]
    near, far = (float(v) for v in np.percentile(read, (2, 98))) if read.size else (1.0, 2.0)
    far = max(far, near * 1.01)
    return Panel(
        seconds=(stamp - source.info.stamps_ns[0]) / NS,
        picture=index,
        input_jpeg=jpeg(rgb),
        depth_jpeg=jpeg(colour_depth(scaled, near, far)),
        truth_jpeg=b"" if truth is None else jpeg(colour_depth(truth, near, far)),
        near=near,
        far=far,
        unit="m" if error is not None else "segment units",
        abs_rel=None if error is None else error.abs_rel,
    )
