# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is compared with what: one YAML file of `studies/` per question.

A file says what the paper found, what all variants share (`base`, a training config as in
`configs/`), what each phase adds to that, and what each variant changes of it. Phases run one
after another on the same weights; a variant may leave phases out. With `start` all begin with
the weights of a model folder, whose preset `base` names; else with a small model from scratch.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import TrainConfig
from ..config_file import config_of, merged, read_yaml

__all__ = ["STUDY_FOLDER", "Metric", "Study", "Variant", "load_study", "study_names"]

STUDY_FOLDER = Path(__file__).parent / "studies"
_KEYS = {"asks", "paper", "base", "phases", "variants", "metrics"}
_START = "start"
_VARIANT_KEYS = {"change", "phases", "shared_encoder"}


@dataclass(frozen=True)
class Metric:
    """A number to compare.

    Args:
        name: As `runs.py` measures it.
        lower: Lower is better.
        digits: Shown behind the point.
    """

    name: str
    lower: bool
    digits: int = 3


@dataclass(frozen=True)
class Variant:
    """One line of a comparison.

    Args:
        name: Of the line.
        phases: Its trainings in order, by name, without a seed.
        shared_encoder: The semantic encoder serves geometry too (`single_encoder.py`).
        start: Model folder to begin with; "" draws the weights.
    """

    name: str
    phases: tuple[tuple[str, TrainConfig], ...]
    shared_encoder: bool = False
    start: str = ""


@dataclass(frozen=True)
class Study:
    """A comparison; the paper holds its first variant to be the best.

    Args:
        name: Of the file.
        asks: The question.
        paper: What the paper found, and where.
        variants: At least two.
        metrics: What decides.
    """

    name: str
    asks: str
    paper: str
    variants: tuple[Variant, ...]
    metrics: tuple[Metric, ...]


def study_names() -> tuple[str, ...]:
    """Studies that are shipped."""
    return tuple(sorted(path.stem for path in STUDY_FOLDER.glob("*.yaml") if path.stem[0] != "_"))


def load_study(name: str) -> Study:
    """Read a study by name (`studies/NAME.yaml`) or path.

    Raises:
        FileNotFoundError: There is none.
        ValueError: An unknown key, a config that does not fit, fewer than two variants, no metric.
    """
    path = Path(name) if Path(name).suffix else STUDY_FOLDER / f"{name}.yaml"
    if not path.is_file():
        raise FileNotFoundError(f"no study {name!r}; shipped ones are {list(study_names())}")
    content = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict) or set(content) - {_START} != _KEYS:
        got = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path}: expected the keys {sorted(_KEYS)}, got {got}")
    start = content.get(_START, "")
    micro = read_yaml((STUDY_FOLDER / "_micro.yaml").read_text(encoding="utf-8"), "_micro.yaml")
    base = merged({} if start else micro, content["base"] or {})
    variants = tuple(
        dataclasses.replace(
            _variant(path, variant, base, content["phases"], changes or {}), start=start
        )
        for variant, changes in content["variants"].items()
    )
    if len(variants) < 2:
        raise ValueError(f"{path}: {len(variants)} variant, a comparison needs at least 2")
    if not content["metrics"]:
        raise ValueError(f"{path}: no metrics, a comparison needs at least one")
    metrics = tuple(Metric(key, **value) for key, value in content["metrics"].items())
    return Study(path.stem, content["asks"], content["paper"], variants, metrics)


def _variant(
    path: Path, name: str, base: dict[str, Any], phases: dict[str, Any], changes: dict[str, Any]
) -> Variant:
    where = f"{path}: {name}"
    unknown = sorted(set(changes) - _VARIANT_KEYS)
    if unknown:
        raise ValueError(f"{where}: unknown keys {unknown}, expected {sorted(_VARIANT_KEYS)}")
    chosen = changes.get("phases", list(phases))
    configs = []
    for phase in chosen:
        if phase not in phases:
            raise ValueError(f"{where}: no phase {phase!r}, the study has {sorted(phases)}")
        content = merged(merged(base, phases[phase] or {}), changes.get("change") or {})
        config = config_of(content, f"{where}: {phase}")
        if config.sources != TrainConfig.sources:
            raise ValueError(
                f"{where}: {phase}: sources is set, but the windows of a study come from the clips "
                "of --data; remove it"
            )
        configs.append((phase, config))
    return Variant(name, tuple(configs), bool(changes.get("shared_encoder", False)))
