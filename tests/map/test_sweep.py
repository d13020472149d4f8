# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth by neighbours' pictures: right where they show something, else the model's.

The worlds are painted: a point's shade is a smooth function of its place, so all views agree.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.metric import MetricView, metric_views
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.dense.sweep import sweep_partners, swept_depth
from g2vlm_map.world import World
from tests.map.box_world import Drive, K, base_pose, cast, mount, tour

START = (1.2, 0.5, 0.0)  # level axes to the room's, with a minus
CRATE = (0.8, -0.6, 0.0, 1.4, 0.6, 0.9)


def shade(points: np.ndarray) -> np.ndarray:
    """(..., 3) RGB of places: waves of 15 to 60 cm."""
    rng = np.random.default_rng(5)
    waves = sum(
        np.sin(points @ rng.normal(0, 2 * np.pi / length, 3) + rng.uniform(0, 6))
        for length in np.geomspace(0.25, 1.0, 10)
    )
    gray = np.clip(127 + 26 * waves, 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=-1)


def painted(drive: Drive, true_depths: list[np.ndarray], exposure: float = 1.0) -> World:
    """The drive's world with pictures that show its surfaces."""
    v, u = np.mgrid[: true_depths[0].shape[0], : true_depths[0].shape[1]]
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones(u.shape)], axis=-1)
    placed = []
    for number, item in enumerate(drive.placed):
        T = drive.T_world_base[number] @ drive.T_base_cam
        points = (rays * true_depths[number][..., None]) @ T[:3, :3].T + T[:3, 3]
        color = (shade(points) * (exposure if number % 2 else 1.0)).astype(np.uint8)
        view = replace(item.keyframe.views[0], color_HW3=color)
        placed.append(replace(item, keyframe=replace(item.keyframe, views=(view,))))
    return drive.world(keyframes=tuple(placed))


@pytest.fixture(scope="module")
def wrong() -> tuple[Drive, list[np.ndarray], list[np.ndarray]]:
    """A drive past a crate whose depth the model takes for 30 % more; the truth; what is crate."""
    drive, truths, crates = Drive(mount()), [], []
    for step in range(7):
        pose = base_pose(-1.2 + 0.12 * step, -0.5 + 0.15 * step, 0.0)
        truth = cast(pose @ drive.T_base_cam, [CRATE])
        crate = truth < cast(pose @ drive.T_base_cam, []) - 1e-6
        drive.add(pose, np.where(crate, 1.3 * truth, truth))
        truths.append(truth)
        crates.append(crate)
    return drive, truths, crates


def error(view: MetricView, depth: np.ndarray, truth: np.ndarray, where: np.ndarray) -> float:
    return float(np.median(np.abs(depth[where] / truth[where] - 1)))


@pytest.mark.parametrize("exposure", [1.0, 0.6], ids=["same light", "other exposure"])
def test_a_wrong_depth_is_put_right_by_the_pictures(
    wrong: tuple[Drive, list[np.ndarray], list[np.ndarray]], exposure: float
) -> None:
    drive, truths, crates = wrong
    views = metric_views(painted(drive, truths, exposure))
    view, others = views[3], views[:3] + views[4:]
    swept = swept_depth(view, others)
    assert error(view, view.depth_HW, truths[3], crates[3]) == pytest.approx(0.3, abs=0.01)
    assert error(view, swept, truths[3], crates[3]) < 0.04
    near = ~crates[3] & (truths[3] < 3.0)
    assert error(view, swept, truths[3], near) < 0.03, "what was right stays right"


def test_pictures_that_show_nothing_leave_the_models_depth(
    wrong: tuple[Drive, list[np.ndarray], list[np.ndarray]],
) -> None:
    drive, _, _ = wrong
    views = metric_views(drive.world())  # one shade of grey
    swept = swept_depth(views[3], views[:3] + views[4:])
    np.testing.assert_allclose(swept, views[3].depth_HW, rtol=1e-4)
    alone = swept_depth(views[3], views[2:3])
    np.testing.assert_array_equal(alone, views[3].depth_HW)


