# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The map over time: loops closed beside the passes, files, and where a robot is in a loaded map.

    pipeline.save_map(path)      the present map, whole or not at all
    pipeline.load_map(path)      in place of the present one; new keyframes begin a segment of their
                                 own until they are found in it (condition NOT_LOCALISED)
    pipeline.localize(hint)      look now, with a hint of the place or without

A loaded map and what is seen now are two segments. They become one as any two do that meet again
(`mapping/merge.py`): where several keyframes agree, in the axes and units of the loaded map, whose
scale holds from then on. Until then nothing that is seen is in metres because of the map.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from g2vlm_model.interface import SpatialRuntime

from .axes import base_pose, pose_covariance
from .mapping.closing import Closed, LoopCloser
from .mapping.keyframe import PlacedKeyframe
from .mapping.learned import learned_matcher
from .mapping.loops import view_depth
from .mapping.mapper import Mapper
from .mapping.places import words_id, words_vector
from .mapping.store import MapContent, MapFileError, camera_refusal, load_map, save_map
from .options import PipelineOptions
from .poses import Floats, inverse, metric
from .scale.tracker import ScaleTracker
from .status import StatusBoard
from .world import World
from .world_view import WorldView

__all__ = ["SUFFIX", "KeepsMaps", "Localised", "MapFileError", "MapKeeper", "SavedMap"]

SUFFIX = ".g2map"
_NEWEST = 6  # keyframes that `localize` looks for
_REACH = 2.0  # view depths round a hint in which places are tried first


class _Passes(Protocol):
    def tell_past_changed(self, cause: str, text: str) -> None: ...

    def restart(self, cause: str, text: str, fill: Callable[[], object] | None = None) -> int: ...


@dataclass(frozen=True)
class SavedMap:
    """What was written.

    Args:
        path: The whole name of the file.
        keyframes, bytes: In it.
    """

    path: Path
    keyframes: int
    bytes: int


@dataclass(frozen=True, eq=False)
class Localised:
    """Whether the place was found.

    Args:
        text: Where and how surely, or an honest no with what was tried.
        stamp_ns: Of the newest keyframe.
        T_map_body: (4, 4) of it in the map, map units; None where the place was not found.
        T_map_base: (4, 4) of the base in the level map, metres; None too where the scale is
            unknown.
        covariance_66: Of `T_map_base`: metres, then rad.
    """

    text: str
    stamp_ns: int = 0
    T_map_body: Floats | None = None
    T_map_base: Floats | None = None
    covariance_66: Floats | None = None


