# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Floor, obstacles, occupancy and scan of rooms of boxes whose depth is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.dense.dense_map import DenseMap, DenseRules, DenseSnapshot
from g2vlm_map.dense.floor import Floor, fit_floor
from g2vlm_map.dense.metric import metric_views
from g2vlm_map.dense.obstacles import NoBaseError, Standing, obstacles_around, standing
from g2vlm_map.dense.occupancy import (
    FREE,
    OCCUPIED,
    UNKNOWN,
    Grid,
    cells_of,
    grid,
    merged_cells,
    sigma,
)
from g2vlm_map.dense.options import (
    DenseOptions,
    ObstacleOptions,
    OccupancyOptions,
    ScanOptions,
)
from g2vlm_map.dense.scan import scan_row
from tests.map.box_world import Box, Drive, base_pose, cast, mount, tour

CRATE: Box = (0.8, -0.4, 0.0, 1.2, 0.3, 0.6)
SHELF: Box = (0.6, 0.8, 1.5, 1.2, 1.6, 1.9)  # the robot passes under it
SILL: Box = (0.0, -1.1, 0.0, 0.4, -0.6, 0.05)  # lower than an obstacle
BOXES = [CRATE, SHELF, SILL]
START = np.array([2.0, 0.0])  # level axes to the room's, with a minus: the drive starts at x = -2


PLAIN = DenseRules(DenseOptions(sweep=False))  # the pictures show nothing to match


def mapped(drive: Drive, rules: DenseRules = PLAIN) -> DenseSnapshot:
    return DenseMap(rules).update(drive.world())


def occupied_grid(drive: Drive, resolution: float = 0.05) -> Grid:
    rules = DenseRules(PLAIN.dense, occupancy=OccupancyOptions(resolution=resolution))
    return grid(mapped(drive, rules).cells, rules.occupancy, (0.0, 0.0))


def places(made: Grid, what: int) -> np.ndarray:
    """(P, 2) middles of cells in the room's axes."""
    yx = np.argwhere(made.cells_YX == what)
    middles: np.ndarray = (yx[:, ::-1] + 0.5) * made.resolution + np.array(made.origin) - START
    return middles


def away_from(places_P2: np.ndarray, box: Box) -> np.ndarray:
    """(P,) distance from a box's footprint; 0 inside."""
    low, high = np.array([box[0], box[1]]), np.array([box[3], box[4]])
    outside_P2 = np.maximum(np.maximum(low - places_P2, places_P2 - high), 0)
    away_P: np.ndarray = np.linalg.norm(outside_P2, axis=1)
    return away_P


@pytest.mark.parametrize("roll_deg", [0.0, 180.0], ids=["upright", "upside down"])
def test_occupancy_of_exact_depth_is_exact(roll_deg: float) -> None:
    made = occupied_grid(tour(BOXES, mount(roll_deg=roll_deg), stops=18))
    occupied, free = places(made, OCCUPIED), places(made, FREE)
    wall = np.minimum(3.0 - np.abs(occupied[:, 0]), 2.5 - np.abs(occupied[:, 1]))
    off = np.minimum(np.abs(wall), away_from(occupied, CRATE))
    assert off.max() <= 0.08, "nothing stands there"
    front = np.stack([np.full(60, 0.8), np.linspace(-0.39, 0.29, 60)], axis=1)
    gap = np.linalg.norm(occupied[None] - front[:, None], axis=2).min(axis=1)
    assert gap.max() <= 0.06, "the front of the crate is whole"
    assert len(free) * made.resolution**2 > 4.0
    inside = (away_from(free, CRATE) == 0) & (free[:, 0] > 0.85)
    assert not inside.any(), "free inside of the crate"
    assert (np.abs(free) < (3.03, 2.53)).all(), "free beyond the walls"
    assert (away_from(free, SILL) == 0).any(), "lower than an obstacle: the robot drives over it"
    under_shelf = away_from(occupied, SHELF) == 0
    assert not under_shelf.any(), "the robot passes under the shelf"


def one_view(*points: tuple[float, float, bool]) -> Standing:
    """What a view from the origin says of (range along x, along y, whether it is an obstacle)."""
    point_P3 = np.array([[x, y, 0.5 if high else 0.0] for x, y, high in points])
    high_P = point_P3[:, 2] > 0.1
    return Standing(
        np.eye(4), np.array([0.0, 0.0, 0.5]), Floor(), point_P3, point_P3[:, 2], high_P, ~high_P
    )


