# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a benchmark computes once and takes again where only sensors differ from run to run.

Passes are kept in a folder under a digest of the window's pixels, features of pictures in memory
under that of the picture. What a run with them says is what it says without.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.mapping import making
from g2vlm_map.mapping.features import Features, find_features
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_model.interface import (
    FrameWindow,
    GeometryPrediction,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)

__all__ = ["KeptPasses", "KeptScene", "kept_features"]

_ARRAYS = ("local_points", "world_points", "T_world_cam", "confidence", "valid", "K", "colors")


@dataclass
class KeptScene:
    """A pass that was kept; nothing can be asked about it."""

    window: FrameWindow
    geometry: GeometryPrediction
    tokens: NDArray[np.float32] | None
    overlap: NDArray[np.float32] | None
    latency_ms: dict[str, float] = field(default_factory=lambda: {"total": 0.0})

    def close(self) -> None:
        """Nothing to free."""


class KeptPasses:
    """A runtime that looks at the same window once.

    Args:
        runtime: Whose passes they are; it must not work under frames' keys of another stream.
        folder: Where they are kept.
    """

    def __init__(self, runtime: SpatialRuntime, folder: Path) -> None:
        self._runtime, self._folder = runtime, folder
        self.computed = self.taken = 0
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def info(self) -> RuntimeInfo:
        """The runtime's."""
        return self._runtime.info

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> KeptScene:
        """The runtime's pass, or the one that was kept."""
        digest = hashlib.sha256(self.info.model_id.encode())
        for frame in window.frames:
            digest.update(repr(frame.image.shape).encode() + frame.image.tobytes())
        path = self._folder / f"{digest.hexdigest()[:24]}.npz"
        if not path.is_file():
            self._keep(path, window, cancelled)
        else:
            self.taken += 1
        with np.load(path, allow_pickle=False) as kept:
            geometry = GeometryPrediction(
                **{name: kept[name] for name in _ARRAYS},
                confidence_source=str(kept["confidence_source"]),
                invalid=kept.get("invalid"),
            )
            return KeptScene(window, geometry, kept.get("tokens"), kept.get("overlap"))

    def ask(self, scene: Scene, query: SpatialQuery, **named: object) -> SpatialAnswer:
        """Not of a pass that was kept.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("a pass that was kept cannot be asked about")

    def close(self) -> None:
        """The runtime stays open: whoever made it closes it."""

    def _keep(self, path: Path, window: FrameWindow, cancelled: Callable[[], bool] | None) -> None:
        scene = self._runtime.observe(window, cancelled=cancelled)
        self.computed += 1
        geometry = scene.geometry
        arrays = {name: getattr(geometry, name) for name in _ARRAYS}
        arrays["confidence_source"] = np.array(geometry.confidence_source)
        more = {"invalid": geometry.invalid, "overlap": scene.overlap}
        more["tokens"] = getattr(scene, "tokens", None)
        arrays.update({name: value for name, value in more.items() if value is not None})
        scene.close()
        beside = path.with_suffix(".part.npz")
        np.savez(beside, **arrays)
        beside.replace(path)


@contextmanager
def kept_features() -> Iterator[None]:
    """Features of the same picture are found once while this lasts."""
    known: dict[tuple[bytes, FeatureOptions], Features] = {}

    def found(picture_HW3: NDArray[np.uint8], options: FeatureOptions) -> Features:
        key = hashlib.sha256(picture_HW3.tobytes()).digest(), options
        if key not in known:
            known[key] = find_features(picture_HW3, options)
        return known[key]

    with patch.object(making, "find_features", found):
        yield
