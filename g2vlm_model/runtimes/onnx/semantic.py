# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

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
from ...preprocess import semantic_merged_hw
from ...tokenizer import Tokenizer, prompt_ids
from ..export_folder import AGAIN, ExportFolder
from .context import SceneKeys, by_layer
from .geometry import require_golden
from .sessions import Provider, Session

__all__ = ["SemanticGraphs"]

Floats = NDArray[np.float32]


class SemanticGraphs:
    """Loaded graphs of one export folder; used by one thread at a time.

    Args:
        folder: With the part "semantic".
        config, tokenizer: Of its model.
        provider: Runs the graphs.

    Attributes:
        image_marks_2D: Embeddings of what stands before and behind a frame.
        merged_hw: Rows and columns of a frame's semantic tokens.
        prefix: Keys and values of the text ahead of all frames.

    Raises:
        ValueError: The folder has no such part, or its graphs do not fit each other.
        RuntimeError: A graph cannot be loaded.
        ProviderError: A graph gives wrong numbers for its goldens.
    """

    def __init__(
        self, folder: ExportFolder, config: ModelConfig, tokenizer: Tokenizer, provider: Provider
    ) -> None:
        manifest = folder.manifest
        if "semantic" not in manifest.parts:
            raise ValueError(
                f"{folder.path} holds the parts {', '.join(manifest.parts)}; answers without "
                "torch need geometry, kv and semantic: g2vlm export onnx --parts "
                "geometry,kv,semantic"
            )
        self.merged_hw = semantic_merged_hw(config)
        names = ["words", "pictures", "expert"]
        names += ["fusion"] if config.geometry_feedback else []
        names += ["references"] if config.reference_features else []
        self._sessions: dict[str, Session] = {}
        for name in names:
            graph = f"semantic_{name}"
            mapped = folder.mapped(graph)
            self._sessions[name] = Session(folder.graph(graph), provider, mapped=mapped)
        for name, session in self._sessions.items():
            for golden in folder.goldens(f"semantic_{name}"):
                where = f"{folder.graph(golden.graph)} gives wrong numbers on this device"
                require_golden(session.run(golden.inputs), golden, folder, where)
        special = tokenizer.special_ids(config.tokens)
        self.image_marks_2D = self.embed((special.start_of_image, special.end_of_image))
        # Keys and values of no tokens, and then of the text ahead of all frames.
        ids, text = prompt_ids(tokenizer, config.tokens).system, config.text
        shape = (text.num_hidden_layers, text.num_key_value_heads, 0, text.head_dim)
        nothing = np.zeros(shape, np.float16 if manifest.precision == "fp16" else np.float32)
        self.prefix = SceneKeys(nothing, nothing, 0, len(ids))
        positions_3T = np.tile(np.arange(len(ids)), (3, 1))
        _, *new = self.step(self.embed(ids), positions_3T, self.prefix, causal=True)
        keys_EGTC, values_EGTC = map(by_layer, new)
        self.prefix.append_to_scene(keys_EGTC, values_EGTC, len(ids))
        if self.prefix.length != manifest.prefix_tokens:
            raise ValueError(
                f"{folder.path}: the chat prefix has {self.prefix.length} tokens, its graphs were "
                f"made behind {manifest.prefix_tokens}; {AGAIN}"
            )

    def embed(self, ids: Sequence[int]) -> Floats:
        """(T, D) embeddings of token ids."""
        return self.run("words", {"ids": np.array(ids, np.int64)})["embeddings"]

    def run(self, name: str, feeds: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
        """Compute all outputs of a graph: "pictures", "fusion", "references"."""
        return self._sessions[name].run(feeds)

    def step(
        self, embeddings_TD: Floats, positions_3T: NDArray[np.int64], keys: SceneKeys, causal: bool
    ) -> tuple[Floats, NDArray[Any], NDArray[Any]]:
        """Run words, or a picture between its marks, behind what a scene holds.

        Args:
            embeddings_TD, positions_3T: Of the tokens.
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
