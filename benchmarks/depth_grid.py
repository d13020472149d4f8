# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth at the camera's own size: time, and errors at the edges of rendered rooms.

    python -m benchmarks.depth_grid --rooms 12

The true depth of each room is sampled at the model's grid, its edges are left out as the runtimes
leave them out, and it is brought to 1280x720: by plain interpolation, and guided by the frame.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from g2vlm_training.datasets.synthetic import ShardPlan, render_room
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from g2vlm_map.depth_grid import bilinear_depth, guided_depth
from g2vlm_model.confidence import depth_edges
from g2vlm_model.preprocess import resize_geometric

FRAME_HW = (720, 1280)
SEED = 900_000  # of the first room
EDGE_RATIO = 1.15  # of the true depths around a fine pixel, and it lies at an edge
BAND_PX = 8  # to both sides of an edge


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rooms", type=int, default=6)
    parser.add_argument("--width", type=int, default=112, help="of the model's picture")
    add_common_arguments(parser, "depth_grid")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    cv2.setNumThreads(arguments.threads or -1)
    names = ("nearest, edges kept", "bilinear", "bilinear, edges kept", "guided")
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(SEED, SEED + arguments.rooms):
        frame, depth = rendered(seed)
        coarse_hw, whole_hw, colors = sampled(depth, frame, arguments.width)
        made: dict[str, Callable[[], NDArray[np.float32]]] = {
            names[0]: partial(nearest_depth, whole_hw),
            names[1]: partial(bilinear_depth, coarse_hw, FRAME_HW),
            names[2]: partial(bilinear_depth, whole_hw, FRAME_HW),
            names[3]: partial(guided_depth, coarse_hw, colors, frame),
        }
        for name, make in made.items():
            started = time.process_time()
            found = make()
            spent_ms = (time.process_time() - started) * 1e3
            score = errors(found, depth) | {"cpu ms": spent_ms}
            scores[name].append(score)
    keys = list(scores[names[0]][0])
    results = {
        name: {key: float(np.median([one[key] for one in found])) for key in keys}
        for name, found in scores.items()
    }
    rows = [["upsampling", *keys]]
    rows += [[name, *(f"{values[key]:.3f}" for key in keys)] for name, values in results.items()]
    print_table(rows)
    write_report(arguments.out, "depth_grid", device, results)


def nearest_depth(depth_hw: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) the nearest sample's depth."""
    fine = cv2.resize(depth_hw, FRAME_HW[::-1], interpolation=cv2.INTER_NEAREST)
    return np.asarray(fine, np.float32)


def rendered(seed: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """A frame (H, W, 3) of a room and its true z-depth (H, W) in metres, NaN in the sky."""
    plan = ShardPlan(split="val", clips=1, frames=1, smooth=1.0, camera=0.0)
    (clip, *_) = render_room(plan, seed, FRAME_HW)
    depth = np.asarray(clip.depth[0], np.float32)
    return np.asarray(clip.rgb[0]), np.where(depth > 0, depth, np.float32(np.nan))


def sampled(
    depth_HW: NDArray[np.float32], frame_HW3: NDArray[np.uint8], width: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
    """The model's grid: depth without its edges, with them, and the picture."""
    size_hw = (round(FRAME_HW[0] * width / FRAME_HW[1] / 14) * 14, width)
    nearest = cv2.resize(depth_HW, size_hw[::-1], interpolation=cv2.INTER_NEAREST)
    whole = np.asarray(nearest, np.float32)
    edges = np.asarray(depth_edges(np.nan_to_num(whole)[None]))[0] >= 1
    coarse: NDArray[np.float32] = np.where(edges, np.float32(np.nan), whole)
    return coarse, whole, resize_geometric(frame_HW3, size_hw)


def errors(found_HW: NDArray[np.float32], true_HW: NDArray[np.float32]) -> dict[str, float]:
    """Shares and log errors at the edges of the true depth, and apart from them."""
    window = np.ones((3, 3), np.uint8)
    filled = np.nan_to_num(true_HW, nan=100.0)
    edge = cv2.dilate(filled, window) > EDGE_RATIO * cv2.erode(filled, window)
    around = (2 * BAND_PX + 1,) * 2
    band = cv2.dilate(edge.astype(np.uint8), np.ones(around, np.uint8)) > 0
    low, high = cv2.erode(filled, np.ones(around)), cv2.dilate(filled, np.ones(around))
    known = np.isfinite(found_HW) & np.isfinite(true_HW)
    error = np.abs(np.log(np.where(known, found_HW, 1) / np.where(known, true_HW, 1)))
    at, apart = known & band, known & ~band
    flying = at & (found_HW > 1.05 * low) & (found_HW < 0.95 * high) & (error > 0.05)
    return {
        "edge error": float(error[at].mean()),
        "edge wrong by > 10 %": float((error[at] > 0.1).mean()),
        "in the air": float(flying[at].mean()),
        "edge without depth": float(1 - known[band & np.isfinite(true_HW)].mean()),
        "error elsewhere": float(error[apart].mean()),
    }


if __name__ == "__main__":
    main()
