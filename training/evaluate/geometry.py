# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A short look at the geometry on windows as training draws them, for its log and comparisons.

Samples and pooling are those of `g2vlm evaluate geometry`. The frames of such windows are in random
order, so there is no row that moves along an axis from one to the next.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import PromptIds

from ..datasets.batch import WindowBatch, draw_batch
from ..datasets.mixture import ClipPool, Mixture
from ..datasets.views import ViewOptions
from .depth import mean_depth
from .examine import Samples, depth_samples, match_samples, pose_samples, resized_map
from .geometry_tables import gain_text, text_table
from .pose import pair_errors
from .summary import GAINS, METRICS, Estimate, difference, estimate
from .windows import predict

__all__ = ["GeometryReport", "evaluate_geometry", "mean_log_depth", "windows_of"]

_SHOWN = (
    "abs_rel", "delta_125", "rotation_median_deg", "rra5", "rta30", "auc30", "matched",
    "matched_still",
)  # fmt: skip


@dataclass(frozen=True)
class GeometryReport:
    """Samples of each window by row: "head", "mean-depth map", "identity motion"."""

    rows: Mapping[str, Sequence[Samples]]

    def value(self, row: str, key: str) -> float:
        """A metric of `summary.METRICS`; NaN where the row has no sample of it."""
        found = self._estimates(row).get(key)
        return math.nan if found is None else found.value

    def table(self) -> str:
        """The rows as text."""
        rows = [
            {
                "row": name,
                "windows": len(windows),
                "metrics": {key: vars(one) for key, one in self._estimates(name).items()},
            }
            for name, windows in self.rows.items()
        ]
        lines = [text_table(rows, _SHOWN)]
        for title, mine, theirs, key in GAINS:
            if mine in self.rows:
                gain = difference(key, self.rows[mine], self.rows[theirs], self._groups())
                lines.append("" if gain is None else gain_text(title, vars(gain)))
        return "\n".join(lines)

    def _estimates(self, row: str) -> dict[str, Estimate]:
        wanted = [metric for metric in METRICS if metric.key in _SHOWN]
        found = {m.key: estimate(m, self.rows[row], self._groups()) for m in wanted}
        return {key: one for key, one in found.items() if one is not None}

    def _groups(self) -> NDArray[np.int64]:
        return np.arange(len(self.rows["head"]))


def mean_log_depth(pool: ClipPool | Mixture, shards: int, size: tuple[int, int]) -> Tensor:
    """(H, W) mean depth of a pool's first shards; see `mean_depth`."""
    clips = (clip for shard in pool.shards[:shards] for clip in shard.clips)
    frames = (clip.read(range(len(clip))).depth for clip in clips)
    return mean_depth((torch.from_numpy(depth) for clip in frames for depth in clip), size)


def windows_of(
    pool: ClipPool, count: int, frames: int, seed: int, width: int | None = None
) -> Iterable[WindowBatch]:
    """Yield `count` windows of one clip each, without augmentation; fixed by the seed.

    Args:
        pool: Where from.
        count: How many.
        frames: Of each.
        seed: Of the choice.
        width: Of the model's pictures; None keeps the clips' own size.
    """
    views = ViewOptions(width=width, own_aspect=width is not None, zoom=0.0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        yield draw_batch(pool, 1, frames, generator, None, views)


@torch.no_grad()
def evaluate_geometry(
    model: G2VLM,
    prompts: PromptIds,
    windows: Iterable[WindowBatch],
    mean_map_HW: Tensor,
    min_baseline: float = 0.05,
) -> GeometryReport:
    """Run a model on windows and score it beside its baselines.

    Args:
        model: In evaluation; fp32.
        prompts: Of the model's tokenizer.
        windows: One clip each, pictures in the model's size.
        mean_map_HW: From `mean_log_depth`; resized to each window.
        min_baseline: See `pose_samples`.

    Raises:
        RuntimeError: The model says something that is not finite.
    """
    rows: dict[str, list[Samples]] = {"head": [], "mean-depth map": [], "identity motion": []}
    for window in windows:
        said = predict(model, prompts, window)
        truth, T_true = window.depth_BNHW[0], window.T_world_cam_BN44[0]
        still = torch.eye(4).expand(len(T_true), 4, 4)
        posed = bool(window.posed_BN.all())
        head, identity = (
            pose_samples(pair_errors(T_N44, T_true), min_baseline) if posed else {}
            for T_N44 in (said.T_world_cam_N44, still)
        )
        depth, blind = (
            depth_samples(z_NHW, truth) if bool(truth.any()) else {}
            for z_NHW in (said.points_NHW3[..., 2], resized_map(mean_map_HW, truth))
        )
        matches = match_samples(model, window, said) if posed else {}
        rows["head"].append({**depth, **head, **matches})
        rows["mean-depth map"].append(blind)
        rows["identity motion"].append(identity)
    return GeometryReport(rows)
