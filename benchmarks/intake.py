# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a frame costs whoever hands it in: `Pipeline.add`, with a runtime that returns at once.

    python -m benchmarks.intake

A camera that moves slowly, 30 frames a second by their stamps, default options: most frames come
before the next keyframe may, or show nothing new. Reported is the processor time of `add`, in ms,
over all frames and of those that became keyframes: JPEGs of 1920 x 1080, raw images of 640 x 480.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.common import add_common_arguments, print_table, set_threads, write_report
from benchmarks.instant_runtime import InstantRuntime
from g2vlm_map.events import Event, FramesDropped
from g2vlm_map.pipeline import InputFrame, Pipeline
from g2vlm_map.pixels import CompressedPixels, Pixels, RawPixels

RATE_HZ = 30.0
NS = 1_000_000_000
SHIFT = 0.004  # of the width, from frame to frame


def main() -> int:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--frames", type=int, default=300)
    add_common_arguments(parser, "intake")
    arguments = parser.parse_args()
    set_threads(arguments)
    cv2.setNumThreads(0)
    kinds: list[tuple[str, tuple[int, int], Callable[[NDArray[np.uint8]], Pixels]]] = [
        ("1080p JPEG", (1080, 1920), jpeg),
        ("raw 640x480", (480, 640), raw),
    ]
    results = {name: measure(size, make, arguments.frames) for name, size, make in kinds}
    rows = [["", "mean ms", "p50", "p99", "keyframes", "p50 of a keyframe"]]
    for name, found in results.items():
        times = [f"{found[key]:.2f}" for key in ("mean_ms", "p50_ms", "p99_ms")]
        rows.append([name, *times, str(found["keyframes"]), f"{found['keyframe_p50_ms']:.2f}"])
    print_table(rows)
    write_report(arguments.out, "intake", torch.device("cpu"), results)
    return 0


def measure(
    size: tuple[int, int], make: Callable[[NDArray[np.uint8]], Pixels], frames: int
) -> dict[str, Any]:
    """Processor time of `add` in the thread that calls it."""
    dropped: list[Event] = []
    times_ms, is_keyframe = [], []
    distinct = [make(rgb) for rgb in moving(size, 32)]

    def listen(event: Event) -> None:
        if isinstance(event, FramesDropped) and event.reason == "not_keyframe":
            dropped.append(event)

    with Pipeline(InstantRuntime(56, 112), on_event=listen) as pipeline:
        for index in range(frames):
            known = len(dropped)
            frame = InputFrame(distinct[index % len(distinct)], round((1 + index / RATE_HZ) * NS))
            started = time.thread_time()
            pipeline.add(frame)
            times_ms.append((time.thread_time() - started) * 1e3)
            is_keyframe.append(len(dropped) == known)
            pipeline.wait()
    taken, keys = np.array(times_ms), np.array(is_keyframe)
    return {
        "frames": frames,
        "mean_ms": float(taken.mean()),
        "p50_ms": float(np.median(taken)),
        "p99_ms": float(np.quantile(taken, 0.99)),
        "keyframes": int(keys.sum()),
        "keyframe_p50_ms": float(np.median(taken[keys])),
    }


def moving(size: tuple[int, int], count: int) -> list[NDArray[np.uint8]]:
    """Pictures of a texture that moves sideways."""
    height, width = size
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 6, 3), np.uint8)
    texture = cv2.resize(noise, (width * 4 // 3, height), interpolation=cv2.INTER_CUBIC)
    starts = [round(SHIFT * width * index) for index in range(count)]
    return [np.ascontiguousarray(texture[:, at : at + width], np.uint8) for at in starts]


def jpeg(rgb: NDArray[np.uint8]) -> Pixels:
    """As a CompressedImage."""
    data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
    return CompressedPixels(SimpleNamespace(format="jpeg", data=data))


def raw(rgb: NDArray[np.uint8]) -> Pixels:
    """As an Image."""
    height, width = rgb.shape[:2]
    return RawPixels(
        SimpleNamespace(
            height=height, width=width, encoding="bgr8", is_bigendian=0,
            step=3 * width, data=rgb.tobytes(),
        )
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
