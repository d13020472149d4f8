# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dense map of rooms of boxes with exact depth, and of rooms in which something is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.dense.consistency import judge, witnesses
from g2vlm_map.dense.dense_map import DenseMap, DenseRules, DenseSnapshot
from g2vlm_map.dense.metric import NoScaleError, metric_views
from g2vlm_map.dense.options import DenseOptions, OccupancyOptions
from g2vlm_map.dense.voxels import merged_voxels, packed, unpacked, voxels_of
from g2vlm_map.poses import metric
from g2vlm_map.world import World
from tests.map.box_world import UNIT_M, Drive, base_pose, cast, mount, tour

CRATE = (0.8, -0.4, 0.0, 1.2, 0.3, 0.6)
OFFSET = np.array([2.0, 0.0, 0.0])  # level axes to the room's: the drive starts at x = -2


PLAIN = DenseRules(DenseOptions(sweep=False))  # the pictures show nothing to match


def made(world: World, rules: DenseRules = PLAIN) -> DenseSnapshot:
    return DenseMap(rules).update(world)


def surface_gap(points_P3: np.ndarray, boxes: list[tuple[float, ...]]) -> np.ndarray:
    """(P,) distance of points to the surfaces of the room and of boxes, metres."""
    room = np.minimum(
        np.abs(points_P3 - (-3.0, -2.5, 0.0)), np.abs(points_P3 - (3.0, 2.5, 2.4))
    ).min(axis=1)
    for box in boxes:
        outside = np.maximum(np.maximum(box[:3] - points_P3, points_P3 - box[3:]), 0)
        inside = np.minimum(points_P3 - box[:3], box[3:] - points_P3).min(axis=1)
        room = np.minimum(room, np.where(inside > 0, inside, np.linalg.norm(outside, axis=1)))
    gap_P: np.ndarray = room
    return gap_P


def test_points_of_exact_depth_lie_on_the_surfaces_in_metres() -> None:
    snapshot = made(tour([CRATE]).world())
    gap_V = surface_gap(snapshot.voxels.mean_V3 - OFFSET, [CRATE])
    assert len(snapshot.voxels) > 5000
    assert np.quantile(gap_V, 0.99) < 0.02, np.quantile(gap_V, (0.5, 0.9, 0.99, 1.0))
    assert snapshot.left_out < 0.1
    assert snapshot.seen_through < 0.005 * snapshot.usable


def test_without_a_scale_there_is_no_map() -> None:
    drive = tour()
    drive.metric = False
    with pytest.raises(NoScaleError, match="not yet known"):
        made(drive.world())


def test_an_empty_world_has_an_empty_map() -> None:
    snapshot = made(tour().world(keyframes=()))
    assert len(snapshot.voxels) == len(snapshot.cells) == snapshot.keyframes == 0
    assert DenseMap(PLAIN).around(tour().world(keyframes=())) == ()
    assert snapshot.left_out == 0.0


def test_keyframes_of_other_segments_are_left_out() -> None:
    drive = tour(stops=4)
    drive.placed[:2] = [replace(placed, segment=7) for placed in drive.placed[:2]]
    assert made(drive.world()).keyframes == 2


def test_depth_that_is_no_number_is_no_point() -> None:
    drive = tour(stops=5)
    for placed in drive.placed:
        depth_HW = placed.keyframe.views[0].depth_HW
        depth_HW[:20], depth_HW[20:30], depth_HW[30:35] = np.nan, np.inf, -1.0
    snapshot = made(drive.world())
    assert snapshot.usable == 5 * (84 - 35) * 112 - _beyond(drive)
    assert len(snapshot.voxels) > 500
    assert np.isfinite(snapshot.voxels.mean_V3).all()


def _beyond(drive: Drive) -> int:
    """Pixels of the rows that were left whole with a depth beyond the range."""
    rows = [metric.depth_HW[35:] for metric in metric_views(drive.world())]
    return int(sum((depth > DenseOptions().max_range).sum() for depth in rows))


