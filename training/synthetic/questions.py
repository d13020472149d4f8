"""Questions about windows of synthetic rooms, with exact answers.

Ten task types. Numbers are answered with their unit ("2.4 m", "12 degrees"), choices with one
word. Places are given as marks (`g2vlm_model.marks`), things by name, with the colour where the
name alone is not unique in the picture. Frames count from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import PixelMark
from g2vlm_model.marks import question_with_marks

from .furniture import CLUTTER, FLOOR_PIECES, WALL_PIECES
from .room import COLOURS, Room, SceneObject

__all__ = ["TASKS", "Question", "View", "ask", "corpus"]

_MIN_PIXELS = 30
_MARGIN = 0.12  # order relations are only asked where the truth leads by this much, relatively


@dataclass(frozen=True)
class Question:
    """A question as the model sees it, and its answer.

    Args:
        task: One of `TASKS`.
        text: Marks and question.
        answer: The words to say.
        value: The number in the answer, None where it is a choice.
    """

    task: str
    text: str
    answer: str
    value: float | None = None


@dataclass(frozen=True)
class View:
    """A window of a room with its truth; the frames in the order that the model sees.

    Args:
        room: What was photographed.
        depth_NHW: z-depth, metres.
        object_id_NHW: uint8.
        T_world_cam_N44: Camera-to-world.
        K_33: Pixels.
    """

    room: Room
    depth_NHW: NDArray[np.float32]
    object_id_NHW: NDArray[np.uint8]
    T_world_cam_N44: NDArray[np.float64]
    K_33: NDArray[np.float64]

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.depth_NHW)

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Picture size of every frame."""
        return [(self.depth_NHW.shape[1], self.depth_NHW.shape[2])] * self.frames

    def point(self, frame: int, v: int, u: int) -> NDArray[np.float64]:
        """(3,) point of a pixel in the axes of its camera."""
        z = float(self.depth_NHW[frame, v, u])
        x = (u - self.K_33[0, 2]) / self.K_33[0, 0] * z
        y = (v - self.K_33[1, 2]) / self.K_33[1, 1] * z
        return np.array([x, y, z])

    def visible(self, frame: int) -> list[SceneObject]:
        """Things with enough pixels in a frame."""
        counts = np.bincount(self.object_id_NHW[frame].ravel(), minlength=256)
        return [o for o in self.room.objects if counts[o.object_id] >= _MIN_PIXELS]


def ask(view: View, task: str, rng: np.random.Generator) -> Question | None:
    """Make one question of a type, or None where this window has none.

    Raises:
        ValueError: Unknown type.
    """
    if task not in _MAKERS:
        raise ValueError(f"task is {task!r}, expected one of {TASKS}")
    return _MAKERS[task](view, rng)


def _random_mark(
    view: View, rng: np.random.Generator, label: str
) -> tuple[PixelMark, NDArray[np.float64]]:
    """A mark at a random pixel, and its point in the camera's axes."""
    frame = int(rng.integers(view.frames))
    height, width = view.sizes[frame]
    v, u = int(rng.integers(2, height - 2)), int(rng.integers(2, width - 2))
    return PixelMark(frame, u, v, label), view.point(frame, v, u)


def _world(view: View, frame: int, point: NDArray[np.float64]) -> NDArray[np.float64]:
    T = view.T_world_cam_N44[frame]
    moved: NDArray[np.float64] = T[:3, :3] @ point + T[:3, 3]
    return moved


def _metres(value: float) -> str:
    return f"{value:.1f} m"


def _depth(view: View, rng: np.random.Generator) -> Question | None:
    mark, point = _random_mark(view, rng, "A")
    value = float(np.linalg.norm(point))
    text = question_with_marks(_pick(rng, _DEPTH), [mark], view.sizes)
    return Question("depth", text, _metres(value), value)


