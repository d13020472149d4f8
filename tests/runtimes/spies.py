# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Looking at what a runtime asks of its model, without changing it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.model import G2VLM
from g2vlm_model.runtimes.onnx.runtime import OnnxExecutor, OnnxRuntime
from g2vlm_model.runtimes.torch.runtime import TorchExecutor, TorchRuntime


def model_of(runtime: SpatialRuntime) -> G2VLM:
    assert isinstance(runtime, TorchRuntime)
    executor = runtime._executor
    assert isinstance(executor, TorchExecutor)
    return executor.model


class CallSpy:
    """Notes something about each call of a method, which runs as before.

    Args:
        owner: The object whose method it is.
        name: Of the method.
        note: What to note of the first argument.
    """

    def __init__(self, owner: Any, name: str, note: Callable[[Any], Any]) -> None:
        self.seen: list[Any] = []
        method = getattr(owner, name)

        def spied(first: Any, *args: Any, **keywords: Any) -> Any:
            self.seen.append(note(first))
            return method(first, *args, **keywords)

        setattr(owner, name, spied)


def encoder_spy(runtime: SpatialRuntime) -> CallSpy:
    """Notes (frames, height, width) of every call of the geometric encoder."""
    if not isinstance(runtime, OnnxRuntime):
        return CallSpy(
            model_of(runtime),
            "encode_geometry",
            lambda pixels: (pixels.shape[1], *pixels.shape[-2:]),
        )
    executor = runtime._executor
    assert isinstance(executor, OnnxExecutor)
    return CallSpy(executor._engine, "encode", lambda pictures: pictures.shape[:3])


def around(owner: Any, name: str, before: Callable[[], None]) -> None:
    """Call something ahead of each call of a method."""
    method = getattr(owner, name)

    def wrapped(*args: Any, **keywords: Any) -> Any:
        before()
        return method(*args, **keywords)

    setattr(owner, name, wrapped)