class MapKeeper:
    """Owns the thread of loops and what is known of a loaded map.

    Args:
        runtime: For the identity of its model.
        options: Of the pipeline.
        board: Told of places that look alike, of files that fail, of a place not found.
        mapper: Whose map it is.
        view: The map as a `World`.
        scale: Told of the scale of a loaded map.
        passes: Told when the past changes.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        options: PipelineOptions,
        board: StatusBoard,
        mapper: Mapper,
        view: WorldView,
        scale: ScaleTracker,
        passes: _Passes,
    ) -> None:
        graph = learned_matcher(options.features.detector)
        self._detector = options.features.detector if graph is None else graph.identity
        self._runtime = runtime
        self._board, self._mapper, self._view = board, mapper, view
        self._scale, self._passes = scale, passes
        self.closer = LoopCloser(
            *(mapper.graph, options.mapping, self._take_over, mapper.denies, board),
            scale=lambda: scale.estimate,
            log_ratio=mapper.log_ratio,
            join=self._join,
        )
        self._loaded: MapContent | None = None  # until it was found again
        self._checked = True
        mapper.listen(self._hear)

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """What became of keyframes that are not all that one would wish, for the status."""
        closer = self.closer
        return (
            ("keyframes culled", closer.culler.culled),
            ("keyframes not looked for", closer.overflowed),
        )

    def start(self) -> None:
        """Start the thread."""
        self._loaded = None
        self.closer.start()

    def forget(self) -> None:
        """The map was reset."""
        self._loaded = None
        self._board.condition("NOT_LOCALISED", False)
        self.closer.clear()

    def cancel(self) -> None:
        """Nothing more is looked for."""
        self.closer.cancel()

    def stop(self, timeout_s: float) -> None:
        """End the thread after `cancel`; what takes longer than the time is given up."""
        self.closer.stop(timeout_s)

    # Files.

    def save(self, path: Path, overwrite: bool) -> SavedMap:
        """See `KeepsMaps.save_map`."""
        path = path if path.suffix else path.with_suffix(SUFFIX)
        try:
            if path.exists() and not overwrite:
                raise MapFileError(f"{path} is there already; ask to overwrite it, or name another")
            world = self._view.now
            if not world.keyframes:
                raise MapFileError("there is no keyframe yet: nothing to save")
            model = self._runtime.info.model_id
            size = save_map(path, MapContent(model, self._detector, words_id(), world))
        except MapFileError as error:
            self._board.event("MAP_FILE_FAILED", str(error), time.monotonic())
            raise
        return SavedMap(path, len(world.keyframes), size)

    def read(self, path: Path) -> MapContent:
        """A map from a file, checked against the model that runs and the cameras that look.

        Raises:
            MapFileError: See `store.load_map`.
        """
        if not path.exists() and not path.suffix:
            path = path.with_suffix(SUFFIX)
        newest = self._mapper.graph.placed[-1:]
        known = {view.camera: view for one in newest for view in one.keyframe.views}
        try:
            content = load_map(
                path,
                model_id=self._runtime.info.model_id,
                detector=self._detector,
                cameras=known,
            )
        except MapFileError as error:
            self._board.event("MAP_FILE_FAILED", str(error), time.monotonic())
            raise
        self._checked = bool(known)
        return content if content.words_id == words_id() else _described_anew(content)

    def put_in(self, content: MapContent) -> str:
        """Put a map in the place of the present one; what happened in words."""
        world = content.world
        text = f"a map of {len(world.keyframes)} keyframes was loaded"

        def fill() -> None:
            self._mapper.graph.put_back(world.keyframes, world.edges)
            self._view.restore(world)

        self._passes.restart("reset", text, fill)
        self._loaded = content
        self.closer.clear()
        self._note_place(f"{text}, and nothing that is seen was found in it yet")
        self._passes.tell_past_changed("loaded", text)
        return text

    # Where we are.

    def localise(self, hint: Floats | None) -> Localised:
        """See `KeepsMaps.localize`."""
        placed = self._mapper.graph.placed
        ours = [one for one in placed if one.segment == self._mapper.segment]
        if not ours:
            return Localised("nothing has been seen since the map was loaded or begun")
        others = [one for one in placed if one.segment != self._mapper.segment]
        newest = ours[-1]
        said = "the newest keyframe is a part of the map"
        if others:
            near = self._near(hint, others)
            for one in ours[-_NEWEST:]:
                said = self.closer.look(one.keyframe.number, near) or said
            if self._segment(newest) == newest.segment and near is not None:
                for one in ours[-_NEWEST:]:  # the hint may be wrong
                    said = self.closer.look(one.keyframe.number, None) or said
            if self._segment(newest) == newest.segment:
                tried = min(_NEWEST, len(ours))
                text = f"the place was not found with the newest {tried} keyframes: {said}"
                return Localised(text, newest.keyframe.stamp_ns)
        return self._at(newest.keyframe.number, said)

    def _segment(self, placed: PlacedKeyframe) -> int:
        now = self._mapper.graph.get(placed.keyframe.number)
        return placed.segment if now is None else now.segment

    def _near(self, hint: Floats | None, others: list[PlacedKeyframe]) -> list[int] | None:
        """Keyframes near a hinted place of the base; None: all."""
        if hint is None:
            return None
        world = self._view.now if self._loaded is None else self._loaded.world
        T_base_body = np.eye(4) if world.T_base_body is None else world.T_base_body
        body = metric(hint @ T_base_body, 1 / world.scale.metres_per_unit)
        place = (inverse(world.T_level_map) @ body)[:3, 3]
        reach = _REACH * float(np.median([view_depth(one) for one in others]))
        return [
            one.keyframe.number
            for one in others
            if np.linalg.norm(one.T_map_body[:3, 3] - place) < reach
        ]

    def _at(self, number: int, text: str) -> Localised:
        world, placed = self._view.now, self._mapper.graph.get(number)
        if placed is None:
            return Localised("the newest keyframe is gone")
        T_map_body, stamp_ns = placed.T_map_body, placed.keyframe.stamp_ns
        if not world.scale.metric:
            return Localised(f"{text}; lengths are up to scale", stamp_ns, T_map_body)
        T_base_body = np.eye(4) if world.T_base_body is None else world.T_base_body
        level, unit = world.T_level_map, world.scale.metres_per_unit
        T_map_base = base_pose(level, T_map_body, T_base_body, unit)
        covariance = pose_covariance(
            *(level, T_map_body, T_base_body, placed.pose_covariance, unit, world.scale.sigma)
        )
        return Localised(text, stamp_ns, T_map_body, T_map_base, covariance)

    # What the thread of loops tells.

    def _join(self, absorbed: int, onto: int, log_scale: float) -> None:
        self._mapper.joined(absorbed, onto, log_scale)
        self._scale.joined(absorbed, onto, log_scale)

    def _take_over(self, closed: Closed) -> None:
        if closed.cause == "alike":
            self._board.event("PLACES_ALIKE", closed.text, time.monotonic())
            return
        cause, loaded = closed.cause, self._loaded
        if closed.absorbed:
            stored = set() if loaded is None else {one.segment for one in loaded.world.keyframes}
            if loaded is not None and closed.segment in stored:
                cause, self._loaded = "localized", None
                self._board.condition("NOT_LOCALISED", False)
                if math.isfinite(loaded.world.scale.sigma):
                    self._scale.restore(loaded.world.scale)
        self._passes.tell_past_changed(cause, closed.text)

    def _hear(self, placed: PlacedKeyframe) -> None:
        """A new keyframe, in the thread of the passes."""
        if self._loaded is not None and not self._checked:
            self._checked = True
            for view in placed.keyframe.views:
                if why := camera_refusal(self._loaded, view.camera, view):
                    self._put_away(self._loaded.world, why)
                    break
        self.closer.hear(placed)

    def _put_away(self, world: World, why: str) -> None:
        """The loaded map turns out to be another camera's."""
        self._loaded = None
        self._mapper.graph.take_out([one.keyframe.number for one in world.keyframes])
        self.closer.clear()  # its places and its memory count no more
        self._board.condition("NOT_LOCALISED", False)
        text = f"the map was put away: {why}"
        self._board.event("MAP_FILE_FAILED", text, time.monotonic())
        self._passes.tell_past_changed("culled", text)

    def _note_place(self, text: str) -> None:
        self._board.condition("NOT_LOCALISED", True, text)