def _distance(view: View, rng: np.random.Generator) -> Question | None:
    a, point_a = _random_mark(view, rng, "A")
    b, point_b = _random_mark(view, rng, "B")
    gap = _world(view, a.frame_index, point_a) - _world(view, b.frame_index, point_b)
    value = float(np.linalg.norm(gap))
    text = question_with_marks(_pick(rng, _DISTANCE), [a, b], view.sizes)
    return Question("distance", text, _metres(value), value)


def _nearer(view: View, rng: np.random.Generator) -> Question | None:
    a, point_a = _random_mark(view, rng, "A")
    for _ in range(10):
        b, point_b = _random_mark(view, rng, "B")
        if b.frame_index != a.frame_index:
            continue
        near, far = sorted((float(np.linalg.norm(point_a)), float(np.linalg.norm(point_b))))
        if far > near * (1 + 2 * _MARGIN):
            break
    else:
        return None
    a_is_near = np.linalg.norm(point_a) < np.linalg.norm(point_b)
    wants_far = bool(rng.random() < 0.3)
    text = question_with_marks(_pick(rng, _FARTHER if wants_far else _NEARER), [a, b], view.sizes)
    return Question("nearer", text, "A" if a_is_near != wants_far else "B")


def _call(view: View, frame: int, thing: SceneObject) -> str | None:
    """A name that fits only one visible thing of a frame, or None."""
    others = [o for o in view.visible(frame) if o.object_id != thing.object_id]
    if all(o.name != thing.name for o in others):
        return thing.name
    if thing.colour and all((o.name, o.colour) != (thing.name, thing.colour) for o in others):
        return f"{thing.colour} {thing.name}"
    return None


def _named(view: View, frame: int) -> list[tuple[SceneObject, str]]:
    things = ((thing, _call(view, frame, thing)) for thing in view.visible(frame))
    return [(thing, name) for thing, name in things if name is not None]


def _pixels(view: View, frame: int, thing: SceneObject) -> NDArray[np.int64]:
    found: NDArray[np.int64] = np.argwhere(view.object_id_NHW[frame] == thing.object_id)
    return found


