"""The geometric pass of a window: by the model's own weights, or by an engine.

Both append the frames' keys and values to the scene's cache and return what the heads say, so
nothing behind them knows which one ran. Each frame is encoded once.

Shape letters: N frames, P patches per frame, D width, E layers, G key/value heads, L tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
from ..scene import FrameFeatures, KnownFrames, pictures_of

__all__ = ["EngineGeometry", "Geometry", "GeometrySaid", "TorchFrames", "WeightsGeometry", "owned"]


def owned(tokens_NPD: Tensor) -> list[Tensor]:
    """Tokens of each frame, each owning its memory: a view would keep that of all."""
    return [tokens_NPD[0]] if len(tokens_NPD) == 1 else [one.clone() for one in tokens_NPD]


class TorchFrames:
    """Encodes frames with a model.

    Args:
        model: In evaluation mode. In the "compat" attention of the geometric encoder frames
            influence each other; then windows are encoded as a whole and no token is kept.

    Attributes:
        known: The features of the frames.
    """

    def __init__(self, model: G2VLM) -> None:
        self.known = KnownFrames()
        self._model = model
        self._coupled = model.config.dino_attention == "compat"

    def geometric_tokens(self, features: Sequence[FrameFeatures]) -> Tensor:
        """(1, N, P, D) tokens; only frames without tokens are encoded. Uses the device."""
        if self._coupled:
            return self._model.encode_geometry(self._pixels(pictures_of(features)))
        return torch.stack(self.known.encode(features, self._encode))[None]

    def known_cues(self, features: Sequence[FrameFeatures]) -> dict[tuple[int, int], Tensor] | None:
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

    def keep_cues(
        self, features: Sequence[FrameFeatures], cues: dict[tuple[int, int], Tensor] | None
    ) -> None:
        """Keep what a pass added to `known_cues`."""
        for (i, j), found in (cues or {}).items():
            features[i].cues[features[j]] = found

    def head_pixels(self, features: Sequence[FrameFeatures]) -> Tensor | None:
        """(1, N, 3, H, W) pictures where the model's heads look at them, else None."""
        return self._pixels(pictures_of(features)) if self._model.config.point_refine else None

    def _encode(self, pictures_NHW3: NDArray[np.uint8]) -> list[Tensor]:
        return owned(self._model.encode_geometry(self._pixels(pictures_NHW3))[0])

    def _pixels(self, pictures_NHW3: NDArray[np.uint8]) -> Tensor:
        pictures = torch.from_numpy(pictures_NHW3)
        return normalise(pictures.to(self._model.device))[None]


HEAD_CHUNK_FRAMES = 8  # bounds the heads' memory for long windows


@dataclass(frozen=True)
class GeometrySaid:
    """What a pass says of one window.

    Args:
        tensors: Points and poses, batch 1.
        hidden_1NPD: What the heads read; empty where nothing reads it (`geometry_feedback` off)
            and an engine keeps it to itself.
    """

    tensors: GeometryTensors
    hidden_1NPD: Tensor


class Geometry(Protocol):
    """Computes a window's geometry."""

    def run(
        self,
        features: Sequence[FrameFeatures],
        grid_hw: tuple[int, int],
        cache: KeyValueCache,
        clock: PassClock,
    ) -> GeometrySaid:
        """Run one pass; uses the device.

        Args:
            features: Of the window's frames.
            grid_hw: Rows and columns of patches.
            cache: Holds the prefix and has room; takes the frames' keys and values.
            clock: Gets a lap for each stage.
        """
        ...


class WeightsGeometry:
    """The model's encoder, experts and heads.

    Args:
        model: In evaluation mode.
        frames: Its frames.
    """

    def __init__(self, model: G2VLM, frames: TorchFrames) -> None:
        self._model = model
        self._frames = frames

    def run(
        self,
        features: Sequence[FrameFeatures],
        grid_hw: tuple[int, int],
        cache: KeyValueCache,
        clock: PassClock,
    ) -> GeometrySaid:
        """See `Geometry.run`."""
        tokens_1NPD = self._frames.geometric_tokens(features)
        clock.lap("encode")
        cues = self._frames.known_cues(features)
        hidden = self._model.geometry_pass(tokens_1NPD, grid_hw, cache=cache, pair_cues=cues)
        self._frames.keep_cues(features, cues)
        clock.lap("expert")
        tensors = self._model.decode_geometry(
            hidden.hidden_BNPD,
            grid_hw,
            pixels_BN3HW=self._frames.head_pixels(features),
            chunk_frames=HEAD_CHUNK_FRAMES,
        )
        clock.lap("heads")
        return GeometrySaid(tensors, hidden.hidden_BNPD)


class EngineGeometry:
    """A `GeometryEngine` in the place of the model's geometric weights.

    Args:
        engine: Its keys and values stand behind the same chat prefix as the cache's.
        frames: Keep the tokens of a streaming engine.
        model: Of which the semantic part is there, on the device of the cache; arrays come
            there, without a copy where they are there.
    """

    def __init__(self, engine: GeometryEngine, frames: TorchFrames, model: G2VLM) -> None:
        self._engine = engine
        self._frames = frames
        self._device = model.device
        self._feedback = model.fusion is not None

    def run(
        self,
        features: Sequence[FrameFeatures],
        grid_hw: tuple[int, int],
        cache: KeyValueCache,
        clock: PassClock,
    ) -> GeometrySaid:
        """See `Geometry.run`."""
        arrays = self._computed(features, clock)
        hidden = arrays.hidden
        if arrays.keys is None or arrays.values is None or (self._feedback and hidden is None):
            raise RuntimeError(
                "the engine returned no keys and values, or no hidden states, which questions "
                "stand behind; export it with the part 'kv'"
            )
        self._append(arrays.keys, arrays.values, FrameBlocks(len(features), *grid_hw), cache)
        logits = arrays.confidence_logits
        heads = HeadOutputs(
            local_points=self._tensor(arrays.local_points)[None],
            rotation9=self._tensor(arrays.rotation9)[None],
            translation=self._tensor(arrays.translation)[None],
            confidence_logits=None if logits is None else self._tensor(logits)[None, ..., None],
        )
        nothing = torch.empty(0, device=self._device)
        hidden_1NPD = nothing if hidden is None else self._tensor(hidden)[None]
        said = GeometrySaid(assemble_geometry(heads), hidden_1NPD)
        clock.lap("engine")
        return said

    def _computed(self, features: Sequence[FrameFeatures], clock: PassClock) -> GeometryArrays:
        pictures_NHW3 = pictures_of(features)
        engine = self._engine
        if not isinstance(engine, StreamingEngine):
            return engine.run(pictures_NHW3, clock.cancelled)
        tokens = self._frames.known.encode(
            features, lambda new: owned(self._tensor(engine.encode(new, clock.cancelled)))
        )
        tokens_NPD = torch.stack(tokens)
        clock.lap("encode")
        if self._device.type == "cpu":
            return engine.run_tokens(tokens_NPD.numpy(), pictures_NHW3, clock.cancelled)
        torch.cuda.current_stream(self._device).synchronize()  # the engine has a stream of its own
        return engine.run_tokens(tokens_NPD, pictures_NHW3, clock.cancelled)

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
