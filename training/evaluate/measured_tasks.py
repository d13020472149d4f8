# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions that a robot asks and the training does not: over the floor, extents, reach, the way.

They judge what is measured beside the marks (`g2vlm_map.answers.extents`); no model is trained on
them. The robot stands where the newest frame's camera is, on the floor below it, and knows up, as
an IMU or its base would say it.

Base axes: x forward, y left, z up, metres. Shape letters: N frames, H W pixels, P points.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.answers.measure import Scale
from g2vlm_map.answers.passage import Nearby, opening, way
from g2vlm_map.answers.room import RoomExtent, patches_of, room_extent
from g2vlm_map.answers.surroundings import FloorLevel, Surroundings, floor_of, together
from g2vlm_map.around import SAID_SIGMA
from g2vlm_map.dense.obstacles import merged_cells
from g2vlm_map.dense.options import ObstacleOptions
from g2vlm_model.interface import GeometryPrediction, PixelMark

from ..synthetic.questions import Question, View

__all__ = ["MEASURED_TASKS", "measured_questions", "surroundings_of"]

MEASURED_TASKS = (
    *("elevation", "camera_height", "height", "width", "size", "height_of_one", "width_of_one"),
    *("above", "free_width", "way_free", "reach"),
)

Floats = NDArray[np.float64]

_WIDTH, _LENGTH = 0.5, 2.0  # of the robot, and of the way that it looks at
_LEAST = 0.2  # of an extent that is asked for, metres
_WHOLE = 0.9  # of a thing's extent that must be in sight, where one mark stands for all of it


def measured_questions(view: View, rng: np.random.Generator, knows_base: bool) -> list[Question]:
    """At most one question of each kind about a window, as far as its truth is known.

    Args:
        view: The window.
        rng: Source of every choice.
        knows_base: Whether a reach is from the base; else it is from the newest camera.
    """
    found = (make(view, rng) for make in (*_MAKERS, partial(_reach, knows_base)))
    return [question for question in found if question is not None]


def surroundings_of(
    view: View, geometry: GeometryPrediction, scale: Scale, knows_base: bool
) -> Surroundings:
    """What the robot would know around a scene.

    Args:
        view: The window; of its truth the newest camera's place on the robot is taken.
        geometry: The runtime's.
        scale: Metres of its units.
        knows_base: Whether somebody said how high the camera sits; else the floor is what is seen.
    """
    T_base_cam, metres = _T_base_cam(view), scale.metres_per_unit
    T_scene_cam = geometry.T_world_cam[-1].astype(np.float64)
    R_scene_base = T_scene_cam[:3, :3] @ T_base_cam[:3, :3].T
    up_3 = R_scene_base[:, 2]
    T_scene_base = np.eye(4)
    T_scene_base[:3, :3] = R_scene_base
    T_scene_base[:3, 3] = T_scene_cam[:3, 3] - R_scene_base @ T_base_cam[:3, 3] / metres
    T_scaled = T_scene_base.copy()
    T_scaled[:3, :3] /= metres
    good = geometry.valid & np.isfinite(geometry.world_points).all(axis=-1)
    points = geometry.world_points[good].astype(np.float64)
    local_P3 = (points - T_scene_base[:3, 3]) @ R_scene_base * metres
    said = FloorLevel(float(T_scene_base[:3, 3] @ up_3), SAID_SIGMA / metres)
    return Surroundings(
        up_3=up_3,
        floor=together(floor_of(geometry, up_3), said if knows_base else None),
        T_world_base=T_scene_base if knows_base else None,
        scale=scale,
        room=_room(geometry, R_scene_base),
        nearby=Nearby(*_standing(local_P3), T_scaled, _WIDTH, _LENGTH),
    )


def _room(geometry: GeometryPrediction, R_scene_base: Floats) -> RoomExtent:
    """The walls that the window shows, in level axes: corners are of no use here."""
    points, normals = [], []
    for frame, T in enumerate(geometry.T_world_cam.astype(np.float64)):
        level_HW3 = geometry.world_points[frame, ::3, ::3].astype(np.float64) @ R_scene_base
        good = geometry.valid[frame, ::3, ::3] & np.isfinite(level_HW3).all(axis=-1)
        found = patches_of(level_HW3, good, T[:3, 3] @ R_scene_base)
        points.append(found[0])
        normals.append(found[1])
    return replace(room_extent(np.concatenate(points), np.concatenate(normals)), corners_43=None)