def _side(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    named = _named(view, frame)
    if len(named) < 2:
        return None
    first, second = (named[i] for i in rng.permutation(len(named))[:2])
    lead = (
        _pixels(view, frame, first[0])[:, 1].mean() - _pixels(view, frame, second[0])[:, 1].mean()
    )
    if abs(lead) < _MARGIN * view.sizes[frame][1]:
        return None
    text = _pick(rng, _SIDE).format(a=first[1], b=second[1], frame=frame + 1)
    return Question("side", text, "left" if lead < 0 else "right")


def _count(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    visible = view.visible(frame)
    if not visible:
        return None
    tally: dict[str, int] = {}
    for thing in visible:
        tally[thing.name] = tally.get(thing.name, 0) + 1
    # A number is drawn first and a kind with that count second, so that 1 is not always right.
    number = int(rng.choice(sorted(set(tally.values()))))
    name = str(rng.choice(sorted(n for n, count in tally.items() if count == number)))
    text = _pick(rng, _COUNT).format(things=_plural(name), frame=frame + 1)
    return Question("count", text, str(number), float(number))


def _nearest(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    named = _named(view, frame)
    if len(named) < 3:
        return None
    three = [named[i] for i in rng.permutation(len(named))[:3]]
    ranges = []
    for thing, _ in three:
        v, u = _pixels(view, frame, thing).T
        ranges.append(float(np.median(view.depth_NHW[frame, v, u])))
    order = np.argsort(ranges)
    if ranges[order[1]] < ranges[order[0]] * (1 + _MARGIN):
        return None
    names = [name for _, name in three]
    text = _pick(rng, _NEAREST).format(a=names[0], b=names[1], c=names[2], frame=frame + 1)
    return Question("nearest", text, names[int(order[0])])


def _relative(view: View, rng: np.random.Generator) -> tuple[int, int, NDArray[np.float64]] | None:
    """Two frames i, j and the pose of camera j in camera i."""
    if view.frames < 2:
        return None
    i, j = (int(k) for k in rng.permutation(view.frames)[:2])
    return i, j, np.linalg.inv(view.T_world_cam_N44[i]) @ view.T_world_cam_N44[j]


def _turn(view: View, rng: np.random.Generator) -> Question | None:
    pair = _relative(view, rng)
    if pair is None:
        return None
    i, j, T_i_j = pair
    yaw = float(np.degrees(np.arctan2(T_i_j[0, 2], T_i_j[2, 2])))
    if abs(yaw) < 2.0:
        return None
    text = _pick(rng, _TURN).format(i=i + 1, j=j + 1)
    return Question("turn", text, "right" if yaw > 0 else "left")


def _angle(view: View, rng: np.random.Generator) -> Question | None:
    pair = _relative(view, rng)
    if pair is None:
        return None
    i, j, T_i_j = pair
    cosine = np.clip((np.trace(T_i_j[:3, :3]) - 1) / 2, -1, 1)
    value = float(np.degrees(np.arccos(cosine)))
    text = _pick(rng, _ANGLE).format(i=i + 1, j=j + 1)
    return Question("angle", text, f"{round(value)} degrees", value)


def _motion(view: View, rng: np.random.Generator) -> Question | None:
    pair = _relative(view, rng)
    if pair is None:
        return None
    i, j, T_i_j = pair
    right, forward = float(T_i_j[0, 3]), float(T_i_j[2, 3])
    big, small = max(abs(right), abs(forward)), min(abs(right), abs(forward))
    if big < 0.05 or big < 1.5 * small:
        return None
    if abs(right) > abs(forward):
        answer = "right" if right > 0 else "left"
    else:
        answer = "forward" if forward > 0 else "backward"
    return Question("motion", _pick(rng, _MOTION).format(i=i + 1, j=j + 1), answer)


def _colour(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    visible = view.visible(frame)
    unique = [o for o in visible if o.colour and sum(p.name == o.name for p in visible) == 1]
    if not unique:
        return None
    thing = unique[int(rng.integers(len(unique)))]
    text = _pick(rng, _COLOUR).format(thing=thing.name, frame=frame + 1)
    return Question("colour", text, thing.colour)


def _what(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    visible = view.visible(frame)
    if not visible:
        return None
    thing = visible[int(rng.integers(len(visible)))]
    pixels = _pixels(view, frame, thing)
    v, u = pixels[int(rng.integers(len(pixels)))]
    mark = PixelMark(frame, int(u), int(v), "A")
    return Question("what", question_with_marks(_pick(rng, _WHAT), [mark], view.sizes), thing.name)


def _pick(rng: np.random.Generator, templates: tuple[str, ...]) -> str:
    return templates[int(rng.integers(len(templates)))]


def _plural(name: str) -> str:
    if name.endswith("f"):
        return name[:-1] + "ves"
    return name + ("es" if name.endswith(("x", "ch", "s")) else "s")


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

_MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    "depth": _depth, "distance": _distance, "nearer": _nearer, "side": _side,
    "count": _count, "nearest": _nearest, "turn": _turn, "angle": _angle,
    "motion": _motion, "colour": _colour, "what": _what,
}  # fmt: skip
TASKS = tuple(_MAKERS)

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
                a=name, b=other, c=third, thing=name, things=_plural(name),
                frame=1 + repeat % 6, i=1 + repeat % 6, j=1 + (repeat + 1) % 6,
            )  # fmt: skip
        for colour in COLOURS:
            yield f"the {colour} {name} is {colour}"
        yield name
        yield f"A frame 1 x {repeat} y {99 - repeat}\nB frame 2 x 41 y 63\n"
    for value in range(100):
        yield f"{value / 10:.1f} m"
        yield f"{value} degrees"
    for text in _GENERAL:
        yield from [text] * 5
