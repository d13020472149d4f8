# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Metrics on cases with known results."""

from __future__ import annotations

import math

import pytest
import torch
from g2vlm_training.evaluate.depth import depth_score, mean_depth, median_scale, seam_steps
from g2vlm_training.evaluate.examine import pose_samples
from g2vlm_training.evaluate.pose import pair_errors
from g2vlm_training.evaluate.summary import METRICS, value_of


def _turned(degrees: float, translation: tuple[float, float, float]) -> torch.Tensor:
    angle = math.radians(degrees)
    T = torch.eye(4)
    T[0, 0] = T[2, 2] = math.cos(angle)
    T[0, 2], T[2, 0] = math.sin(angle), -math.sin(angle)
    T[:3, 3] = torch.tensor(translation)
    return T


def test_depth_score_does_not_see_scale() -> None:
    truth = torch.rand(2, 5, 6) + 1
    valid = torch.ones_like(truth, dtype=torch.bool)
    score = depth_score(truth * 0.3, truth, valid)
    assert score.abs_rel < 1e-6
    assert score.delta_125 == 1.0


def test_depth_score_of_a_known_error() -> None:
    truth = torch.full((1, 1, 5), 2.0)
    predicted = torch.tensor([[[2.0, 2.0, 2.0, 2.2, 3.0]]])
    score = depth_score(predicted, truth, torch.ones_like(truth, dtype=torch.bool))
    assert score.abs_rel == pytest.approx((0.1 + 0.5) / 5, abs=1e-6)
    assert score.delta_125 == pytest.approx(0.8)


def test_seams_are_steps_across_borders_of_patches() -> None:
    """A ramp has none, whatever its slope and scale; planes of one patch each are nothing else."""
    ramp = torch.linspace(0, 1, 28).exp().expand(1, 28, 28)
    known = torch.ones_like(ramp, dtype=torch.bool)
    across, inside = seam_steps(3 * ramp, known, 14) or (0.0, 0.0)
    assert across == pytest.approx(inside, rel=1e-4)
    pieces = ramp[:, :, 7::14].repeat_interleave(14, dim=2)
    across, inside = seam_steps(pieces, known, 14) or (0.0, 0.0)
    assert inside == pytest.approx(0.0, abs=1e-6)
    assert across == pytest.approx(14 / 27 / 2, rel=1e-4)  # half of the borders are crossed level
    known[:, :, 14:] = False
    known[:, 14:] = False
    assert seam_steps(ramp, known, 14) is None


def test_depth_without_valid_pixels_is_an_error() -> None:
    with pytest.raises(ValueError, match="no valid pixel"):
        median_scale(torch.ones(2), torch.ones(2), torch.zeros(2, dtype=torch.bool))


def test_mean_depth_is_of_what_is_known() -> None:
    """Of frames of any scale; sky and empty frames weigh nothing, whatever the size."""
    near_far = torch.tensor([[1.0, 1.0, 4.0], [1.0, 1.0, 4.0]])
    sky = torch.tensor([[0.0, 0.0, 0.0], [3.0, 3.0, 12.0]])
    depths = [torch.zeros(2, 3), near_far, 7 * near_far, sky, torch.zeros(2, 3)]
    torch.testing.assert_close(mean_depth(depths), near_far)
    halved = mean_depth([*depths, sky.repeat_interleave(2, 0).repeat_interleave(2, 1)])
    torch.testing.assert_close(halved, near_far)
    large = mean_depth(depths, (4, 6))
    torch.testing.assert_close(large[:, 0], torch.ones(4))
    torch.testing.assert_close(large[:, -1], torch.full((4,), 4.0))
    torch.testing.assert_close(mean_depth([sky])[0], torch.full((3,), 4.0 ** (1 / 3)))
    with pytest.raises(ValueError, match="known in none of 2 frames"):
        mean_depth([torch.zeros(2, 3)] * 2)


def test_pair_errors_ignore_the_world_frame_and_the_scale() -> None:
    truth = torch.stack([_turned(a, (0.1 * a, 0.2, 0.05 * a)) for a in (0.0, 10.0, 25.0)])
    gauge = _turned(40.0, (1.0, 2.0, 3.0))
    predicted = gauge @ truth
    predicted[:, :3, 3] *= 5.0
    errors = pair_errors(predicted, truth)
    assert float(errors.rotation_K.max()) < 1e-3
    assert float(errors.direction_K.max()) < 0.1
    assert float(errors.baseline_K[0]) == pytest.approx(math.hypot(1.0, 0.5), abs=1e-5)


def test_identity_prediction_has_the_true_turn_and_no_direction() -> None:
    truth = torch.stack([_turned(0, (0, 0, 0)), _turned(12, (0.3, 0, 0))])
    errors = pair_errors(torch.eye(4).expand(2, 4, 4), truth)
    assert float(errors.rotation_K[0]) == pytest.approx(12.0, abs=1e-3)
    assert float(errors.direction_K[0]) == 90.0


def test_the_cited_form_folds_directions_at_90_degrees() -> None:
    """Its code takes the sign of a translation as unknown: the opposite way is right."""
    angle = math.radians(170)
    truth = torch.stack([_turned(0, (0, 0, 0)), _turned(0, (1, 0, 0)), _turned(0, (-1, 0, 0))])
    predicted = truth.clone()
    predicted[1, :3, 3] = torch.tensor([math.cos(angle), math.sin(angle), 0])
    predicted[2, :3, 3] = torch.tensor([1.0, 0, 0])
    errors = pair_errors(predicted, truth)
    torch.testing.assert_close(
        errors.direction_K, torch.tensor([170.0, 180.0, 175.0]).double(), atol=1e-3, rtol=0
    )
    torch.testing.assert_close(
        errors.folded_K, torch.tensor([10.0, 0.0, 5.0]).double(), atol=1e-3, rtol=0
    )
    values = {m.key: value_of(m, pose_samples(errors, 0.05)) for m in METRICS}
    assert (values["rta30"], values["rta15_folded"]) == (0.0, 1.0)
    still = pair_errors(truth, torch.eye(4).expand(3, 4, 4))
    assert still.folded_K.tolist() == [90.0] * 3, "who does not move has no direction"


def test_only_long_baselines_count_for_the_direction() -> None:
    truth = torch.stack([_turned(0, (0, 0, 0)), _turned(2, (0.01, 0, 0)), _turned(4, (1, 0, 0))])
    predicted = torch.stack([_turned(0, (0, 0, 0)), _turned(2, (0, 1, 0)), _turned(4, (1, 0, 0))])
    samples = pose_samples(pair_errors(predicted, truth), min_baseline=0.05)
    assert len(samples["rotation_deg"]) == 3
    assert len(samples["direction_deg"]) == len(samples["worst_deg"]) == 2
    values = {metric.key: value_of(metric, samples) for metric in METRICS}
    assert values["rra5"] == 1.0
    assert values["rta30"] == pytest.approx(0.5)
    assert values["auc30"] == pytest.approx(0.5)
    assert values["rta30_folded"] == pytest.approx(1 / 3), "the cited form counts all pairs"
    assert values["auc30_folded"] == pytest.approx(1 / 3)
    assert pose_samples(pair_errors(predicted[:1], truth[:1]), 0.05) == {}
