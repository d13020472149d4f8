# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report's charts, as SVG or PNG bytes: axes with units, legends, and where their time is."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from typing import ParamSpec, TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from g2vlm_map.recordings import NS

from .outcome import StatusSample

INK, MUTED, GRID = "#1c2430", "#667085", "#e4e7ec"
WIDE = 10.4  # inches; the report's column
MAX_DRAWN = 120_000
AXES = ("x, right", "y, down", "z, forward")
BLUE, ORANGE, GREY, GREEN = "#2563eb", "#ea580c", "#98a2b3", "#059669"
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": True,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "legend.fancybox": False,
    "legend.fontsize": 9,
    "svg.fonttype": "path",
}


P = ParamSpec("P")
Drawn = TypeVar("Drawn", bound=bytes)


@dataclass(frozen=True)
class TimeAxis:
    """Where a chart has its time.

    Args:
        left, top, width, height: of its field, as shares of the picture.
        first, last: seconds at the left and at the right end.
        offset: seconds from the recording's first frame to this axis's zero.
        wall: whether it has wall time, from the first status on.
    """

    left: float
    top: float
    width: float
    height: float
    first: float
    last: float
    offset: float = 0.0
    wall: bool = False


class TimeChart(bytes):
    """An SVG, and where it has its time; those axes begin at `start_ns`, or with the recording."""

    axes: tuple[TimeAxis, ...] = ()
    start_ns: int | None = None

    def since(self, first_ns: int) -> list[TimeAxis]:
        """Its axes, by a recording's first stamp."""
        offset = 0.0 if self.start_ns is None else (self.start_ns - first_ns) / NS
        return [replace(axis, offset=offset) for axis in self.axes]


def in_style(draw: Callable[P, Drawn]) -> Callable[P, Drawn]:
    """Draw a chart in the report's look, and leave matplotlib's settings as they were."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Drawn:
        with matplotlib.rc_context(STYLE):
            return draw(*args, **kwargs)

    return styled


@in_style
def latency_chart(latencies_ms: Sequence[float], observe_ms: Sequence[float]) -> bytes:
    """Histograms of the end-to-end latency and of the model pass; SVG."""
    figure, (ours, model) = make_figure(WIDE, 2.9, [1.0, 1.0])
    for axes, values, title, colour in (
        (ours, latencies_ms, "Frame handed in to scene received", BLUE),
        (model, observe_ms, "Pass of the model", GREEN),
    ):
        axes.set(title=title, xlabel="milliseconds", ylabel="scenes")
        if not len(values):
            axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center")
            continue
        axes.hist(values, bins=min(30, max(8, len(values) // 2)), color=colour, alpha=0.85)
        for percent, style in ((50, "-"), (90, "--"), (99, ":")):
            value = float(np.percentile(values, percent))
            axes.axvline(value, color=INK, ls=style, lw=1.1, label=f"{percent} %: {value:.0f} ms")
        axes.legend(loc="upper right")
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return svg(figure)


@in_style
def timeline_chart(statuses: Sequence[StatusSample]) -> TimeChart:
    """The node's counters over the run and the reason codes in force; SVG."""
    codes = sorted({code for status in statuses for code in status.reasons})
    figure = Figure(figsize=(WIDE, 2.7 + 0.24 * len(codes)), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[2.4, 0.3 + 0.24 * len(codes)])
    counts, reasons = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
    start = statuses[0].wall_s
    seconds = np.array([status.wall_s - start for status in statuses])
    for name, colour in (
        ("received", INK),
        ("used", BLUE),
        ("dropped", ORANGE),
        ("scenes", GREEN),
    ):
        values = [getattr(status, name) for status in statuses]
        counts.step(
            seconds,
            values,
            where="post",
            color=colour,
            lw=1.7,
            label=name if name == "scenes" else f"frames {name}",
        )
    counts.set(title="Counters of the status", ylabel="count", xlim=(0, max(seconds[-1], 0.1)))
    counts.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=4)
    ends = np.append(seconds[1:], seconds[-1])
    for row, code in enumerate(codes):
        spans = [
            (begin, end - begin)
            for begin, end, status in zip(seconds, ends, statuses, strict=True)
            if code in status.reasons
        ]
        reasons.broken_barh(spans, (row - 0.36, 0.72), color=GREY)
    reasons.set_yticks(range(len(codes)), codes)
    reasons.set(xlabel="wall time [s]", xlim=counts.get_xlim(), ylim=(-0.6, len(codes) - 0.4))
    reasons.grid(visible=False, axis="y")
    if not codes:
        reasons.set_visible(False)
        counts.set_xlabel("wall time [s]")
    return time_chart(figure, [counts, reasons] if codes else [counts], wall=True)


