# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rays against boxes, cones and balls, in torch.

Pictures are cut into tiles of 8 x 8 rays. A tile is paired with the primitives that its frustum
can meet, and all pairs of all tiles are tested in one go: the cost follows what is in view.
Camera rays have z = 1 in camera axes, so the ray parameter t is the z-depth.
Letters: F frames, G tiles of all frames, S tile side, T = S * S rays of a tile, M primitives,
P pairs of a tile and a primitive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from .casts import CASTS, EPS, TINY, Cast
from .geometry import Geometry

__all__ = ["SIDE", "Cameras", "Hits", "TileGrid", "blocked", "camera_hits", "turned"]

SIDE = 8
_FAR = 1e6
_CHUNK = {"cpu": 1_024, "cuda": 400_000}  # pairs in flight: what fits the cache, the memory


@dataclass(frozen=True)
class TileGrid:
    """How pictures of H x W rays are cut: the last row and column of tiles may stick out."""

    frames: int
    height: int
    width: int

    @property
    def rows(self) -> int:
        """Tiles from top to bottom."""
        return -(-self.height // SIDE)

    @property
    def columns(self) -> int:
        """Tiles from left to right."""
        return -(-self.width // SIDE)

    @property
    def per_frame(self) -> int:
        """Tiles of one picture."""
        return self.rows * self.columns

    def to_pictures(self, values_GT: Tensor) -> Tensor:
        """(G, T, ...) values of tiles to (F, H, W, ...)."""
        rest = values_GT.shape[2:]
        split = values_GT.view(self.frames, self.rows, self.columns, SIDE, SIDE, *rest)
        whole = split.transpose(2, 3).reshape(
            self.frames, self.rows * SIDE, self.columns * SIDE, *rest
        )
        return whole[:, : self.height, : self.width]

    def ray_index(self, frame: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Where pixels are among the G * T rays of the tiles."""
        tile = frame * self.per_frame + row // SIDE * self.columns + column // SIDE
        return tile * (SIDE * SIDE) + row % SIDE * SIDE + column % SIDE

    def to_tiles(self, values_FHW: Tensor) -> Tensor:
        """(F, H, W, ...) values to (G, T, ...); what sticks out repeats the border."""
        rows = torch.arange(self.rows * SIDE, device=values_FHW.device).clamp(max=self.height - 1)
        columns = torch.arange(self.columns * SIDE, device=values_FHW.device)
        whole = values_FHW[:, rows][:, :, columns.clamp(max=self.width - 1)]
        rest = values_FHW.shape[3:]
        split = whole.view(self.frames, self.rows, SIDE, self.columns, SIDE, *rest)
        return split.transpose(2, 3).reshape(-1, SIDE * SIDE, *rest)


@dataclass(frozen=True)
class Cameras:
    """Where pictures are taken from.

    Args:
        room_F: Index of the room of each frame; frames of a room stand together.
        centre_F3: (F, 3) float32 world, metres.
        R_world_cam_F33: (F, 3, 3) float32.
        x_FW, y_FH: (F, W), (F, H) float32 coordinates of the rays at depth 1.
    """

    room_F: tuple[int, ...]
    centre_F3: Tensor
    R_world_cam_F33: Tensor
    x_FW: Tensor
    y_FH: Tensor

    @property
    def grid(self) -> TileGrid:
        """How its rays are cut into tiles."""
        return TileGrid(len(self.room_F), self.y_FH.shape[1], self.x_FW.shape[1])

    def by_room(self) -> Iterator[tuple[int, slice]]:
        """Each room with its frames."""
        start = 0
        for index in range(1, len(self.room_F) + 1):
            if index == len(self.room_F) or self.room_F[index] != self.room_F[start]:
                yield self.room_F[start], slice(start, index)
                start = index


@dataclass(frozen=True)
class Hits:
    """Nearest surfaces of camera rays.

    Args:
        t_GT: (G, T) z-depth, metres.
        primitive_GT: (G, T) int64 index into the `Geometry`.
        direction_3GT: (3, G, T) world directions of the rays, z = 1 in camera axes.
    """

    t_GT: Tensor
    primitive_GT: Tensor
    direction_3GT: Tensor


def camera_hits(geometry: Geometry, cameras: Cameras) -> Hits:
    """What the rays of cameras meet first; the room's shell where nothing else is.

    Args:
        geometry: The rooms.
        cameras: Inside of the rooms.
    """
    grid = cameras.grid
    x_FXS = _padded(cameras.x_FW, grid.columns)
    y_FYS = _padded(cameras.y_FH, grid.rows)
    group, row, primitive, origins, axes = _camera_pairs(geometry, cameras, x_FXS, y_FYS)
    tile = torch.arange(grid.frames * grid.per_frame, device=x_FXS.device)
    frame = tile // grid.per_frame
    x_GS = x_FXS[frame, tile % grid.columns]
    y_GS = y_FYS[frame, tile % grid.per_frame // grid.columns]
    R_G33 = cameras.R_world_cam_F33[frame]
    direction = torch.stack([_mixed(R_G33[:, axis], x_GS, y_GS) for axis in range(3)])
    nearest, winner = _shell_exit(geometry, cameras, direction, frame)

    def test(pairs: Tensor, cast: Cast) -> Tensor:
        rays, rows = group[pairs], row[pairs]
        x, y = x_GS[rays], y_GS[rays]
        toward = [_mixed(axes[rows, axis], x, y) for axis in range(3)]
        start = [origins[rows, axis, None] for axis in range(3)]
        return cast(start, toward, geometry.slope_M[primitive[pairs], None])

    for ranked in _ranked_chunks(group, len(tile)):
        t = _test_shapes(ranked.pairs, geometry.shape_M[primitive[ranked.pairs]], test)
        near, seen = nearest[ranked.groups], winner[ranked.groups]
        which = primitive[ranked.pairs].float()
        for start, count in ranked.steps:
            best, other = near[:count], t[start : start + count]
            closer = (best - other).sign_().clamp_(min=0)  # 1 or 0
            seen[:count].lerp_(which[start : start + count, None].expand_as(closer), closer)
            torch.minimum(best, other, out=best)
        nearest[ranked.groups], winner[ranked.groups] = near, seen
    return Hits(nearest, winner.long(), direction)


def blocked(
    geometry: Geometry,
    room_G: Tensor,
    origin_G3: Tensor,
    points_G3T: Tensor,
    *,
    margin: float = 1e-3,
    shadows: bool = False,
) -> Tensor:
    """Whether something stands between an origin and points.

    Args:
        geometry: The rooms.
        room_G: (G,) int64 room of each group of points; the groups of a room stand together.
        origin_G3: (G, 3) where the rays of a group start.
        points_G3T: (G, 3, T) where they end; near points belong into one group.
        margin: The last share of each ray that is left out.
        shadows: Leave out what throws no shadow.

    Returns:
        (G, T) bool.
    """
    toward_G3T = points_G3T - origin_G3[:, :, None]
    low, high = points_G3T.amin(dim=2), points_G3T.amax(dim=2)
    middle, radius = (low + high) / 2 - origin_G3, (high - low).norm(dim=1) / 2
    groups, primitives = [], []
    rooms, sizes = torch.unique_consecutive(room_G, return_counts=True)
    start = 0
    for room, size in zip(rooms.tolist(), sizes.tolist(), strict=True):
        members, those = geometry.members(room), slice(start, start + size)
        mask = _on_the_way(geometry, members, origin_G3[those], middle[those], radius[those])
        if shadows:
            mask &= geometry.shades_M[members]
        pair = mask.nonzero()
        groups.append(pair[:, 0] + start)
        primitives.append(pair[:, 1] + members.start)
        start += size
    group, primitive = torch.cat(groups), torch.cat(primitives)
    nearest = torch.full((len(room_G), points_G3T.shape[2]), _FAR, device=group.device)

    def test(pairs: Tensor, cast: Cast) -> Tensor:
        rays, which = group[pairs], primitive[pairs]
        unit = geometry.unit_M33[which]
        start = turned(unit, (origin_G3[rays] - geometry.centre_M3[which])[:, :, None])
        toward = turned(unit, toward_G3T[rays])
        return cast(start, toward, geometry.slope_M[which, None])

    for ranked in _ranked_chunks(group, len(room_G)):
        t = _test_shapes(ranked.pairs, geometry.shape_M[primitive[ranked.pairs]], test)
        some = nearest[ranked.groups]
        for first, count in ranked.steps:
            best = some[:count]
            torch.minimum(best, t[first : first + count], out=best)
        nearest[ranked.groups] = some
    return nearest < 1.0 - margin


@dataclass(frozen=True)
class _Ranked:
    """Pairs of some groups, ordered so that the k-th pairs of groups stand together.

    Args:
        pairs: Indices of the pairs in that order.
        groups: The groups, those with most pairs first.
        steps: For each k, where its pairs start and how many groups have a k-th pair.
    """

    pairs: Tensor
    groups: Tensor
    steps: list[tuple[int, int]]


def _ranked_chunks(group_P: Tensor, groups: int) -> Iterator[_Ranked]:
    """Cut pairs, sorted by group, into chunks of whole groups that fit the cache."""
    counts = torch.bincount(group_P, minlength=groups)
    ends = counts.cumsum(0)
    device = group_P.device
    limit = _CHUNK.get(device.type, _CHUNK["cuda"])
    ends_list = ends.tolist()
    total = ends_list[-1] if ends_list else 0
    first = 0
    while first < groups and total:
        begun = ends_list[first - 1] if first else 0
        last = int(torch.searchsorted(ends, begun + limit, right=True)) if total > limit else groups
        last = max(last, first + 1)
        size = counts[first:last]
        order = torch.argsort(size, descending=True, stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=device)
        pairs = torch.arange(begun, ends_list[last - 1], device=device)
        rank = pairs - (ends - counts)[group_P[pairs]]
        by_rank = torch.argsort(rank * len(order) + place[group_P[pairs] - first])
        lengths = torch.bincount(rank).tolist()
        steps, start = [], 0
        for length in lengths:
            steps.append((start, length))
            start += length
        if lengths:
            yield _Ranked(pairs[by_rank], order + first, steps)
        first = last


def _test_shapes(pairs: Tensor, shape_P: Tensor, test: Callable[[Tensor, Cast], Tensor]) -> Tensor:
    """(P, T) ray parameters of the pairs' hits, very large where a ray misses."""
    t = torch.empty(len(pairs), SIDE * SIDE, device=pairs.device)
    for number, cast in CASTS:
        where = (shape_P == number).nonzero()[:, 0]
        if len(where):
            t[where] = test(pairs[where], cast).flatten(1)
    return t


# Products are spelt out: matmul may run in TF32 or bfloat16 where a trainer has asked for it.


def turned(matrix_P33: Tensor, vectors_P3T: Tensor) -> list[Tensor]:
    """x, y and z, (P, T) each, of matrices times vectors."""
    x, y, z = vectors_P3T.unbind(dim=1)
    columns = matrix_P33.unsqueeze(-1)
    return [
        (columns[:, row, 0] * x).addcmul_(columns[:, row, 1], y).addcmul_(columns[:, row, 2], z)
        for row in range(3)
    ]


def _product(first: Tensor, second: Tensor) -> Tensor:
    return (first[..., :, :, None] * second[..., None, :, :]).sum(dim=-2)


def _dots(points_G3: Tensor, rows_M3: Tensor) -> Tensor:
    """(G, M) scalar products."""
    x, y, z = points_G3.unsqueeze(-1).unbind(dim=1)
    return (x * rows_M3[:, 0]).addcmul_(y, rows_M3[:, 1]).addcmul_(z, rows_M3[:, 2])


def _padded(values_FN: Tensor, tiles: int) -> Tensor:
    """(F, N) evenly spaced coordinates to (F, tiles, S), going on beyond the last one."""
    step = values_FN[:, 1:2] - values_FN[:, :1] if values_FN.shape[1] > 1 else 1e-3
    extra = torch.arange(1, tiles * SIDE - values_FN.shape[1] + 1, device=values_FN.device)
    longer = torch.cat([values_FN, values_FN[:, -1:] + step * extra], dim=1)
    return longer.view(-1, tiles, SIDE)


def _mixed(weights_P3: Tensor, x_PS: Tensor, y_PS: Tensor) -> Tensor:
    """(P, T): weights . (x, y, 1) of every ray of a tile."""
    across = weights_P3[:, :1] * x_PS
    down = weights_P3[:, 1:2] * y_PS + weights_P3[:, 2:]
    return (across[:, None, :] + down[:, :, None]).flatten(1)


def _shell_exit(
    geometry: Geometry, cameras: Cameras, direction_3GT: Tensor, frame_G: Tensor
) -> tuple[Tensor, Tensor]:
    """Where the rays leave the room's shell, and its index."""
    shells = torch.tensor(
        [geometry.first_R[room] for room in cameras.room_F], device=direction_3GT.device
    )
    offset = cameras.centre_F3 - geometry.centre_M3[shells]
    half = geometry.half_M3[shells]
    leave = torch.full_like(direction_3GT[0], _FAR)
    for axis in range(3):
        inverse = 1.0 / (direction_3GT[axis] + TINY)
        plane = half[frame_G, axis, None] * inverse.abs() - offset[frame_G, axis, None] * inverse
        leave = torch.minimum(leave, plane)
    return leave, shells[frame_G, None].float().expand_as(leave).clone()


def _camera_pairs(
    geometry: Geometry, cameras: Cameras, x_FXS: Tensor, y_FYS: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Pairs of tiles and the primitives that their frustums meet.

    Returns:
        (P,) tile, (P,) row of the tables, (P,) primitive; tables of the camera in the axes of
        unit shapes: (rows, 3) origin and (rows, 3, 3) directions.
    """
    grid = cameras.grid
    groups, rows, primitives, origins, axes = [], [], [], [], []
    table = 0
    for room, frames in cameras.by_room():
        members = geometry.members(room)
        unit, centre = geometry.unit_M33[members], geometry.centre_M3[members]
        R_F33 = cameras.R_world_cam_F33[frames]
        offset = cameras.centre_F3[frames, None] - centre
        origins.append((unit * offset[..., None, :]).sum(-1).flatten(0, 1))
        axes.append(_product(unit, R_F33[:, None]).flatten(0, 1))
        spread = geometry.axes_M33[members] * geometry.half_M3[members, None, :]
        middle_FM3 = -(offset[..., None] * R_F33[:, None]).sum(-2)
        spread_FM33 = _product(R_F33.transpose(1, 2)[:, None], spread)
        across = _in_fan(middle_FM3, spread_FM33, x_FXS[frames], 0)
        down = _in_fan(middle_FM3, spread_FM33, y_FYS[frames], 1)
        ahead = middle_FM3[..., 2] + spread_FM33[..., 2, :].abs().sum(-1) > EPS
        down &= ahead[:, None]
        mask = (down[:, :, None] & across[:, None]).flatten(1, 2)  # (F, tiles, M)
        pair = mask.nonzero()
        groups.append((pair[:, 0] + frames.start) * grid.per_frame + pair[:, 1])
        rows.append(table + pair[:, 0] * len(unit) + pair[:, 2])
        primitives.append(pair[:, 2] + members.start)
        table += mask.shape[0] * len(unit)
    return (
        torch.cat(groups), torch.cat(rows), torch.cat(primitives),
        torch.cat(origins), torch.cat(axes),
    )  # fmt: skip


def _in_fan(middle_FM3: Tensor, spread_FM33: Tensor, steps_FNS: Tensor, axis: int) -> Tensor:
    """(F, N, M): boxes that reach between the two planes that bound a row or column of tiles."""
    low, high = steps_FNS[:, :, :1], steps_FNS[:, :, -1:]

    def side(edge: Tensor) -> tuple[Tensor, Tensor]:
        value = middle_FM3[:, None, :, axis] - edge * middle_FM3[:, None, :, 2]
        reach = sum(
            (spread_FM33[:, None, :, axis, k] - edge * spread_FM33[:, None, :, 2, k]).abs()
            for k in range(3)
        )
        return value, torch.as_tensor(reach)

    (value_low, reach_low), (value_high, reach_high) = side(low), side(high)
    return (value_low + reach_low > -EPS) & (value_high - reach_high < EPS)


def _on_the_way(
    geometry: Geometry, members: slice, origin_G3: Tensor, middle_G3: Tensor, radius_G: Tensor
) -> Tensor:
    """(G, M) whether a segment as thick as its group of points meets a primitive's box."""
    unit, centre = geometry.unit_M33[members], geometry.centre_M3[members]
    half = geometry.half_M3[members]
    enter = torch.zeros(len(origin_G3), len(half), device=half.device)
    leave = torch.ones_like(enter)
    for axis in range(3):
        rows = unit[:, axis]
        start = _dots(origin_G3, rows) - (rows * centre).sum(1)
        inverse = 1.0 / (_dots(middle_G3, rows) + TINY)
        reach = inverse.abs() * (1.001 + radius_G[:, None] / half[:, axis])
        passed = -start * inverse
        enter = torch.maximum(enter, passed - reach)
        leave = torch.minimum(leave, passed + reach)
    return enter <= leave
