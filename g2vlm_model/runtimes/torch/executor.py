"""What holds the memory of the torch runtime: weights, prefixes, frames, an engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...cache import KeyValueCache
from ...checkpoint import load_model
from ...extras.overlap import frame_overlap
from ...extras.reading import read_geometry
from ...interface import FrameWindow, GeometryPrediction, SpatialQuery
from ...model import G2VLM
from ...preprocess import geometric_size
from ...tokenizer import prompt_ids
from ..asking import Answerer, Question
from ..drafts import Draft, Stopwatch
from ..frames import FrameFeatures, pictures_of
from ..gate import DeviceGate
from ..geometry_engine import GeometryEngine
from ..prediction import predict_geometry
from ..scene import EncodedScene
from .caches import forked_cache, prefix_cache, scene_cache
from .clock import StageClock
from .context import TorchContext
from .frames import TorchFrames
from .geometry import EngineGeometry, Geometry, GeometrySaid, WeightsGeometry
from .placement import Placement

__all__ = ["TorchExecutor"]


class TorchExecutor:
    """Observes and answers with one model on torch.

    Args:
        model: Folder, or the name of an embedded model.
        placement: Device and precision.
        prompt_mode: "shared" or "published".
        gate: Turns on the device.
        engine: Computes the geometry; the model's own geometric weights are then not loaded.

    Attributes:
        model: What is loaded.

    Raises:
        ValueError: An engine in the "published" mode.
    """

    def __init__(
        self,
        model: str | Path,
        placement: Placement,
        prompt_mode: str,
        gate: DeviceGate,
        engine: GeometryEngine | None = None,
    ) -> None:
        published = prompt_mode == "published"
        if published and engine is not None:
            raise ValueError(
                "prompt_mode is 'published', but an engine's geometry stands behind the chat "
                "prefix; use prompt_mode 'shared' or the runtime 'torch'"
            )
        network, tokenizer = load_model(
            model, placement.device, placement.dtype, geometric=engine is None
        )
        network.requires_grad_(False)
        prompts = prompt_ids(tokenizer, network.config.tokens)
        self._device = placement.device
        self._gate = gate
        self._engine = engine
        self.model: G2VLM = network
        self._frames = TorchFrames(network)
        self._geometry: Geometry
        if engine is None:
            # Inference has no use for the global points: neither their time nor their memory.
            del network.heads.global_decoder, network.heads.global_head
            self._geometry = WeightsGeometry(network, self._frames)
        else:
            self._geometry = EngineGeometry(engine, self._frames, network)
        with torch.inference_mode():
            self._chat = prefix_cache(network, prompts.system)
            self._reconstruct = prefix_cache(network, prompts.reconstruct) if published else None
        encode_again = self._encode_again if published else None
        self._answerer = Answerer(network.config, tokenizer, gate, encode_again)

    def observe(self, window: FrameWindow, owner: object) -> EncodedScene:
        """Encode a window."""
        model, clock = self.model, StageClock(self._device)
        size_hw = geometric_size(model.config, *window.frames[0].image.shape[:2])
        features = self._frames.known.of_window(window, size_hw)
        grid_hw = self._grid(features[0])
        clock.lap("preprocess")
        with self._gate.observation(), torch.inference_mode():
            clock.lap("wait")
            cache = self._geometry_cache(len(window), grid_hw)
            start = cache.mark()
            said = self._geometry.run(features, grid_hw, cache, clock)
            geometry = self._predicted(said, features, window)
            context = None
            if self._reconstruct is None:
                context = self._context(said, grid_hw, cache)
            clock.lap("confidence")
            keys_GLC = cache.keys[-1, 0, :, start.length : cache.length]
            overlap = frame_overlap(keys_GLC, model.config.text, grid_hw, start.position)
            overlap_N: NDArray[np.float32] = overlap.cpu().numpy()
            clock.lap("overlap")
        scene = EncodedScene(owner, window, geometry, features, clock.read(), overlap_N)
        if context is not None:
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
        with torch.inference_mode():
            self._answerer.write(scene, question, query, draft, stopwatch, on_text)

    def close(self) -> None:
        """Close the engine."""
        if self._engine is not None:
            self._engine.close()

    def _grid(self, features: FrameFeatures) -> tuple[int, int]:
        """Rows and columns of patches."""
        patch = self.model.config.patch_size
        return features.picture.shape[0] // patch, features.picture.shape[1] // patch

    def _geometry_cache(self, frames: int, grid_hw: tuple[int, int]) -> KeyValueCache:
        """The cache that a geometric pass runs behind: the scene's own, or one for this pass."""
        prefix = self._reconstruct
        if prefix is None:
            return scene_cache(self.model, self._chat, frames, grid_hw)
        capacity = prefix.length + frames * (grid_hw[0] * grid_hw[1] + 2)
        return forked_cache(self.model, prefix, prefix.mark(), capacity)

    def _predicted(
        self, said: GeometrySaid, features: Sequence[FrameFeatures], window: FrameWindow
    ) -> GeometryPrediction:
        tensors = said.tensors
        logits = tensors.confidence_logits_BNHW1
        return predict_geometry(
            tensors.local_points_BNHW3[0],
            tensors.T_world_cam_BN44[0],
            None if logits is None else logits[0, ..., 0],
            pictures_of(features),
            window.frames,
        )

    def _encode_again(self, scene: EncodedScene) -> TorchContext:
        """The pass behind the chat prefix that a first question of "published" mode needs."""
        grid_hw = self._grid(scene.features[0])
        cache = scene_cache(self.model, self._chat, len(scene.features), grid_hw)
        clock = StageClock(self._device)
        return self._context(
            self._geometry.run(scene.features, grid_hw, cache, clock), grid_hw, cache
        )

    def _context(
        self, said: GeometrySaid, grid_hw: tuple[int, int], cache: KeyValueCache
    ) -> TorchContext:
        """What questions stand behind."""
        reading = None
        if self.model.fusion is not None:
            reading = read_geometry(said.hidden_1NPD, grid_hw, said.tensors)
        return TorchContext(self.model, cache, reading)
