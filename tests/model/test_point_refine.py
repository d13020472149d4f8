# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The option that lets the point map follow the picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.extras.point_refine import PointRefine
from g2vlm_model.model import G2VLM

from .tiny import random_pixels, tiny_config, tiny_model

GRID = (2, 3)
REFINED = tiny_config(point_refine=8)


def log_depth(model: G2VLM, pixels: Tensor, chunk: int = 0) -> Tensor:
    with torch.inference_mode():
        hidden = random_pixels(1, pixels.shape[1], 6, 32, seed=3)
        out = model.decode_geometry(hidden, GRID, pixels_BN3HW=pixels, chunk_frames=chunk)
    return out.local_points_BNHW3[..., 2:].log()


def test_a_grafted_branch_changes_nothing() -> None:
    """Trained weights keep their output until the new branch has learned something."""
    plain, refined = tiny_model(), G2VLM(REFINED, tiny_model().special_ids).eval()
    missing, unexpected = refined.load_state_dict(plain.state_dict(), strict=False)
    assert not unexpected
    assert {name.split(".")[1] for name in missing} == {"point_refine"}
    pixels = random_pixels(1, 2, 3, 28, 42)
    assert torch.equal(log_depth(plain, pixels), log_depth(refined, pixels))


def test_an_edge_of_the_picture_moves_the_points_near_it() -> None:
    """Changing one pixel moves points around it, across the border of its patch, and no others."""
    model = tiny_model(REFINED)
    pixels = random_pixels(1, 1, 3, 28, 42)
    other = pixels.clone()
    other[..., 14, 14] += 3.0
    moved = (log_depth(model, pixels) != log_depth(model, other))[0, 0].any(dim=-1)
    rows, columns = moved.nonzero().unbind(1)
    assert bool(moved[14, 14])
    assert bool((rows < 14).any())
    assert bool((columns < 14).any())
    assert int((rows - 14).abs().max()) <= 9
    assert int((columns - 14).abs().max()) <= 9


def test_frames_are_refined_alone_and_in_chunks() -> None:
    model = tiny_model(REFINED)
    pixels = random_pixels(1, 3, 3, 28, 42)
    whole = log_depth(model, pixels)
    assert (log_depth(model, pixels, chunk=2) - whole).abs().max() < 1e-5
    other = pixels.clone()
    other[:, 1] += 1.0
    moved = (log_depth(model, other) - whole).abs().amax((0, 2, 3, 4)) > 1e-5
    assert moved.tolist() == [False, True, False]


def test_details_lie_where_their_patch_lies() -> None:
    refine = PointRefine(4, 24, 14)
    cells = refine.cells
    features = random_pixels(1, 6, 24)
    with torch.inference_mode():
        got = refine._detail(features, GRID)
        raw = refine.detail(features).view(6, 4, cells, cells)
    assert got.shape == (1, 4, 14, 21)
    torch.testing.assert_close(got[0, :, 9, 16], raw[5, :, 2, 2])
    torch.testing.assert_close(got[0, :, 6, 0], raw[0, :, 6, 0])


def test_weights_of_a_smaller_type_compute_in_float32() -> None:
    model = tiny_model(REFINED)
    pixels = random_pixels(1, 1, 3, 28, 42)
    want = log_depth(model, pixels)
    model.heads.half().float()
    rounded = log_depth(model, pixels)
    assert model.heads.point_refine is not None
    model.heads.point_refine.half()
    got = log_depth(model, pixels)
    assert got.dtype == torch.float32
    assert (got - rounded).abs().max() <= 1e-3 * want.abs().max()


def test_it_needs_the_pictures_and_an_even_patch() -> None:
    with pytest.raises(ValueError, match=r"point_refine is on and needs pixels_BN3HW"):
        tiny_model(REFINED).decode_geometry(random_pixels(1, 1, 6, 32), GRID)
    with pytest.raises(ValueError, match="even patch size, got 15"):
        PointRefine(4, 24, 15)
    with pytest.raises(ValueError, match="point_refine is -1"):
        tiny_config(point_refine=-1)


def test_every_weight_has_a_name_in_files() -> None:
    names = [name for name, _ in tiny_model(REFINED).named_parameters()]
    assert sum("point_refine" in name for name in published_names(names)) == 8
