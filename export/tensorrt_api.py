# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the TensorRT versions have and have not, asked of the installed one.

One code builds with tensorrt 10.x, 11.x and tensorrt_rtx: networks are always strongly typed, so
the precision stands in the ONNX file, and whatever else differs is found with `hasattr`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from typing import Any

from g2vlm_model.runtimes.machine import TensorRT

__all__ = [
    "TensorRTLog",
    "allow_decomposed_attention",
    "layer_histogram",
    "make_log",
    "targets",
    "targets_by_default",
]

_LOG = logging.getLogger(__name__)

KEPT_ERRORS = 8
OLDEST = 80  # Turing has no bf16 and is given up by newer versions


class TensorRTLog:
    """Messages of TensorRT: for debugging; its errors are kept for an exception's text."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.sink: Any = None

    def take(self, text: str, is_error: bool) -> None:
        """Keep and pass on one message."""
        _LOG.debug("%s", text)
        if is_error:
            self.errors = [*self.errors, " ".join(text.split())][-KEPT_ERRORS:]


def make_log(trt: TensorRT) -> TensorRTLog:
    """A log whose `sink` is what TensorRT's builder and parser take as their logger."""
    severities = trt.api.ILogger.Severity
    errors = (severities.INTERNAL_ERROR, severities.ERROR)
    kept = TensorRTLog()

    class Sink(trt.api.ILogger):  # type: ignore[misc, name-defined]
        """Named as TensorRT calls it."""

        def __init__(self) -> None:
            trt.api.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            kept.take(msg, severity in errors)

    kept.sink = Sink()
    return kept


def layer_histogram(network: Any) -> Mapping[str, int]:
    """Number of layers of a parsed network by type, the most frequent first."""
    types = Counter(network.get_layer(i).type.name for i in range(network.num_layers))
    return dict(types.most_common())


def allow_decomposed_attention(trt: TensorRT, network: Any) -> int:
    """Let attention layers be built from several kernels where no fused one exists (fp32).

    Returns:
        The number of attention layers; 0 also where this TensorRT has none.
    """
    kind = getattr(trt.api.LayerType, "ATTENTION_INPUT", None)
    found = 0
    for index in range(network.num_layers if kind is not None else 0):
        layer = network.get_layer(index)
        if layer.type == kind:
            layer.__class__ = trt.api.IAttentionInputLayer  # as the bindings want to be cast
            layer.attention.decomposable = True
            found += 1
    return found


def targets(trt: TensorRT, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The GPUs to compile for ahead of time.

    Args:
        trt: The installed TensorRT.
        names: "sm86", ...

    Raises:
        ValueError: This TensorRT compiles only for the device that is here, or knows no such
            GPU.
    """
    if not names:
        return ()
    if not trt.compiles_ahead:
        raise ValueError(
            f"{trt} compiles only on the GPU that runs the engine, targets are {list(names)}; "
            "leave --targets away, or compile ahead with --flavour tensorrt_rtx"
        )
    known = {
        name.lower(): value
        for name, value in trt.api.ComputeCapability.__members__.items()
        if name.startswith("SM")
    }
    unknown = [name for name in names if name not in known]
    if unknown:
        raise ValueError(
            f"{trt} does not compile for {', '.join(unknown)}, it does for {', '.join(known)}"
            + (
                "; engines of a Jetson are compiled on it, with JetPack's own tensorrt"
                if {"sm72", "sm87", "sm101", "sm110"} & set(unknown)
                else ""
            )
        )
    return tuple(known[name] for name in names)


def targets_by_default(trt: TensorRT) -> tuple[str, ...]:
    """Every GPU from Ampere on that a TensorRT compiles ahead for; one engine serves all."""
    names = [name.lower() for name in trt.api.ComputeCapability.__members__]
    return tuple(name for name in names if name.startswith("sm") and int(name[2:]) >= OLDEST)
