# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rotations and their gradient, poses, points, heads."""

from __future__ import annotations

import math

import pytest
import torch

from g2vlm_model.extras.ray_prior import nominal_rays
from g2vlm_model.heads import GeometryHeads
from g2vlm_model.poses import HeadOutputs, assemble_geometry, nearest_rotation

from .tiny import random_pixels, tiny_config, tiny_model


def matrices(kind: str) -> torch.Tensor:
    """(M, 9) float64 raw matrices of one kind."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(64, 3, 3, generator=generator, dtype=torch.float64)
    identity = torch.eye(3, dtype=torch.float64)
    cases = {
        "random": noise,
        "near identity": identity + 1e-3 * noise,
        "reflection": torch.diag(torch.tensor([3.0, 2.0, -1.0], dtype=torch.float64)) + 0.1 * noise,
        "small": 1e-3 * noise,
    }
    return cases[kind].flatten(1)


KINDS = ("random", "near identity", "reflection", "small")


@pytest.mark.parametrize("kind", KINDS)
def test_nearest_rotation_is_the_published_one(kind: str) -> None:
    raw = matrices(kind)
    got = nearest_rotation(raw)
    rows = raw.unflatten(-1, (3, 3))
    rows = rows / rows.norm(dim=-1, keepdim=True)
    u, _, vt = torch.linalg.svd(rows)
    flip = torch.diag_embed(
        torch.stack((torch.ones(64), torch.ones(64), torch.det(u @ vt)), -1).double()
    )
    torch.testing.assert_close(got, u @ flip @ vt, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.det(got), torch.ones(64, dtype=torch.float64))
    # No rotation nearby is nearer to the matrix.
    nudge = torch.linalg.matrix_exp(
        0.05 * torch.tensor([[0.0, -1, 0.5], [1, 0, 0.3], [-0.5, -0.3, 0]], dtype=torch.float64)
    )
    assert ((got - rows).norm(dim=(1, 2)) <= (got @ nudge - rows).norm(dim=(1, 2))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_nearest_rotation(kind: str) -> None:
    raw = matrices(kind)[:6].requires_grad_()
    assert torch.autograd.gradcheck(nearest_rotation, (raw,), eps=1e-7, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_gradient_is_finite_at_equal_singular_values(scale: float) -> None:
    """The identity is where training starts; the SVD's own gradient is NaN there."""
    raw = (scale * torch.eye(3)).flatten().requires_grad_()
    target = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    (nearest_rotation(raw) * target).sum().backward()
    assert raw.grad is not None
    assert bool(torch.isfinite(raw.grad).all())
    # d/d(angle about z) of trace(R^T target) is 2 at the identity: one per skew entry, halved.
    grad = raw.grad.unflatten(0, (3, 3)) * scale
    torch.testing.assert_close(grad - grad.T, torch.tensor([[0.0, -2, 0], [2, 0, 0], [0, 0, 0]]))


def test_gradient_is_finite_at_singular_matrices() -> None:
    raw = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1, 0, 0], [0.0] * 9]).requires_grad_()
    nearest_rotation(raw).sum().backward()
    assert raw.grad is not None
    assert bool(torch.isfinite(raw.grad).all())


def test_poses_and_world_points() -> None:
    local = random_pixels(2, 3, 4, 5, 3)
    rotation = random_pixels(2, 3, 9, seed=2)
    translation = random_pixels(2, 3, 3, seed=3)
    out = assemble_geometry(HeadOutputs(local, rotation, translation))
    T = out.T_world_cam_BN44
    assert torch.equal(T[..., 3, :], torch.tensor([0.0, 0, 0, 1]).expand(2, 3, 4))
    homogeneous = torch.cat((local, torch.ones(2, 3, 4, 5, 1)), -1)
    want = torch.einsum("bnij,bnhwj->bnhwi", T, homogeneous)[..., :3]
    torch.testing.assert_close(out.world_points_BNHW3, want, atol=1e-5, rtol=1e-5)


def test_nominal_rays() -> None:
    rays = nominal_rays(10, 20, 90.0, torch.device("cpu"))
    assert rays.shape == (10, 20, 2)
    torch.testing.assert_close(rays, -rays.flip(0, 1))
    # The picture's edge is at tan(45 deg); its outermost pixel centre half a pixel inside.
    assert float(rays[0, -1, 0]) == pytest.approx(math.tan(math.radians(45)) * 19 / 20)
    assert float(rays[-1, 0, 1]) == pytest.approx(9 / 20)


