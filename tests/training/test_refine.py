# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Refined poses: exact where the matches are, the head's where there is nothing to match."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.evaluate.align import AlignOptions
from g2vlm_training.evaluate.refine import PairSource, RefineOptions, refine_poses
from numpy.typing import NDArray
from PIL import Image

from g2vlm_map.mapping.features import Features, find_features, match
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.mapping.two_view import two_view

Floats = NDArray[np.float64]
SIZE = (240, 320)
K = np.array([[280.0, 0, 159.5], [0, 280.0, 119.5], [0, 0, 1]])
POINTS = 300


def turned(yaw_deg: float, pitch_deg: float, centre: tuple[float, float, float]) -> Floats:
    yaw, pitch = math.radians(yaw_deg), math.radians(pitch_deg)
    T = np.eye(4)
    about_y = np.array(
        [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    )
    about_x = np.array(
        [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    )
    T[:3, :3] = about_y @ about_x
    T[:3, 3] = centre
    return T


class World:
    """Points on a wavy surface ahead of cameras, seen with noise, and the depth maps of it."""

    def __init__(
        self, poses: list[Floats], noise_px: float = 0.0, outliers: float = 0.0, seed: int = 3
    ) -> None:
        rng = np.random.default_rng(seed)
        self.poses = np.stack(poses)
        points = rng.uniform((-2.0, -1.5, 2.0), (2.0, 1.5, 6.0), (POINTS, 3))
        descriptors = rng.integers(0, 256, (POINTS, 64), np.uint8)
        self.features: list[Features] = []
        self.depth = np.zeros((len(poses), *SIZE))
        for index, pose in enumerate(self.poses):
            local = (points - pose[:3, 3]) @ pose[:3, :3]
            pixel = (local @ K.T)[:, :2] / local[:, 2:]
            pixel += rng.normal(scale=noise_px, size=pixel.shape) if noise_px else 0.0
            wrong = rng.random(POINTS) < (outliers if index else 0.0)
            pixel[wrong] = rng.uniform((0, 0), (319, 239), (int(wrong.sum()), 2))
            inside = ((pixel >= 0) & (pixel <= (319, 239))).all(axis=1) & (local[:, 2] > 0.1)
            column, row = np.round(pixel[inside]).astype(int).T
            self.depth[index, row, column] = local[inside, 2]
            self.features.append(
                Features(pixel[inside].astype(np.float32), descriptors[inside], 1.0, SIZE)
            )

    @property
    def K_N33(self) -> Floats:
        return np.array([K] * len(self.poses))


def errors_deg(found: Floats, truth: Floats) -> tuple[float, float]:
    """Largest rotation error and largest direction error over all pairs."""
    rotation, direction = [0.0], [0.0]
    for i in range(len(truth)):
        for j in range(i + 1, len(truth)):
            mine, theirs = (np.linalg.inv(T[i]) @ T[j] for T in (found, truth))
            residual = mine[:3, :3].T @ theirs[:3, :3]
            rotation.append(np.linalg.norm(residual - np.eye(3)) / math.sqrt(2))
            a, b = mine[:3, 3], theirs[:3, 3]
            direction.append(math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b)))
    return math.degrees(max(rotation)), math.degrees(max(direction))


MOVING = [turned(0, 0, (0, 0, 0)), turned(6, 2, (0.3, 0.0, 0.1)), turned(-4, 5, (0.5, 0.2, -0.1))]
STILL_HEAD = np.stack([np.eye(4)] * 3)


def test_exact_matches_and_depth_give_the_exact_poses() -> None:
    world = World(MOVING)
    refined = refine_poses(world.features, world.K_N33, STILL_HEAD, world.depth)
    rotation, direction = errors_deg(refined.T_world_cam_N44, world.poses)
    assert rotation < 0.02
    assert direction < 0.1
    expected = np.linalg.inv(world.poses[0]) @ world.poses
    np.testing.assert_allclose(refined.T_world_cam_N44, expected, atol=2e-3)
    assert {pair.source for pair in refined.pairs} == {PairSource.MATCHES}
    assert refined.held_by_head == ()


def test_noise_outliers_and_wrong_depth_are_survived() -> None:
    world = World(MOVING, noise_px=0.5, outliers=0.3)
    rng = np.random.default_rng(0)
    depth = world.depth * np.exp(rng.normal(scale=0.2, size=world.depth.shape))
    refined = refine_poses(world.features, world.K_N33, STILL_HEAD, depth)
    rotation, direction = errors_deg(refined.T_world_cam_N44, world.poses)
    assert rotation < 0.5
    assert direction < 4.0
    length = np.linalg.norm(refined.T_world_cam_N44[1, :3, 3])
    assert length == pytest.approx(np.linalg.norm(MOVING[1][:3, 3]), rel=0.15)


