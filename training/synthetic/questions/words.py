# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The words of the questions: templates per type, and the tokenizer's training texts.

Fields: `a`, `b`, `p`, `q` places, `f`, `i`, `j` frames, the rest words. A clause " in {f}" is left
out where marks name the frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..builder import COLOURS
from ..pieces import OBJECT_NAMES

__all__ = ["LETTERS", "NAMES", "PALETTE", "TEMPLATES", "corpus", "plural", "template"]

LETTERS = ("A", "B", "C", "D")
NAMES = OBJECT_NAMES
PALETTE = tuple(sorted(COLOURS))

TEMPLATES: dict[str, tuple[str, ...]] = {
    "depth_prediction_oc": (
        "The depth of {a} is {given}. What is the depth of {b} in {f}?",
        "With {a} at a depth of {given}, how deep is {b} in {f}?",
    ),
    "depth_prediction_oc_mv": (
        "Seen from {i}, the depth of {a} is {given}. What is the depth of {b}?",
        "With {a} at a depth of {given} from {i}, how deep is {b}?",
    ),
    "depth_prediction_oo": (
        "What is the difference in depth between {a} and {b} in {f}?",
        "By how much do the depths of {a} and {b} differ in {f}?",
    ),
    "depth_prediction_oo_mv": (
        "Seen from {i}, what is the difference in depth between {a} and {b}?",
        "From {i}, by how much do the depths of {a} and {b} differ?",
    ),
    "distance_prediction_oc": (
        "How far is {a} from the camera in {f}?",
        "What is the distance between {a} and the camera in {f}?",
    ),
    "distance_prediction_oc_mv": (
        "How far is {a} from the camera of {i}?",
        "What is the distance between {a} and the camera of {i}?",
    ),
    "distance_prediction_oo": (
        "How far is {a} from {b} in {f}?",
        "What is the distance between {a} and {b} in {f}?",
    ),
    "distance_prediction_oo_mv": (
        "How far is {a} from {b}?",
        "What is the distance between {a} and {b}?",
    ),
    "position_matching": (
        "Which mark in {j} is at the same place as {p}?",
        "Where in {j} is {p}?",
    ),
    "camera_motion_infer": (
        "Where in {i} is the camera of {j}? {offered}",
        "Which mark in {i} is the place of the camera of {j}? {offered}",
    ),
    "view_change_infer": (
        "How does the camera move and turn from {i} to {j}?",
        "Which motion takes the camera from {i} to {j}?",
    ),
    "distance_infer_center_oo": ("Which is {nearer} {p}, {a} or {b}?",),
    "distance_infer_center_oo_names": ("In {f}, which is {nearer} {p}? A. {a} B. {b}",),
    "distance_infer_center_oo_mv": ("Which is {nearer} {p}, {a} or {b}?",),
    "distance_infer_center_oo_mv_names": ("Which is {nearer} {p}? A. {a} B. {b}",),
    "obj_spatial_relation_oc_mv": (
        "Seen from the camera of {i}, where is {a}?",
        "Where is {a} for the camera of {i}?",
    ),
    "obj_spatial_relation_oo": (
        "Where is {a} from {b} in {f}?",
        "Seen by the camera, where is {a} from {b} in {f}?",
    ),
    "obj_spatial_relation_oo_mv": (
        "Seen from {i}, where is {a} from {b}?",
        "For the camera of {i}, where is {a} from {b}?",
    ),
    "spatial_imagination_oc": (
        "You stand at {p} and face {q}. Where is {a} in {f}?",
        "From {p}, facing {q}, where is {a} in {f}?",
    ),
    "spatial_imagination_oc_mv": (
        "You stand at {p} and face {q}. Where is {a}?",
        "From {p}, facing {q}, where is {a}?",
    ),
    "spatial_imagination_oo": (
        "You stand at {p} and face {q}. Where is {a} from {b} in {f}?",
        "From {p}, facing {q}, where is {a} from {b} in {f}?",
    ),
    "spatial_imagination_oo_mv": (
        "You stand at {p} and face {q}. Where is {a} from {b}?",
        "From {p}, facing {q}, where is {a} from {b}?",
    ),
    "object_count": (
        "How many {things} are visible in {f}?",
        "Count the {things} in {f}.",
    ),
    "object_count_all": (
        "How many {things} are visible in all frames?",
        "Count the {things} in all frames.",
    ),
    "room_size": (
        "What is the floor area of the room?",
        "How many square meters is the floor of the room?",
    ),
    "turn": (
        "Did the camera turn left or right from {i} to {j}?",
        "Which way did the camera turn from {i} to {j}, left or right?",
    ),
    "angle": (
        "By how many degrees did the camera turn from {i} to {j}?",
        "How many degrees did the camera rotate between {i} and {j}?",
    ),
    "motion": (
        "Did the camera move forward, backward, left or right from {i} to {j}?",
        "Which way did the camera move from {i} to {j}?",
    ),
    "nearer": (
        "Which is {nearer} the camera, {a} or {b}?",
        "Which of {a} and {b} is {nearer} the camera?",
    ),
    "nearer_names": ("In {f}, which is {nearer} the camera? A. {a} B. {b}",),
    "side": (
        "In {f}, is {a} to the left or to the right of {b}?",
        "Is {a} left or right of {b} in {f}?",
    ),
    "colour": (
        "What colour is {a} in {f}?",
        "What color is {a} in {f}?",
    ),
    "what": (
        "What is at {a}?",
        "Which object is at {a}?",
    ),
}  # fmt: skip

