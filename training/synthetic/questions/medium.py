# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Matching positions and camera motion (SPAR-Bench's level "medium").

The offered places are marks A to D. They are drawn so that neither their places nor that of the
mark in question tell which is right: the right one is as often the nearest to it, in pixels, as
the second, third or farthest.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .base import Question
from .draw import metres, two_frames
from .places import Place, draw_pool, write
from .view import View
from .words import LETTERS, template

__all__ = ["MAKERS", "view_change"]

_APART = 0.1  # least distance of two offered places, in picture widths
_LEAST_SHIFT = 0.12  # of the matched place between its frames
_MIRRORED = 0.18  # least distance of a camera's place from its mirror image
_SEEN = 0.05  # relative difference of depth up to which a point counts as visible


def _offer(frame: int, pixels: NDArray[np.float64]) -> list[Place]:
    return [
        Place(frame, (int(row), int(column)), None, label, False)
        for (row, column), label in zip(pixels, LETTERS, strict=False)
    ]


def _position_matching(view: View, rng: np.random.Generator) -> Question | None:
    """Where in another frame the same place is."""
    pool = draw_pool(view, rng, True, 1)
    if pool is None:
        return None
    k = int(rng.integers(len(pool)))
    i = int(pool.frame_M[k])
    j = (i + int(rng.integers(1, view.frames))) % view.frames
    if pool.by_name:
        others = [s for s in view.seen_anywhere if s.frame == j]
        same = [s for s in others if s.thing.object_id == pool.seen[k].thing.object_id]
        if not same:
            return None
        target = np.array([same[0].row, same[0].column])
        if not view.inside(target[None])[0]:
            return None
    else:
        target = view.project(j, pool.world_M3[k : k + 1])[0]
        if not view.inside(target[None])[0]:
            return None
        row, column = (int(x) for x in np.round(target))
        z = float(view.in_camera(j, pool.world_M3[k : k + 1])[0, 2])
        if abs(float(view.depth_NHW[j, row, column]) - z) > _SEEN * z:
            return None
    pixels = _distractors(view, rng, pool.pixel_M2[k].astype(np.float64), np.round(target))
    if pixels is None:
        return None
    order = rng.permutation(len(pixels))
    answer = LETTERS[int(np.flatnonzero(order == 0)[0])]
    slots: dict[str, Place | int | str] = {"p": pool.place(k, "P"), "j": j}
    task = "position_matching"
    return write(
        view, task, template(rng, task), slots, answer,
        options=LETTERS, extra_marks=_offer(j, pixels[order]),
    )  # fmt: skip


def _distractors(
    view: View, rng: np.random.Generator, source: NDArray[np.float64], target: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """The target and three wrong places: a uniform number of them nearer to the source."""
    width = view.size_hw[1]
    shift = float(np.linalg.norm(target - source))
    if shift < _LEAST_SHIFT * width:
        return None
    nearer = int(rng.integers(4))
    chosen = [target]
    for number in range(3):
        for _ in range(24):
            share = rng.uniform(0.1, 0.85) if number < nearer else rng.uniform(1.15, 2.0)
            angle = rng.uniform(0, 2 * np.pi)
            offset = share * shift * np.array([np.sin(angle), np.cos(angle)])
            place = np.round(source + offset)
            apart = np.linalg.norm(np.stack(chosen) - place, axis=-1).min()
            if view.inside(place[None])[0] and apart >= _APART * width:
                chosen.append(place)
                break
        else:
            return None
    return np.stack(chosen)


def _camera_motion(view: View, rng: np.random.Generator) -> Question | None:
    """Where in one frame the camera of another frame stands, and how far away along the axis.

    Two places, mirrored left and right, with two depths each, of which the right one is as
    often the smaller.
    """
    pair = two_frames(view, rng)
    if pair is None:
        return None
    for i, j in (pair, pair[::-1]):
        centre = view.T_world_cam_N44[j, :3, 3][None]
        depth = float(view.in_camera(i, centre)[0, 2])
        pixel = np.round(view.project(i, centre)[0])
        if depth > 0.05 and view.inside(pixel[None])[0]:
            break
    else:
        return None
    width = view.size_hw[1]
    if abs(2 * pixel[1] - (width - 1)) < _MIRRORED * width:
        return None
    mirrored = np.array([pixel[0], width - 1 - pixel[1]])
    factor = float(rng.uniform(1.6, 3.0))
    other = depth * factor if rng.random() < 0.5 else depth / factor
    places = np.stack((pixel, mirrored, pixel, mirrored))
    depths = np.array([depth, depth, other, other])
    order = rng.permutation(4)
    answer = LETTERS[int(np.flatnonzero(order == 0)[0])]
    offered = ", ".join(
        f"{letter} {metres(float(depths[k]))}" for letter, k in zip(LETTERS, order, strict=True)
    )
    task = "camera_motion_infer"
    slots: dict[str, Place | int | str] = {"i": i, "j": j, "offered": offered}
    return write(
        view, task, template(rng, task), slots, answer,
        options=LETTERS, extra_marks=_offer(i, places[order]),
    )  # fmt: skip


def _view_change(view: View, rng: np.random.Generator) -> Question | None:
    """How the camera moves and turns, in the axes of the first camera."""
    pair = two_frames(view, rng)
    if pair is None:
        return None
    i, j = pair
    values = view_change(view.T_cam_world_N44[i] @ view.T_world_cam_N44[j])
    right, up, forward, turn, tilt = values
    if np.linalg.norm(values[:3]) < 0.03 and max(abs(turn), abs(tilt)) < 2:
        return None
    answer = " ".join(
        (
            f"{'right' if right >= 0 else 'left'} {abs(right):.2f}",
            f"{'up' if up >= 0 else 'down'} {abs(up):.2f}",
            f"{'forward' if forward >= 0 else 'backward'} {abs(forward):.2f}",
            f"turn {'right' if turn >= 0 else 'left'} {abs(turn):.0f}",
            f"{'up' if tilt >= 0 else 'down'} {abs(tilt):.0f}",
        )
    )
    task = "view_change_infer"
    slots: dict[str, Place | int | str] = {"i": i, "j": j}
    return write(view, task, template(rng, task), slots, answer, values=values)


def view_change(T_i_j_44: NDArray[np.float64]) -> tuple[float, float, float, float, float]:
    """Right, up, forward (metres, centimetres rounded), turn to the right, up (whole degrees).

    Args:
        T_i_j_44: Pose of the second camera in the axes of the first.
    """
    right, up, forward = T_i_j_44[0, 3], -T_i_j_44[1, 3], T_i_j_44[2, 3]
    x, y, z = T_i_j_44[:3, 2]
    turn = np.degrees(np.arctan2(x, z))
    tilt = np.degrees(np.arctan2(-y, np.hypot(x, z)))
    lengths = (round(float(v), 2) for v in (right, up, forward))
    angles = (float(round(float(v))) for v in (turn, tilt))
    return (*lengths, *angles)  # type: ignore[return-value]


MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    "position_matching": _position_matching,
    "camera_motion_infer": _camera_motion,
    "view_change_infer": _view_change,
}
