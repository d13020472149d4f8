# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures of an evaluation's report, as data URLs: scenes, and metrics over window length."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..datasets.batch import world_points
from .geometry_run import Scored
from .points import umeyama

__all__ = ["figure_url", "frames_chart", "plain_axes", "scene_chart"]

Floats = NDArray[np.float64]

_BLUE, _GREY, _ORANGE, _GREEN = "#2563eb", "#98a2b3", "#b54708", "#047857"
_MOST_FRAMES = 4
_CLOUD_POINTS = 4000
_WORST = 0.5
_COLOURS = {
    "head": _BLUE, "refined": _GREEN, "mean-depth map": _ORANGE,
    "identity motion": _ORANGE, "best constant axis": _ORANGE,
}  # fmt: skip


def frames_chart(tables: Sequence[dict[str, Any]]) -> str:
    """Four metrics over the number of frames, with 95 % intervals."""
    figure = Figure(figsize=(11, 2.9), layout="constrained")
    wanted = (
        ("abs_rel", "AbsRel", ("head", "mean-depth map")),
        ("accuracy_mean", "accuracy, mean", ("head", "refined", "mean-depth map")),
        ("near_rotation_median_deg", "rotation of neighbours, deg", ("head", "refined")),
        ("auc30", "AUC@30, all pairs", ("head", "refined", "best constant axis")),
    )
    axes = figure.subplots(1, len(wanted))
    for ax, (key, title, names) in zip(axes, wanted, strict=True):
        for name in names:
            found = [
                (row["frames"], row["metrics"][key])
                for table in tables
                for row in table["rows"]
                if row["row"] == name and key in row["metrics"]
            ]
            if found:
                x = [frames for frames, _ in found]
                y = np.array([[e["value"], e["low"], e["high"]] for _, e in found])
                ax.plot(x, y[:, 0], "o-", color=_COLOURS[name], label=name, ms=4)
                ax.fill_between(x, y[:, 1], y[:, 2], color=_COLOURS[name], alpha=0.15, lw=0)
        ax.set_title(title, fontsize=10)
        ax.set_xlabel("frames", fontsize=9)
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=7.5, frameon=False)
        plain_axes(ax)
    return figure_url(figure)


def scene_chart(scored: Scored) -> str:
    """Pictures, predicted and true depth, relative error, top view of clouds and cameras."""
    assert scored.window is not None
    assert scored.said is not None
    batch = scored.window.batch
    truth = batch.depth_BNHW[0].numpy()
    known = truth > 0
    said = scored.said.points_NHW3[..., 2].numpy()
    depth = said * np.median(truth[known] / np.maximum(said[known], 1e-6))
    near, far = np.percentile(truth[known], (2, 98))
    frames = min(len(truth), _MOST_FRAMES)
    figure = Figure(figsize=(2.3 * frames + 4.4, 7.4), layout="constrained")
    grid = figure.add_gridspec(4, frames + 2)
    error = np.where(known, np.abs(depth - truth) / np.where(known, truth, 1), np.nan)
    for k in range(frames):
        pictures: tuple[tuple[str, Any, dict[str, Any]], ...] = (
            (f"frame {scored.plan.frames[k]}", batch.rgb_BN3HW[0, k].permute(1, 2, 0).numpy(), {}),
            ("predicted depth", depth[k], {"vmin": near, "vmax": far, "cmap": "turbo_r"}),
            (
                "true depth",
                np.where(known[k], truth[k], np.nan),
                {"vmin": near, "vmax": far, "cmap": "turbo_r"},
            ),
            (
                f"error, AbsRel {np.nanmean(error[k]):.3f}",
                error[k],
                {"vmin": 0, "vmax": _WORST, "cmap": "magma"},
            ),
        )
        for row, (title, picture, style) in enumerate(pictures):
            ax = figure.add_subplot(grid[row, k])
            ax.imshow(picture, interpolation="nearest", **style)
            ax.set_title(title, fontsize=8)
            ax.set_axis_off()
    _top_views(figure.add_subplot(grid[:2, frames:]), figure.add_subplot(grid[2:, frames:]), scored)
    return figure_url(figure)


def _top_views(clouds: Axes, cameras: Axes, scored: Scored) -> None:
    """Clouds and camera paths from above, in the axes of the first true camera."""
    assert scored.window is not None
    assert scored.said is not None
    batch, said = scored.window.batch, scored.said
    T_true = batch.T_world_cam_BN44[0].double().numpy()
    T_first = np.linalg.inv(T_true[0])
    truth = world_points(batch.depth_BNHW, batch.T_world_cam_BN44, batch.K_BN33)[0]
    known = batch.depth_BNHW[0] > 0
    T_head = said.T_world_cam_N44.double().numpy()
    local = said.points_NHW3.double().numpy()
    world = local @ T_head[:, None, :3, :3].swapaxes(-1, -2) + T_head[:, None, None, :3, 3]
    mine, theirs = world[known.numpy()], truth[known].double().numpy()
    scale, R, t = umeyama(mine, theirs)
    moved = scale * mine @ R.T + t
    pick = np.random.default_rng(0).permutation(len(mine))[:_CLOUD_POINTS]
    for points, colour, name in ((theirs, _GREY, "truth"), (moved, _BLUE, "predicted")):
        seen = points[pick] @ T_first[:3, :3].T + T_first[:3, 3]
        clouds.scatter(seen[:, 0], seen[:, 2], s=1.5, c=colour, lw=0, label=name)
    clouds.set_title("points from above", fontsize=9)
    clouds.legend(fontsize=8, frameon=False, markerscale=5)
    paths = [("truth", _GREY, T_true[:, :3, 3]), ("head", _BLUE, _centres(T_true, T_head, scale))]
    if scored.refined_T_N44 is not None:
        paths.append(("refined", _GREEN, _centres(T_true, scored.refined_T_N44, scale)))
    for name, colour, centres in paths:
        seen = centres @ T_first[:3, :3].T + T_first[:3, 3]
        cameras.plot(seen[:, 0], seen[:, 2], "o-", color=colour, ms=3, lw=1.2, label=name)
    cameras.set_title("cameras from above", fontsize=9)
    cameras.legend(fontsize=8, frameon=False)
    for ax in (clouds, cameras):
        ax.set_aspect("equal", "datalim")
        plain_axes(ax)


def _centres(T_true: Floats, T_said: Floats, scale: float) -> Floats:
    """Camera centres of a prediction, from the first true camera on."""
    relative = (np.linalg.inv(T_said[0]) @ T_said)[:, :3, 3]
    centres: Floats = scale * relative @ T_true[0, :3, :3].T + T_true[0, :3, 3]
    return centres


def plain_axes(ax: Axes) -> None:
    """Two spines, small numbers, a faint grid."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8)
    ax.grid(alpha=0.25, lw=0.5)


def figure_url(figure: Figure) -> str:
    """The picture as a data URL."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
