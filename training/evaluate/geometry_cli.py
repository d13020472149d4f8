# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate geometry`: every geometry metric of a model, beside its baselines."""

from __future__ import annotations

import argparse
import csv
import importlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import torch
from torch import Tensor

from g2vlm_model.checkpoint import load_model, model_id
from g2vlm_model.interface.command_line import at_least
from g2vlm_model.interface.whole_files import check_writable, whole_file, write_text
from g2vlm_model.model import G2VLM
from g2vlm_model.quantised import PRECISIONS
from g2vlm_model.runtimes.torch.placement import choose_placement
from g2vlm_model.tokenizer import PromptIds, prompt_ids

from ..config_file import config_of
from ..datasets.base import FrameSequence
from ..datasets.layouts import LAYOUTS
from ..datasets.mixture import SYNTHETIC, ClipPool
from ..run.checkpoints import git_hash, latest_checkpoint, stored_meta
from ..run.start import Start, start_model
from .depth import mean_depth
from .examine import Examiner
from .geometry_run import GeometryOptions, GeometryTable, run_geometry
from .geometry_tables import gain_text, text_table
from .summary import METRICS, value_of
from .windows import known_of, mean_depth_of, open_sequences

__all__ = [
    "Examinee",
    "MeanMap",
    "add_arguments",
    "examinee",
    "measured",
    "numbers",
    "run",
    "stored_mean_map",
    "table_text",
    "write_files",
]

_LOG = logging.getLogger(__name__)
_MEAN_SHARDS = 8
_MEAN_SIZE = (84, 112)
_STORED_MAP = Path(__file__).with_name("mean_depth.json")


@dataclass(frozen=True)
class MeanMap:
    """Mean depth of training rooms.

    Args:
        depth_HW: Up to scale.
        source: What it was taken from, in words.
    """

    depth_HW: Tensor
    source: str


class Examinee(NamedTuple):
    """A model that is measured, the prompts of its tokenizer, and its name."""

    model: G2VLM
    prompts: PromptIds
    name: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add = parser.add_argument
    add("--model", default="nano", help="model folder, nano, or a run of the stage geometry")
    add("--dataset", default="synthetic", help=f"synthetic, or {', '.join(LAYOUTS)}")
    add("--root", type=Path, required=True, help="folder of the data in that layout")
    add("--split", choices=("train", "val", "test"), default="test", help="synthetic: whose rooms")
    add("--frames", type=numbers, default=(4,), help="frames per window, e.g. 2,4,8,16")
    add("--stride", type=at_least(1), default=1, help="step between the frames of a window")
    add("--windows", type=at_least(1), default=200, help="at most so many of each length")
    add(
        "--refine-windows",
        type=at_least(0),
        default=100,
        help="refined and two-view rows: on so many",
    )
    add("--min-baseline", type=float, default=0.05, help="for directions and AUC, metres")
    add(
        "--mean-map", type=Path,
        help="training shards of the mean-depth row; default: those of --root, else stored",
    )  # fmt: skip
    add("--causal", action="store_true", help="frames see earlier frames only")
    add("--seed", type=int, default=7, help="choice of the windows")
    add("--out", type=Path, help="folder for windows.csv, geometry.json and report.html")
    add("--json", action="store_true", help="print the numbers as JSON, not as a table")
    add("--quantise", choices=PRECISIONS, default="", help="weights of so many bits; no run's")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--threads", type=at_least(1), default=1, help="torch threads")


def run(args: argparse.Namespace) -> int:
    """Run the command; returns the exit code.

    Raises:
        ValueError: Unknown layout, numbers out of range, no window long enough, a library that a
            report needs is missing.
        FileNotFoundError: The root holds nothing in that layout.
        OSError: `--out` cannot be written.
    """
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    if args.out is not None:
        _check_report(args.out)
    sequences = open_sequences(args.dataset, args.root, args.split)
    found = examinee(args.model, args.quantise, args.device)
    options = GeometryOptions(
        frames=args.frames, stride=args.stride, windows=args.windows,
        refined=args.refine_windows, seed=args.seed, causal=args.causal,
    )  # fmt: skip
    command = {key: value for key, value in vars(args).items() if key not in ("what", "json")}
    beside = args.dataset == SYNTHETIC and any(args.root.glob("train-*.tar"))
    shards = args.mean_map or (args.root if beside else None)
    mean = stored_mean_map() if shards is None else _mean_map(shards)
    content, tables = measured(found, sequences, options, mean, command)
    print(json.dumps(content, indent=2, default=str) if args.json else table_text(content))
    if args.out is not None:
        write_files(args.out, content, tables)
    return 0


