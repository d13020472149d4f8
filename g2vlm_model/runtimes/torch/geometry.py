# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The geometric pass of a window: by the model's own weights, or by an engine.

Both append the frames' keys and values to the scene's cache and return what the heads say, so
nothing behind them knows which one ran. Each frame is encoded once.

Shape letters: N frames, P patches per frame, D width, E layers, G key/value heads, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...cache import KeyValueCache
from ...model import G2VLM
from ...poses import GeometryTensors, HeadOutputs, assemble_geometry
from ...preprocess import normalise
from ...sequence import FrameBlocks
from ..clock import PassClock
from ..geometry_engine import Array, GeometryArrays, GeometryEngine, StreamingEngine
from ..scene import FrameFeatures, Seen, encoded, pictures_of

__all__ = ["EngineGeometry", "GeometrySaid", "WeightsGeometry"]


HEAD_CHUNK_FRAMES = 8  # bounds the heads' memory for long windows


class GeometrySaid(NamedTuple):
    """What a pass says of one window.

    Attributes:
        tensors: Points and poses, batch 1.
        hidden_1NPD: What the heads read; empty where nothing reads it (`geometry_feedback` off)
            and an engine keeps it to itself.
    """

    tensors: GeometryTensors
    hidden_1NPD: Tensor


class WeightsGeometry:
    """The model's encoder, experts and heads.

    Args:
        model: In evaluation mode. In the "compat" attention of the geometric encoder frames
            influence each other; then windows are encoded as a whole and no token is kept.
    """

    def __init__(self, model: G2VLM) -> None:
        self._model = model
        self._coupled = model.config.dino_attention == "compat"

    def run(self, seen: Seen, cache: KeyValueCache, clock: PassClock, prompt: str) -> GeometrySaid:
        """Run one pass; uses the device.

        Args:
            seen: The window.
            cache: Holds the prompt's prefix and has room; takes the frames' keys and values.
            clock: Gets a lap for each stage.
            prompt: Of which an engine holds the prefix too, see `GeometryEngine.run`.
        """
        features, grid_hw = seen.features, seen.grid_hw
        tokens_NPD = (
            self._encode(pictures_of(features))
            if self._coupled
            else encoded(features, self._encode)
        )
        clock.lap("encode")
        cues = self._known_cues(features)
        hidden = self._model.geometry_pass(tokens_NPD[None], grid_hw, cache=cache, pair_cues=cues)
        for (i, j), found in (cues or {}).items():
            features[i].cues[features[j]] = found
        clock.lap("expert")
        refined = self._model.config.point_refine
        tensors = self._model.decode_geometry(
            hidden.hidden_BNPD,
            grid_hw,
            pixels_BN3HW=self._pixels(pictures_of(features)) if refined else None,
            chunk_frames=HEAD_CHUNK_FRAMES,
        )
        clock.lap("heads")
        return GeometrySaid(tensors, hidden.hidden_BNPD)

    def _known_cues(
        self, features: Sequence[FrameFeatures]
    ) -> dict[tuple[int, int], Tensor] | None:
        """Cues of pairs of a window's frames from earlier windows, see `extras.match`.

        None where tokens are not kept either. They go with the first of the two frames.
        """
        if self._coupled:
            return None
        return {
            (i, j): one.cues[other]
            for i, one in enumerate(features)
            for j, other in enumerate(features)
            if other in one.cues
        }

    def _encode(self, pictures_NHW3: NDArray[np.uint8]) -> Tensor:
        return self._model.encode_geometry(self._pixels(pictures_NHW3))[0]

    def _pixels(self, pictures_NHW3: NDArray[np.uint8]) -> Tensor:
        pictures = torch.from_numpy(pictures_NHW3)
        return normalise(pictures.to(self._model.device))[None]


