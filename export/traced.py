# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a model computes in another form while it is traced.

In a trace sizes are symbols: a table cannot be kept under them, a loop over frames would serve
one number of frames only, and some operators need to know a size. What is written in place to
save a CPU's memory traffic would stand in the graph as copies. Each form below computes what the
model's own does, so a model that runs meanwhile in another thread is slower and nothing else.

Shape letters: M pictures, H W pixels, S cells of a grid R x K, B batch, N frames, P patches per
frame, D width, C cues of a patch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import torch
from torch import Tensor

from g2vlm_model import layers
from g2vlm_model.dinov2 import DinoV2, resize_positions
from g2vlm_model.extras import fusion, match
from g2vlm_model.extras.match import Cells, MatchInjection, PairCues, pair_cues
from g2vlm_model.layers import TableCache

__all__ = ["all_pair_cues", "in_place_of", "pooled_by_products", "traced_forms"]

T = TypeVar("T")

_TRACING = threading.RLock()


@contextmanager
def traced_forms() -> Iterator[None]:
    """Let models compute in forms that can be traced; one thread at a time."""
    forms: tuple[tuple[object, str, object], ...] = (
        (layers, "in_place_pays", _never),
        (TableCache, "get", _build_anew),
        (DinoV2, "patch_positions", _resized_positions),
        (MatchInjection, "cues", all_pair_cues),
        (match, "argmax_last", _argmax),
        (fusion, "pooled", pooled_by_products),
    )
    with _TRACING, ExitStack() as swapped:
        for owner, name, form in forms:
            swapped.enter_context(in_place_of(owner, name, form))
        yield


@contextmanager
def in_place_of(owner: object, name: str, form: object) -> Iterator[None]:
    """Put something in the place of an attribute of a module, class or instance."""
    inherited = name not in vars(owner)
    before = getattr(owner, name)
    setattr(owner, name, form)
    try:
        yield
    finally:
        if inherited:
            delattr(owner, name)
        else:
            setattr(owner, name, before)


def _never(x: Tensor) -> bool:
    return False


def _build_anew(cache: TableCache[T], key: object, build: Callable[[], T]) -> T:
    return build()


def _argmax(x: Tensor) -> Tensor:
    return x.argmax(dim=-1)


def _resized_positions(dino: DinoV2, rows: int, columns: int) -> Tensor:
    """Resize for every grid, the stored one too, to which the weights are the identity."""
    return resize_positions(dino.position_embeddings, dino.stored_grid, rows, columns)


def all_pair_cues(
    injection: MatchInjection,
    tokens_BNPD: Tensor,
    grid_hw: tuple[int, int],
    known: PairCues | None = None,
) -> Tensor:
    """(B, N, N, P, C) as `MatchInjection.cues`, in one step for any number of frames."""
    assert known is None, "a graph keeps no cues"
    batch, frames = tokens_BNPD.shape[:2]
    descriptors_BNQE = injection.descriptors(tokens_BNPD, grid_hw)
    targets = descriptors_BNQE[:, None].expand(-1, frames, -1, -1, -1).flatten(0, 1)
    sources = descriptors_BNQE.flatten(0, 1)[:, None]
    cues = pair_cues(sources, targets, Cells.of(grid_hw, tokens_BNPD), grid_hw)
    cues_BNNPC: Tensor = cues.unflatten(0, (batch, frames))
    return cues_BNNPC


def pooled_by_products(maps_MHWC: Tensor, cells_hw: tuple[int, int]) -> Tensor:
    """(M, S, C) as `reading.pooled`, without an operator that needs to know the sizes."""
    height, width = maps_MHWC.shape[1:3]
    down_RH = _cell_weights(cells_hw[0], height, maps_MHWC.device)
    across_KW = _cell_weights(cells_hw[1], width, maps_MHWC.device)
    lines_MHKC: Tensor = across_KW @ maps_MHWC.float()
    means_MRE = down_RH @ lines_MHKC.flatten(2)
    means_MSC: Tensor = means_MRE.unflatten(2, (cells_hw[1], -1)).flatten(1, 2)
    return means_MSC.to(maps_MHWC.dtype)


def _cell_weights(cells: int, size: int, device: torch.device) -> Tensor:
    """(cells, size): what each place of a line counts in the mean of each cell."""
    cell_K1 = torch.arange(cells, device=device)[:, None]
    place_L = torch.arange(size, device=device)
    begin_K1, end_K1 = cell_K1 * size // cells, ((cell_K1 + 1) * size + cells - 1) // cells
    inside_KL = ((place_L >= begin_K1) & (place_L < end_K1)).float()
    return inside_KL / inside_KL.sum(dim=1, keepdim=True)
