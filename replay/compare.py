# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm replay compare A B`: two runs on one recording, number by number, scene by scene.

Scenes that both runs have are compared in pairs. Neighbouring scenes show the same things, so the
intervals (95 %) resample ten runs of neighbours, not scenes (a block bootstrap, Kuensch 1989).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface.command_line import CommandParser, reason
from g2vlm_model.interface.words import plain

from .errors import ReplayInputError
from .metrics import METRICS
from .summary import FORMAT_VERSION, PER_SCENE

__all__ = ["Paired", "Row", "Run", "compare", "main", "paired", "read_run"]

_BLOCKS = 10
_RESAMPLED = 2000
_CERTAIN = 0.95


@dataclass(frozen=True)
class Run:
    """What a replay wrote.

    Args:
        folder: Of the replay.
        document: Its metrics.json.
    """

    folder: Path
    document: Mapping[str, Any]

    @property
    def recording(self) -> tuple[Any, ...]:
        """What tells whether two runs are of one recording."""
        given = self.document["input"]
        return tuple(given.get(name) for name in ("path", "kind", "image_topic", "pictures"))

    def per_scene(self, name: str) -> dict[int, float]:
        """A number of each scene that has one, by its stamp in nanoseconds."""
        rows = self.document.get("scenes", [])
        return {row["stamp_ns"]: row[name] for row in rows if row.get(name) is not None}


@dataclass(frozen=True)
class Paired:
    """B less A over the scenes that both have.

    Args:
        scenes: How many.
        difference: The mean.
        low, high: Its interval (95 %); NaN where there are fewer scenes than runs of neighbours.
    """

    scenes: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Row:
    """A metric of both runs.

    Args:
        name: Of `METRICS`, or of a number of each scene.
        title, unit, better: See `Metric`.
        a, b: Its values; None where a run could not measure it.
        paired: None where nothing is known scene by scene.
    """

    name: str
    title: str
    unit: str
    better: str
    a: float | None
    b: float | None
    paired: Paired | None = None

    @property
    def verdict(self) -> str:
        """Of B: better, worse, or empty where the interval holds 0 or neither would be better."""
        if self.paired is None or not self.better or not self.paired.low * self.paired.high > 0:
            return ""
        return "better" if (self.paired.difference < 0) == (self.better == "lower") else "worse"


def read_run(folder: Path) -> Run:
    """Read what a replay wrote.

    Raises:
        ReplayInputError: There is no metrics.json, or it is none of this version.
    """
    path = folder / "metrics.json" if folder.is_dir() else folder
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        version = document["format_version"]
        document["metrics"], document["input"]["path"], document["answers"]
    except OSError as error:
        raise ReplayInputError(f"{reason(error)}; give the folder that a replay wrote") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ReplayInputError(f"{path} is no metrics.json of a replay") from error
    if version != FORMAT_VERSION:
        raise ReplayInputError(f"{path} has format {version}, expected {FORMAT_VERSION}")
    return Run(folder, document)


def paired(a: Mapping[int, float], b: Mapping[int, float], seed: int = 0) -> Paired | None:
    """B less A over the stamps that both have; None where there is none.

    Args:
        a, b: A number of each scene, by stamp.
        seed: Of the resampling.
    """
    stamps = sorted(set(a) & set(b))
    if not stamps:
        return None
    differences = np.array([b[stamp] - a[stamp] for stamp in stamps])
    low = high = float("nan")
    if len(stamps) >= 2 * _BLOCKS:
        blocks = np.array_split(differences, _BLOCKS)
        drawn = np.random.default_rng(seed).integers(0, _BLOCKS, (_RESAMPLED, _BLOCKS))
        sums = np.array([block.sum() for block in blocks])
        counts = np.array([len(block) for block in blocks])
        means: NDArray[np.float64] = sums[drawn].sum(1) / counts[drawn].sum(1)
        outside = 50 * (1 - _CERTAIN)
        low, high = (float(x) for x in np.percentile(means, (outside, 100 - outside)))
    return Paired(len(stamps), float(differences.mean()), low, high)


