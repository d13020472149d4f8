# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is drawn of a map: a chunk of points for each picture of a keyframe, where it is, and lines.

Points stay in the axes of their camera and in the unit of their own depth, so a loop that closes,
or another scale, moves chunks and sends no point again. Places are in the map's level axes
(`World`), in metres where the scale carries, else in map units.

Shape letters: H W pixels of the model's picture, P points, N poses, L loops.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from g2vlm_map.dense.consistency import agreement, witnesses
from g2vlm_map.dense.metric import MetricView, views_in
from g2vlm_map.dense.options import DenseOptions
from g2vlm_map.world import World

__all__ = [
    "Chunk",
    "Chunks",
    "MapPicture",
    "Node",
    "frusta",
    "heights_of",
    "map_picture",
    "median_depth",
    "shown_part",
    "spacing",
]

Floats = NDArray[np.float64]
Heights = tuple[float, float, bool]  # low, high, whether the axes are level
Key = tuple[int, int]  # number of the keyframe, which of its pictures


@dataclass(frozen=True, eq=False)
class Chunk:
    """Points of one picture, row by row.

    Args:
        point_P3: float32 in the axes of the camera, in a unit of its own.
        color_P3: uint8 RGB.
        confidence_P: float32, 0..1.
        pixel_P: int32 flat index of their pixels in the model's picture; empty where there is none.
        seen_from_P: float32 distance from the camera that saw them, in the chunk's unit; empty
            where that is the axes' own.
    """

    point_P3: NDArray[np.float32]
    color_P3: NDArray[np.uint8]
    confidence_P: NDArray[np.float32]
    pixel_P: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    seen_from_P: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    @property
    def range_P(self) -> NDArray[np.float32]:
        """(P,) distance from the camera in the chunk's unit."""
        if len(self.seen_from_P):
            return self.seen_from_P
        lengths: NDArray[np.float32] = np.sqrt((self.point_P3**2).sum(axis=1))
        return lengths


@dataclass(frozen=True, eq=False)
class Node:
    """A chunk where it is at present.

    Args:
        chunk: Its points.
        T_level_cam: (4, 4) float64 in the picture's unit.
        scale: Length of the chunk's unit in that of the map's picture.
        fov: Vertical angle of view, rad; aspect: width over height.
        agree_P: (P,) float32 share of the keyframes that see a point's place which see it there;
            NaN where none does. None while nobody asks.
        thumbnail_HW3: uint8 picture of the camera; None for none.
        apart: Of neighbouring points at the median depth, in the chunk's unit; 0: as `spacing`
            has it from the angle of view.
    """

    chunk: Chunk
    T_level_cam: Floats
    scale: float
    fov: float = 1.0
    aspect: float = 4 / 3
    agree_P: NDArray[np.float32] | None = None
    thumbnail_HW3: NDArray[np.uint8] | None = None
    apart: float = 0.0


@dataclass(frozen=True, eq=False)
class MapPicture:
    """A map to be drawn.

    Args:
        nodes: By key, oldest first.
        loop_L23: float64 ends of accepted loops.
        unit: "m" or "map units".
        level: Whether z is up; else y is down, as in the first camera.
        thinned: Which points are left out to bound them, in words; "" for none.
        version: Changes when one of the others does.
    """

    nodes: Mapping[Key, Node] = field(default_factory=dict)
    loop_L23: Floats = field(default_factory=lambda: np.zeros((0, 2, 3)))
    unit: str = "map units"
    level: bool = False
    thinned: str = ""
    version: tuple[object, ...] = ()

    @property
    def path_N3(self) -> Floats:
        """Where the reference camera was."""
        places = [node.T_level_cam[:3, 3] for key, node in self.nodes.items() if key[1] == 0]
        return np.array(places, np.float64).reshape(-1, 3)

    def points(self) -> Floats:
        """(P, 3) float64 all points of all chunks in level axes."""
        found = [
            node.chunk.point_P3 @ (node.scale * node.T_level_cam[:3, :3].T)
            + node.T_level_cam[:3, 3]
            for node in self.nodes.values()
        ]
        return np.concatenate(found) if found else np.zeros((0, 3))


def median_depth(picture: MapPicture) -> float:
    """How far away things are, in the map's unit; 1 without a map."""
    depths = [
        float(np.median(node.chunk.point_P3[:, 2])) * node.scale
        for node in list(picture.nodes.values())[:32]
        if len(node.chunk.point_P3)
    ]
    return float(np.median(depths)) if depths else 1.0


