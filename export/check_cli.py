# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Check exports: torch against every form of them, on four sizes and on pictures of a folder."""

from __future__ import annotations

import argparse
import json
import platform
import resource
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from g2vlm_model.checkpoint import EMBEDDED_MODELS, model_id, resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.whole_files import write_text
from g2vlm_model.interface.words import plain
from g2vlm_model.preprocess import geometric_size
from g2vlm_model.runtimes.export_folder import MANIFEST, ExportFolder
from g2vlm_model.runtimes.machine import give_free_blocks_back

from .answers_parity import check_answers
from .forms import onnx_forms, onnx_graphs, provider_of, tensorrt_forms
from .parity import Report, Row, check_cases, check_goldens
from .pictures import Case, Picture, load_pictures, random_cases, window_cases
from .progress import Stages, reporting
from .torch_says import TorchSays, beside_fp32, key, quantised_as

__all__ = ["main"]

ANSWERED = 3  # windows that questions are asked about
ASKING = 3.0  # times what observing a window takes
PACKAGES = ("torch", "onnx", "onnxruntime", "tensorrt", "tensorrt_rtx", "numpy")


def main(argv: Sequence[str]) -> int:
    """Run `g2vlm export check`; returns 0 where everything is within its tolerance, else 1."""
    arguments = _parser().parse_args(argv)
    exports = {name: ExportFolder.open(name) for name in _found(arguments.folders)}
    model = _model_of(exports, arguments.model)
    pictures = _pictures(arguments)
    config = ModelConfig.from_folder(model)
    works = [_Work.of(name, one, config, pictures, arguments) for name, one in exports.items()]
    rows: list[Row] = []
    facts: dict[str, Any] = {}
    with reporting(arguments.progress) as told:
        progress = Stages(told, _shares(works))
        # torch first, and then given up for the graphs: both would take the memory of two models.
        said = _torch_says(model, works, progress.begin)
        memory = {"torch": _most_resident()}
        for work in works:
            for row in _check(work, model, said, arguments.device, facts, progress.begin):
                rows.append(row)
                if not row.error.passed:
                    print(plain(f"{row.form}, {row.case}: {row.error}"), file=sys.stderr)
        progress.end()
    memory["all"] = _most_resident()
    report = Report(tuple(rows))
    _print_table(report.table())
    print(f"{len(rows)} outputs compared, {len(report.failures)} beyond their tolerance")
    for name, fact in facts.items():
        if fact["beside_fp32"]:
            print(plain(f"{name}: {fact['precision']} beside fp32: {_said(fact['beside_fp32'])}"))
    if arguments.json is not None:
        _write(arguments.json, report, model, {"exports": facts, "peak_rss_bytes": memory})
    return 0 if report.passed else 1


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog="g2vlm export check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="DIR", help="export folders, or folders of them"
    )
    parser.add_argument("--model", help="embedded name or model folder (default: the exports')")
    parser.add_argument("--pictures", type=Path, help="folder with pictures in the order of names")
    parser.add_argument("--frames", type=int, default=4, help="pictures of a window")
    parser.add_argument(
        "--windows", type=at_least(1), default=5, help="windows of the folder's pictures"
    )
    parser.add_argument("--step", type=at_least(1), default=1, help="take every step-th picture")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, tensorrt, rtx, with :N or not")
    parser.add_argument(
        "--progress", choices=("auto", "json"), default="auto",
        help="a bar on a terminal, or one JSON object per line on stdout",
    )  # fmt: skip
    parser.add_argument("--json", type=Path, help="write every number to this file")
    return parser


def _found(folders: Sequence[Path]) -> list[Path]:
    """The export folders among the arguments: themselves, or what lies in them."""
    found = []
    for folder in folders:
        inner = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))
        found += inner if inner and not (folder / MANIFEST).is_file() else [folder]
    return found


def _model_of(exports: dict[Path, ExportFolder], asked: str | None) -> Path:
    """The model folder that all exports were made from.

    Raises:
        ValueError: It cannot be found, or an export is of another model.
    """
    identities = {folder.manifest.model_id for folder in exports.values()}
    if asked is None:
        embedded = {model_id(name): name for name in EMBEDDED_MODELS}
        known = [embedded[one] for one in identities if one in embedded]
        if len(identities) != 1 or not known:
            raise ValueError(
                f"the exports are of {', '.join(sorted(identities))}; say with --model which "
                "folder to compare with"
            )
        asked = known[0]
    wanted = model_id(asked)
    for name, folder in exports.items():
        if folder.manifest.model_id != wanted:
            raise ValueError(
                f"{name} is an export of {folder.manifest.model_id}, --model {asked} is {wanted}; "
                "give the model that was exported, or export this one"
            )
    return resolve_folder(asked)


def _pictures(arguments: argparse.Namespace) -> list[Picture]:
    """Pictures of the folder, or none."""
    for name in ("frames", "windows", "step"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} is {getattr(arguments, name)}, expected at least 1")
    if arguments.pictures is None:
        return []
    count = arguments.frames * arguments.windows
    return load_pictures(arguments.pictures, count, arguments.step)


