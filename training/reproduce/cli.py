# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm reproduce --data DIR --out DIR`: the paper's comparisons with small models."""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import platform
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.whole_files import whole_file, write_text
from g2vlm_model.interface.words import log_plainly
from g2vlm_model.model_folder import WEIGHTS_FILE

from ..datasets.mixture import ClipPool
from ..run.checkpoints import git_hash
from .clips import SmallClips
from .runs import Data, run_variant
from .study import Study, Variant, load_study, study_names
from .table import study_table

__all__ = ["main"]

_LOG = logging.getLogger(__name__)


def main(argv: list[str]) -> int:
    """Run `g2vlm reproduce`; returns the exit code."""
    args = _parser().parse_args(argv)
    log_plainly(logging.INFO, "%(asctime)s %(message)s", "%H:%M:%S")
    torch.set_num_threads(args.threads)
    studies = [load_study(name) for name in args.studies or study_names()]
    if not args.studies:  # others want pictures of their model's size
        studies = [study for study in studies if not study.variants[0].start]
    studies = [_shortened(study, args.scale) for study in studies]
    size = (args.height, args.width)
    data = Data(
        SmallClips(ClipPool(args.data, "train"), size, args.clips),
        SmallClips(ClipPool(args.data, "val"), size, args.windows),
        args.windows,
    )
    for seed in args.seeds:
        for study in studies:
            for variant in study.variants:
                if not args.variants or variant.name in args.variants:
                    _run(study, variant, seed, data, args.out, args.models)
    text = "\n".join(study_table(study, _finished(study, args.out)) for study in studies)
    write_text(args.out / "tables.md", text)
    print(text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="g2vlm reproduce", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of shards, train and val")
    parser.add_argument("--out", type=Path, required=True, help="results; what is there is kept")
    parser.add_argument(
        "--studies", nargs="+",
        help=f"of {', '.join(study_names())}, or YAML files; default: those from scratch",
    )  # fmt: skip
    parser.add_argument("--variants", nargs="+", help="only lines of these names")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--scale", type=float, default=1.0, help="times the steps of each phase")
    parser.add_argument("--windows", type=at_least(1), default=100, help="validation windows")
    parser.add_argument(
        "--clips", type=at_least(1), default=1000, help="training clips, kept in memory"
    )
    parser.add_argument("--width", type=at_least(1), default=48, help="of the pictures, in pixels")
    parser.add_argument("--height", type=at_least(1), default=32, help="of the pictures, in pixels")
    parser.add_argument(
        "--models",
        action="store_true",
        help="also write model folders (of two encoders): OUT/models/...",
    )
    parser.add_argument("--threads", type=at_least(1), default=1, help="torch threads")
    return parser


def _shortened(study: Study, scale: float) -> Study:
    variants = []
    for variant in study.variants:
        phases = tuple(
            (name, dataclasses.replace(config, steps=max(1, round(scale * config.steps))))
            for name, config in variant.phases
        )
        variants.append(dataclasses.replace(variant, phases=phases))
    return dataclasses.replace(study, variants=tuple(variants))


def _result_file(study: Study, variant: str, seed: int, out: Path) -> Path:
    return out / study.name / f"{variant.replace(' ', '-')}-{seed}.json"


def _plain(variant: Variant) -> Any:
    """All that a line is, as a result file has it."""
    return json.loads(json.dumps(dataclasses.asdict(variant)))


def _result(path: Path, variant: Variant) -> dict[str, Any]:
    """A finished line.

    Raises:
        ValueError: Another line of that name made it.
    """
    content = _parsed(path)
    if content.get("line") != _plain(variant):
        raise ValueError(
            f"{path} was made with another configuration of {variant.name!r}; give another --out, "
            "or remove it to measure again"
        )
    return content


def _parsed(path: Path) -> dict[str, Any]:
    """What a result file holds.

    Raises:
        ValueError: It is none.
    """
    try:
        content = parse_json(path.read_bytes(), nan=True)
    except ValueError as error:
        raise ValueError(f"{path} is no result ({error}); remove it to measure again") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is no result; remove it to measure again")
    return content


def _run(study: Study, variant: Variant, seed: int, data: Data, out: Path, models: bool) -> None:
    """Train and measure one line, unless its result is there, and its model where it is wanted."""
    path = _result_file(study, variant.name, seed, out)
    export = None
    if models and not variant.shared_encoder:  # which the published layout has no names for
        export = out / "models" / study.name / path.stem
    steps = {name: config.steps for name, config in variant.phases}
    if path.is_file():
        _result(path, variant)
        if export is None or (export / WEIGHTS_FILE).is_file():
            _LOG.info("%s is there", path)
            return
    _LOG.info("%s: %s, seed %d, steps %s", study.name, variant.name, seed, steps)
    measured = run_variant(variant, seed, data, out / "runs", export)
    result: dict[str, Any] = {
        "study": study.name,
        "variant": variant.name,
        "seed": seed,
        "line": _plain(variant),
        "steps": steps,
        "git": git_hash(),
        "clips": len(data.train.clips),
        "machine": f"{platform.machine()}, {torch.get_num_threads()} thread(s)",
        "measured": measured,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    _LOG.info("%s", {name: round(value, 4) for name, value in measured.items()})


def _finished(study: Study, out: Path) -> dict[str, list[dict[str, float]]]:
    """Measured numbers of every line that has a result, by name, one entry per seed."""
    found: dict[str, list[dict[str, float]]] = {}
    for variant in study.variants:
        pattern = _result_file(study, variant.name, 0, out).name.replace("-0.json", "-*.json")
        for path in sorted((out / study.name).glob(pattern)):
            name = _parsed(path).get("variant")
            if name == variant.name:  # another name may begin like this one
                found.setdefault(name, []).append(_result(path, variant)["measured"])
    return found


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
