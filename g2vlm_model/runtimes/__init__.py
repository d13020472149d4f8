# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Runtimes: what executes a model. `load_runtime` is the one way to get one.

Importing this package imports no torch; a runtime's libraries are imported when it is loaded.
"""

from __future__ import annotations

from pathlib import Path

from ..interface import SpatialRuntime
from .request import MAX_FRAMES, PROMPT_MODES, RuntimeRequest

__all__ = ["PROMPT_MODES", "RUNTIMES", "RuntimeRequest", "load_runtime"]

RUNTIMES = ("torch", "onnx", "tensorrt", "auto")


def load_runtime(
    runtime: str = "torch",
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    prompt_mode: str = "auto",
    export: str | Path = "",
    warm_up: bool = False,
    max_frames: int = MAX_FRAMES,
) -> SpatialRuntime:
    """Load a model and what executes it.

    Args:
        runtime: One of `RUNTIMES`, or "package.module:function" of a runtime of your own; the
            function is called with `model`, `device`, `precision` and `prompt_mode`, and with
            `export` where it is given.
        model: "nano" (the embedded model) or a model folder in the published layout.
        device: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:N"; what
            else the runtime "onnx" takes stands in `runtimes/onnx/sessions.py`.
        precision: "auto", "fp32", "fp16", "bf16", "int8", "int4+int8" or "int4". What a device
            can do stands in one table, `runtimes/torch/placement.py`.
        prompt_mode: "shared": one geometric pass after the chat prefix serves the geometry and
            the questions. "published": the geometry comes from the published reconstruct
            prefix, and the first question of a scene runs a second pass after the chat prefix.
            "auto": "shared" where patches see patches only (`isolate_geometry`, the embedded
            model), so that both are the same, else "published".
        export: Folder that `g2vlm export onnx` made, for the runtimes that run exported
            models; "" is the store of exports and engines, which is filled where needed.
        warm_up: Make a first pass before returning, and say in `info.trial_s` what one takes,
            and in `info.token_s` what a token of an answer does.
            Graphs and engines have made theirs when they are held against their goldens; a runtime
            of your own sees to itself.
        max_frames: Longest window of the torch runtime, which nothing in a model ends; memory and
            time grow with it. Graphs take what they were exported for, and torch the rest.

    Returns:
        A runtime whose `info` says what really runs. Where the machine lacks what was asked
        for, `info.fallback_reason` says so, and a warning is logged.

    Raises:
        ValueError: An unknown runtime, device, precision or prompt mode; a model folder whose
            content does not fit.
        FileNotFoundError: No such model folder, or a file of it is missing.
        TypeError: What a third-party function returned is no runtime.
    """
    from .loading import load, load_foreign

    request = RuntimeRequest(model, device, precision, prompt_mode, export, warm_up, max_frames)
    return load(runtime, request) if runtime in RUNTIMES else load_foreign(runtime, request)
