# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One runtime's start, for `benchmarks.runtimes`: load it, observe one window, say what it took.

    python -m benchmarks.runtime_start onnx '{"model": "nano", "device": "cpu", "export": "DIR"}'

Imports nothing that a robot with this runtime would not.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


def main() -> None:
    """Print one line of JSON."""
    runtime_name, text = sys.argv[1:]
    given = json.loads(text)
    import numpy as np

    from g2vlm_model.interface import Frame, FrameWindow
    from g2vlm_model.runtimes import load_runtime

    runtime = load_runtime(runtime_name, given["model"], given["device"], export=given["export"])
    pictures = np.random.default_rng(0).integers(0, 256, (given["pictures"], 480, 640, 3), np.uint8)
    frames = [Frame(picture, i, "camera", "camera", str(i)) for i, picture in enumerate(pictures)]
    runtime.observe(FrameWindow(tuple(frames)))
    seconds = time.perf_counter() - STARTED
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    report = {"seconds": seconds, "peak_bytes": int(peak.split()[1]) * 1024}
    print(json.dumps({**report, "torch": "torch" in sys.modules}))


if __name__ == "__main__":
    main()
