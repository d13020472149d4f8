# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What computes the geometry of a window for a runtime: an exported graph, a compiled engine.

A runtime that has a `GeometryEngine` hands it uint8 pictures and gets points, poses, and the
keys and values that questions stand behind. Preprocessing, world axes, confidence and answers
are the runtime's, whichever engine it has. numpy only.

Shape letters: N frames, H W pixels, P patches per frame, D width, E layers, G key/value heads,
L tokens of the frames with their marks, C head width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..config import CHAT
from ..interface import RuntimeInfo

__all__ = ["Array", "Cancelled", "GeometryArrays", "GeometryEngine", "StreamingEngine"]

# A numpy array, or an array on a device with `__dlpack__` (`__cuda_array_interface__` likewise).
Array = Any
Cancelled = Callable[[], bool] | None


@dataclass(frozen=True)
class GeometryArrays:
    """What an engine says of one window. The arrays are the caller's: no later run writes them.

    Args:
        local_points: (N, H, W, 3) float32, camera axes.
        rotation9: (N, 9) float32 raw row-major matrix, not orthogonal.
        translation: (N, 3) float32 camera centre in the axes of the poses.
        confidence_logits: (N, H, W) float32; None without the head.
        invalid_logits: The same, that a pixel shows nothing solid.
        hidden: (N, P, D) what the heads read, in the graph's precision; None where the model
            has no use for it (`geometry_feedback`) or the export left it out.
        keys, values: (E, G, L, C) behind the prompt (which is not in them), in the order of the
            sequence: L = N * (P + 2). None without the part "kv".
    """

    local_points: Array
    rotation9: Array
    translation: Array
    confidence_logits: Array | None = None
    invalid_logits: Array | None = None
    hidden: Array | None = None
    keys: Array | None = None
    values: Array | None = None

    @classmethod
    def of(cls, outputs: Mapping[str, Array]) -> GeometryArrays:
        """Outputs of the graph "geometry" or "expert" by their names.

        A rotation of the graph's own, which is on the host, is a raw one too.
        """
        given = {field.name: outputs[field.name] for field in fields(cls) if field.name in outputs}
        if "rotation9" not in given:
            given["rotation9"] = np.asarray(outputs["rotation"]).reshape(-1, 9)
        return cls(**given)


@runtime_checkable
class GeometryEngine(Protocol):
    """Runs the geometric path of one model. Used by one thread at a time."""

    @property
    def facts(self) -> RuntimeInfo:
        """What really runs; a runtime on top of it reports the same."""

    @property
    def prompts(self) -> tuple[str, ...]:
        """Texts that frames can stand behind, some of `ModelConfig.geometry_prompts`."""

    def run(
        self,
        pictures_NHW3: NDArray[np.uint8],
        cancelled: Cancelled = None,
        prompt: str = CHAT,
    ) -> GeometryArrays:
        """Compute a window.

        Args:
            pictures_NHW3: uint8 RGB of the model's size, C-contiguous.
            cancelled: Asked from another thread while a graph runs, by engines that can end one;
                between graphs the runtime asks.
            prompt: What the frames stand behind, one of `prompts`.

        Raises:
            ObservationCancelledError: `cancelled` said so.
            ValueError: A number of frames or a size that the engine was not built for.
            RuntimeError: The device failed; the engine stays usable.
        """

    def close(self) -> None:
        """Give its memory back; a second call does nothing."""


@runtime_checkable
class StreamingEngine(GeometryEngine, Protocol):
    """An engine in two parts, with which overlapping windows encode only their new frames."""

    def encode(self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None) -> Array:
        """(N, P, D) tokens of pictures; those of one picture do not depend on the others."""

    def run_tokens(
        self,
        tokens_NPD: Array,
        pictures_NHW3: NDArray[np.uint8],
        cancelled: Cancelled = None,
        prompt: str = CHAT,
    ) -> GeometryArrays:
        """As `run`, of pictures that are encoded: their tokens stand in for the encoder."""
