# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a page shows and asks for, whoever makes the map: state, pictures, commands, one drawing.

A session is shared: every page that is open shows the same state, and one that is loaded again
finds it as it was. Commands come from the server's threads; viser's scene is touched by one thread.
"""

from __future__ import annotations

import logging
import string
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import viser

from .chunks import Floats, MapPicture, median_depth
from .drawing import Drawing, Evidence, Look

__all__ = ["Answered", "Placed", "RefusedError", "Session", "lettered"]

_LOG = logging.getLogger(__name__)
_PERIOD_S = 0.15  # of looking whether something is to be drawn
_KEPT_ANSWERS = 20
_BALL = 0.012  # of the median depth

Command = Callable[[dict[str, Any]], str]


class RefusedError(ValueError):
    """A command that cannot be done; the text is for the person who gave it."""


@dataclass(frozen=True, eq=False)
class Placed:
    """A mark.

    Args:
        label: Its name.
        u, v: Pixels of the frame as it was delivered.
        camera, stamp_ns: Of that frame.
        shown: u, v on the picture of the page, as shares of its width and height.
        place_3: Where it lies in level axes; None where no depth is known there.
    """

    label: str
    u: float
    v: float
    camera: str
    stamp_ns: int
    shown: tuple[float, float]
    place_3: Floats | None = None


@dataclass(frozen=True, eq=False)
class Answered:
    """A question with its answer.

    Args:
        fields: What the page shows, ready for JSON.
        evidence: What it rests on, in level axes; None for nothing.
    """

    fields: dict[str, Any]
    evidence: Evidence | None = None


class Session(ABC):
    """What all sources have in common.

    Args:
        server: viser's.
        title: Names the source.
    """

    def __init__(self, server: viser.ViserServer, title: str) -> None:
        self.title = title
        self.look = Look()
        self.marks: list[Placed] = []
        self.answers: deque[Answered] = deque(maxlen=_KEPT_ANSWERS)
        self.lacking: dict[str, str] = {}  # commands and colours that this source has not, and why
        self.asking = 0
        self.picking = False
        self.drawing = Drawing(server)
        self._picture = MapPicture()
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self._evidence_of: tuple[object, ...] = ()
        self._notes: deque[tuple[int, str]] = deque(maxlen=6)
        self._noted = 0
        self._thread = threading.Thread(target=self._draw, name="g2vlm-draw", daemon=True)
        self.server = server
        server.scene.on_click()(self._clicked)
        self.commands: dict[str, Command] = {
            "look": self._set_look,
            "pick": self._set_picking,
            "mark": lambda values: self.mark_at(_number(values, "x"), _number(values, "y")),
            "unmark": self._unmark,
            "ask": lambda values: self.ask(_text(values, "question"), bool(values.get("map"))),
            "fit": self._fit,
        }

    # For the server.

    def start(self) -> None:
        """Begin to draw."""
        self._thread.start()

    def close(self) -> None:
        """Draw no more."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def do(self, name: str, values: dict[str, Any]) -> str:
        """Carry a command out; what happened in words, "" for nothing to say.

        Raises:
            RefusedError: It cannot be.
        """
        command = self.commands.get(name)
        if name in self.lacking:
            raise RefusedError(self.lacking[name])
        if command is None:
            raise RefusedError(f"there is no command {name!r:.40} here")
        return command(values)

    def state(self) -> dict[str, Any]:
        """Everything that a page shows beside pictures, ready for JSON."""
        with self._lock:
            return {
                "title": self.title,
                "look": asdict(self.look),
                "picking": self.picking,
                "reach": round(4.0 * median_depth(self._picture), 2),
                "map": {
                    "keyframes": len({key[0] for key in self._picture.nodes}),
                    "loops": len(self._picture.loop_L23),
                    "points": self.drawing.shown,
                    "unit": self._picture.unit,
                    "level": self._picture.level,
                    "thinned": self._picture.thinned,
                },
                "marks": [_mark_state(mark) for mark in self.marks],
                "answers": [answered.fields for answered in self.answers],
                "asking": self.asking,
                "notes": [{"number": number, "text": text} for number, text in self._notes],
                "commands": sorted(set(self.commands) - set(self.lacking)),
                "lacking": self.lacking,
                **self.own_state(),
            }

    @abstractmethod
    def picture(self, name: str) -> bytes | None:
        """A JPEG: "keyframe", "depth" or "current"; None where there is none."""

    # For whoever makes the map.

    @abstractmethod
    def own_state(self) -> dict[str, Any]:
        """What only this source knows: "scale", "status", "playing", "pictures", "maps"."""

    @abstractmethod
    def newest(self) -> MapPicture:
        """The map as it is; the same object where nothing changed."""

    @abstractmethod
    def mark_at(self, x: float, y: float) -> str:
        """Set a mark on the keyframe's picture, given as shares of its width and height."""

    @abstractmethod
    def mark_in_space(self, place_3: Floats) -> str:
        """Set a mark at a place in level axes."""

    @abstractmethod
    def ask(self, question: str, of_map: bool) -> str:
        """Ask; the answer comes to `answered`."""

    def occupancy(self) -> tuple[Any, float] | None:
        """The grid with the floor's height, while `look.occupancy`; None for none."""
        return None

    def note(self, text: str) -> None:
        """Tell all pages something, once."""
        with self._lock:
            self._noted += 1
            self._notes.append((self._noted, text))

    def add_mark(self, mark: Placed) -> str:
        """Keep a mark; what to say of it."""
        with self._lock:
            self.marks.append(mark)
        known = "" if mark.place_3 is not None else ", where no depth is known"
        return f"{mark.label} is marked{known}"

    def next_label(self) -> str:
        """The first letter that no mark has."""
        return lettered({mark.label for mark in self.marks})

    def answered(self, answered: Answered) -> None:
        """An answer is there."""
        with self._lock:
            self.asking = max(0, self.asking - 1)
            self.answers.append(answered)

    def evidence_came(self, answered: Answered, evidence: Evidence) -> None:
        """What an answer that is there already rests on."""
        with self._lock:
            for index, one in enumerate(self.answers):
                if one is answered:
                    self.answers[index] = replace(answered, evidence=evidence)

    # Commands that need nobody else.

    def _set_look(self, values: dict[str, Any]) -> str:
        known: dict[str, type] = {name: type(value) for name, value in asdict(Look()).items()}
        wanted: dict[str, Any] = {}
        for name, value in values.items():
            if name not in known:
                raise RefusedError(f"there is nothing called {name!r:.40} to be set")
            kind = known[name]
            fits = isinstance(value, bool) == (kind is bool)
            if not fits or not isinstance(value, (int, float) if kind is float else kind):
                raise RefusedError(f"{name} is {value!r:.40}, expected {kind.__name__}")
            if name == "mode" and value in self.lacking:
                raise RefusedError(self.lacking[value])
            wanted[name] = kind(value)
        with self._lock:
            try:
                self.look = replace(self.look, **wanted)
            except ValueError as error:
                raise RefusedError(str(error)) from error
        return ""

    def _set_picking(self, values: dict[str, Any]) -> str:
        self.picking = bool(values.get("on"))
        return ""

    def _unmark(self, values: dict[str, Any]) -> str:
        label = str(values.get("label", ""))
        with self._lock:
            self.marks = [mark for mark in self.marks if label and mark.label != label]
        return ""

    def _fit(self, values: dict[str, Any]) -> str:
        with self._lock:
            if self._picture.nodes:
                self.drawing.place_view(self._picture, _text(values, "page"))
        return ""

    # The thread that draws, and clicks.

    def _draw(self) -> None:
        drawn: tuple[object, ...] = ()
        while not self._closing.is_set():
            try:
                picture, look = self.newest(), self.look
                if (picture, look) != drawn:
                    with self._lock:
                        self._picture = picture
                    self.drawing.show(picture, look)
                    drawn = (picture, look)
                self._draw_evidence()
                laid = self.occupancy() if look.occupancy else None
                if laid is None:
                    self.drawing.show_occupancy(None)
                else:
                    self.drawing.show_occupancy(*laid)
            except Exception as error:
                _LOG.exception("the map could not be drawn")
                self.note(f"the map could not be drawn: {type(error).__name__}: {error}")
                self._closing.wait(1.0)
            self._closing.wait(_PERIOD_S)

    def _draw_evidence(self) -> None:
        with self._lock:
            marks = [mark for mark in self.marks if mark.place_3 is not None]
            newest = self.answers[-1].evidence if self.answers else None
            picture = self._picture
        size = float(f"{_BALL * median_depth(picture):.1g}")
        wanted = (*marks, newest, size)
        if wanted == self._evidence_of:
            return
        self._evidence_of = wanted
        shown = [Evidence(np.array([mark.place_3], np.float64), [mark.label]) for mark in marks] + (
            [newest] if newest is not None else []
        )
        self.drawing.show_evidence(shown, size)

    def _clicked(self, event: viser.SceneClickEvent) -> None:
        if not self.picking:
            return
        with self._lock:
            picture, look = self._picture, self.look
        found = picked(picture, look, np.array(event.ray_origin), np.array(event.ray_direction))
        try:
            if found is None:
                raise RefusedError("no point lies there; click on a point of the cloud")
            self.note(self.mark_in_space(found))
        except RefusedError as error:
            self.note(str(error))
        except Exception as error:  # viser would swallow it
            _LOG.exception("a click failed")
            self.note(f"the click failed: {type(error).__name__}: {error}")


