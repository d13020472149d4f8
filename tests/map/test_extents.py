# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Floor, robot, room and the way: against places that are known exactly."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_map.answers.grammar import understand
from g2vlm_map.answers.measure import Scale
from g2vlm_map.answers.passage import Nearby, opening, way
from g2vlm_map.answers.readers import read_geometry
from g2vlm_map.answers.reading import Reading, sighting_of
from g2vlm_map.answers.room import patches_of, room_extent
from g2vlm_map.answers.surroundings import FloorLevel, Surroundings, floor_of, together
from g2vlm_model.interface import FrameWindow, GeometryPrediction, PixelMark
from tests.map.placed import Floats
from tests.map.test_measure import F, make_scene, poses

UP = np.array([0.0, -1.0, 0.0])
HW = (48, 64)
CAMERA_HEIGHT = 1.2
TABLE = 0.5  # over the floor
MARKS = (
    PixelMark(0, 31, 10, "A"),  # on the wall, above the camera's height
    PixelMark(0, 31, 26, "B"),  # on the wall below A
    PixelMark(0, 45, 10, "C"),  # on the wall, right of A
    PixelMark(0, 8, 46, "T"),  # on a table at the left
)


def hall() -> tuple[GeometryPrediction, FrameWindow]:
    """A level camera over a floor, a wall 3 ahead; a table in the lower left corner."""
    v = (np.arange(HW[0])[:, None] - HW[0] / 2 + 0.5) / F * np.ones(HW)
    with np.errstate(divide="ignore"):
        floor = np.where(v > 0, CAMERA_HEIGHT / v, np.inf)
        table = np.where(v > 0, (CAMERA_HEIGHT - TABLE) / v, np.inf)
    depth = np.minimum(floor, 3.0)
    corner = np.zeros(HW, bool)
    corner[40:, :14] = True
    depth = np.where(corner, np.minimum(table, depth), depth)
    return make_scene(depth[None], poses(1), HW)


def read(question: str, around: Surroundings, marks: tuple[PixelMark, ...] = MARKS) -> Reading:
    geometry, window = hall()
    intent = understand(question, [mark.label for mark in marks])
    return read_geometry(intent, question, sighting_of(geometry, window, marks, around))


def known() -> Surroundings:
    geometry, _ = hall()
    return Surroundings(UP, floor_of(geometry, UP), scale=Scale(0.5, 0.05, "odometry"))


def test_the_floor_is_the_lowest_level_layer() -> None:
    floor = known().floor
    assert floor is not None
    assert floor.height == pytest.approx(-CAMERA_HEIGHT, abs=0.03)
    assert 0.02 < floor.sigma < 0.4
    geometry, _ = hall()
    assert floor_of(geometry, np.array([1.0, 0.0, 0.0])) is None, "a wall is no floor"


def test_a_table_that_hides_the_floor_is_no_floor_where_the_base_knows_better() -> None:
    seen, said = FloorLevel(-0.7, 0.03), FloorLevel(-1.2, 0.02)
    assert together(seen, said) == said
    near = together(FloorLevel(-1.18, 0.02), said)
    assert near is not None
    assert near.height == pytest.approx(-1.19)
    assert near.sigma == pytest.approx(0.02 / math.sqrt(2))
    assert together(None, said) == said
    assert together(seen, None) == seen


@pytest.mark.parametrize(
    ("question", "value"),
    [
        ("How high above the floor is A?", CAMERA_HEIGHT + 13.5 / F * 3.0),
        ("How high above the floor is T?", TABLE),
        ("How high above the floor is the camera?", CAMERA_HEIGHT),
        ("How tall is the thing from A to B?", 16 / F * 3.0),
        ("How wide is the thing from A to C?", 14 / F * 3.0),
        ("How big is the thing from B to C?", math.hypot(14, 16) / F * 3.0),
    ],
)
def test_lengths_that_need_floor_or_up(question: str, value: float) -> None:
    found = read(question, known())
    assert not found.lack
    assert found.value == pytest.approx(value, abs=0.06)
    assert found.sigma is not None
    assert 0.02 < found.sigma < 0.4 * value + 0.35


