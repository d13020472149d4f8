"""The exported semantic expert: words and pictures in, keys, values and logits out.

One session per graph of the part `semantic`. The expert's graph serves pictures, questions and
single tokens alike; what stands before a step comes in as keys and values.

Shape letters: T tokens of a step, E layers, G key/value heads, L tokens of the geometric frames,
C head width, D width, V vocabulary, M semantic tokens of a frame, R rows of a picture, P patches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import ModelConfig
from ...extras.overlap import frame_overlap
from ...interface import GeometryPrediction
from ...preprocess import semantic_merged_hw
from ...tokenizer import Tokenizer, prompt_ids
from ..export_folder import AGAIN, ExportFolder
from ..geometry_engine import GeometryArrays
from ..golden_check import compare
from .context import OnnxContext, SceneKeys, by_layer
from .feeds import scene_feeds
from .sessions import Provider, ProviderError, Session

__all__ = ["SemanticGraphs"]

Floats = NDArray[np.float32]


class SemanticGraphs:
    """Loaded graphs of one export folder; used by one thread at a time.

    Args:
        folder: With the part "semantic".
        config: Of its model.
        tokenizer: Of its model.
        provider: Runs the graphs.

    Raises:
        ValueError: The folder has no such part, or its graphs do not fit each other.
        RuntimeError: A graph cannot be loaded.
        ProviderError: A graph gives wrong numbers for its goldens.
    """

    def __init__(
        self,
        folder: ExportFolder,
        config: ModelConfig,
        tokenizer: Tokenizer,
        provider: Provider,
    ) -> None:
        manifest = folder.manifest
        if "semantic" not in manifest.parts:
            raise ValueError(
                f"{folder.path} holds the parts {', '.join(manifest.parts)}; answers without "
                "torch need geometry, kv and semantic: g2vlm export onnx --parts "
                "geometry,kv,semantic"
            )
        self.config = config
        self.merged_hw = semantic_merged_hw(config)
        names = ["words", "pictures", "expert"]
        names += ["fusion"] if config.geometry_feedback else []
        names += ["references"] if config.reference_features else []
        self._sessions = {
            name: Session(folder.graph(f"semantic_{name}"), provider) for name in names
        }
        self._check(folder)
        special = tokenizer.special_ids(config.tokens)
        self.image_marks_2D = self.embed((special.start_of_image, special.end_of_image))
        self._prefix = self._read_prefix(
            prompt_ids(tokenizer, config.tokens).system, manifest.precision
        )
        if self._prefix.length != manifest.prefix_tokens:
            raise ValueError(
                f"{folder.path}: the chat prefix has {self._prefix.length} tokens, its graphs were "
                f"made behind {manifest.prefix_tokens}; {AGAIN}"
            )

    def scene_context(
        self, arrays: GeometryArrays, geometry: GeometryPrediction, grid_hw: tuple[int, int]
    ) -> OnnxContext:
        """What questions about a window stand behind.

        Args:
            arrays: Of the geometry's graph, with keys and values.
            geometry: Made of them.
            grid_hw: Rows and columns of geometric patches.

        Raises:
            ValueError: The arrays hold no keys and values, or no hidden states where the model
                reads them.
        """
        if arrays.keys is None or arrays.values is None:
            raise ValueError(
                "the geometry's graph gives no keys and values: g2vlm export onnx --parts "
                "geometry,kv,semantic"
            )
        keys_EGLC, values_EGLC = arrays.keys, arrays.values
        frames, prefix = len(geometry.valid), self._prefix.mark()
        semantic_block = self.merged_hw[0] * self.merged_hw[1] + 2
        capacity = prefix.length + keys_EGLC.shape[2] + frames * semantic_block
        keys = self._prefix.fork(prefix, capacity)
        position = prefix.position + frames * (max(grid_hw) + 2)
        keys.append_to_scene(keys_EGLC, values_EGLC, position)
        if not self.config.geometry_feedback:
            return OnnxContext(self, keys, None)
        if arrays.hidden is None:
            raise ValueError(f"the geometry's graph gives no hidden states; {AGAIN}")
        return OnnxContext(self, keys, scene_feeds(arrays.hidden, grid_hw, geometry))

    def overlap(self, arrays: GeometryArrays, grid_hw: tuple[int, int], newest: int) -> Floats:
        """(N,) how much of each frame the newest ones show too, see `g2vlm_model.extras.overlap`.

        Args:
            arrays: Of the geometry's graph, with keys.
            grid_hw: Rows and columns of geometric patches.
            newest: Frames of the newest moment.
        """
        assert arrays.keys is not None, "scene_context refuses arrays without keys"
        found: Floats = frame_overlap(
            arrays.keys[-1], self.config.text, grid_hw, self._prefix.position, newest
        )
        return found

    def embed(self, ids: Sequence[int]) -> Floats:
        """(T, D) embeddings of token ids."""
        return self.run("words", {"ids": np.array(ids, np.int64)})["embeddings"]

    def run(self, name: str, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Compute all outputs of a graph: "pictures", "fusion", "references"."""
        return self._sessions[name].run(feeds)

    def step(
        self, embeddings_TD: Floats, positions_3T: NDArray[np.int64], keys: SceneKeys, causal: bool
    ) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
        """Run tokens behind what a scene holds.

        Args:
            embeddings_TD: Words, or a picture between its marks.
            positions_3T: Rotary positions.
            keys: What stands before; not changed.
            causal: Whether a token sees only those before it.

        Returns:
            (V,) logits of the next token; keys and values (T, E, G, C) of these.
        """
        feeds = {
            "embeddings": embeddings_TD,
            "positions": positions_3T,
            "causal": np.array(causal),
            **keys.feeds(self._sessions["expert"].upload),
        }
        said = self.run("expert", feeds)
        return said["logits"], said["keys"], said["values"]

    def close(self) -> None:
        """Give the memory back; a second call does nothing."""
        for session in self._sessions.values():
            session.close()

    def _check(self, folder: ExportFolder) -> None:
        """Refuse graphs that do not say what torch said."""
        for name, session in self._sessions.items():
            for golden in folder.goldens(f"semantic_{name}"):
                comparison = compare(session.run(golden.inputs), golden, folder.manifest.tolerances)
                if not comparison.passed:
                    raise ProviderError(
                        f"{folder.graph(golden.graph)} gives wrong numbers on this device for the "
                        f"golden {golden.case}:\n{comparison.report()}\nuse another device, or "
                        "export with --precision fp32 --opset 18"
                    )

    def _read_prefix(self, ids: Sequence[int], precision: str) -> SceneKeys:
        """Keys and values of the text ahead of all frames."""
        text = self.config.text
        shape = (text.num_hidden_layers, text.num_key_value_heads, 0, text.head_dim)
        nothing = np.zeros(shape, np.float16 if precision == "fp16" else np.float32)
        before = SceneKeys(nothing, nothing, 0, len(ids))
        positions_3T = np.tile(np.arange(len(ids)), (3, 1))
        _, *new = self.step(self.embed(ids), positions_3T, before, causal=True)
        keys_EGTC, values_EGTC = map(by_layer, new)
        before.append_to_scene(keys_EGTC, values_EGTC, len(ids))
        return before
