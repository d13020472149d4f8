# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Frame-causal passes of a model that can do both, match injection included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from g2vlm_model.model import G2VLM
from g2vlm_model.poses import GeometryTensors

from .tiny import random_pixels, tiny_config, tiny_model

GRID = (2, 3)
OPTIONS = {"match_width": 8, "point_refine": 8, "conv_stem": 8, "isolate_geometry": True}

READ: dict[str, Callable[[GeometryTensors], Tensor]] = {
    "log of depth": lambda out: out.local_points_BNHW3[..., 2].log(),
    "rotation": lambda out: out.rotation9_BN9,
    "translation": lambda out: out.translation_BN3,
}


def geometry(model: G2VLM, pixels: Tensor, causal: bool) -> GeometryTensors:
    with torch.inference_mode():
        tokens = model.encode_geometry(pixels)
        hidden = model.geometry_pass(tokens, GRID, frame_causal=causal).hidden_BNPD
        return model.decode_geometry(hidden, GRID, pixels_BN3HW=pixels)


def test_a_frame_does_not_change_when_frames_are_added() -> None:
    """Points and poses of a frame are those of the window cut behind it; not so without."""
    model = tiny_model(tiny_config(**OPTIONS))
    pixels = random_pixels(1, 4, 3, 28, 42)
    whole, mutual = geometry(model, pixels, causal=True), geometry(model, pixels, causal=False)
    for frames in (1, 2, 3):
        cut = geometry(model, pixels[:, :frames], causal=True)
        both = geometry(model, pixels[:, :frames], causal=False)
        for name, of in READ.items():
            same = (of(whole)[:, :frames] - of(cut)).abs()
            assert same.max() < 1e-4, f"{name} of {frames}: max {same.max():.2e}"
            other = (of(mutual)[:, :frames] - of(both)).abs()
            assert other.max() > 1e-3, f"{name} of {frames}: max {other.max():.2e}"


def test_the_last_frame_hears_of_all_others() -> None:
    """What is left out is the future only: the last frame's messages are the plain ones."""
    model = tiny_model(tiny_config(**OPTIONS))
    assert model.match is not None
    with torch.inference_mode():
        tokens = model.encode_geometry(random_pixels(1, 3, 3, 28, 42))
        plain, causal = model.match(tokens, GRID), model.match(tokens, GRID, causal=True)
    torch.testing.assert_close(causal.early_BNPD[:, -1], plain.early_BNPD[:, -1])
    torch.testing.assert_close(causal.late_BNPD[:, -1], plain.late_BNPD[:, -1])
    assert float(causal.early_BNPD[:, 0].abs().max()) == 0.0
    assert float((causal.early_BNPD[:, 1] - plain.early_BNPD[:, 1]).abs().max()) > 1e-4


def test_the_config_can_ask_for_it() -> None:
    """`geometry_attention: frame_causal` is the same pass, messages included."""
    free = tiny_model(tiny_config(**OPTIONS))
    fixed = tiny_model(tiny_config(geometry_attention="frame_causal", **OPTIONS))
    with torch.inference_mode():
        tokens = free.encode_geometry(random_pixels(1, 3, 3, 28, 42))
        asked = free.geometry_pass(tokens, GRID, frame_causal=True).hidden_BNPD
        assert torch.equal(fixed.geometry_pass(tokens, GRID).hidden_BNPD, asked)
        assert not torch.equal(free.geometry_pass(tokens, GRID).hidden_BNPD, asked)