@in_style
def depth_chart(
    seconds: Sequence[float], abs_rel: Sequence[float], baselines: dict[str, float]
) -> TimeChart:
    """AbsRel of each scene over time and the baselines' means; SVG."""
    figure, (axes,) = make_figure(WIDE, 2.4, [1.0])
    axes.plot(seconds, abs_rel, color=BLUE, lw=1.6, marker="o", ms=2.6, label="node, each scene")
    for (name, value), style in zip(baselines.items(), ("--", ":"), strict=False):
        axes.axhline(value, color=ORANGE, ls=style, lw=1.5, label=f"{name}, mean")
    axes.set(title="Depth error of each scene", xlabel="time [s]", ylabel="AbsRel")
    axes.set_ylim(bottom=0)
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1, ncols=3)
    return time_chart(figure, [axes])


@in_style
def cloud_chart(xyz_M3: NDArray[np.float32], rgb_M3: NDArray[np.uint8], unit: str) -> bytes:
    """The cloud from three sides, with axes; PNG.

    Args:
        xyz_M3: (M, 3) points, optical axes of the first camera (x right, y down, z forward).
        rgb_M3: (M, 3) uint8.
        unit: of the axes.
    """
    low, high = np.percentile(xyz_M3, (1.0, 99.0), axis=0)
    middle, half = (low + high) / 2, (high - low) / 2
    half = np.maximum(1.08 * half, max(0.05 * float(half.max()), 1e-6))  # a wall has no depth
    low, high = middle - half, middle + half
    inside = ((xyz_M3 >= low) & (xyz_M3 <= high)).all(1)
    shown = np.flatnonzero(inside)
    if len(shown) > MAX_DRAWN:
        shown = np.random.default_rng(0).choice(shown, MAX_DRAWN, replace=False)
    xyz_M3, colours_M3 = xyz_M3[shown], rgb_M3[shown] / 255.0
    # Far points first, near ones over them: seen from behind the camera and from above the
    # small value is near, seen from the right the large one.
    views = (
        ("From above", 0, 2, 1, -1.0),
        ("From behind the first camera", 0, 1, 2, -1.0),
        ("From the right", 2, 1, 0, 1.0),
    )
    wide = [float((high - low)[across] / (high - low)[up]) for _, across, up, _, _ in views]
    # The plan stands on the left over the whole height, the side views one above the other.
    share = float(np.clip(wide[0] * 2 / max(wide[1:]), 0.6, 1.6))
    figure = Figure(figsize=(WIDE, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=[share, 1.0])
    places = (grid[:, 0], grid[0, 1], grid[1, 1])
    size = float(np.clip(60_000 / max(len(xyz_M3), 1), 0.8, 6.0))
    for place, (title, across, up, depth, sign) in zip(places, views, strict=True):
        axes = figure.add_subplot(place)
        order = np.argsort(sign * xyz_M3[:, depth], kind="stable")
        x, y = xyz_M3[order, across], xyz_M3[order, up]
        axes.scatter(x, y, c=colours_M3[order], s=size, marker="s", linewidths=0)
        bottom, top = (low[up], high[up]) if up == 2 else (high[up], low[up])
        axes.set(
            title=title,
            xlabel=f"{AXES[across]} [{unit}]",
            ylabel=AXES[up],
            xlim=(low[across], high[across]),
            ylim=(bottom, top),
        )
        axes.set_aspect("equal", adjustable="box")
    return png(figure, 150)


def make_figure(
    width: float, height: float, ratios: list[float]
) -> tuple[Figure, tuple[Axes, ...]]:
    """A figure with one chart beside the other, as wide as their ratios."""
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.add_gridspec(1, len(ratios), width_ratios=ratios)
    return figure, tuple(figure.add_subplot(grid[index]) for index in range(len(ratios)))


def svg(figure: Figure) -> bytes:
    """The figure as SVG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def time_chart(
    figure: Figure, timed: Sequence[Axes], start_ns: int | None = None, *, wall: bool = False
) -> TimeChart:
    """The figure as SVG with those of its axes whose x is time in seconds.

    Args:
        figure: to draw.
        timed: these axes.
        start_ns: stamp of their zero; None is the recording's first.
        wall: whether it is wall time.
    """
    chart = TimeChart(svg(figure))  # drawn now, so everything has its place
    for axes in timed:
        box, (first, last) = axes.get_position(), axes.get_xlim()
        place = (box.x0, 1 - box.y1, box.width, box.height)
        chart.axes += (TimeAxis(*place, float(first), float(last), wall=wall),)
    chart.start_ns = start_ns
    return chart


def png(figure: Figure, dpi: int) -> bytes:
    """The figure as PNG."""
    buffer = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()
