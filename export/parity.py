# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compares every form of an export with torch: each graph, each engine, the answers.

A form is whatever turns pictures into named arrays: the graphs run by ONNX Runtime (in one
piece, or encoder and expert apart), and an engine where the device for one is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.config import CHAT
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.geometry_engine import Array, GeometryArrays
from g2vlm_model.runtimes.golden_check import Comparison, OutputError, Tolerances, compare

from .pictures import Case

__all__ = ["Form", "Report", "Row", "arrays_by_name", "check_cases", "check_goldens"]

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Form:
    """One way to run an export.

    Args:
        name: In words.
        outputs: Names of what it gives, as in the manifest.
        tolerances: Of its precision.
        run: Pictures (N, H, W, 3) uint8 -> name -> array.
        prompt: What the frames stand behind.
        facts: What really runs: runtime, device, precision.
        serves: Whether it takes windows of a size (N, H, W).
    """

    name: str
    outputs: tuple[str, ...]
    tolerances: Tolerances
    run: Callable[[NDArray[np.uint8]], Arrays]
    facts: str
    prompt: str = CHAT
    serves: Callable[[tuple[int, int, int]], bool] = lambda size_nhw: True


@dataclass(frozen=True)
class Row:
    """One output of one form on one case.

    Args:
        export: Folder.
        form, case: Names.
        error: How far it is off.
    """

    export: str
    form: str
    case: str
    error: OutputError


@dataclass(frozen=True)
class Expectation:
    """Outputs of torch that a form gives too."""

    outputs: Arrays


@dataclass(frozen=True)
class Report:
    """All rows of a check."""

    rows: tuple[Row, ...]

    @property
    def passed(self) -> bool:
        """Whether there is a row, and none is beyond its tolerance."""
        return bool(self.rows) and all(row.error.passed for row in self.rows)

    @property
    def failures(self) -> tuple[Row, ...]:
        """Rows beyond their tolerance."""
        return tuple(row for row in self.rows if not row.error.passed)

    def table(self) -> list[list[str]]:
        """Largest and mean error over all cases, per form and output; the first row is the head."""
        head = ["export", "form", "output", "cases", "max", "mean", "unit", "allowed", ""]
        groups: dict[tuple[str, str, str], list[OutputError]] = {}
        for row in self.rows:
            groups.setdefault((row.export, row.form, row.error.name), []).append(row.error)
        table = [head]
        for (export, form, name), errors in groups.items():
            table.append(
                [
                    *(export, form, name, str(len(errors))),
                    f"{max(error.max_error for error in errors):.1e}",
                    f"{float(np.mean([error.mean_error for error in errors])):.1e}",
                    errors[0].unit,
                    f"{errors[0].tolerance:.0e}",
                    "ok" if all(error.passed for error in errors) else "FAILED",
                ]
            )
        return table

    def as_json(self) -> dict[str, Any]:
        """Everything, as JSON's types; errors that cannot be measured are null."""
        return {
            "passed": self.passed,
            "rows": [
                {
                    "export": row.export,
                    "form": row.form,
                    "case": row.case,
                    **{name: _finite(value) for name, value in vars(row.error).items()},
                    "passed": row.error.passed,
                }
                for row in self.rows
            ],
        }


def check_cases(
    export: str, forms: Iterable[Form], truth: Callable[[Case, str], Arrays], cases: Iterable[Case]
) -> Iterator[Row]:
    """Yield the errors of forms on windows of pictures, case after case.

    Args:
        export: Named in the rows.
        forms: Of one export.
        truth: What torch says of a window behind a prompt, by the names of outputs.
        cases: Windows.

    Raises:
        ValueError: A form gives an output that torch does not know.
    """
    forms = list(forms)
    for case in cases:
        for form in (form for form in forms if form.serves(case.size_nhw)):
            said = truth(case, form.prompt)
            unknown = sorted(set(form.outputs) - set(said))
            if unknown:
                raise ValueError(
                    f"{export} gives {', '.join(unknown)}, which this version does not know; "
                    "export the model again with `g2vlm export onnx`"
                )
            expected = Expectation({name: said[name] for name in form.outputs})
            comparison = compare(form.run(case.pictures_NHW3), expected, form.tolerances)
            yield from rows_of(export, form.name, case.name, comparison)


def check_goldens(
    export: str,
    folder: ExportFolder,
    run_graph: Callable[[str, Arrays], Arrays],
) -> Iterator[Row]:
    """Yield the errors of every graph on the golden inputs that travel with it.

    Args:
        export: Named in the rows.
        folder: Whose goldens.
        run_graph: Name of a graph and its inputs -> its outputs.
    """
    for golden in folder.goldens():
        comparison = compare(
            run_graph(golden.graph, golden.inputs), golden, folder.manifest.tolerances
        )
        yield from rows_of(export, f"golden {golden.graph}", golden.case, comparison)


def rows_of(export: str, form: str, case: str, comparison: Comparison) -> Iterator[Row]:
    """Yield a comparison's rows."""
    for error in comparison.errors:
        yield Row(export, form, case, error)


def arrays_by_name(arrays: GeometryArrays) -> dict[str, NDArray[Any]]:
    """Return what an engine gave, by the graph's names, on the host.

    A graph with the rotation inside gives `rotation`; engines hand it out as nine numbers.
    """
    named = {name: _on_host(value) for name, value in vars(arrays).items() if value is not None}
    named["rotation"] = named["rotation9"].reshape(-1, 3, 3)
    return named


def _on_host(array: Array) -> NDArray[Any]:
    if isinstance(array, np.ndarray):
        return array
    import torch

    on_host: NDArray[Any] = torch.as_tensor(array).cpu().numpy()
    return on_host


def _finite(value: object) -> object:
    return None if isinstance(value, float) and not np.isfinite(value) else value
