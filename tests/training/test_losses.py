# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The losses against the published code's values and gradients, and against their own logic."""

from __future__ import annotations

import json
import math

import pytest
import torch
from g2vlm_training.stages.losses import (
    GeometryTruth,
    HeadOutput,
    LossOptions,
    geometry_loss,
    optimal_scale,
    prepare_truth,
    rotation_angle,
    weighted_median_scale,
)
from safetensors.torch import load_file
from torch import Tensor

from tests.helpers import REPO

GOLDENS = REPO / "tests" / "data" / "goldens" / "loss"
PUBLISHED = LossOptions(safe_angle=False, bf16_norm=True)
LISTED = {"scannet", "tartanair"}  # of the golden cases, those with a normal loss


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return load_file(GOLDENS / "pi3loss.safetensors")


@pytest.fixture(scope="module")
def truth(golden: dict[str, Tensor]) -> GeometryTruth:
    return prepare_truth(
        golden["gt_world_points"],
        golden["gt_point_masks"],
        golden["gt_extrinsics_c2w"],
        bf16_norm=True,
    )


def _close(mine: Tensor, theirs: Tensor, what: str, rtol: float = 1e-4) -> None:
    difference = (mine - theirs).abs()
    scale = float(theirs.abs().max())
    assert difference.max() <= rtol * scale, (
        f"{what}: max difference {difference.max():.3g}, mean {difference.mean():.3g}, "
        f"largest value {scale:.3g}"
    )


def test_truth_is_normalised_as_published(golden: dict[str, Tensor], truth: GeometryTruth) -> None:
    valid = golden["gt_point_masks"]
    _close(truth.local_BNHW3[valid], golden["prepared_gt/local_points"][valid], "local", 1e-5)
    _close(truth.world_BNHW3[valid], golden["prepared_gt/global_points"][valid], "world", 1e-5)
    _close(truth.T_world_cam_BN44, golden["prepared_gt/camera_poses"], "poses", 1e-5)


def test_bf16_norm_is_an_option_that_changes_the_truth(golden: dict[str, Tensor]) -> None:
    inputs = golden["gt_world_points"], golden["gt_point_masks"], golden["gt_extrinsics_c2w"]
    exact, rounded = prepare_truth(*inputs), prepare_truth(*inputs, bf16_norm=True)
    norms = [
        torch.where(t.valid_BNHW, t.world_BNHW3.norm(dim=-1), 0.0).flatten(1).sum(1)
        / t.valid_BNHW.flatten(1).sum(1)
        for t in (exact, rounded)
    ]
    assert torch.allclose(norms[0], torch.ones(2), atol=1e-5)
    assert (norms[1] - 1).abs().max() > 1e-5
    assert (norms[1] - 1).abs().max() < 2**-8


def test_scale_solver_gives_the_published_scales(golden: dict[str, Tensor]) -> None:
    mine = torch.stack(
        [
            weighted_median_scale(x, y, w)
            for x, y, w in zip(golden["roe_src"], golden["roe_tgt"], golden["roe_w"], strict=True)
        ]
    )
    _close(mine, golden["roe_scale"], "scale", 1e-6)


def test_scale_is_the_weighted_l1_optimum() -> None:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 200, 3, generator=generator)
    y = 1.7 * x + 0.3 * y
    w = torch.rand(200, generator=generator)

    def cost(scale: float) -> float:
        return float((w[:, None] * (scale * x - y).abs()).sum())

    best = float(weighted_median_scale(x, y, w))
    assert cost(best) <= min(cost(best * f) for f in (0.98, 0.99, 0.999, 1.001, 1.01, 1.02))


