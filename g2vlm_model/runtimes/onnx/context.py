# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a question stands behind, computed with exported graphs; keys and values as numpy arrays.

The scene's are one array per layer in the form that the graph reads, with room for exactly what
the scene will hold: once all its frames are in, a step hands them over without a copy. Those of
the question and its answer stand behind them, token after token.

Shape letters: E layers, G key/value heads, S tokens of the scene, T tokens of a step, C head
width, D width, M semantic tokens of a frame, R rows of a picture, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...extras.references import Reference
from ...interface import SpatialQuery
from ...positions import CacheMark, DecodeStep
from ..scene import SceneContext, Sought
from .feeds import reference_feeds

__all__ = ["NumpySampler", "OnnxContext", "SceneKeys", "by_layer", "frame_positions"]

if TYPE_CHECKING:
    from .semantic import SemanticGraphs


Floats = NDArray[np.float32]
Numbers = NDArray[Any]  # float32, or float16 in a graph of half precision


class OnnxContext(SceneContext):
    """On ONNX Runtime.

    Args:
        graphs: Of the model.
        keys: Of prefix and geometric frames.
        reading: See `SceneContext`; in the names that the graphs have for it.
    """

    keys: SceneKeys
    reading: dict[str, Floats] | None
    fused: list[dict[str, Floats]]

    def __init__(
        self, graphs: SemanticGraphs, keys: SceneKeys, reading: dict[str, Floats] | None
    ) -> None:
        super().__init__(keys, reading)
        self._graphs = graphs

    def fork(self, mark: CacheMark) -> OnnxContext:
        """See `SceneContext.fork`."""
        return OnnxContext(self._graphs, self.keys.fork(mark), self.reading)

    def encode(self, rows_RC: Floats) -> Floats:
        """See `SceneContext.encode`."""
        return self._graphs.run("pictures", {"rows": rows_RC})["tokens"]

    def append_frame(self, index: int, tokens_SD: Floats) -> None:
        """See `SceneContext.append_frame`."""
        start_1D, end_1D = np.split(self._graphs.image_marks_2D, 2)
        if self.reading is not None:
            frame = {
                name: array[index : index + 1] if array.ndim else array
                for name, array in self.reading.items()
            }
            said = self._graphs.run("fusion", {"tokens": tokens_SD[None], **frame})
            self.fused[index:] = [said]
            tokens_SD, start_1D = said["fused"][0], start_1D + said["cameras"]
        embeddings_TD = np.concatenate((start_1D, tokens_SD, end_1D))
        positions_3T = frame_positions(self.keys.position, self._graphs.merged_hw)
        _, *new = self._graphs.step(embeddings_TD, positions_3T, self.keys, causal=False)
        keys_EGTC, values_EGTC = map(by_layer, new)
        self.keys.append_to_scene(keys_EGTC, values_EGTC, int(positions_3T[0, -1]) + 1)

    def decode(self, query: SpatialQuery) -> Iterator[DecodeStep]:
        """See `SceneContext.decode`."""
        sampler = NumpySampler(query.temperature, query.seed)
        assert self._next_V is not None, "an answer without a question"
        step = sampler(self._next_V)
        while True:
            yield step
            step = sampler(self._appended((step.token,), None))

    def _added(
        self, references: Sequence[Reference], tokens: int
    ) -> tuple[Floats, tuple[Sought, ...]]:
        joined = {name: np.concatenate([one[name] for one in self.fused]) for name in self.fused[0]}
        feeds = reference_feeds(references, self._graphs.embed)
        said = self._graphs.run("references", {**joined, **(self.reading or {}), **feeds})
        added_TD = np.zeros((tokens + 1, said["summary"].shape[-1]), np.float32)
        for reference, feature_D in zip(references, said["features"], strict=False):
            added_TD[reference.token] += feature_D
        added_TD[-1] += said["summary"]
        weight_KNS = said.get("weights")  # an older export does not say
        if weight_KNS is None:
            return added_TD, ()
        grid_hw = self._graphs.merged_hw
        return added_TD, tuple(
            Sought(reference, weight_NS.reshape(-1, *grid_hw))
            for reference, weight_NS in zip(references, weight_KNS, strict=False)
            if reference.words
        )

    def _appended(self, ids: Sequence[int], added_TD: Floats | None, following: int = 0) -> Floats:
        self.keys.reserve(len(ids) + following)
        embeddings_TD = self._graphs.embed(ids)
        if added_TD is not None:
            embeddings_TD = embeddings_TD + added_TD
        start, end = self.keys.position, self.keys.position + len(ids)
        positions_3T = np.tile(np.arange(start, end), (3, 1))
        logits_V, keys, values = self._graphs.step(
            embeddings_TD, positions_3T, self.keys, causal=True
        )
        self.keys.append(keys, values, end)
        return logits_V


def by_layer(array_TEGC: Numbers) -> Numbers:
    """(E, G, T, C) as a scene keeps what a step returns by token."""
    array_EGTC: Numbers = array_TEGC.transpose(1, 2, 0, 3)
    return array_EGTC