def test_heights_are_by_gravity_and_not_by_the_camera() -> None:
    """With up turned by 45 degrees the wall's points lie as high as they lie aside."""
    tilted = np.array([1.0, -1.0, 0.0]) / math.sqrt(2)
    found = read("How tall is the thing from A to C?", Surroundings(tilted))
    assert found.value == pytest.approx(14 / F * 3.0 / math.sqrt(2), rel=0.02)
    flat = read("How tall is the thing from A to C?", known())
    assert flat.value == pytest.approx(0.0, abs=1e-6)
    above = read("Is A above or below C?", Surroundings(tilted))
    assert above.choice == "below", "C lies to the right, which is up here"


@pytest.mark.parametrize(
    ("question", "around", "helps"),
    [
        ("How high above the floor is A?", Surroundings(), "the floor is not known"),
        ("How tall is A?", Surroundings(UP), "mark its top and its bottom"),
        ("Can you reach A?", Surroundings(UP, scale=Scale(1.0)), "query.reach"),
        ("Can you reach A within 2 m?", Surroundings(UP), "nothing fixes the scale"),
        ("How big is the room?", Surroundings(UP), "the walls are not known"),
        ("Is the way ahead free?", Surroundings(UP), "frames.base"),
        ("Seen from the door, is A left of C?", Surroundings(UP), "mark the door"),
    ],
)
def test_what_is_not_known_says_what_would_help(
    question: str, around: Surroundings, helps: str
) -> None:
    found = read(question, around)
    assert helps in found.lack
    assert found.value is None


def test_reach_is_from_the_base_in_metres() -> None:
    """A is about 3.3 units of 0.5 m from the camera."""
    assert read("Can you reach A within 2 m?", known()).choice == "yes"
    far = read("Can you reach A within 1 m?", known())
    assert far.choice == "no"
    assert "the reach is 1.00 m from the camera" in far.note
    assert far.lead > 1
    base = np.eye(4)
    base[:3, 3] = (0.0, 0.0, 2.0)
    near = replace(known(), T_world_base=base, reach=1.3)
    assert read("Can you reach A?", near).choice == "yes"
    assert read("Can you reach A?", replace(near, T_world_base=None)).choice == "no"


def test_left_is_that_of_who_looks() -> None:
    """From the base, turned to look back, and from a place on the wall that looks at us."""
    assert read("Is A left of C?", known()).choice == "yes"
    back = np.eye(4)
    back[:3, :3] = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    turned = replace(known(), T_world_base=back)
    question = "From the robot's point of view, is A left of C?"
    assert read(question, turned).choice == "no"
    between = read("Is T between the robot and A?", known())
    assert between.choice in ("yes", "no")
    marks = (PixelMark(0, 20, 40, "P"), PixelMark(0, 44, 40, "Q"), PixelMark(0, 31, 20, "V"))
    facing = read("Seen from V, is P left of Q?", known(), marks)
    assert facing.choice == "no", "who stands at the wall and looks back sees P at the right"


def floor_grid(x0: float, x1: float) -> Floats:
    x, y = np.meshgrid(np.arange(x0, x1, 0.05), np.arange(-1.5, 1.5, 0.05))
    return np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=-1)


NOTHING = np.zeros((0, 3))


def nearby(obstacles: Floats, floor: Floats, length: float = 2.0) -> Nearby:
    return Nearby(obstacles, floor, np.eye(4), 0.5, length)


def test_a_way_is_free_only_where_its_floor_was_seen() -> None:
    seen = way(nearby(NOTHING, floor_grid(0.0, 2.5)), 0.0)
    assert seen.free is True
    unseen = way(nearby(NOTHING, floor_grid(0.9, 2.5)), 0.0)
    assert unseen.free is None
    assert "beyond 0.4 m" in unseen.text, "only where the robot stands is known"
    assert way(nearby(NOTHING, NOTHING), 0.0).free is None
    gap = np.concatenate([floor_grid(0.0, 0.8), floor_grid(1.4, 2.5)])
    assert way(nearby(NOTHING, gap), 0.0).free is None


