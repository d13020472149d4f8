# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Keyframes of the map, looked at again: where did I last see a door?

A keyframe keeps the model's small picture, so nothing beside the map is held, and
`map.max_memory_mb` bounds it. Keyframes that show another place or look another way are taken,
newest first, and encoded a few at a time as one window by the same runtime; each is asked how many
of the thing it shows. The search ends with the first window that shows one, with the question's
time, or with its bound. It runs in the thread of the questions: a pass waits for one window at
most.

Words that name things are the weakest of the embedded model: how often such a find is right is
measured like every other answer (group "memory" of `calibration.json`), and without that
measurement nothing is claimed.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import (
    AnswerSource,
    AnswerStatus,
    CrossCheck,
    Frame,
    FrameWindow,
    SpatialAnswer,
    SpatialQuery,
    SpatialRuntime,
)

from .answers.asked import MapPose, Recalled
from .answers.intent import Intent
from .answers.quantity import QuantityKind, parse_quantity
from .answers.reading import Reading
from .answers.recall import trail_of
from .answers.reliability import Reliability, features_of
from .answers.spelling import plural
from .mapping.keyframe import PlacedKeyframe
from .world import World

__all__ = ["Look", "LookingBack", "Sought", "features_of_look", "looked_at", "spread", "told"]

_LOG = logging.getLogger(__name__)

WINDOW = 4  # keyframes that are looked at together
MOST = 24  # keyframes that are looked at for one question
_APART_DEG, _APART_DEPTHS = 30.0, 0.5  # nearer than both to one that is taken shows the same
_MAX_TOKENS = 6
_COIN = 2 / 3  # less likely right, it says little: a coin has 1 / 2


@dataclass(frozen=True)
class Look:
    """What the model said of one picture.

    Args:
        count: How many it sees; 0 where it sees none, or said something else.
        token: Geometric mean of the probabilities of its words.
    """

    count: int
    token: float


@dataclass(frozen=True, eq=False)
class Sought:
    """What came of a search.

    Args:
        placed: The newest keyframe that shows the thing; None where none of those looked at does.
        look: What was said of it; of the least sure "none" where there is no keyframe.
        looked: Keyframes that were looked at.
        complete: All that were chosen were looked at, or one was found.
        oldest_ns: Stamp of the oldest that was looked at.
    """

    placed: PlacedKeyframe | None
    look: Look
    looked: int
    complete: bool
    oldest_ns: int = 0


