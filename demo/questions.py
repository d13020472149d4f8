# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions with exact answers about pictures of a drive, as the replay reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from g2vlm_training.synthetic import RenderedFrames, Room, SceneObject
from g2vlm_training.synthetic.questions import Question, View, ask
from g2vlm_training.synthetic.room import COLOURS

from g2vlm_map.keyframes import KeyframeChooser
from g2vlm_map.options import KeyframeOptions
from g2vlm_map.pixels import CompressedPixels

__all__ = ["keyframes_of", "make_questions"]

ASKED_AT_SHARE = (0.2, 0.4, 0.6, 0.8, 0.97)  # of the keyframes
MAX_TOKENS = 12
MIN_OBJECT_PIXELS = 250
TRIES = 40
# Types that one picture can answer; marks name the places.
ASKED = (
    "what", "distance_prediction_oc", "distance_prediction_oo", "nearer", "depth_prediction_oc",
    "depth_prediction_oo", "distance_infer_center_oo", "obj_spatial_relation_oo",
)  # fmt: skip


def make_questions(
    room: Room, scene: RenderedFrames, keyframes: Sequence[int]
) -> list[dict[str, Any]]:
    """A handful of questions at each of some keyframes.

    Args:
        room: The scene.
        scene: All pictures of the drive.
        keyframes: Those that the node uses; questions are about some of these.
    """
    questions = []
    for share in ASKED_AT_SHARE:
        questions += _questions_at(room, scene, keyframes[int(share * (len(keyframes) - 1))])
    return questions


def keyframes_of(jpegs: Sequence[bytes], stamps_ns: Sequence[int]) -> list[int]:
    """Pictures that the node uses with its default parameters.

    Args:
        jpegs: All pictures, compressed.
        stamps_ns: Their stamps.
    """
    chooser = KeyframeChooser(KeyframeOptions())
    found = []
    for index, (code, stamp) in enumerate(zip(jpegs, stamps_ns, strict=True)):
        pixels = CompressedPixels(SimpleNamespace(format="jpeg", data=code))
        pixels.size(1 << 24)
        verdict = chooser.judge("camera", stamp, pixels.gray)
        if verdict is not None:
            chooser.accept(verdict, (), 0)
            found.append(index)
    return found


def _questions_at(room: Room, scene: RenderedFrames, index: int) -> list[dict[str, Any]]:
    """One question of each type and a colour at one picture, as far as it shows enough."""
    view = View(
        room.objects,
        scene.depth[index : index + 1],
        scene.object_id[index : index + 1],
        scene.T_world_cam[index : index + 1],
        np.asarray(scene.K, np.float64)[None],
    )
    rng = np.random.default_rng([room.seed, index])
    made = []
    for task in ASKED:
        tries = (ask(view, task, rng) for _ in range(TRIES))
        question = next((q for q in tries if q is not None and not q.by_name), None)
        if question is not None:
            made.append(_entry(question, index))
    colour = _colour_of_one(room, scene, index)
    return made if colour is None else [*made, colour]


def _entry(question: Question, index: int) -> dict[str, Any]:
    """A question as the replay reads it; lengths are metres."""
    expected: dict[str, Any] = {"text": question.answer}
    if question.value is not None:
        expected = {"value": round(question.value, 3), "unit": "m"}
    places = [{"label": mark.label, "u": mark.u, "v": mark.v} for mark in question.marks]
    return {
        "kind": question.task, "question": question.bare, "at": {"frame": index},
        "expected": expected, "max_tokens": MAX_TOKENS, "marks": places,
    }  # fmt: skip


def _colour_of_one(room: Room, scene: RenderedFrames, index: int) -> dict[str, Any] | None:
    """The colour of the only thing of its name so far that looks like its colour."""
    counts = np.bincount(scene.object_id[index].ravel(), minlength=256)
    so_far = set(np.unique(scene.object_id[: index + 1]).tolist())
    names = Counter(thing.name for thing in room.objects if thing.object_id in so_far)
    for thing in sorted(room.objects, key=lambda thing: -int(counts[thing.object_id])):
        if counts[thing.object_id] < MIN_OBJECT_PIXELS or names[thing.name] > 1:
            continue
        if thing.colour and _looks(scene, index, thing) == thing.colour:
            return {
                "kind": "colour", "question": f"What colour is the {thing.name}?",
                "at": {"frame": index}, "expected": {"text": thing.colour},
                "max_tokens": MAX_TOKENS,
            }  # fmt: skip
    return None


def _looks(scene: RenderedFrames, index: int, thing: SceneObject) -> str:
    """The colour name that most of a thing's pixels show, whatever its light is."""
    rgb = scene.rgb[index][scene.object_id[index] == thing.object_id] / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    tints = np.array(list(COLOURS.values()))
    hue = linear / np.linalg.norm(linear, axis=1, keepdims=True).clip(1e-6)
    near = np.argmax(hue @ (tints / np.linalg.norm(tints, axis=1, keepdims=True)).T, axis=1)
    return list(COLOURS)[int(np.bincount(near).argmax())]
