# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Options of GASP's supervision (arXiv 2605.30231) and of the low-rank adapters it trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..ranges import (
    CHANCE,
    COUNT,
    POSITIVE,
    WEIGHT,
    check_choice,
    check_range,
)

__all__ = ["GaspOptions", "LoraOptions"]

_NEGATIVES = ("frames", "target")


@dataclass(frozen=True)
class GaspOptions:
    """What the stage `gasp` supervises, and how much.

    Args:
        correspondence: Weight of the match loss (lambda_c of eq. 9).
        depth: Weight of the depth loss (lambda_d of eq. 9); 0 is the paper's
            correspondence-only variant.
        queries: Weight of both losses on the similarity of the layers' own queries and keys
            (eq. 10), where no head can take the learning upon itself; 0 is published.
        layers: First supervised layer and the one behind the last, counted from 0; none is all.
        temperature: tau of eqs. 5 and 6.
        grids: Points per side of each lattice of anchors.
        negatives: "frames": every patch of every frame but the anchor's own and those that show
            the anchor's point (section 5.1). "target": the other patches of the target frame
            (eq. 5 as printed).
        descriptor_width: Of the heads' embeddings, at most the width of the queries.
        head_lr: Learning rate of the heads over that of the adapters.
        language: Share of the steps that ask questions instead (eq. 9's L_LM).
        together: Ask and match in every step, about the same windows: eq. 9 as printed, so that
            runs with other weights see equal data. `language` then counts for nothing.
        side: Pixels of a side at which the semantic encoder sees the pictures that are matched;
            0 is the model's own. More give more and smaller patches. Questions keep the model's.
        geometric_tokens: Also supervise the geometric expert's tokens. Its layers then get
            adapters, so geometry changes. Without, it changes only where a model's patches attend
            to marks and text (`ModelConfig.isolate_geometry` is off).
        chunk: Anchors whose similarities are in memory at once.

    Raises:
        ValueError: A number out of range or an unknown choice.
    """

    correspondence: float = 1.0
    depth: float = 1.0
    queries: float = 0.0
    layers: tuple[int, ...] = ()
    temperature: float = 0.07
    grids: tuple[int, ...] = (8, 24)
    negatives: Literal["frames", "target"] = "frames"
    descriptor_width: int = 64
    head_lr: float = 4.0
    language: float = 0.5
    together: bool = False
    side: int = 0
    geometric_tokens: bool = False
    chunk: int = 512

    def __post_init__(self) -> None:
        check_range(self, WEIGHT, "correspondence", "depth", "queries", "side", part="gasp")
        check_range(self, POSITIVE, "temperature", "head_lr", part="gasp")
        check_range(self, COUNT, "chunk", "descriptor_width", part="gasp")
        check_range(self, CHANCE, "language", part="gasp")
        if self.layers and (len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]):
            raise ValueError(
                f"gasp: layers is {self.layers}, expected the first layer from 0 and the one "
                "behind the last, or nothing for all layers"
            )
        if not self.grids or min(self.grids) < 1:
            raise ValueError(f"gasp: grids is {self.grids}, expected numbers of points per side")
        check_choice(self, "negatives", _NEGATIVES, part="gasp")

    @property
    def matches(self) -> bool:
        """Whether anything is to be matched."""
        return max(self.correspondence, self.depth) > 0


@dataclass(frozen=True)
class LoraOptions:
    """Low-rank adapters on the linear maps of the language model's layers.

    Args:
        rank: Of each adapter; at most the smaller side of every map.
        encoder: Adapt the semantic encoder too.

    Raises:
        ValueError: A number out of range.
    """

    rank: int = 32
    encoder: bool = True

    def __post_init__(self) -> None:
        check_range(self, COUNT, "rank", part="lora")
