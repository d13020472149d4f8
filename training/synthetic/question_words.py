"""The words of the questions: templates per task, and the tokenizer's training texts."""

from __future__ import annotations

from collections.abc import Iterator

from .builder import COLOURS
from .furniture import CLUTTER, FLOOR_PIECES, WALL_PIECES

__all__ = ["TEMPLATES", "corpus", "plural"]

_DEPTH = ("How far is A from the camera?", "What is the distance between A and the camera?")
_DISTANCE = ("How far is A from B?", "What is the distance between A and B?")
_NEARER = ("Which is nearer to the camera, A or B?", "Which is closer to the camera, A or B?")
_FARTHER = ("Which is farther from the camera, A or B?",)
_SIDE = (
    "In frame {frame}, is the {a} to the left or to the right of the {b}?",
    "Is the {a} left or right of the {b} in frame {frame}?",
)
_COUNT = ("How many {things} are visible in frame {frame}?", "Count the {things} in frame {frame}.")
_NEAREST = (
    "In frame {frame}, which is nearest to the camera: the {a}, the {b} or the {c}?",
    "Which is closest to the camera in frame {frame}, the {a}, the {b} or the {c}?",
)
_TURN = (
    "Did the camera turn left or right from frame {i} to frame {j}?",
    "Which way did the camera turn from frame {i} to frame {j}, left or right?",
)
_ANGLE = (
    "By how many degrees did the camera turn from frame {i} to frame {j}?",
    "How many degrees did the camera rotate between frame {i} and frame {j}?",
)
_MOTION = (
    "Did the camera move forward, backward, left or right from frame {i} to frame {j}?",
    "Which way did the camera move from frame {i} to frame {j}?",
)
_COLOUR = ("What colour is the {thing}?", "What color is the {thing} in frame {frame}?")
_WHAT = ("What is at A?", "Which object is at A?")


def plural(name: str) -> str:
    """Plural of a noun."""
    if name.endswith("f"):
        return name[:-1] + "ves"
    return name + ("es" if name.endswith(("x", "ch", "s")) else "s")


TEMPLATES: dict[str, tuple[str, ...]] = {
    "depth": _DEPTH,
    "distance": _DISTANCE,
    "nearer": _NEARER,
    "farther": _FARTHER,
    "side": _SIDE,
    "count": _COUNT,
    "nearest": _NEAREST,
    "turn": _TURN,
    "angle": _ANGLE,
    "motion": _MOTION,
    "colour": _COLOUR,
    "what": _WHAT,
}

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


def corpus() -> Iterator[str]:
    """Texts that the embedded model's tokenizer is trained on: every template with every word."""
    names = sorted({*FLOOR_PIECES, *WALL_PIECES, *CLUTTER})
    templates = (
        *_DEPTH, *_DISTANCE, *_NEARER, *_FARTHER, *_SIDE, *_COUNT, *_NEAREST, *_TURN, *_ANGLE,
        *_MOTION, *_COLOUR, *_WHAT,
    )  # fmt: skip
    for repeat, name in enumerate(names):
        for template in templates:
            other, third = names[(repeat + 5) % len(names)], names[(repeat + 9) % len(names)]
            yield template.format(
                a=name, b=other, c=third, thing=name, things=plural(name),
                frame=1 + repeat % 6, i=1 + repeat % 6, j=1 + (repeat + 1) % 6,
            )  # fmt: skip
        for colour in COLOURS:
            yield f"the {colour} {name} is {colour}"
        yield name
        yield f"A frame 1 x {repeat} y {99 - repeat}\nB frame 2 x 41 y 63\n"
    for value in range(100):
        yield f"{value / 10:.1f} m"
        yield f"{value} degrees"
        yield from [f"A frame {value % 24 + 1} x {value} y {value}"] * 20
    for text in _GENERAL:
        yield from [text] * 5
