# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Everything that is measured on one window: the model's rows and those of its baselines.

A row's samples are arrays, one number per window, pair, point or match; `summary` pools them
over windows. Rows: the head; the refined poses (classic matches and the head's depth: not a
learned result); the mean-depth maps of training rooms and of the scored frames; no motion; a
constant direction along each camera axis; and two-view geometry without any network, at the
model's and at the original size.

Shape letters: N frames, H W pixels, K pairs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_map.mapping.features import Features, find_features
from g2vlm_map.mapping.two_view import two_view
from g2vlm_model.extras.match import CELLS_PER_SIDE
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import PromptIds

from ..datasets.base import Clip
from ..datasets.batch import WindowBatch, world_points
from ..stages.correspondence import cell_tracks, match_error
from .confidence import confidence_samples
from .depth import depth_score, seam_steps
from .points import normal_angles_deg, point_score
from .pose import PairErrors, pair_errors, relative_errors
from .refine import PairOutcome, RefinedPoses, RefineOptions, refine_poses
from .windows import EvalWindow, Known, Prediction, WindowPlan

__all__ = [
    "AXES",
    "Examiner",
    "Samples",
    "depth_samples",
    "match_samples",
    "pose_samples",
    "resized_map",
]

Floats = NDArray[np.float64]
Samples = Mapping[str, Floats]

AXES = ("+x", "-x", "+y", "-y", "+z", "-z")
_ALL_PAIRS = 100_000
_KEPT_PICTURES = 256
_NONE: Floats = np.zeros(0)


@dataclass(frozen=True)
class Examiner:
    """Scores windows with one model.

    Args:
        model: In evaluation; fp32.
        prompts: Of its tokenizer.
        mean_map_HW: Mean depth of training rooms, up to scale.
        own_map_HW: Mean depth of the very frames that are scored, from their truth: the best
            that a map which looks at no picture could say. From `mean_depth_of`.
        min_baseline: See `pose_samples`; metres.
        refine: Options of the refined poses.
    """

    model: G2VLM
    prompts: PromptIds
    mean_map_HW: Tensor
    own_map_HW: Tensor
    min_baseline: float = 0.05
    refine: RefineOptions = field(default_factory=lambda: RefineOptions(max_pairs=_ALL_PAIRS))
    _features: OrderedDict[tuple[str, int, str], Features] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def learned(
        self, window: EvalWindow, said: Prediction, known: Known | None = None
    ) -> dict[str, Samples]:
        """Rows of the head and of what looks at no picture, of what is known of the window."""
        known = known or Known()
        rows = self._shaped(window, said, known.poses) if known.depth else {}
        for name, poses in self._moved(window, said).items() if known.poses else ():
            rows[name] = {**rows.get(name, {}), **poses}
        return rows

    def _shaped(self, window: EvalWindow, said: Prediction, posed: bool) -> dict[str, Samples]:
        """Rows of depth, points, normals, matches and confidence."""
        truth = window.batch.depth_BNHW[0]
        mean, own = (resized_map(map_HW, truth) for map_HW in (self.mean_map_HW, self.own_map_HW))
        flat = torch.linalg.inv(window.batch.K_BN33[0])
        still = torch.eye(4).expand(len(truth), 4, 4)
        placed = posed or len(truth) == 1  # a single frame's points need no pose
        return {
            "head": {
                **depth_samples(said.points_NHW3[..., 2], truth, self.model.config.patch_size),
                **(_points(window, said.points_NHW3, said.T_world_cam_N44) if placed else {}),
                **_normals(window, said.points_NHW3),
                **(match_samples(self.model, window.batch, said) if posed else {}),
                **_confidence(window, said),
            },
            "mean-depth map": {
                **depth_samples(mean, truth),
                **(_points(window, _lifted(mean, flat), still) if placed else {}),
                **_normals(window, _lifted(mean, flat)),
            },
            "mean-depth map of these frames": depth_samples(own, truth),
        }

    def _moved(self, window: EvalWindow, said: Prediction) -> dict[str, Samples]:
        """Rows of the head's poses and of those that look at no picture.

        The frames are in the order of the camera's path: a constant direction leads from each on.
        """
        T_true = window.batch.T_world_cam_BN44[0]
        still = torch.eye(4).expand(len(T_true), 4, 4)
        said_of = {"head": said.T_world_cam_N44, "identity motion": still}
        for axis in AXES:
            moved = still.clone()
            moved[:, "xyz".index(axis[1]), 3] = float(axis[0] + "1") * torch.arange(len(T_true))
            said_of[f"constant {axis}"] = moved
        return {
            name: pose_samples(pair_errors(T_N44, T_true), self.min_baseline)
            for name, T_N44 in said_of.items()
        }

    def refined(
        self, plan: WindowPlan, window: EvalWindow, said: Prediction, known: Known | None = None
    ) -> tuple[dict[str, Samples], RefinedPoses]:
        """Rows of the refined poses and of two-view geometry alone."""
        known = known or Known()
        T_true = window.batch.T_world_cam_BN44[0]
        features = [self._found(plan, window.original, k, "own") for k in range(len(T_true))]
        result = refine_poses(
            features, window.original.K, said.T_world_cam_N44.double().numpy(),
            said.points_NHW3[..., 2].numpy(), self.refine,
        )  # fmt: skip
        poses = torch.from_numpy(result.T_world_cam_N44)
        size = f"{window.original.size_hw[1]} px"
        small = [self._found(plan, window.model, k, "small") for k in range(len(T_true))]
        rows: dict[str, Samples] = {
            "refined": {
                **pose_samples(pair_errors(poses, T_true), self.min_baseline),
                **(_points(window, said.points_NHW3, poses.float()) if known.depth else {}),
            },
            f"two-view, {size}": pose_samples(_classic(result.pairs, T_true), self.min_baseline),
        }
        if window.model.size_hw != window.original.size_hw:
            size = f"{window.model.size_hw[1]} px"
            rows[f"two-view, {size}"] = pose_samples(
                _two_view_errors(small, window.model.K, self.refine, T_true), self.min_baseline
            )
        return rows, result

    def _found(self, plan: WindowPlan, clip: Clip, index: int, kind: str) -> Features:
        """Features of a frame; windows share frames, so the newest are kept."""
        kept = self._features
        key = (plan.sequence.name, plan.frames[index], kind)
        if key not in kept:
            kept[key] = find_features(clip.rgb[index], self.refine.features)
            if len(kept) > _KEPT_PICTURES:
                kept.popitem(last=False)
        return kept[key]


