"""Observes and answers with engines and graphs only: no torch, no checkpoint.

The geometry comes from any `GeometryEngine` whose arrays are numpy's; questions are answered by
the exported semantic expert.

Shape letters: N frames, P patches per frame, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ...config import ModelConfig
from ...interface import FrameWindow, SpatialQuery
from ...preprocess import geometric_size
from ...tokenizer import Tokenizer
from ..asking import Answerer, Question
from ..clock import HostClock
from ..drafts import Draft, Stopwatch
from ..exported import ExportFolder
from ..frames import FrameFeatures, KnownFrames, pictures_of
from ..gate import DeviceGate
from ..geometry_engine import GeometryArrays, GeometryEngine, StreamingEngine
from ..golden_check import nearest_rotations
from ..prediction import predict_geometry
from ..scene import EncodedScene
from .semantic import SemanticGraphs
from .sessions import Session

__all__ = ["OnnxExecutor"]


class OnnxExecutor:
    """Observes and answers with one exported model.

    Args:
        folder: With the part "semantic".
        engine: Computes the geometry; its arrays are numpy's. Closed with this.
        open_session: Opens a graph of the folder by its name.
        gate: Turns on the device.

    Raises:
        ValueError: The folder has no part "semantic", or its files do not fit each other.
        RuntimeError: A graph cannot be loaded.
    """

    def __init__(
        self,
        folder: ExportFolder,
        engine: GeometryEngine,
        open_session: Callable[[str], Session],
        gate: DeviceGate,
    ) -> None:
        self._config = ModelConfig.from_folder(folder.path)
        tokenizer = Tokenizer.from_folder(folder.path)
        self._engine = engine
        self._gate = gate
        self._known = KnownFrames()
        self._semantic = SemanticGraphs(folder, self._config, tokenizer, open_session)
        self._answerer = Answerer(self._config, tokenizer, gate)

    def observe(self, window: FrameWindow, owner: object) -> EncodedScene:
        """Encode a window."""
        clock, config = HostClock(), self._config
        size_hw = geometric_size(config, *window.frames[0].image.shape[:2])
        features = self._known.of_window(window, size_hw)
        grid_hw = (size_hw[0] // config.patch_size, size_hw[1] // config.patch_size)
        clock.lap("preprocess")
        with self._gate.observation():
            clock.lap("wait")
            arrays = self._computed(features, clock)
            logits = arrays.confidence_logits
            geometry = predict_geometry(
                np.asarray(arrays.local_points),
                _poses(np.asarray(arrays.rotation9), np.asarray(arrays.translation)),
                None if logits is None else np.asarray(logits),
                pictures_of(features),
                window.frames,
            )
            context = self._semantic.scene_context(arrays, geometry, grid_hw)
            clock.lap("confidence")
            overlap_N = self._semantic.overlap(arrays, grid_hw)
            clock.lap("overlap")
        scene = EncodedScene(owner, window, geometry, features, clock.read(), overlap_N)
        scene.keep(context)
        return scene

    def read(self, scene: EncodedScene, query: SpatialQuery) -> Question:
        """A question's words as the model reads them."""
        return self._answerer.read(scene, query)

    def write(
        self,
        scene: EncodedScene,
        question: Question,
        query: SpatialQuery,
        draft: Draft,
        stopwatch: Stopwatch,
        on_text: Callable[[str], None] | None,
    ) -> None:
        """Answer a question, see `Executor.write`."""
        self._answerer.write(scene, question, query, draft, stopwatch, on_text)

    def close(self) -> None:
        """Close the engine; the other graphs go with the last question that uses them."""
        self._engine.close()

    def _computed(self, features: Sequence[FrameFeatures], clock: HostClock) -> GeometryArrays:
        pictures_NHW3, engine = pictures_of(features), self._engine
        if isinstance(engine, StreamingEngine):
            tokens = self._known.encode(
                features, lambda new: _owned(np.asarray(engine.encode(new)))
            )
            clock.lap("encode")
            arrays = engine.run_tokens(np.stack(tokens), pictures_NHW3)
        else:
            arrays = engine.run(pictures_NHW3)
        clock.lap("engine")
        return arrays


def _owned(tokens_NPD: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    """Tokens of each frame, each owning its memory: a view would keep that of all."""
    return [tokens_NPD[0]] if len(tokens_NPD) == 1 else [one.copy() for one in tokens_NPD]


def _poses(
    rotation9_N9: NDArray[np.float32], centre_N3: NDArray[np.float32]
) -> NDArray[np.float32]:
    """(N, 4, 4) camera to world of what the camera head said.

    Raises:
        RuntimeError: A number is not finite (an overflow of half precision).
    """
    if not np.isfinite(rotation9_N9).all():
        raise RuntimeError(
            "the camera head returned numbers that are not finite: they overflow in this "
            "precision; export the model with --precision fp32"
        )
    T_N44 = np.zeros((len(rotation9_N9), 4, 4), np.float32)
    T_N44[:, :3, :3] = nearest_rotations(rotation9_N9).reshape(-1, 3, 3)
    T_N44[:, :3, 3] = centre_N3
    T_N44[:, 3, 3] = 1.0
    return T_N44