def _T_base_cam(view: View) -> Floats:
    """(4, 4) of the newest camera on a robot that stands on the floor below and looks ahead."""
    T = view.T_world_cam_N44[-1]
    ahead = T[:2, 2] if np.hypot(*T[:2, 2]) > 0.1 else -T[:2, 1]
    c, s = ahead / np.hypot(*ahead)
    R_world_base = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    T_base_cam = np.eye(4)
    T_base_cam[:3, :3] = R_world_base.T @ T[:3, :3]
    T_base_cam[2, 3] = T[2, 3]
    return T_base_cam


def _standing(points_P3: Floats) -> tuple[Floats, Floats]:
    """Obstacles and floor among points of the base's axes, by the rules of `~/obstacles`."""
    rules = ObstacleOptions()
    near = np.hypot(points_P3[:, 0], points_P3[:, 1]) <= rules.max_range
    points_P3 = points_P3[near]
    z_P = points_P3[:, 2]
    obstacles = points_P3[(z_P >= rules.min_height) & (z_P <= rules.max_height)]
    return merged_cells(obstacles), points_P3[np.abs(z_P) < rules.min_height]


def _true_nearby(view: View) -> Nearby:
    T_base_world = _T_base_cam(view) @ view.T_cam_world_N44[-1]
    points = np.concatenate([_world(view, frame) for frame in range(view.frames)])
    local_P3 = points @ T_base_world[:3, :3].T + T_base_world[:3, 3]
    return Nearby(*_standing(local_P3), np.eye(4), _WIDTH, _LENGTH)


def _world(view: View, frame: int) -> Floats:
    rows_columns = np.argwhere(view.depth_NHW[frame] > 0)
    return view.world(frame, rows_columns)


def _mark(view: View, frame: int, pixel: NDArray[np.int64], label: str) -> PixelMark:
    return PixelMark(frame, float(pixel[1]), float(pixel[0]), label)


def _question(
    task: str,
    bare: str,
    value: float | None,
    marks: tuple[PixelMark, ...] = (),
    answer: str = "",
    options: tuple[str, ...] = (),
) -> Question:
    answer = answer or f"{value:.2f} m"
    return Question(task, bare, answer, value, bare=bare, marks=marks, options=options)


def _spot(view: View, rng: np.random.Generator) -> tuple[int, NDArray[np.int64], Floats] | None:
    """A steady pixel, on a thing where there is one: frame, (row, column), world point."""
    frame = int(rng.integers(view.frames))
    every, on_things = view.spots[frame]
    flat = on_things if len(on_things) and rng.random() < 0.7 else every
    if not len(flat):
        return None
    chosen = int(flat[int(rng.integers(len(flat)))])
    pixel = np.array(divmod(chosen, view.size_hw[1]))
    return frame, pixel, view.world(frame, pixel[None])[0]


def _elevation(view: View, rng: np.random.Generator) -> Question | None:
    found = _spot(view, rng)
    if found is None or found[2][2] < _LEAST:
        return None
    frame, pixel, point = found
    marks = (_mark(view, frame, pixel, "A"),)
    return _question("elevation", "How high above the floor is A?", float(point[2]), marks)


def _camera_height(view: View, rng: np.random.Generator) -> Question | None:
    height = float(view.T_world_cam_N44[-1, 2, 3])
    return _question("camera_height", "How high above the floor is the camera?", height)


def _things(
    view: View, rng: np.random.Generator
) -> Iterator[tuple[int, Floats, NDArray[np.int64]]]:
    """Things in random order: the frame's index, their pixels' world points, and the pixels."""
    seen = [one for frame in view.seen for one in frame]
    for index in rng.permutation(len(seen)):
        one = seen[int(index)]
        shown = (view.object_id_NHW[one.frame] == one.thing.object_id) & (
            view.steady_NHW[one.frame]
        )
        pixels = np.argwhere(shown)
        if len(pixels) >= 12:
            yield one.frame, view.world(one.frame, pixels), pixels


