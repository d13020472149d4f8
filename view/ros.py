# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A session on a running node: what its topics say (`heard.py`) and its services do."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
import viser
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from std_srvs.srv import SetBool

from g2vlm_interfaces.msg import PixelMark, SceneStatus, SpatialAnswer
from g2vlm_interfaces.srv import LoadMap, SaveMap, SetScale, SpatialQuery
from g2vlm_map.poses import Floats
from g2vlm_map.status import REASON_CODES
from g2vlm_model.interface import AnswerSource, AnswerStatus, CrossCheck
from g2vlm_model.interface import SpatialAnswer as Answer
from g2vlm_ros.messages import header, nanoseconds

from .chunks import MapPicture
from .drawing import Evidence
from .heard import NodeTopics
from .replies import answer_fields, scale_state
from .session import Answered, Placed, RefusedError, Session

__all__ = ["NodeSession", "answer_of"]

_WAIT_S = 30.0  # for a service, and for where an answer's frame was
_TICK_S = 0.2
_LOOKED_S = 2.0  # after which nobody has a page open any more
_LIVE = "a running node is live: it is paused, and neither stepped nor hurried"
_LACKING = {
    "step": _LIVE,
    "speed": _LIVE,
    "pick": "a node does not say where its older pictures were taken: mark on the picture",
    "consistency": "the node's clouds carry confidence, and not how far other keyframes agree",
}


@dataclass(frozen=True, eq=False)
class _Unplaced:
    """An answer whose evidence cannot be drawn yet.

    Args:
        answered: As the page has it.
        message: The node's answer, whose points are in its camera's axes.
        until: Monotonic time after which it is given up.
    """

    answered: Answered
    message: Any
    until: float


