# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""report.html of a correspondence analysis: the paper's three plots, one line per model."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from g2vlm_model.interface.whole_files import write_text

from .correspondence_summary import Analysis, Spread
from .geometry_charts import figure_url, plain_axes

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).with_name("templates")
_COLOURS = ("#2563eb", "#047857", "#b42318", "#b54708", "#6d28d9", "#0e7490")


def write_report(path: Path, found: Sequence[Analysis], facts: Mapping[str, object]) -> None:
    """Write one HTML file that opens without a network.

    Args:
        path: Where to.
        found: The baseline first.
        facts: Of the command.
    """
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("correspondence.html.j2")
    text = page.render(
        title="Correspondence in queries and keys",
        subtitle=", ".join(one.name for one in found),
        created=time.strftime("%Y-%m-%d %H:%M"),
        chart=_chart(found),
        rows=[_row(one) for one in found],
        facts=facts,
    )
    write_text(path, text)


def _chart(found: Sequence[Analysis]) -> str:
    figure = Figure(figsize=(11.5, 3.4), layout="constrained")
    layers, calibration, gaps = figure.subplots(1, 3)
    for index, one in enumerate(found):
        colour = _COLOURS[index % len(_COLOURS)]
        depth = range(len(one.pck))
        _line(layers, depth, one.pck, 100, colour, one.name)
        _line(calibration, depth, one.correlation, 1, colour, one.name)
        _line(gaps, one.gaps, one.robustness, 1, colour, f"{one.name}, layer {one.best_layer}")
        layers.axhline(100 * one.chance, color=colour, lw=0.8, ls=":")
    calibration.axhline(0, color="#98a2b3", lw=0.8)
    for ax, title, x in (
        (layers, "PCK within 2 patches, %; dotted: a random patch", "layer"),
        (calibration, "confidence and correctness, Pearson", "layer"),
        (gaps, "share of PCK left", "frames between"),
    ):
        ax.set_title(title, fontsize=10)
        ax.set_xlabel(x, fontsize=9)
        ax.legend(fontsize=7.5, frameon=False)
        plain_axes(ax)
    layers.set_ylim(0, 100)
    gaps.set_ylim(bottom=0)
    for ax in (layers, calibration):
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure_url(figure)


def _line(
    ax: Axes, x: Sequence[int], spreads: Sequence[Spread], factor: float, colour: str, name: str
) -> None:
    """Mean over the points, and a band of one standard deviation over the sequences."""
    mean = factor * np.array([one.mean for one in spreads])
    deviation = factor * np.array([one.deviation for one in spreads])
    ax.plot(list(x), mean, "o-", color=colour, label=name, ms=3.5)
    ax.fill_between(list(x), mean - deviation, mean + deviation, color=colour, alpha=0.15, lw=0)


def _row(one: Analysis) -> dict[str, str]:
    best, rho = one.pck[one.best_layer], one.correlation[one.best_layer]
    moved, nearby = one.moved_pck[one.best_layer], one.nearby_correlation[one.best_layer]
    return {
        "model": one.name,
        "sequences": str(one.sequences),
        "points": str(one.points),
        "patches": f"{one.grid_hw[0]} x {one.grid_hw[1]}",
        "best layer": str(one.best_layer),
        "PCK@2, %": f"{100 * best.mean:.1f} ± {100 * best.deviation:.1f}",
        "of moved points, %": f"{100 * moved.mean:.1f} ± {100 * moved.deviation:.1f}",
        "random patch, %": f"{100 * one.chance:.1f}",
        "standing still, %": f"{100 * one.still:.1f}",
        "correlation": f"{rho.mean:+.2f} ± {rho.deviation:.2f}",
        "of nearby": f"{nearby.mean:+.2f} ± {nearby.deviation:.2f}",
        f"left at {one.gaps[-1]} frames, %": f"{100 * one.robustness[-1].mean:.0f}",
    }
