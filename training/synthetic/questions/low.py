# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Depth and distance: numbers in metres (SPAR-Bench's level "low").

Depth is the z coordinate in a camera's axes, distance is Euclidean. A thing given by name stands
for the middle of its box. `mv` asks about places in different frames.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from .base import Question
from .draw import metres, pick_near
from .places import Place, Pool, draw_pool, write
from .view import View
from .words import template

__all__ = ["MAKERS"]

_MIN_DEPTH = 0.3
_RATIO = 3.0  # of the asked depth to the given one, at most


def _depths(
    view: View, rng: np.random.Generator, mv: bool, least: int
) -> tuple[Pool, int, np.ndarray[tuple[int, ...], np.dtype[np.float64]]] | None:
    """A pool, the frame whose camera looks, and every place's depth there."""
    pool = draw_pool(view, rng, mv, least)
    if pool is None:
        return None
    frame = int(rng.integers(view.frames)) if mv else int(pool.frame_M[0])
    return pool, frame, view.in_camera(frame, pool.world_M3)[:, 2]


def _slots(pool: Pool, a: int, b: int, frame: int) -> dict[str, Place | int | str]:
    return {"a": pool.place(a, "A"), "b": pool.place(b, "B"), "i": frame, "f": frame}


def _depth_oc(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """A place's depth is told, another's is asked."""
    drawn = _depths(view, rng, mv, 2)
    if drawn is None:
        return None
    pool, frame, z = drawn
    good = (z > _MIN_DEPTH)[:, None] & (z > _MIN_DEPTH) & ~np.eye(len(z), dtype=bool)
    if mv:
        good &= (pool.frame_M == frame)[:, None] & (pool.frame_M != frame)
    found = pick_near(rng, z / np.maximum(z, 1e-3)[:, None], good, 1 / _RATIO, _RATIO)
    if found is None:
        return None
    a, b = found
    task = "depth_prediction_oc" + "_mv" * mv
    slots = {**_slots(pool, a, b, frame), "given": metres(float(z[a]))}
    value = float(z[b])
    return write(view, task, template(rng, task), slots, metres(value), value=value)


def _depth_oo(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """By how much two depths differ."""
    drawn = _depths(view, rng, mv, 2)
    if drawn is None:
        return None
    pool, frame, z = drawn
    good = (z > _MIN_DEPTH)[:, None] & (z > _MIN_DEPTH)
    if mv:
        good &= (pool.frame_M == frame)[:, None] & (pool.frame_M != frame)
    found = pick_near(rng, np.abs(z[:, None] - z), good, 0.15, 4.0)
    if found is None:
        return None
    a, b = found
    task = "depth_prediction_oo" + "_mv" * mv
    value = float(abs(z[a] - z[b]))
    slots = _slots(pool, a, b, frame)
    return write(view, task, template(rng, task), slots, metres(value), value=value)


def _distance_oc(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """Distance of a place from a camera; with `mv` from that of another frame."""
    pool = draw_pool(view, rng, mv, 1)
    if pool is None:
        return None
    frame = int(rng.integers(view.frames)) if mv else int(pool.frame_M[0])
    good = pool.frame_M != frame if mv else np.ones(len(pool), bool)
    distance = np.linalg.norm(pool.world_M3 - view.T_world_cam_N44[frame, :3, 3], axis=-1)
    found = pick_near(rng, distance, good, 0.4, 6.0)
    if found is None:
        return None
    task = "distance_prediction_oc" + "_mv" * mv
    value = float(distance[found])
    slots: dict[str, Place | int | str] = {
        "a": pool.place(found[0], "A"), "i": frame, "f": frame,
    }  # fmt: skip
    return write(view, task, template(rng, task), slots, metres(value), value=value)


def _distance_oo(view: View, rng: np.random.Generator, mv: bool) -> Question | None:
    """Distance of two places; with `mv` in different frames."""
    pool = draw_pool(view, rng, mv, 2)
    if pool is None:
        return None
    distance = np.linalg.norm(pool.world_M3[:, None] - pool.world_M3, axis=-1)
    good = pool.frame_M[:, None] != pool.frame_M if mv else distance > 0
    found = pick_near(rng, distance, good, 0.25, 5.0)
    if found is None:
        return None
    a, b = found
    task = "distance_prediction_oo" + "_mv" * mv
    value = float(distance[a, b])
    slots = _slots(pool, a, b, int(pool.frame_M[a]))
    return write(view, task, template(rng, task), slots, metres(value), value=value)


MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    name + "_mv" * mv: partial(maker, mv=mv)
    for name, maker in (
        ("depth_prediction_oc", _depth_oc),
        ("depth_prediction_oo", _depth_oo),
        ("distance_prediction_oc", _distance_oc),
        ("distance_prediction_oo", _distance_oo),
    )
    for mv in (False, True)
}
