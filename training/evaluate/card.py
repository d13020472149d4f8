# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate card`: the model card, every number of it from evaluation files.

Prose that no evaluation can know (data, compute, known failures) comes from notes in Markdown;
they hold no results. What the card claims is what holds on every stretch, and is worked out here.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from g2vlm_model.checkpoint import model_id, resolve_folder, weight_files
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.safetensors_file import SafetensorsFile

from .geometry_tables import metrics_table
from .spatial_qa import ROWS

__all__ = ["add_arguments", "claims", "run"]

_LOG = logging.getLogger(__name__)
_TEMPLATES = Path(__file__).with_name("templates")
_STRETCHES, _PLACES = 4, 3  # fewer say nothing about pictures of other places
_HEAD, _MEAN, _STILL = "head", "mean-depth map", "identity motion"
_DEPTH, _MOTION = "AbsRel: head - mean-depth map", "rotation, mean deg: head - identity"
_ROOMS = (
    "abs_rel", "delta_125", "normal_mean_deg", "rotation_median_deg", "rra5", "rta30", "auc30",
    "confidence_ratio", "confidence_area",
)  # fmt: skip
_HONEST = 0.6  # largest error of the surest quarter over that of the least sure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--model", default="nano", help="model folder, or nano")
    add("--rooms", type=Path, nargs="+", required=True, help="geometry.json on synthetic rooms")
    add("--stretches", type=Path, required=True, help="folder of `evaluate stretches`")
    add("--questions", type=Path, help="JSON of `evaluate questions`")
    add("--notes", type=Path, required=True, help="Markdown about data, compute and failures")
    add("--out", type=Path, help="file; default: print")
    add("--force", action="store_true", help="fewer stretches or places than a card needs")


def run(args: argparse.Namespace) -> int:
    """Write the card; returns the exit code.

    Raises:
        ValueError: A file that is no evaluation or is of another model, too few real stretches.
        FileNotFoundError: A file is missing.
    """
    name = model_id(args.model)
    rooms = [_read(path, "tables", name) for path in args.rooms]
    paths = sorted(args.stretches.glob("*/geometry.json"))
    stretches = [_read(path, "stretch", name) for path in paths]
    if not args.force:
        _check_enough(args.stretches, stretches)
    answers = None if args.questions is None else _read(args.questions, "reports", name)
    page = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).get_template("card.md.j2")
    text = page.render(
        **_facts(args.model), name=name, notes=args.notes.read_text(encoding="utf-8").strip(),
        claims=claims(stretches), rooms=[_rooms(item) for item in rooms],
        real=real_table(stretches), confidence=confidence_table(stretches),
        answers=None if answers is None else [_answers(one) for one in answers["reports"]],
        commits=sorted({str(item.get("git", "unknown")) for item in (*rooms, *stretches)}),
        stride=sorted({item["command"]["stride"] for item in stretches}),
    )  # fmt: skip
    if args.out is None:
        print(text)
    else:
        write_text(args.out, text)
        _LOG.info("wrote %s from %d files", args.out, len(rooms) + len(stretches))
    return 0


def claims(stretches: Sequence[dict[str, Any]]) -> list[str]:
    """Sentences about real pictures that hold on every stretch, each with what it rests on."""
    said = []
    for frames in sorted({t["frames"] for item in stretches for t in item["tables"]}):
        words = "single frames" if frames == 1 else f"windows of {frames} frames"
        gains = _by_stretch(stretches, frames, lambda table: table["gains"].get(_DEPTH))
        said += _separation(words, "depth", "the training rooms' mean depth map", gains)
        gains = _by_stretch(stretches, frames, lambda table: table["gains"].get(_MOTION))
        if frames > 1:
            said += _separation(words, "rotation", "standing still", gains)
        ratios = _by_stretch(stretches, frames, lambda table: _metric(table, "confidence_ratio"))
        if ratios:
            worst = max(ratios.values(), key=lambda one: float(one["value"]))["value"]
            kind = "orders" if worst <= _HONEST else "does not order"
            said.append(
                f"{words}: confidence {kind} errors on every stretch: the surest quarter has at "
                f"most {worst:.2f} of the error of the least sure one ({_HONEST} wanted)"
            )
    return said


def _separation(words: str, what: str, baseline: str, gains: dict[str, Any]) -> list[str]:
    """One sentence on whether a model is better than a baseline, interval by interval."""
    if not gains:
        return []
    better = [name for name, gain in gains.items() if gain["high"] < 0]
    worse = [name for name, gain in gains.items() if gain["low"] > 0]
    if len(better) == len(gains):
        return [f"{words}: {what} is better than {baseline} on all {len(gains)} stretches"]
    tied = [name for name in gains if name not in better and name not in worse]
    parts = [
        f"{kind} on {', '.join(names)}"
        for kind, names in (("better", better), ("not told apart", tied), ("worse", worse))
        if names
    ]
    return [f"{words}: {what} against {baseline}: {'; '.join(parts)}"]


