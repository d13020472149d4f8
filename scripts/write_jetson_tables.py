# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Write the memory tables of docs/jetson.md from the plan that `g2vlm export plan` prints.

Usage: python scripts/write_jetson_tables.py [--check]
With --check nothing is written; the exit code is 1 where the page is out of date.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]

from g2vlm_export.devices import DEVICES  # noqa: E402
from g2vlm_export.plan import Request, WindowPlan, gib, plan_windows  # noqa: E402
from g2vlm_export.plan_cli import HEAD, cells, planned_config  # noqa: E402

from g2vlm_model.preprocess import geometric_size  # noqa: E402

PAGE = REPO / "docs" / "jetson.md"
BEGIN, END = "<!-- memory: begin -->", "<!-- memory: end -->"
WINDOWS = (2, 8, 24)
CAMERA_HW = (480, 640)
PLANS = (
    ("nano", "tensorrt", "fp16"),
    ("2b", "tensorrt", "fp16"),
    ("2b", "torch", "fp16"),
    ("2b", "torch", "int8"),
    ("2b", "torch", "int4+int8"),
    ("2b", "onnx", "int8"),
)


def tables_text() -> str:
    """Per model and runtime what a window takes, then which module it fits."""
    jetsons = [device for device in DEVICES.values() if device.kind == "jetson"]
    lines, verdicts = [], []
    for model, runtime, precision in PLANS:
        config = planned_config(model)
        picture_hw = geometric_size(config, *CAMERA_HW)
        request = Request(config, jetsons[0], picture_hw, runtime, precision, headless=True)
        plans = plan_windows(request, WINDOWS)
        lines += [
            "",
            f"{model}, `runtime: {runtime}`, {precision}, "
            f"pictures of {picture_hw[1]}x{picture_hw[0]}:",
        ]
        lines += ["", f"| {' | '.join(HEAD)} |", "|---" * len(HEAD) + "|"]
        lines += [f"| {' | '.join(cells(plan))} |" for plan in plans]
        verdicts.append([_verdicts(plans, device.free(headless=True)) for device in jetsons])
    titles = [f"{model}, {runtime}, {precision}" for model, runtime, precision in PLANS]
    lines += ["", f"| module | GiB free | {' | '.join(titles)} |", "|---" * (len(titles) + 2) + "|"]
    for device, *found in zip(jetsons, *verdicts, strict=True):
        free = gib(device.free(headless=True))
        lines.append(f"| {device.name} | {free} | {' | '.join(found)} |")
    return "\n".join(lines[1:])


def _verdicts(plans: Sequence[WindowPlan], free: int) -> str:
    """Verdict of each window on a device, those that agree together."""
    frames_of: dict[str, list[str]] = {}
    for plan in plans:
        verdict = dataclasses.replace(plan, free=free).verdict
        frames_of.setdefault(verdict, []).append(str(plan.frames))
    if len(frames_of) == 1:
        return next(iter(frames_of))
    return "; ".join(f"{', '.join(frames)}: {verdict}" for verdict, frames in frames_of.items())


def page_text(page: str) -> str:
    """The page with its tables replaced.

    Raises:
        ValueError: The marks are missing.
    """
    if BEGIN not in page or END not in page:
        raise ValueError(f"{PAGE.name} lacks the marks {BEGIN} and {END}")
    before, _, rest = page.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables_text()}\n{END}{rest.partition(END)[2]}"


def main(argv: Sequence[str]) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    check = parser.parse_args(argv).check
    page = PAGE.read_text(encoding="utf-8")
    wanted = page_text(page)
    if page == wanted:
        return 0
    print(f"{PAGE.relative_to(REPO)} {'is out of date' if check else 'written'}")
    if check:
        print("run: python scripts/write_jetson_tables.py")
        return 1
    PAGE.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
