# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Counting, the size of the room, and simple questions about camera, colours and names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np

from .base import Question
from .draw import balanced, pick, pick_near, two_frames
from .places import Place, draw_pool, write
from .view import View
from .words import LETTERS, NAMES, PALETTE, plural, template

__all__ = ["MAKERS"]

_MARGIN = 0.12  # by which an order must be clear, relatively
_MAX_COUNT = 9


def _count(view: View, rng: np.random.Generator) -> Question | None:
    """How many things of a kind are in one frame or in all; 0 is an answer too.

    A number is drawn first and a kind with that count second, so that 1 is not always right.
    Kinds of which something is hardly visible are not asked about.
    """
    everywhere = view.frames > 1 and rng.random() < 0.4
    frame = int(rng.integers(view.frames))
    seen = view.seen_anywhere if everywhere else view.seen[frame]
    traces = frozenset().union(*view.traces) if everywhere else view.traces[frame]
    ids = {one.thing.object_id for one in seen}
    tally = Counter(view.by_id[i].name for i in ids)
    faint = {view.by_id[i].name for i in traces - ids}
    if not tally:
        return None
    counts = {name: n for name, n in tally.items() if name not in faint and n <= _MAX_COUNT}
    numbers = sorted(set(counts.values()))
    if not numbers:
        return None
    shown = {one.thing.name for one in seen} | {view.by_id[i].name for i in traces}
    weights = np.array([0.5, *(1.0 if n == 1 else 3.0 for n in numbers)])
    number = int(rng.choice([0, *numbers], p=weights / weights.sum()))
    kinds = sorted(n for n, count in counts.items() if count == number)
    if number == 0:
        kinds = sorted(set(NAMES) - shown)
    name = str(rng.choice(kinds))
    meant = tuple(sorted(i for i in ids if view.by_id[i].name == name))
    words = plural(name)
    task = "object_count"
    return write(
        view, task, template(rng, task + "_all" * everywhere), {"f": frame, "things": words},
        str(number), value=float(number),
        kinds=((words, -1 if everywhere else frame, meant),) if meant else (),
    )  # fmt: skip


def _room_size(view: View, rng: np.random.Generator) -> Question | None:
    """Floor area of the room; length times width where nothing else is known of it."""
    if view.floor_area is not None:
        value = float(view.floor_area)
    elif view.room_size is not None:
        value = float(view.room_size[0] * view.room_size[1])
    else:
        return None
    task = "room_size"
    answer = f"{round(value)} square meters"
    return write(view, task, template(rng, task), {}, answer, value=value)


def _turn(view: View, rng: np.random.Generator) -> Question | None:
    pair = two_frames(view, rng)
    if pair is None:
        return None
    i, j = pair
    T_i_j = view.T_cam_world_N44[i] @ view.T_world_cam_N44[j]
    yaw = float(np.degrees(np.arctan2(T_i_j[0, 2], T_i_j[2, 2])))
    if abs(yaw) < 2.0:
        return None
    words = template(rng, "turn")
    answer = "right" if yaw > 0 else "left"
    return write(view, "turn", words, {"i": i, "j": j}, answer, options=("left", "right"))


def _angle(view: View, rng: np.random.Generator) -> Question | None:
    R = view.T_world_cam_N44[:, :3, :3]
    cosine = (np.einsum("iab,jab->ij", R, R) - 1) / 2
    degrees = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
    found = pick_near(rng, degrees, degrees > 1.0, 2.0, 60.0)
    if found is None:
        return None
    i, j = found
    value = float(degrees[i, j])
    answer = f"{round(value)} degrees"
    return write(view, "angle", template(rng, "angle"), {"i": i, "j": j}, answer, value=value)