def evidence(view: Standing, x: float, **rules: float) -> tuple[float, float]:
    """Hits and passes, in whole views, of the cell at (x, 0.01)."""
    table = cells_of(view, OccupancyOptions(driven_radius=0.0, **rules))
    away_C = np.abs(table.centres() - (x, 0.025)).max(axis=1)
    at = away_C < 0.5 * table.size
    return float(table.hit_C[at].sum()) / 64, float(table.pass_C[at].sum()) / 64


def test_a_view_counts_less_for_what_is_far_and_not_at_all_beyond_the_range() -> None:
    near, middle, far = (
        evidence(one_view((x, 0.01, True), (x, 0.02, True)), x)[0] for x in (0.62, 2.52, 3.12)
    )
    assert near == 1.0
    assert middle == pytest.approx(0.15 / sigma(np.array([2.52]))[0], abs=1 / 64)
    assert far == 0.0
    view = one_view((3.12, 0.01, True), (3.12, 0.02, True))
    assert evidence(view, 3.12, max_range=4.0)[0] > 0.3
    assert evidence(one_view((0.62, 0.01, True)), 0.62)[0] == 0.0, "one point may be noise"


def test_what_the_error_of_depth_cannot_tell_from_a_hit_is_not_free() -> None:
    floor = [(x, 0.01, False) for x in np.arange(0.4, 2.4, 0.02)]
    view = one_view(*floor, (2.02, 0.01, True), (2.02, 0.02, True))
    spread = float(sigma(np.array([2.0]))[0])
    assert evidence(view, 1.02)[1] > 0
    assert evidence(view, 2.02 - 2 * spread)[1] > 0
    assert evidence(view, 2.02 - spread) == (0.0, 0.0)


def test_a_bearing_is_hit_by_its_nearest_obstacles_only() -> None:
    """What it sees over them, or through a wrong edge of depth, another view has to see."""
    near = [(1.02, 0.01, True), (1.02, 0.02, True), (1.12, 0.01, True), (1.12, 0.02, True)]
    view = one_view(*near, (2.02, 0.02, True), (2.02, 0.03, True))
    assert evidence(view, 1.02)[0] > 0.9
    assert evidence(view, 1.12)[0] > 0.9, "within its error"
    assert evidence(view, 2.02) == (0.0, 0.0)


def test_a_nearer_view_outweighs_what_far_ones_misplaced() -> None:
    """A wall that three views saw half a metre too near is unsaid once six were near."""
    wrong = [one_view((2.52, 0.01, True), (2.52, 0.02, True))] * 3
    rules = OccupancyOptions(driven_radius=0.0, hit=0.9)
    floor = [(x, 0.01, False) for x in np.arange(0.3, 1.2, 0.02)]
    there = replace(one_view(*floor), T_level_base=base_pose(1.8, 0.0, 0.0))
    before = merged_cells([cells_of(view, rules) for view in wrong], rules.resolution)
    after = merged_cells([before, *[cells_of(there, rules)] * 6], rules.resolution)
    for table, said in ((before, OCCUPIED), (after, UNKNOWN)):
        made = grid(table, rules, (0.0, 0.0))
        at = ((np.array([2.52, 0.01]) - made.origin) / made.resolution).astype(int)
        assert made.cells_YX[at[1], at[0]] == said


def test_what_nobody_saw_is_unknown() -> None:
    drive = Drive(mount())
    pose = base_pose(-2.0, 0.0, 0.0)
    for _ in range(4):
        drive.add(pose, cast(pose @ drive.T_base_cam, [CRATE]))
    made = occupied_grid(drive)
    known = np.concatenate([places(made, FREE), places(made, OCCUPIED)])
    behind = (known[:, 0] > 1.35) & (np.abs(known[:, 1]) < 0.2)
    assert not behind.any()
    back = known[:, 0] < -2.2
    assert not back.any(), "behind the robot"
    assert (made.cells_YX == UNKNOWN).any()
    driven = np.linalg.norm(places(made, FREE) - (-2.0, 0.0), axis=1) < 0.1
    assert driven.sum() >= 8, "where the robot stands is free"