class NodeSession(Session):
    """See `Session`.

    Args:
        server: viser's.
        name: Of the node, with its namespace.
        total: Points kept at most; the oldest clouds go.
    """

    def __init__(self, server: viser.ViserServer, name: str, total: int = 600_000) -> None:
        super().__init__(server, name)
        self._name = name
        self._context = rclpy.Context()
        self._context.init()
        self._node = rclpy.create_node("g2vlm_view", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._spinning = threading.Thread(target=self._spin, name="g2vlm-ros", daemon=True)
        self.topics = NodeTopics(self._node, name, total)
        self._unplaced: list[_Unplaced] = []  # of the thread that spins
        self._asked_for = -math.inf  # monotonic time of the newest question for the state
        self._node.create_timer(_TICK_S, self.tick)
        self.commands |= {
            "pause": lambda values: self._pause(True),
            "play": lambda values: self._pause(False),
            "save": lambda values: self._save(values),
            "load": lambda values: self._load(values),
            "scale": self._set_scale,
        }
        self.lacking |= _LACKING

    def start(self) -> None:
        """Begin to listen and to draw."""
        self._spinning.start()
        super().start()

    def close(self) -> None:
        """Listen and draw no more."""
        super().close()
        self._executor.shutdown(timeout_sec=1.0)
        self._context.try_shutdown()
        if self._spinning.is_alive():
            self._spinning.join(2.0)

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def tick(self) -> None:
        """What is looked at all the time: who looks at what, what is still to be placed."""
        self.topics.follow_occupancy(self.look.occupancy)
        self.topics.current.follow(time.monotonic() - self._asked_for < _LOOKED_S)
        waiting, self._unplaced = self._unplaced, []
        for one in waiting:
            self._place(one)

    # What pages see.

    def newest(self) -> MapPicture:
        """The map as the node has told it."""
        return self.topics.map_picture()

    def occupancy(self) -> tuple[Any, float] | None:
        """See `Session.occupancy`."""
        grid = self.topics.grid
        return None if grid is None else (grid, 0.0)

    def picture(self, name: str) -> bytes | None:
        """See `Session.picture`."""
        if name == "current":
            return None if self.topics.current.shown is None else self.topics.current.shown[1]
        return self.topics.pictures.get(name, ("", None))[1]

    def own_state(self) -> dict[str, Any]:
        """See `Session.own_state`."""
        self._asked_for = time.monotonic()
        status, current = self.topics.status, self.topics.current
        reasons = [
            {
                "code": "NO_NODE",
                "title": "The node says nothing.",
                "text": f"nobody publishes {self._name}/status: is it up, and in this domain?",
            }
        ]
        if status is not None:
            told = zip(status.reason_codes, status.reason_texts, strict=False)
            reasons = [
                {"code": code, "title": REASON_CODES.get(code, code), "text": text}
                for code, text in told
            ]
        there = status is not None
        return {
            "scale": scale_state(
                there and status.is_metric,
                status.scale_sigma if there else 0.0,
                status.scale_source.split("+") if there else (),
            ),
            "status": {
                "degraded": not there or status.state == SceneStatus.STATE_DEGRADED,
                "reasons": reasons,
            },
            "playing": {
                "paused": any(reason["code"] == "PAUSED" for reason in reasons),
                "speed": 1.0,
                "frames": int(status.frames_received) if there else 0,
                "total": 0,
                "ended": False,
                "scenes": int(status.scenes) if there else 0,
                "pass_ms": round(status.observe_ms) if there else 0,
            },
            "pictures": {
                "keyframe": self.topics.pictures.get("keyframe", ("",))[0],
                "current": "0" if current.shown is None else current.shown[0],
                "why": current.why,
            },
            "occupancy": self._why_no_occupancy(),
            "maps": [],
        }

    def _why_no_occupancy(self) -> str:
        if not self.look.occupancy or self.topics.grid is not None:
            return ""
        if not self.topics.is_metric:
            return "occupancy is in metres or not at all: nothing fixes the scale yet"
        return f"{self._name}/map/occupancy has said nothing yet; it waits for the next keyframe"

    # Marks, questions, commands: the node's services.

    def mark_at(self, x: float, y: float) -> str:
        """See `Session.mark_at`."""
        if not self.topics.keyframe_ns:
            raise RefusedError("there is no keyframe yet to mark a place in")
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise RefusedError(f"the place is ({x:g}, {y:g}), expected shares of the picture, 0..1")
        height, width = self.topics.size_hw
        u, v = x * width - 0.5, y * height - 0.5
        mark = Placed(self.next_label(), u, v, "", self.topics.keyframe_ns, (x, y))
        with self._lock:
            self.marks.append(mark)
        return f"{mark.label} is marked"

    def mark_in_space(self, place_3: Floats) -> str:
        """Refuse; see `_LACKING`."""
        raise RefusedError(self.lacking["pick"])

    def ask(self, question: str, of_map: bool) -> str:
        """See `Session.ask`: `~/query`."""
        request = SpatialQuery.Request(question=question, scope=int(of_map))
        request.marks = [] if of_map else self._marks()
        self.asking += 1

        def take(response: Any) -> None:
            self.take_answer(question, response.answer)

        try:
            self._call(SpatialQuery, "query", request, take)
        except RefusedError:
            self.asking -= 1
            raise
        return ""

    def _marks(self) -> list[Any]:
        return [
            PixelMark(stamp=header(m.stamp_ns, "").stamp, u=m.u, v=m.v, label=m.label)
            for m in self.marks
        ]

    def take_answer(self, question: str, message: Any) -> None:
        """Show a `SpatialAnswer`; its evidence as soon as it is known where its frame was."""
        fields = answer_fields(question, answer_of(message), message.queue_ms)
        answered = Answered(fields)
        self.answered(answered)
        if message.points or message.poses:
            self._place(_Unplaced(answered, message, time.monotonic() + _WAIT_S))

    def _place(self, one: _Unplaced) -> None:
        """Draw what an answer rests on, or keep it until the path holds its keyframe."""
        message = one.message
        places = np.array([(p.x, p.y, p.z) for p in message.points], np.float64).reshape(-1, 3)
        if len(places) and not self.topics.is_map(message.header.frame_id):
            T = self.topics.camera(nanoseconds(message.header.stamp), message.header.frame_id)
            if T is None:
                if time.monotonic() < one.until:
                    self._unplaced.append(one)
                else:
                    self.note(
                        f"what the answer to {one.answered.fields['question']!r:.60} rests on is "
                        f"not drawn: {self._name}/path has not had its keyframe in {_WAIT_S:g} s"
                    )
                return
            places = places @ T[:3, :3].T + T[:3, 3]
        whole = [(p.x, p.y, p.z) for p in (item.pose.position for item in message.poses)]
        places = np.concatenate([places, np.array(whole, np.float64).reshape(-1, 3)])
        words = one.answered.fields["reply"] if one.answered.fields["ok"] else ""
        evidence = Evidence(places, list(message.labels), words, is_answer=True)
        self.evidence_came(one.answered, evidence)

    def _call(
        self, kind: Any, name: str, request: Any, take: Callable[[Any], object] | None = None
    ) -> Any:
        """A service's response; with `take` it comes there and nobody waits."""
        client = self._node.create_client(kind, f"{self._name}/{name}")
        if not client.wait_for_service(2.0):
            self._node.destroy_client(client)
            raise RefusedError(f"there is no service {self._name}/{name}: is the node up?")
        done = threading.Event()

        def finished(future: Any) -> None:
            if take is not None:
                take(future.result())
            done.set()

        future = client.call_async(request)
        future.add_done_callback(finished)
        if take is not None:
            return None
        if not done.wait(_WAIT_S):
            raise RefusedError(f"{self._name}/{name} did not answer in {_WAIT_S:g} s")
        return future.result()

    def _pause(self, paused: bool) -> str:
        return str(self._call(SetBool, "pause", SetBool.Request(data=paused)).message)

    def _set_scale(self, values: dict[str, Any]) -> str:
        metres = values.get("metres")
        if isinstance(metres, bool) or not isinstance(metres, (int, float)):
            raise RefusedError(f"the length is {metres!r:.40}, expected metres")
        if len(self.marks) < 2:
            raise RefusedError("mark the two ends of the length first")
        request = SetScale.Request(marks=self._marks()[-2:], length=float(metres))
        return _said(self._call(SetScale, "set_scale", request))

    def _save(self, values: dict[str, Any]) -> str:
        request = SaveMap.Request(path=str(values.get("name", "")), overwrite=True)
        return _said(self._call(SaveMap, "save_map", request))

    def _load(self, values: dict[str, Any]) -> str:
        request = LoadMap.Request(path=str(values.get("name", "")))
        return _said(self._call(LoadMap, "load_map", request))


def answer_of(message: Any) -> Answer:
    """A message as the answer that it was made of."""
    assert isinstance(message, SpatialAnswer), type(message)

    def number(value: float) -> float | None:
        return None if math.isnan(value) else float(value)

    return Answer(
        AnswerStatus(message.status),
        message.message,
        message.text,
        float(message.value) if message.has_value else None,
        message.unit,
        message.is_metric,
        number(message.sigma),
        labels=tuple(message.labels),
        confidence=float(message.confidence),
        is_calibrated=message.is_calibrated,
        cross_check=CrossCheck(message.cross_check),
        measured_value=number(message.measured_value),
        kind=message.kind,
        source=AnswerSource(message.source),
        reply=message.reply,
        text_value=number(message.text_value),
        measured_sigma=number(message.measured_sigma),
        measured_choice=message.measured_choice,
        prefill_ms=message.prefill_ms,
        decode_ms=message.decode_ms,
        model_id=message.model_id,
    )


def _said(response: Any) -> str:
    if not response.success:
        raise RefusedError(response.message)
    return str(response.message)
