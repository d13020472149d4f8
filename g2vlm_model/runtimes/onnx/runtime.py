# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An exported model, run without torch: what observes, and the runtime around it.

The geometry comes from any `GeometryEngine` whose arrays are numpy's; questions are answered by
the exported semantic expert, or by torch where the export has none.

Shape letters: N frames, P patches per frame, D width.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...config import CHAT, ModelConfig
from ...extras.overlap import frame_overlap
from ...interface import GeometryPrediction, SpatialRuntime
from ...tokenizer import Tokenizer, prompt_ids
from ..clock import PassClock
from ..export_folder import AGAIN, FLOATS, ExportFolder
from ..geometry_engine import GeometryArrays, GeometryEngine, StreamingEngine
from ..golden_check import nearest_rotations
from ..own_exports import other_model
from ..prediction import predict_geometry
from ..request import geometry_prompt
from ..scene import Pass, Seen, encoded, pictures_of
from ..scene_runtime import SceneRuntime
from .context import OnnxContext
from .feeds import scene_feeds
from .geometry import open_geometry
from .semantic import SemanticGraphs
from .sessions import Provider

__all__ = ["OnnxExecutor", "OnnxRuntime", "open_runtime"]


class OnnxExecutor:
    """Observes with one exported model.

    Args:
        folder: With the part "semantic".
        engine: Computes the geometry; its arrays are numpy's. Closed with this.
        provider: Runs the semantic graphs.
        prompt_mode: See `load_runtime`.

    Attributes:
        info, config, tokenizer, cuda: See `Executor`.
    """

    def __init__(
        self, folder: ExportFolder, engine: GeometryEngine, provider: Provider, prompt_mode: str
    ) -> None:
        self.info = engine.facts
        self.config = ModelConfig.from_folder(folder.path)
        self.tokenizer = Tokenizer.from_folder(folder.path)
        self.cuda = None
        self._prompt = geometry_prompt(prompt_mode, self.config, engine.prompts)
        self._ahead = len(prompt_ids(self.tokenizer, self.config.tokens).ahead(self._prompt))
        self._semantic = SemanticGraphs(folder, self.config, self.tokenizer, provider)
        self._engine = engine

    def observe(self, seen: Seen, clock: PassClock) -> Pass:
        """Encode a window, see `Executor.observe`."""
        arrays, geometry = self._computed(seen, clock, self._prompt)
        keys = _kept(arrays.keys)
        context: OnnxContext | partial[OnnxContext]
        if self._prompt == CHAT:
            context = self._context(arrays, geometry, seen.grid_hw)
        else:
            context = partial(self._encode_again, seen)
        clock.lap("confidence")
        overlap_N = frame_overlap(
            keys[-1], self.config.text, seen.grid_hw, self._ahead, seen.window.newest_moment
        )
        clock.lap("overlap")
        return Pass(geometry, overlap_N, context)

    def close(self) -> None:
        """Close the engine; the other graphs go with the last question that uses them."""
        self._engine.close()

    def _computed(
        self, seen: Seen, clock: PassClock, prompt: str
    ) -> tuple[GeometryArrays, GeometryPrediction]:
        """Run the engine, and make of what it says what the runtime returns."""
        pictures_NHW3, engine = pictures_of(seen.features), self._engine
        if isinstance(engine, StreamingEngine):
            tokens_NPD = encoded(seen.features, partial(engine.encode, cancelled=clock.cancelled))
            clock.lap("encode")
            arrays = engine.run_tokens(tokens_NPD, pictures_NHW3, clock.cancelled, prompt)
        else:
            arrays = engine.run(pictures_NHW3, clock.cancelled, prompt)
        clock.lap("engine")
        T_N44 = _poses(arrays.rotation9, arrays.translation)
        geometry = predict_geometry(
            arrays.local_points, T_N44, arrays.confidence_logits, pictures_NHW3,
            seen.window.frames, arrays.invalid_logits,
        )  # fmt: skip
        return arrays, geometry

    def _encode_again(self, seen: Seen) -> OnnxContext:
        """The pass behind the chat prefix that a first question needs, see `load_runtime`."""
        arrays, geometry = self._computed(seen, PassClock(), CHAT)
        return self._context(arrays, geometry, seen.grid_hw)

    def _context(
        self, arrays: GeometryArrays, geometry: GeometryPrediction, grid_hw: tuple[int, int]
    ) -> OnnxContext:
        """What questions about a window stand behind."""
        new_keys, values = _kept(arrays.keys), _kept(arrays.values)
        graphs, frames = self._semantic, len(geometry.valid)
        prefix, (rows, columns) = graphs.prefix.mark(), graphs.merged_hw
        capacity = prefix.length + new_keys.shape[2] + frames * (rows * columns + 2)
        keys = graphs.prefix.fork(prefix, capacity)
        position = prefix.position + frames * (max(grid_hw) + 2)
        keys.append_to_scene(new_keys, values, position)
        if not self.config.geometry_feedback:
            return OnnxContext(graphs, keys, None)
        if arrays.hidden is None:
            raise ValueError(f"the geometry's graph gives no hidden states; {AGAIN}")
        return OnnxContext(graphs, keys, scene_feeds(arrays.hidden, grid_hw, geometry))