class Chunks:
    """Makes chunks once and forgets those whose keyframe is gone; for one thread.

    Args:
        each: Points of a chunk at most, while there are few.
        total: Points of all: beyond it every chunk keeps half as many, and so on. It holds for as
            many chunks as it has points.
    """

    def __init__(self, each: int = 3000, total: int = 600_000) -> None:
        self._each, self._total = each, total
        self._made: dict[Key, tuple[int, Chunk]] = {}
        self._agreed: dict[Key, tuple[tuple[object, ...], NDArray[np.float32]]] = {}

    def most(self, count: int) -> int:
        """Points of each of `count` chunks: a half, a quarter ... of `each`."""
        most = self._each
        while most > 1 and most * count > self._total:
            most //= 2
        return most

    def thinned(self, count: int) -> str:
        """What is left out of `count` chunks, in words; "" for nothing."""
        most = self.most(count)
        if most == self._each:
            return ""
        return (
            f"thinned to {most:,} points of a picture, from {self._each:,}, so that all are "
            f"{self._total:,} at most (--points)"
        )

    def of(self, views: list[MetricView]) -> dict[Key, Chunk]:
        """A chunk for each view."""
        most, kept = self.most(len(views)), self._made
        self._made = {}
        for view in views:
            key = (view.number, view.view)
            before = kept.get(key)
            if before is None or before[0] != most:
                before = (most, _chunk(view, most))
            self._made[key] = before
        return {key: chunk for key, (_, chunk) in self._made.items()}

    def agreeing(self, views: list[MetricView]) -> dict[Key, NDArray[np.float32]]:
        """(P,) `Node.agree_P` of each chunk, asked again where a view or its witnesses moved."""
        kept, self._agreed = self._agreed, {}
        chunks = self.of(views)
        depths = [
            float(np.median(chunks[view.number, view.view].point_P3[:, 2])) * view.depth_scale
            for view in views
            if len(chunks[view.number, view.view].point_P3)
        ]
        reach = 6.0 * float(np.median(depths)) if depths else 1.0  # beyond it nobody is asked
        rules = DenseOptions(max_range=min(max(reach, 0.1), 1000.0))
        for view, asked in zip(views, witnesses(views, rules), strict=True):
            key = (view.number, view.view)
            them = [views[index] for index in asked]
            stance = (chunks[key], *_stance(view, them))
            before = kept.get(key)
            if before is None or before[0] != stance:
                before = (stance, _agree(view, chunks[key], them, rules))
            self._agreed[key] = before
        return {key: agree_P for key, (_, agree_P) in self._agreed.items()}


def spacing(node: Node) -> float:
    """Of neighbouring points of a chunk at its median depth, in its own unit; 0 without points."""
    points = node.chunk.point_P3
    if node.apart or not len(points):
        return node.apart
    depth = float(np.median(points[:, 2]))
    across = 2 * math.tan(node.fov / 2) * math.sqrt(node.aspect) * depth
    return across / math.sqrt(len(points))


def frusta(picture: MapPicture, size: float) -> Floats:
    """(8 N, 2, 3) edges of all cameras' frusta."""
    nodes = list(picture.nodes.values())
    if not nodes:
        return np.zeros((0, 2, 3))
    lines = np.zeros((len(nodes), 8, 2, 3))
    for index, node in enumerate(nodes):
        half = math.tan(node.fov / 2)
        wide = half * node.aspect
        corners = size * np.array(
            [[-wide, -half, 1], [wide, -half, 1], [wide, half, 1], [-wide, half, 1]]
        )
        corners = corners @ node.T_level_cam[:3, :3].T + node.T_level_cam[:3, 3]
        lines[index, :4, 0], lines[index, :4, 1] = node.T_level_cam[:3, 3], corners
        lines[index, 4:, 0], lines[index, 4:, 1] = corners, np.roll(corners, -1, axis=0)
    return lines.reshape(-1, 2, 3)


def shown_part(world: World, lost: bool) -> World:
    """The world with the part in front that is to be seen.

    Args:
        world: The map; segments share neither axes nor unit.
        lost: Whether a loaded map waits until its place is found: then that one is shown.
    """
    sizes = Counter(placed.segment for placed in world.keyframes)
    if not sizes or not (lost or world.segment not in sizes):
        return world
    others = [segment for segment in sizes if segment != world.segment] or [world.segment]
    part = max(others, key=lambda segment: (sizes[segment], segment))
    if part == world.segment:
        return world
    return replace(world, segment=part, T_level_map=np.eye(4), up_source="")