def test_a_frame_without_any_depth_changes_nothing() -> None:
    drive = tour(stops=5)
    before = made(drive.world())
    drive.add(drive.T_world_base[-1], np.zeros((84, 112)))
    after = made(drive.world())
    np.testing.assert_array_equal(before.voxels.key_V, after.voxels.key_V)


def test_a_box_that_moves_is_left_out() -> None:
    drive = Drive(mount())
    for step in range(12):
        pose = base_pose(-2.0 + 0.1 * step, 0.0, 0.0)
        y = -1.5 + 0.27 * step
        moving = (0.5, y - 0.25, 0.0, 1.0, y + 0.25, 0.8)
        drive.add(pose, cast(pose @ drive.T_base_cam, [moving]))
    snapshot = made(drive.world())
    points_V3 = snapshot.voxels.mean_V3 - OFFSET
    in_its_way = (np.abs(points_V3[:, 0] - 0.75) < 0.3) & (points_V3[:, 2] > 0.1)
    in_its_way &= (np.abs(points_V3[:, 1]) < 1.0) & (points_V3[:, 2] < 0.75)
    assert in_its_way.sum() <= 0.005 * len(points_V3)
    assert snapshot.seen_through > 300
    still = tour([(0.5, -0.25, 0.0, 1.0, 0.25, 0.8)])
    kept_V3 = made(still.world()).voxels.mean_V3 - OFFSET
    assert ((np.abs(kept_V3[:, 0] - 0.5) < 0.03) & (kept_V3[:, 2] > 0.1)).sum() > 50


def test_what_one_view_sees_in_a_mirror_is_left_out() -> None:
    """The wall at x = 3 is a mirror to one keyframe and a wall to the others."""
    drive = tour(stops=7)
    pose = drive.T_world_base[3]
    deeper = cast(pose @ drive.T_base_cam, [], (-3.0, -2.5, 0.0, 9.0, 2.5, 2.4))
    mirrored = Drive(drive.T_base_cam)
    for stop, where in enumerate(drive.T_world_base):
        seen = cast(where @ drive.T_base_cam, [])
        mirrored.add(where, deeper if stop == 3 else seen)
    rules = DenseRules(DenseOptions(max_range=20.0, sweep=False))
    behind = made(mirrored.world(), rules).voxels.mean_V3 - OFFSET
    assert (deeper > 5.2).sum() > 1000, "the mirror shows nothing"
    assert (behind[:, 0] > 3.7).sum() == 0, "further behind the wall than the tolerance reaches"


def test_what_stands_behind_a_mirror_for_all_is_seen_through_from_there() -> None:
    """Four views see a box behind a wall, and later ones from the room behind look through it."""
    ghost = (3.6, -0.5, 0.0, 4.0, 0.5, 1.0)
    both: tuple[float, float, float, float, float, float] = (-3.0, -2.5, 0.0, 9.0, 2.5, 2.4)
    drive = Drive(mount())
    for x in (-1.0, -0.8, -0.6, -0.4):
        pose = base_pose(x, 0.0, 0.0)
        drive.add(pose, cast(pose @ drive.T_base_cam, [ghost], both))
    seen = made(drive.world()).voxels.mean_V3 - (1.0, 0.0, 0.0)
    assert (np.abs(seen[:, 0] - 3.6) < 0.1).sum() > 20
    for number, x in enumerate((5.0, 5.2, 5.4, 5.6, 5.8, 6.0)):
        pose = base_pose(x, 0.0, 180.0)
        room = (-3.0, -2.5, 0.0, 9.0, 2.5, 2.4)
        drive.add(pose, cast(pose @ drive.T_base_cam, [], room), number=20 + number)
    seen = made(drive.world()).voxels.mean_V3 - (1.0, 0.0, 0.0)
    standing = (np.abs(seen[:, 0] - 3.6) < 0.1) & (np.abs(seen[:, 1]) < 0.45) & (seen[:, 2] > 0.1)
    assert standing.sum() == 0


def test_few_witnesses_have_to_agree_all_of_them() -> None:
    drive = tour(stops=2)
    views = metric_views(drive.world())
    rules = DenseOptions()
    alone = judge(views[0], [], rules)
    assert alone.unconfirmed == alone.seen_through == 0
    assert alone.keep_HW.sum() == alone.usable > 0
    doubled = views[1].depth_HW * 2
    doubted = judge(views[0], [(views[1], doubled)], rules)
    assert doubted.keep_HW.sum() < 0.05 * alone.usable


