# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Relations of things and imagined standpoints (SPAR-Bench's level "high").

Left, right, in front and behind are meant along the axes of a camera, or, after an imagined move
to a place facing another, in the horizontal plane. In front of a place is the side of whoever
looks, in front of whoever looks is what lies ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from .base import Question
from .draw import balanced, pick
from .places import Place, Pool, choice, draw_pool, write
from .view import View
from .words import LETTERS, template

__all__ = ["MAKERS"]

_QUADRANTS = ("left in front", "right in front", "left behind", "right behind")
_LEAD_M, _LEAD_SHARE = 0.12, 0.15  # by how much a relation must be clear
_CLOSE = 0.1  # contexts that differ by less, in shares of the picture, count as the same
_CLEAR_DEG = 15.0  # least angle from the border between two directions


def _clear(difference: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.bool_]:
    result: NDArray[np.bool_] = np.abs(difference) > np.maximum(_LEAD_M, _LEAD_SHARE * size)
    return result


def _alike(pool: Pool) -> NDArray[np.bool_]:
    """Pairs whose names say little about their order: on the floor, on the wall, on others."""
    if not pool.by_name:
        return np.ones((len(pool), len(pool)), bool)
    kinds = []
    for seen in pool.seen:
        low = seen.thing.centre[2] - seen.thing.size[2] / 2
        flat = min(seen.thing.size[:2]) < 0.1
        kinds.append(2 if flat else int(low > 0.1))
    kind = np.array(kinds)
    result: NDArray[np.bool_] = kind[:, None] == kind
    return result


