# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Whether a thing that keyframes have shown is found again by its name.

Each window of held-out rooms stands for keyframes of a map. A thing is asked for that one of its
frames shows with enough pixels, or, as often, one of which no frame shows a trace. What the
pipeline would answer is rated: right is a frame that shows it, or "not seen" where none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from g2vlm_map.answers.intent import Intent, Kind, Role, Subject
from g2vlm_map.looking_back import Look, features_of_look, looked_at
from g2vlm_model.interface import SpatialRuntime

from ..datasets.batch import ClipSource, draw_batch
from ..stages.question_batch import view_of
from ..synthetic.questions import View
from ..synthetic.questions.words import NAMES
from .answer_cases import window_of
from .calibrate import Rated

__all__ = ["MEMORY_TASKS", "memory_readings"]

MEMORY_TASKS = ("memory_shown", "memory_absent")

_FRAMES = 4


def memory_readings(
    runtime: SpatialRuntime, pool: ClipSource, windows: int, seed: int
) -> Iterator[Rated]:
    """Search windows of a pool; two searches each: a thing that is shown, and one that is not.

    Args:
        runtime: The model.
        pool: Where the windows come from.
        windows: How many.
        seed: Of the windows and the things.
    """
    generator = torch.Generator().manual_seed(seed)
    rng = np.random.default_rng([seed, 45])
    for number in range(windows):
        batch = draw_batch(pool, 1, _FRAMES, generator, None)
        view = view_of(batch, 0)
        scene = runtime.observe(window_of(batch, f"memory-{seed}-{number}"))
        for thing in _things(view, rng):
            seen = looked_at(runtime, scene, thing, view.frames)
            yield _rated(number, view, thing, seen)
        scene.close()


def _things(view: View, rng: np.random.Generator) -> list[str]:
    shown = sorted({one.thing.name for frame in view.seen for one in frame})
    traces = {view.by_id[i].name for ids in view.traces for i in ids}
    return [str(rng.choice(names)) for names in (shown, sorted(set(NAMES) - traces)) if names]


def _rated(number: int, view: View, thing: str, seen: Sequence[Look]) -> Rated:
    found = [index for index, look in enumerate(seen) if look.count]
    shows = [any(view.by_id[i].name == thing for i in ids) for ids in view.traces]
    if found:
        look, right = seen[found[-1]], shows[found[-1]]
    else:
        look, right = min(seen, key=lambda one: one.token), not any(shows)
    intent = Intent(Kind.LAST_SEEN, (Subject(Role.THING, thing),))
    task = MEMORY_TASKS[not any(shows)]
    return Rated(intent, number, features_of_look(look), right, None, look.token, task)