def _ends(kind: str) -> Callable[[View, np.random.Generator], Question | None]:
    """Of an extent between two marks at a thing's ends."""
    words = {
        "height": "How tall is the thing from A to B?",
        "width": "How wide is the thing from A to B?",
        "size": "How big is the thing from A to B?",
    }[kind]

    def make(view: View, rng: np.random.Generator) -> Question | None:
        for frame, world_P3, pixels in _things(view, rng):
            R = view.T_world_cam_N44[frame, :3, :3]
            along_P = world_P3[:, 2] if kind == "height" else world_P3[:, :2] @ R[:2, 0]
            ends = [int(np.argmax(along_P)), int(np.argmin(along_P))]
            way_3 = world_P3[ends[0]] - world_P3[ends[1]]
            value = {
                "height": abs(float(way_3[2])),
                "width": float(np.hypot(way_3[0], way_3[1])),
                "size": float(np.linalg.norm(way_3)),
            }[kind]
            if value >= _LEAST:
                labels = zip("AB", ends, strict=True)
                marks = tuple(_mark(view, frame, pixels[end], label) for label, end in labels)
                return _question(kind, words, value, marks)
        return None

    return make


def _whole(kind: str) -> Callable[[View, np.random.Generator], Question | None]:
    """Of the extent of a thing with one mark in its middle, where all of it is in sight."""
    words = {"height": "How tall is A?", "width": "How wide is A?"}[kind]

    def make(view: View, rng: np.random.Generator) -> Question | None:
        seen = [one for frame in view.seen for one in frame]
        for index in rng.permutation(len(seen)):
            one = seen[int(index)]
            pixels = np.argwhere(view.object_id_NHW[one.frame] == one.thing.object_id)
            world_P3 = view.world(one.frame, pixels)
            shown = float(np.ptp(world_P3[:, 2]))
            if shown < max(_LEAST, _WHOLE * one.thing.size[2]):
                continue
            aside = world_P3[:, :2] @ view.T_world_cam_N44[one.frame, :2, 0]
            value = one.thing.size[2] if kind == "height" else float(np.ptp(aside))
            steady = pixels[view.steady_NHW[one.frame][pixels[:, 0], pixels[:, 1]]]
            if value >= _LEAST and len(steady):
                middle = np.argmin(np.abs(steady - pixels.mean(axis=0)).sum(axis=1))
                marks = (_mark(view, one.frame, steady[middle], "A"),)
                return _question(f"{kind}_of_one", words, value, marks)
        return None

    return make


def _reach(knows_base: bool, view: View, rng: np.random.Generator) -> Question | None:
    found = _spot(view, rng)
    if found is None:
        return None
    frame, pixel, point = found
    origin = view.T_world_cam_N44[-1, :3, 3] * ((1.0, 1.0, 0.0) if knows_base else 1.0)
    away = float(np.linalg.norm(point - origin))
    arm = round(away * math.exp(rng.uniform(-0.7, 0.7)), 1)
    if not arm or abs(math.log(arm / away)) < 0.1:
        return None
    marks = (_mark(view, frame, pixel, "A"),)
    answer = "yes" if arm > away else "no"
    bare = f"Can you reach A within {arm:.1f} m?"
    return _question("reach", bare, None, marks, answer, ("yes", "no"))


def _above(view: View, rng: np.random.Generator) -> Question | None:
    one, other = _spot(view, rng), _spot(view, rng)
    if one is None or other is None or abs(one[2][2] - other[2][2]) < 0.1:
        return None
    marks = (_mark(view, one[0], one[1], "A"), _mark(view, other[0], other[1], "B"))
    answer = "above" if one[2][2] > other[2][2] else "below"
    bare = "Is A above or below B?"
    return _question("above", bare, None, marks, answer, ("above", "below"))


def _free_width(view: View, rng: np.random.Generator) -> Question | None:
    width = opening(_true_nearby(view)).width
    if width is None or width < _LEAST:
        return None
    return _question("free_width", "How much free width is there ahead?", width)


def _way_free(view: View, rng: np.random.Generator) -> Question | None:
    free = way(_true_nearby(view), 0.0).free
    if free is None:
        return None
    answer = "yes" if free else "no"
    return _question("way_free", "Is the way ahead free?", None, (), answer, ("yes", "no"))


_MAKERS = (
    *(_elevation, _camera_height, _ends("height"), _ends("width"), _ends("size")),
    *(_whole("height"), _whole("width"), _above, _free_width, _way_free),
)