def map_picture(world: World, chunks: Chunks, *, consistency: bool = False) -> MapPicture:
    """What is drawn of a world: the segment that it names."""
    metres = world.scale.metres_per_unit if world.scale.metric else 1.0
    views = views_in(world, metres)
    made = chunks.of(views)
    agreed = chunks.agreeing(views) if consistency else {}
    nodes: dict[Key, Node] = {}
    newest = max((view.number for view in views), default=0)
    for view in views:
        key = (view.number, view.view)
        stored = view.placed.keyframe.views[view.view]
        height, width = stored.depth_HW.shape
        nodes[key] = Node(
            made[key],
            view.T_level_cam,
            view.depth_scale,
            fov=2.0 * float(np.arctan2(height / 2, view.K[1, 1])),
            aspect=(width / view.K[0, 0]) / (height / view.K[1, 1]),
            agree_P=agreed.get(key),
            thumbnail_HW3=stored.color_HW3 if view.number == newest else None,
        )
    places = {view.number: view.T_level_cam[:3, 3] for view in views if view.view == 0}
    loops = [
        (places[edge.i], places[edge.j])
        for edge in world.edges
        if edge.kind == "loop" and edge.i in places and edge.j in places
    ]
    return MapPicture(
        nodes,
        np.array(loops, np.float64).reshape(-1, 2, 3),
        "m" if world.scale.metric else "map units",
        bool(world.up_source),
        chunks.thinned(len(views)),
        (world.version, world.segment, len(world.keyframes), world.loops, id(world)),
    )


def _chunk(view: MetricView, most: int) -> Chunk:
    stored = view.placed.keyframe.views[view.view]
    depth_HW = stored.depth_HW.astype(np.float32)
    keep_HW = np.isfinite(depth_HW) & (depth_HW > 0) & (stored.confidence_HW > 0)
    step = max(1, int(np.ceil(np.sqrt(np.count_nonzero(keep_HW) / most))))
    while np.count_nonzero(keep_HW[::step, ::step]) > most:  # rims and holes
        step += 1
    grid_HW = np.zeros_like(keep_HW)
    grid_HW[::step, ::step] = True
    keep_HW &= grid_HW
    points_P3 = view.points(keep_HW, depth_HW).astype(np.float32)
    return Chunk(
        points_P3,
        stored.color_HW3[keep_HW],
        stored.confidence_HW[keep_HW].astype(np.float32) / np.float32(255),
        np.flatnonzero(keep_HW).astype(np.int32),
    )


def _stance(view: MetricView, them: list[MetricView]) -> tuple[object, ...]:
    """Equal where views stand to each other as before, to a hundredth."""
    parts: list[object] = []
    for other in them:
        T = np.linalg.solve(other.T_level_cam, view.T_level_cam)
        ratio = np.log(other.depth_scale / view.depth_scale)
        reach = np.log(max(float(np.linalg.norm(T[:3, 3])), 1e-6) / view.depth_scale)
        values = (*T[:3, 2], *T[:3, 0], reach, ratio)
        parts.append((other.number, other.view, *np.round(np.array(values) * 100).tolist()))
    return tuple(parts)


def _agree(
    view: MetricView, chunk: Chunk, them: list[MetricView], rules: DenseOptions
) -> NDArray[np.float32]:
    keep_HW = np.zeros(view.confidence_HW.shape, bool)
    keep_HW.flat[chunk.pixel_P] = True
    asked = [(other, other.depth_HW) for other in them]
    agree_P, through_P = agreement(view, keep_HW, asked, rules.tolerance)
    spoke_P = agree_P + through_P
    share_P = np.full(len(spoke_P), np.nan, np.float32)
    np.divide(agree_P, spoke_P, out=share_P, where=spoke_P > 0, casting="unsafe")
    return share_P


def heights_of(picture: MapPicture) -> Heights:
    """What 2 % of the heights lie below and above, to 1 % of the depth."""
    some = list(picture.nodes.values())[:: max(1, len(picture.nodes) // 32)]
    points = MapPicture({(number, 0): node for number, node in enumerate(some)}).points()
    if not len(points):
        return 0.0, 1.0, picture.level
    step = 0.01 * median_depth(picture)
    low, high = np.percentile(points[:, 2] if picture.level else -points[:, 1], (2, 98))
    return float(np.round(low / step) * step), float(np.round(high / step) * step), picture.level