@pytest.mark.parametrize("case", ["normal_ds", "mixed_ds"])
def test_values_and_gradients_match_the_published_code(
    golden: dict[str, Tensor], truth: GeometryTruth, case: str
) -> None:
    datasets = json.loads((GOLDENS / "datasets.json").read_text())[case]
    listed = torch.tensor([name in LISTED for name in datasets])
    names = ("local_points", "camera_poses", "global_points")
    inputs = {name: golden[f"pred_{name}"].clone().requires_grad_() for name in names}
    parts = geometry_loss(HeadOutput(*inputs.values()), truth, PUBLISHED, listed)
    for mine, name in (
        (parts.total, "total"),
        (parts.local, "local_pts_loss"),
        (parts.world, "global_pts_loss"),
        (parts.normal, "normal_loss"),
        (parts.translation, "trans_loss"),
        (parts.rotation, "rot_loss"),
    ):
        _close(mine.detach(), golden[f"{case}/{name}"], name)
    parts.total.backward()
    for name in names:
        grad, theirs = inputs[name].grad, golden[f"{case}/grad_{name}"]
        assert grad is not None
        mine = grad
        if name == "camera_poses":
            # The last row of a pose is constant; the published code multiplies it in all the
            # same and so gives it a gradient that nothing receives.
            mine, theirs = mine[..., :3, :], theirs[..., :3, :]
        _close(mine, theirs, f"gradient of {name}")


