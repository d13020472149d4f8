# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A model on torch whose every layer takes its time, as the published one's do on a small machine.

Runtime "tests.runtimes.slow_layers:create". Nothing else of it is another one's. It says on stderr
when a pass begins, and behind which layer one that is cancelled ends.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_model.interface import FrameWindow, ObservationCancelledError, Scene
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.scene_runtime import SceneRuntime
from g2vlm_model.runtimes.torch.runtime import TorchExecutor, _layers

__all__ = ["PACE", "create", "ended_between_layers"]


@dataclass
class Pace:
    """Of all layers.

    Args:
        pause_s: That each takes on top.
        layers: That have begun.
    """

    pause_s: float = 0.3
    layers: int = 0


PACE = Pace()


def create(
    model: str | Path, device: str = "cpu", precision: str = "auto", prompt_mode: str = "shared"
) -> SceneRuntime:
    """A runtime factory."""
    runtime = load_runtime("torch", model, device, precision, prompt_mode, warm_up=True)
    assert isinstance(runtime, SceneRuntime)
    assert isinstance(runtime._executor, TorchExecutor)
    layers = list(_layers(runtime._executor.model))
    for module in layers:
        module.register_forward_pre_hook(_wait)
    observe = runtime.observe

    def told(window: FrameWindow, *, cancelled: Callable[[], bool] | None = None) -> Scene:
        before = PACE.layers
        print("a pass begins", file=sys.stderr, flush=True)
        try:
            return observe(window, cancelled=cancelled)
        except ObservationCancelledError:
            done = f"{PACE.layers - before} of {len(layers)} layers"
            print(f"the pass ended behind {done}", file=sys.stderr, flush=True)
            raise

    runtime.observe = told  # type: ignore[method-assign]
    return runtime


def ended_between_layers(log: str) -> bool:
    """Whether a pass was cancelled in its midst, by what `create`'s runtime said."""
    found = re.search(r"the pass ended behind (\d+) of (\d+) layers", log)
    return found is not None and 0 < int(found[1]) < int(found[2])


def _wait(module: Any, inputs: Any) -> None:
    PACE.layers += 1
    time.sleep(PACE.pause_s)
