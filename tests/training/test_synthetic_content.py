# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Scenes hold what they should, where it can stand; cameras behave like cameras."""

from __future__ import annotations

import numpy as np
import pytest
from g2vlm_training.synthetic import (
    OBJECT_NAMES,
    PATH_STYLES,
    CameraModel,
    Room,
    camera_path,
    draw_camera,
    intrinsics,
    make_room,
    photograph,
    render,
    scene_seed,
)
from g2vlm_training.synthetic.parts import Shape

ROOMS = 110


@pytest.fixture(scope="module")
def rooms() -> list[Room]:
    return [make_room(scene_seed("val", index)) for index in range(ROOMS)]


def test_every_kind_of_thing_appears(rooms: list[Room]) -> None:
    names = {thing.name for room in rooms for thing in room.objects}
    assert names == set(OBJECT_NAMES)
    shapes = {int(shape) for room in rooms for shape in room.shape_M}
    assert shapes == {Shape.BOX, Shape.CONE, Shape.SPHERE}


def test_shares_and_sizes(rooms: list[Room]) -> None:
    outdoors = np.mean([room.kind == "outdoor" for room in rooms])
    assert 0.07 < outdoors < 0.25, outdoors
    inside = [room for room in rooms if room.kind == "indoor"]
    lengths = [max(room.size[:2]) for room in inside]
    assert min(lengths) < 4.5
    assert max(lengths) > 10
    for room in inside:
        assert room.floor_area is not None
        assert 3 < room.floor_area <= room.size[0] * room.size[1] + 1e-6
        assert 1 <= len(room.light_L3) <= 3
        assert len(room.objects) <= 250
    assert np.mean([len(room.objects) for room in inside]) > 15
    assert all(room.floor_area is None for room in rooms if room.kind == "outdoor")
    assert make_room(5, "outdoor").kind == "outdoor"


def test_objects_stand_in_the_room_and_have_their_own_numbers(rooms: list[Room]) -> None:
    for room in rooms[:40]:
        assert [thing.object_id for thing in room.objects] == list(range(1, len(room.objects) + 1))
        assert set(room.object_M.tolist()) <= {0, *range(1, len(room.objects) + 1)}
        for thing in room.objects:
            assert thing.centre[2] - thing.size[2] / 2 > -1e-3, thing
            assert thing.centre[2] + thing.size[2] / 2 < room.size[2] + 1e-3, thing
            assert np.all(np.abs(thing.centre[:2]) < np.array(room.size[:2]) / 2), thing


def test_primitives_lie_in_the_boxes_of_their_objects(rooms: list[Room]) -> None:
    """Exactly: every corner of every part, in the axes of the object."""
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    for room in rooms[:25]:
        for thing in room.objects:
            own = np.flatnonzero(room.object_M == thing.object_id)
            corners = signs[None] * room.half_M3[own][:, None]
            world = np.einsum("mij,mcj->mci", room.turn_M33[own], corners)
            world = world + room.centre_M3[own][:, None] - np.array(thing.centre)
            c, s = np.cos(thing.yaw), np.sin(thing.yaw)
            local = world @ np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
            reach = np.abs(local).max(axis=(0, 1))
            np.testing.assert_allclose(reach, np.array(thing.size) / 2, atol=2e-4)


@pytest.mark.parametrize("style", PATH_STYLES)
def test_no_camera_stands_inside_of_anything(style: str, rooms: list[Room]) -> None:
    """The lens keeps a distance from every primitive, in every style, at the style's height."""
    low, high = {
        "robot": (0.2, 0.7), "arm": (0.4, 1.2), "hand": (0.9, 1.85), "drive": (0.3, 1.6),
        "drone": (0.5, 4.0), "turn": (0.25, 1.85), "still": (0.25, 1.85),
    }[style]  # fmt: skip
    for index, room in enumerate(rooms[:30]):
        path = camera_path(room, index, 5, style, step=0.25, turn_deg=12.0)  # type: ignore[arg-type]
        for place in path[:, :3, 3]:
            local = np.einsum("mij,mi->mj", room.turn_M33[1:], place - room.centre_M3[1:])
            ratio = np.abs(local) / room.half_M3[1:]
            inside = ratio.max(axis=1) <= 1
            balls = room.shape_M[1:] == Shape.SPHERE
            inside &= ~balls | (np.linalg.norm(ratio, axis=1) <= 1)
            assert not inside.any(), (room.seed, place)
            assert low - 0.01 <= place[2] <= high + 0.01


