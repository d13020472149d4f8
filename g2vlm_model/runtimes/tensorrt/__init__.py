"""The TensorRT runtime: engines compiled on this device from an exported model."""

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
    """Load engines; see `g2vlm_model.runtimes.load_runtime`.

    Where there are none for this model, TensorRT, GPU and driver yet, they are built in the
    background, the export that they need before them, while another runtime serves.

    Args:
        model: Answers questions; exported where `export` is empty.
        device: "auto" and "cuda" (the first GPU) or "cuda:N".
        precision: Of the export: "fp32", "fp16"; "auto" is the folder's, and fp16 of an own one.
        prompt_mode: "shared".
        export: Folder that `g2vlm export onnx` wrote, with engines in a folder inside it or in
            the cache; "" is the cache.

    Raises:
        ValueError: A device, precision or prompt mode that there is not, or a folder that does
            not fit.
        FileNotFoundError: No such folder.
        RuntimeError: No GPU, no TensorRT, no CUDA bindings; the text names what is missing.
    """
    from .starting import start_runtime

    return start_runtime(model, device, precision, prompt_mode, export)