def compare(a: Run, b: Run) -> list[Row]:
    """Rows of all metrics that a run could measure, those with numbers of each scene first.

    Raises:
        ReplayInputError: The runs are of different recordings.
    """
    if a.recording != b.recording:
        raise ReplayInputError(
            f"{a.folder} is of {plain(str(a.recording))}, {b.folder} of {plain(str(b.recording))}; "
            "runs of one recording can be compared"
        )
    rows = []
    for name, (title, unit, metric) in PER_SCENE.items():
        ours, others = a.per_scene(name), b.per_scene(name)
        if ours or others:
            a_mean, b_mean = _mean(ours), _mean(others)
            better, both = METRICS[metric].better, paired(ours, others)
            rows.append(Row(name, title, unit, better, a_mean, b_mean, both))
    for name, metric_ in METRICS.items():
        one, other = (run.document["metrics"].get(name) for run in (a, b))
        if one is not None or other is not None:
            rows.append(Row(name, metric_.title, metric_.unit, metric_.better, one, other))
    return rows


def _mean(of_scenes: Mapping[int, float]) -> float | None:
    return float(np.mean(list(of_scenes.values()))) if of_scenes else None


def answers_apart(a: Run, b: Run) -> list[tuple[str, bool, bool]]:
    """Questions that one run answered right and the other wrong: text, A right, B right."""
    judged = [
        {
            (item["question"], item.get("picture")): item["correct"]
            for item in run.document["answers"]
            if item.get("correct") is not None
        }
        for run in (a, b)
    ]
    both = [key for key in judged[0] if key in judged[1]]
    return [
        (key[0], judged[0][key], judged[1][key]) for key in both if judged[0][key] != judged[1][key]
    ]


def table(rows: list[Row], apart: list[tuple[str, bool, bool]]) -> str:
    """Lines for a terminal."""
    lines = [f"{'':34} {'A':>10} {'B':>10} {'B - A':>10}  95 %"]
    for row in rows:
        title = f"{row.title} [{row.unit}]" if row.unit else row.title
        a, b = ("-" if value is None else f"{value:.4g}" for value in (row.a, row.b))
        change, within = "", ""
        if row.paired is not None:
            change = f"{row.paired.difference:+.4g}"
            if np.isfinite(row.paired.low):
                within = f"{row.paired.low:+.3g} .. {row.paired.high:+.3g}  {row.verdict}"
            within = f"{within}  ({row.paired.scenes} scenes)".strip()
        elif row.a is not None and row.b is not None:
            change = f"{row.b - row.a:+.4g}"
        lines.append(f"{title:34.34} {a:>10} {b:>10} {change:>10}  {within}".rstrip())
    for text, one, _ in apart:
        lines.append(f"answered right by {'A' if one else 'B'} alone: {plain(text, 90)}")
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """Print the table; 0, or 2 where the runs cannot be compared."""
    parser = CommandParser(
        prog="g2vlm replay compare",
        description="Two replays of one recording side by side, with differences and intervals.",
    )
    parser.add_argument("a", type=Path, metavar="A", help="folder of a replay")
    parser.add_argument("b", type=Path, metavar="B", help="folder of another one")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    chosen = parser.parse_args(argv)
    try:
        a, b = read_run(chosen.a), read_run(chosen.b)
        rows, apart = compare(a, b), answers_apart(a, b)
    except ReplayInputError as error:
        print(f"g2vlm replay compare: {plain(str(error))}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps(_document(rows, apart), indent=2))
    else:
        print(table(rows, apart))
    return 0


def _document(rows: list[Row], apart: list[tuple[str, bool, bool]]) -> dict[str, Any]:
    def interval(row: Row) -> dict[str, Any] | None:
        if row.paired is None:
            return None
        known = np.isfinite(row.paired.low)
        return {
            "scenes": row.paired.scenes,
            "difference": row.paired.difference,
            "interval": [row.paired.low, row.paired.high] if known else None,
            "verdict": row.verdict or None,
        }

    return {
        "metrics": [
            {"name": row.name, "unit": row.unit, "a": row.a, "b": row.b, "paired": interval(row)}
            for row in rows
        ],
        "answers": [{"question": text, "a": one, "b": other} for text, one, other in apart],
    }
