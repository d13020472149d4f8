"""Keys and values of one scene and of the question that is being answered, as numpy arrays.

The scene's are one array per layer in the form that the graph reads, with room for exactly what
the scene will hold: once all its frames are in, a step hands them over without a copy. Those of
the question and its answer stand behind them, token after token.

Shape letters: E layers, G key/value heads, S tokens of the scene, T tokens of a step, C head
width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...positions import CacheMark

__all__ = ["SceneKeys"]

Floats = NDArray[Any]  # float32, or float16 in a graph of half precision


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
        self, keys_EGSC: Floats, values_EGSC: Floats, position: int, capacity: int
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

    @property
    def nbytes(self) -> int:
        """Bytes taken."""
        return sum(int(array.nbytes) for array in (*self._scene, *self._own))

    def mark(self) -> CacheMark:
        """The present state, for `truncate` and `fork`."""
        return CacheMark(self.length, self.position)

    def truncate(self, mark: CacheMark) -> None:
        """Forget every token behind a state; nothing is copied."""
        assert 0 <= mark.length <= self.length, (mark, self.length)
        if mark.length < self._scene_length:
            self._scene_length = mark.length
            self._fed = None
        self._own_length = mark.length - self._scene_length
        self.position = mark.position

    def fork(self, mark: CacheMark, capacity: int | None = None) -> SceneKeys:
        """A copy that starts as this was in a state of its scene.

        Args:
            mark: The state.
            capacity: Of the copy's scene; None is as here.
        """
        assert mark.length <= self._scene_length, (mark, self._scene_length)
        keys, values = (array[:, :, : mark.length] for array in self._scene)
        return SceneKeys(keys, values, mark.position, capacity or self._scene[0].shape[2])

    def append_to_scene(self, keys_EGTC: Floats, values_EGTC: Floats, position: int) -> None:
        """Add tokens of frames; `position` is the next token's."""
        assert self._own_length == 0, "a frame behind a question"
        end = self._scene_length + keys_EGTC.shape[2]
        for whole, new in zip(self._scene, (keys_EGTC, values_EGTC), strict=True):
            whole[:, :, self._scene_length : end] = new
        self._scene_length = end
        self.position = position
        self._fed = None

    def append(self, keys_TEGC: Floats, values_TEGC: Floats, position: int) -> None:
        """Add tokens of the question or its answer; `position` is the next token's."""
        self.reserve(len(keys_TEGC))
        end = self._own_length + len(keys_TEGC)
        for own, new in zip(self._own, (keys_TEGC, values_TEGC), strict=True):
            own[self._own_length : end] = new
        self._own_length = end
        self.position = position

    def reserve(self, tokens: int) -> None:
        """Make room for `tokens` more of the question and its answer."""
        needed = self._own_length + tokens
        if needed <= len(self._own[0]):
            return
        moved = []
        for old in self._own:
            new = np.empty((needed, *old.shape[1:]), old.dtype)
            new[: self._own_length] = old[: self._own_length]
            moved.append(new)
        self._own = moved

    def feeds(self, upload: Callable[[Floats], Any]) -> dict[str, Any]:
        """All of it, as inputs of the graph.

        Args:
            upload: Takes a scene's array to where the graph runs; asked once per scene.
        """
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
