# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is drawn of a map: places, bounds on points, consistency, which part."""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import psutil
import pytest
from g2vlm_view.chunks import Chunks, MapPicture, map_picture, shown_part
from g2vlm_view.drawing import Drawing, Look, colors
from g2vlm_view.front import close_viser, guarded_viser
from g2vlm_view.joints import NODES, Joints

from g2vlm_map.mapping.keyframe import Edge
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from tests.map.placed import mounted, placed, pose

WALL = np.full((48, 64), 2.0, np.float16)


def world(count: int, step: float = 0.1, segment: int = 1, **more: object) -> World:
    """Cameras that look at a wall two units away and move sideways."""
    keyframes = tuple(
        placed(number, pose(shift=(step * number, 0.0, 0.0)), depth_HW=WALL, segment=segment)
        for number in range(1, count + 1)
    )
    made = World(version=1, segment=segment, keyframes=keyframes)
    return replace(made, **more)  # type: ignore[arg-type]


def test_points_lie_where_the_map_has_them() -> None:
    points = map_picture(world(3), Chunks(each=500)).points()
    np.testing.assert_allclose(points[:, 2], 2.0, atol=1e-5)
    half = 2.0 * 31.5 / 40.0
    assert points[:, 0].min() == pytest.approx(0.1 - half, abs=1e-4)
    assert points[:, 0].max() <= 0.3 + half + 1e-4


def test_a_scale_moves_chunks_and_makes_none_again() -> None:
    chunks, metres = Chunks(), ScaleEstimate(metric=True, log_scale=np.log(3.0), sigma=0.1)
    before = world(3)
    first = map_picture(before, chunks)
    second = map_picture(replace(before, scale=metres), chunks)
    np.testing.assert_allclose(second.points(), 3.0 * first.points(), rtol=1e-5)
    assert (first.unit, second.unit) == ("map units", "m")
    for key, node in first.nodes.items():
        assert second.nodes[key].chunk is node.chunk


def test_points_are_bounded_however_long_it_runs() -> None:
    chunks = Chunks(each=800, total=4000)
    for count in (2, 5, 6, 20, 60, 900):
        picture = map_picture(world(count), chunks)
        assert 0 < len(picture.points()) <= 4000
        assert len(picture.nodes) == count
        assert bool(picture.thinned) == (count > 5), (
            "said where points are left out, and only there"
        )
    assert chunks.most(5) == 800
    assert chunks.most(6) == 400
    assert chunks.most(4000) == 1
    said = map_picture(world(6), chunks).thinned
    assert said.startswith("thinned to 400 points of a picture, from 800")
    assert "4,000 at most (--points)" in said
    rim = WALL.copy()
    rim[:7] = rim[:, 41:] = 0.0
    odd = placed(1, pose(), depth_HW=rim)
    for each in (100, 150, 333):
        points = map_picture(World(segment=1, keyframes=(odd,)), Chunks(each)).points()
        assert 0.2 * each < len(points) <= each


def test_joints_show_the_same_points_in_a_bounded_number_of_nodes() -> None:
    chunks, joints = Chunks(each=50), Joints(most=4)
    few = map_picture(world(4), chunks)
    assert joints.of(few.nodes) is few.nodes
    metres = ScaleEstimate(metric=True, log_scale=np.log(3.0), sigma=0.1)
    many = map_picture(world(11, scale=metres), chunks, consistency=True)
    nodes = joints.of(many.nodes)
    assert len(nodes) == 3
    shown = MapPicture(nodes)
    np.testing.assert_allclose(shown.points(), many.points(), atol=1e-4)
    for name in ("color_P3", "confidence_P", "range_P"):
        alone = [getattr(one.chunk, name) for one in many.nodes.values()]
        joined = [getattr(one.chunk, name) for one in nodes.values()]
        np.testing.assert_allclose(np.concatenate(joined), np.concatenate(alone), atol=1e-5)
    agreed = [np.asarray(one.agree_P) for one in many.nodes.values()]
    joined = [np.asarray(one.agree_P) for one in nodes.values()]
    np.testing.assert_array_equal(np.concatenate(joined), np.concatenate(agreed))


def test_joints_are_made_anew_only_where_a_camera_strayed() -> None:
    chunks, joints, still = Chunks(each=50), Joints(most=4), world(8)
    first = joints.of(map_picture(still, chunks).nodes)
    turned = pose((0.0, 0.0, 0.4), (1.0, 2.0, 0.0))
    moved = [replace(one, T_map_body=turned @ one.T_map_body) for one in still.keyframes]
    second = joints.of(map_picture(replace(still, keyframes=tuple(moved)), chunks).nodes)
    assert [one.chunk for one in second.values()] == [one.chunk for one in first.values()]
    one = moved[5]
    moved[5] = replace(one, T_map_body=one.T_map_body @ pose(shift=(0.0, 0.1, 0.0)))
    bent = map_picture(replace(still, keyframes=tuple(moved)), chunks)
    third = joints.of(bent.nodes)
    same = [a.chunk is b.chunk for a, b in zip(second.values(), third.values(), strict=True)]
    assert same == [True, False, True]
    np.testing.assert_allclose(MapPicture(third).points(), bent.points(), atol=1e-4)


