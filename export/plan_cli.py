# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export plan --device orin-nx-16`: what a runtime takes there, refused where it cannot fit.

Nothing is built or loaded. Ends with code 1 where the window asked for does not fit, or none of
several.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys

from g2vlm_model.checkpoint import resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.preprocess import geometric_size

from .devices import DEVICES, find_device
from .plan import PRECISIONS, RUNTIMES, Request, WindowPlan, gib, plan_windows, refusal

__all__ = ["HEAD", "cells", "main", "planned_config"]

DEFAULT_WINDOWS = (2, 4, 8, 16, 24)
PUBLISHED = "2b"
HEAD = (
    *("frames", "engine", "torch weights", "passes", "scenes", "process", "at work"),
    *("build", "build while serving"),
)


def main(argv: list[str]) -> int:
    """Run `g2vlm export plan`; returns the exit code."""
    args = _parser().parse_args(argv)
    request = _request(args)
    plans = plan_windows(request, args.window)
    print(_as_json(request, plans) if args.json else _table(args.model, request, plans))
    if any(plan.fits for plan in plans):
        return 0
    smallest = min(plans, key=lambda plan: plan.frames)
    print(f"g2vlm export plan: {refusal(request, smallest)}", file=sys.stderr)
    return 1


def _request(args: argparse.Namespace) -> Request:
    device = find_device(args.device)
    on_cpu = device.kind == "cpu"
    config = planned_config(args.model)
    width, height = args.size
    return Request(
        config=config,
        device=device,
        picture_hw=geometric_size(config, height, width),
        runtime=args.runtime or ("onnx" if on_cpu else "tensorrt"),
        precision=args.precision or ("fp32" if on_cpu else "fp16"),
        scenes=args.scenes,
        headless=args.headless,
    )


def planned_config(model: str) -> ModelConfig:
    """Sizes of the published model, or of a folder, which may hold nothing but them."""
    if model == PUBLISHED:
        return ModelConfig.g2vlm_2b()
    return ModelConfig.from_folder(resolve_folder(model))


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="g2vlm export plan", description=__doc__)
    add = parser.add_argument
    add("--device", required=True, help=f"{', '.join(DEVICES)}; or here, cpu: this machine")
    add("--model", default="nano", help=f"nano, {PUBLISHED} (the published sizes) or a folder")
    add(
        "--window",
        type=_positive,
        nargs="+",
        default=list(DEFAULT_WINDOWS),
        metavar="FRAMES",
        help="frames of a window; several make a table (default %(default)s)",
    )
    add("--size", type=_size, default=(640, 480), metavar="WxH", help="camera's pictures in pixels")
    add("--precision", choices=PRECISIONS, help="fp16; fp32 on a cpu")
    add("--runtime", choices=RUNTIMES, help="tensorrt; onnx on a cpu")
    add("--scenes", type=_positive, default=4, help="scenes alive at once (default %(default)s)")
    add("--headless", action="store_true", help="no desktop runs on the device")
    add("--json", action="store_true", help="print numbers in bytes")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)x(\d+)", text)
    if match is None or "0" in match.groups():
        raise argparse.ArgumentTypeError(f"{text!r} is no size, expected e.g. 640x480")
    return int(match.group(1)), int(match.group(2))


def _table(model: str, request: Request, plans: tuple[WindowPlan, ...]) -> str:
    """A table in Markdown, one row for each window."""
    height, width = request.picture_hw
    device = request.device
    desktop = "no desktop" if request.headless or not device.desktop else "with a desktop"
    lines = [
        f"{model} on {device.name}, runtime {request.runtime}, {request.precision}, "
        f"pictures {width}x{height}, {request.scenes} scenes",
        f"{gib(device.memory)} GiB, of them {gib(plans[0].free)} free ({desktop}); GiB below",
        "",
        f"| {' | '.join(HEAD)} | |",
        "|---" * (len(HEAD) + 1) + "|",
    ]
    rows = (f"| {' | '.join((*cells(plan), plan.verdict))} |" for plan in plans)
    return "\n".join((*lines, *rows))


def cells(plan: WindowPlan) -> tuple[str, ...]:
    """Frames, and GiB of each part: the columns of `HEAD`."""
    parts = (plan.engine, plan.model, plan.activations, plan.scenes, plan.process, plan.run)
    builds = (gib(part) if part else "-" for part in (plan.build, plan.build_serving))
    return (str(plan.frames), *map(gib, parts), *builds)


def _as_json(request: Request, plans: tuple[WindowPlan, ...]) -> str:
    rows = [
        {**dataclasses.asdict(plan), "run": plan.run, "fits": plan.fits, "verdict": plan.verdict}
        for plan in plans
    ]
    height, width = request.picture_hw
    facts = {
        "device": request.device.name,
        "runtime": request.runtime,
        "precision": request.precision,
        "picture": {"width": width, "height": height},
    }
    return json.dumps({**facts, "windows": rows}, indent=2)
