# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Windows of an evaluation: which frames of which sequence, read and checked one by one.

Windows of 2, 4, 8, ... frames at the same places start at the same frame, so that tables side
by side look at the same pictures; frames are in the order of the camera's path.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from g2vlm_model.config import ModelConfig
from g2vlm_model.generate import reconstruct_prefix
from g2vlm_model.interface import Frame
from g2vlm_model.model import G2VLM
from g2vlm_model.runtimes.prediction import predict_geometry
from g2vlm_model.tokenizer import PromptIds

from ..datasets.base import Clip, DataError, FrameSequence
from ..datasets.batch import WindowBatch, batch_of, pixels_of
from ..datasets.layouts import LAYOUTS, open_dataset
from ..datasets.mixture import SYNTHETIC, ClipPool
from ..datasets.views import model_clip
from ..synthetic import Split
from .depth import mean_depth

__all__ = [
    "EvalWindow",
    "Known",
    "Prediction",
    "WindowPlan",
    "known_of",
    "mean_depth_of",
    "open_sequences",
    "plan_windows",
    "predict",
    "read_window",
]

_MIN_KNOWN = 0.01


@dataclass(frozen=True)
class WindowPlan:
    """Frames of one window.

    Args:
        sequence: Where they are read.
        frames: Their numbers.
    """

    sequence: FrameSequence = field(repr=False)
    frames: tuple[int, ...]

    @property
    def name(self) -> str:
        """Sequence and first frame."""
        return f"{self.sequence.name} from {self.frames[0]}"


@dataclass(frozen=True)
class EvalWindow:
    """A window as the camera saw it, and at the size at which the model sees it."""

    original: Clip
    model: Clip
    batch: WindowBatch


@dataclass(frozen=True)
class Known:
    """What truth the data of an evaluation have.

    Args:
        depth: Of some frames at least; windows without any are then left out.
        poses: The same of poses.
    """

    depth: bool = True
    poses: bool = True

    @property
    def unmeasured(self) -> str:
        """What cannot be measured, in words; "" where all can."""
        if not self.depth:
            return "these data know no depth: depth, points, normals, matches, confidence"
        return "" if self.poses else "these data know no poses: poses, points of windows, matches"


@dataclass(frozen=True)
class Prediction:
    """What the geometric half of a model says of a window.

    Args:
        points_NHW3: float32, camera axes.
        T_world_cam_N44: float32.
        tokens_BNPD: Tokens of the geometric encoder, for the matches; on the model's device.
        grid: Rows and columns of patches.
        confidence_NHW: What the runtimes say of it: of the confidence head or, without one, of
            the consistency of the frames.
        invalid_NHW: bool, pixels that show nothing solid; None of a model without that head.
    """

    points_NHW3: Tensor
    T_world_cam_N44: Tensor
    tokens_BNPD: Tensor
    grid: tuple[int, int]
    confidence_NHW: NDArray[np.float32] | None = None
    invalid_NHW: NDArray[np.bool_] | None = None


def open_sequences(dataset: str, root: Path, split: Split) -> Sequence[FrameSequence]:
    """The sequences of an evaluation.

    Args:
        dataset: "synthetic", or a name of `LAYOUTS`.
        root: Folder of the shards, or of the data in that layout.
        split: Of synthetic shards.

    Raises:
        ValueError: Unknown layout.
        FileNotFoundError: The root holds nothing in that layout.
    """
    if dataset == SYNTHETIC:
        return ClipPool(root, split).clips
    if dataset not in LAYOUTS:
        raise ValueError(
            f"--dataset is {dataset!r}, expected {SYNTHETIC} or one of {sorted(LAYOUTS)}"
        )
    return open_dataset(dataset, root)


def plan_windows(
    sequences: Sequence[FrameSequence],
    frames: int,
    stride: int,
    count: int,
    seed: int,
    longest: int | None = None,
) -> list[WindowPlan]:
    """Choose windows, spread at random over all places of all sequences.

    Args:
        sequences: Where from.
        frames: Per window.
        stride: Step between the frames of a window.
        count: How many at most; all places where there are fewer.
        seed: Of the choice; the same for every number of frames.
        longest: Frames of the longest window that shall start at the same places.

    Raises:
        ValueError: A number below 1, or no sequence long enough.
    """
    if min(frames, stride, count) < 1:
        raise ValueError(
            f"frames {frames}, stride {stride} and windows {count}: expected at least 1 each"
        )
    span = stride * (frames - 1)
    reach = max(span, stride * ((longest or frames) - 1))
    if all(len(sequence) <= reach for sequence in sequences):
        reach = span
    places = [
        (sequence, first)
        for sequence in sequences
        for first in range(max(0, len(sequence) - reach))
    ]
    if not places:
        most = max((len(sequence) for sequence in sequences), default=0)
        raise ValueError(
            f"a window of {frames} frames at stride {stride} spans {span + 1} frames, but the "
            f"longest of {len(sequences)} sequences has {most}; lower --frames or --stride"
        )
    order = np.random.default_rng(seed).permutation(len(places))[:count]
    return [
        WindowPlan(places[k][0], tuple(range(places[k][1], places[k][1] + span + 1, stride)))
        for k in order
    ]


