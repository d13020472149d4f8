# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`geometry.json` to text and Markdown: the numbers of the documents come from files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .summary import METRICS, Metric

__all__ = ["SHORT", "frames_table", "gain_text", "metrics_table", "text_table"]

SHORT = (
    "abs_rel", "delta_125", "accuracy_mean", "completeness_mean", "normal_mean_deg",
    "rotation_median_deg", "rra5", "rta30", "auc30", "matched", "confidence_ratio",
    "confidence_area",
)  # fmt: skip
_BY_KEY = {metric.key: metric for metric in METRICS}


def text_table(rows: Sequence[dict[str, Any]], keys: Sequence[str] = (*SHORT, "seams")) -> str:
    """Rows of one number of frames for the terminal."""
    width = max(len(row["row"]) for row in rows) + 2
    metrics = [_BY_KEY[key] for key in keys]
    lines = [" " * width + f"{'windows':>8}" + "".join(f"{m.title:>13}" for m in metrics)]
    for row in rows:
        cells = "".join(f"{cell(row, metric):>13}" for metric in metrics)
        lines.append(f"{row['row']:<{width}}{row['windows']:>8}{cells}")
    return "\n".join(lines)


def gain_text(title: str, gain: Mapping[str, float]) -> str:
    """What separates two rows, with its interval."""
    return f"{title}: {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"


def metrics_table(
    rows: Sequence[dict[str, Any]], keys: Sequence[str] = SHORT, interval: bool = False
) -> str:
    """Markdown: one line per row, one column per metric."""
    metrics = [_BY_KEY[key] for key in keys]
    lines = [
        "| | windows | " + " | ".join(metric.title for metric in metrics) + " |",
        "|" + "---|" * (len(metrics) + 2),
    ]
    for row in rows:
        cells = " | ".join(cell(row, metric, interval) for metric in metrics)
        lines.append(f"| {row['row']} | {row['windows']} | {cells} |")
    return "\n".join(lines)


def frames_table(rows: Sequence[dict[str, Any]], name: str, interval: bool = False) -> str:
    """Markdown: one row's metrics, the numbers of frames side by side."""
    mine = [row for row in rows if row["row"] == name]
    if not mine:
        raise ValueError(f"no row {name!r}, expected one of {sorted({r['row'] for r in rows})}")
    head = " | ".join(f"{row['frames']} frames" for row in mine)
    lines = [f"| {name} | {head} |", "|" + "---|" * (len(mine) + 1)]
    counts = " | ".join(
        f"{row['windows']} / {row['pairs']} / {row['baseline_pairs']}" for row in mine
    )
    lines.append(f"| windows / pairs / over the least baseline | {counts} |")
    for metric in METRICS:
        if any(metric.key in row["metrics"] for row in mine):
            cells = " | ".join(cell(row, metric, interval) for row in mine)
            lines.append(f"| {metric.title} | {cells} |")
    return "\n".join(lines)


def cell(row: dict[str, Any], metric: Metric, interval: bool = False) -> str:
    """One number; empty where the row has none."""
    found = row["metrics"].get(metric.key)
    if found is None:
        return ""
    digits = metric.digits
    text = f"{found['value']:.{digits}f}"
    return f"{text} ({found['low']:.{digits}f} to {found['high']:.{digits}f})" if interval else text
