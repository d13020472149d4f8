"""The torch runtime: encode a window once, ask about it many times."""

from __future__ import annotations

from pathlib import Path

from ...interface import SpatialRuntime

__all__ = ["create_runtime"]


def create_runtime(
    model: str | Path = "nano",
    device: str = "auto",
    precision: str = "auto",
    prompt_mode: str = "shared",
    export: str | Path = "",
) -> SpatialRuntime:
    """Load a model folder; see `g2vlm_model.runtimes.load_runtime`.

    Raises:
        ValueError: `export` is given, which this runtime has no use for.
    """
    if str(export):
        raise ValueError(
            f"export is {str(export)!r}, but the runtime 'torch' runs the model's own weights; "
            "leave it empty, or use the runtime 'onnx' or 'tensorrt'"
        )
    from .placement import choose_placement
    from .runtime import TorchRuntime

    return TorchRuntime(model, choose_placement(device, precision), prompt_mode)