class EngineGeometry:
    """A `GeometryEngine` in the place of the model's geometric weights.

    Args:
        engine: Its keys and values stand behind the same prefix as the cache's.
        model: Of which the semantic part is there, on the device of the cache; arrays come
            there, without a copy where they are there.
    """

    def __init__(self, engine: GeometryEngine, model: G2VLM) -> None:
        self._engine = engine
        self._device = model.device
        self._feedback = model.fusion is not None

    def run(self, seen: Seen, cache: KeyValueCache, clock: PassClock, prompt: str) -> GeometrySaid:
        """See `WeightsGeometry.run`."""
        arrays = self._computed(seen.features, clock, prompt)
        hidden = arrays.hidden
        if arrays.keys is None or arrays.values is None or (self._feedback and hidden is None):
            raise RuntimeError(
                "the engine returned no keys and values, or no hidden states, which questions "
                "stand behind; export it with the part 'kv'"
            )
        self._append(
            arrays.keys, arrays.values, FrameBlocks(len(seen.features), *seen.grid_hw), cache
        )
        heads = HeadOutputs(
            local_points=self._tensor(arrays.local_points)[None],
            rotation9=self._tensor(arrays.rotation9)[None],
            translation=self._tensor(arrays.translation)[None],
            confidence_logits=self._logits(arrays.confidence_logits),
            invalid_logits=self._logits(arrays.invalid_logits),
        )
        nothing = torch.empty(0, device=self._device)
        hidden_1NPD = nothing if hidden is None else self._tensor(hidden)[None]
        said = GeometrySaid(assemble_geometry(heads), hidden_1NPD)
        clock.lap("engine")
        return said

    def _logits(self, logits_NHW: Array | None) -> Tensor | None:
        return None if logits_NHW is None else self._tensor(logits_NHW)[None, ..., None]

    def _computed(
        self, features: Sequence[FrameFeatures], clock: PassClock, prompt: str
    ) -> GeometryArrays:
        pictures_NHW3 = pictures_of(features)
        engine = self._engine
        if not isinstance(engine, StreamingEngine):
            return engine.run(pictures_NHW3, clock.cancelled, prompt)
        tokens_NPD = encoded(features, partial(self._encoded, engine, clock))
        clock.lap("encode")
        if self._device.type == "cpu":
            return engine.run_tokens(tokens_NPD.numpy(), pictures_NHW3, clock.cancelled, prompt)
        torch.cuda.current_stream(self._device).synchronize()  # the engine has a stream of its own
        return engine.run_tokens(tokens_NPD, pictures_NHW3, clock.cancelled, prompt)

    def _encoded(
        self, engine: StreamingEngine, clock: PassClock, pictures_NHW3: NDArray[np.uint8]
    ) -> Tensor:
        return self._tensor(engine.encode(pictures_NHW3, clock.cancelled))

    def _append(
        self, keys: Array, values: Array, blocks: FrameBlocks, cache: KeyValueCache
    ) -> None:
        keys_EGLC, values_EGLC = self._tensor(keys), self._tensor(values)
        expected = (*cache.keys.shape[:1], cache.keys.shape[2], blocks.tokens, cache.keys.shape[4])
        if tuple(keys_EGLC.shape) != expected or values_EGLC.shape != keys_EGLC.shape:
            raise RuntimeError(
                f"the engine returned keys {list(keys_EGLC.shape)} and values "
                f"{list(values_EGLC.shape)}, expected {list(expected)}: layers, heads, tokens, "
                "head width; it is of another model, export this one again"
            )
        for layer in range(expected[0]):
            cache.append(layer, keys_EGLC[layer][None], values_EGLC[layer][None])
        cache.advance(blocks.tokens, cache.position + blocks.advance)

    def _tensor(self, array: Array) -> Tensor:
        """On the device; shares memory where the array is there."""
        if isinstance(array, np.ndarray):
            return torch.from_numpy(array).to(self._device)
        if isinstance(array, Tensor) or not hasattr(array, "__dlpack__"):
            return torch.as_tensor(array, device=self._device)
        return torch.utils.dlpack.from_dlpack(array).to(self._device)
