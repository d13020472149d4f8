# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the command line says beyond the recording, and the parameters that follow from it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from g2vlm_map.option_fields import described
from g2vlm_map.options import DepthOptions, PipelineOptions
from g2vlm_model.interface.command_line import reason
from g2vlm_ros.param_files import named_value, node_values, options_of
from g2vlm_ros.params import NodeParams, known_names, parse

from .errors import ReplayInputError
from .metrics import FailCondition

LOGGER = logging.getLogger(__name__)
NODE_NAME = "g2vlm"
MAP_FILE = "map.g2map"  # what `~/load_map` reads
# Where the frames come as fast as the node takes them, the wall clock says nothing about
# them, and a status soon after each frame tells when the next one may go. Loops, which come from a
# thread of their own, are waited for, so that they come in at the same frame in every run.
LOCKSTEP_PARAMETERS = {
    "images.max_jump_s": 3600.0,
    "images.timeout_s": 3600.0,
    "loops.wait": True,
    "status.period_s": 0.1,
}

Parameter = str | float | int | bool

# What a pipeline without a node goes by, beside the pipeline's own parameters.
_OF_THE_RUNTIME = ("model", "runtime", "export", "device", "precision", "prompt_mode")
_OF_A_CAMERA = ("extrinsics", "rectified")


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

    @cached_property
    def _file(self) -> tuple[dict[str, Parameter], frozenset[str]]:
        if self.params_file is None:
            return {}, frozenset()
        try:
            values, shared = node_values(self.params_file, NODE_NAME)
        except OSError as error:
            raise ReplayInputError(f"--params {reason(error)}") from error
        except ValueError as error:
            raise ReplayInputError(f"--params {error}") from error
        return options_of(values), shared

    @property
    def file_values(self) -> dict[str, Parameter]:
        """What the parameter file says to the node, read once; its own section wins.

        Raises:
            ReplayInputError: No such file, or none of parameters.
        """
        return self._file[0]

    @property
    def shared_names(self) -> frozenset[str]:
        """Names in the file that are said to all nodes: unknown ones are meant for others.

        Raises:
            ReplayInputError: As `file_values`.
        """
        return self._file[1]

    @property
    def own_values(self) -> dict[str, Parameter]:
        """What goes on top of the parameter file: the command line, and what a replay needs.

        Raises:
            ReplayInputError: As `file_values`.
        """
        values: dict[str, Parameter] = {}
        if "runtime" not in self.file_values:
            values["runtime"] = "torch"  # "auto" would let a measurement choose what is reported
        given = {name: getattr(self, name) for name in ("model", "runtime", "export", "device")}
        values |= {name: value for name, value in given.items() if value}
        if self.lockstep:
            values |= LOCKSTEP_PARAMETERS
        return values | dict(self.parameters)


def parse_parameter(text: str) -> tuple[str, Parameter]:
    """Read NAME=VALUE of `--param`; the value as YAML reads it.

    Raises:
        ReplayInputError: Not of that form.
    """
    try:
        return named_value(text)
    except ValueError as error:
        raise ReplayInputError(f"--param {error}") from error


def parameters_of(model: ModelOptions, cameras: Sequence[str] = ()) -> NodeParams:
    """The parameters as the node would have them, for the pipeline without one.

    Args:
        model: what runs.
        cameras: names of a rig's; none: the parameters' own.

    Raises:
        ReplayInputError: No parameter file, or a value that the node would refuse.
    """
    rig: dict[str, Any] = {"cameras": list(cameras)} if cameras else {}
    values = {**model.file_values, **rig, **model.own_values}
    if foreign := (model.shared_names & {*values}) - known_names(values) - {*model.own_values}:
        _note_foreign(model.params_file, frozenset(foreign))
    try:
        return parse({name: value for name, value in values.items() if name not in foreign})
    except ValueError as error:
        raise ReplayInputError(str(error)) from error


def parameters_without_node(model: ModelOptions, cameras: Sequence[str] = ()) -> NodeParams:
    """As `parameters_of`, for a pipeline that no node is around.

    A file may be a node's; what the command line says is meant for this run.

    Raises:
        ReplayInputError: Also a parameter of the command line that only a node goes by.
    """
    params = parameters_of(model, cameras)
    used = {*described(PipelineOptions), *_OF_THE_RUNTIME}
    used |= {f"{camera.name}.{name}" for camera in params.topics for name in _OF_A_CAMERA}
    if idle := sorted({*model.parameters} - used):
        raise ReplayInputError(
            f"--param {idle[0]} says nothing here: only the node goes by it, and none runs; leave "
            "it out, or replay without --in-process"
        )
    return params


@cache
def _note_foreign(path: Path | None, names: frozenset[str]) -> None:
    """Say once what of a file was taken to be meant for other nodes."""
    LOGGER.warning("%s: left out, as meant for other nodes: %s", path, ", ".join(sorted(names)))


def depth_source(model: ModelOptions) -> str:
    """Whose depth the map gets; where the parameters are wrong, the node says so, not this."""
    try:
        return parameters_of(model).depth.source
    except ReplayInputError:
        return DepthOptions().source


@dataclass(frozen=True)
class RunOptions:
    """One replay.

    Args:
        out: the folder to write.
        model: what runs.
        in_process: drive the pipeline in this process, without ROS, in place of the node.
        questions: the file of questions.
        rate: speed of playing; 0 is lock-step.
        start_timeout_s: until the node must be active, while it does nothing.
        question_timeout_s: of one question; 0 leaves it to the pipeline.
        cloud_confidence: points below are left out of cloud.ply.
        title: of the report; "" names the recording.
        conditions: which fail the replay where they hold.
    """

    out: Path
    model: ModelOptions
    in_process: bool = False
    questions: Path | None = None
    rate: float = 1.0
    start_timeout_s: float = 180.0
    question_timeout_s: float = 0.0
    cloud_confidence: float = 0.3
    title: str = ""
    conditions: tuple[FailCondition, ...] = ()