def test_what_others_contradict_is_told_from_what_they_confirm() -> None:
    near = WALL.copy()
    near[:, :32] = 1.0  # a ghost in the second of three pictures
    one = world(3)
    ghost = placed(2, pose(shift=(0.2, 0.0, 0.0)), depth_HW=near)
    seen = replace(one, keyframes=(one.keyframes[0], ghost, one.keyframes[2]))
    node = map_picture(seen, Chunks(each=4000), consistency=True).nodes[2, 0]
    assert node.agree_P is not None
    deep = node.chunk.point_P3[:, 2] > 1.5
    assert np.nanmedian(node.agree_P[deep]) == 1.0
    assert np.nanmedian(node.agree_P[~deep]) == 0.0
    shades = colors(node, "consistency")
    assert shades[deep].astype(int)[:, 0].mean() > shades[~deep].astype(int)[:, 0].mean()
    alone = map_picture(world(1), Chunks(), consistency=True).nodes[1, 0]
    assert alone.agree_P is not None
    assert np.isnan(alone.agree_P).all()


def test_consistency_is_asked_again_only_where_views_moved() -> None:
    chunks, still = Chunks(), world(4)
    first = map_picture(still, chunks, consistency=True)
    turned = pose((0.0, 0.0, 0.4), (1.0, 2.0, 0.0))
    moved = tuple(replace(one, T_map_body=turned @ one.T_map_body) for one in still.keyframes)
    second = map_picture(replace(still, keyframes=moved), chunks, consistency=True)
    for key, node in first.nodes.items():
        assert second.nodes[key].agree_P is node.agree_P


def test_loops_and_the_path_are_those_of_the_world() -> None:
    edge = Edge(1, 4, "loop", np.eye(4), 0.1, 0.1, 0.1)
    other = replace(edge, i=2, kind="visual")
    made = map_picture(world(4, edges=(edge, other), loops=1), Chunks())
    np.testing.assert_allclose(made.loop_L23, [[[0.1, 0, 0], [0.4, 0, 0]]])
    np.testing.assert_allclose(made.path_N3[:, 0], [0.1, 0.2, 0.3, 0.4])


def test_height_is_along_up() -> None:
    looking = placed(1, mounted(shift=(0.0, 0.0, 1.0)), depth_HW=WALL)
    made = map_picture(World(segment=1, keyframes=(looking,), up_source="base"), Chunks())
    assert made.level
    node = made.nodes[1, 0]
    shades = colors(node, "height", (0.0, 2.0, True))
    low = made.points()[:, 2] < 0.2
    high = made.points()[:, 2] > 1.8
    assert (shades[low][:, 2] > shades[low][:, 0]).all(), "blue is low"
    assert (shades[high][:, 0] > shades[high][:, 2]).all(), "red is high"


def test_a_loaded_map_is_shown_until_its_place_is_found() -> None:
    loaded, seen = world(5, segment=1), world(2, segment=2)
    both = replace(seen, keyframes=loaded.keyframes + seen.keyframes)
    assert shown_part(both, lost=False).segment == 2
    assert shown_part(both, lost=True).segment == 1
    assert shown_part(replace(loaded, segment=3), lost=False).segment == 1
    assert shown_part(World(), lost=True).segment == 0


@pytest.mark.slow
def test_memory_is_flat_over_500_keyframes() -> None:
    """Of chunks and of what viser keeps for pages to come, with a loop that moves all of them."""
    secret, chunks = "s", Chunks(each=1000, total=20_000)
    server = guarded_viser(secret)
    process = psutil.Process()
    try:
        drawing, whole = Drawing(server), world(500, step=0.02)
        grown: dict[int, int] = {}
        for count in range(1, 501):
            turn = pose((0.0, 0.0, 0.001 * (count // 50)))
            some = tuple(
                replace(one, T_map_body=turn @ one.T_map_body) for one in whole.keyframes[:count]
            )
            drawing.show(map_picture(replace(whole, keyframes=some), chunks), Look())
            assert drawing.shown <= 20_000
            assert len(drawing._drawn) <= NODES
            if count in (250, 500):
                gc.collect()
                server.flush()
                grown[count] = process.memory_info().rss
        more_mb = (grown[500] - grown[250]) / 1e6
        assert more_mb < 60.0, f"250 keyframes more take {more_mb:.0f} MB more"
        kept = len(server._websock_server._broadcast_buffer.message_from_id)
        assert kept < 20 * NODES, f"viser keeps {kept} messages for {NODES} nodes"
    finally:
        close_viser(server)
