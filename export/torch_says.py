# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What torch says of all windows of a check.

It is computed ahead of the graphs, and the model given up: at once they would take the memory of
two models.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.config import CHAT
from g2vlm_model.model import G2VLM
from g2vlm_model.runtimes.export_folder import FLOATS
from g2vlm_model.runtimes.golden_check import angles_between
from g2vlm_model.runtimes.scene_runtime import SceneRuntime
from g2vlm_model.runtimes.torch.placement import choose_placement
from g2vlm_model.runtimes.torch.runtime import TorchExecutor
from g2vlm_model.tokenizer import Tokenizer

from .answers_parity import Answers, answered
from .pictures import Case
from .reference import TorchReference
from .streamed import whole_or_streamed

__all__ = ["TorchSays", "beside_fp32", "key", "quantised_as"]


def quantised_as(precision: str) -> str:
    """Bits of the weights that torch has beside an export: "" is float32."""
    return "" if precision in FLOATS else precision


@dataclass
class TorchSays:
    """What torch says with weights of one kind.

    Attributes:
        windows: Case by name and size, and prompt -> outputs of the geometry, see
            `TorchReference.tensors`.
        answers: The same -> answers about the window, where they were asked for.
    """

    windows: dict[object, Mapping[str, NDArray[Any]]] = field(default_factory=dict)
    answers: dict[object, tuple[Answers, ...]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        folder: Path,
        quantise: str,
        cases: Sequence[Case],
        asked: Sequence[Case],
        begin: Callable[[str], None],
    ) -> TorchSays:
        """Compute windows and answers; the model is gone afterwards.

        Args:
            folder: Of the model.
            quantise: As of `load_model`.
            cases: Windows, each once.
            asked: Those among them that questions are asked about.
            begin: Told of each window.
        """
        says = cls()
        with whole_or_streamed(folder, quantise) as loaded:
            reference = TorchReference(*loaded)
            for case in cases:
                begin(case.name)
                for prompt in reference.prefixes:
                    said = reference.geometry(case.pictures_NHW3, prompt)
                    says.windows[key(case), prompt] = said
            if asked:
                load = partial(_Loaded, folder, choose_placement("cpu", quantise or "fp32"), loaded)
                with closing(SceneRuntime(load, "cpu")) as runtime:
                    for case in asked:
                        begin(f"answers, {case.name}")
                        says.answers[key(case)] = answered(runtime, folder, case)
        return says

    def geometry(self, case: Case, prompt: str = CHAT) -> Mapping[str, NDArray[Any]]:
        """Outputs of a window that it was computed for."""
        return self.windows[key(case), prompt]

    def said(self, case: Case) -> tuple[Answers, ...]:
        """Answers about a window that it was asked about."""
        return self.answers[key(case)]


def key(case: Case) -> object:
    """What a window is known by."""
    return (case.name, case.size_nhw)


def beside_fp32(
    own: TorchSays, whole: TorchSays, cases: Sequence[Case], asked: Sequence[Case]
) -> dict[str, float]:
    """What rounding the weights changes; empty where they are not rounded.

    Returns:
        `depth`: median over pixels of |z / z of fp32 - 1|; `rotation_deg`: median over frames;
        `tokens`: share of the answers' first tokens that are the same, where any were asked for.
    """
    if own is whole:
        return {}
    depths, angles, alike = [], [], []
    for case in cases:
        found, wanted = own.geometry(case), whole.geometry(case)
        depth, truth = (one["local_points"][..., 2].ravel() for one in (found, wanted))
        depths.append(np.abs(depth / truth - 1.0))
        angles.append(np.degrees(angles_between(found["rotation"], wanted["rotation"])))
    for case in asked:
        for one, other in zip(own.said(case), whole.said(case), strict=True):
            alike.append(one.steps.tokens == other.steps.tokens)
    changes = {
        "depth": float(np.median(np.concatenate(depths))),
        "rotation_deg": float(np.median(np.concatenate(angles))),
    }
    return changes | ({"tokens": float(np.mean(alike))} if alike else {})


class _Loaded(TorchExecutor):
    """An executor on a model that is there already."""

    def __init__(self, folder: Path, placement: Any, loaded: tuple[G2VLM, Tokenizer]) -> None:
        self._loaded = loaded
        super().__init__(folder, placement, prompt_mode="auto", engine=None)

    def load(self, *_: object) -> tuple[G2VLM, Tokenizer]:
        """See `TorchExecutor.load`."""
        return self._loaded
