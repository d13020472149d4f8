# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The dense map of a world: made on demand, again where keyframes moved, within its memory.

Keyframes are taken in blocks of sixteen. What a block becomes depends on the places of its
keyframes and of those that were asked about them; a block is made again when one of these has
moved, came or went, and all are made again when the world's version says that the past changed.
So a map that grew is the map that is built at once, and nothing is ever taken out of a sum.

A loop moves keyframes far, and their neighbours with them. What was made of pictures and depths, by
far the most work, hangs on how views stand to each other: it is kept while that is as it was.

Where the memory is full, the oldest blocks keep what lies near the robot only; they come back
with the next version of the world, or when they are seen again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..poses import inverse
from ..world import World
from .consistency import Verdict, judge, witnesses
from .metric import MetricView, metric_views
from .obstacles import Standing, standing
from .occupancy import CellTable, cells_of, merged_cells
from .options import DenseOptions, ObstacleOptions, OccupancyOptions
from .sweep import sweep_partners, swept_depth
from .voxels import VoxelTable, merged_voxels, voxels_of

__all__ = ["DenseMap", "DenseRules", "DenseSnapshot"]

Floats = NDArray[np.float64]
_BLOCK = 16  # keyframes
_SETTLED_M, _SETTLED_RAD, _SETTLED_LOG = 0.01, 0.005, 0.01  # smaller moves are not followed
_MB = 1e6

_ViewId = tuple[int, int]  # number of the keyframe, which of its views
_Signature = tuple[tuple[object, ...], ...]


@dataclass(frozen=True)
class DenseRules:
    """All options that the dense map depends on."""

    dense: DenseOptions = field(default_factory=DenseOptions)
    obstacles: ObstacleOptions = field(default_factory=ObstacleOptions)
    occupancy: OccupancyOptions = field(default_factory=OccupancyOptions)


@dataclass(frozen=True, eq=False)
class DenseSnapshot:
    """The dense map of one world.

    Args:
        version, segment: Of the world.
        keyframes: Keyframes of it.
        stamp_ns: Of the newest.
        position: (3,) float64 of the newest camera, level axes, metres; the origin without one.
        voxels: The map's points.
        cells: Evidence of occupancy; empty where the base is not known.
        usable, unconfirmed, seen_through: Pixels of all keyframes; see `Verdict`.
        nbytes: Of all that is kept for it.
        trimmed: Blocks of which only the part near the robot is kept.
    """

    version: int
    segment: int
    keyframes: int
    stamp_ns: int
    position: Floats
    voxels: VoxelTable
    cells: CellTable
    usable: int
    unconfirmed: int
    seen_through: int
    nbytes: int
    trimmed: int

    @property
    def left_out(self) -> float:
        """Share of the pixels that other views contradict or do not confirm."""
        return (self.unconfirmed + self.seen_through) / max(1, self.usable)


@dataclass(frozen=True, eq=False)
class _Stance:
    """How views stand to one of them.

    Args:
        names: Of that view, then of the others.
        T_view_others: (J, 4, 4) of the others' cameras in its axes, metres.
        log_scales: (1 + J,) logs of their depths' scales.
    """

    names: tuple[_ViewId, ...]
    T_view_others: Floats
    log_scales: Floats

    @classmethod
    def of(cls, view: MetricView, others: Sequence[MetricView]) -> _Stance:
        """How others stand to a view."""
        views = (view, *others)
        T = np.reshape([other.T_level_cam for other in others], (-1, 4, 4))
        return cls(
            tuple((one.number, one.view) for one in views),
            inverse(view.T_level_cam) @ T,
            np.log([one.depth_scale for one in views]),
        )

    def same(self, other: _Stance) -> bool:
        """Whether the views are the same and none has moved against the first, nor grown."""
        return (
            self.names == other.names
            and not any(map(_turned, self.T_view_others, other.T_view_others))
            and bool((np.abs(self.log_scales - other.log_scales) <= _SETTLED_LOG).all())
        )


@dataclass(frozen=True, eq=False)
class _Swept:
    """A view with its swept depth, the places that this depends on, and how it was made."""

    signature: tuple[object, ...]
    stance: _Stance
    making: int  # no two depths have the same
    view: MetricView

    @property
    def nbytes(self) -> int:
        return 0 if self.view.swept_HW is None else self.view.swept_HW.nbytes


@dataclass(frozen=True, eq=False)
class _Judged:
    """A verdict on a view, the places and the depths that it depends on, and how those stood."""

    signature: tuple[object, ...]
    stance: _Stance
    makings: tuple[int, ...]
    verdict: Verdict


@dataclass(eq=False)
class _Block:
    signature: _Signature
    voxels: VoxelTable
    cells: CellTable
    trimmed: bool = False

    @property
    def nbytes(self) -> int:
        return self.voxels.nbytes + self.cells.nbytes