def test_wrong_depth_does_not_shorten_translations() -> None:
    """Noise of the depth must not act as noise of a regressor (attenuation)."""
    world = World([turned(0, 0, (0, 0, 0)), turned(3, -2, (0.45, 0.05, 0))], noise_px=0.2)
    head = np.stack([np.eye(4)] * 2)
    lengths = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        depth = world.depth * np.exp(rng.normal(scale=0.3, size=world.depth.shape))
        refined = refine_poses(world.features, world.K_N33, head, depth)
        lengths.append(np.linalg.norm(refined.T_world_cam_N44[1, :3, 3]))
        assert errors_deg(refined.T_world_cam_N44, world.poses)[0] < 0.25
    assert np.mean(lengths) == pytest.approx(math.hypot(0.45, 0.05), rel=0.04)


def test_lengths_are_those_of_the_depth() -> None:
    world = World(MOVING)
    once, twice = (
        refine_poses(world.features, world.K_N33, STILL_HEAD, factor * world.depth)
        for factor in (1.0, 2.0)
    )
    np.testing.assert_allclose(
        twice.T_world_cam_N44[1:, :3, 3], 2 * once.T_world_cam_N44[1:, :3, 3], rtol=1e-2, atol=1e-3
    )


def test_pure_rotation_moves_nowhere() -> None:
    world = World([turned(0, 0, (0, 0, 0)), turned(7, -3, (0, 0, 0))], noise_px=0.2)
    head = np.stack([np.eye(4), turned(0, 0, (0.4, 0, 0))])
    refined = refine_poses(world.features, world.K_N33, head, world.depth)
    assert refined.pairs[0].source is PairSource.ROTATION
    assert errors_deg(refined.T_world_cam_N44, world.poses)[0] < 0.1
    assert np.linalg.norm(refined.T_world_cam_N44[1, :3, 3]) < 0.02


def test_nothing_to_match_leaves_the_head() -> None:
    blank = [np.full((120, 160, 3), 127, np.uint8)] * 2
    head = np.stack([turned(3, 0, (1, 2, 3)), turned(9, 1, (1.2, 2, 3))])
    K_small = np.array([[140.0, 0, 79.5], [0, 140.0, 59.5], [0, 0, 1]])
    refined = refine_poses(blank, np.stack([K_small] * 2), head, np.ones((2, 84, 112)))
    np.testing.assert_array_equal(refined.T_world_cam_N44, head)
    assert [pair.source for pair in refined.pairs] == [PairSource.HEAD]
    assert refined.held_by_head == (1,)
    assert "1 by head" in refined.summary


def test_too_few_inliers_leave_the_head() -> None:
    world = World(MOVING[:2])
    few = [
        replace(item, pixel_F2=item.pixel_F2[:60], descriptor_FE=item.descriptor_FE[:60])
        for item in world.features
    ]
    head = np.stack([np.eye(4), turned(20, 0, (0, 0, 1))])
    options = RefineOptions(min_inliers=80)
    refined = refine_poses(few, world.K_N33[:2], head, world.depth, options)
    assert 8 <= refined.pairs[0].inliers < 80
    np.testing.assert_array_equal(refined.T_world_cam_N44, head)


def test_groups_without_a_link_keep_the_heads_place() -> None:
    near, far = World(MOVING[:2]), World([turned(0, 0, (0, 0, 0)), turned(5, 0, (0, 0.3, 0))])
    strange = [
        replace(item, descriptor_FE=np.roll(item.descriptor_FE, 1, axis=1)) for item in far.features
    ]
    head = np.stack([turned(0, 0, (4.0 * k, 0, 0)) for k in range(4)])
    refined = refine_poses(
        [*near.features, *strange], np.stack([K] * 4), head, np.concatenate((near.depth, far.depth))
    )
    assert refined.held_by_head == (2,)
    np.testing.assert_array_equal(refined.T_world_cam_N44[2], head[2])
    assert errors_deg(refined.T_world_cam_N44[2:], far.poses)[0] < 0.02
    assert errors_deg(refined.T_world_cam_N44[:2], near.poses)[0] < 0.02


def test_unknown_depth_keeps_direction_and_the_heads_length() -> None:
    world = World(MOVING[:2])
    head = np.stack([np.eye(4), turned(0, 0, (0.0, 0.0, 2.0))])
    nothing = np.full_like(world.depth, np.nan)
    refined = refine_poses(world.features, world.K_N33, head, nothing)
    assert errors_deg(refined.T_world_cam_N44, world.poses)[1] < 0.1
    assert np.linalg.norm(refined.T_world_cam_N44[1, :3, 3]) == pytest.approx(2.0)