def _scene(frames: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """Smooth points in front of cameras that turn and move: world, valid, poses."""
    generator = torch.Generator().manual_seed(3)
    v, u = torch.meshgrid(
        torch.linspace(-0.5, 0.5, 12), torch.linspace(-0.6, 0.6, 16), indexing="ij"
    )
    poses = torch.eye(4).repeat(1, frames, 1, 1)
    worlds = []
    for index in range(frames):
        angle = torch.tensor(0.2 * index)
        c, s = angle.cos(), angle.sin()
        poses[0, index, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        poses[0, index, :3, 3] = torch.randn(3, generator=generator) * 0.3
        z = 2 + 0.4 * u + 0.3 * v
        local = torch.stack((u * z, v * z, z), dim=-1)
        worlds.append(local @ poses[0, index, :3, :3].T + poses[0, index, :3, 3])
    world = torch.stack(worlds)[None]
    return world, torch.ones(world.shape[:-1], dtype=torch.bool), poses


def _gauged(truth: GeometryTruth, scale: float) -> HeadOutput:
    """The truth in another world frame and scale, as a perfect model would predict it."""
    c, s = math.cos(0.7), math.sin(0.7)
    gauge = torch.tensor([[c, -s, 0, 3.0], [s, c, 0, -1.0], [0, 0, 1, 0.5], [0, 0, 0, 1.0]])
    poses = gauge @ truth.T_world_cam_BN44
    poses[..., :3, 3] *= scale
    return HeadOutput(
        (truth.local_BNHW3 * scale).requires_grad_(),
        poses.requires_grad_(),
        (truth.world_BNHW3 * scale).requires_grad_(),
    )


@pytest.mark.parametrize("scale", [1.0, 3.7])
def test_loss_is_zero_at_the_truth_in_any_frame_and_scale(scale: float) -> None:
    truth = prepare_truth(*_scene())
    parts = geometry_loss(_gauged(truth, scale), truth, LossOptions())
    assert float(parts.local) < 1e-5
    assert float(parts.world) < 1e-5
    assert float(parts.translation) < 1e-9
    assert float(parts.rotation) < 1e-3
    assert float(parts.normal) < 1e-3


def test_loss_grows_with_each_error() -> None:
    truth = prepare_truth(*_scene())
    zero = geometry_loss(_gauged(truth, 1.0), truth, LossOptions())
    bent = _gauged(truth, 1.0)
    ramp = torch.linspace(0.8, 1.2, 16)[None, None, None, :, None]
    points = geometry_loss(
        HeadOutput(bent.local_BNHW3 * ramp, bent.T_world_cam_BN44), truth, LossOptions()
    )
    assert float(points.local) > float(zero.local) + 0.02
    moved = bent.T_world_cam_BN44.detach().clone()
    moved[:, 1, :3, 3] += 0.2
    cameras = geometry_loss(HeadOutput(bent.local_BNHW3, moved), truth, LossOptions())
    assert float(cameras.translation) > float(zero.translation) + 1e-3


def test_gradients_stay_finite_at_the_truth() -> None:
    truth = prepare_truth(*_scene())
    output = _gauged(truth, 1.0)
    geometry_loss(output, truth, LossOptions()).total.backward()
    assert output.global_BNHW3 is not None
    for tensor in (output.local_BNHW3, output.T_world_cam_BN44, output.global_BNHW3):
        assert tensor.grad is not None
        assert bool(torch.isfinite(tensor.grad).all())


def test_one_frame_has_no_camera_loss_instead_of_nan() -> None:
    truth = prepare_truth(*_scene(frames=1))
    parts = geometry_loss(_gauged(truth, 1.0), truth, LossOptions())
    assert float(parts.rotation) == 0.0
    assert math.isfinite(float(parts.total))


def test_a_sample_without_valid_pixels_is_no_nan() -> None:
    world, valid, poses = _scene()
    truth = prepare_truth(world, torch.zeros_like(valid), poses)
    parts = geometry_loss(_gauged(truth, 1.0), truth, LossOptions())
    assert math.isfinite(float(parts.total))
    assert (
        float(
            optimal_scale(
                truth.local_BNHW3, truth.local_BNHW3, truth.valid_BNHW.float(), truth.valid_BNHW
            )
        )
        == 1.0
    )


def _without_depth(frames: int = 3) -> tuple[GeometryTruth, HeadOutput]:
    """Two windows of the scene, the second one without depth, and a prediction that is off."""
    world, valid, poses = (part.repeat(2, *[1] * (part.ndim - 1)) for part in _scene(frames))
    valid[1] = False
    truth = prepare_truth(world, valid, poses)
    generator = torch.Generator().manual_seed(0)
    bend = 1 + 0.2 * torch.rand(truth.local_BNHW3.shape, generator=generator)
    moved = poses.clone()
    moved[..., :3, 3] *= 1 + 0.5 * torch.rand(moved[..., :3, 3].shape, generator=generator)
    points = prepare_truth(world, torch.ones_like(valid), poses).local_BNHW3 * bend
    return truth, HeadOutput(points.requires_grad_(), moved.requires_grad_())


def test_a_window_without_depth_costs_nothing_but_its_cameras() -> None:
    truth, said = _without_depth()
    one = HeadOutput(said.local_BNHW3[:1], said.T_world_cam_BN44[:1])
    alone = geometry_loss(one, prepare_truth(*_scene()))
    both = geometry_loss(said, truth)
    assert float(both.local) == pytest.approx(float(alone.local), rel=1e-5)
    assert float(both.total) < LossOptions().clip
    both.total.backward()
    assert said.local_BNHW3.grad is not None
    assert said.T_world_cam_BN44.grad is not None
    assert bool((said.local_BNHW3.grad[1] == 0).all()), "its points are taught nothing"
    assert bool((said.local_BNHW3.grad[0] != 0).any())
    assert bool((said.T_world_cam_BN44.grad[1] != 0).any()), "its cameras are"
    assert bool(torch.isfinite(said.T_world_cam_BN44.grad).all())


@pytest.mark.parametrize("unit", [0.01, 1.0, 300.0])
def test_cameras_without_depth_are_right_in_any_unit_and_wrong_when_they_stand(unit: float) -> None:
    world, valid, poses = _scene()
    true_poses = poses.clone()
    true_poses[..., :3, 3] *= unit
    truth = prepare_truth(world, torch.zeros_like(valid), true_poses)
    right = geometry_loss(HeadOutput(world, poses), truth)
    assert float(right.translation) < 1e-9
    assert float(right.rotation) < 1e-3
    bent = poses.clone()
    bent[0, 1, :3, 3] = -bent[0, 1, :3, 3]
    wrong = geometry_loss(HeadOutput(world, bent), truth)
    assert float(wrong.translation) > 1e-4
    still = torch.eye(4).repeat(1, 3, 1, 1).requires_grad_()
    stands = geometry_loss(HeadOutput(world, still), truth)
    assert 1e-4 < float(stands.translation) < 0.1
    stands.total.backward()
    assert still.grad is not None
    assert bool(torch.isfinite(still.grad).all())
    assert float(still.grad[0, :, :3, 3].abs().max()) > 0.01


def test_cameras_that_stand_still_without_depth_teach_their_turns_alone() -> None:
    world, valid, poses = _scene()
    poses[..., :3, 3] = 0
    truth = prepare_truth(world, torch.zeros_like(valid), poses)
    said = _scene()[2]
    parts = geometry_loss(HeadOutput(world, said), truth)
    assert float(parts.translation) == 0
    turned = said.clone()
    turned[0, 1, :3, :3] = torch.eye(3)
    assert float(geometry_loss(HeadOutput(world, turned), truth).rotation) > 0.05


def test_frames_without_a_pose_teach_their_own_points() -> None:
    """Whatever stands in the place of an unknown pose changes no term."""
    world, valid, poses = _scene()
    local = world - poses[:, :, None, None, :3, 3]
    local = local @ poses[:, :, None, :3, :3]
    posed = torch.tensor([[True, True, False]])
    said = _gauged(prepare_truth(world, valid, poses), 1.0)
    bent = HeadOutput(said.local_BNHW3 * 1.3, said.T_world_cam_BN44, said.global_BNHW3)
    found = []
    for angle in (0.0, 2.0):
        there = poses.clone()
        there[0, 2] = torch.eye(4)
        there[0, 2, :2, :2] = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        there[0, 2, :3, 3] = angle
        placed = local @ there[:, :, None, :3, :3].mT + there[:, :, None, None, :3, 3]
        truth = prepare_truth(placed, valid, there, posed)
        exact = geometry_loss(said, truth)
        assert max(float(exact.local), float(exact.world), float(exact.translation)) < 1e-5
        found.append(geometry_loss(bent, truth))
    for name in ("total", "local", "normal", "world", "translation", "rotation"):
        first, second = (float(getattr(parts, name)) for parts in found)
        assert first == pytest.approx(second, rel=1e-3, abs=1e-6), name


def test_frames_without_any_pose_have_points_and_no_camera() -> None:
    world, valid, poses = _scene()
    local = (world - poses[:, :, None, None, :3, 3]) @ poses[:, :, None, :3, :3]
    nowhere = torch.eye(4).repeat(1, 3, 1, 1)
    truth = prepare_truth(local, valid, nowhere, torch.zeros(1, 3, dtype=torch.bool))
    said = _gauged(prepare_truth(world, valid, poses), 2.0)
    parts = geometry_loss(said, truth)
    assert float(parts.local) < 1e-5
    assert (float(parts.rotation), float(parts.translation), float(parts.world)) == (0, 0, 0)
    ramp = torch.linspace(0.8, 1.2, 16)[None, None, None, :, None]
    bent = HeadOutput(said.local_BNHW3 * ramp, said.T_world_cam_BN44, said.global_BNHW3)
    worse = geometry_loss(bent, truth)
    assert float(worse.local) > 0.02
    worse.total.backward()
    assert said.T_world_cam_BN44.grad is not None
    assert bool((said.T_world_cam_BN44.grad == 0).all())


def test_nan_depth_where_invalid_does_not_reach_the_loss() -> None:
    world, valid, poses = _scene()
    valid = valid.clone()
    valid[0, 0, :3] = False
    world = world.clone()
    world[0, 0, :3] = float("nan")
    truth = prepare_truth(world, valid, poses)
    output = _gauged(truth, 1.0)
    parts = geometry_loss(output, truth, LossOptions())
    parts.total.backward()
    assert math.isfinite(float(parts.total))
    assert output.local_BNHW3.grad is not None
    assert bool(torch.isfinite(output.local_BNHW3.grad).all())


@pytest.mark.parametrize("degrees", [0.01, 1.0, 45.0, 179.0])
def test_rotation_angle(degrees: float) -> None:
    angle = math.radians(degrees)
    c, s = math.cos(angle), math.sin(angle)
    R = torch.tensor([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    assert float(rotation_angle(R)) == pytest.approx(angle, abs=2e-5)