def test_obstacles_stand_in_the_axes_of_the_newest_base() -> None:
    drive = tour(BOXES)
    pose = base_pose(0.0, 0.3, -20.0)
    drive.add(pose, cast(pose @ drive.T_base_cam, BOXES))
    rules = PLAIN
    recent = DenseMap(rules).around(drive.world())
    assert len(recent) == rules.obstacles.keyframes
    found = obstacles_around(recent, rules.obstacles)
    world = found @ pose[:3, :3].T + pose[:3, 3]
    wall = np.minimum(3.0 - np.abs(world[:, 0]), 2.5 - np.abs(world[:, 1]))
    assert np.minimum(np.abs(wall), away_from(world[:, :2], CRATE)).max() < 0.05
    assert world[:, 2].min() > 0.08
    assert world[:, 2].max() < 1.25
    front = np.stack([np.full(30, 0.8), np.linspace(-0.39, 0.29, 30), np.full(30, 0.3)], axis=1)
    assert np.linalg.norm(world[None] - front[:, None], axis=2).min(axis=1).max() < 0.06


def test_a_band_of_heights_is_what_counts() -> None:
    rules = ObstacleOptions(min_height=0.02, max_height=2.0)
    drive = tour([SILL, SHELF])
    views = metric_views(drive.world())
    seen = [standing(view, view.depth_HW > 0, rules) for view in views]
    found = obstacles_around(seen, rules)
    # the newest base is at (0.2, 0) and turned by what `tour` turned it
    T = drive.T_world_base[-1]
    world = found @ T[:3, :3].T + T[:3, 3]
    assert (away_from(world[:, :2], SILL) == 0).any()
    assert (away_from(world[:, :2], SHELF) == 0).any()


def test_a_floor_that_slopes_is_floor() -> None:
    """The base stands at the foot of a ramp that its own axes do not know of."""
    rng = np.random.default_rng(0)
    xy = rng.uniform((0.3, -1.5), (3.5, 1.5), (3000, 2))
    slope = np.tan(np.radians(4.0))
    z = slope * xy[:, 0] + 0.01 * rng.normal(size=3000)
    crate = np.column_stack(
        [rng.uniform((1.5, -0.2), (1.9, 0.2), (400, 2)), rng.uniform(0.05, 0.6, 400)]
    )
    crate[:, 2] += slope * crate[:, 0]
    rules = ObstacleOptions()
    floor = fit_floor(np.concatenate([np.column_stack([xy, z]), crate]), rules)
    assert abs(np.degrees(np.arctan(floor.a)) - 4.0) < 0.4
    assert abs(floor.b) < 0.01
    heights = floor.heights(np.column_stack([xy, z]))
    assert np.abs(heights).max() < rules.min_height
    assert (floor.heights(crate) > 0.02).all()
    flat = fit_floor(np.column_stack([xy, z]), replace(rules, max_slope_deg=2.0))
    assert flat.points == 0, "steeper than allowed: the base's word stands"


def test_a_table_is_not_taken_for_the_floor() -> None:
    rng = np.random.default_rng(1)
    table = np.column_stack([rng.uniform((0.3, -1), (2, 1), (2000, 2)), np.full(2000, 0.75)])
    floor = fit_floor(table, ObstacleOptions())
    assert floor.points == 0
    assert (floor.a, floor.b, floor.c) == (0.0, 0.0, 0.0)
    raised = fit_floor(table, ObstacleOptions(base_height=-0.75))
    assert abs(raised.c - 0.75) < 1e-6
    assert raised.points > 1000
    assert fit_floor(np.zeros((0, 3)), ObstacleOptions()).points == 0


def test_a_base_above_the_floor_knows_its_height() -> None:
    high = tour([CRATE], mount(height=0.5))
    lowered = np.eye(4)
    lowered[2, 3] = -0.12  # the base frame's origin is 12 cm above the floor
    T_base_body = lowered @ high.T_base_cam
    T_level_map = T_base_body.copy()
    T_level_map[:3, 3] /= 0.4
    world = high.world(T_base_body=T_base_body, T_level_map=T_level_map)
    told = DenseRules(PLAIN.dense, obstacles=ObstacleOptions(base_height=0.12))
    floor = DenseMap(told).around(world)[-1].floor
    assert abs(floor.c + 0.12) < 0.01
    assert floor.points > 500


