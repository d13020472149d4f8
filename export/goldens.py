# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Golden inputs and outputs: what torch says in float32, at a few small sizes.

They travel with the export, so that a device without torch can tell whether what it built is
right. The pictures are windows of one smooth random picture, moved a little from frame to frame
as a camera would. On the way the largest numbers of every layer are noted: half precision ends
at 65504.

Shape letters: N frames, H W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from g2vlm_model.checkpoint import FLOAT32_PREFIXES
from g2vlm_model.config import CHAT, ModelConfig
from g2vlm_model.runtimes.export_folder import PREFIX_INPUTS, Golden, Largest

from .pictures import random_picture, size_name
from .reference import TorchReference

__all__ = [
    "HALF_MAX",
    "Truth",
    "golden_pictures",
    "golden_sizes",
    "largest_numbers",
    "require_half_range",
]

_LOG = logging.getLogger(__name__)

HALF_MAX = 65504.0
HEADROOM = 4.0  # other pictures than the goldens may give numbers so many times larger
WIDEST = 8  # patches of the small sizes
STEP_HW = (2, 5)  # pixels from frame to frame
NOTED = 8


def golden_sizes(
    config: ModelConfig, static_nhw: Sequence[int] | None = None
) -> list[tuple[int, int, int]]:
    """Return sizes (N, H, W): small ones, and the model's own with two frames."""
    if static_nhw is not None:
        return [(static_nhw[0], static_nhw[1], static_nhw[2])]
    patch = config.patch_size
    own = config.dino_width // patch
    small = min(own, WIDEST)
    grids = [(1, _flatter(small), small), (2, _flatter(small), small)]
    grids += [(3, small, _flatter(small)), (2, _flatter(own), own)]
    return [(n, rows * patch, columns * patch) for n, rows, columns in dict.fromkeys(grids)]


def _flatter(columns: int) -> int:
    return max(1, columns * 3 // 4)


def golden_pictures(size_nhw: tuple[int, int, int], seed: int = 0) -> NDArray[np.uint8]:
    """Return (N, H, W, 3) uint8 windows of one picture."""
    frames, height, width = size_nhw
    down, right = STEP_HW
    whole = random_picture(seed, height + down * frames, width + right * frames)
    return np.stack(
        [
            whole[down * frame : down * frame + height, right * frame : right * frame + width]
            for frame in range(frames)
        ]
    )


@dataclass(frozen=True)
class Truth:
    """What torch says of some windows.

    Args:
        cases: Name (see `Golden.case`), pictures, and what was said by name.
        largest: Of the layers on the way, see `largest_numbers`.
    """

    cases: tuple[tuple[str, NDArray[np.uint8], Mapping[str, NDArray[Any]]], ...]
    largest: tuple[Largest, ...]

    @classmethod
    def of(cls, reference: TorchReference, static_nhw: Sequence[int] | None = None) -> Truth:
        """Compute the golden sizes.

        Args:
            reference: The model in float32.
            static_nhw: The one size of the graphs.
        """
        cases = []
        with largest_numbers(reference.model) as largest:
            for index, size in enumerate(golden_sizes(reference.model.config, static_nhw)):
                pictures_NHW3 = golden_pictures(size, seed=index)
                for prompt in reference.model.config.geometry_prompts:
                    name = size_name(size) + ("" if prompt == CHAT else f" {prompt}")
                    cases.append((name, pictures_NHW3, reference.geometry(pictures_NHW3, prompt)))
        return cls(tuple(cases), tuple(largest))

    def goldens(
        self, graphs: Mapping[str, tuple[Sequence[str], Sequence[str]]], token_type: np.dtype[Any]
    ) -> list[Golden]:
        """Return goldens of the graphs of the geometric path, without the prompts' prefixes.

        Args:
            graphs: Name -> names of inputs and outputs.
            token_type: Of the graphs' `tokens`, where those go in.
        """
        goldens = []
        for case, pictures_NHW3, said in self.cases:
            given = {"pictures": pictures_NHW3, "tokens": said["tokens"].astype(token_type)}
            for graph, (inputs, outputs) in graphs.items():
                golden = Golden(
                    graph,
                    case,
                    {name: given[name] for name in inputs if name in given},
                    {name: said[name] for name in outputs},
                )
                if golden.prompt == CHAT or set(PREFIX_INPUTS) <= set(inputs):
                    goldens.append(golden)
        return goldens


@contextmanager
def largest_numbers(model: nn.Module) -> Iterator[list[Largest]]:
    """Note the largest numbers that layers in half precision would hold.

    The list that this gives is filled at the end: the layers with the largest numbers, largest
    first. Looked at are the outputs of every layer with weights, and the inputs of its products.
    What is computed in float32 in every precision (the last maps of the heads, and the residual
    streams that the norms read) cannot overflow and is left out.
    """
    seen: dict[str, float] = {}
    found: list[Largest] = []

    def note(name: str, *tensors: Any) -> None:
        for tensor in tensors:
            if isinstance(tensor, Tensor) and tensor.is_floating_point() and tensor.numel():
                seen[name] = max(seen.get(name, 0.0), float(tensor.abs().amax()))

    def watch(name: str, module: nn.Module) -> Any:
        multiplies = isinstance(module, nn.Linear | nn.Conv2d)
        return module.register_forward_hook(
            lambda _, inputs, output: note(name, output, *(inputs if multiplies else ()))
        )

    handles = [
        watch(name, module)
        for name, module in model.named_modules()
        if any(True for _ in module.parameters(recurse=False))
        and not name.startswith(tuple(prefix.rstrip(".") for prefix in FLOAT32_PREFIXES))
    ]
    try:
        with torch.inference_mode():
            yield found
    finally:
        for handle in handles:
            handle.remove()
    ranked = sorted(seen.items(), key=lambda item: -item[1])[:NOTED]
    found += [Largest(name, round(value, 3)) for name, value in ranked]


def require_half_range(largest: Sequence[Largest]) -> None:
    """Refuse half precision where it overflows, and warn where it is near that.

    Args:
        largest: From `largest_numbers`.

    Raises:
        ValueError: A layer's numbers are too large.
    """
    top = largest[0]
    if not top.value <= HALF_MAX:
        raise ValueError(
            f"{top.layer} gives numbers up to {top.value:.3g}, half precision ends at "
            f"{HALF_MAX:.0f}; export with --precision fp32"
        )
    if top.value * HEADROOM > HALF_MAX:
        _LOG.warning(
            "%s gives numbers up to %.0f, half precision ends at %.0f; other pictures may "
            "overflow: compare on your own with `g2vlm export check`, or use --precision fp32",
            top.layer,
            top.value,
            HALF_MAX,
        )
