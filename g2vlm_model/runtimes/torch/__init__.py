# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The torch runtime: encode a window once, ask about it many times. A `Maker`."""

from __future__ import annotations

from ...interface import SpatialRuntime
from ..request import RuntimeRequest
from ..serving import BuildContext

__all__ = ["build", "meanwhile", "ready"]

_LARGE = 1 << 28  # weights: passes take seconds, and what they free hundreds of megabytes


def ready(request: RuntimeRequest) -> SpatialRuntime:
    """Load a model folder.

    Raises:
        ValueError: `export` is given, which this runtime has no use for.
    """
    if str(request.export):
        raise ValueError(
            f"export is {str(request.export)!r}, but the runtime 'torch' runs the model's own "
            "weights; leave it empty, or use the runtime 'onnx' or 'tensorrt'"
        )
    return meanwhile(request)


def meanwhile(request: RuntimeRequest) -> SpatialRuntime:
    """The same, whatever export others run."""
    from ...checkpoint import weight_count
    from ..machine import give_free_blocks_back, keep_no_large_blocks
    from .placement import choose_placement
    from .runtime import TorchRuntime

    weights = weight_count(request.model)
    placement = choose_placement(request.device, request.precision, weights=weights)
    memory_counts = weights > _LARGE and placement.device.type == "cpu"
    if memory_counts:
        keep_no_large_blocks()
    runtime = TorchRuntime(
        request.model,
        placement,
        request.prompt_mode,
        max_frames=request.max_frames,
        gives_back=memory_counts,
    )
    if memory_counts:
        give_free_blocks_back()
    return runtime


def build(context: BuildContext, request: RuntimeRequest) -> None:
    """There is nothing to build."""