def test_without_a_base_there_are_points_and_no_obstacles() -> None:
    world = tour([CRATE]).world(T_base_body=None)
    snapshot = DenseMap(PLAIN).update(world)
    assert len(snapshot.voxels) > 1000
    assert len(snapshot.cells) == 0
    with pytest.raises(NoBaseError, match="extrinsics"):
        DenseMap(PLAIN).around(world)
    view = metric_views(world)[0]
    with pytest.raises(NoBaseError, match="extrinsics"):
        standing(view, view.depth_HW > 0, ObstacleOptions())


def test_a_view_of_nothing_has_no_obstacles_and_frees_nothing() -> None:
    drive = Drive(mount())
    for _ in range(3):
        drive.add(base_pose(0, 0, 0), np.full((84, 112), np.nan))
    snapshot = mapped(drive)
    recent = DenseMap(PLAIN).around(drive.world())
    assert len(obstacles_around(recent, ObstacleOptions())) == 0
    made = grid(snapshot.cells, OccupancyOptions(), (0, 0))
    assert (made.cells_YX == OCCUPIED).sum() == 0
    assert np.linalg.norm(places(made, FREE) + START, axis=1).max() <= 0.2, "only where it stands"


def test_the_grid_is_bounded_around_the_robot() -> None:
    drive = tour([CRATE])
    rules = OccupancyOptions(max_extent=1.0)
    made = grid(mapped(drive).cells, rules, (2.0, 0.0))
    assert made.cells_YX.shape == (20, 20)
    assert made.origin == pytest.approx((1.5, -0.5))
    empty = grid(DenseMap(PLAIN).update(drive.world(keyframes=())).cells, rules, (0.0, 0.0))
    assert empty.cells_YX.tolist() == [[UNKNOWN]]


def test_a_scan_tells_obstacles_from_emptiness_and_from_ignorance() -> None:
    rules = ScanOptions(increment_deg=10.0, max_range=3.0, min_range=0.2)
    obstacles = np.array([[1.0, 0.0, 0.3], [2.0, 0.02, 0.3], [0.05, 0.0, 0.3], [-2.5, 0.1, 0.4]])
    floor = np.array([[3.1 * np.cos(0.8), 3.1 * np.sin(0.8), 0.0], [0.0, -2.0, 0.0]])
    row = scan_row(obstacles, floor, rules)
    assert len(row.range_A) == 36

    def at(angle: float) -> float:
        return float(row.range_A[round((angle - row.angle_min) / row.angle_increment)])

    assert min(at(0.05), at(-0.05)) == pytest.approx(1.0)
    assert at(np.pi - 0.05) == pytest.approx(np.hypot(2.5, 0.1))
    assert at(0.8) == np.inf, "the floor is seen up to the range"
    assert np.isnan(at(-np.pi / 2)), "seen to 2 m only"
    assert np.isnan(at(2.0)), "nobody looked"
    nothing = scan_row(np.zeros((0, 3)), np.zeros((0, 3)), rules)
    assert np.isnan(nothing.range_A).all()


def test_options_contradict_each_other_in_words() -> None:
    with pytest.raises(ValueError, match=r"obstacles\.max_height"):
        ObstacleOptions(min_height=1.0, max_height=0.5)
    with pytest.raises(ValueError, match=r"scan\.max_range"):
        ScanOptions(min_range=2.0, max_range=1.0)
    with pytest.raises(ValueError, match=r"dense\.agreeing"):
        DenseOptions(neighbours=1, agreeing=2)


@pytest.mark.parametrize("height", [0.3, 0.5, 1.2])
def test_by_default_a_scan_can_say_that_a_bearing_is_free(height: float) -> None:
    """The floor reaches as far as the camera's range lets it, which its height shortens."""
    reach = np.sqrt(ObstacleOptions().max_range ** 2 - height**2)
    bearing = np.linspace(-0.5, 0.5, 200)
    range_ = np.linspace(0.5, reach, 60)[:, None]
    x, y = (range_ * np.cos(bearing)).ravel(), (range_ * np.sin(bearing)).ravel()
    row = scan_row(np.zeros((0, 3)), np.stack([x, y, np.zeros_like(x)], axis=1), ScanOptions())
    assert np.isinf(row.range_A).sum() > 40
