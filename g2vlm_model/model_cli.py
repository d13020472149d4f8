# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm model info|fetch|verify MODEL`: what a model is, whether it fits, whether it is sound.

MODEL is an embedded name, a folder, or a repository ORG/NAME[@REVISION].
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .interface import AnswerStatus, Frame, FrameWindow, PixelMark, SpatialQuery
from .interface.whole_files import whole_file
from .interface.words import plain
from .model_folder import resolve_folder, weight_files
from .runtimes.machine import cpu_facts, package_version

if TYPE_CHECKING:
    from .config import ModelConfig
    from .interface import SpatialRuntime

__all__ = ["PARTS", "describe", "main", "verify"]

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
_SAMPLE = 1_000_000  # numbers of a tensor that are looked at
_EMPTY = 1e-6  # a matrix whose numbers differ by less was never trained
_SIDE = 224  # of the test frames, in pixels
_QUESTION = "How far is A from the camera?"
_TOKENS = 8


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
    report = verify(args.model, args.device, args.precision)
    with whole_file(args.out) as path:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    for name, outcome in report["checks"].items():
        print(f"{name}: {outcome}")
    print(f"wrote {args.out}")
    return 0 if report["sound"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="g2vlm model", description=__doc__)
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
            one.add_argument("--out", type=Path, default=Path(REPORT), help=f"default {REPORT}")
    return parser


