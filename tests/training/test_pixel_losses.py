# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Losses of single pixels: log depth after one scale, confidence, pixels that show nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from g2vlm_training.config import GeometryWeights, TrainConfig
from g2vlm_training.datasets.batch import WindowBatch, draw_batch, local_points
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.stages.freeze import apply_freezing
from g2vlm_training.stages.geometry_stage import GeometryStage
from g2vlm_training.stages.losses import LossOptions
from g2vlm_training.stages.pixel_losses import (
    aligned_log_error,
    confidence_loss,
    gradient_loss,
    invalid_loss,
    log_depth_loss,
)
from torch import Tensor

from tests.training.tiny import tiny_model

SHAPE = (2, 3, 6, 8)


@pytest.fixture(scope="module")
def batch(pool: ClipPool) -> WindowBatch:
    return draw_batch(pool, 2, 3, torch.Generator().manual_seed(0), None)


def depths(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A prediction, a truth, and which of its pixels are known."""
    generator = torch.Generator().manual_seed(seed)
    truth = 0.5 + 4 * torch.rand(SHAPE, generator=generator)
    noise = (0.2 * torch.randn(SHAPE, generator=generator)).exp()
    known = torch.rand(SHAPE, generator=generator) < 0.8
    return truth * noise, torch.where(known, truth, 0.0), known


def test_the_error_knows_no_scale_and_no_unknown_pixel() -> None:
    z, truth, known = depths(0)
    error = aligned_log_error(z, truth, known)
    other = aligned_log_error(3.7 * z, truth / 9, known)
    torch.testing.assert_close(error, other, atol=1e-5, rtol=0)
    assert float(error[~known].abs().max()) == 0
    for mine, valid in zip(error, known, strict=True):
        assert abs(float(mine[valid].median())) < 1e-6
    nothing = aligned_log_error(z, torch.zeros_like(z), torch.zeros_like(known))
    assert float(log_depth_loss(nothing, torch.zeros_like(known))) == 0


def test_the_loss_is_the_least_over_all_scales_and_its_gradient_keeps_the_scale() -> None:
    z, truth, known = (part[:1] for part in depths(1))
    z = z.clone().requires_grad_()
    loss = log_depth_loss(aligned_log_error(z, truth, known), known)
    least = float(loss.detach())
    for shift in torch.linspace(-0.3, 0.3, 13):
        off = (z.detach().log() - torch.where(known, truth, 1.0).log())[known] + shift
        assert least <= float(off.abs().mean()) + 1e-6
    (slope,) = torch.autograd.grad(loss, z)
    along_the_scale = float((slope * z).sum())  # d loss / d log s of z -> s z
    assert abs(along_the_scale) <= 1.5 / int(known.sum())


def test_the_best_confidence_is_the_expected_score_and_orders_errors() -> None:
    """Pixels of three kinds, each with its spread of errors: the logits learn their mean score."""
    generator = torch.Generator().manual_seed(2)
    spreads = torch.tensor([0.02, 0.1, 0.4])
    error = spreads[:, None] * torch.randn(3, 4000, generator=generator)
    error_BNHW = error.view(1, 3, 40, 100)
    known = torch.ones_like(error_BNHW, dtype=torch.bool)
    logits = torch.zeros(3, requires_grad=True)
    optimiser = torch.optim.Adam([logits], lr=0.2)
    for _ in range(120):
        said = logits.view(1, 3, 1, 1).expand_as(error_BNHW)
        loss = confidence_loss(said, error_BNHW, known, ~known, 0.1)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    expected = (-error.abs() / 0.1).exp().mean(1)
    torch.testing.assert_close(logits.detach().sigmoid(), expected, atol=2e-3, rtol=0)
    assert expected[0] > expected[1] > expected[2]


def test_where_nothing_is_confidence_is_to_be_none_and_unknown_pixels_do_not_count() -> None:
    error = torch.zeros(1, 1, 1, 3)
    valid = torch.tensor([[[[True, False, False]]]])
    invalid = torch.tensor([[[[False, True, False]]]])
    sure = torch.tensor([[[[9.0, -9.0, 77.0]]]])  # the third is unknown: it may say anything
    assert float(confidence_loss(sure, error, valid, invalid, 0.1)) < 1e-3
    assert float(confidence_loss(-sure, error, valid, invalid, 0.1)) > 8
    assert float(invalid_loss(-sure, valid, invalid)) < 1e-3
    assert float(invalid_loss(sure, valid, invalid)) > 8


def walls(yaw_deg: float) -> Tensor:
    """(1, 1, 12, 16, 3) points of a wall 2 m ahead that is turned about the vertical."""
    K = torch.tensor([[[[14.0, 0, 7.5], [0, 14.0, 5.5], [0, 0, 1]]]])
    rays = local_points(torch.ones(1, 1, 12, 16), K)
    slope = torch.tan(torch.deg2rad(torch.tensor(yaw_deg)))
    return rays * (2 / (1 + slope * rays[..., 0]))[..., None]


def test_the_gradient_loss_knows_no_scale_and_counts_no_edge_and_no_unknown_pixel() -> None:
    truth, known = walls(20)[..., 2].clone(), torch.ones(1, 1, 12, 16, dtype=torch.bool)
    truth[..., 8:] *= 1.5  # two walls, one behind the other
    assert float(gradient_loss(7 * truth, truth, known)) < 1e-9
    moved = truth.clone()
    moved[..., 8:] *= 1.1  # a step of the misfit, where the truth has one too
    assert float(gradient_loss(moved, truth, known)) < 1e-9
    moved[..., :5] *= 1.1  # and one in the middle of a wall
    assert float(gradient_loss(moved, truth, known)) > 1e-3
    known[..., :5] = False
    assert float(gradient_loss(moved, truth, known)) < 1e-9
    assert float(gradient_loss(moved, truth, torch.zeros_like(known))) == 0


def test_a_misfit_costs_least_where_it_is_spread() -> None:
    """The same error of depth from one end of a wall to the other: a slope, steps, one step."""
    truth = walls(0)[..., 2]
    known = torch.ones_like(truth, dtype=torch.bool)
    column = torch.arange(16.0)

    def cost(rise: Tensor) -> float:
        return float(gradient_loss(truth * torch.exp(0.2 * rise), truth, known))

    slope, steps, step = column / 15, (column // 4) / 3, (column // 8)
    assert 0 < 1.3 * cost(slope) < cost(steps) < cost(step) / 1.3


def stage_with_heads(**options: float) -> GeometryStage:
    model = tiny_model(confidence_head=True, invalid_head=True)
    apply_freezing(model, "geometry")
    extra = GeometryWeights(correspondence=0.0, correspondence_later=0.0, pixel_stride=1)
    return GeometryStage(model, TrainConfig(extra=extra, loss=LossOptions(**options)))  # type: ignore[arg-type]


def test_the_heads_learn_and_change_no_geometry(batch: WindowBatch) -> None:
    stage = stage_with_heads()
    report = stage(batch, 1).report
    assert {"confidence", "invalid", "log_depth"} <= report.keys()
    only = {"point_weight": 0.0, "camera_weight": 0.0, "normal_weight": 0.0}
    alone = stage_with_heads(**only)
    alone(batch, 1).total.backward()
    moved = {
        name
        for name, parameter in alone.model.named_parameters()
        if parameter.grad is not None and float(parameter.grad.abs().max()) > 0
    }
    assert moved
    assert all(name.startswith(("heads.confidence_", "heads.invalid_")) for name in moved), moved


@pytest.mark.parametrize(("option", "name"), [("log_depth", "log_depth"), ("gradient", "slope")])
def test_losses_of_pixels_teach_the_geometry(option: str, name: str, batch: WindowBatch) -> None:
    only = {"point_weight": 0.0, "camera_weight": 0.0, "normal_weight": 0.0}
    stage = stage_with_heads(**only, **{f"{option}_weight": 1.0})
    parts = stage(batch, 1)
    assert parts.report[name] > 0
    parts.total.backward()
    grad = stage.model.heads.point_head.weight.grad
    assert grad is not None
    assert float(grad.abs().max()) > 0


def test_a_single_frame_is_a_window(batch: WindowBatch) -> None:
    first: dict[str, Any] = {
        name: value[:, :1]
        for name, value in vars(batch).items()
        if isinstance(value, torch.Tensor) and value.ndim > 1
    }
    alone = dataclasses.replace(batch, **first)
    loss = stage_with_heads(log_depth_weight=1.0)(alone, 1)
    loss.total.backward()
    assert torch.isfinite(loss.total)
    assert loss.report["rotation"] == 0


@pytest.mark.parametrize("name", ["log_depth_weight", "gradient_weight", "confidence_scale"])
def test_weights_below_zero_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} is -1\.0"):
        LossOptions(**{name: -1.0})  # type: ignore[arg-type]
