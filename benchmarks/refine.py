# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What refined poses cost: features of a picture, a pair, the joint alignment of a window.

    python -m benchmarks.refine                              # smooth random pictures, shifted
    python -m benchmarks.refine --pictures FOLDER --frames 8

`window` is `refine_poses` on ready features, with every pair and the joint alignment.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from g2vlm_training.evaluate.align import AlignOptions
from g2vlm_training.evaluate.refine import RefineOptions, refine_poses
from numpy.typing import NDArray

from benchmarks.common import (
    add_common_arguments,
    interleaved,
    print_table,
    set_threads,
    write_report,
)
from benchmarks.pictures import load_pictures
from g2vlm_map.mapping.features import find_features
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.mapping.two_view import two_view

SHIFT_PX = 12
FOCAL_PX = 585.0


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, help="folder of real pictures in order")
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    add_common_arguments(parser, "refine")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    cv2.setNumThreads(arguments.threads or -1)
    count = arguments.frames
    pictures = load_pictures(arguments.pictures, count) if arguments.pictures else shifted(count)
    pairs = count * (count - 1) // 2
    results: dict[str, dict[str, float]] = {}
    rows = [["detector", "features per picture", "picture ms", "pair ms", "window ms", "pairs"]]
    for detector in ("sift", "orb"):
        options = FeatureOptions(detector=detector)
        found = [find_features(picture, options) for picture in pictures]
        height, width = pictures[0].shape[:2]
        K = np.array([[FOCAL_PX, 0, width / 2], [0, FOCAL_PX, height / 2], [0, 0, 1.0]])
        K_N33, head = np.stack([K] * count), np.stack([np.eye(4)] * count)
        depth = np.full((count, 84, 112), 2.0)
        aligned, chained = (
            partial(refine_poses, found, K_N33, head, depth, RefineOptions(options, align))
            for align in (AlignOptions(), AlignOptions(iterations=0))
        )
        times = interleaved(
            {
                "picture": partial(find_features, pictures[0], options),
                "pair": partial(two_view, found[0], found[1], K, K, options),
                "window": aligned,
                "chained": chained,
            },
            arguments.rounds,
            device,
        )
        ms = {name: timing.cpu_median * 1e3 for name, timing in times.items()}
        features = float(np.mean([len(item.pixel_F2) for item in found]))
        results[detector] = {
            "features": features, "picture_cpu_ms": ms["picture"], "pair_cpu_ms": ms["pair"],
            "window_cpu_ms": ms["window"], "alignment_cpu_ms": ms["window"] - ms["chained"],
            "pairs": pairs,
        }  # fmt: skip
        numbers = [f"{ms[name]:.1f}" for name in ("picture", "pair", "window")]
        rows.append([detector, f"{features:.0f}", *numbers, str(pairs)])
    print_table(rows)
    write_report(arguments.out, "refine", device, results)


def shifted(count: int) -> list[NDArray[np.uint8]]:
    """640x480 cuts of one rough picture, each some pixels to the right of the one before."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (120, 60 + 160), np.uint8)
    wide = cv2.resize(coarse, (4 * coarse.shape[1], 480), interpolation=cv2.INTER_CUBIC)
    if SHIFT_PX * count > wide.shape[1] - 640:
        raise ValueError(f"--frames is {count}, at most {(wide.shape[1] - 640) // SHIFT_PX}")
    cuts = [wide[:, SHIFT_PX * k : SHIFT_PX * k + 640] for k in range(count)]
    return [np.repeat(cut[:, :, None], 3, axis=2) for cut in cuts]


if __name__ == "__main__":
    main()
