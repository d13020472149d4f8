# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From the fastest form of a graph to the safest, until one computes what torch computed.

TensorRT is known to return wrong numbers on some devices without an error, most often from fused
attention in half precision. So every engine is compared with golden outputs on the device that
runs it, and where it fails the next form is compiled. What compiles and what runs a form is the
caller's: the ladder knows neither.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from g2vlm_model.runtimes.export_folder import Golden
from g2vlm_model.runtimes.golden_check import Tolerances, compare

__all__ = [
    "Climbed",
    "LadderExhaustedError",
    "Run",
    "Rung",
    "Verdict",
    "climb",
    "golden_verdict",
    "rungs_of",
]

_LOG = logging.getLogger(__name__)

T = TypeVar("T")

Run = Callable[[Mapping[str, NDArray[Any]]], Mapping[str, NDArray[Any]]]
"""Runs a graph: inputs by name to outputs by name."""

ONE_FILE_BYTES = 1_500_000_000  # a protobuf message ends at 2 GB


class LadderExhaustedError(RuntimeError):
    """No form of a graph computes what it should here; the text says how each failed."""


@dataclass(frozen=True)
class Rung:
    """A form of a graph.

    Args:
        name: As it is logged and noted.
        rewrite: Function of `attention_casts` that makes it; "" as exported.
    """

    name: str
    rewrite: str


RUNGS = {
    "fp16": (
        Rung("fp16 fused", ""),
        Rung("fp16 decomposed", "without_fused_attention"),
        Rung("fp16 with fp32 attention", "with_float32_attention"),
        Rung("fp32", "in_float32"),
    ),
    "fp32": (Rung("fp32", ""), Rung("fp32 decomposed", "without_fused_attention")),
}


@dataclass(frozen=True)
class Verdict:
    """Whether a form passed the golden check, and what was measured."""

    passed: bool
    report: str


@dataclass(frozen=True)
class Climbed(Generic[T]):
    """Where the ladder ended.

    Args:
        result: What was compiled.
        rung: Of which form.
        reasons: Why each rung before it was not taken.
        report: Of the golden check that it passed.
    """

    result: T
    rung: Rung
    reasons: tuple[str, ...]
    report: str


def rungs_of(precision: str) -> tuple[Rung, ...]:
    """The forms of a graph of a precision, the fastest first.

    Raises:
        ValueError: Neither fp16 nor fp32.
    """
    if precision not in RUNGS:
        raise ValueError(f"precision is {precision!r}, expected one of {sorted(RUNGS)}")
    return RUNGS[precision]


def climb(
    graph: Path,
    rungs: Sequence[Rung],
    scratch: Path,
    compile_form: Callable[[Path, Rung], T],
    check: Callable[[T], Verdict],
) -> Climbed[T]:
    """Compile and check one form after the other.

    Args:
        graph: ONNX file.
        rungs: Forms, the fastest first.
        scratch: Folder for other forms; each is removed again.
        compile_form: Compiles an ONNX file.
        check: Compares what was compiled with golden outputs.

    Returns:
        The first that passes.

    Raises:
        LadderExhaustedError: None does.
        ValueError: The graph cannot be compiled as it was exported.
    """
    reasons: list[str] = []
    for index, rung in enumerate(rungs):
        try:
            with_form = _form(graph, rung, scratch)
            try:
                result = compile_form(with_form, rung)
            finally:
                if with_form != graph:
                    shutil.rmtree(with_form.parent)
            verdict = check(result)
        except (RuntimeError, ValueError, ModuleNotFoundError) as error:
            if index == 0 and isinstance(error, ValueError):
                raise  # the input is at fault, no other form of it is better
            verdict = Verdict(False, f"{type(error).__name__}: {error}")
        if verdict.passed:
            _LOG.info("%s: rung %r is taken: %s", graph.name, rung.name, verdict.report)
            return Climbed(result, rung, tuple(reasons), verdict.report)
        reasons.append(f"{rung.name}: {verdict.report}")
        _LOG.warning("%s: rung %r is refused: %s", graph.name, rung.name, verdict.report)
    raise LadderExhaustedError(
        f"no form of {graph.name} computes what torch computed, on this device with this "
        f"TensorRT; the engine is refused: {' | '.join(reasons)}"
    )


def golden_verdict(run: Run, goldens: Sequence[Golden], tolerances: Tolerances) -> Verdict:
    """Run every golden input and compare with its outputs.

    Args:
        run: The graph under test.
        goldens: At least one.
        tolerances: Of the exported precision.
    """
    assert goldens, "nothing to compare with"
    comparisons = {
        golden.case: compare(run(golden.inputs), golden, tolerances) for golden in goldens
    }
    failed = [case for case, comparison in comparisons.items() if not comparison.passed]
    shown = failed or list(comparisons)
    worst = max(shown, key=lambda case: comparisons[case].worst.share_of_tolerance)
    return Verdict(
        not failed,
        f"{len(comparisons) - len(failed)} of {len(comparisons)} golden windows pass; at {worst}: "
        + "; ".join(comparisons[worst].report().splitlines()),
    )


def _form(graph: Path, rung: Rung, scratch: Path) -> Path:
    """Write a form of a graph into a folder of its own; the graph itself where it is that form.

    Weights in files beside the graph that the form leaves as they are get a second name, no copy.

    Raises:
        ModuleNotFoundError: The form needs the package onnx-ir.
        ValueError: There is no such form of this graph.
    """
    if not rung.rewrite:
        return graph
    import onnx_ir as ir

    from . import attention_casts

    model = ir.load(graph)
    changed = getattr(attention_casts, rung.rewrite)(model)
    if changed == 0:
        raise ValueError("the graph has no attention that it would change")
    folder = scratch / rung.rewrite
    folder.mkdir(parents=True)
    path = folder / graph.name
    weights = [value.const_value for value in model.graph.initializers.values()]
    beside = {weight.location for weight in weights if isinstance(weight, ir.ExternalTensor)}
    own = sum(w.nbytes for w in weights if w is not None and not isinstance(w, ir.ExternalTensor))
    if own > ONE_FILE_BYTES:
        ir.save(model, path, external_data=f"{graph.stem}.data")
        return path
    for name in beside:
        _link(graph.parent / name, folder / name)
    ir.save(model, path)
    return path


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
