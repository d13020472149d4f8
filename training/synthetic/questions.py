"""Questions about windows of synthetic rooms, with exact answers.

Ten task types. Numbers are answered with their unit ("2.4 m", "12 degrees"), choices with one
word. Places are given as marks (`g2vlm_model.marks`), things by name, with the colour where the
name alone is not unique in the picture. Frames count from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import PixelMark
from g2vlm_model.marks import question_with_marks

from .question_words import TEMPLATES, corpus, plural
from .room import Room, SceneObject

__all__ = ["TASKS", "Ground", "Question", "View", "ask", "corpus"]

_MIN_PIXELS = 30
_MARGIN = 0.12  # order relations are only asked where the truth leads by this much, relatively


@dataclass(frozen=True)
class Ground:
    """What some words of a question are about.

    Args:
        end: Index in the text behind the last of these words.
        frame: Index of the frame, -1 for all frames.
        objects: Object ids that are meant, or empty.
        pixel: (row, column) that is meant, or None. Without objects and pixel: the whole frame.
    """

    end: int
    frame: int
    objects: tuple[int, ...] = ()
    pixel: tuple[int, int] | None = None


@dataclass(frozen=True)
class Question:
    """A question as the model sees it, and its answer.

    Args:
        task: One of `TASKS`.
        text: Marks and question.
        answer: The words to say.
        value: The number in the answer, None where it is a choice.
        grounds: Where the words of the text point to.
    """

    task: str
    text: str
    answer: str
    value: float | None = None
    grounds: tuple[Ground, ...] = ()


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


def _marked(
    view: View, question: str, marks: Sequence[PixelMark]
) -> tuple[str, tuple[Ground, ...]]:
    """Text with the lines of the marks, each line grounded in its pixel."""
    text = question_with_marks(question, marks, view.sizes)
    grounds, end = [], -1
    for mark, line in zip(marks, text.splitlines(), strict=False):
        end += len(line) + 1
        grounds.append(Ground(end, mark.frame_index, pixel=(int(mark.v), int(mark.u))))
    return text, tuple(grounds)


def _grounded(text: str, words: Sequence[tuple[str, int, tuple[int, ...]]]) -> tuple[Ground, ...]:
    """Grounds of words that stand in a text: (words, frame, object ids)."""
    found = [(text.find(piece), piece, frame, ids) for piece, frame, ids in words]
    return tuple(
        Ground(start + len(piece), frame, ids) for start, piece, frame, ids in found if start >= 0
    )


def _pair_grounds(text: str, i: int, j: int) -> tuple[Ground, ...]:
    """Both frames of a question about the camera."""
    return _grounded(text, [(f"frame {i + 1}", i, ()), (f"frame {j + 1}", j, ())])


def _world(view: View, frame: int, point: NDArray[np.float64]) -> NDArray[np.float64]:
    T = view.T_world_cam_N44[frame]
    moved: NDArray[np.float64] = T[:3, :3] @ point + T[:3, 3]
    return moved


def _metres(value: float) -> str:
    return f"{value:.1f} m"


def _depth(view: View, rng: np.random.Generator) -> Question | None:
    mark, point = _random_mark(view, rng, "A")
    value = float(np.linalg.norm(point))
    text, grounds = _marked(view, _pick(rng, TEMPLATES["depth"]), [mark])
    return Question("depth", text, _metres(value), value, grounds)


def _distance(view: View, rng: np.random.Generator) -> Question | None:
    a, point_a = _random_mark(view, rng, "A")
    b, point_b = _random_mark(view, rng, "B")
    gap = _world(view, a.frame_index, point_a) - _world(view, b.frame_index, point_b)
    value = float(np.linalg.norm(gap))
    text, grounds = _marked(view, _pick(rng, TEMPLATES["distance"]), [a, b])
    return Question("distance", text, _metres(value), value, grounds)


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
    words = TEMPLATES["farther" if wants_far else "nearer"]
    text, grounds = _marked(view, _pick(rng, words), [a, b])
    return Question("nearer", text, "A" if a_is_near != wants_far else "B", None, grounds)


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
    text = _pick(rng, TEMPLATES["side"]).format(a=first[1], b=second[1], frame=frame + 1)
    grounds = _grounded(
        text, [(f"the {name}", frame, (thing.object_id,)) for thing, name in (first, second)]
    )
    return Question("side", text, "left" if lead < 0 else "right", None, grounds)


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
    text = _pick(rng, TEMPLATES["count"]).format(things=plural(name), frame=frame + 1)
    ids = tuple(thing.object_id for thing in visible if thing.name == name)
    grounds = _grounded(text, [(plural(name), frame, ids)])
    return Question("count", text, str(number), float(number), grounds)


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
    text = _pick(rng, TEMPLATES["nearest"]).format(
        a=names[0], b=names[1], c=names[2], frame=frame + 1
    )
    grounds = _grounded(text, [(f"the {name}", frame, (thing.object_id,)) for thing, name in three])
    return Question("nearest", text, names[int(order[0])], None, grounds)


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
    text = _pick(rng, TEMPLATES["turn"]).format(i=i + 1, j=j + 1)
    answer = "right" if yaw > 0 else "left"
    return Question("turn", text, answer, None, _pair_grounds(text, i, j))


def _angle(view: View, rng: np.random.Generator) -> Question | None:
    pair = _relative(view, rng)
    if pair is None:
        return None
    i, j, T_i_j = pair
    cosine = np.clip((np.trace(T_i_j[:3, :3]) - 1) / 2, -1, 1)
    value = float(np.degrees(np.arccos(cosine)))
    text = _pick(rng, TEMPLATES["angle"]).format(i=i + 1, j=j + 1)
    return Question("angle", text, f"{round(value)} degrees", value, _pair_grounds(text, i, j))


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
    text = _pick(rng, TEMPLATES["motion"]).format(i=i + 1, j=j + 1)
    return Question("motion", text, answer, None, _pair_grounds(text, i, j))


def _colour(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    visible = view.visible(frame)
    unique = [o for o in visible if o.colour and sum(p.name == o.name for p in visible) == 1]
    if not unique:
        return None
    thing = unique[int(rng.integers(len(unique)))]
    text = _pick(rng, TEMPLATES["colour"]).format(thing=thing.name, frame=frame + 1)
    grounds = _grounded(text, [(f"the {thing.name}", frame, (thing.object_id,))])
    return Question("colour", text, thing.colour, None, grounds)


def _what(view: View, rng: np.random.Generator) -> Question | None:
    frame = int(rng.integers(view.frames))
    visible = view.visible(frame)
    if not visible:
        return None
    thing = visible[int(rng.integers(len(visible)))]
    pixels = _pixels(view, frame, thing)
    v, u = pixels[int(rng.integers(len(pixels)))]
    mark = PixelMark(frame, int(u), int(v), "A")
    text, grounds = _marked(view, _pick(rng, TEMPLATES["what"]), [mark])
    return Question("what", text, thing.name, None, grounds)


def _pick(rng: np.random.Generator, templates: tuple[str, ...]) -> str:
    return templates[int(rng.integers(len(templates)))]


_MAKERS: dict[str, Callable[[View, np.random.Generator], Question | None]] = {
    "depth": _depth, "distance": _distance, "nearer": _nearer, "side": _side,
    "count": _count, "nearest": _nearest, "turn": _turn, "angle": _angle,
    "motion": _motion, "colour": _colour, "what": _what,
}  # fmt: skip
TASKS = tuple(_MAKERS)
