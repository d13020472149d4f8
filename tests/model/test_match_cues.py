# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Cues of pairs of frames that are kept between passes, and the search's fast and traced forms."""

from __future__ import annotations

import pytest
import torch
from g2vlm_export.traced import all_pair_cues, traced_forms
from torch import Tensor

from g2vlm_model.extras import match
from g2vlm_model.extras.match import argmax_last

from .tiny import random_pixels, tiny_config, tiny_model

GRID = (2, 3)
WINDOW = 4


def test_a_sliding_window_with_kept_cues_computes_what_one_without_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And it searches the pairs of its newest frame only."""
    model = tiny_model(tiny_config(match_width=8))
    tokens = model.encode_geometry(random_pixels(1, WINDOW + 3, 3, 28, 42)).detach()
    searched: list[int] = []
    search = match.pair_cues

    def counted(source: Tensor, *rest: object) -> Tensor:
        searched[-1] += source.shape[1]
        return search(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(match, "pair_cues", counted)
    kept: dict[tuple[int, int], Tensor] = {}
    with torch.inference_mode():
        for first in range(3):
            window = tokens[:, first : first + WINDOW]
            searched.append(0)
            fresh = model.geometry_pass(window, GRID).hidden_BNPD
            searched.append(0)
            hidden = model.geometry_pass(window, GRID, pair_cues=kept).hidden_BNPD
            error = (hidden - fresh).abs()
            assert error.max() < 1e-5, f"max {error.max():.2e}, mean {error.mean():.2e}"
            kept = {(i - 1, j - 1): cues for (i, j), cues in kept.items() if i and j}
    everything, newest = WINDOW * (WINDOW - 1), 2 * (WINDOW - 1)
    assert searched == [everything, everything, everything, newest, everything, newest]


def test_kept_cues_are_what_counts() -> None:
    """Other cues are other messages, so a mix-up of frames cannot pass unseen."""
    model = tiny_model(tiny_config(match_width=8))
    assert model.match is not None
    tokens = model.encode_geometry(random_pixels(1, 3, 3, 28, 42)).detach()
    kept: dict[tuple[int, int], Tensor] = {}
    with torch.inference_mode():
        plain = model.match(tokens, GRID, known=kept).early_BNPD
        assert all(cues.untyped_storage().nbytes() == cues.nbytes for cues in kept.values())
        kept[0, 1], kept[0, 2] = kept[1, 0], kept[2, 0]
        other = model.match(tokens, GRID, known=kept).early_BNPD
    assert torch.equal(plain[:, 1:], other[:, 1:])
    assert (plain[:, 0] - other[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_fast_argmax_is_torchs(dtype: torch.dtype) -> None:
    """The first of equal numbers too, on any strides."""
    drawn = torch.randint(0, 9, (3, 40, 50), generator=torch.Generator().manual_seed(0))
    for x in (drawn.to(dtype), drawn.to(dtype).mT, torch.randn(2, 64, 64).to(dtype)):
        assert torch.equal(argmax_last(x), x.argmax(dim=-1))


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_the_traced_search_tells_the_same(frames: int) -> None:
    model = tiny_model(tiny_config(match_width=8))
    assert model.match is not None
    tokens = model.encode_geometry(random_pixels(2, frames, 3, 28, 42)).detach()
    with torch.no_grad():
        cues = model.match.cues(tokens, GRID)
        others = ~torch.eye(frames, dtype=torch.bool)
        traced = all_pair_cues(model.match, tokens, GRID)
        torch.testing.assert_close(traced[:, others], cues[:, others], atol=1e-6, rtol=0)
        plain = model.match(tokens, GRID)
        with traced_forms():
            messages = model.match(tokens, GRID)
    torch.testing.assert_close(messages.early_BNPD, plain.early_BNPD, atol=1e-6, rtol=0)
