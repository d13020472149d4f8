"""Runtimes: what executes a model. `load_runtime` is the one way to get one.

Importing this package imports no torch; a runtime's libraries are imported when it is loaded.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ..interface import SpatialRuntime

__all__ = ["PROMPT_MODES", "RUNTIMES", "load_runtime"]

RUNTIMES = {
    name: f"g2vlm_model.runtimes.{name}:create_runtime"
    for name in ("torch", "onnx", "tensorrt", "auto")
}
PROMPT_MODES = ("shared", "published")


def load_runtime(
    runtime: str = "torch",
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    prompt_mode: str = "shared",
    export: str | Path = "",
) -> SpatialRuntime:
    """Load a model and what executes it.

    Args:
        runtime: A key of `RUNTIMES`, or "package.module:function" of a runtime of your own;
            the function is called with `model`, `device`, `precision` and `prompt_mode`, and
            with `export` where it is given.
        model: "nano" (the embedded model) or a model folder in the published layout.
        device: "auto" (the first CUDA device, else the CPU), "cpu", "cuda" or "cuda:N"; what
            else the runtime "onnx" takes stands in `runtimes/onnx/providers.py`.
        precision: "auto", "fp32", "fp16" or "bf16". What a device can do stands in one table,
            `runtimes/torch/placement.py`.
        prompt_mode: "shared": one geometric pass after the chat prefix serves the geometry and
            the questions. "published": the geometry comes from the published reconstruct
            prefix, and the first question of a scene runs a second pass after the chat prefix.
        export: Folder that `g2vlm export onnx` made, for the runtimes that run exported
            models; "" is the cache of exports and engines, which is filled where needed.

    Returns:
        A runtime whose `info` says what really runs. Where the machine lacks what was asked
        for, `info.fallback_reason` says so, and a warning is logged.

    Raises:
        ValueError: An unknown runtime, device, precision or prompt mode; a model folder whose
            content does not fit.
        FileNotFoundError: No such model folder, or a file of it is missing.
        TypeError: What a third-party function returned is no runtime.
    """
    if prompt_mode not in PROMPT_MODES:
        raise ValueError(f"prompt_mode is {prompt_mode!r}, expected one of {list(PROMPT_MODES)}")
    factory = _factory(runtime)
    given: dict[str, object] = {"export": export} if str(export) else {}
    loaded = factory(
        model=model, device=device, precision=precision, prompt_mode=prompt_mode, **given
    )
    if not isinstance(loaded, SpatialRuntime):
        raise TypeError(
            f"runtime {runtime!r} returned {type(loaded).__name__}, which is no SpatialRuntime "
            "(info, observe, ask, close)"
        )
    return loaded


def _factory(runtime: str) -> Callable[..., object]:
    """The function that a runtime's name stands for."""
    target = RUNTIMES.get(runtime, runtime)
    module_name, colon, function_name = target.partition(":")
    if not colon or not module_name or not function_name:
        raise ValueError(
            f"runtime {runtime!r} does not exist here; there is {', '.join(sorted(RUNTIMES))}, "
            "or a 'package.module:function' of your own"
        )
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(f"runtime {runtime!r}: cannot import {module_name}: {error}") from error
    factory = getattr(module, function_name, None)
    if not callable(factory):
        raise ValueError(f"runtime {runtime!r}: {module_name} has no function {function_name!r}")
    return factory  # type: ignore[no-any-return]