@dataclass(frozen=True)
class _Work:
    """One export, and the windows that it is checked on.

    Args:
        name, folder: Of the export.
        cases: Windows.
        asked: Those that questions are asked about.
    """

    name: str
    folder: ExportFolder
    cases: tuple[Case, ...]
    asked: tuple[Case, ...]

    @classmethod
    def of(
        cls,
        name: Path,
        folder: ExportFolder,
        config: ModelConfig,
        pictures: list[Picture],
        arguments: argparse.Namespace,
    ) -> _Work:
        """Choose the windows."""
        static = folder.manifest.static_nhw
        cases = random_cases(config, static)
        cases += window_cases(config, pictures, arguments.frames, static)
        asked: list[Case] = []
        if "kv" in folder.manifest.parts and _own_size(config, static):
            asked = [case for case in cases if len(case.pictures_NHW3) > 1][-ANSWERED:]
        return cls(str(name), folder, tuple(cases), tuple(asked))

    @property
    def beside(self) -> tuple[str, ...]:
        """Kinds of torch's weights that it is compared with, the export's own first."""
        return tuple(dict.fromkeys((quantised_as(self.folder.manifest.precision), "")))


def _torch_windows(works: Sequence[_Work]) -> dict[str, tuple[list[Case], list[Case]]]:
    """Windows, and those to ask about, by kind of torch's weights, each once."""
    found: dict[str, tuple[dict[object, Case], dict[object, Case]]] = {}
    for work in works:
        for kind in work.beside:
            windows, asked = found.setdefault(kind, ({}, {}))
            windows |= {key(case): case for case in work.cases}
            asked |= {key(case): case for case in work.asked}
    return {kind: (list(w.values()), list(a.values())) for kind, (w, a) in found.items()}


def _torch_says(
    model: Path, works: Sequence[_Work], begin: Callable[[str], None]
) -> dict[str, TorchSays]:
    """What torch says, by kind of its weights; one model after the other, none stays."""
    said = {}
    for kind, (cases, asked) in _torch_windows(works).items():
        said[kind] = TorchSays.of(model, kind, cases, asked, partial(_begin_torch, begin, kind))
        give_free_blocks_back()
    return said


def _begin_torch(begin: Callable[[str], None], kind: str, window: str) -> None:
    begin(f"torch {kind or 'fp32'}: {window}")


def _shares(works: Sequence[_Work]) -> dict[str, float]:
    """Stages of the check with their expected shares: pixels of their windows."""
    shares: dict[str, float] = {}
    for kind, (cases, asked) in _torch_windows(works).items():
        shares |= {f"torch {kind or 'fp32'}: {case.name}": _size(case) for case in cases}
        shares |= {
            f"torch {kind or 'fp32'}: answers, {case.name}": ASKING * _size(case) for case in asked
        }
    for work in works:
        shares |= {f"{work.name}: {case.name}": 2 * _size(case) for case in work.cases}
        if work.asked:
            shares[f"{work.name}: answers"] = ASKING * sum(map(_size, work.asked))
    return shares


def _size(case: Case) -> float:
    return float(case.pictures_NHW3.size)


def _check(
    work: _Work,
    model: Path,
    said: Mapping[str, TorchSays],
    device: str,
    facts: dict[str, Any],
    begin: Callable[[str], None],
) -> Iterator[Row]:
    """Yield the rows of one export; say in `facts` what ran."""
    folder, provider = work.folder, provider_of(device)
    own, whole = said[work.beside[0]], said[""]
    begun: set[str] = set()

    def truth(case: Case, prompt: str) -> Mapping[str, NDArray[Any]]:
        if case.name not in begun:  # every form of a window counts as one
            begun.add(case.name)
            begin(f"{work.name}: {case.name}")
        return own.geometry(case, prompt)

    with onnx_forms(folder, provider) as in_onnx, tensorrt_forms(folder) as (compiled, reason):
        forms = [*in_onnx, *compiled]
        facts[work.name] = {
            "digest": folder.digest,
            "precision": folder.manifest.precision,
            "opset": folder.manifest.opset,
            "parts": folder.manifest.parts,
            "forms": {form.name: form.facts for form in forms},
            "without_tensorrt": reason,
            "beside_fp32": beside_fp32(own, whole, work.cases, work.asked),
        }
        rows = list(check_cases(work.name, forms, truth, work.cases))
    rows += check_goldens(work.name, folder, onnx_graphs(folder, provider))
    yield from rows
    # A runtime refuses an export that is wrong.
    if work.asked and all(row.error.passed for row in rows):
        begin(f"{work.name}: answers")
        yield from check_answers(work.name, folder, model, work.asked, device, own.said)


def _most_resident() -> int:
    """Bytes that this process held in memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _own_size(config: ModelConfig, static_nhw: tuple[int, ...] | None) -> bool:
    """Whether runtimes, which choose the size of the model's pictures, can run an export."""
    if static_nhw is None:
        return True
    _, height, width = static_nhw
    return geometric_size(config, height, width) == (height, width)


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Print rows as a Markdown table; the first row is the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("| " + " | ".join(cells) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _said(beside: Mapping[str, float]) -> str:
    """What the rounding of the weights changes, in words."""
    return f"depth {beside['depth']:.2%}, rotation {beside['rotation_deg']:.3f} deg (medians)" + (
        f", {beside['tokens']:.0%} of the answers' first tokens" if "tokens" in beside else ""
    )


def _write(path: Path, report: Report, model: Path, facts: dict[str, Any]) -> None:
    tree = {
        "model": model_id(model),
        "machine": {"system": platform.platform(), "processor": platform.processor()},
        "versions": {name: _version(name) for name in PACKAGES},
        **facts,
        **report.as_json(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(tree, indent=2) + "\n")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