def test_witnesses_are_neighbours_in_time_and_those_who_came_back() -> None:
    drive = tour(stops=9)
    for number in range(3):  # far away, then back at the start
        pose = base_pose(60.0 + number, 0.0, 90.0)
        drive.add(pose, np.full((84, 112), 2.0), number=20 + number)
    pose = base_pose(-2.0, 0.0, 0.0)
    drive.add(pose, cast(pose @ drive.T_base_cam, []), number=30)
    asked = witnesses(metric_views(drive.world()), DenseOptions())
    assert {1, 2, 3} <= set(asked[0])
    assert 12 in asked[0], "it sees the same place later"
    assert not {9, 10, 11} & set(asked[0])
    assert set(asked[12]) & set(range(9))
    assert set(asked[4]) >= {1, 2, 3, 5, 6, 7}
    views = metric_views(drive.world())
    some = witnesses(views, DenseOptions(), {views[4].number, views[12].number})
    assert [some[4], some[12]] == [asked[4], asked[12]]
    assert not any(some[index] for index in range(len(views)) if index not in (4, 12))


def test_a_map_that_grew_is_the_map_that_is_built_at_once() -> None:
    drive = tour([CRATE], stops=20)
    whole = drive.world()
    growing = DenseMap(PLAIN)
    for count in (2, 3, 7, 15, 16, 20):
        grown = growing.update(replace(whole, keyframes=whole.keyframes[:count]))
    once = made(whole)
    for name in ("key_V", "mean_V3", "color_V3", "weight_V", "count_V"):
        np.testing.assert_array_equal(getattr(grown.voxels, name), getattr(once.voxels, name))
    for name in ("key_C", "hit_C", "pass_C"):
        np.testing.assert_array_equal(getattr(grown.cells, name), getattr(once.cells, name))
    again = made(whole)
    np.testing.assert_array_equal(once.voxels.mean_V3, again.voxels.mean_V3)


def test_only_what_changed_is_made_again() -> None:
    drive = tour([CRATE], stops=36)
    whole = drive.world()
    dense = DenseMap(PLAIN)
    dense.update(replace(whole, keyframes=whole.keyframes[:35]))
    before = dense.blocks_made
    dense.update(replace(whole, keyframes=whole.keyframes[:35]))
    assert dense.blocks_made == before
    dense.update(whole)
    assert dense.blocks_made - before in (1, 2), "the newest block, and one that was asked"
    before = dense.blocks_made
    dense.update(replace(whole, version=2))
    assert dense.blocks_made - before == 3


def test_what_hangs_on_neighbours_is_kept_where_a_loop_moves_them_all() -> None:
    """Depths and verdicts are not made anew; the points go where the keyframes went."""
    drive = tour([CRATE], stops=20)
    dense = DenseMap(PLAIN)
    before = dense.update(drive.world())
    level_map = drive.world().T_level_map

    def moved(bent: float) -> World:
        """All moved as one, those from the ninth on by `bent` metres more."""
        placed = []
        for number, item in enumerate(drive.placed):
            turn = metric(base_pose(3.0 + bent * (number >= 8), -2.0, 40.0), 1 / UNIT_M)
            T = np.linalg.inv(level_map) @ turn @ level_map @ item.T_map_body
            placed.append(replace(item, T_map_body=T))
        return drive.world(keyframes=tuple(placed), version=2 + int(100 * bent))

    made_before, judged = dense.makings, dict(dense._judged)
    after = dense.update(moved(0.0))
    assert dense.makings == made_before == 20
    assert all(dense._judged[name].verdict is judged[name].verdict for name in judged)
    once = made(moved(0.0))
    np.testing.assert_array_equal(after.voxels.key_V, once.voxels.key_V)
    np.testing.assert_array_equal(after.cells.key_C, once.cells.key_C)
    assert abs(after.voxels.mean_V3[:, 0].mean() - before.voxels.mean_V3[:, 0].mean()) > 0.5
    dense.update(moved(0.05))
    again = [name for name in judged if dense._judged[name].verdict is not judged[name].verdict]
    assert {number for number, _ in again} >= {7, 8, 9, 10}, "about the bend"
    assert not {number for number, _ in again} & {17, 18, 19, 20}, "these moved with all they ask"


