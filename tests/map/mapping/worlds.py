# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes, edges and worlds out of random numbers, for tests that need no picture."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe, Tracks, View
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World

HW, IMAGE_HW = (12, 16), (48, 64)
K = np.array([[15.0, 0, 7.5], [0, 15.0, 5.5], [0, 0, 1]])


def random_pose(rng: np.random.Generator, reach: float = 1.0) -> np.ndarray:
    T = np.eye(4)
    T[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    T[:3, 3] = rng.normal(0, reach, 3)
    return T


def random_view(rng: np.random.Generator, features: int, camera: str = "camera") -> View:
    return View(
        camera=camera,
        frame_id=f"{camera}_optical",
        stamp_ns=int(rng.integers(1, 10**15)),
        T_body_cam=np.eye(4),
        K=K.copy(),
        image_hw=IMAGE_HW,
        depth_HW=rng.uniform(0.5, 4, HW).astype(np.float16),
        confidence_HW=rng.integers(0, 256, HW, dtype=np.uint8),
        color_HW3=rng.integers(0, 256, (*HW, 3), dtype=np.uint8),
        feature_F2=rng.uniform(0, 48, (features, 2)).astype(np.float32),
        descriptor_FE=rng.integers(0, 256, (features, 128), dtype=np.uint8),
    )


def random_placed(
    rng: np.random.Generator, number: int, segment: int = 1, features: int = 20
) -> PlacedKeyframe:
    words = rng.normal(size=32)
    places = {"words": (words / np.linalg.norm(words)).astype(np.float16)}
    if number % 2:
        places["tokens"] = np.ones(4, np.float16) / 2
    views = (random_view(rng, features + number), random_view(rng, 0, "rear"))
    keyframe = Keyframe(number, views[0].stamp_ns, f"key-{number}", views, places)
    covariance = np.diag(rng.uniform(0.1, 1, 6))
    scale, centre = rng.normal(size=2).tolist()
    return PlacedKeyframe(keyframe, random_pose(rng), scale, covariance, segment, centre)


def random_edge(rng: np.random.Generator, i: int, j: int, kind: str = "visual") -> Edge:
    count = int(rng.integers(0, 30))
    tracks = Tracks(
        rng.integers(0, 500, (count, 2), dtype=np.uint16),
        rng.normal(size=(count, 2)).astype(np.float32),
        rng.random(count).astype(np.float32),
        (0.3, np.nan),
        (0.1, np.inf),
    )
    sigmas = (0.01, 0.02, np.inf)
    if kind != "visual":
        return Edge(i, j, kind, random_pose(rng), *sigmas, sigma_still=0.3)
    return Edge(i, j, kind, random_pose(rng), *sigmas, 44, 1.5, tracks=tracks)


def random_world(seed: int, keyframes: int = 5) -> World:
    rng = np.random.default_rng(seed)
    placed = tuple(random_placed(rng, 3 * k + 2, 1 + k // 3) for k in range(keyframes))
    numbers = [one.keyframe.number for one in placed]
    edges = tuple(
        random_edge(rng, i, j, kind)
        for i, j, kind in zip(
            numbers[:-1], numbers[1:], ("visual", "loop", "odometry", "merged"), strict=False
        )
    )
    scale = ScaleEstimate(
        metric=True, log_scale=0.3, sigma=0.05, sources=("odometry", "range"), version=3, reason=""
    )
    return World(7, 2, placed, scale, random_pose(rng), "floor", 4, edges, random_pose(rng))