class LookingBack:
    """Searches; one at a time.

    Args:
        runtime: The loaded model.
    """

    def __init__(self, runtime: SpatialRuntime) -> None:
        self._runtime = runtime
        self._windows = 0  # that were encoded: keys are never used twice

    def search(
        self,
        thing: str,
        world: World,
        deadline: float,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Sought:
        """Look for a thing, newest keyframes first.

        Args:
            thing: Its name, singular.
            world: Whose keyframes are looked at.
            deadline: Monotonic clock, s: no other window is encoded behind it.
            cancelled: Asked between two windows and by the runtime.

        Raises:
            ValueError: The map has no keyframe.
        """
        chosen = spread(world, MOST)
        if not chosen:
            raise ValueError("the map has no keyframe yet")
        limits = self._runtime.info.limits
        size = WINDOW if limits is None else max(1, min(WINDOW, limits.max_frames))
        least, looked = Look(0, 1.0), 0
        for start in range(0, len(chosen), size):
            if cancelled() or time.monotonic() >= deadline:
                break
            group = sorted(chosen[start : start + size], key=lambda one: one.keyframe.stamp_ns)
            seen = self._look(thing, group, deadline, cancelled)
            looked += len(seen)
            shown = [index for index, look in enumerate(seen) if look.count]
            oldest_ns = group[0].keyframe.stamp_ns
            if shown:
                return Sought(group[shown[-1]], seen[shown[-1]], looked, True, oldest_ns)
            least = min((least, *seen), key=lambda look: look.token)
        oldest_ns = min(one.keyframe.stamp_ns for one in chosen[: max(looked, 1)])
        return Sought(None, least, looked, looked == len(chosen), oldest_ns)

    def _look(
        self,
        thing: str,
        group: Sequence[PlacedKeyframe],
        deadline: float,
        cancelled: Callable[[], bool],
    ) -> list[Look]:
        self._windows += 1
        frames = []
        for placed in group:
            view, number = placed.keyframe.views[0], placed.keyframe.number
            key = f"looked-back-{self._windows}-{number}"
            frames.append(
                Frame(
                    np.ascontiguousarray(view.color_HW3),
                    *(placed.keyframe.stamp_ns, view.frame_id, view.camera, key),
                )
            )
        scene = self._runtime.observe(FrameWindow(tuple(frames)), cancelled=cancelled)
        try:
            return looked_at(self._runtime, scene, thing, len(group), deadline, cancelled)
        finally:
            scene.close()


def looked_at(
    runtime: SpatialRuntime,
    scene: object,
    thing: str,
    frames: int,
    deadline: float = math.inf,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Look]:
    """How many of a thing each frame of a scene shows, as the model says.

    Args:
        runtime: The model.
        scene: The runtime's.
        thing: Name, singular.
        frames: Of the scene.
        deadline: Monotonic clock, s.
        cancelled: Asked between two tokens.
    """
    seen = []
    for number in range(1, frames + 1):
        left_s = deadline - time.monotonic()
        query = SpatialQuery(
            f"How many {plural(thing)} are visible in frame {number}?",
            max_tokens=_MAX_TOKENS,
            max_seconds=left_s if math.isfinite(left_s) and left_s > 0 else None,
        )
        said = runtime.ask(scene, query, cancelled=cancelled)  # type: ignore[arg-type]
        quantity = parse_quantity(said.text) if said.status is AnswerStatus.OK else None
        counted = quantity is not None and quantity.kind is QuantityKind.NUMBER
        count = round(quantity.value) if counted and quantity is not None else 0
        seen.append(Look(max(0, count), said.confidence))
    return seen


def features_of_look(look: Look) -> NDArray[np.float64]:
    """(8,) `reliability.FEATURES` of a find, or of a search that found nothing.

    "agrees" stands for a thing that is seen, "disagrees" for one that is not.
    """
    check = CrossCheck.AGREES if look.count else CrossCheck.DISAGREES
    return features_of(check, look.token, Reading(), named=True)


def told(
    intent: Intent,
    sought: Sought,
    world: World,
    reliability: Reliability,
    min_confidence: float,
    model_id: str = "",
) -> tuple[SpatialAnswer, Recalled]:
    """The answer to when or where a thing was last seen; as sure as such finds were measured.

    Args:
        intent: The question, of kind LAST_SEEN about one thing.
        sought: What came of the search.
        world: The map.
        reliability: Of the model.
        min_confidence: Less likely answers are withheld, and any that beats no coin.
        model_id: Of the weights, for the answer.
    """
    newest_ns = max(placed.keyframe.stamp_ns for placed in world.keyframes)
    thing, found = intent.things[0], sought.placed
    answer = SpatialAnswer(
        AnswerStatus.OK, kind=intent.kind.value, text=str(sought.look.count), model_id=model_id
    )
    share = reliability.probability(intent, "text", features_of_look(sought.look))
    looked = f"{sought.looked} keyframes back to {(newest_ns - sought.oldest_ns) / 1e9:.0f} s ago"
    if share is None:
        why = f"how often this model finds a {thing} again was never measured: make calibrate"
        return replace(answer, status=AnswerStatus.UNSUPPORTED, message=why), Recalled(newest_ns)
    answer = replace(answer, confidence=share, is_calibrated=True)
    if share < max(min_confidence, _COIN):
        what = "there seems to be one" if found else "none seems to be there"
        why = f"{looked}: {what}, right in {share:.0%} of such cases; look for the {thing} again"
        return replace(answer, status=AnswerStatus.ABSTAINED, message=why), Recalled(newest_ns)
    answer = replace(answer, source=AnswerSource.TEXT)
    if found is None:
        rest = "" if sought.complete else "; there was no time for more"
        return replace(answer, reply="not seen", message=f"{looked}{rest}"), Recalled(newest_ns)
    ago_s = (newest_ns - found.keyframe.stamp_ns) / 1e9
    answer = replace(answer, reply=f"{ago_s:.0f} s ago", value=ago_s, unit="s", message=looked)
    if found.segment != world.segment:
        where = f"{looked}; in a part of the map that is not connected with the present place"
        return replace(answer, message=where), Recalled(newest_ns)
    trail, metres = trail_of(world), world.scale.metres_per_unit if world.scale.metric else 1.0
    row = next(k for k, one in enumerate(trail.placed) if one is found)
    T = trail.T_level_base_N44[row].copy()
    T[:3, 3] *= metres
    x, y, z = T[:3, 3]
    unit = "m" if world.scale.metric else "map units"
    answer = replace(
        answer,
        reply=f"{ago_s:.0f} s ago, seen from x {x:.2f}, y {y:.2f}, z {z:.2f} {unit}",
        points=np.array([T[:3, 3]], np.float32),
        labels=("seen from",),
        is_metric=world.scale.metric,
    )
    return answer, Recalled(newest_ns, (MapPose(found.keyframe.stamp_ns, T),))


def spread(world: World, most: int) -> list[PlacedKeyframe]:
    """Keyframes that show different places, newest first.

    A keyframe is left out where one that is taken was within half of its typical depth and within
    30 degrees of its direction of view, in the same segment. Where too many are left, every n-th
    of them is taken, the newest always.
    """
    newest_first = sorted(world.keyframes, key=lambda one: -one.keyframe.stamp_ns)
    chosen: list[PlacedKeyframe] = []
    for placed in newest_first:
        depth = placed.depth()
        known = depth[depth > 0]
        near = _APART_DEPTHS * (float(np.median(known)) if known.size else 1.0)
        if not any(_shows_the_same(placed, other, near) for other in chosen):
            chosen.append(placed)
    every = -(-len(chosen) // most)
    return chosen[:: max(1, every)]


def _shows_the_same(placed: PlacedKeyframe, other: PlacedKeyframe, near: float) -> bool:
    if placed.segment != other.segment:
        return False
    T, T_other = placed.T_map_body, other.T_map_body
    cosine = float(T[:3, 2] @ T_other[:3, 2])
    if cosine < math.cos(math.radians(_APART_DEG)):
        return False
    return float(np.linalg.norm(T[:3, 3] - T_other[:3, 3])) < near