def frame_positions(start: int, grid_hw: tuple[int, int]) -> NDArray[np.int64]:
    """(3, T) rotary positions of rows and columns of tokens between marks, see `sequence`."""
    rows, columns = np.indices(grid_hw).reshape(2, -1)
    inside_3T = start + 1 + np.stack((np.zeros_like(rows), rows, columns))
    ends = np.full((3, 2), (start, start + 1 + max(grid_hw)))
    return np.concatenate((ends[:, :1], inside_3T, ends[:, 1:]), axis=1)


class SceneKeys:
    """Grows token by token; forgets from any point on.

    Args:
        keys_EGSC, values_EGSC: Of the tokens that it starts with; copied.
        position: Rotary position of the next token.
        capacity: Tokens of the whole scene, its semantic frames included.

    Attributes:
        position: Rotary position of the next token.
    """

    def __init__(
        self, keys_EGSC: Numbers, values_EGSC: Numbers, position: int, capacity: int
    ) -> None:
        layers, heads, held, width = keys_EGSC.shape
        assert held <= capacity, (held, capacity)
        self.position = position
        self._scene = [np.empty((layers, heads, capacity, width), keys_EGSC.dtype) for _ in "kv"]
        for whole, given in zip(self._scene, (keys_EGSC, values_EGSC), strict=True):
            whole[:, :, :held] = given
        self._own = [np.empty((0, layers, heads, width), keys_EGSC.dtype) for _ in "kv"]
        self._scene_length: int = held
        self._own_length = 0
        self._fed: dict[str, Any] | None = None

    @property
    def length(self) -> int:
        """Tokens held."""
        return self._scene_length + self._own_length

    def mark(self) -> CacheMark:
        """The present state, for `truncate` and `fork`."""
        return CacheMark(self.length, self.position)

    def truncate(self, length: int, position: int) -> None:
        """Forget every token from `length` on, where `position` was next; nothing is copied."""
        assert 0 <= length <= self.length, (length, self.length)
        if length < self._scene_length:
            self._scene_length = length
            self._fed = None
        self._own_length = length - self._scene_length
        self.position = position

    def fork(self, mark: CacheMark, capacity: int | None = None) -> SceneKeys:
        """A copy that starts as this was in a state of its scene; None is the same capacity."""
        assert mark.length <= self._scene_length, (mark, self._scene_length)
        keys, values = (array[:, :, : mark.length] for array in self._scene)
        return SceneKeys(keys, values, mark.position, capacity or self._scene[0].shape[2])

    def append_to_scene(self, keys_EGTC: Numbers, values_EGTC: Numbers, position: int) -> None:
        """Add tokens of frames; `position` is the next token's."""
        assert self._own_length == 0, "a frame behind a question"
        end = self._scene_length + keys_EGTC.shape[2]
        for whole, new in zip(self._scene, (keys_EGTC, values_EGTC), strict=True):
            whole[:, :, self._scene_length : end] = new
        self._scene_length = end
        self.position = position
        self._fed = None

    def append(self, keys_TEGC: Numbers, values_TEGC: Numbers, position: int) -> None:
        """Add tokens of the question or its answer; `position` is the next token's."""
        self.reserve(len(keys_TEGC))
        end = self._own_length + len(keys_TEGC)
        for own, new in zip(self._own, (keys_TEGC, values_TEGC), strict=True):
            own[self._own_length : end] = new
        self._own_length = end
        self.position = position

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more of the question and its answer."""
        missing = self._own_length + tokens - len(self._own[0])
        if missing > 0:
            room = np.empty((missing, *self._own[0].shape[1:]), self._own[0].dtype)
            self._own = [np.concatenate((old, room)) for old in self._own]

    def feeds(self, upload: Callable[[Numbers], Any]) -> dict[str, Any]:
        """All of it, as inputs of the graph; a scene's are uploaded to where it runs once."""
        held = self._scene_length
        if self._fed is None:
            self._fed = {
                f"scene_{kind}_{layer}": upload(np.ascontiguousarray(whole[layer, :, :held]))
                for kind, whole in zip(("keys", "values"), self._scene, strict=True)
                for layer in range(len(whole))
            }
        own = {
            f"own_{kind}": array[: self._own_length]
            for kind, array in zip(("keys", "values"), self._own, strict=True)
        }
        return {**self._fed, **own}


class NumpySampler:
    """As `generate.Sampler`; greedy choices are the same, samples are not.

    Args:
        temperature: 0 takes the most probable token; above, one is drawn from
            softmax(logits / temperature).
        seed: The same seed draws the same tokens, on any device. They come from numpy's
            generator: torch draws others from the same seed.
    """

    def __init__(self, temperature: float = 0.0, seed: int = 0) -> None:
        self._temperature = temperature
        # Any integer is a seed, as with torch; numpy itself refuses negative ones.
        self._random = np.random.default_rng(seed % 2**64)

    def __call__(self, logits_V: NDArray[np.float32]) -> DecodeStep:
        """Choose from logits (V,)."""
        shifted_V = logits_V.astype(np.float64) - logits_V.max()
        log_total = np.log(np.exp(shifted_V).sum())
        if self._temperature == 0:
            token = int(logits_V.argmax())
        else:
            bounds_V = np.exp(shifted_V / self._temperature).cumsum()
            drawn = self._random.random() * bounds_V[-1]
            token = min(int(np.searchsorted(bounds_V, drawn, side="right")), len(bounds_V) - 1)
        return DecodeStep(token, float(shifted_V[token] - log_total), logits_V)
