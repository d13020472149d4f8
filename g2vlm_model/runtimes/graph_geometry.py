# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A geometry engine made of loaded graphs: what those of ONNX Runtime and TensorRT share.

Shape letters: N frames, H W pixels, P patches per frame, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import CHAT
from ..interface import RuntimeInfo
from .export_folder import Prefixes
from .geometry_engine import Array, Cancelled, GeometryArrays

__all__ = ["GraphGeometry", "StreamingGraphGeometry"]


class GraphGeometry(ABC):
    """A `GeometryEngine`: one graph from pictures to points.

    Args:
        facts: What really runs.
        prefixes: See `ExportFolder.prefixes`.
        load: Loads a graph of a name.

    Attributes:
        facts: What really runs.
        prompts: See `GeometryEngine`.
        graphs: By name; they stay here when they are closed, to say so.
    """

    names: tuple[str, ...] = ("geometry",)

    def __init__(self, facts: RuntimeInfo, prefixes: Prefixes, load: Callable[[str], Any]) -> None:
        self.facts = facts
        self.prompts = tuple(prefixes)
        self._prefixes = prefixes
        self.graphs: dict[str, Any] = {}
        try:
            for name in self.names:
                self.graphs[name] = load(name)
        except BaseException:
            with suppress(Exception):  # the first error says why
                self.close()
            raise

    def run(
        self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None, prompt: str = CHAT
    ) -> GeometryArrays:
        """See `GeometryEngine.run`."""
        self._check(pictures_NHW3)
        feeds = {"pictures": pictures_NHW3, **self._prefixes[prompt]}
        return GeometryArrays.of(self._run("geometry", feeds, cancelled))

    def close(self) -> None:
        """Give the memory back."""
        for graph in self.graphs.values():
            graph.close()

    @abstractmethod
    def _run(self, name: str, feeds: Mapping[str, Any], cancelled: Cancelled) -> dict[str, Array]:
        """Compute a graph, which may have no use for some of the feeds."""

    @abstractmethod
    def _check(self, pictures_NHW3: NDArray[np.uint8]) -> None:
        """Refuse a window that the graphs are not for."""


class StreamingGraphGeometry(GraphGeometry):
    """A `StreamingEngine`: encoder and expert apart."""

    names = ("encoder", "expert")

    def run(
        self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None, prompt: str = CHAT
    ) -> GeometryArrays:
        """See `GeometryEngine.run`."""
        tokens_NPD = self.encode(pictures_NHW3, cancelled)
        return self.run_tokens(tokens_NPD, pictures_NHW3, cancelled, prompt)

    def encode(self, pictures_NHW3: NDArray[np.uint8], cancelled: Cancelled = None) -> Array:
        """See `StreamingEngine.encode`."""
        return self._run("encoder", {"pictures": pictures_NHW3}, cancelled)["tokens"]

    def run_tokens(
        self,
        tokens_NPD: Array,
        pictures_NHW3: NDArray[np.uint8],
        cancelled: Cancelled = None,
        prompt: str = CHAT,
    ) -> GeometryArrays:
        """See `StreamingEngine.run_tokens`."""
        self._check(pictures_NHW3)
        feeds = {"tokens": tokens_NPD, "pictures": pictures_NHW3, **self._prefixes[prompt]}
        return GeometryArrays.of(self._run("expert", feeds, cancelled))
