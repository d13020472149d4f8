# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Options of a training run: one frozen tree, which `config_file.py` fills from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import SpatialQuery

from .datasets.augment import AugmentOptions
from .datasets.mixture import SourceOptions
from .datasets.views import ViewOptions
from .gasp.gasp_options import GaspOptions, LoraOptions
from .ranges import CHANCE, COUNT, FRACTION, POSITIVE, WEIGHT, check_choice, check_range
from .run.initialise import LAYER_SCALE
from .stages.freeze import STAGES, Stage
from .stages.losses import LossOptions
from .synthetic.questions import TASKS

__all__ = ["GeometryWeights", "TrainConfig"]

PRECISIONS = ("auto", "bf16", "fp32")
PARALLELS = ("ddp", "fsdp")
FROZEN = ("fp32", "bf16")


@dataclass(frozen=True)
class GeometryWeights:
    """What is added to the geometric loss.

    Args:
        correspondence: Weight of the match losses (half coarse, half fine) at the start.
        correspondence_later: Their weight from `correspondence_steps` on.
        correspondence_steps: See above.
        global_every: The global decoder runs in every so-manyth step.
        pixel_stride: The point losses look at every so-manyth pixel of row and column.
        frame_causal: Share of the steps whose geometric pass is frame-causal, so that the same
            weights serve both.

    Raises:
        ValueError: A number out of range.
    """

    correspondence: float = 0.6
    correspondence_later: float = 0.2
    correspondence_steps: int = 1500
    global_every: int = 4
    pixel_stride: int = 2
    frame_causal: float = 0.0

    def __post_init__(self) -> None:
        check_range(self, WEIGHT, "correspondence", "correspondence_later", part="extra")
        check_range(self, WEIGHT, "correspondence_steps", "global_every", part="extra")
        check_range(self, COUNT, "pixel_stride", part="extra")
        check_range(self, CHANCE, "frame_causal", part="extra")


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Args:
        model: What is trained. A file names a preset (`preset: nano`) and the fields that
            differ from it (`model: {conv_stem: 0, text: {num_hidden_layers: 2}}`).
        stage: What is trained.
        steps: Length of the cosine.
        windows: (clips, frames) of a step; each step draws one of them.
        window_shares: Chance of each of them, relative to the others; none is equal chances.
        lr, warmup, weight_decay, betas, clip_norm: Of AdamW.
        accumulate: A step's windows are gone through in so many parts, one after the other, which
            takes less memory and the same mean.
        workers: Processes that read windows ahead, for each process of the run; 0 reads them
            between the steps.
        bad_steps: So many steps in a row without a usable loss end the run.
        ema: Decay of the averaged weights, which are what is saved; 0 keeps no average and saves
            the weights.
        precision: "fp32", "bf16" (autocast; losses stay in fp32), or "auto": bf16 on GPUs that
            have it, else fp32.
        recompute: Gradient checkpointing: layers are computed again in the backward pass
            instead of being kept.
        compile: Layers are compiled by torch.compile, which takes minutes at the first steps; needs
            a C++ compiler.
        peak_tflops: What one device could do, 1e12 operations per second, for the utilisation in
            the log; 0 knows the common GPUs in bf16, and leaves it out elsewhere.
        parallel: How several processes share the model: "ddp" (each has all of it) or "fsdp"
            (each keeps a part).
        adapters: Low-rank adapters (`lora`) learn in place of what the stage trains of the
            transformer layers; heads learn as they are, all else is frozen.
        frozen: Precision of the weights that are not trained, "fp32" or "bf16".
        layer_scale: Start of the geometric expert's layer scales; 0.01 is published.
        seed: Of the start values and of every draw.
        refresh_steps: Look for new shards every so many steps.
        log_steps, save_steps, eval_steps: Periods.
        save_minutes: A checkpoint is written after so many minutes too; 0 goes by steps alone.
        eval_windows: Validation windows per evaluation, 4 frames each, on the first device; 0
            leaves all evaluation to `g2vlm evaluate`.
        questions: Questions per window of the semantic stage.
        context: Tokens that a conversation may have, pictures included; a longer one is left out
            and counted, because nobody's answer is cut.
        reason: What stands between question and answer: nothing ("off"), or the poses, depths and
            points that the geometric expert says ("geometry", `g2vlm_model.reasoning`).
        grounding: Weight of its grounding loss.
        probing: Weight of its image tokens' auxiliary loss.
        tasks: Types of its questions; none is all, and one that is named twice comes up twice as
            often.
        validation: Data sets that the validation windows come from; none is the val shards beside
            the first shards of `sources`.
        sources: Data sets that the windows come from; roots start at --data.
        gasp: Of the stage gasp.
        lora: Of its adapters and those of `adapters`.
        loss, extra, views, augment: Options of the parts.

    Raises:
        ValueError: A number out of range or an unknown choice.
    """

    model: ModelConfig = field(default_factory=ModelConfig.nano)
    stage: Stage = "geometry"
    steps: int = 10000
    windows: tuple[tuple[int, int], ...] = ((8, 2), (5, 3), (4, 4), (3, 6))
    window_shares: tuple[float, ...] = ()
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    accumulate: int = 1
    workers: int = 0
    bad_steps: int = 20
    ema: float = 0.999
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    recompute: bool = False
    compile: bool = False
    peak_tflops: float = 0.0
    parallel: Literal["ddp", "fsdp"] = "ddp"
    adapters: bool = False
    frozen: Literal["fp32", "bf16"] = "fp32"
    layer_scale: float = LAYER_SCALE
    seed: int = 0
    refresh_steps: int = 100
    log_steps: int = 50
    save_steps: int = 500
    eval_steps: int = 1000
    save_minutes: float = 0.0
    eval_windows: int = 60
    questions: int = 8
    context: int = 16384
    reason: Literal["off", "geometry"] = "off"
    grounding: float = 0.2
    probing: float = 0.0
    tasks: tuple[str, ...] = ()
    gasp: GaspOptions = field(default_factory=GaspOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    extra: GeometryWeights = field(default_factory=GeometryWeights)
    validation: tuple[SourceOptions, ...] = ()
    sources: tuple[SourceOptions, ...] = (SourceOptions(),)
    views: ViewOptions = field(default_factory=ViewOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        check_choice(self, "stage", STAGES)
        check_choice(self, "precision", PRECISIONS)
        check_choice(self, "parallel", PARALLELS)
        check_choice(self, "frozen", FROZEN)
        if self.frozen == "bf16" and (self.precision == "fp32" or self.parallel == "fsdp"):
            raise ValueError(
                "frozen is 'bf16': give precision bf16 or auto, and parallel ddp, because FSDP "
                "splits weights of one type"
            )
        check_range(self, POSITIVE, "lr", "clip_norm", "layer_scale")
        check_choice(self, "reason", SpatialQuery.REASONS)
        check_range(self, COUNT, "steps", "bad_steps", "questions", "accumulate", "context")
        check_range(self, COUNT, "refresh_steps", "log_steps", "save_steps", "eval_steps")
        check_range(self, WEIGHT, "warmup", "weight_decay", "seed", "eval_windows", "workers")
        check_range(self, WEIGHT, "grounding", "probing", "save_minutes", "peak_tflops")
        check_range(self, FRACTION, "ema", "betas")
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown:
            raise ValueError(f"tasks has {unknown}, expected some of {sorted(TASKS)}")
        if not self.windows or any(clips < 1 or frames < 1 for clips, frames in self.windows):
            raise ValueError(f"windows is {self.windows}, expected (clips, frames) pairs")
        check_range(self, WEIGHT, "window_shares")
        shares = self.window_shares
        if shares and (len(shares) != len(self.windows) or sum(shares) == 0):
            raise ValueError(
                f"window_shares is {shares}, expected one number for each of the "
                f"{len(self.windows)} windows, some above 0"
            )
        if not self.sources:
            raise ValueError("sources is empty, expected at least one data set")