class DenseMap:
    """Keeps the dense map of the newest world; one thread at a time.

    Args:
        rules: May be replaced; everything is made again then.
    """

    def __init__(self, rules: DenseRules | None = None) -> None:
        self.rules = rules or DenseRules()
        self._made_for: tuple[object, ...] = ()
        self._made_by: DenseRules | None = None
        self._held: dict[_ViewId, tuple[int, MetricView]] = {}
        self._swept: dict[_ViewId, _Swept] = {}
        self._judged: dict[_ViewId, _Judged] = {}
        self._blocks: dict[int, _Block] = {}
        self._revision = 0  # of places: no two have the same
        self.blocks_made = self.makings = 0  # of blocks, and of views' depths, since the start

    @property
    def views(self) -> list[MetricView]:
        """The views of the last world, at the places at which they are held."""
        return [view for _, view in self._held.values()]

    def update(self, world: World) -> DenseSnapshot:
        """The dense map of a world.

        Raises:
            NoScaleError: The scale does not carry.
        """
        views = self._placed(world)
        self._judge(views, {view.number for view in views})
        self._make_blocks(views)
        return self._snapshot(world, views)

    def around(self, world: World) -> tuple[Standing, ...]:
        """What the newest keyframes' views see, oldest first, without the rest of the map.

        Raises:
            NoScaleError: The scale does not carry.
            NoBaseError: The base is not known.
        """
        views = self._placed(world)
        newest = set(sorted({view.number for view in views})[-self.rules.obstacles.keyframes :])
        self._judge(views, newest)
        return tuple(self.standing(view) for view in views if view.number in newest)

    def _placed(self, world: World) -> list[MetricView]:
        """The world's views at the places at which they are held."""
        made_for = (world.version, world.segment, world.scale.version)
        views = metric_views(world)
        if self.rules != self._made_by:
            self._swept, self._judged, self._blocks = {}, {}, {}
        anew = made_for != self._made_for or self.rules != self._made_by
        self._made_for, self._made_by = made_for, self.rules
        return self._hold(views, anew)

    def standing(self, view: MetricView) -> Standing:
        """What a view that was judged says to its robot.

        Raises:
            NoBaseError: The base is not known.
        """
        name = (view.number, view.view)
        swept, keep_HW = self._swept[name].view, self._judged[name].verdict.keep_HW
        return standing(swept, keep_HW, self.rules.obstacles)

    def _hold(self, views: Sequence[MetricView], anew: bool) -> list[MetricView]:
        """Views at the places at which they are held: a small move is followed only `anew`."""
        held: dict[_ViewId, tuple[int, MetricView]] = {}
        for view in views:
            name = (view.number, view.view)
            revision, before = self._held.get(name, (0, None))
            if anew or before is None or _moved(before, view):
                self._revision += 1
                revision, before = self._revision, view
            held[name] = (revision, before)
        self._held = held
        return self.views

    def _judge(self, views: Sequence[MetricView], numbers: set[int]) -> None:
        """Judge the views of some keyframes anew where it is needed."""
        asked = witnesses(views, self.rules.dense, numbers)
        sweeps = sweep_partners(views) if self.rules.dense.sweep else [()] * len(views)
        judged: dict[_ViewId, _Judged] = {}
        for index, others in enumerate(asked):
            name = (views[index].number, views[index].view)
            known = self._judged.get(name)
            if views[index].number in numbers:
                swept = [self._sweep(views, i, sweeps[i]) for i in (index, *others)]
                signature = tuple(item.signature for item in swept)
                if known is None or known.signature != signature:
                    known = self._judged_anew(known, signature, swept)
            if known is not None:
                judged[name] = known
        self._judged = judged
        self._swept = {name: item for name, item in self._swept.items() if name in self._held}

    def _judged_anew(
        self, known: _Judged | None, signature: tuple[object, ...], swept: Sequence[_Swept]
    ) -> _Judged:
        """The verdict on the first of some views; the one before where nothing moved against it."""
        view, *others = (item.view for item in swept)
        stance, makings = _Stance.of(view, others), tuple(item.making for item in swept)
        if known is not None and known.makings == makings and known.stance.same(stance):
            return replace(known, signature=signature)
        asked = [(other, other.depth_HW) for other in others]
        return _Judged(signature, stance, makings, judge(view, asked, self.rules.dense))

    def _sweep(self, views: Sequence[MetricView], index: int, partners: tuple[int, ...]) -> _Swept:
        """A view with the depth that its neighbours' pictures agree on."""
        view = views[index]
        name = (view.number, view.view)
        signature = tuple(self._place(views[i]) for i in (index, *partners))
        known = self._swept.get(name)
        if known is None or known.signature != signature:
            others = [views[i] for i in partners]
            stance = _Stance.of(view, others)
            if known is not None and known.stance.same(stance):
                view = replace(view, swept_HW=known.view.swept_HW)
                known = replace(known, signature=signature, view=view)
            else:
                if partners:
                    depth_HW = swept_depth(view, others).astype(np.float16)
                    view = replace(view, swept_HW=depth_HW)
                self.makings += 1
                known = _Swept(signature, stance, self.makings, view)
            self._swept[name] = known
        return known

    def _place(self, view: MetricView) -> tuple[int, int, int]:
        return view.number, view.view, self._held[view.number, view.view][0]

    def _make_blocks(self, views: Sequence[MetricView]) -> None:
        """Newest first, so that a full memory holds what is new."""
        members: dict[int, list[MetricView]] = {}
        for view in views:
            members.setdefault(view.number // _BLOCK, []).append(view)
        here = _newest_place(views)
        budget = self.rules.dense.max_memory_mb * _MB
        blocks: dict[int, _Block] = {}
        for number in sorted(members, reverse=True):
            signature = tuple(self._judged[v.number, v.view].signature for v in members[number])
            block = self._blocks.get(number)
            if block is None or block.signature != signature:
                block = self._made(members[number], signature)
            if block.nbytes > budget:
                self._trim(block, here, budget)
            budget -= block.nbytes
            blocks[number] = block
        self._blocks = dict(sorted(blocks.items()))

    def _made(self, views: Sequence[MetricView], signature: _Signature) -> _Block:
        self.blocks_made += 1
        size, cell = self.rules.dense.voxel, self.rules.occupancy.resolution
        voxels, cells = [], []
        for view in views:
            name = (view.number, view.view)
            keep_HW, swept = self._judged[name].verdict.keep_HW, self._swept[name].view
            depth_HW, T = swept.depth_HW, view.T_level_cam
            points_P3 = view.points(keep_HW, depth_HW) @ T[:3, :3].T + T[:3, 3]
            color_P3, confidence_P = view.color_HW3[keep_HW], view.confidence_HW[keep_HW]
            voxels.append(voxels_of(points_P3, depth_HW[keep_HW], color_P3, confidence_P, size))
            if view.T_level_base is not None:
                cells.append(cells_of(self.standing(view), self.rules.occupancy))
        return _Block(signature, merged_voxels(voxels, size), merged_cells(cells, cell))

    def _trim(self, block: _Block, here: Floats, budget: float) -> None:
        """Keep what is near the robot; where that is too much, the nearest voxels that fit."""
        radius = self.rules.dense.radius
        away_C2 = block.cells.centres() - here[:2]
        block.cells = block.cells.chosen(np.einsum("ci,ci->c", away_C2, away_C2) <= radius**2)
        if block.cells.nbytes > budget:
            block.cells = block.cells.chosen(np.zeros(len(block.cells), bool))
        away_V = block.voxels.distances(here)
        order_V = np.argsort(away_V, kind="stable")
        each = max(1, block.voxels.nbytes // max(1, len(block.voxels)))
        fits = max(0, int((budget - block.cells.nbytes) // each))
        keep_V = np.zeros(len(away_V), bool)
        keep_V[order_V[:fits]] = True
        block.voxels = block.voxels.chosen(keep_V & (away_V <= radius))
        block.trimmed = True

    def _snapshot(self, world: World, views: Sequence[MetricView]) -> DenseSnapshot:
        rules = self.rules
        voxels = merged_voxels([b.voxels for b in self._blocks.values()], rules.dense.voxel)
        if rules.dense.min_points > 1:
            voxels = voxels.chosen(voxels.count_V >= rules.dense.min_points)
        verdicts = [judged.verdict for judged in self._judged.values()]
        return DenseSnapshot(
            version=world.version,
            segment=world.segment,
            keyframes=len({view.number for view in views}),
            stamp_ns=max((view.stamp_ns for view in views), default=0),
            position=_newest_place(views),
            voxels=voxels,
            cells=merged_cells(
                [block.cells for block in self._blocks.values()], rules.occupancy.resolution
            ),
            usable=sum(verdict.usable for verdict in verdicts),
            unconfirmed=sum(verdict.unconfirmed for verdict in verdicts),
            seen_through=sum(verdict.seen_through for verdict in verdicts),
            nbytes=sum(block.nbytes for block in self._blocks.values())
            + sum(verdict.keep_HW.nbytes for verdict in verdicts)
            + sum(swept.nbytes for swept in self._swept.values()),
            trimmed=sum(block.trimmed for block in self._blocks.values()),
        )


def _newest_place(views: Sequence[MetricView]) -> Floats:
    place: Floats = views[-1].T_level_cam[:3, 3] if views else np.zeros(3)
    return place


def _moved(before: MetricView, now: MetricView) -> bool:
    """Whether a view stands elsewhere, or its depth has another scale, than was held."""
    return (
        (before.T_level_base is None) != (now.T_level_base is None)
        or _turned(before.T_level_cam, now.T_level_cam)
        or bool(abs(np.log(now.depth_scale / before.depth_scale)) > _SETTLED_LOG)
    )


def _turned(before: Floats, now: Floats) -> bool:
    """Whether a pose is another one, by more than what is not followed."""
    T = inverse(before) @ now
    sine = 0.5 * np.linalg.norm(T[:3, :3] - T[:3, :3].T) / np.sqrt(2)
    return bool(
        np.linalg.norm(T[:3, 3]) > _SETTLED_M or sine > _SETTLED_RAD or np.trace(T[:3, :3]) < 1
    )
