# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""report.html of an evaluation: one file that opens without a network, pictures inside."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from g2vlm_model.interface.whole_files import write_text

from .geometry_charts import frames_chart, scene_chart
from .geometry_run import GeometryTable
from .geometry_tables import cell
from .summary import METRICS, Metric

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).with_name("templates")
_GROUPS = (
    ("Depth and normals", (
        "abs_rel", "delta_125", "normal_mean_deg", "normal_median_deg", "seams",
    )),
    (
        "Points, units of the truth",
        ("accuracy_mean", "accuracy_median", "completeness_mean", "completeness_median"),
    ),
    (
        "Poses",
        ("rotation_median_deg", "rra5", "rra15", "rra30", "rta5", "rta15", "rta30", "auc30"),
    ),
    ("Confidence", ("confidence_ratio", "confidence_area", "invalid_found", "invalid_wrong")),
    ("Neighbours in time, and matches", (
        "near_rotation_median_deg", "near_auc30", "matched", "matched_still",
    )),
)  # fmt: skip
_CARDS = (
    ("AbsRel", "abs_rel", "head", "mean-depth map"),
    ("d<1.25", "delta_125", "head", "mean-depth map"),
    ("rotation, median deg", "rotation_median_deg", "head", "identity motion"),
    ("AUC@30, head", "auc30", "head", "best constant axis"),
    ("AUC@30, refined", "auc30", "refined", "head"),
)


def write_report(path: Path, content: dict[str, Any], tables: Sequence[GeometryTable]) -> None:
    """Write one HTML file.

    Args:
        path: Where to.
        content: As in geometry.json.
        tables: With the windows that are kept for showing.
    """
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("geometry.html.j2")
    middle = content["tables"][len(content["tables"]) // 2]
    shown = [
        (table.frames, item.plan.name, scene_chart(item))
        for table in tables
        for item in table.scored
        if item.window is not None
    ]
    text = page.render(
        title=f"Geometry of {content['model']}",
        subtitle=f"{content['command'].get('dataset')}, {content['command'].get('root')}"
        + (f"; not measured, {content['unmeasured']}" if content["unmeasured"] else ""),
        created=time.strftime("%Y-%m-%d %H:%M"),
        cards=_cards(middle),
        chart=frames_chart(content["tables"]) if len(content["tables"]) > 1 else "",
        tables=[_table(table) for table in content["tables"]],
        shown=shown,
        facts=content["command"],
        mean_map=content["mean_map"],
    )
    write_text(path, text)


def _cards(table: dict[str, Any]) -> list[dict[str, str]]:
    by_key = {metric.key: metric for metric in METRICS}
    rows = {row["row"]: row for row in table["rows"]}
    cards = []
    for title, key, name, beside in _CARDS:
        if name in rows and key in rows[name]["metrics"]:
            other = cell(rows[beside], by_key[key]) if beside in rows else ""
            value = cell(rows[name], by_key[key])
            words = f"{beside}: {other}" if other else ""
            cards.append({"name": title, "value": value, "beside": words})
    return cards


def _two_lines(row: dict[str, Any], metric: Metric) -> tuple[str, str]:
    """Value, and below it the interval."""
    value, _, rest = cell(row, metric, interval=True).partition(" ")
    return value, rest.strip("()")


def _table(table: dict[str, Any]) -> dict[str, Any]:
    by_key = {metric.key: metric for metric in METRICS}
    groups = []
    for title, keys in _GROUPS:
        metrics = [by_key[key] for key in keys]
        rows = [
            (row["row"], row["windows"], [_two_lines(row, metric) for metric in metrics])
            for row in table["rows"]
            if any(key in row["metrics"] for key in keys)
        ]
        if rows:
            groups.append((title, [metric.title for metric in metrics], rows))
    head = table["rows"][0]
    gains = [
        f"{title}: {gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        for title, gain in table["gains"].items()
    ]
    counts = (
        f"{head['windows']} windows of {head['sequences']} sequences, {head['pairs']} pairs, "
        f"{head['baseline_pairs']} of them over the least baseline; {len(table['refused'])} "
        f"windows left out; intervals resample {head['resampled']}; {table['seconds']:.0f} s"
    )
    return {"frames": table["frames"], "counts": counts, "groups": groups, "gains": gains,
            "refused": list(table["refused"].values())[:5]}  # fmt: skip
