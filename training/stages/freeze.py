# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which weights each stage trains (paper section 3.3), and a table that says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from torch import nn

from g2vlm_model.model import G2VLM

__all__ = [
    "STAGES",
    "Stage",
    "apply_freezing",
    "freezing_table",
    "is_geometric",
    "learns_if_there",
    "trained_in",
]

Stage = Literal["geometry", "semantic", "spatial", "joint", "gasp"]
STAGES: tuple[str, ...] = get_args(Stage)

_GEOMETRIC = ("dino.", "dino_projection.", "match.", "heads.", "trunk.geometric_norm.")
_GEOMETRIC_EXPERT = ".geometric."
_OPTIONAL = ("heads.confidence_", "heads.invalid_")
_BEHIND_THE_EXPERT = ("heads.", "trunk.geometric_norm.")  # an answer's loss never gets there


def is_geometric(name: str) -> bool:
    """Whether a parameter belongs to the geometric half of the model."""
    return name.startswith(_GEOMETRIC) or _GEOMETRIC_EXPERT in name


def learns_if_there(name: str) -> bool:
    """Whether a parameter is of a head that geometry goes without: confidence, invalid."""
    return name.startswith(_OPTIONAL)


def apply_freezing(model: G2VLM, stage: Stage) -> None:
    """Leave exactly a stage's weights trainable; see `trained_in`.

    Raises:
        ValueError: Unknown stage.
    """
    trained = trained_in(model, stage)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)


def trained_in(model: nn.Module, stage: Stage) -> set[str]:
    """Names of the parameters that a stage trains.

    "geometry" (1a and 1b) trains the geometric encoder, expert, match injection and heads. Stage 2
    always trains the semantic encoder and expert, the embedding and the language head: alone in
    "semantic" (CE only); with the geometric encoder and expert, which the answers teach, in
    "spatial" (CE + CE, the paper's SR); with all of the geometric half in "joint" (VG + CE).
    "gasp" trains no weight of the model: its adapters are added afterwards.

    Raises:
        ValueError: Unknown stage.
    """
    if stage not in STAGES:
        raise ValueError(f"stage is {stage!r}, expected one of {STAGES}")
    trains: dict[str, Callable[[str], bool]] = {
        "geometry": is_geometric,
        "semantic": lambda name: not is_geometric(name),
        "spatial": lambda name: not name.startswith(_BEHIND_THE_EXPERT),
        "joint": lambda name: True,
        "gasp": lambda name: False,
    }
    return {name for name, _ in model.named_parameters() if trains[stage](name)}


def freezing_table(model: nn.Module) -> str:
    """Two columns of parameter counts per part: trained and frozen."""
    rows: dict[str, list[int]] = {}
    for name, parameter in model.named_parameters():
        part = name.split(".")[0]
        if part == "trunk":
            part = "trunk, geometric expert" if is_geometric(name) else "trunk, semantic expert"
        elif part == "heads":
            part = "heads, " + name.split(".")[1].split("_")[0]
        counts = rows.setdefault(part, [0, 0])
        counts[0 if parameter.requires_grad else 1] += parameter.numel()
    lines = [f"{'part':<26}{'trained':>14}{'frozen':>14}"]
    lines += [f"{part:<26}{trained:>14,}{frozen:>14,}" for part, (trained, frozen) in rows.items()]
    totals = [sum(column) for column in zip(*rows.values(), strict=True)]
    lines.append(f"{'total':<26}{totals[0]:>14,}{totals[1]:>14,}")
    return "\n".join(lines)
