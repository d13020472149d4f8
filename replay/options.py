"""What the command line says beyond the recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .errors import ReplayInputError
from .metrics import FailCondition

Parameter = str | float | int | bool


@dataclass(frozen=True)
class ModelOptions:
    """What runs: the model, and how its pipeline is set.

    Args:
        model, runtime, export, device: parameters of these names; "" leaves the default, for
            `runtime` "torch" where no file says otherwise.
        params_file: a ROS parameter file, applied first.
        parameters: single values on top of all others.
        lockstep: the frames come as fast as the node takes them.
    """

    model: str = ""
    runtime: str = ""
    export: str = ""
    device: str = ""
    params_file: Path | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    lockstep: bool = False


def parse_parameter(text: str) -> tuple[str, Parameter]:
    """Read NAME=VALUE of `--param`; the value as YAML reads it.

    Raises:
        ReplayInputError: Not of that form.
    """
    name, equals, value = text.partition("=")
    try:
        parsed = yaml.safe_load(value) if equals else None
    except yaml.YAMLError:
        parsed = None
    if not name.strip() or not isinstance(parsed, str | float | int | bool):
        raise ReplayInputError(f"--param {text!r}: expected NAME=VALUE such as window.size=6")
    return name.strip(), parsed


@dataclass(frozen=True)
class RunOptions:
    """One replay.

    Args:
        out: the folder to write.
        model: what runs.
        questions: the file of questions.
        rate: speed of playing; 0 is lock-step.
        start_timeout_s: until the node must be active.
        question_timeout_s: of one question; 0 leaves it to the pipeline.
        cloud_confidence: points below are left out of cloud.ply.
        title: of the report; "" names the recording.
        conditions: which fail the replay where they hold.
        progress: show a bar.
    """

    out: Path
    model: ModelOptions
    questions: Path | None = None
    rate: float = 1.0
    start_timeout_s: float = 180.0
    question_timeout_s: float = 0.0
    cloud_confidence: float = 0.3
    title: str = ""
    conditions: tuple[FailCondition, ...] = ()
    progress: bool = True
