"""Options of a training run: one frozen tree, filled from a YAML file of `configs/`."""

from __future__ import annotations

import dataclasses
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from g2vlm_model.config import ModelConfig

from .augment import AugmentOptions
from .datasets.mixture import SourceOptions
from .datasets.views import ViewOptions
from .freeze import STAGES, Stage
from .gasp_options import GaspOptions, LoraOptions
from .initialise import LAYER_SCALE
from .losses import LossOptions
from .synthetic.questions import TASKS

__all__ = ["CONFIG_FOLDER", "PRESETS", "GeometryWeights", "TrainConfig", "config_of", "load_config"]

CONFIG_FOLDER = Path(__file__).parent / "configs"
PRECISIONS = ("auto", "bf16", "fp32")
PARALLELS = ("ddp", "fsdp")
PRESETS = {"nano": ModelConfig.nano, "g2vlm_2b": ModelConfig.g2vlm_2b}


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
        ValueError: A share outside 0 to 1.
    """

    correspondence: float = 0.6
    correspondence_later: float = 0.2
    correspondence_steps: int = 1500
    global_every: int = 4
    pixel_stride: int = 2
    frame_causal: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.frame_causal <= 1:
            raise ValueError(f"frame_causal is {self.frame_causal}, expected 0 to 1")


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Args:
        model: What is trained. A file names a preset (`preset: nano`) and the fields that
            differ from it (`model: {conv_stem: 0, text: {num_hidden_layers: 2}}`).
        stage: What is trained.
        steps: Length of the cosine.
        windows: (clips, frames) of a step; each step draws one of them.
        lr, warmup, weight_decay, betas, clip_norm: Of AdamW.
        bad_steps: So many steps in a row without a usable loss end the run.
        ema: Decay of the averaged weights, which are what is saved.
        precision: "fp32", "bf16" (autocast; losses stay in fp32), or "auto": bf16 on GPUs that
            have it, else fp32.
        recompute: Gradient checkpointing: layers are computed again in the backward pass
            instead of being kept.
        parallel: How several processes share the model: "ddp" (each has all of it) or "fsdp"
            (each keeps a part).
        layer_scale: Start of the geometric expert's layer scales; 0.01 is published.
        seed: Of the start values and of every draw.
        refresh_steps: Look for new shards every so many steps.
        log_steps, save_steps, eval_steps: Periods.
        eval_windows: Validation windows per evaluation, 4 frames each, on the CPU; 0 leaves all
            evaluation to `g2vlm evaluate`.
        questions: Questions per window of the semantic stage.
        grounding: Weight of its grounding loss.
        probing: Weight of its image tokens' auxiliary loss.
        tasks: Types of its questions; none is all, and one that is named twice comes up twice as
            often.
        sources: Data sets that the windows come from; roots start at --data.
        gasp, lora: Of the stage gasp.
        loss, extra, views, augment: Options of the parts.

    Raises:
        ValueError: A number out of range or an unknown choice.
    """

    model: ModelConfig = field(default_factory=ModelConfig.nano)
    stage: Stage = "geometry"
    steps: int = 10000
    windows: tuple[tuple[int, int], ...] = ((8, 2), (5, 3), (4, 4), (3, 6))
    lr: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 1.0
    bad_steps: int = 20
    ema: float = 0.999
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    recompute: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    layer_scale: float = LAYER_SCALE
    seed: int = 0
    refresh_steps: int = 100
    log_steps: int = 50
    save_steps: int = 500
    eval_steps: int = 1000
    eval_windows: int = 60
    questions: int = 8
    grounding: float = 0.2
    probing: float = 0.0
    tasks: tuple[str, ...] = ()
    gasp: GaspOptions = field(default_factory=GaspOptions)
    lora: LoraOptions = field(default_factory=LoraOptions)
    loss: LossOptions = field(default_factory=LossOptions)
    extra: GeometryWeights = field(default_factory=GeometryWeights)
    sources: tuple[SourceOptions, ...] = (SourceOptions(),)
    views: ViewOptions = field(default_factory=ViewOptions)
    augment: AugmentOptions = field(default_factory=AugmentOptions)

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage is {self.stage!r}, expected one of {STAGES}")
        for name, choices in (("precision", PRECISIONS), ("parallel", PARALLELS)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}, expected one of {choices}")
        positive = ("steps", "lr", "clip_norm", "refresh_steps", "log_steps", "save_steps")
        for name in (*positive, "bad_steps", "eval_steps", "questions"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected more than 0")
        if self.eval_windows < 0:
            raise ValueError(f"eval_windows is {self.eval_windows}, expected 0 or more")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}, expected 0 up to 1")
        unknown = sorted(set(self.tasks) - set(TASKS))
        if unknown:
            raise ValueError(f"tasks has {unknown}, expected some of {sorted(TASKS)}")
        if not self.windows or any(clips < 1 or frames < 1 for clips, frames in self.windows):
            raise ValueError(f"windows is {self.windows}, expected (clips, frames) pairs")


def load_config(name: str) -> TrainConfig:
    """Read a config by name (`configs/NAME.yaml`) or path.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Unknown key or a value of the wrong type.
    """
    import yaml

    path = Path(name)
    if not path.is_file():
        path = CONFIG_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = sorted(item.stem for item in CONFIG_FOLDER.glob("*.yaml"))
        raise FileNotFoundError(f"no config {name!r}; shipped ones are {known}, or give a file")
    return config_of(yaml.safe_load(path.read_text(encoding="utf-8")) or {}, str(path))


def config_of(content: Any, where: str) -> TrainConfig:
    """Build a config from the content of a file.

    Args:
        content: Keys and values; `preset` names what `model` starts from.
        where: Named in errors.

    Raises:
        ValueError: Unknown key, or a value of the wrong type or out of range.
    """
    content = dict(content) if isinstance(content, dict) else content
    preset = content.pop("preset", "nano") if isinstance(content, dict) else "nano"
    if preset not in PRESETS:
        raise ValueError(f"{where}: preset is {preset!r}, expected one of {sorted(PRESETS)}")
    base = TrainConfig(model=PRESETS[preset]())
    return typing.cast(TrainConfig, _fill(base, content, where))


def _fill(base: Any, content: Any, where: str) -> Any:
    """Replace fields of a frozen dataclass, and of those inside it, by what a file says."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected keys and values, got {type(content).__name__}")
    types = typing.get_type_hints(type(base))
    unknown = sorted(set(content) - set(types))
    if unknown:
        raise ValueError(f"{where}: unknown keys {unknown}, expected some of {sorted(types)}")
    values = {}
    for key, value in content.items():
        if dataclasses.is_dataclass(types[key]):
            values[key] = _fill(getattr(base, key), value, f"{where}: {key}")
        else:
            values[key] = _value(value, types[key], f"{where}: {key}")
    return dataclasses.replace(base, **values)


def _value(value: Any, kind: Any, where: str) -> Any:
    item_kind = (*typing.get_args(kind), None)[0]
    if isinstance(value, list) and dataclasses.is_dataclass(item_kind):
        make = typing.cast(type, item_kind)
        return tuple(_fill(make(), item, f"{where} {i}") for i, item in enumerate(value))
    if isinstance(value, list):
        return tuple(
            _value(item, None, where) if isinstance(item, list) else item for item in value
        )
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if kind in (int, bool, str) and type(value) is not kind:
        raise ValueError(f"{where}: got {value!r}, expected {kind.__name__}")
    return value
