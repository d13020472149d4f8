# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A model on torch whose every layer takes its time, as the published one's do on a small machine.

Runtime "tests.runtimes.slow_layers:create". Nothing else of it is another one's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.scene_runtime import SceneRuntime
from g2vlm_model.runtimes.torch.runtime import TorchExecutor, _layers

__all__ = ["PACE", "create"]


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
    for module in _layers(runtime._executor.model):
        module.register_forward_pre_hook(_wait)
    return runtime


def _wait(module: Any, inputs: Any) -> None:
    PACE.layers += 1
    time.sleep(PACE.pause_s)