def depth_samples(predicted_NHW: Tensor, truth_NHW: Tensor, patch: int = 0) -> dict[str, Floats]:
    """Depth of a window under one scale; see `depth_score`, and with a patch size `seam_steps`."""
    known = truth_NHW > 0
    score = depth_score(predicted_NHW, truth_NHW, known)
    found = {"abs_rel": np.array([score.abs_rel]), "delta_125": np.array([score.delta_125])}
    if patch and (steps := seam_steps(predicted_NHW, known, patch)):
        found["seam_steps"] = np.array([steps])
    return found


def pose_samples(errors: PairErrors, min_baseline: float) -> dict[str, Floats]:
    """Errors of all pairs of a window, of the long ones, and of those that follow one another.

    Args:
        errors: Of all pairs.
        min_baseline: Pairs with a shorter true baseline count for rotation and for the folded
            directions of the cited protocol only.
    """
    if not len(errors.rotation_K):
        return {}
    rotation, direction = errors.rotation_K.numpy(), errors.direction_K.numpy()
    folded = errors.folded_K.numpy()
    long = errors.baseline_K.numpy() > min_baseline
    frames = round((1 + (1 + 8 * len(rotation)) ** 0.5) / 2)
    first, second = np.triu_indices(frames, 1)
    near = second == first + 1
    worst = np.maximum(rotation, direction)
    return {
        "rotation_deg": rotation,
        "direction_deg": direction[long],
        "worst_deg": worst[long],
        "folded_deg": folded,
        "worst_folded_deg": np.maximum(rotation, folded),
        "near_rotation_deg": rotation[near],
        "near_worst_deg": worst[long & near],
    }


def _classic(pairs: tuple[PairOutcome, ...], T_true: Tensor) -> PairErrors:
    """Errors of the essential matrices that a refinement found; none counts as no motion."""
    found = {(pair.i, pair.j): pair.geometry for pair in pairs}
    return _of_pairs(
        {
            key: None if item is None else (item.R_i_j, item.direction_3)
            for key, item in found.items()
        },
        T_true,
    )


def _two_view_errors(
    features: list[Features], K_N33: Floats, options: RefineOptions, T_true: Tensor
) -> PairErrors:
    found: dict[tuple[int, int], tuple[Floats, Floats] | None] = {}
    for i in range(len(features)):
        for j in range(i + 1, len(features)):
            pair = two_view(features[i], features[j], K_N33[i], K_N33[j], options.features)
            found[i, j] = None if pair is None else (pair.R_i_j, pair.direction_3)
    return _of_pairs(found, T_true)


