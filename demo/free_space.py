# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where a robot can stand in a scene, and ways through it that keep clear of things.

Shape letters: Y X cells of the grid, C cells in a row, K points.
"""

from __future__ import annotations

import cv2
import numpy as np
from g2vlm_training.synthetic import Room
from g2vlm_training.synthetic.paths import surface_gaps
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components, dijkstra

__all__ = ["FreeSpace"]

Floats = NDArray[np.float64]

_CELL_M = 0.06
_HEIGHTS = (0.08, 0.25, 0.45, 0.65)  # metres at which things are in the way
_TOUCHING = 0.045  # metres: what is nearer than this to a cell's middle stands in the cell
_COMFORT = 0.45  # metres of clearance beyond which a way is not dearer
_NEIGHBOURS = ((1, 0), (0, 1), (1, 1), (1, -1))


class FreeSpace:
    """The floor of a scene as a robot of a radius can use it: its largest connected part.

    Args:
        room: The scene.
        radius: Of the robot, metres.
    """

    def __init__(self, room: Room, radius: float) -> None:
        x0, y0, x1, y1 = room.roam
        self._origin = np.array([x0, y0])
        shape = (int((y1 - y0) / _CELL_M), int((x1 - x0) / _CELL_M))
        taken = np.zeros(shape, bool)
        for number in range(1, len(room.shape_M)):
            self._take(room, number, taken)
        free = np.pad(~taken, 1).astype(np.uint8)
        distance = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        self.clearance_YX = _CELL_M * distance[1:-1, 1:-1].astype(np.float64)
        self._graph = self._connected(radius)
        _, part_C = connected_components(self._graph, directed=False)
        usable = self.clearance_YX.ravel() > radius
        sizes = np.bincount(part_C[usable], minlength=1)
        self.cells_C = np.flatnonzero(usable & (part_C == int(sizes.argmax())))

    @property
    def area(self) -> float:
        """Square metres that the middle of the robot can reach."""
        return len(self.cells_C) * _CELL_M**2

    def place(self, cell: int) -> Floats:
        """(2,) middle of a cell, metres."""
        row, column = divmod(cell, self.clearance_YX.shape[1])
        middle: Floats = self._origin + (np.array([column, row]) + 0.5) * _CELL_M
        return middle

    def stops(self, rng: np.random.Generator, count: int) -> list[int]:
        """Cells that lie far from each other, with room about them, in the order of a round.

        Args:
            rng: Source of the choice.
            count: At least 2.

        Raises:
            RuntimeError: Nowhere is room.
        """
        roomy = self.cells_C[self.clearance_YX.ravel()[self.cells_C] > 0.3]
        roomy = roomy if len(roomy) else self.cells_C
        if len(roomy) < count:
            raise RuntimeError(f"the scene has {len(roomy)} free cells, a tour needs {count}")
        candidates = rng.choice(roomy, min(len(roomy), 60), replace=False)
        places = np.array([self.place(int(cell)) for cell in candidates])
        chosen = [0]
        while len(chosen) < count:
            gaps = np.linalg.norm(places[:, None] - places[chosen], axis=2).min(axis=1)
            chosen.append(int(np.argmax(gaps * rng.uniform(0.7, 1.0, len(gaps)))))
        middle = places[chosen].mean(axis=0)
        angle = np.arctan2(*(places[chosen] - middle).T[::-1])
        order = np.argsort(angle)
        return [int(candidates[chosen[index]]) for index in order]

    def way(self, start: int, end: int) -> Floats:
        """(K, 2) middles of the cells of the cheapest way, metres.

        Raises:
            RuntimeError: There is none.
        """
        _, before = dijkstra(self._graph, directed=False, indices=start, return_predecessors=True)
        cells = [end]
        while cells[-1] != start:
            cells.append(int(before[cells[-1]]))
            if cells[-1] < 0:
                raise RuntimeError(f"no way from cell {start} to cell {end}")
        return np.array([self.place(cell) for cell in reversed(cells)])

    def clearance(self, points_K2: Floats) -> Floats:
        """(K,) metres to the nearest obstacle."""
        index = ((points_K2 - self._origin) / _CELL_M).astype(int)
        rows, columns = self.clearance_YX.shape
        inside = (index >= 0).all(axis=1) & (index < (columns, rows)).all(axis=1)
        column, row = index.clip(0, (columns - 1, rows - 1)).T
        return np.where(inside, self.clearance_YX[row, column], 0.0)

    def _take(self, room: Room, number: int, taken_YX: NDArray[np.bool_]) -> None:
        """Mark the cells that one thing stands in."""
        spread = np.abs(room.turn_M33[number]) @ room.half_M3[number]
        low, high = room.centre_M3[number] - spread, room.centre_M3[number] + spread
        heights = [z for z in _HEIGHTS if low[2] - _TOUCHING < z < high[2] + _TOUCHING]
        first = ((low[:2] - _TOUCHING - self._origin) / _CELL_M).astype(int).clip(0)
        last = ((high[:2] + _TOUCHING - self._origin) / _CELL_M).astype(int) + 1
        rows = np.arange(first[1], min(last[1], taken_YX.shape[0]))
        columns = np.arange(first[0], min(last[0], taken_YX.shape[1]))
        if not heights or not rows.size or not columns.size:
            return
        x, y = (
            self._origin[axis] + (cells + 0.5) * _CELL_M
            for axis, cells in ((0, columns), (1, rows))
        )
        middle_C2 = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        for height in heights:
            places = np.column_stack([middle_C2, np.full(len(middle_C2), height)])
            near = surface_gaps(room, places, slice(number, number + 1)) < _TOUCHING
            taken_YX[np.ix_(rows, columns)] |= near.reshape(len(rows), len(columns))

    def _connected(self, radius: float) -> csr_array:
        """Symmetric graph of neighbouring cells; narrow places are dear."""
        rows, columns = self.clearance_YX.shape
        number = np.arange(rows * columns).reshape(rows, columns)
        usable = self.clearance_YX > radius
        price = 1.0 + 3.0 * (1.0 - self.clearance_YX / _COMFORT).clip(min=0.0)
        starts, ends, prices = [], [], []
        for down, right in _NEIGHBOURS:
            here = (slice(0, rows - down), slice(max(0, -right), columns - max(0, right)))
            there = (slice(down, rows), slice(max(0, right), columns - max(0, -right)))
            both = usable[here] & usable[there]
            starts.append(number[here][both])
            ends.append(number[there][both])
            length = _CELL_M * float(np.hypot(down, right))
            prices.append(length * (0.5 * (price[here] + price[there]))[both])
        index = (np.concatenate(starts), np.concatenate(ends))
        return coo_array((np.concatenate(prices), index), shape=(number.size, number.size)).tocsr()
