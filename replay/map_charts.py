# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Charts of where the camera went and of the map: paths, scale, before and after; SVG bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from g2vlm_map.dense.occupancy import FREE, OCCUPIED, Grid
from g2vlm_map.recordings import NS

from .charts import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    WIDE,
    TimeChart,
    in_style,
    make_figure,
    svg,
    time_chart,
)
from .map_metrics import ScaleSample
from .pose_metrics import AlignedSegment, PoseSegment, rotation_angle_deg

__all__ = [
    "PathsShown",
    "change_chart",
    "occupancy_chart",
    "path_chart",
    "scale_chart",
    "trajectory_chart",
]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PathsShown:
    """What the trajectory chart draws.

    Args:
        final: segments of the final map on the ground truth.
        published: the same of the poses as they were published.
    """

    final: Sequence[AlignedSegment]
    published: Sequence[AlignedSegment]


@in_style
def trajectory_chart(paths: PathsShown) -> TimeChart:
    """Path seen along the direction in which it varies least, and errors over time."""
    figure, (plan, error) = make_figure(WIDE, 4.3, [1.15, 1.0])
    truth_M3 = np.concatenate([s.truth_T_world_cam_M44[:, :3, 3] for s in paths.final])
    seen = _plane(truth_M3)
    start_ns = min(segment.stamps_ns[0] for segment in paths.final)
    for index, segment in enumerate(paths.published):
        label = "as published" if index == 0 else None
        own = segment.T_world_cam_M44[:, :3, 3]
        plan.plot(*seen(own).T, color=GREY, lw=1.0, marker=".", ms=2.5, label=label)
    for index, segment in enumerate(paths.final):
        named = index == 0
        true_M3 = segment.truth_T_world_cam_M44[:, :3, 3]
        own = seen(segment.T_world_cam_M44[:, :3, 3])
        plan.plot(*seen(true_M3).T, color=INK, lw=2.2, label="ground truth" if named else None)
        label = "final map, Sim(3)-aligned" if named else None
        plan.plot(*own.T, color=BLUE, lw=1.6, marker="o", ms=2.6, label=label)
        label = "identity (never moves)" if named else None
        still = seen(true_M3.mean(0)[None])[0]
        plan.plot(*still, color=ORANGE, marker="X", ms=9, ls="none", label=label)
        seconds = (np.array(segment.stamps_ns) - start_ns) / NS
        turned = _relative(segment.truth_T_world_cam_M44[:, :3, :3])
        own_turn = _relative(segment.T_world_cam_M44[:, :3, :3])
        off = rotation_angle_deg(np.swapaxes(turned, 1, 2) @ own_turn)
        error.plot(seconds, off, color=BLUE, lw=1.6, label="final map" if named else None)
        label = "identity" if named else None
        error.plot(seconds, rotation_angle_deg(turned), color=ORANGE, lw=1.6, ls="--", label=label)
    _name_plan(plan, "Camera path", "m")
    plan.legend(loc="best")
    title = "Rotation error since the first keyframe of the segment"
    error.set(title=title, xlabel="time [s]", ylabel="error [°]")
    error.set_ylim(bottom=0)
    error.legend(loc="best")
    return time_chart(figure, [error], start_ns)


@in_style
def path_chart(segments: Sequence[PoseSegment], unit: str) -> TimeChart:
    """The path alone, where nobody knows the true one.

    Args:
        segments: each is drawn in its own axes.
        unit: of the axes.
    """
    figure, (plan, height) = make_figure(WIDE, 4.0, [1.3, 1.0])
    longest = max(segments, key=lambda segment: len(segment.stamps_ns))
    seen = _plane(longest.T_seg_cam_M44[:, :3, 3])
    start_ns = min(segment.stamps_ns[0] for segment in segments)
    for segment in segments:
        positions = segment.T_seg_cam_M44[:, :3, 3]
        label = f"segment {segment.number}, {len(positions)} keyframes"
        plan.plot(*seen(positions).T, lw=1.6, marker="o", ms=2.6, label=label)
        plan.plot(*seen(positions[:1]).T, color=INK, marker="s", ms=6, ls="none")
        seconds = (np.array(segment.stamps_ns) - start_ns) / NS
        gone = np.linalg.norm(np.diff(positions, axis=0, prepend=positions[:1]), axis=1).cumsum()
        height.plot(seconds, gone, lw=1.6)
    _name_plan(plan, "Camera path (square: start)", unit)
    if len(segments) <= 8:
        plan.legend(loc="best")
    height.set(title="Way", xlabel="time [s]", ylabel=f"since the start [{unit}]")
    return time_chart(figure, [height], start_ns)