def test_a_keyframe_that_moved_takes_its_points_along() -> None:
    drive = tour([CRATE], stops=6)
    dense = DenseMap(PLAIN)
    dense.update(drive.world())
    lifted = []
    for placed in drive.placed:
        T = placed.T_map_body.copy()
        T[:3, 3] += np.linalg.inv(drive.T_base_cam)[:3, 2] * 0.5 / 0.4  # half a metre up
        lifted.append(replace(placed, T_map_body=T))
    moved = dense.update(drive.world(keyframes=tuple(lifted)))
    newest = dense.around(drive.world(keyframes=tuple(lifted)))[-1]
    assert abs(newest.T_level_base[2, 3] - 0.5) < 1e-6
    floor = moved.voxels.mean_V3[:, 2]
    assert abs(floor.min() - 0.5) < 0.02, "old points would lie on the old floor"


def test_memory_is_bounded_and_keeps_what_is_near() -> None:
    drive = Drive(mount())
    for step in range(48):
        pose = base_pose(0.5 * step, 0.0, 0.0)
        drive.add(pose, cast(pose @ drive.T_base_cam, [], (-3.0, -2.5, 0.0, 60.0, 2.5, 2.4)))
    free = made(drive.world())
    bound = DenseRules(DenseOptions(max_memory_mb=2.0, radius=6.0, sweep=False))
    snapshot = made(drive.world(), bound)
    masks = 48 * 84 * 112
    assert free.nbytes - masks > 4e6, "the bound binds nothing"
    assert snapshot.nbytes - masks <= 2e6
    assert snapshot.trimmed >= 1
    here = drive.T_world_base[-1][:3, 3]
    near_free = (free.voxels.distances(here) < 3.0).sum()
    assert (snapshot.voxels.distances(here) < 3.0).sum() > 0.5 * near_free
    again = DenseMap(bound)
    again.update(drive.world())
    made_once = again.blocks_made
    again.update(drive.world())
    assert again.blocks_made == made_once, "what was trimmed must not be made again and again"


def test_voxels_add_up_in_any_grouping() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(-1, 1, (4000, 3))
    depth = rng.uniform(0.5, 4, 4000).astype(np.float32)
    color = rng.integers(0, 256, (4000, 3)).astype(np.uint8)
    sure = rng.integers(0, 256, 4000).astype(np.uint8)
    whole = voxels_of(points, depth, color, sure, 0.1)
    parts = [
        voxels_of(points[part], depth[part], color[part], sure[part], 0.1)
        for part in np.array_split(np.arange(4000), 5)
    ]
    joined = merged_voxels(parts, 0.1)
    np.testing.assert_array_equal(whole.key_V, joined.key_V)
    np.testing.assert_array_equal(whole.count_V, joined.count_V)
    np.testing.assert_allclose(whole.mean_V3, joined.mean_V3, atol=1e-5)
    assert int(whole.count_V.sum()) == 4000
    assert (np.diff(whole.key_V) > 0).all()
    one = whole.key_V[0]
    inside = (np.floor(points / 0.1) == unpacked(np.array([one]))).all(axis=1)
    mean = np.average(points[inside], axis=0, weights=1 / depth[inside].astype(float) ** 2)
    np.testing.assert_allclose(whole.mean_V3[0], mean, atol=1e-5)


def test_keys_keep_places_apart() -> None:
    cells = np.array([[0, 0, 0], [-1, 5, -7], [1000000, -1000000, 3]], np.int64)
    np.testing.assert_array_equal(unpacked(packed(cells)), cells)
    assert len(np.unique(packed(cells))) == 3


def test_cells_stay_where_the_resolution_is_coarse() -> None:
    rules = DenseRules(PLAIN.dense, occupancy=OccupancyOptions(resolution=0.2))
    assert made(tour([CRATE]).world(), rules).cells.size == 0.2