def test_an_obstacle_in_the_way_and_one_beside_it() -> None:
    box = np.array([[1.0, 0.1, 0.3]])
    blocked = way(nearby(box, floor_grid(0.0, 2.5)), 0.0)
    assert blocked.free is False
    assert blocked.clear == pytest.approx(1.0)
    assert blocked.lead > 3
    beside = np.array([[1.0, 0.6, 0.3]])
    assert way(nearby(beside, floor_grid(0.0, 2.5)), 0.0).free is True
    left = way(nearby(np.array([[0.1, 0.9, 0.3]]), floor_grid(0.0, 2.5)), math.pi / 2)
    assert left.free is False
    assert left.clear == pytest.approx(0.9)


def test_free_width_lies_between_what_stands_left_and_right() -> None:
    posts = np.array([[0.8, 0.5, 0.3], [1.2, -0.4, 0.3], [1.5, 0.9, 0.3]])
    found = opening(nearby(posts, floor_grid(0.0, 2.5)))
    assert found.width == pytest.approx(0.9)
    assert 0.02 < found.sigma < 0.2
    one = opening(nearby(posts[:1], floor_grid(0.0, 2.5)))
    assert one.width is None
    assert "to the right" in one.text
    wall = np.array([[1.0, y, 0.3] for y in np.arange(-1.0, 1.01, 0.05)])
    ahead = opening(nearby(np.concatenate([wall, [[0.5, 0.7, 0.3], [0.5, -0.7, 0.3]]]), NOTHING))
    assert ahead.width == pytest.approx(1.4), "up to the wall ahead"


def box_patches(turn: float, skip: int = -1) -> tuple[Floats, Floats]:
    """Patches of a room of 5 x 3 x 2.5 seen from its middle, turned; one of its sides left out."""
    half = np.array([2.5, 1.5, 1.25])
    points, normals = [], []
    c, s = math.cos(turn), math.sin(turn)
    R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    a, b = np.meshgrid(np.linspace(-1, 1, 30), np.linspace(-1, 1, 30))
    for side in range(6):
        axis, sign = side // 2, 1.0 - 2.0 * (side % 2)
        if side == skip:
            continue
        grid = np.zeros((30, 30, 3))
        grid[..., axis] = sign
        grid[..., (axis + 1) % 3], grid[..., (axis + 2) % 3] = a, b
        world = (grid * half) @ R.T
        point, normal = patches_of(world, np.ones((30, 30), bool), np.zeros(3))
        points.append(point)
        normals.append(normal)
    return np.concatenate(points), np.concatenate(normals)


@pytest.mark.parametrize("turn", [0.0, 0.4, -1.2])
def test_a_rooms_walls_are_found_whichever_way_it_lies(turn: float) -> None:
    room = room_extent(*box_patches(turn))
    assert room.sides == pytest.approx((5.0, 3.0), abs=0.02)
    assert room.height == pytest.approx(2.5, abs=0.02)
    assert room.corners_43 is not None
    np.testing.assert_allclose(
        np.linalg.norm(room.corners_43[:, :2], axis=1), math.hypot(2.5, 1.5), atol=0.03
    )


def test_a_wall_that_was_not_seen_is_not_guessed() -> None:
    room = room_extent(*box_patches(0.3, skip=0))
    assert "1 of 4 walls" in room.lack
    assert room.corners_43 is None
    around = replace(known(), room=room)
    assert "turn round" in read("How big is the room?", around).lack
    whole = replace(known(), room=room_extent(*box_patches(0.3)))
    area = read("How big is the room?", whole)
    assert area.unit == "m2"
    assert area.value == pytest.approx(15.0 * 0.25, rel=0.02)
    assert read("How high is the room?", whole).value == pytest.approx(2.5, abs=0.02)
    assert "metres" in read("How big is the room?", replace(whole, scale=None)).lack
