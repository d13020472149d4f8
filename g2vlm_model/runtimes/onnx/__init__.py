"""The ONNX runtime: an exported model, run by ONNX Runtime, with or without torch."""

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
    """Load an exported model; see `g2vlm_model.runtimes.load_runtime`.

    Args:
        model: Exported where `export` is empty and the cache has no export of it yet: torch
            serves until that is done. Answers where the export has no part "semantic".
        device: See `providers`.
        precision: Of the export: "fp32", "fp16"; "auto" is the folder's, and of an own export
            fp16 on a GPU and fp32 on the CPU.
        prompt_mode: "shared".
        export: Folder that `g2vlm export onnx` wrote; "" is the cache.

    Raises:
        ValueError: A device, precision or prompt mode that there is not, or a folder that does
            not fit.
        FileNotFoundError: No such folder.
        RuntimeError: ONNX Runtime or the exporter's libraries are not installed, or the device
            that was asked for does not run.
    """
    from .starting import start_runtime

    return start_runtime(model, device, precision, prompt_mode, export)