def _of_pairs(
    found: Mapping[tuple[int, int], tuple[Floats, Floats] | None], T_true: Tensor
) -> PairErrors:
    count = len(T_true)
    first, second = np.triu_indices(count, 1)
    mine = torch.eye(4, dtype=torch.float64).repeat(len(first), 1, 1)
    for k, key in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        item = found.get(key)
        if item is not None:
            mine[k, :3, :3], mine[k, :3, 3] = (torch.from_numpy(part) for part in item)
    T = T_true.double()
    return relative_errors(mine, torch.linalg.inv(T[first]) @ T[second])


def resized_map(map_HW: Tensor, like_NHW: Tensor) -> Tensor:
    """(N, H, W) the same map for each of some frames."""
    resized = torch.nn.functional.interpolate(
        map_HW[None, None], like_NHW.shape[-2:], mode="bilinear", align_corners=False
    )
    return resized[0].expand_as(like_NHW)


def _lifted(depth_NHW: Tensor, K_inverse_N33: Tensor) -> Tensor:
    """(N, H, W, 3) points of depth maps in camera axes."""
    height, width = depth_NHW.shape[-2:]
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixel = torch.stack((u, v, torch.ones_like(u)), dim=-1).to(depth_NHW)
    return (pixel[None] @ K_inverse_N33.mT[:, None]) * depth_NHW[..., None]


def _points(window: EvalWindow, points_NHW3: Tensor, T_world_cam_N44: Tensor) -> dict[str, Floats]:
    batch = window.batch
    truth = world_points(batch.depth_BNHW, batch.T_world_cam_BN44, batch.K_BN33)[0]
    R, t = T_world_cam_N44[:, :3, :3], T_world_cam_N44[:, :3, 3]
    world = points_NHW3 @ R.mT[:, None] + t[:, None, None]
    known = batch.depth_BNHW[0] > 0
    score = point_score(world[known].double().numpy(), truth[known].double().numpy())
    return {name: np.array([value]) for name, value in vars(score).items()}


def _normals(window: EvalWindow, points_NHW3: Tensor) -> dict[str, Floats]:
    """Mean and median angle of a window; none where no block lies on one surface."""
    clip = window.model
    truth = _lifted(window.batch.depth_BNHW[0], torch.linalg.inv(window.batch.K_BN33[0])).numpy()
    angles = normal_angles_deg(points_NHW3.numpy(), truth, clip.depth > 0, clip.normals)
    if not len(angles):
        return {}
    return {
        "normal_mean_deg": np.array([angles.mean()]),
        "normal_median_deg": np.array([np.median(angles)]),
    }


def _confidence(window: EvalWindow, said: Prediction) -> dict[str, Floats]:
    """Confidence beside error, and what the head that knows the sky gets right."""
    if said.confidence_NHW is None:
        return {}
    depth, truth = said.points_NHW3[..., 2].numpy(), window.batch.depth_BNHW[0].numpy()
    found = {"confidence": confidence_samples(depth, truth, said.confidence_NHW)}
    empty = window.batch.invalid_BNHW[0].numpy()
    if said.invalid_NHW is not None and window.model.complete:
        right = said.invalid_NHW[empty]
        found["invalid_found"] = np.atleast_1d(right.mean()) if len(right) else _NONE
        found["invalid_wrong"] = np.atleast_1d(said.invalid_NHW[~empty].mean())
    return found


def match_samples(model: G2VLM, batch: WindowBatch, said: Prediction) -> dict[str, Floats]:
    """Distance in patches of the fine matches, and of standing still, over visible cells."""
    if model.match is None or len(said.points_NHW3) < 2:
        return {}
    cell = model.config.patch_size // CELLS_PER_SIDE
    cells = (said.grid[0] * CELLS_PER_SIDE, said.grid[1] * CELLS_PER_SIDE)
    tracks = cell_tracks(batch.depth_BNHW, batch.T_world_cam_BN44, batch.K_BN33, cell)
    with torch.no_grad():
        descriptors = model.match.descriptors(said.tokens_BNPD, said.grid).cpu()
    mine = match_error(descriptors, tracks, cells) / CELLS_PER_SIDE
    y, x = torch.meshgrid(torch.arange(cells[0]), torch.arange(cells[1]), indexing="ij")
    here = torch.stack((x, y), dim=-1).flatten(0, 1) + 0.5
    moved = (tracks.place_BNNQ2 - here).norm(dim=-1)[tracks.visible_BNNQ] / CELLS_PER_SIDE
    if not len(mine):
        return {}
    return {
        "matched": (mine < 0.5).double().mean()[None].numpy(),
        "matched_still": (moved < 0.5).double().mean()[None].numpy(),
    }