def describe(model: str) -> dict[str, Any]:
    """What a model is, by its files' headers; no weight is read.

    Raises:
        OSError, ValueError: As `load_model`, but for the numbers.
    """
    from .checkpoint import calibration_text, model_id, model_on_meta
    from .config import ModelConfig
    from .safetensors_file import SafetensorsFile
    from .tokenizer import Tokenizer

    folder = resolve_folder(model)
    config = ModelConfig.from_folder(folder)
    tokenizer = Tokenizer.from_folder(folder)
    ids = tokenizer.special_ids(config.tokens)
    files, dtypes = weight_files(folder), set()
    for path in files:
        with SafetensorsFile(path) as reader:
            dtypes |= {str(entry.dtype).removeprefix("torch.") for entry in reader.entries.values()}
    parts = dict.fromkeys((*PARTS, OTHER), 0)
    for name, parameter in model_on_meta(config, ids).named_parameters():
        parts[part_of(name)] += parameter.numel()
    weights = sum(parts.values())
    return {
        "model_id": model_id(folder),
        "folder": str(folder),
        "files": {path.name: path.stat().st_size for path in files},
        "stored_as": sorted(dtypes),
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


def verify(model: str, device: str = "auto", precision: str = "auto") -> dict[str, Any]:
    """Load a model as a node does, look at its weights, run two test frames and a question.

    Args:
        model: As `resolve_folder`.
        device, precision: As `load_runtime`.

    Returns:
        What was found, for a file: machine, versions, model, norms by part, outputs, times, and
        `checks`: "ok" or what is wrong; `sound` where all are ok.

    Raises:
        OSError, ValueError: The model is none, or does not fit.
    """
    from .runtimes import load_runtime

    folder = resolve_folder(model)
    report: dict[str, Any] = {"model": describe(model), "machine": _machine(), "seconds": {}}
    norms = _norms(folder)
    began = time.monotonic()
    runtime = load_runtime("torch", model=folder, device=device, precision=precision)
    report["seconds"]["load"] = round(time.monotonic() - began, 3)
    try:
        info = runtime.info
        report["runs"] = {"device": info.device, "precision": info.precision}
        report["runs"]["fallback"] = info.fallback_reason
        report["outputs"] = _run(runtime, report["seconds"])
    finally:
        runtime.close()
    report["peak_rss_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    report["norms"] = norms
    report["checks"] = _checks(norms, report["outputs"])
    report["sound"] = all(outcome == "ok" for outcome in report["checks"].values())
    # The published code is no package that could be found; its goldens are held by the tests.
    report["published_code"] = "not compared"
    return report


def _machine() -> dict[str, str]:
    packages = ("torch", "numpy", "tokenizers", "safetensors", "g2vlm_ros")
    return {
        "cpu": cpu_facts()[0],
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **{name: package_version(name) for name in packages},
    }


def _norms(folder: Path) -> dict[str, dict[str, Any]]:
    """By part: root mean square and largest number of its matrices, and those that look empty.

    Of a tensor at most a million numbers are read; that all are finite is seen when it is loaded.
    """
    import torch

    from .checkpoint import model_on_meta
    from .checkpoint_keys import published_names
    from .config import ModelConfig, SpecialIds
    from .safetensors_file import SafetensorsFile

    model = model_on_meta(ModelConfig.from_folder(folder), SpecialIds(0, 1, 2, 3, 4))
    ours_of = published_names(dict(model.named_parameters()))
    squares: dict[str, list[float]] = defaultdict(list)  # mean square of each tensor
    largest: dict[str, float] = defaultdict(float)
    empty: dict[str, list[str]] = defaultdict(list)
    for path in weight_files(folder):
        with SafetensorsFile(path) as reader:
            for name, entry in reader.entries.items():
                if len(entry.shape) < 2 or name not in ours_of:
                    continue
                end = min(entry.end, entry.begin + _SAMPLE * entry.dtype.itemsize)
                raw = bytearray(reader.sample_bytes(entry.begin, end))
                values = torch.frombuffer(raw, dtype=entry.dtype).double().numpy()
                part = part_of(ours_of[name])
                squares[part].append(float(np.mean(values**2)))
                largest[part] = max(largest[part], float(np.abs(values).max()))
                if float(values.std()) < _EMPTY:
                    empty[part].append(name)
    return {
        part: {
            "rms": _rounded(math.sqrt(float(np.mean(found)))),
            "largest": _rounded(largest[part]),
            "empty": empty[part][:10],
        }
        for part, found in squares.items()
    }


def frames_of_a_test(shift: int = 0) -> FrameWindow:
    """Two frames of a texture that moves by 12 pixels; the same on every machine.

    Args:
        shift: Of the texture, in pixels: another picture.
    """
    y, x = np.mgrid[0:_SIDE, 0 : _SIDE + 12].astype(np.float64)
    waves = sum(
        np.sin((x + shift) * a + y * b) for a, b in ((0.11, 0.03), (0.05, -0.17), (0.31, 0.2))
    )
    gray = np.round(127.5 + 40.0 * waves).clip(0, 255).astype(np.uint8)
    frames = tuple(
        Frame(
            np.ascontiguousarray(np.repeat(gray[:, i : i + _SIDE, None], 3, axis=2)),
            i * 100_000_000,
            "camera_optical",
            "camera",
            f"test-{shift}-{i}",
        )
        for i in (0, 12)
    )
    return FrameWindow(frames)


def _run(runtime: SpatialRuntime, seconds: dict[str, float]) -> dict[str, Any]:
    """Test frames, others, and a question about the first ones; times go into `seconds`."""
    began = time.monotonic()
    scene = runtime.observe(frames_of_a_test())
    seconds["observe"] = round(time.monotonic() - began, 3)
    other = runtime.observe(frames_of_a_test(shift=50))
    depth_NHW = scene.geometry.local_points[..., 2].astype(np.float64)
    change = np.abs(depth_NHW - other.geometry.local_points[..., 2])
    other.close()
    began = time.monotonic()
    mark = PixelMark(0, _SIDE // 2, _SIDE // 2, "A")
    answer = runtime.ask(scene, SpatialQuery(_QUESTION, (mark,), max_tokens=_TOKENS))
    seconds["answer"] = round(time.monotonic() - began, 3)
    T = scene.geometry.T_world_cam.astype(np.float64)
    finite = bool(np.isfinite(scene.geometry.world_points).all() and np.isfinite(T).all())
    orthogonal = np.abs(T[:, :3, :3].transpose(0, 2, 1) @ T[:, :3, :3] - np.eye(3)).max()
    found = {
        "finite": finite,
        "depth_quartiles": [_rounded(q) for q in np.quantile(depth_NHW, (0.25, 0.5, 0.75))],
        "depth_change_by_picture": _rounded(float(np.median(change / np.abs(depth_NHW)))),
        "rotation_error": _rounded(float(orthogonal)),
        "pose_of_the_second": [[_rounded(value) for value in row] for row in T[1]],
        "answer": {"status": answer.status.name, "tokens": answer.tokens, "text": answer.text},
    }
    scene.close()
    return found


def _checks(norms: dict[str, dict[str, Any]], outputs: dict[str, Any]) -> dict[str, str]:
    """Name of a check -> "ok", or what is wrong."""
    empty = [name for part in norms.values() for name in part["empty"]]
    median = outputs["depth_quartiles"][1]
    status, tokens = outputs["answer"]["status"], outputs["answer"]["tokens"]
    said = (AnswerStatus.OK.name, AnswerStatus.TRUNCATED.name)
    wrong = {
        "weights": f"never trained: {', '.join(empty)}" if empty else "",
        "geometry is finite": "" if outputs["finite"] else "NaN or infinity",
        "depth is a length": "" if 1e-3 < median < 1e3 else f"its median is {median}",
        "poses are rigid": "" if outputs["rotation_error"] < 1e-2 else "rotations are none",
        "the picture matters": (
            "" if outputs["depth_change_by_picture"] > 1e-6 else "another one has the same depth"
        ),
        "it answers": "" if status in said and tokens else f"{status}, {tokens} tokens",
    }
    return {name: problem or "ok" for name, problem in wrong.items()}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**28 else f"{size / 2**20:.1f} MiB"
