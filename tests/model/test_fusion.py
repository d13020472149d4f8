# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry for the semantic expert: what is read, what it is added to, which words carry it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from g2vlm_export.traced import pooled_by_products

from g2vlm_model.cache import GrowingCache
from g2vlm_model.config import ModelConfig
from g2vlm_model.extras.fusion import FusedImages, Places
from g2vlm_model.extras.named_features import reference_features
from g2vlm_model.extras.reading import inverse, pooled, read_geometry
from g2vlm_model.extras.references import Reference, find_references
from g2vlm_model.interface import PixelMark
from g2vlm_model.model import G2VLM
from g2vlm_model.poses import GeometryTensors, HeadOutputs, assemble_geometry
from g2vlm_model.tokenizer import Tokenizer

from .tiny import tiny_config, tiny_model
from .tiny_tokenizer import train_tokenizer

GRID = (2, 3)
OPTIONS = {"geometry_feedback": True, "reference_features": True, "mark_style": "text"}


def _geometry(scale: float = 1.0, seed: int = 0) -> GeometryTensors:
    """Two windows of three frames, whose world axes are those of no camera."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    points = torch.cat((draw(2, 3, 28, 42, 2), draw(2, 3, 28, 42, 1).exp() + 0.2), dim=-1)
    rotation9 = torch.eye(3).flatten() + 0.3 * draw(2, 3, 9)
    return assemble_geometry(HeadOutputs(scale * points, rotation9, scale * draw(2, 3, 3)))


def _hidden() -> torch.Tensor:
    return torch.randn(2, 3, 6, 32, generator=torch.Generator().manual_seed(5))


def _images(model: G2VLM, geometry: GeometryTensors) -> FusedImages:
    tokens = torch.randn(2, 3, 4, 32, generator=torch.Generator().manual_seed(6))
    return model.fuse_images(tokens, (2, 2), read_geometry(_hidden(), GRID, geometry))


def test_a_reading_has_no_scale_and_no_axes_of_its_own() -> None:
    small, large = (read_geometry(_hidden(), GRID, _geometry(scale)) for scale in (1.0, 7.0))
    assert torch.allclose(small.local_BNHW3, large.local_BNHW3, atol=1e-5)
    assert torch.allclose(small.T_first_cam_BN44, large.T_first_cam_BN44, atol=1e-5)
    ratio = (large.log_scale_B - small.log_scale_B).exp()
    assert torch.allclose(ratio, torch.full((2,), 7.0), rtol=1e-4)
    depth = small.local_BNHW3[..., 2].flatten(1)
    assert torch.allclose(depth.median(dim=1).values, torch.ones(2))
    first = small.T_first_cam_BN44[:, 0]
    assert torch.allclose(first, torch.eye(4).expand(2, 4, 4), atol=1e-5)
    geometry = _geometry()
    T = torch.linalg.inv(geometry.T_world_cam_BN44[:, 0]) @ geometry.T_world_cam_BN44[:, 2]
    scale = small.log_scale_B.exp()
    assert torch.allclose(small.T_first_cam_BN44[:, 2, :3, :3], T[:, :3, :3], atol=1e-5)
    moved = T[:, :3, 3] / scale[:, None]
    assert torch.allclose(small.T_first_cam_BN44[:, 2, :3, 3], moved, atol=1e-4)


def test_frames_fused_one_by_one_are_those_of_the_window() -> None:
    model = tiny_model(tiny_config(**OPTIONS))
    reading = read_geometry(_hidden(), GRID, _geometry())
    tokens = torch.randn(2, 3, 4, 32, generator=torch.Generator().manual_seed(6))
    whole = model.fuse_images(tokens, (2, 2), reading)
    frames = [model.fuse_images(tokens[:, k : k + 1], (2, 2), reading.frame(k)) for k in range(3)]
    joined = FusedImages.joined(frames, reading)
    assert torch.allclose(joined.tokens_BNSD, whole.tokens_BNSD, atol=1e-5)
    assert torch.allclose(joined.cameras_BND, whole.cameras_BND, atol=1e-5)
    assert not torch.allclose(whole.tokens_BNSD, tokens)


def test_a_place_is_read_where_it_lies() -> None:
    """Changing the geometry of another pixel, frame or window changes nothing of a place."""
    model = tiny_model(tiny_config(**OPTIONS))
    assert model.fusion is not None
    geometry = _geometry()
    images = _images(model, geometry)
    window, frame = torch.tensor([1]), torch.tensor([2])
    place = Places(window, frame, torch.tensor([[10.5 / 42, 20.5 / 28]]))
    want = model.fusion.places(images, place)
    local = images.reading.local_BNHW3
    kept = local[1, 2, 20, 10].clone()
    local += 1.0
    local[1, 2, 20, 10] = kept
    assert torch.equal(model.fusion.places(images, place), want)
    local[1, 2, 20, 10, 2] += 0.5
    assert not torch.allclose(model.fusion.places(images, place), want)


def test_words_that_name_marks_and_frames_are_found() -> None:
    tokenizer = Tokenizer(train_tokenizer(330))
    text = "A frame 1 x 3 y 5\nCup frame 2 x 9 y 9\nIs A nearer than the Cup in frame 2 or 7?"
    marks = (PixelMark(0, 1.5, 3.5, "A"), PixelMark(1, 9.0, 3.0, "Cup"))
    found = find_references(tokenizer, text, marks, [(8, 16), (8, 20)])
    ids = tokenizer.encode(text)
    begins = [*tokenizer.begins(text), len(text)]
    assert [one.slot for one in found] == [0, 0, 1, 1, -1, -1, 4]
    ends = [(begins[one.token + 1], one.frame, one.share) for one in found]

    def behind(words: str, nth: int = 0) -> int:
        start = -1
        for _ in range(nth + 1):
            start = text.index(words, start + 1)
        return start + len(words)

    places = ((2.0 / 16, 4.0 / 8), (9.5 / 20, 3.5 / 8))
    expected = [
        (behind("A"), 0, places[0]),
        (behind("Is A"), 0, places[0]),
        (behind("Cup"), 1, places[1]),
        (behind("Cup", 1), 1, places[1]),
        (behind("frame 1"), 0, None),
        (behind("frame 2"), 1, None),
        (behind("frame 2", 1), 1, None),
    ]
    assert len(begins) == len(ids) + 1
    assert sorted(ends, key=str) == sorted(expected, key=str)
    assert find_references(tokenizer, "Is a chair in frame 7?", marks, [(8, 16)] * 2) == ()


def test_references_carry_the_features_of_their_own_window() -> None:
    model = tiny_model(tiny_config(**OPTIONS))
    assert model.fusion is not None
    images = _images(model, _geometry())
    tokenizer = Tokenizer(train_tokenizer(330))
    text = "A frame 2 x 25 y 75\nHow far is A?"
    mark = (PixelMark(1, 10, 20, "A"),)
    references = find_references(tokenizer, text, mark, [(28, 42)] * 3)
    count = len(tokenizer.encode(text))
    starts = [count - 2] * 4
    added = reference_features(model, images, [references] * 4, starts, count).added_MTD
    assert added.shape == (4, count, 32)
    assert torch.equal(added[0], added[1])
    assert torch.equal(added[2], added[3])
    assert not torch.allclose(added[0], added[2])
    named = {one.token for one in references} | {count - 2}
    assert {int(t) for t in added[0].abs().sum(-1).nonzero()} == named
    frame = next(one for one in references if one.share is None)
    assert torch.equal(added[2, frame.token], images.cameras_BND[1, 1])


def test_a_summary_tells_apart_what_is_compared() -> None:
    """Two marks in the other order are another question, and so are two frames."""
    model = tiny_model(tiny_config(**OPTIONS))
    assert model.fusion is not None
    images = _images(model, _geometry())
    here, there = ((0.2, 0.3), (0.8, 0.7))

    def summary(*references: Reference) -> torch.Tensor:
        pairs = [references] * 2
        return reference_features(model, images, pairs, [7, 7], 8).added_MTD[:, 7]

    ab = summary(Reference(0, 0, here, slot=0), Reference(1, 1, there, slot=1))
    ba = summary(Reference(0, 1, there, slot=0), Reference(1, 0, here, slot=1))
    assert not torch.allclose(ab, ba)
    ij = summary(Reference(0, 0, slot=4), Reference(1, 1, slot=5))
    ji = summary(Reference(0, 1, slot=4), Reference(1, 0, slot=5))
    assert not torch.allclose(ij, ji)
    again = summary(Reference(0, 0, slot=4), Reference(1, 1, slot=5), Reference(3, 2, slot=-1))
    assert torch.equal(ij, again)  # what has no slot is only in its own word
    assert not torch.allclose(ij[0], ij[1])


def test_start_marks_carry_their_camera() -> None:
    """What the first image token attends to changes with the camera's features alone."""
    model = tiny_model(tiny_config(**OPTIONS))
    images = _images(model, _geometry())
    moved = images.cameras_BND.clone()
    moved[:, 1] += 1.0
    outs = []
    for cameras in (images.cameras_BND, moved):
        hidden = model.prefill_images(images.tokens_BNSD, (2, 2), GrowingCache(), cameras)
        outs.append(hidden.unflatten(1, (3, 6)))
    assert torch.equal(outs[0][:, 0], outs[1][:, 0])  # frames ahead see nothing of it
    assert not torch.allclose(outs[0][:, 1], outs[1][:, 1])