def _distance_infer(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """Which of two places is nearer to, or farther from, a third; as often against the picture."""
    pool = draw_pool(view, rng, mv, 3)
    if pool is None:
        return None
    p = int(rng.integers(len(pool)))
    far = np.linalg.norm(pool.world_M3 - pool.world_M3[p], axis=-1)
    pixel = pool.pixel_M2 / view.size_hw[1]
    flat = np.linalg.norm(pixel - pixel[p], axis=-1) * (not pool.by_name)
    ratio = np.maximum(far, 1e-6)[:, None] / np.maximum(far, 1e-6)
    good = _alike(pool) & (far > 0.1)[:, None] & (far > 0.1)
    good[p] = good[:, p] = False
    if mv:
        apart = pool.frame_M != pool.frame_M[p]
        good &= apart[:, None] & apart
    answer = np.where(good & (ratio < 1 / 1.25), 0, np.where(good & (ratio > 1.25), 1, -1))
    found = balanced(rng, answer, flat[:, None] - flat, _CLOSE, 2)
    if found is None:
        return None
    a, b = found
    wants_far = bool(rng.random() < 0.4)
    letter = LETTERS[int(answer[a, b]) ^ wants_far]
    task = "distance_infer_center_oo" + "_mv" * mv
    slots: dict[str, Place | int | str] = {
        "p": pool.place(p, "P"), "a": pool.place(a, "A"), "b": pool.place(b, "B"),
        "f": int(pool.frame_M[p]), "nearer": "farther from" if wants_far else "nearer to",
    }  # fmt: skip
    words = template(rng, task + ("_names" if pool.by_name else ""))
    return write(view, task, words, slots, letter, options=LETTERS[:2])


def _relation_oc(view: View, rng: np.random.Generator) -> Question | None:
    """Where a place of one frame is, seen from the camera of another."""
    pool = draw_pool(view, rng, True, 2)
    if pool is None:
        return None
    i = int(rng.integers(view.frames))
    x, y, z = view.in_camera(i, pool.world_M3).T
    good = pool.frame_M != i
    upright = not pool.by_name and rng.random() < 0.4  # names tell heights, so marks only
    value, other = (y, np.hypot(x, z)) if upright else (x, np.abs(z))
    good &= np.abs(value) > np.tan(np.radians(5)) * other
    side = (value > 0).astype(np.int64)
    pixel = pool.pixel_M2 / view.size_hw
    context = pixel[:, 0 if upright else 1] * (not pool.by_name)
    answer = np.where(good & (z > 0.2), side, -1)
    options: tuple[str, ...] = ("above", "below") if upright else ("left", "right")
    found = None
    if not upright and (good & (z < -0.2)).any():
        found = balanced(rng, np.where(good, side + 2 * (z < 0), -1), context, _CLOSE, 4)
        options = _QUADRANTS if found else options
        answer = side + 2 * (z < 0) if found else answer
    if found is None:
        found = balanced(rng, answer, context, _CLOSE, 2)
    if found is None:
        return None
    task = "obj_spatial_relation_oc_mv"
    slots: dict[str, Place | int | str] = {"a": pool.place(found[0], "P"), "i": i}
    return choice(view, rng, task, slots, options, int(answer[found]))


def _relation_oo(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """Where one place is from another, seen by a camera.

    The columns of two marks of a frame tell left from right, so marks ask for the depth only.
    """
    pool = draw_pool(view, rng, mv, 2)
    if pool is None:
        return None
    i = int(rng.integers(view.frames)) if mv else int(pool.frame_M[0])
    local = view.in_camera(i, pool.world_M3)
    x, z = local[:, 0], local[:, 2]
    gap = np.linalg.norm(local[:, None] - local, axis=-1)
    dx, dz = x[:, None] - x, z[:, None] - z
    good = (z > 0.2)[:, None] & (z > 0.2) & _clear(dz, gap) & _alike(pool)
    if mv:
        good &= pool.frame_M[:, None] != pool.frame_M
    behind = (dz > 0).astype(np.int64)
    options: tuple[str, ...]
    if pool.by_name:
        # Either order of the two is as likely, so opposite corners are, and so are mirrored ones.
        options, right = _QUADRANTS, (dx > 0).astype(np.int64)
        answer = np.where(good & _clear(dx, gap), right + 2 * behind, -1)
        found = pick(rng, answer >= 0)
    else:
        options = ("in front", "behind")
        answer = np.where(good, behind, -1)
        row = pool.pixel_M2[:, 0] / view.size_hw[0]  # what is lower in a picture is mostly nearer
        found = balanced(rng, answer, row[:, None] - row, _CLOSE, 2)
    if found is None:
        return None
    a, b = found
    task = "obj_spatial_relation_oo" + "_mv" * mv
    slots: dict[str, Place | int | str] = {
        "a": pool.place(a, "P"), "b": pool.place(b, "Q"), "i": i, "f": i,
    }  # fmt: skip
    return choice(view, rng, task, slots, options, int(answer[found]))


def _imagination(
    view: View, rng: np.random.Generator, mv: bool, between_things: bool
) -> Question | None:
    """Where a place is, from the observer or from another place, after an imagined move.

    The observer stands at P and faces Q. What is asked from P must have every answer for some Q.
    """
    pool = draw_pool(view, rng, mv, 4 if between_things else 3)
    if pool is None or (mv and len(set(pool.frame_M.tolist())) < 2):
        return None
    p = int(rng.integers(len(pool)))
    flat = (pool.world_M3 - pool.world_M3[p])[:, :2]
    far = np.linalg.norm(flat, axis=-1)
    ok = far > 0.4
    bearing = np.arctan2(flat[:, 1], flat[:, 0])
    found = _turned_pair(rng, flat, ok, bearing) if between_things else _turned(rng, ok, bearing)
    if found is None:
        return None
    q, x, y, answer = found
    used = [p, q, x] + ([y] if between_things else [])
    if mv and len({int(pool.frame_M[k]) for k in used}) < 2:
        return None
    task = ("spatial_imagination_oo" if between_things else "spatial_imagination_oc") + "_mv" * mv
    slots: dict[str, Place | int | str] = {
        "p": pool.place(p, "P"), "q": pool.place(q, "Q"), "a": pool.place(x, "R"),
        "f": int(pool.frame_M[p]),
    }  # fmt: skip
    if between_things:
        slots["b"] = pool.place(y, "S")
    return choice(view, rng, task, slots, _QUADRANTS, answer)


def _turned(
    rng: np.random.Generator, ok: NDArray[np.bool_], bearing: NDArray[np.float64]
) -> tuple[int, int, int, int] | None:
    """Q, X, and where X is from P facing Q. Swapping Q and X swaps left and right."""
    delta = bearing - bearing[:, None]  # of X (column) from Q (row), to the left
    delta = np.arctan2(np.sin(delta), np.cos(delta))
    off = np.abs(np.degrees(np.abs(delta)) - np.array([[[0]], [[90]], [[180]]])).min(axis=0)
    good = ok[:, None] & ok & (off > _CLEAR_DEG)
    behind = (np.cos(delta) < 0).astype(np.int64)
    answer = np.where(good, (delta < 0) + 2 * behind, -1)
    found = balanced(rng, answer, np.zeros_like(delta), 0.0, 4)
    return None if found is None else (found[0], found[1], -1, int(answer[found]))


def _turned_pair(
    rng: np.random.Generator,
    flat: NDArray[np.float64],
    ok: NDArray[np.bool_],
    bearing: NDArray[np.float64],
) -> tuple[int, int, int, int] | None:
    """Q, X, Y, and where X is from Y for an observer at P who faces Q."""
    q = pick(rng, ok)
    if q is None:
        return None
    ahead = np.array([np.cos(bearing[q[0]]), np.sin(bearing[q[0]])])
    left = np.array([-ahead[1], ahead[0]])
    gap = flat[:, None] - flat
    size = np.linalg.norm(gap, axis=-1)
    to_left, away = gap @ left, gap @ ahead
    ok = ok.copy()
    ok[q[0]] = False
    good = ok[:, None] & ok & _clear(to_left, size) & _clear(away, size)
    answer = np.where(good, (to_left < 0) + 2 * (away > 0).astype(np.int64), -1)
    found = pick(rng, answer >= 0)
    return None if found is None else (q[0], found[0], found[1], int(answer[found]))


MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    "distance_infer_center_oo": partial(_distance_infer, mv=False),
    "distance_infer_center_oo_mv": partial(_distance_infer, mv=True),
    "obj_spatial_relation_oc_mv": _relation_oc,
    "obj_spatial_relation_oo": partial(_relation_oo, mv=False),
    "obj_spatial_relation_oo_mv": partial(_relation_oo, mv=True),
    "spatial_imagination_oc": partial(_imagination, mv=False, between_things=False),
    "spatial_imagination_oc_mv": partial(_imagination, mv=True, between_things=False),
    "spatial_imagination_oo": partial(_imagination, mv=False, between_things=True),
    "spatial_imagination_oo_mv": partial(_imagination, mv=True, between_things=True),
}
