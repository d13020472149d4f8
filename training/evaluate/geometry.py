# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry of a model on windows with known truth, beside the rows of its baselines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.extras.match import CELLS_PER_SIDE
from g2vlm_model.model import G2VLM

from ..batch import ClipPool, WindowBatch, draw_batch, pixels_of
from ..correspondence import cell_tracks, match_error
from ..datasets.mixture import Mixture
from .depth import depth_score, mean_depth
from .pose import PairErrors, pair_errors, pose_score

__all__ = ["GeometryReport", "GeometryRow", "evaluate_geometry", "mean_log_depth", "windows_of"]

_BOOTSTRAP = 1000


@dataclass(frozen=True)
class GeometryRow:
    """One predictor's numbers; see `DepthScore` and `PoseScore`."""

    name: str
    abs_rel: float
    delta_125: float
    rotation_median_deg: float
    rra5: float
    rta30: float
    auc30: float
    direction_median_deg: float


@dataclass(frozen=True)
class GeometryReport:
    """The model's row and the baselines' rows, with what separates them.

    Args:
        rows: Model, mean-depth map, identity motion, and the one of the six camera axes that
            suits these windows best as a constant direction; unused columns are NaN.
        windows, pairs, baseline_pairs: How much was scored.
        abs_rel_gain: 95 % interval over windows of AbsRel minus the mean map's.
        rotation_gain_deg: The same of the mean rotation error minus identity's.
        match_half: Share of visible fine cells matched within half a patch; NaN without.
        match_identity: The same for "it did not move".
    """

    rows: tuple[GeometryRow, ...]
    windows: int
    pairs: int
    baseline_pairs: int
    abs_rel_gain: tuple[float, float]
    rotation_gain_deg: tuple[float, float]
    match_half: float = math.nan
    match_identity: float = math.nan

    def table(self) -> str:
        """The rows as text."""
        head = (
            f"{'':<22}{'AbsRel':>8}{'d<1.25':>8}{'rot med':>9}{'RRA5':>7}{'RTA30':>7}{'AUC30':>7}"
        )
        lines = [head]
        for row in self.rows:
            lines.append(
                f"{row.name:<22}{row.abs_rel:>8.3f}{row.delta_125:>8.3f}"
                f"{row.rotation_median_deg:>9.2f}{row.rra5:>7.3f}{row.rta30:>7.3f}{row.auc30:>7.3f}"
            )
        low, high = self.abs_rel_gain
        lines.append(
            f"AbsRel minus mean map, 95 % over {self.windows} windows: {low:+.3f} {high:+.3f}"
        )
        low, high = self.rotation_gain_deg
        lines.append(f"mean rotation error minus identity, 95 %: {low:+.2f} {high:+.2f} deg")
        if not math.isnan(self.match_half):
            lines.append(
                f"fine matches within half a patch: {self.match_half:.3f} "
                f"(standing still {self.match_identity:.3f})"
            )
        return "\n".join(lines)


def mean_log_depth(pool: ClipPool | Mixture, shards: int, size: tuple[int, int]) -> Tensor:
    """(H, W) mean depth of a pool's first shards; see `mean_depth`."""
    clips = (clip for shard in pool.shards[:shards] for clip in shard.clips)
    frames = (clip.read(range(len(clip))).depth for clip in clips)
    return mean_depth((torch.from_numpy(depth) for clip in frames for depth in clip), size)