def known_of(sequences: Sequence[FrameSequence], seed: int, frames: int = 16) -> Known:
    """Look at random frames for what truth there is.

    Args:
        sequences: Of the data.
        seed: Of the choice.
        frames: How many are looked at.

    Raises:
        ValueError: None can be read, or none has depth or a pose.
    """
    depth = poses = False
    said = ""
    for sequence, frame in _random_frames(sequences, seed)[:frames]:
        try:
            clip = sequence.read([frame])
        except DataError as error:
            said = str(error)
            continue
        depth |= bool((clip.depth > 0).mean() >= _MIN_KNOWN)
        poses |= clip.all_posed
    if not depth and not poses:
        raise ValueError(
            f"nothing can be measured: of {frames} random frames none has depth or a pose. {said}"
        )
    return Known(depth, poses)


def _random_frames(
    sequences: Sequence[FrameSequence], seed: int
) -> list[tuple[FrameSequence, int]]:
    places = [(s, k) for s in sequences for k in range(len(s))]
    return [places[index] for index in np.random.default_rng(seed).permutation(len(places))]


def read_window(plan: WindowPlan, config: ModelConfig, needs: Known | None = None) -> EvalWindow:
    """Read a window's frames.

    Args:
        plan: Which.
        config: Of the model that sees them.
        needs: What the other windows have, so that all rows are of the same ones; None: all.

    Raises:
        DataError: A file is damaged, or the window lacks what it needs.
    """
    needs = needs or Known()
    original = plan.sequence.read(list(plan.frames))
    clip = model_clip(original, config)
    known = float((clip.depth > 0).mean())
    if needs.poses and not clip.all_posed:
        raise DataError(f"{plan.name}: nobody says where its frames were taken")
    if needs.depth and known < _MIN_KNOWN:
        raise DataError(
            f"{plan.name}: depth is known for {known:.1%} of the pixels, needs {_MIN_KNOWN:.0%}"
        )
    return EvalWindow(original, clip, batch_of([clip]))


def mean_depth_of(
    sequences: Sequence[FrameSequence], config: ModelConfig, seed: int, frames: int = 128
) -> Tensor:
    """(H, W) mean depth of random frames, from their truth; see `mean_depth`.

    Raises:
        ValueError: No frame, or depth is known nowhere.
    """

    def depths() -> Iterator[Tensor]:
        for sequence, frame in _random_frames(sequences, seed)[:frames]:
            try:
                yield torch.from_numpy(model_clip(sequence.read([frame]), config).depth[0])
            except DataError:
                continue  # the window that holds it says so

    return mean_depth(depths())


@torch.no_grad()
def predict(
    model: G2VLM, prompts: PromptIds, batch: WindowBatch, causal: bool = False
) -> Prediction:
    """Run the geometric half on a window of one clip, as `generate.reconstruct` does.

    Args:
        model: In evaluation; fp32, on any device.
        prompts: Of the model's tokenizer.
        batch: Pictures in the model's size.
        causal: See `G2VLM.geometry_pass`.

    Raises:
        RuntimeError: The model says something that is not finite.
    """
    patch = model.config.patch_size
    grid = (batch.grid[0] // patch, batch.grid[1] // patch)
    pixels = pixels_of(batch.rgb_BN3HW.to(model.device))
    tokens = model.encode_geometry(pixels)
    cache = reconstruct_prefix(model, prompts)
    hidden = model.geometry_pass(tokens, grid, cache=cache, frame_causal=causal)
    geometry = model.decode_geometry(hidden.hidden_BNPD, grid, pixels_BN3HW=pixels)
    points, poses = geometry.local_points_BNHW3[0].cpu(), geometry.T_world_cam_BN44[0].cpu()
    if not bool(torch.isfinite(points).all()) or not bool(torch.isfinite(poses).all()):
        raise RuntimeError("the model's points or poses hold numbers that are not finite")
    pictures = (batch.rgb_BN3HW[0] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    frames = [Frame(image, n, "camera", "camera", str(n)) for n, image in enumerate(pictures)]
    logits = (geometry.confidence_logits_BNHW1, geometry.invalid_logits_BNHW1)
    confidence, invalid = (None if one is None else one[0, ..., 0].cpu() for one in logits)
    served = predict_geometry(points, poses, confidence, pictures, frames, invalid)
    return Prediction(points, poses, tokens, grid, served.confidence, served.invalid)