def measured(
    examined: Examinee,
    sequences: Sequence[FrameSequence],
    options: GeometryOptions,
    mean: MeanMap,
    command: dict[str, Any],
) -> tuple[dict[str, Any], list[GeometryTable]]:
    """Content of geometry.json, and the tables with the windows that a report shows.

    Args:
        examined: What is measured.
        sequences: Where windows come from.
        options: Which windows.
        mean: The mean-depth baseline.
        command: What was asked for; `min_baseline` of it is used.

    Raises:
        ValueError: See `run_geometry`, `known_of`.
    """
    model, prompts, name = examined
    known = known_of(sequences, options.seed)
    own = mean_depth_of(sequences, model.config, options.seed) if known.depth else mean.depth_HW
    examiner = Examiner(model.eval(), prompts, mean.depth_HW, own, command["min_baseline"])
    tables = run_geometry(examiner, sequences, options, known)
    content = {
        "model": name,
        "git": git_hash(),
        "command": command,
        "mean_map": mean.source,
        "unmeasured": known.unmeasured,
        "tables": [
            {
                "frames": table.frames,
                "seconds": round(table.seconds, 1),
                "refused": table.refused,
                "gains": {title: vars(gain) for title, gain in table.gains().items()},
                "rows": table.summary(),
            }
            for table in tables
        ],
    }
    return content, tables


def examinee(source: str, quantise: str = "", device: str = "cpu") -> Examinee:
    """What is measured: a model folder, or the averages of a run's newest checkpoint, in fp32.

    Args:
        source: "nano", a model folder, or the folder of a run of the stage geometry, whose
            semantic half stays as it is drawn.
        quantise: As `load_model`, of a folder.
        device: As `load_runtime`.
    """
    place = choose_placement(device, "fp32").device
    newest = latest_checkpoint(Path(source)) if Path(source).is_dir() else None
    if newest is None:
        name = " ".join(filter(None, (model_id(source), quantise)))
        model, tokenizer = load_model(source, place, quantise=quantise)
        return Examinee(model, prompt_ids(tokenizer, model.config.tokens), name)
    if quantise:
        raise ValueError("--quantise takes a model folder; export the run's weights first")
    config = config_of(stored_meta(newest)["config"], str(newest))
    model, tokenizer, *_ = start_model(config.model, Start(geometry=Path(source)))
    prompts = prompt_ids(tokenizer, model.config.tokens)
    return Examinee(model.to(place), prompts, f"{Path(source).resolve().name}/{newest.stem}")


def numbers(text: str) -> tuple[int, ...]:
    """Numbers of frames between commas, for argparse."""
    try:
        found = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers such as 2,4,8") from None
    if min(found) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected numbers of frames from 1")
    return found


def _check_report(folder: Path) -> None:
    """Fail before the work and not after it."""
    try:
        importlib.import_module(".geometry_report", __package__)
    except ImportError as error:
        raise ValueError(
            f"--out writes a report, and {error.name} is missing: pip install 'g2vlm_ros[train]'; "
            "--json prints the numbers without it"
        ) from error
    check_writable(folder / "geometry.json")


def _mean_map(folder: Path) -> MeanMap:
    """The mean-depth baseline of a folder of training shards."""
    pool = ClipPool(folder, "train")
    shards = min(_MEAN_SHARDS, len(pool.paths))
    clips = (clip for shard in pool.shards[:shards] for clip in shard.clips)
    frames = (one for clip in clips for one in clip.read(range(len(clip))).depth)
    depth_HW = mean_depth((torch.from_numpy(one) for one in frames), _MEAN_SIZE)
    return MeanMap(depth_HW, f"{shards} training shards of {folder}")


def stored_mean_map() -> MeanMap:
    """The mean-depth baseline that comes with the package."""
    stored = json.loads(_STORED_MAP.read_text(encoding="utf-8"))
    return MeanMap(torch.tensor(stored["depth"], dtype=torch.float32), stored["source"])


def table_text(content: dict[str, Any]) -> str:
    """Content of geometry.json for the terminal."""
    parts = [f"{content['model']}  {content['command']}"]
    if content["unmeasured"]:
        parts.append(f"not measured, {content['unmeasured']}")
    for table in content["tables"]:
        head = table["rows"][0]
        parts.append(
            f"\n{table['frames']} frames: {head['windows']} windows of {head['sequences']} "
            f"sequences, {head['pairs']} pairs, {head['baseline_pairs']} over the least baseline, "
            f"{len(table['refused'])} windows left out, {table['seconds']:.0f} s"
        )
        parts.append(text_table(table["rows"]))
        parts += [gain_text(title, gain) for title, gain in table["gains"].items()]
    parts.append("refined and two-view rows are classic matching, not a learned result")
    return "\n".join(parts)


def write_files(folder: Path, content: dict[str, Any], tables: Sequence[GeometryTable]) -> None:
    """Write geometry.json, windows.csv and report.html; numbers first, should drawing fail."""
    text = json.dumps(content, indent=2, default=str) + "\n"
    write_text(folder / "geometry.json", text)
    with (
        whole_file(folder / "windows.csv") as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["frames", "sequence", "first", "row", *(m.key for m in METRICS)])
        for table in tables:
            for item in table.scored:
                for name, samples in item.rows.items():
                    values = [value_of(metric, samples) for metric in METRICS]
                    cells = ["" if value is None else f"{value:.6g}" for value in values]
                    place = [table.frames, item.plan.sequence.name, item.plan.frames[0]]
                    writer.writerow([*place, name, *cells])
    from .geometry_report import write_report  # matplotlib takes a second to load

    write_report(folder / "report.html", content, tables)
    _LOG.info("wrote geometry.json, windows.csv and report.html to %s", folder)
