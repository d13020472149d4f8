# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export onnx --model nano --out DIR`: ONNX graphs with a manifest and golden outputs."""

from __future__ import annotations

import argparse
from pathlib import Path

from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.runtimes.export_folder import PARTS, PRECISIONS, Manifest
from g2vlm_model.runtimes.own_exports import missing_libraries

__all__ = ["main"]

EPILOG = """parts:
  geometry   pictures to points, poses and confidence (always there)
  kv         its keys and values too: a semantic expert can answer on them
  streaming  the same graph in two, so that overlapping windows encode only new pictures
  semantic   the semantic expert, so that a robot without torch answers
"""


def main(argv: list[str]) -> int:
    """Run `g2vlm export onnx`; returns the exit code."""
    args = _parser().parse_args(argv)
    static = None if args.static is None else _static(args.static)
    missing = missing_libraries()
    if missing:
        raise ValueError(f"an export needs more than is here: {missing}")
    # torch takes seconds to import: only once the arguments are understood.
    from .export_onnx import export_onnx
    from .progress import reporting
    from .to_onnx import ExportOptions

    options = ExportOptions(
        precision=args.precision,
        opset=args.opset,
        parts=tuple(part for part in args.parts.split(",") if part),
        in_graph_rotation=args.in_graph_rotation,
        static_nhw=static,
    )
    with reporting(args.progress) as report:
        manifest = export_onnx(args.model, args.out, options, force=args.force, report=report)
    if args.progress != "json":
        print(_summary(args.out, manifest))
    return 0


def _static(text: str) -> tuple[int, int, int]:
    sizes = text.split(",")
    if len(sizes) != 3 or not all(size.strip().isdigit() for size in sizes):
        raise ValueError(f"--static is {text!r}, expected N,H,W such as 4,84,112")
    frames, height, width = (int(size) for size in sizes)
    return frames, height, width


def _summary(out: Path, manifest: Manifest) -> str:
    lines = [f"{out}: {manifest.model_id}, {manifest.precision}, opset {manifest.opset}"]
    for name, graph in manifest.graphs.items():
        size = sum(manifest.files[file].bytes for file in (graph.file, graph.data) if file)
        given = ", ".join(output.name for output in graph.outputs)
        lines.append(f"  {name:<20} {size / 1e6:9.1f} MB  {given}")
    if manifest.largest:
        top = manifest.largest[0]
        lines.append(
            f"largest number of a layer: {top.value:.4g} ({top.layer}); fp16 ends at 65504"
        )
    lines.append(f"check it: g2vlm export check {out}")
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="g2vlm export onnx",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default="nano", help="embedded name, or a model folder")
    parser.add_argument("--out", type=Path, required=True, help="new folder")
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument(
        "--opset", type=int, choices=(18, 23), default=23,
        help="18 for TensorRT before 10.15 (JetPack 6), 23 for everything newer",
    )  # fmt: skip
    parser.add_argument(
        "--parts", default="geometry,kv",
        help=f"some of {','.join(PARTS)}; default geometry,kv",
    )  # fmt: skip
    parser.add_argument(
        "--in-graph-rotation", action="store_true",
        help="orthogonalise the rotations in the graph, for hosts without an SVD",
    )  # fmt: skip
    parser.add_argument("--static", metavar="N,H,W", help="serve this one size only")
    parser.add_argument("--force", action="store_true", help="replace an export that is there")
    parser.add_argument(
        "--progress", choices=("auto", "json"), default="auto",
        help="a bar on a terminal, or one JSON object per line on stdout",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    import sys

    sys.exit(main(sys.argv[1:]))