def _motion(view: View, rng: np.random.Generator) -> Question | None:
    """The main direction of a motion; sideways as often as the window allows it."""
    T_ij = view.T_cam_world_N44[:, None] @ view.T_world_cam_N44
    right, forward = T_ij[..., 0, 3], T_ij[..., 2, 3]
    big = np.maximum(np.abs(right), np.abs(forward))
    small = np.minimum(np.abs(right), np.abs(forward))
    clear = (big > 0.05) & (big > 1.5 * small)
    sideways = clear & (np.abs(right) > np.abs(forward))
    along = clear & ~sideways
    if not sideways.any() and rng.random() < 0.85:  # most robots drive ahead
        return None
    found = pick(rng, sideways if sideways.any() and rng.random() < 0.6 else along)
    if found is None:
        return None
    i, j = found
    if sideways[found]:
        answer = "right" if right[found] > 0 else "left"
    else:
        answer = "forward" if forward[found] > 0 else "backward"
    options = ("left", "right", "forward", "backward")
    words = template(rng, "motion")
    return write(view, "motion", words, {"i": i, "j": j}, answer, options=options)


def _nearer(view: View, rng: np.random.Generator) -> Question | None:
    """Which of two places of a frame is nearer to its camera, as often the upper as the lower."""
    pool = draw_pool(view, rng, False, 2)
    if pool is None:
        return None
    frame = int(pool.frame_M[0])
    distance = np.linalg.norm(view.in_camera(frame, pool.world_M3), axis=-1)
    ratio = distance[:, None] / distance
    clear = 1 + 2 * _MARGIN
    answer = np.where(ratio < 1 / clear, 0, np.where(ratio > clear, 1, -1))
    row = pool.pixel_M2[:, 0] / view.size_hw[0] * (not pool.by_name)
    found = balanced(rng, answer, row[:, None] - row, 0.1, 2)
    if found is None:
        return None
    wants_far = bool(rng.random() < 0.4)
    slots: dict[str, Place | int | str] = {
        "a": pool.place(found[0], "A"), "b": pool.place(found[1], "B"), "f": frame,
        "nearer": "farther from" if wants_far else "nearer to",
    }  # fmt: skip
    letter = LETTERS[int(answer[found]) ^ wants_far]
    words = template(rng, "nearer" + ("_names" if pool.by_name else ""))
    return write(view, "nearer", words, slots, letter, options=LETTERS[:2])


def _side(view: View, rng: np.random.Generator) -> Question | None:
    """Which of two named things is farther left in the picture."""
    frame = int(rng.integers(view.frames))
    named = [one for one in view.seen[frame] if one.name]
    columns = np.array([one.column for one in named])
    found = pick(rng, np.abs(columns[:, None] - columns) > _MARGIN * view.size_hw[1])
    if found is None:
        return None
    a, b = (named[k] for k in found)
    slots: dict[str, Place | int | str] = {"a": Place.of(a), "b": Place.of(b), "f": frame}
    answer = "left" if a.column < b.column else "right"
    return write(view, "side", template(rng, "side"), slots, answer, options=("left", "right"))


def _colour(view: View, rng: np.random.Generator) -> Question | None:
    """The colour of a thing whose name alone is unique; rare colours as often as frequent ones."""
    frame = int(rng.integers(view.frames))
    unique = [one for one in view.seen[frame] if one.name == one.thing.name and one.thing.colour]
    if not unique:
        return None
    wanted = str(rng.choice(sorted({one.thing.colour for one in unique})))
    fitting = [one for one in unique if one.thing.colour == wanted]
    one = fitting[int(rng.integers(len(fitting)))]
    slots: dict[str, Place | int | str] = {"a": Place.of(one), "f": frame}
    return write(view, "colour", template(rng, "colour"), slots, wanted, options=PALETTE)


def _what(view: View, rng: np.random.Generator) -> Question | None:
    """The name of the thing under a mark."""
    frame = int(rng.integers(view.frames))
    if not view.seen[frame]:
        return None
    wanted = str(rng.choice(sorted({one.thing.name for one in view.seen[frame]})))
    ids = [one.thing.object_id for one in view.seen[frame] if one.thing.name == wanted]
    found = pick(rng, np.isin(view.object_id_NHW[frame], ids) & view.steady_NHW[frame])
    if found is None:
        return None
    place = Place(frame, (found[0], found[1]), None, "A", False)
    return write(view, "what", template(rng, "what"), {"a": place}, wanted, options=NAMES)


MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    "object_count": _count, "room_size": _room_size, "turn": _turn, "angle": _angle,
    "motion": _motion, "nearer": _nearer, "side": _side, "colour": _colour, "what": _what,
}  # fmt: skip
