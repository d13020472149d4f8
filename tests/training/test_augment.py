# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Augmentation: nothing at strength 0, repeatable, and each option does what it says."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np
import pytest
import torch
from g2vlm_training.config_file import load_config
from g2vlm_training.datasets.augment import AugmentOptions, augment
from g2vlm_training.datasets.jitter import jittered
from g2vlm_training.datasets.shutter import Warp, motion_field, warped
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

OFF = AugmentOptions(**{field.name: 0.0 for field in dataclasses.fields(AugmentOptions)})


def pictures(seed: int = 0) -> torch.Tensor:
    """Three clips of four frames of smooth patches."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(12, 3, 7, 8, generator=generator) * 0.8 + 0.1
    return torch.nn.functional.interpolate(coarse, size=(42, 56)).view(3, 4, 3, 42, 56)


def _augmented(rgb: torch.Tensor, **options: float) -> torch.Tensor:
    return augment(rgb, dataclasses.replace(OFF, **options), range(len(rgb)))


def test_strength_zero_changes_nothing() -> None:
    rgb = pictures()
    assert torch.equal(augment(rgb, OFF, range(len(rgb))), rgb)


def test_seeds_decide_everything() -> None:
    rgb, options = pictures(), AugmentOptions(hue_deg=20, grey=0.2, remix=0.2, jpeg=0.5)
    first, again, other = (augment(rgb, options, [seed, 7, 8]) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first[0], other[0])
    torch.testing.assert_close(first[1:], other[1:])  # a clip's company does not matter
    torch.testing.assert_close(augment(rgb[1:], options, [7, 8]), first[1:])
    assert first.shape == rgb.shape
    assert first.min() >= 0
    assert first.max() <= 1
    assert torch.isfinite(first).all()


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(OFF)][1:])
def test_every_option_does_something_moderate(name: str) -> None:
    rgb = pictures()
    strength = {"hue_deg": 40.0, "noise": 0.1, "bend": 0.03, "fringe": 0.02}.get(
        name, 1.0 if name in _chances() else 0.4
    )
    difference = (_augmented(rgb, **{name: strength}) - rgb).abs().mean()
    assert 0.002 < difference < 0.35, f"{name}: mean difference {difference:.4f}"


def _chances() -> tuple[str, ...]:
    return ("jitter", "grey", "remix", "blur", "motion", "rolling", "dark", "sharpen", "jpeg")


KINDS = ("brightness", "contrast", "saturation", "hue")


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_jitter_is_that_of_pillow(kind: str) -> None:
    """torchvision's jitter of pictures is Pillow's enhancers, and its hues turn in HSV."""
    rgb, which = pictures()[0, :1], KINDS.index(kind)
    image = (rgb[0].permute(1, 2, 0) * 255).round().byte().numpy()
    strength = torch.zeros(1, 4)
    strength[0, which] = 0.6
    found = jittered(rgb, strength, torch.tensor([[2, 0, 3, 1]]))[0].permute(1, 2, 0).numpy()
    if kind == "hue":
        pixels = [[_turned_by_hand(pixel, 0.06) for pixel in row] for row in image / 255]
        wanted = np.array(pixels)
    else:
        enhancers = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
        wanted = np.asarray(enhancers[which](Image.fromarray(image)).enhance(1.3)) / 255
    assert np.abs(found - image / 255).max() > 0.02
    assert np.abs(found - wanted).max() < 2.5 / 255  # Pillow rounds before and after


def _turned_by_hand(pixel: NDArray[np.float64], turn: float) -> tuple[float, float, float]:
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return colorsys.hsv_to_rgb((hue + turn) % 1, saturation, value)


def test_the_published_configs_jitter_as_published() -> None:
    """0.9 of all pictures, 5 % grey, 70 % of clips alike, in changing order; nothing else."""
    for name in ("g2vlm_2b_1a", "g2vlm_2b_1b", "g2vlm_2b_finetune"):
        options = load_config(name).augment
        assert options == dataclasses.replace(OFF, shared=0.7, jitter=0.9, grey=0.05), name
    rgb = pictures()[:1, :1].expand(600, 1, 3, 42, 56)
    moved = augment(rgb, dataclasses.replace(OFF, jitter=0.9), range(600))
    changed = (moved - rgb).abs().flatten(1).amax(1) > 1e-6
    assert 0.86 < float(changed.float().mean()) < 0.94
    means = moved.mean((1, 2, 3, 4))[changed] / rgb[0].mean()
    assert 0.45 < float(means.min()) < 0.6
    assert 1.3 < float(means.max()) < 1.55


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


SIZE = (42, 56)
K = torch.tensor([[[50.0, 0, 27.5], [0, 50.0, 20.5], [0, 0, 1]]])


def _field(depth: torch.Tensor, turn: tuple[float, ...], move: tuple[float, ...]) -> torch.Tensor:
    return motion_field(depth[None], K, torch.tensor([turn]), torch.tensor([move]))[0]


def test_flow_of_a_sideways_camera_is_level_and_falls_with_depth() -> None:
    depth = torch.full(SIZE, 2.0)
    depth[:, 28:] = 4.0
    flow = _field(depth, (0, 0, 0), (1, 0, 0))
    assert flow[..., 1].abs().max() < 1e-5
    assert (flow[..., 0] < 0).all()  # the world moves against the camera
    assert flow[5, 5, 0] / flow[5, 50, 0] == pytest.approx(2.0, rel=1e-4)


def test_flow_of_a_camera_that_goes_ahead_leaves_the_principal_point() -> None:
    flow = _field(torch.full(SIZE, 2.0), (0, 0, 0), (0, 0, 1))
    y, x = torch.meshgrid(torch.arange(42) - 20.5, torch.arange(56) - 27.5, indexing="ij")
    outward = torch.stack((x, y), dim=-1)
    along = (flow * outward).sum(-1)
    assert (along > 0).all()
    torch.testing.assert_close(along, flow.norm(dim=-1) * outward.norm(dim=-1))


def test_flow_of_a_turn_does_not_depend_on_depth_and_the_sky_moves_with_turns_only() -> None:
    near, far = torch.full(SIZE, 1.0), torch.rand(SIZE) * 5 + 1
    turn = (0.1, -0.2, 0.3)
    torch.testing.assert_close(_field(near, turn, (0, 0, 0)), _field(far, turn, (0, 0, 0)))
    roll = _field(near, (0, 0, 1), (0, 0, 0))
    assert roll[20, 50, 1] < 0 < roll[20, 5, 1]  # a clockwise camera: the world goes round against
    half = torch.full(SIZE, 2.0)
    half[:20] = 0.0
    flow = _field(half, (0, 0, 0), (1, 0, 0))
    assert flow[:20].norm(dim=-1).max() < 1e-3 * flow[20:].norm(dim=-1).min()


def test_flow_is_that_of_points_carried_along_by_a_small_motion() -> None:
    """Against two projections, half a motion before and half a motion after."""
    generator = torch.Generator().manual_seed(3)
    depth = torch.rand(SIZE, generator=generator, dtype=torch.float64) * 3 + 1
    turn, move = torch.tensor([[0.3, -0.5, 0.2]]), torch.tensor([[0.4, 0.1, -0.6]])
    y, x = torch.meshgrid(torch.arange(42.0), torch.arange(56.0), indexing="ij")
    rays = torch.stack(((x - 27.5) / 50, (y - 20.5) / 50, torch.ones(SIZE)), dim=-1).double()
    points = rays * depth[..., None]
    cross = torch.linalg.cross(turn[0].double().expand_as(points), points)
    step, median = 1e-5, depth.median()
    moved = points - step * (cross + move[0].double() * median)
    pixels = moved[..., :2] / moved[..., 2:] * 50 + torch.tensor([27.5, 20.5])
    expected = (pixels - torch.stack((x, y), dim=-1)) / step
    flow = motion_field(depth[None].float(), K, turn, move)[0].double()
    scale = (flow * expected).sum() / flow.square().sum()
    assert (flow * scale - expected).abs().max() < 0.02 * expected.abs().max()


def _lines(upright: bool) -> torch.Tensor:
    """One picture of lines of one pixel, every seven."""
    rgb = torch.zeros(1, 3, *SIZE)
    if upright:
        rgb[..., ::7] = 1.0
    else:
        rgb[:, :, ::7] = 1.0
    return rgb


def _still(**changes: torch.Tensor) -> Warp:
    none = torch.zeros(1)
    return dataclasses.replace(
        Warp(torch.zeros(1, *SIZE, 2), none, none, none, torch.zeros(1, 2)), **changes
    )


def test_blur_smears_along_the_flow_and_keeps_the_light() -> None:
    flow = torch.zeros(1, *SIZE, 2)
    flow[..., 0] = 1.0  # to the right
    warp = _still(flow_PHW2=flow, blur_P=torch.tensor([0.1]))
    across, along = warped(_lines(True), warp), warped(_lines(False), warp)
    torch.testing.assert_close(along, _lines(False), atol=1e-5, rtol=0)
    assert across[..., 7:49].std() < 0.4 * _lines(True).std()
    assert across[..., 7:49].mean() == pytest.approx(
        float(_lines(True)[..., 7:49].mean()), rel=0.05
    )


def test_rolling_shutter_shears_and_the_middle_row_stays() -> None:
    flow = torch.zeros(1, *SIZE, 2)
    flow[..., 0] = 1.0
    rgb = torch.zeros(1, 3, *SIZE)
    rgb[..., 28:] = 1.0  # an upright edge
    sheared = warped(rgb, _still(flow_PHW2=flow, rolling_P=torch.tensor([0.1])))
    edge = (sheared[0, 0] < 0.5).sum(dim=1)
    assert edge[0] - edge[-1] == pytest.approx(0.1 * 56 * 41 / 42, abs=1.01)
    assert abs(int(edge[20]) - 28) <= 1


def test_a_bent_lens_moves_corners_and_colours_part_there() -> None:
    x = torch.meshgrid(torch.linspace(0, 1, 42), torch.linspace(0, 1, 56), indexing="ij")[1]
    rgb = torch.stack((x, x, x))[None]
    bent = warped(rgb, _still(bend_P=torch.tensor([-0.02])))
    assert (bent - rgb)[0, 0, 21, 26:30].abs().max() < 1e-3
    shift = float((bent - rgb)[0, 0, 1, 3] * 55)  # pixels
    assert 0.3 < shift < 0.02 * 56 + 0.1
    fringed = warped(rgb, _still(fringe_P2=torch.tensor([[0.01, -0.01]])))
    torch.testing.assert_close(fringed[0, 1], rgb[0, 1], atol=1e-5, rtol=0)
    assert (fringed[0, 0] - fringed[0, 2])[:, 50].mean() > 0.005
    assert (fringed[0, 0] - fringed[0, 2])[20, 26:30].abs().max() < 1e-3


def test_near_things_blur_more_than_far_ones() -> None:
    rgb = _lines(True)[:, None].repeat(1, 40, 1, 1, 1) * 0.8 + 0.1
    depth = torch.full((1, 40, *SIZE), 1.0)
    depth[:, :, :21] = 30.0
    taken = augment(
        rgb, dataclasses.replace(OFF, motion=1.0), [0], depth,
        K[None].expand(1, 40, 3, 3),
    )  # fmt: skip
    far, near = (
        taken[:, :, :, part].std((-1, -2)).mean() for part in (slice(1, 18), slice(24, 41))
    )
    assert near < 0.93 * far


def test_noise_grows_with_the_light_and_darkness_costs_light() -> None:
    levels = torch.tensor([0.05, 0.5, 0.9])
    rgb = levels[None, None, None, None].expand(1, 30, 3, 60, 3).contiguous()
    noisy = _augmented(rgb, noise=0.05)
    linear = noisy.clamp(min=1e-4).pow(2.2)
    dark, _, bright = linear.std((1, 2, 3))[0]
    assert bright > 2 * dark  # shot noise
    assert (noisy - rgb).std() < 0.05
    dim = _augmented(pictures(), dark=1.0)
    ratio = (dim / pictures()).mean()
    assert 0.15 < ratio < 0.8
