# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A drive's graph solved anew with odometry in it: what the pipeline would have made of both.

Pictures and model are the costly part of a drive, and odometry changes nothing of them: matches,
tracks and depths are those that were recorded without it. What odometry does change is computed
here by the map's own code: which edges its gate denies, the edges that it adds, in which lengths
it takes part, and so the map that the scale is measured on, whose estimate goes back into those
lengths.

Two things differ from a run of the pipeline: loops are those that were found without odometry,
and what joined two segments by their likeness is left out, since odometry bridges their gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from g2vlm_map.mapping.keyframe import Edge, Keyframe, PlacedKeyframe
from g2vlm_map.mapping.map_graph import MapGraph
from g2vlm_map.mapping.options import MapOptions
from g2vlm_map.mapping.sensed_edges import SensedEdges
from g2vlm_map.scale.tracker import ScaleTracker

from .scale_history import CAMERA, History, Step

__all__ = ["solved_steps"]


def solved_steps(
    history: History, tracker: ScaleTracker, feed: Callable[[int], None]
) -> Iterator[Step]:
    """The map after each scene, as it is with the odometry that the tracker hears of.

    Args:
        history: Of a drive without odometry.
        tracker: Whose samples and estimate the edges are made by; whoever takes a step tells it
            of the keyframes before taking the next.
        feed: Hands the tracker all samples until a stamp.
    """
    replay = _Replay(history, tracker, feed)
    for step in history.steps():
        edges = [edge for number in step.new for edge in replay.add(number, step)]
        denied = tuple(replay.denied)
        replay.denied.clear()
        yield Step(replay.graph.by_number(), step.new, tuple(edges), denied)
        replay.close([edge for edge in step.edges if edge.kind == "loop"])


class _Replay:
    """The graph and what ties a new keyframe to it; see `mapping.mapper.Mapper`."""

    def __init__(
        self, history: History, tracker: ScaleTracker, feed: Callable[[int], None]
    ) -> None:
        options = MapOptions()
        self.graph = MapGraph(options.graph, options.lengths)
        self._tracker, self._feed = tracker, feed
        self._sensed = SensedEdges(tracker.samples, CAMERA, lambda text: None)
        self._keyframes = {item.number: item for item in history.keyframes()}
        self._segment = self.graph.new_segment(0)
        self._newest: PlacedKeyframe | None = None
        self.denied: list[Edge] = []

    def add(self, number: int, recorded: Step) -> list[Edge]:
        """Put a keyframe into the graph; the edges that it came with."""
        keyframe = self._keyframes[number]
        self._feed(keyframe.stamp_ns)
        edges = self._edges(keyframe, recorded)
        before = self._newest and self.graph.get(self._newest.keyframe.number)
        if not edges and before is not None:
            self._segment = self.graph.new_segment(self._segment)
            self._sensed.begin()
        self._newest = self.graph.insert(keyframe, edges, self._segment, before)
        self._segment = self._newest.segment
        return edges

    def close(self, loops: list[Edge]) -> None:
        """Take in loops, and odometry that came late."""
        self.graph.add_edges(self._sensed.late(self.graph, self._tracker.estimate))
        believed = [edge for edge in loops if not self._sensed.gate.denies(edge)]
        if believed:
            self.graph.add_edges(believed)
            self.graph.solve_global()
            self._tracker.poses_changed(self.graph.placed, "a loop")

    def _edges(self, keyframe: Keyframe, recorded: Step) -> list[Edge]:
        own = [edge for edge in recorded.edges if edge.j == keyframe.number]
        self._sensed.gate.note(keyframe)
        visual: list[Edge] = []
        for edge in own:
            if edge.kind == "visual":
                (self.denied if self._sensed.gate.denies(edge) else visual).append(edge)
        if self._newest is None:
            return visual
        before = self.graph.get(self._newest.keyframe.number) or self._newest
        sensed = self._sensed.edges(before, keyframe, visual, self._tracker.estimate)
        if visual:
            return [*visual, *sensed]
        then = recorded.placed[before.keyframe.number].log_depth_scale
        larger = float(np.exp(before.log_depth_scale - then))
        model = [_stretched(edge, larger) for edge in own if edge.kind == "model"]
        return [*sensed, *model]


def _stretched(edge: Edge, factor: float) -> Edge:
    T = edge.T_i_j.copy()
    T[:3, 3] *= factor
    return replace(edge, T_i_j=T, sigma_still=edge.sigma_still * factor)