def test_options_are_off_where_not_asked_for(tmp_path: Path) -> None:
    assert tiny_model().fusion is None
    assert ModelConfig.g2vlm_2b().geometry_feedback is False
    with pytest.raises(ValueError, match="no geometry_feedback"):
        reading = read_geometry(_hidden(), GRID, _geometry())
        tiny_model().fuse_images(torch.zeros(2, 3, 4, 32), (2, 2), reading)
    for wrong in ({"geometry_feedback": False}, {"mark_style": "drawn"}):
        with pytest.raises(ValueError, match="reference_features needs geometry_feedback"):
            tiny_config(**{**OPTIONS, **wrong})
    config = tiny_config(**OPTIONS)
    config.to_folder(tmp_path)
    assert ModelConfig.from_folder(tmp_path) == config


@pytest.mark.parametrize("size_hw", [(28, 42), (5, 3), (4, 8), (2, 9)])
def test_pooling_that_can_be_traced_is_the_same(size_hw: tuple[int, int]) -> None:
    """Also where cells share pixels, and where there are more cells than pixels."""
    maps = torch.randn(2, *size_hw, 6, generator=torch.Generator().manual_seed(0))
    want, got = pooled(maps, (4, 4)), pooled_by_products(maps, (4, 4))
    assert got.shape == want.shape
    assert (got - want).abs().max() < 1e-6


def test_the_inverse_of_a_rigid_transform_undoes_it() -> None:
    T_BN44 = read_geometry(_hidden(), GRID, _geometry()).T_first_cam_BN44
    eye = (inverse(T_BN44) @ T_BN44 - torch.eye(4)).abs().max()
    assert eye < 1e-5, f"max {eye:.1e}"