def test_one_frame_comes_back_as_it_was() -> None:
    world = World(MOVING[:1])
    refined = refine_poses(world.features, world.K_N33, STILL_HEAD[:1], world.depth)
    np.testing.assert_array_equal(refined.T_world_cam_N44, STILL_HEAD[:1])
    assert refined.pairs == ()


def test_pairs_are_bounded() -> None:
    world = World(MOVING)
    options = RefineOptions(max_pairs=2)
    refined = refine_poses(world.features, world.K_N33, STILL_HEAD, world.depth, options)
    assert len(refined.pairs) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"K_N33": np.eye(3)}, r"K is \(3, 3\), expected \(2, 3, 3\)"),
        ({"T_world_cam_N44": np.zeros((3, 4, 4))}, r"expected \(2, 4, 4\)"),
        ({"T_world_cam_N44": np.full((2, 4, 4), np.nan)}, "not finite"),
        ({"depth_NHW": np.ones((1, 4, 4))}, r"depth is \(1, 4, 4\)"),
        ({"K_N33": np.zeros((2, 3, 3))}, "focal length"),
        ({"pictures": [np.zeros((4, 4), np.uint8)] * 2}, "uint8"),
        ({"pictures": []}, "0 pictures"),
    ],
)
def test_bad_shapes_are_refused(change: dict[str, object], words: str) -> None:
    world = World(MOVING[:2])
    given: dict[str, object] = {
        "pictures": world.features,
        "K_N33": world.K_N33,
        "T_world_cam_N44": STILL_HEAD[:2],
        "depth_NHW": world.depth,
    }
    with pytest.raises(ValueError, match=words):
        refine_poses(**(given | change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "make",
    [
        lambda: FeatureOptions(detector="surf"),
        lambda: FeatureOptions(ratio=0.0),
        lambda: FeatureOptions(count=1),
        lambda: FeatureOptions(inlier_px=math.nan),
        lambda: RefineOptions(min_inliers=3),
        lambda: RefineOptions(max_pairs=0),
        lambda: RefineOptions(min_parallax_deg=math.nan),
        lambda: AlignOptions(iterations=-1),
        lambda: AlignOptions(depth_sigma=0.0),
    ],
)
def test_options_out_of_range_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()  # type: ignore[operator]


def test_ambiguous_matches_are_dropped() -> None:
    one = 200 * np.eye(3, dtype=np.uint8)
    twins = np.array([[200, 0, 0], [200, 2, 0], [0, 0, 200]], np.uint8)
    places = np.zeros((3, 2), np.float32)
    i, j = Features(places, one, 1.0, SIZE), Features(places, twins, 1.0, SIZE)
    assert match(i, j, ratio=0.8).tolist() == [[0, 0], [2, 2]]
    assert match(i, replace(j, descriptor_FE=twins[:1], pixel_F2=places[:1]), 0.8).size == 0


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_features_lie_on_the_pixels_of_the_given_picture(detector: str) -> None:
    """A picture and the same one shifted by 8 pixels, enlarged before the search."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (30, 40, 3), np.uint8)
    large = np.asarray(Image.fromarray(coarse).resize((160, 120), Image.Resampling.BICUBIC))
    options = FeatureOptions(detector=detector, min_side=280)
    left, right = find_features(large[:, :-8], options), find_features(large[:, 8:], options)
    pairs = match(left, right, options.ratio)
    shift = left.pixel_F2[pairs[:, 0]] - right.pixel_F2[pairs[:, 1]]
    assert len(pairs) > 20
    np.testing.assert_allclose(np.median(shift, axis=0), (8, 0), atol=0.3)


def test_real_pictures(data_folder: Path) -> None:
    """7-Scenes frames 300 and 312, 9 cm apart: rotation within 1.5 degrees, direction within 12."""
    folder = data_folder / "7scenes_redkitchen"
    names = ("frame-000300", "frame-000312")
    pictures = [np.asarray(Image.open(folder / f"{name}.color.jpg")) for name in names]
    truth = np.stack([np.loadtxt(folder / f"{name}.pose.txt") for name in names])
    K_real = np.loadtxt(folder / "camera-intrinsics.txt")
    options = FeatureOptions()
    features = [find_features(picture, options) for picture in pictures]
    found = two_view(features[0], features[1], K_real, K_real, options)
    assert found is not None
    still = np.stack([np.eye(4)] * 2)
    refined = refine_poses(features, np.stack([K_real] * 2), still, np.full((2, 4, 4), 2.0))
    rotation, direction = errors_deg(refined.T_world_cam_N44, truth)
    assert rotation < 1.5
    assert direction < 12
