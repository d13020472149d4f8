# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""report.html of `g2vlm dataset bag`: pictures, ways, what was left out and why; one file."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from ..evaluate.geometry_charts import figure_url, plain_axes

if TYPE_CHECKING:
    from .bag import Taken

__all__ = ["write_report"]

_TEMPLATES = Path(__file__).with_name("templates")
_MOST_SHOWN = 12
_COLUMNS = 6
_THUMB_PX, _RIM_PX = 180, 8
_COLOURS = {"train": "#2563eb", "val": "#b54708"}


def write_report(path: Path, content: dict[str, Any], taken: Sequence[Taken]) -> None:
    """Write one HTML file.

    Args:
        path: Where to.
        content: As in bag.json.
        taken: The recordings, with pictures.
    """
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    ).get_template("bag.html.j2")
    recordings = [
        {**numbers, "sheet": _sheet(one), "way": _way(one)}
        for numbers, one in zip(content["recordings"], taken, strict=True)
    ]
    totals = {name: sum(r[name] for r in content["recordings"]) for name in ("train", "val")}
    text = page.render(
        totals=totals,
        recordings=recordings,
        plan=content["plan"],
        created=time.strftime("%Y-%m-%d %H:%M"),
    )
    path.write_text(text, encoding="utf-8")


def _sheet(one: Taken) -> str:
    """Pictures spread over the recording, each above its depth; "" without any."""
    if not one.shown:
        return ""
    picks = np.unique(np.linspace(0, len(one.shown) - 1, _MOST_SHOWN).round().astype(int))
    height, width = one.shown[0][0].shape[:2]
    size = (_THUMB_PX, round(height * _THUMB_PX / width))
    columns = min(_COLUMNS, len(picks))
    step = (size[0] + _RIM_PX, size[1] + _RIM_PX // 2)
    rows = 2 * -(-len(picks) // columns)
    sheet = Image.new("RGB", (columns * step[0], rows * step[1]), "white")
    for place, pick in enumerate(picks.tolist()):
        rgb, depth = one.shown[pick]
        row, column = 2 * (place // columns), place % columns
        for below, picture in enumerate((rgb, _shaded(depth))):
            corner = (column * step[0], (row + below) * step[1])
            sheet.paste(Image.fromarray(picture).resize(size), corner)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _shaded(depth_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(H, W, 3) depth from near (dark) to far (light), red where it is unknown."""
    known = depth_HW > 0
    shown = np.zeros((*depth_HW.shape, 3), np.uint8)
    shown[..., 0] = 190
    if known.any():
        low, high = np.percentile(depth_HW[known], [2, 98])
        grey = ((depth_HW - low) / max(high - low, 1e-6)).clip(0, 1)
        shown[known] = (20 + 220 * grey[known][:, None]).astype(np.uint8)
    return shown


def _way(one: Taken) -> str:
    """The camera's way from above, along the two axes in which it is longest; "" without poses."""
    poses = {i: pose for i, pose in enumerate(one.recorded.poses) if pose is not None}
    if len(poses) < 2:
        return ""
    places = np.stack([pose[:3, 3] for pose in poses.values()])
    wide = np.sort(np.argsort(np.ptp(places, axis=0))[-2:])
    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(places[:, wide[0]], places[:, wide[1]], "-", color="#98a2b3", lw=0.7)
    for split, colour in _COLOURS.items():
        kept = [poses[i][:3, 3] for i in one.frames(split) if i in poses]  # type: ignore[arg-type]
        if kept:
            at = np.stack(kept)[:, wide]
            ax.plot(at[:, 0], at[:, 1], ".", color=colour, ms=4, label=f"{split}: {len(at)}")
    unit = "m" if one.recorded.path_of_camera and one.recorded.path_of_camera.metric else "units"
    ax.set_xlabel(f"{'xyz'[wide[0]]}, {unit}", fontsize=9)
    ax.set_ylabel(f"{'xyz'[wide[1]]}, {unit}", fontsize=9)
    ax.set_aspect("equal", adjustable="datalim")
    ax.legend(fontsize=8, frameon=False)
    plain_axes(ax)
    return figure_url(figure)