def real_table(stretches: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row for each stretch and number of frames, beside its baselines."""
    lines = [
        "| stretch | place | seen | frames | windows | AbsRel | mean map | own mean map | "
        "head - mean map (95 %) | d<1.25 | normals | rot. med. | still | RTA30 signed "
        "| AUC30 signed |",
        "|" + "---|" * 15,
    ]
    for item, table in _tables(stretches):
        about, gain = item["stretch"], table["gains"].get(_DEPTH)
        span = "" if gain is None else _span(gain)
        cells = [
            about["name"], about["place"], about["seen"] and "yes", table["frames"],
            table["rows"][0]["windows"], _cell(table, "abs_rel"), _cell(table, "abs_rel", _MEAN),
            _cell(table, "abs_rel", "mean-depth map of these frames"), span,
            _cell(table, "delta_125"), _cell(table, "normal_mean_deg", digits=1),
            _cell(table, "rotation_median_deg", digits=2),
            _cell(table, "rotation_median_deg", _STILL, digits=2), _cell(table, "rta30"),
            _cell(table, "auc30"),
        ]  # fmt: skip
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def confidence_table(stretches: Sequence[dict[str, Any]]) -> str:
    """Markdown: how far confidence orders errors; empty where no file has it."""
    rows = []
    for item, table in _tables(stretches):
        found = [_metric(table, key) for key in ("confidence_ratio", "confidence_area")]
        if all(found):
            cells = " | ".join(f"{one['value']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
                               for one in found if one)  # fmt: skip
            rows.append(f"| {item['stretch']['name']} | {table['frames']} | {cells} |")
    head = "| stretch | frames | surest / least sure quarter | area under sparsification |"
    return "\n".join([head, "|---|---|---|---|", *rows]) if rows else ""


def _read(path: Path, key: str, name: str) -> dict[str, Any]:
    """An evaluation of this very model."""
    try:
        content: dict[str, Any] = parse_json(path.read_bytes())
        model = content["model"]
        content[key]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is no evaluation file with {key!r}") from error
    if model != name:
        raise ValueError(f"{path} is of {model}, the card is of {name}; evaluate it again")
    return content


def _check_enough(folder: Path, stretches: Sequence[dict[str, Any]]) -> None:
    places = {item["stretch"]["place"] for item in stretches}
    if len(stretches) < _STRETCHES or len(places) < _PLACES:
        raise ValueError(
            f"{folder} has {len(stretches)} real stretches of {len(places)} places, a card needs "
            f"{_STRETCHES} of {_PLACES}: g2vlm evaluate stretches all, or --force for a draft"
        )


def _facts(model: str) -> dict[str, Any]:
    """Sizes, and what the header of the weights says about the runs."""
    folder = resolve_folder(model)
    config, count, size = ModelConfig.from_folder(folder), 0, 0
    header: dict[str, str] = {}
    for path in weight_files(folder):
        size += path.stat().st_size
        with SafetensorsFile(path) as reader:
            header |= reader.metadata
            count += sum(math.prod(entry.shape) for entry in reader.entries.values())
    runs = {key: parse_json(text) for key, text in header.items() if text.startswith("{")}
    plain = {key: text for key, text in header.items() if key not in runs and key != "format"}
    return {"count": count, "megabytes": size / 1e6, "width": config.dino_width,
            "patch": config.patch_size, "runs": runs, "header": plain}  # fmt: skip


def _tables(stretches: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    return [(item, table) for item in stretches for table in item["tables"]]


def _by_stretch(stretches: Sequence[dict[str, Any]], frames: int, of: Any) -> dict[str, Any]:
    """What each stretch says about windows of a length, where it says anything."""
    found = {
        item["stretch"]["name"]: of(table)
        for item, table in _tables(stretches)
        if table["frames"] == frames
    }
    return {name: one for name, one in found.items() if one is not None}


def _metric(table: dict[str, Any], key: str, row: str = _HEAD) -> dict[str, Any] | None:
    rows = {one["row"]: one for one in table["rows"]}
    found: dict[str, Any] | None = rows[row]["metrics"].get(key) if row in rows else None
    return found


def _cell(table: dict[str, Any], key: str, row: str = _HEAD, digits: int = 3) -> str:
    found = _metric(table, key, row)
    return "" if found is None else f"{found['value']:.{digits}f}"


def _span(gain: dict[str, Any]) -> str:
    return f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"


def _rooms(content: dict[str, Any]) -> dict[str, Any]:
    """One synthetic evaluation: a table for each number of frames."""
    command = content["command"]
    return {
        "setting": f"shards {Path(command['root']).name}, split {command.get('split', '')}, stride "
        f"{command['stride']}",
        "tables": [
            {
                "frames": table["frames"],
                "text": metrics_table(table["rows"], _ROOMS),
                "gains": [f"{title}: {_span(gain)}" for title, gain in table["gains"].items()],
            }
            for table in content["tables"]
        ],
    }


def _answers(report: dict[str, Any]) -> dict[str, Any]:
    """One report of questions as a Markdown table in percent."""
    names = [name for name in ROWS if name in report["levels"][-1]["scores"]]
    lines = [f"| task | questions | {' | '.join(names)} | 95 % |", "|" + "---|" * (len(names) + 3)]
    for row in (*report["tasks"], *report["levels"]):
        cells = " | ".join(f"{100 * row['scores'][name]:.1f}" for name in names)
        low, high = row["interval"]
        lines.append(
            f"| {row['name']} | {row['count']} | {cells} | {100 * low:.1f} to {100 * high:.1f} |"
        )
    return {"frames": report["frames"], "windows": report["windows"], "text": "\n".join(lines)}