@in_style
def change_chart(
    before: Sequence[Floats], after: Sequence[Floats], truth_M3: Floats | None, unit: str
) -> bytes:
    """The map's keyframes before the change that moved them furthest, and at the end.

    Args:
        before, after: (M, 3) positions of each segment, in the same axes.
        truth_M3: (M, 3) true positions in those axes; None where nobody knows.
        unit: of the axes.
    """
    figure, charts = make_figure(WIDE, 4.2, [1.0, 1.0])
    seen = _plane(np.concatenate(after) if truth_M3 is None else truth_M3)
    shown = np.concatenate([seen(np.concatenate([*before, *after]))])
    middle, half = (shown.max(0) + shown.min(0)) / 2, np.ptp(shown, axis=0).max() * 0.55
    titles = ("Before the change that moved it furthest", "At the end")
    for axes, title, segments in zip(charts, titles, (before, after), strict=True):
        if truth_M3 is not None:
            axes.plot(*seen(truth_M3).T, color=INK, lw=2.0, label="ground truth")
        for number, positions in enumerate(segments):
            label = "keyframes" if number == 0 else None
            colour = BLUE if number == 0 else None
            axes.plot(*seen(positions).T, color=colour, lw=1.4, marker="o", ms=2.8, label=label)
        _name_plan(axes, title, unit)
        axes.set_aspect("equal", adjustable="box")  # both over the same square
        axes.set(xlim=(middle[0] - half, middle[0] + half))
        axes.set(ylim=(middle[1] - half, middle[1] + half))
        axes.legend(loc="best")
    return svg(figure)


@in_style
def occupancy_chart(grid: Grid, path_M2: Floats, loops_L22: Floats) -> bytes:
    """What stands on the floor, and the way of the robot there.

    Args:
        grid: in level axes, metres.
        path_M2: (M, 2) x and y of the base in those axes, at its keyframes.
        loops_L22: (L, 2, 2) the same of the two keyframes of each loop.
    """
    figure, (axes,) = make_figure(WIDE, 5.0, [1.0])
    shades = np.full((*grid.cells_YX.shape, 3), 0.86)
    shades[grid.cells_YX == FREE] = 1.0
    shades[grid.cells_YX == OCCUPIED] = 0.12
    (x, y), size = grid.origin, grid.resolution
    rows, columns = grid.cells_YX.shape
    extent = (x, x + columns * size, y, y + rows * size)
    axes.imshow(shades, origin="lower", extent=extent, interpolation="nearest")
    for at, loop in enumerate(loops_L22):
        axes.plot(*loop.T, color=GREEN, lw=0.9, label=None if at else "loops")
    axes.plot(*path_M2.T, color=BLUE, lw=1.4, marker="o", ms=2.6, label="base, at keyframes")
    axes.plot(*path_M2[:1].T, color=ORANGE, marker="s", ms=6, ls="none", label="start")
    axes.set(title="Occupancy (black: stands; white: free; grey: unknown)")
    axes.set(xlabel="x [m]", ylabel="y [m]")
    axes.grid(visible=False)
    axes.legend(loc="best")
    return svg(figure)


@in_style
def scale_chart(samples: Sequence[ScaleSample], true_scale: float | None) -> TimeChart:
    """Metres per map unit over time with two sigma, and when lengths were called metres.

    Args:
        samples: at least one with a finite sigma.
        true_scale: of the final map; None where nobody knows.
    """
    figure, (axes,) = make_figure(WIDE, 2.9, [1.0])
    start_ns = samples[0].stamp_ns
    known = [sample for sample in samples if np.isfinite(sample.sigma)]
    seconds = np.array([(sample.stamp_ns - start_ns) / NS for sample in known])
    value = np.array([sample.metres_per_unit for sample in known])
    spread = np.exp(2 * np.array([min(sample.sigma, 3.0) for sample in known]))
    axes.fill_between(seconds, value / spread, value * spread, color=BLUE, alpha=0.18, lw=0)
    axes.plot(seconds, value, color=BLUE, lw=1.7, label="trajectory, two sigma")
    depth = [sample for sample in samples if np.isfinite(sample.depth_sigma)]
    if depth:
        axes.plot(
            [(sample.stamp_ns - start_ns) / NS for sample in depth],
            [sample.depth_metres_per_unit for sample in depth],
            color=GREEN,
            lw=1.2,
            label="by what measures depth",
        )
    if true_scale is not None:
        axes.axhline(true_scale, color=INK, lw=1.5, ls="--", label="true")
    carried = np.array([sample.metric for sample in known])
    base = float(np.min(value / np.minimum(spread, 3.0)))
    if carried.any():
        axes.plot(
            seconds[carried],
            np.full(carried.sum(), base),
            color=ORANGE,
            marker="|",
            ls="none",
            label="lengths are metres",
        )
    axes.set(title="Scale", xlabel="time [s]", ylabel="metres per map unit", yscale="log")
    axes.set_ylim(base * 0.95, float(np.max(value * np.minimum(spread, 3.0))) * 1.05)
    axes.yaxis.set_major_formatter("{x:.2g}")
    axes.yaxis.set_minor_formatter("{x:.2g}")
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=4)
    return time_chart(figure, [axes], start_ns)


def _plane(positions_M3: Floats) -> Callable[[Floats], Floats]:
    """What projects (M, 3) onto the two directions in which some positions vary most."""
    centre = positions_M3.mean(0)
    _, _, axes = np.linalg.svd(positions_M3 - centre, full_matrices=len(positions_M3) < 3)

    def project(positions: Floats) -> Floats:
        return np.asarray((positions - centre) @ axes[:2].T)

    return project


def _name_plan(axes: Axes, title: str, unit: str) -> None:
    axes.set(title=title, xlabel=f"first principal axis [{unit}]", ylabel=f"second [{unit}]")
    axes.set_aspect("equal", adjustable="datalim")


def _relative(R_M33: Floats) -> Floats:
    return np.asarray(R_M33[0].T @ R_M33)