def test_a_turn_on_the_spot_leaves_the_models_depth() -> None:
    """Without parallax every depth matches, so the pictures cannot tell."""
    drive, truths = Drive(mount()), []
    T_base_cam = drive.T_base_cam.copy()
    T_base_cam[:2, 3] = 0.0  # the camera stands over the axis of the turn
    drive = Drive(T_base_cam)
    for step in range(5):
        pose = base_pose(-1.0, 0.0, 6.0 * step)
        truths.append(cast(pose @ T_base_cam, [CRATE]))
        drive.add(pose, truths[-1])
    views = metric_views(painted(drive, truths))
    swept = swept_depth(views[2], views[:2] + views[3:])
    off = np.abs(np.log(swept / views[2].depth_HW))
    assert np.quantile(off, 0.9) < 0.1


def test_no_depth_stays_no_depth(wrong: tuple[Drive, list[np.ndarray], list[np.ndarray]]) -> None:
    drive, truths, _ = wrong
    world = painted(drive, truths)
    depth_HW = world.keyframes[3].keyframe.views[0].depth_HW
    kept = depth_HW.copy()
    depth_HW[10:20], depth_HW[20:25] = np.nan, 0.0
    views = metric_views(world)
    swept = swept_depth(views[3], views[:3] + views[4:])
    depth_HW[...] = kept
    assert (swept[10:25] == 0).all()
    assert np.isfinite(swept).all()


def test_partners_are_five_before_and_three_after_once_they_are_there() -> None:
    views = metric_views(tour(stops=10).world())
    partners = sweep_partners(views)
    assert partners[6] == (1, 2, 3, 4, 5, 7, 8, 9)
    assert partners[9] == (4, 5, 6, 7, 8)
    assert partners[7] == (2, 3, 4, 5, 6), "two after are not three: it would be swept again"
    assert partners[0] == (1, 2, 3)
    assert sweep_partners([]) == []


def test_the_map_alone_says_how_long_a_views_depths_are() -> None:
    """Depths that are all a fifth too great stay so, as they would with a K that is wrong."""
    drive, truths = Drive(mount()), []
    for step in range(7):
        pose = base_pose(-1.2 + 0.12 * step, -0.5 + 0.15 * step, 0.0)
        truths.append(cast(pose @ drive.T_base_cam, [CRATE]))
        drive.add(pose, 1.2 * truths[-1])
    views = metric_views(painted(drive, truths))
    swept = swept_depth(views[3], views[:3] + views[4:])
    near = truths[3] < 3.0
    ratio = np.log(swept[near] / truths[3][near])
    assert np.median(ratio) == pytest.approx(np.log(1.2), abs=0.02)
    assert np.median(np.abs(ratio - np.median(ratio))) < 0.02


def test_the_map_is_made_of_swept_depth(
    wrong: tuple[Drive, list[np.ndarray], list[np.ndarray]],
) -> None:
    drive, truths, _ = wrong
    world = painted(drive, truths)
    fronts = {}
    for sweep in (False, True):
        rules = DenseRules(DenseOptions(sweep=sweep))
        dense = DenseMap(rules)
        points = dense.update(world).voxels.mean_V3 - START
        low = (points[:, 2] > 0.2) & (points[:, 2] < 0.8) & (np.abs(points[:, 1]) < 0.4)
        fronts[sweep] = int((low & (np.abs(points[:, 0] - 0.8) < 0.08)).sum())
    growing = DenseMap(DenseRules(DenseOptions(sweep=True)))
    for count in (4, 7):
        grown = growing.update(replace(world, keyframes=world.keyframes[:count]))
    np.testing.assert_array_equal(points, grown.voxels.mean_V3 - START)
    assert fronts[True] > 100
    assert fronts[True] > 3 * fronts[False]
