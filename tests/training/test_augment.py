# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Augmentation: nothing at strength 0, repeatable, and each option does what it says."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from g2vlm_training.augment import AugmentOptions, augment
from g2vlm_training.config_file import load_config

OFF = AugmentOptions(**{field.name: 0.0 for field in dataclasses.fields(AugmentOptions)})


def pictures(seed: int = 0) -> torch.Tensor:
    """Three clips of four frames of smooth patches."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(12, 3, 7, 8, generator=generator) * 0.8 + 0.1
    return torch.nn.functional.interpolate(coarse, size=(42, 56)).view(3, 4, 3, 42, 56)


def _augmented(rgb: torch.Tensor, **options: float) -> torch.Tensor:
    return augment(rgb, dataclasses.replace(OFF, **options), torch.Generator().manual_seed(0))


def test_strength_zero_changes_nothing() -> None:
    rgb = pictures()
    assert torch.equal(augment(rgb, OFF, torch.Generator()), rgb)


def test_the_generator_decides_everything() -> None:
    rgb, options = pictures(), AugmentOptions(hue_deg=20, grey=0.2, remix=0.2, jpeg=0.5)
    first, again, other = (
        augment(rgb, options, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == rgb.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(OFF)][1:])
def test_every_option_does_something_moderate(name: str) -> None:
    rgb = pictures()
    strength = {"hue_deg": 40.0, "noise": 0.1}.get(name, 1.0 if name in _chances() else 0.4)
    difference = (_augmented(rgb, **{name: strength}) - rgb).abs().mean()
    assert 0.002 < difference < 0.35, f"{name}: mean difference {difference:.4f}"


def _chances() -> tuple[str, ...]:
    return ("grey", "remix", "blur", "motion", "sharpen", "jpeg")


def test_frames_of_a_clip_share_their_draws_or_do_not() -> None:
    rgb = pictures()[:, :1].repeat(1, 4, 1, 1, 1)
    options = {"white_balance": 0.3, "gamma": 0.3, "hue_deg": 30.0, "blur": 0.5, "vignette": 0.5}
    same = _augmented(rgb, shared=1.0, **options)
    assert torch.equal(same, same[:, :1].expand_as(same))
    own = _augmented(rgb, shared=0.0, **options)
    assert (own[:, 1:] - own[:, :1]).abs().flatten(2).mean(-1).min() > 0.002
    # Automatic exposure differs from frame to frame even of one setting.
    assert not torch.equal(*_augmented(rgb, shared=1.0, exposure=0.3)[0, :2])


def test_grey_pictures_have_no_colour_and_hues_keep_greys() -> None:
    grey = _augmented(pictures(), grey=1.0)
    assert torch.allclose(grey[:, :, 0], grey[:, :, 1], atol=1e-6)
    flat = pictures().mean(2, keepdim=True).expand(-1, -1, 3, -1, -1)
    assert torch.allclose(_augmented(flat, hue_deg=90.0, saturation=0.9), flat, atol=1e-5)


def test_blur_removes_detail_and_sharpening_adds_it() -> None:
    def detail(rgb: torch.Tensor) -> float:
        return float((rgb[..., 1:] - rgb[..., :-1]).square().mean())

    rgb = pictures()
    assert detail(_augmented(rgb, blur=1.0)) < 0.9 * detail(rgb)
    assert detail(_augmented(rgb, motion=1.0)) < 0.9 * detail(rgb)
    assert detail(_augmented(rgb, sharpen=1.0)) > 1.05 * detail(rgb)
    for name in ("blur", "motion"):  # light is neither lost nor made
        means = [float(picture.mean()) for picture in (rgb, _augmented(rgb, **{name: 1.0}))]
        assert means[0] == pytest.approx(means[1], rel=0.01)


def test_impossible_strengths_are_refused() -> None:
    with pytest.raises(ValueError, match=r"jpeg is 1.5, expected 0 to 1"):
        AugmentOptions(jpeg=1.5)
    with pytest.raises(ValueError, match=r"noise is -0.1, expected 0 or more"):
        AugmentOptions(noise=-0.1)


def test_questions_about_colours_keep_their_colours() -> None:
    """What the semantic stage trains with turns no hue; geometry may."""
    assert load_config("nano_semantic").views.flip == 0
    semantic = load_config("nano_semantic").augment
    assert semantic.hue_deg == semantic.grey == semantic.remix == 0
    geometry = load_config("nano").augment
    assert min(geometry.hue_deg, geometry.grey, geometry.remix, geometry.jpeg) > 0