def windows_of(pool: ClipPool, count: int, frames: int, seed: int) -> Iterable[WindowBatch]:
    """Yield `count` windows of one clip each, without augmentation; fixed by the seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield draw_batch(pool, 1, frames, generator, None)


@torch.no_grad()
def evaluate_geometry(
    model: G2VLM,
    windows: Iterable[WindowBatch],
    mean_map_HW: Tensor,
    min_baseline: float = 0.05,
    frame_causal: bool = False,
) -> GeometryReport:
    """Run a model on windows and score it beside its baselines.

    Args:
        model: In evaluation; fp32.
        windows: One clip each, pictures in the model's size.
        mean_map_HW: From `mean_log_depth`; resized to each window.
        min_baseline: See `pose_score`.
        frame_causal: See `G2VLM.geometry_pass`.
    """
    depth: dict[str, list[tuple[float, float]]] = {"model": [], "mean": []}
    pose: dict[str, list[PairErrors]] = {"model": [], "identity": []}
    pose |= {f"{axis}{sign:+d}": [] for axis in "xyz" for sign in (1, -1)}
    near: list[Tensor] = []
    still: list[Tensor] = []
    for window in windows:
        patch = model.config.patch_size
        grid = (window.grid[0] // patch, window.grid[1] // patch)
        pixels = pixels_of(window.rgb_BN3HW)
        tokens = model.encode_geometry(pixels)
        hidden = model.geometry_pass(tokens, grid, frame_causal=frame_causal)
        geometry = model.decode_geometry(hidden.hidden_BNPD, grid, pixels_BN3HW=pixels)
        truth = window.depth_BNHW[0]
        valid = truth > 0
        mean = torch.nn.functional.interpolate(
            mean_map_HW[None, None], size=truth.shape[-2:], mode="bilinear", align_corners=False
        )[0].expand_as(truth)
        for name, map_NHW in (("model", geometry.local_points_BNHW3[0, ..., 2]), ("mean", mean)):
            score = depth_score(map_NHW, truth, valid)
            depth[name].append((score.abs_rel, score.delta_125))
        T_true = window.T_world_cam_BN44[0]
        pose["model"].append(pair_errors(geometry.T_world_cam_BN44[0], T_true))
        pose["identity"].append(pair_errors(torch.eye(4).expand(len(T_true), 4, 4), T_true))
        for key in pose.keys() - {"model", "identity"}:
            moved = _axis_poses(len(T_true), "xyz".index(key[0]), float(key[1:]))
            pose[key].append(pair_errors(moved, T_true))
        if model.match is not None:
            errors = _match_errors(model, tokens, window, grid)
            near.append(errors[0])
            still.append(errors[1])
    return _report(depth, pose, min_baseline, near, still)


def _axis_poses(frames: int, axis: int, sign: float) -> Tensor:
    """Poses that move along one camera axis from frame to frame and never turn."""
    poses = torch.eye(4).repeat(frames, 1, 1)
    poses[:, axis, 3] = sign * torch.arange(frames)
    return poses


def _match_errors(
    model: G2VLM, tokens: Tensor, window: WindowBatch, grid: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Errors in patches of the fine matches, and of standing still, over visible cells."""
    assert model.match is not None
    cell = model.config.patch_size // CELLS_PER_SIDE
    cells = (grid[0] * CELLS_PER_SIDE, grid[1] * CELLS_PER_SIDE)
    tracks = cell_tracks(window.depth_BNHW, window.T_world_cam_BN44, window.K_BN33, cell)
    mine = match_error(model.match.descriptors(tokens, grid), tracks, cells) / CELLS_PER_SIDE
    y, x = torch.meshgrid(torch.arange(cells[0]), torch.arange(cells[1]), indexing="ij")
    here = torch.stack((x, y), dim=-1).flatten(0, 1) + 0.5
    moved = (tracks.place_BNNQ2 - here).norm(dim=-1)[tracks.visible_BNNQ] / CELLS_PER_SIDE
    return mine, moved


def _report(
    depth: dict[str, list[tuple[float, float]]],
    pose: dict[str, list[PairErrors]],
    min_baseline: float,
    near: Sequence[Tensor],
    still: Sequence[Tensor],
) -> GeometryReport:
    nan = math.nan
    mine, mean = np.array(depth["model"]), np.array(depth["mean"])
    model_pose = pose_score(pose["model"], min_baseline)
    no_motion = pose_score(pose["identity"], min_baseline)
    axes = [pose_score(pose[k], min_baseline) for k in sorted(pose.keys() - {"model", "identity"})]
    axis = max(axes, key=lambda score: score.rta30)
    rows = (
        GeometryRow(
            "model", float(mine[:, 0].mean()), float(mine[:, 1].mean()),
            model_pose.rotation_median_deg, model_pose.rra5, model_pose.rta30, model_pose.auc30,
            model_pose.direction_median_deg,
        ),
        GeometryRow(
            "mean-depth map", float(mean[:, 0].mean()), float(mean[:, 1].mean()),
            nan, nan, nan, nan, nan,
        ),
        GeometryRow(
            "identity motion", nan, nan, no_motion.rotation_median_deg, no_motion.rra5,
            no_motion.rta30, no_motion.auc30, no_motion.direction_median_deg,
        ),
        GeometryRow(
            "best constant axis", nan, nan, axis.rotation_median_deg, axis.rra5,
            axis.rta30, axis.auc30, axis.direction_median_deg,
        ),
    )  # fmt: skip
    rotation = [
        float(a.rotation_K.mean() - b.rotation_K.mean())
        for a, b in zip(pose["model"], pose["identity"], strict=True)
    ]
    return GeometryReport(
        rows=rows,
        windows=len(mine),
        pairs=model_pose.pairs,
        baseline_pairs=model_pose.baseline_pairs,
        abs_rel_gain=bootstrap_interval(mine[:, 0] - mean[:, 0]),
        rotation_gain_deg=bootstrap_interval(np.array(rotation)),
        match_half=float((torch.cat(list(near)) < 0.5).float().mean()) if near else nan,
        match_identity=float((torch.cat(list(still)) < 0.5).float().mean()) if still else nan,
    )


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean over resampled windows."""
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(values), (_BOOTSTRAP, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(low), float(high)