@pytest.fixture(scope="module")
def heads() -> GeometryHeads:
    return tiny_model().heads


def test_chunks_of_frames_give_the_same(heads: GeometryHeads) -> None:
    hidden = random_pixels(2, 5, 6, 32)
    with torch.inference_mode():
        whole = heads(hidden, (2, 3), with_global=True)
        for chunk in (1, 2, 4, 5, 9):
            parts = heads(hidden, (2, 3), with_global=True, chunk_frames=chunk)
            for name, want in vars(whole).items():
                error = (vars(parts)[name] - want).abs()
                assert error.max() < 1e-4, f"{name} max {error.max():.2e} mean {error.mean():.2e}"


def test_shapes_and_positive_depth(heads: GeometryHeads) -> None:
    with torch.inference_mode():
        out = heads(random_pixels(1, 2, 6, 32), (2, 3))
    assert out.local_points.shape == (1, 2, 28, 42, 3)
    assert out.confidence_logits is not None
    assert out.confidence_logits.shape == (1, 2, 28, 42, 1)
    assert out.global_points is None
    assert bool((out.local_points[..., 2] > 0).all())


def test_ray_prior_moves_x_and_y_by_the_rays() -> None:
    hidden = random_pixels(1, 1, 6, 32)
    with torch.inference_mode():
        plain = tiny_model().heads(hidden, (2, 3)).local_points
        prior = tiny_model(tiny_config(ray_prior_fov_deg=65.0)).heads(hidden, (2, 3)).local_points
    rays = nominal_rays(28, 42, 65.0, torch.device("cpu"))
    torch.testing.assert_close(prior[..., 2], plain[..., 2])
    got = (prior[0, 0, ..., :2] - plain[0, 0, ..., :2]) / plain[0, 0, ..., 2:]
    torch.testing.assert_close(got, rays, atol=1e-3, rtol=1e-3)


def test_point_map_is_in_pixel_order() -> None:
    """A pixel's numbers come from the patch that it lies in."""
    heads = tiny_model(tiny_config(confidence_head=False, invalid_head=False)).heads
    features = random_pixels(1, 6, heads.point_head.in_features)
    grid = (2, 3)
    with torch.inference_mode():
        maps = heads._to_map(heads.point_head, features, grid)
        channels = heads.point_head(features[0])
    for row, column in ((0, 0), (5, 17), (27, 41), (14, 13)):
        patch = row // 14 * 3 + column // 14
        inside = row % 14 * 14 + column % 14
        want = channels[patch].view(3, 196)[:, inside]
        torch.testing.assert_close(maps[0, row, column], want)


def test_picture_must_fit_patches() -> None:
    with pytest.raises(ValueError, match=r"picture is 30 x 42, both sides must be multiples of 14"):
        tiny_model().encode_geometry(torch.zeros(1, 1, 3, 30, 42))


def test_batched_encoder_equals_single_pictures() -> None:
    pixels = random_pixels(2, 3, 3, 28, 42)
    model = tiny_model()
    with torch.inference_mode():
        both = model.encode_geometry(pixels)
        for batch in range(2):
            for frame in range(3):
                one = model.encode_geometry(pixels[batch, frame][None, None])
                error = (both[batch, frame] - one[0, 0]).abs()
                assert error.max() < 1e-5, f"max {error.max():.2e}, mean {error.mean():.2e}"


def test_position_cache_follows_the_weights() -> None:
    """Tables kept from an earlier pass are not used after the weights changed."""
    model = tiny_model()
    pixels = random_pixels(1, 1, 3, 28, 42)
    with torch.no_grad():
        before = model.encode_geometry(pixels)
        model.dino.position_embeddings.mul_(2.0)
        after = model.encode_geometry(pixels)
    with_gradients = model.encode_geometry(pixels)
    assert (before - after).abs().max() > 1e-3
    torch.testing.assert_close(after, with_gradients.detach())


def test_tables_built_in_inference_serve_training() -> None:
    model = tiny_model()
    pixels = random_pixels(1, 2, 3, 28, 42)
    with torch.inference_mode():
        model.geometry_pass(model.encode_geometry(pixels), (2, 3))
    hidden = model.geometry_pass(model.encode_geometry(pixels), (2, 3)).hidden_BNPD
    model.decode_geometry(hidden, (2, 3)).world_points_BNHW3.sum().backward()