class KeepsMaps:
    """Public methods of a pipeline that concern its map."""

    _keeper: MapKeeper

    def save_map(self, path: str | Path, *, overwrite: bool = True) -> SavedMap:
        """Write the map to a file, whole or not at all; from any thread.

        Args:
            path: Of the file; without a suffix it gets `.g2map`.
            overwrite: Whether one that is there may be replaced.

        Raises:
            MapFileError: No keyframe, no room, no right to write; what was there is unharmed.
        """
        return self._keeper.save(Path(path), overwrite)

    def load_map(self, path: str | Path) -> str:
        """Take a map from a file in place of the present one; what happened in words.

        Raises:
            MapFileError: Cut off, damaged, of a later version, of another model or camera; the
                present map stays.
            RuntimeError: Called by a listener.
        """
        content = self._keeper.read(Path(path))
        return self._exchange(content)

    def localize(self, hint: Floats | None = None) -> Localised:
        """Look for the place of the newest keyframes in the map; takes about a second.

        Args:
            hint: (4, 4) pose of the base in the level map, metres: places near it are tried
                first.
        """
        return self._keeper.localise(hint)

    if TYPE_CHECKING:  # the pipeline's own: it locks the intake and refuses listeners

        def _exchange(self, content: MapContent) -> str: ...


def _described_anew(content: MapContent) -> MapContent:
    """The map with places by the vocabulary of now."""
    placed = []
    for one in content.world.keyframes:
        keyframe = one.keyframe
        places = {name: row for name, row in keyframe.places.items() if name != "words"}
        words = words_vector(keyframe.views[0].descriptor_FE)
        if words is not None:
            places["words"] = words
        placed.append(replace(one, keyframe=replace(keyframe, places=places)))
    world = replace(content.world, keyframes=tuple(placed))
    return replace(content, words_id=words_id(), world=world)