_SPOKEN = (
    "left in front", "right in front", "left behind", "right behind", "above", "below",
    "left or right, in front or behind?", "in front or behind?", "above or below?",
    "nearer to", "farther from", "closer to", "nearest to", "farthest from",
    "right 0.12 up 0.03 forward 0.40 turn left 12 up 3",
    "left 0.12 down 0.03 backward 0.40 turn right 12 down 3", "18 square meters",
)  # fmt: skip
_GENERAL = (
    "Reconstruct the 3D scene.", "system\nYou are a helpful assistant.", "user\n", "assistant\n",
    "Is there a chair in the picture? Yes, there is one. No, there is none.",
    "How tall is the table? How wide is the door? How long is the room? How high is the shelf?",
    "What is behind the sofa? The lamp is above the desk and below the window, beside the bed.",
    "Which object is in front of the robot, near the wall, on the floor, between A and B?",
    "Can I drive through the door? Where should I go? Describe the scene. The room is small.",
    "It is about 2.5 meters away, 30 centimeters wide, 12 degrees to the left, to the right.",
    "The camera moved forward, backward, up, down, and turned around. Point C, point D.",
)  # fmt: skip


def template(rng: np.random.Generator, key: str) -> str:
    """A random template of a type."""
    options = TEMPLATES[key]
    return options[int(rng.integers(len(options)))]


def plural(name: str) -> str:
    """Plural of a noun."""
    if name.endswith("f"):
        return name[:-1] + "ves"
    return name + ("es" if name.endswith(("x", "ch", "sh", "s")) else "s")


def corpus() -> Iterator[str]:
    """Texts that the embedded model's tokenizer is trained on: every template with every word."""
    frames = [f"frame {1 + k % 6}" for k in range(len(NAMES) + 2)]
    for k, name in enumerate(NAMES):
        other = NAMES[(k + 5) % len(NAMES)]
        for text in (text for texts in TEMPLATES.values() for text in texts):
            yield text.format(
                a=f"the {name}", b=f"the {other}", p="P", q="Q", f=frames[k], i=frames[k],
                j=frames[k + 1], given="1.2 m", nearer="nearer to", things=plural(name),
                offered="A 0.25 m, B 0.60 m, C 1.2 m, D 2.4 m",
            )  # fmt: skip
            yield text.format(
                a="A", b="B", p="P", q="Q", f=frames[k], i=frames[k], j=frames[k + 1],
                given="0.85 m", nearer="farther from", things=plural(name),
                offered="A 0.25 m, B 0.60 m, C 1.2 m, D 2.4 m",
            )  # fmt: skip
        for colour in PALETTE:
            yield f"the {colour} {name} is {colour}"
        yield from [name, f"the {name}"] * 10 + [f"How many {plural(name)}"] * 60
    for value in range(100):
        yield f"{value / 10:.1f} m"
        yield f"{value} degrees"
        for label in (*LETTERS, *"PQRS"):
            yield from [f"{label} frame {value % 24 + 1} x {value} y {value}"] * 3
    for text in (*_SPOKEN, *PALETTE):
        yield from [f"{text} {text}"] * 20
    yield from _GENERAL * 4
    yield from ["You stand at P and face Q. Where is R from S? P, Q, R, S."] * 20
    for letter in LETTERS:
        yield from [f" {letter}. left {letter}. right {letter}. in front"] * 10
