# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map knows around a scene, in the scene's axes and units: a robot in a known hall."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.options import QuestionOptions
from g2vlm_map.answers.readers import read_geometry
from g2vlm_map.answers.reading import Reading, sighting_of
from g2vlm_map.around import Around, T_scene_map
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.options import PipelineOptions
from g2vlm_map.poses import inverse, metric
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.world import World
from g2vlm_model.interface import PixelMark
from tests.map.placed import Floats, K, floor_depth, mounted, placed, pose
from tests.map.test_measure import make_scene

UNIT = 0.5  # metres in one map unit
SCENE = 4.0  # map units in one scene unit
HEIGHT, TILT = 0.8, 0.7
T_BASE_CAM = mounted((0.0, 0.0, HEIGHT), TILT)
METRIC = ScaleEstimate(True, math.log(UNIT), 0.05, sources=("odometry",))
OPTIONS = PipelineOptions(
    dense=DenseOptions(sweep=False), query=QuestionOptions(way_length=1.5, reach=2.5)
)
T_MAP = pose((0.3, -0.2, 0.5), (1.0, -2.0, 0.5))  # how the map's axes lie to the level ones


def world(box: bool = False) -> World:
    """Four keyframes 20 cm apart over a floor; with a box 1 m ahead of the last base."""
    ours = []
    for number in range(1, 5):
        x = 0.2 * (number - 1)
        depth = floor_depth(HEIGHT, TILT).astype(np.float64)
        if box:
            depth = np.where(depth > 0, np.minimum(depth, _front(1.6 - x)), _front(1.6 - x))
        T_level_cam: Floats = pose(shift=(x, 0.0, 0.0)) @ T_BASE_CAM
        T_level_cam[:3, 3] /= UNIT
        T_map_cam = T_MAP @ T_level_cam
        depth_HW = np.where(np.isfinite(depth), depth / UNIT, 0.0).astype(np.float16)
        ours.append(placed(number, T_map_cam, depth_HW=depth_HW))
    return World(
        segment=1, keyframes=tuple(ours), scale=METRIC, T_level_map=inverse(T_MAP),
        up_source="base", T_base_body=T_BASE_CAM,
    )  # fmt: skip


def _front(away: float) -> Floats:
    """Depth of an upright face of 0.6 m height, `away` m ahead of the base; infinite beside it."""
    v, u = np.mgrid[0:48, 0:64]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u, float)], -1)
    ahead = rays @ T_BASE_CAM[0, :3]
    with np.errstate(divide="ignore"):
        z = away / ahead
    points = rays * z[..., None] @ T_BASE_CAM[:3, :3].T + T_BASE_CAM[:3, 3]
    on_it = (ahead > 0) & (points[..., 2] > 0) & (points[..., 2] < 0.6)
    return np.where(on_it, z, np.inf)


def record(of: World) -> SceneRecord:
    """The newest keyframe as a scene of one frame, in units of its own."""
    depth = floor_depth(HEIGHT, TILT).astype(np.float64) / UNIT / SCENE
    T_world_cam = pose((0.1, 0.0, -0.3), (0.2, 0.1, 0.3))  # the scene's axes are nobody's
    geometry, window = make_scene(depth[None], T_world_cam[None], (48, 64))
    v, u = np.mgrid[0:48, 0:64]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u, float)], -1)
    local = (rays * depth[..., None]).astype(np.float32)
    points = (local @ T_world_cam[:3, :3].T + T_world_cam[:3, 3]).astype(np.float32)
    geometry = replace(
        geometry,
        local_points=local[None],
        world_points=points[None],
        valid=(depth > 0)[None],
    )
    scene = cast(Any, SimpleNamespace(geometry=geometry, window=window))
    newest = of.keyframes[-1]
    return SceneRecord(scene, 0, SCENE, 1, (0,), newest.T_map_body, None, newest)


def ask(question: str, of: World, marks: tuple[PixelMark, ...] = ()) -> Reading:
    made, intent = record(of), understand(question, [mark.label for mark in marks])
    around = Around(lambda: OPTIONS).of(made, of, intent)
    return read_geometry(intent, question, sighting_of(made.geometry, made.window, marks, around))


METRES = UNIT * SCENE  # in one scene unit


def test_up_floor_and_base_are_those_of_the_map() -> None:
    of = world()
    made = record(of)
    around = Around(lambda: OPTIONS).of(made, of, understand("How high is A?", ["A"]))
    T = T_scene_map(made)
    assert T is not None
    level = of.T_level_map @ inverse(T_MAP)  # both say where level z points
    assert level is not None
    assert around.up_3 is not None
    R_scene_level = T[:3, :3] * SCENE @ T_MAP[:3, :3]
    np.testing.assert_allclose(around.up_3, R_scene_level[:, 2], atol=1e-9)
    assert around.T_world_base is not None
    np.testing.assert_allclose(around.T_world_base[:3, 2], around.up_3, atol=1e-9)
    camera = made.geometry.T_world_cam[0, :3, 3]
    drop = float((camera - around.T_world_base[:3, 3]) @ around.up_3)
    assert drop == pytest.approx(HEIGHT / METRES, rel=1e-6)
    assert around.floor is not None
    height = float(camera @ around.up_3) - around.floor.height
    assert height * METRES == pytest.approx(HEIGHT, abs=0.02)
    camera_height = ask("How high above the floor is the camera?", of)
    assert camera_height.value is not None
    assert camera_height.value * METRES == pytest.approx(HEIGHT, abs=0.02)


def test_without_up_extrinsics_or_scale_it_says_what_is_missing() -> None:
    of = world()
    assert (
        "the floor is not known"
        in ask("How high above the floor is the camera?", replace(of, up_source="")).lack
    )
    assert "frames.base" in ask("Is the way ahead free?", replace(of, T_base_body=None)).lack
    unscaled = replace(of, scale=ScaleEstimate())
    assert "nothing fixes the scale" in ask("Is the way ahead free?", unscaled).lack
    mark = (PixelMark(0, 31, 40, "A"),)
    assert "nothing fixes the scale" in ask("Can you reach A?", unscaled, mark).lack


def test_the_way_is_that_of_the_obstacles() -> None:
    """The floor before the wheels was seen by the keyframes before; the box ends the way."""
    blocked = ask("Is the way ahead free?", world(box=True))
    assert blocked.choice == "no", blocked.lack
    assert blocked.note.startswith("something stands")
    ((name, point),) = blocked.evidence
    assert name == "obstacle"
    made = record(world())
    T = T_scene_map(made)
    assert T is not None
    level = metric(inverse(T_MAP), 1.0) @ np.append(np.linalg.solve(T, [*point, 1.0])[:3], 1.0)
    assert level[0] * UNIT == pytest.approx(1.6, abs=0.08), "metres ahead of the first base"
    behind = ask("Can I drive back?", world())
    assert "nothing was seen" in behind.lack, "unknown is said, never free"


def test_reach_is_that_of_the_robots_own_arm() -> None:
    mark = (PixelMark(0, 31, 40, "A"),)
    assert ask("Can you reach A?", world(), mark).choice == "yes"
