# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A session on a pipeline in this process: a recording or a camera, no ROS."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import viser

from g2vlm_map.answers.measure import points_at
from g2vlm_map.around import told_of_map
from g2vlm_map.camera_model import scaled_K
from g2vlm_map.clouds import depth_image
from g2vlm_map.dense.dense_map import DenseRules
from g2vlm_map.dense.options import ScanOptions
from g2vlm_map.dense.worker import Around, DenseWorker, Whole
from g2vlm_map.frame_optics import CameraFrame
from g2vlm_map.map_keeper import SUFFIX, MapFileError
from g2vlm_map.pipeline import Mark, Pipeline, Question
from g2vlm_map.poses import inverse, metric
from g2vlm_map.questions import Reply, Scope
from g2vlm_map.scenes import SceneRecord
from g2vlm_map.status import REASON_CODES
from g2vlm_map.world import World
from g2vlm_model.interface import AnswerStatus, SpatialAnswer

from .chunks import Chunks, Floats, MapPicture, map_picture, shown_part
from .drawing import Evidence
from .play import Player
from .replies import answer_fields, depth_jpeg, jpeg, scale_state
from .session import Answered, Placed, RefusedError, Session

__all__ = ["LocalSession"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # of a map: no folder can be said with it
_HIDDEN = (-1.0, -1.0)  # a mark on another picture than the page's
_SAME_DEPTH = 0.15  # share within which a place and what a picture shows there are one


class LocalSession(Session):
    """See `Session`.

    Args:
        server: viser's.
        title: Names the source.
        pipeline: Started.
        player: Hands frames in; started and closed here.
        maps: Folder of the maps that a page may save and load.
        chunks: Makes what is drawn.
    """

    def __init__(
        self,
        server: viser.ViserServer,
        title: str,
        pipeline: Pipeline,
        player: Player,
        maps: Path,
        chunks: Chunks | None = None,
    ) -> None:
        super().__init__(server, title)
        self._pipeline, self._player, self._maps = pipeline, player, maps
        self._chunks = chunks or Chunks()
        self._made: tuple[tuple[object, ...], MapPicture] = ((), MapPicture())
        options = pipeline.options
        self._whole: Whole | None = None
        self._dense = DenseWorker(
            lambda: {"occupancy"} if self.look.occupancy else set(),
            self._take_dense,
            pipeline.board,
            DenseRules(options.dense, options.obstacles, options.occupancy),
            ScanOptions(),
        )
        self._floor = -options.obstacles.base_height
        self._stop_listening = lambda: None
        self.commands |= {
            "pause": lambda values: self._pause(True),
            "play": lambda values: self._pause(False),
            "step": lambda values: self._step(),
            "speed": self._set_speed,
            "save": self._save,
            "load": self._load,
            "scale": self._set_scale,
        }

    def start(self) -> None:
        """Begin to play and to draw."""
        self._dense.start()
        self._player.start()
        super().start()

    def close(self) -> None:
        """Play and draw no more; the pipeline is left to its owner."""
        self._player.close()
        super().close()
        self._dense.stop()

    # What pages see.

    def newest(self) -> MapPicture:
        """The map as it is."""
        world, consistency = self._pipeline.world, self.look.mode == "consistency"
        lost = self._pipeline.board.holds("NOT_LOCALISED")
        wanted = (world, consistency, lost)
        if wanted != self._made[0]:
            part = shown_part(world, lost)
            self._made = (wanted, map_picture(part, self._chunks, consistency=consistency))
            self._dense.offer(world)
        return self._made[1]

    def occupancy(self) -> tuple[Any, float] | None:
        """The grid on the floor, while somebody wants it."""
        whole, world = self._whole, self._pipeline.world
        if whole is None or whole.grid is None or not world.scale.metric:
            return None
        part = shown_part(world, self._pipeline.board.holds("NOT_LOCALISED"))
        # Another part of the map has axes of its own, and no grid yet.
        return (whole.grid, self._floor) if part.segment == whole.snapshot.segment else None

    def picture(self, name: str) -> bytes | None:
        """See `Session.picture`."""
        if name == "current":
            current = self._player.current()
            return None if current is None else jpeg(current)
        record = self._pipeline.scene
        if record is None or name not in ("keyframe", "depth"):
            return None
        if name == "depth":
            return depth_jpeg(depth_image(record.geometry, record.newest, 1.0, 0.0))
        return jpeg(record.frames[record.newest].image)

    def own_state(self) -> dict[str, Any]:
        """See `Session.own_state`."""
        now, world, player = self._pipeline.snapshot(), self._pipeline.world, self._player
        reasons = [
            {"code": one.code, "title": REASON_CODES[one.code], "text": one.text}
            for one in now.reasons
        ]
        if player.failure:
            said = {"code": "SOURCE", "title": "The source has ended.", "text": player.failure}
            reasons.insert(0, said)
        record = self._pipeline.scene
        return {
            "scale": scale_state(world.scale.metric, world.scale.sigma, world.scale.sources),
            "status": {"degraded": now.degraded or bool(player.failure), "reasons": reasons},
            "playing": {
                "paused": player.paused,
                "speed": player.speed,
                "frames": player.frames,
                "total": player.total,
                "ended": player.ended,
                "scenes": now.scenes,
                "pass_ms": round(now.latency.observe),
            },
            "pictures": {
                "keyframe": "" if record is None else str(record.stamp_ns),
                "current": str(player.frames),
                "why": "",
            },
            "occupancy": self._why_no_occupancy(world),
            "maps": self._saved(),
        }

    # Marks and questions.

    def mark_at(self, x: float, y: float) -> str:
        """See `Session.mark_at`."""
        record = self._record()
        frame = record.frames[record.newest]
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise RefusedError(f"the place is ({x:g}, {y:g}), expected shares of the picture, 0..1")
        height, width = frame.image.shape[:2]
        straight = np.array([[x * width - 0.5, y * height - 0.5]])
        optics = frame.optics if isinstance(frame, CameraFrame) else None
        u, v = (straight if optics is None else optics.to_delivered(straight))[0].tolist()
        label = self.next_label()
        mark = Mark(u, v, label, frame.camera, frame.stamp_ns)
        return self.add_mark(self._placed(mark, (x, y), record))

    def mark_in_space(self, place_3: Floats) -> str:
        """See `Session.mark_in_space`: on the newest of the scene's pictures that shows it."""
        world = self._pipeline.world
        record = self._record().at(world)
        found = _seen_at(record, world, place_3)
        if found is None:
            raise RefusedError(
                f"that place is in none of the {len(record.frames)} newest pictures, which "
                "questions are about; look at it again, or mark something that they show"
            )
        index, (u, v), shown = found
        frame = record.frames[index]
        mark = Mark(u, v, self.next_label(), frame.camera, frame.stamp_ns)
        shown = shown if index == record.newest else _HIDDEN
        return self.add_mark(self._placed(mark, shown, record, place_3))

    def ask(self, question: str, of_map: bool) -> str:
        """See `Session.ask`; the pipeline's own API answers."""
        marks = tuple(Mark(m.u, m.v, m.label, m.camera, m.stamp_ns) for m in self.marks)
        scope = Scope.MAP if of_map else Scope.SCENE
        asked = Question(question, () if of_map else marks, scope=scope)
        self.asking += 1
        self._pipeline.submit(asked, lambda reply: self.answered(self._shown(question, reply)))
        return ""

    def _shown(self, question: str, reply: Reply) -> Answered:
        answer, world = reply.answer, self._pipeline.world
        fields = answer_fields(question, answer, reply.queue_ms)
        points = np.asarray(answer.points, np.float64).reshape(-1, 3)
        names = list(answer.labels)
        if reply.recalled is None and reply.record is not None:
            on_map, recalled = told_of_map(answer, reply.record.at(world), world)
            points = np.asarray(on_map.points, np.float64).reshape(-1, 3)
            if recalled is None:
                return Answered(fields)
        elif reply.recalled is not None:
            poses = [pose.T_level_base[:3, 3] for pose in reply.recalled.poses]
            points = np.concatenate([points, np.array(poses).reshape(-1, 3)])
        if not len(points) or not np.isfinite(points).all():
            return Answered(fields)
        words = fields["reply"] if fields["ok"] else ""
        return Answered(fields, Evidence(points, names, words, is_answer=True))

    def _record(self) -> SceneRecord:
        record = self._pipeline.scene
        if record is None:
            raise RefusedError("there is no keyframe yet to mark a place in")
        return record

    def _placed(
        self,
        mark: Mark,
        shown: tuple[float, float],
        record: SceneRecord,
        place_3: Floats | None = None,
    ) -> Placed:
        try:
            pixel = record.mark(mark.camera, mark.stamp_ns, mark.u, mark.v, mark.label)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        if place_3 is None:
            found = points_at(record.geometry, record.scene.window, [pixel])
            if found.found[0]:
                place_3 = self._in_level(record, found.world)
        return Placed(mark.label, mark.u, mark.v, mark.camera, mark.stamp_ns, shown, place_3)

    def _in_level(self, record: SceneRecord, point_13: Any) -> Floats | None:
        """(3,) in level axes of a point in the axes of the scene's window."""
        world = self._pipeline.world
        record = record.at(world)
        held = SpatialAnswer(AnswerStatus.OK, points=point_13)
        told, recalled = told_of_map(record.given_out(held, world.scale), record, world)
        return None if recalled is None else np.asarray(told.points[0], np.float64)

    # Commands.

    def _pause(self, paused: bool) -> str:
        self._player.paused = paused
        return ""

    def _step(self) -> str:
        self._player.step()
        return ""

    def _set_speed(self, values: dict[str, Any]) -> str:
        speed = values.get("speed")
        if isinstance(speed, bool) or not isinstance(speed, (int, float)):
            raise RefusedError(f"speed is {speed!r:.40}, expected a number")
        try:
            self._player.set_speed(float(speed))
        except ValueError as error:
            raise RefusedError(str(error)) from error
        return ""

    def _set_scale(self, values: dict[str, Any]) -> str:
        metres = values.get("metres")
        if isinstance(metres, bool) or not isinstance(metres, (int, float)):
            raise RefusedError(f"the length is {metres!r:.40}, expected metres")
        if len(self.marks) < 2:
            raise RefusedError("mark the two ends of the length first")
        ends = [Mark(m.u, m.v, m.label, m.camera, m.stamp_ns) for m in self.marks[-2:]]
        try:
            scale = self._pipeline.map_desk.set_length(ends, float(metres))
        except (LookupError, ValueError, RuntimeError) as error:
            raise RefusedError(str(error)) from error
        if not scale.metric:
            return f"taken, and lengths are not metres yet: {scale.reason}"
        return f"lengths are metres now, good to {scale.sigma:.0%}"

    def _save(self, values: dict[str, Any]) -> str:
        path = self._file(values)
        try:
            self._maps.mkdir(parents=True, exist_ok=True)
            saved = self._pipeline.save_map(path)
        except (MapFileError, OSError) as error:
            raise RefusedError(str(error)) from error
        return f"{saved.keyframes} keyframes were saved as {saved.path}"

    def _load(self, values: dict[str, Any]) -> str:
        try:
            said = self._pipeline.load_map(self._file(values))
        except (MapFileError, OSError) as error:
            raise RefusedError(str(error)) from error
        self.marks = []
        return said

    def _file(self, values: dict[str, Any]) -> Path:
        name = str(values.get("name", "")).removesuffix(SUFFIX)
        if not _NAME.fullmatch(name):
            raise RefusedError(
                f"a map is called {name!r:.40}, expected letters, digits, dots, - and _"
            )
        return self._maps / f"{name}{SUFFIX}"

    def _saved(self) -> list[str]:
        if not self._maps.is_dir():
            return []
        return sorted(path.stem for path in self._maps.glob(f"*{SUFFIX}"))[:200]

    def _take_dense(self, made: Whole | Around) -> None:
        if isinstance(made, Whole):
            self._whole = made

    def _why_no_occupancy(self, world: World) -> str:
        if not self.look.occupancy:
            return ""
        if not world.scale.metric:
            return "occupancy is in metres or not at all: nothing fixes the scale yet"
        if world.T_base_body is None:
            return "where the camera sits on the robot is unknown, so the floor is, too"
        return "" if self.occupancy() is not None else "occupancy is being made"


def _seen_at(
    record: SceneRecord, world: World, place_3: Floats
) -> tuple[int, tuple[float, float], tuple[float, float]] | None:
    """Which frame of a scene shows a place in level axes; the newest that does.

    Returns:
        Its index, the pixel of the frame as it was delivered, and the same as shares of the
        straight picture; None where none shows it.
    """
    if record.T_map_cam is None or record.segment != world.segment:
        return None
    metres = world.scale.metres_per_unit if world.scale.metric else 1.0
    T_level_cam = metric(world.T_level_map @ record.T_map_cam, metres)
    here = inverse(T_level_cam) @ np.append(place_3, 1.0)
    here[:3] /= metres * record.scale
    geometry = record.geometry
    there = np.asarray(geometry.T_world_cam[record.newest], np.float64) @ here
    order = sorted(range(len(record.frames)), key=lambda i: -record.frames[i].stamp_ns)
    order.sort(key=lambda i: i != record.newest)
    for index in order:
        x, y, z = (inverse(np.asarray(geometry.T_world_cam[index], np.float64)) @ there)[:3]
        K = geometry.K[index].astype(np.float64)
        if z <= 0:
            continue
        u, v = x / z * K[0, 0] + K[0, 2], y / z * K[1, 1] + K[1, 2]
        height, width = geometry.image_size
        if not (-0.5 < u < width - 0.5 and -0.5 < v < height - 0.5):
            continue
        row, column = round(v), round(u)
        seen = float(geometry.local_points[index, row, column, 2])
        if not geometry.valid[index, row, column] or abs(seen - z) > _SAME_DEPTH * z:
            continue
        frame = record.frames[index]
        size_hw = (frame.image.shape[0], frame.image.shape[1])
        K = scaled_K(K, geometry.image_size, size_hw)
        straight = np.array([[x / z * K[0, 0] + K[0, 2], y / z * K[1, 1] + K[1, 2]]])
        shown = ((straight[0, 0] + 0.5) / size_hw[1], (straight[0, 1] + 0.5) / size_hw[0])
        optics = frame.optics if isinstance(frame, CameraFrame) else None
        given = (straight if optics is None else optics.to_delivered(straight))[0]
        return index, (float(given[0]), float(given[1])), (float(shown[0]), float(shown[1]))
    return None