class OnnxRuntime(SceneRuntime):
    """A `SpatialRuntime` without torch; thread-safe.

    Args:
        folder: With the part "semantic".
        engine: Computes the geometry; its arrays are numpy's. Closed with the runtime.
        provider: Runs the semantic graphs.
        prompt_mode: See `load_runtime`.

    Raises:
        ValueError: The folder has no part "semantic", its files do not fit each other, or it lacks
            the prompt.
        RuntimeError: A graph cannot be loaded.
    """

    def __init__(
        self,
        folder: ExportFolder,
        engine: GeometryEngine,
        provider: Provider,
        prompt_mode: str = "auto",
    ) -> None:
        load = partial(OnnxExecutor, folder, engine, provider, prompt_mode)
        super().__init__(load, engine.facts.device)


def open_runtime(
    folder: ExportFolder, model: str | Path, device: str = "auto", prompt_mode: str = "auto"
) -> SpatialRuntime:
    """Load an export folder.

    Args:
        folder: With the part "semantic" for answers without torch, else with "kv".
        model: Answers with torch where the folder has no part "semantic".
        device: See `sessions`.
        prompt_mode: See `load_runtime`.

    Raises:
        ValueError: An unknown device, files that do not fit each other, or a folder without the
            prompt.
        ProviderError: The device was asked for by name and does not run.
        RuntimeError: A graph cannot be loaded.
    """
    parts = folder.manifest.parts
    semantic = "semantic" in parts
    if not semantic:
        if "kv" not in parts:
            raise ValueError(
                f"{folder.path} holds the parts {', '.join(parts)}, but questions stand behind "
                "keys and values; export with --parts geometry,kv"
            )
        if other := other_model(folder, model):
            raise ValueError(f"torch is to answer here: {other}")
    engine, provider = open_geometry(folder, device, on_device=not semantic)
    try:
        if semantic:
            return OnnxRuntime(folder, engine, provider, prompt_mode)
        from ..torch.placement import choose_placement, nearest
        from ..torch.runtime import TorchRuntime

        precision = folder.manifest.precision
        own = "auto" if precision in FLOATS else precision  # what torch holds has as few bits
        placement = choose_placement(nearest(provider.torch_device), own)
        return TorchRuntime(model, placement, prompt_mode, engine)
    except BaseException:
        engine.close()
        raise


def _kept(array: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """Keys or values that questions need."""
    if array is None:
        raise ValueError(
            "the geometry's graph gives no keys and values: g2vlm export onnx --parts "
            "geometry,kv,semantic"
        )
    return array


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