def picked(
    picture: MapPicture, look: Look, origin_3: Floats, direction_3: Floats, angle: float = 0.025
) -> Floats | None:
    """(3,) the point that a click hit: the nearest one of those about the ray; None for none.

    Args:
        picture: The map; only points that are shown count.
        look: What is shown.
        origin_3, direction_3: Of the ray in level axes.
        angle: Half the angle of the cone about the ray, rad.
    """
    shown = []
    for node in picture.nodes.values():
        keep_P = node.chunk.confidence_P >= look.min_confidence
        if look.max_range > 0:
            keep_P &= node.chunk.range_P * node.scale <= look.max_range
        points = node.chunk.point_P3[keep_P] @ (node.scale * node.T_level_cam[:3, :3].T)
        shown.append(points + node.T_level_cam[:3, 3])
    if not shown or not look.points:
        return None
    places_P3 = np.concatenate(shown)
    offset_P3 = places_P3 - origin_3
    direction_3 = direction_3 / np.linalg.norm(direction_3)
    along_P = offset_P3 @ direction_3
    beside_P = np.linalg.norm(offset_P3 - along_P[:, None] * direction_3, axis=1)
    hit_P = (along_P > 0) & (beside_P <= angle * along_P)
    if not hit_P.any():
        return None
    candidates = np.flatnonzero(hit_P)
    front = along_P[candidates].min()
    near = candidates[along_P[candidates] <= 1.05 * front]  # of the surface in front, the middle
    return np.asarray(places_P3[near[np.argmin(beside_P[near] / along_P[near])]], np.float64)


def lettered(taken: set[str]) -> str:
    """The first of A, B ... Z, A1, B1 ... that is not taken."""
    for round_ in range(100):
        for letter in string.ascii_uppercase:
            name = letter if not round_ else f"{letter}{round_}"
            if name not in taken:
                return name
    raise RefusedError("there are too many marks; remove some")


def _mark_state(mark: Placed) -> dict[str, Any]:
    place = None if mark.place_3 is None else [round(float(x), 4) for x in mark.place_3]
    return {
        "label": mark.label,
        "x": mark.shown[0],
        "y": mark.shown[1],
        "stamp": str(mark.stamp_ns),
        "place": place,
    }


def _number(values: dict[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
        raise RefusedError(f"{name} is {value!r:.40}, expected a number")
    return float(value)


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str):
        raise RefusedError(f"{name} is {value!r:.40}, expected text")
    return value