def _steps(rooms: list[Room], style: str) -> tuple[np.ndarray, np.ndarray]:
    """Degrees between neighbours, and motion in the axes of the first of them, metres."""
    turns, moves = [], []
    for room in rooms[:30]:
        path = camera_path(room, 0, 5, style, step=0.2, turn_deg=8.0)  # type: ignore[arg-type]
        step = np.linalg.inv(path[:-1]) @ path[1:]
        cosine = (np.trace(step[:, :3, :3], axis1=1, axis2=2) - 1) / 2
        turns.append(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        moves.append(step[:, :3, 3])
    return np.concatenate(turns), np.concatenate(moves)


def test_each_way_of_moving_is_what_it_is_called(rooms: list[Room]) -> None:
    turns, moves = _steps(rooms, "drive")
    moved = np.linalg.norm(moves, axis=1) > 0.05  # the others are boxed in
    assert moved.mean() > 0.7
    assert np.median(turns[moved]) < 1.5
    assert np.median(moves[moved, 2] / np.linalg.norm(moves[moved], axis=1)) > 0.98
    turns, moves = _steps(rooms, "turn")
    assert np.median(turns) > 4
    assert np.linalg.norm(moves, axis=1).max() < 0.12
    turns, moves = _steps(rooms, "still")
    assert np.quantile(turns, 0.9) < 2
    assert np.quantile(np.linalg.norm(moves, axis=1), 0.9) < 0.02
    turns, moves = _steps(rooms, "drone")
    assert np.quantile(np.abs(moves[:, 1]), 0.75) > 0.02  # up and down too


def test_large_motion_still_overlaps(rooms: list[Room]) -> None:
    """Paths asked for 10 to 30 degrees and up to half a metre deliver it."""
    turns, moves = [], []
    for room in rooms[:40]:
        path = camera_path(room, 0, 4, "hand", step=0.35, turn_deg=18.0)
        step = np.linalg.inv(path[:-1]) @ path[1:]
        cosine = (np.trace(step[:, :3, :3], axis1=1, axis2=2) - 1) / 2
        turns.extend(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
        moves.extend(np.linalg.norm(step[:, :3, 3], axis=1))
    assert 5 < np.median(turns) < 30
    assert np.quantile(turns, 0.75) > 10
    assert 0.15 < np.median(moves) < 0.6


def test_a_default_camera_changes_hardly_anything_and_others_do() -> None:
    room = make_room(scene_seed("test", 3), "indoor")
    size = (42, 56)
    frames = render(room, camera_path(room, 0, 3, "hand"), intrinsics(70.0, size), size)
    plain = photograph(frames, CameraModel(), np.random.default_rng(0))
    assert np.abs(plain.rgb.astype(int) - frames.rgb).max() <= 13  # highlights roll off twice
    np.testing.assert_array_equal(plain.depth, frames.depth)
    dark = photograph(frames, CameraModel(exposure=0.5), np.random.default_rng(0))
    assert dark.rgb.mean() < 0.85 * frames.rgb.mean()
    edge = photograph(frames, CameraModel(vignette=0.8), np.random.default_rng(0)).rgb
    ratio = edge.astype(float) / np.maximum(plain.rgb, 1)
    assert ratio[:, :3, :3].mean() < 0.8
    assert ratio[:, 18:24, 25:31].mean() > 0.95
    noisy = photograph(frames, CameraModel(gain=6.0), np.random.default_rng(0)).rgb
    assert 1 < np.abs(noisy.astype(int) - plain.rgb).mean() < 20
    smeared = photograph(frames, CameraModel(shutter=1.0), np.random.default_rng(0)).rgb
    sharp = np.abs(np.diff(plain.rgb.astype(int), axis=2)).mean()
    assert np.abs(np.diff(smeared.astype(int), axis=2)).mean() < 0.97 * sharp
    packed = photograph(frames, CameraModel(jpeg_quality=20), np.random.default_rng(0)).rgb
    assert 0.5 < np.abs(packed.astype(int) - plain.rgb).mean() < 15
    rng = np.random.default_rng(1)
    drawn = [draw_camera(rng) for _ in range(50)]
    assert len({camera.exposure for camera in drawn}) == 50
    again = np.random.default_rng(4), np.random.default_rng(4)
    first, second = (photograph(frames, drawn[0], each).rgb for each in again)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="shutter is 2"):
        CameraModel(shutter=2.0)
    with pytest.raises(ValueError, match="jpeg_quality is 0"):
        CameraModel(jpeg_quality=0)
