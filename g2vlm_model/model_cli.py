# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm model info|fetch|verify MODEL`: what a model is, whether it fits, whether it is sound.

MODEL is an embedded name, a folder, or a repository ORG/NAME[@REVISION].
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .interface.command_line import CommandParser
from .interface.whole_files import whole_file
from .interface.words import plain
from .model_folder import resolve_folder, weight_files

if TYPE_CHECKING:
    from .config import ModelConfig

__all__ = ["PARTS", "describe", "main", "part_of"]

# Part -> beginnings of our names of its parameters.
PARTS = {
    "geometric encoder": ("dino.", "dino_projection."),
    "geometric expert": ("trunk.layers.*.geometric.", "trunk.geometric_norm."),
    "geometry heads": ("heads.",),
    "semantic encoder": ("vit.",),
    "semantic expert": ("trunk.layers.*.semantic.", "trunk.semantic_norm."),
    "words in and out": ("trunk.embed_tokens.", "trunk.lm_head."),
}
OTHER = "other parts"
REPORT = "g2vlm-model-report.json"


def main(argv: list[str]) -> int:
    """Run `g2vlm model`; returns the exit code."""
    args = _parser().parse_args(argv)
    if args.what == "fetch":
        print(resolve_folder(args.model))
        return 0
    if args.what == "info":
        found = describe(args.model)
        print(json.dumps(found, indent=2) if args.json else _as_text(found))
        return 0
    from .model_verify import verify  # it needs this module

    if args.out.is_dir():
        raise IsADirectoryError(f"--out is {args.out}, a folder; give a file")
    with whole_file(args.out) as partial:  # first: minutes, and it may be read-only
        report = verify(args.model, args.device, args.precision, args.published)
        partial.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, outcome in report["checks"].items():
        print(f"{name}: {outcome}")
    print(f"wrote {args.out}")
    return 0 if report["sound"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="g2vlm model", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    for name, text in (
        ("info", "size, parts, precision, tokenizer, and what fits on this machine; reads headers"),
        ("fetch", "get a repository into the cache, and print its folder"),
        ("verify", "load it, look at its weights, run test frames and a question, write a report"),
    ):
        one = commands.add_parser(name, help=text, description=text)
        one.add_argument("model", help="embedded name, folder, or ORG/NAME[@REVISION]")
        if name == "info":
            one.add_argument("--json", action="store_true", help="for programs")
        if name == "verify":
            one.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
            one.add_argument(
                "--precision",
                default="auto",
                help="auto, fp32, bf16, fp16, int8, int4+int8 or int4",
            )
            one.add_argument(
                "--published",
                default="",
                metavar="MODULE:FUNCTION",
                help="runs the published code: called with the folder and a list of pictures, it "
                "returns local_points and camera_poses of its recon, which are compared",
            )
            one.add_argument("--out", type=Path, default=Path(REPORT), help=f"default {REPORT}")
    return parser


def describe(model: str) -> dict[str, Any]:
    """What a model is, by its files' headers; no weight is read.

    Raises:
        OSError, ValueError: As `load_model`, but for the numbers.
    """
    from .checkpoint import (
        calibration_text,
        model_id,
        model_on_meta,
        own_tokenizer,
        stored_weights,
    )
    from .config import ModelConfig

    folder = resolve_folder(model)
    config = ModelConfig.from_folder(folder)
    tokenizer = own_tokenizer(folder, config)
    ids = tokenizer.special_ids(config.tokens)
    files, built = weight_files(folder), model_on_meta(config, ids)
    with stored_weights(built, files) as stored:  # names and shapes are those that configs say
        dtypes = {one.dtype for one in stored}
    parts = dict.fromkeys((*PARTS, OTHER), 0)
    for name, parameter in built.named_parameters():
        parts[part_of(name)] += parameter.numel()
    weights = sum(parts.values())
    return {
        "model_id": model_id(folder),
        "folder": str(folder),
        "files": {path.name: path.stat().st_size for path in files},
        "stored_as": sorted(str(dtype).removeprefix("torch.") for dtype in dtypes),
        "weights": weights,
        "parts": {name: count for name, count in parts.items() if count},
        "differs_from_published": _options(config),
        "tokenizer": {
            "file": Path(tokenizer.source).name,
            "tokens": tokenizer.size,
            "rows": config.text.vocab_size,
            "special_ids": vars(ids),
        },
        "calibrated": bool(calibration_text(folder)),
        "fits": _fits(weights),
    }


def part_of(name: str) -> str:
    """The part that a parameter belongs to, by its name."""
    steps = name.split(".")
    if steps[:2] == ["trunk", "layers"]:
        steps[2] = "*"
    shown = ".".join(steps)
    return next((part for part, starts in PARTS.items() if shown.startswith(starts)), OTHER)


def _options(config: ModelConfig) -> dict[str, Any]:
    """Settings of the architecture that differ from the published model's, sizes left out."""
    published = type(config).g2vlm_2b()
    sizes = ("text", "vit", "dino", "heads", "dino_width", "vit_size")
    mine = {name: value for name, value in vars(config).items() if name not in sizes}
    return {k: v for k, v in mine.items() if v != getattr(published, k) and k != "tokens"}


def _fits(weights: int) -> list[dict[str, Any]]:
    """A row for each device and precision: bytes needed, bytes free, whether it fits."""
    from .quantised import PRECISIONS
    from .runtimes.torch.placement import DTYPES, Fits, Hardware

    hardware = Hardware.probe()
    places: list[tuple[int | None, str]] = [(None, f"cpu ({hardware.cpu_name})")]
    places += [(i, f"cuda:{i} ({name})") for i, (name, _) in enumerate(hardware.cuda)]
    rows = []
    for index, place in places:
        allowed = hardware.row(index)[1]
        fits = Fits(weights, hardware.free(index))
        for precision in (*DTYPES, *PRECISIONS):
            if precision in (*allowed, *PRECISIONS) or (index is None and precision == "bf16"):
                row = {"device": place, "precision": precision, "needs": fits.bytes(precision)}
                row |= {"free": fits.free, "fits": fits(precision)}
                emulated = precision in DTYPES and precision not in allowed
                rows.append(row | {"emulated": emulated})
    return rows


def _as_text(found: dict[str, Any]) -> str:
    size = sum(found["files"].values())
    words = found["tokenizer"]
    lines = [
        f"{found['model_id']}: {found['weights'] / 1e6:,.1f} M weights, {_gib(size)} on disk as "
        f"{', '.join(found['stored_as'])} in {len(found['files'])} file"
        f"{'s' * (len(found['files']) > 1)}",
        f"  {plain(found['folder'])}",
        *(f"  {name:<18} {count / 1e6:9,.1f} M" for name, count in found["parts"].items()),
        f"  tokenizer          {words['file']}, {words['tokens']} tokens for {words['rows']} rows",
    ]
    if options := found["differs_from_published"]:
        lines.append("  other than published: " + ", ".join(f"{k} {v}" for k, v in options.items()))
    if not found["calibrated"]:
        lines.append("  no calibration.json: confidence is no probability (make calibrate)")
    lines.append("on this machine, with 8 % of the weights for the work:")
    for row in found["fits"]:
        free = "unknown" if row["free"] is None else _gib(row["free"])
        verdict = "fits" if row["fits"] else "does not fit"
        slow = ", emulated: slow" if row["emulated"] else ""
        needs = f"{row['precision']}: {_gib(row['needs'])} of {free} free"
        lines.append(f"  {row['device']}  {needs}, {verdict}{slow}")
    return "\n".join(lines)


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
