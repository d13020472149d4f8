"""A loaded model on one torch device; `SceneRuntime` says how it is used."""

from __future__ import annotations

from pathlib import Path

import torch

from ...checkpoint import model_id
from ...interface import RuntimeInfo
from ..gate import DeviceGate
from ..geometry_engine import GeometryEngine
from ..scene_runtime import MAX_FRAMES, SceneRuntime
from .executor import TorchExecutor
from .placement import Placement

__all__ = ["TorchRuntime"]


class TorchRuntime(SceneRuntime):
    """A `SpatialRuntime` on torch; thread-safe.

    Args:
        model: Folder, or the name of an embedded model.
        placement: Device and precision.
        prompt_mode: "shared" or "published", see `load_runtime`.
        max_frames: Longest window that is accepted.
        geometry: Computes the geometry in the place of the model's geometric weights, which
            are then not loaded; torch answers on top of it. Closed with the runtime.

    Raises:
        FileNotFoundError: No such folder, or a file of it is missing.
        ValueError: A damaged or unfitting file, or an engine in the "published" mode.
        RuntimeError: The model does not fit into the device's memory.
    """

    def __init__(
        self,
        model: str | Path,
        placement: Placement,
        prompt_mode: str = "shared",
        max_frames: int = MAX_FRAMES,
        geometry: GeometryEngine | None = None,
    ) -> None:
        device = placement.device

        def load(gate: DeviceGate) -> tuple[TorchExecutor, RuntimeInfo]:
            executor = TorchExecutor(model, placement, prompt_mode, gate, geometry)
            return executor, _info(model, placement, executor, geometry)

        def release() -> None:
            if device.type == "cuda":
                torch.cuda.empty_cache()

        super().__init__(load, str(device), release, max_frames)


def _info(
    model: str | Path,
    placement: Placement,
    executor: TorchExecutor,
    engine: GeometryEngine | None,
) -> RuntimeInfo:
    weights = sum(weight.numel() for weight in executor.model.parameters())
    if engine is None:
        return RuntimeInfo(
            runtime="torch",
            device=placement.description,
            precision=placement.precision,
            model_id=model_id(model),
            parameters=weights,
            fallback_reason=placement.fallback_reason,
        )
    facts = engine.facts
    reasons = (facts.fallback_reason, placement.fallback_reason)
    return RuntimeInfo(
        runtime=facts.runtime,
        device=facts.device,
        precision=facts.precision,
        model_id=model_id(model),
        parameters=weights + facts.parameters,
        fallback_reason="; ".join(reason for reason in reasons if reason),
    )
