# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm export tensorrt --onnx DIR`: engines for this machine's GPU, checked on it."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import re
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from g2vlm_model.config import ModelConfig
from g2vlm_model.interface.command_line import CommandParser, at_least
from g2vlm_model.interface.words import log_plainly, plain_lines
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.machine import (
    FLAVOURS,
    Gpu,
    GpuMissingError,
    TensorRT,
    find_gpu,
    find_tensorrt,
)
from g2vlm_model.runtimes.store import Store
from g2vlm_model.runtimes.store_entry import no_space_explained
from g2vlm_model.runtimes.tensorrt import require_floats
from g2vlm_model.runtimes.tensorrt.engines import (
    ENGINES_FILE,
    PROFILES,
    EngineFolder,
    EngineManifest,
    Profile,
    default_profile,
    engine_key,
    named_profile,
    parse_size,
)

from .apart import CancelledError
from .ladder import LadderExhaustedError
from .progress import reporting
from .tensorrt_api import targets, targets_by_default
from .to_tensorrt import EngineOrder, build_engines, graphs_to_build

__all__ = ["main", "timings_file"]

_LOG = logging.getLogger(__name__)

EPILOG = """profiles (window sizes that the engines serve):
  jetson     1 to 8 frames, pictures from 2:1 to 4:3
  desktop    1 to 24 frames, pictures from 2:1 to square
  custom     --min, --opt, --max; all alike makes the fastest engine, for one size

Without --out the engines go to the cache, where a runtime finds them. Engines are built on the
GPU that runs them; --build-only with tensorrt_rtx compiles for --targets on any machine, and the
golden check is left to the device.
"""
TIMINGS = "timings"  # folder of the store
KEPT_TIMINGS = 4  # files of it
ENGINE_OVER_ONNX = 4  # bytes that a build needs on the disk, for bytes of graphs


def main(argv: Sequence[str]) -> int:
    """Run `g2vlm export tensorrt`; returns 0, 1 where every form is refused, 130 on Ctrl-C."""
    args = _parser().parse_args(argv)
    log_plainly(logging.INFO, "%(message)s")
    source = ExportFolder.open(args.onnx)
    require_floats(source)  # ahead of what depends on the machine
    profile = _profile(args, source)
    trt = _tensorrt(args.flavour)
    gpu, targets = _device(args, trt)
    if gpu is not None and (args.profile or default_profile()) == "jetson":
        _check_memory(source, profile)
    timings = None if gpu is None or trt.compiles_ahead else timings_file(trt, gpu)
    order = EngineOrder(source, profile, trt, gpu, targets, not args.build_only, timings)
    try:
        with _cancelled_by_signals() as cancelled:
            if args.out is None:
                folder = _into_cache(order, args, cancelled)
            else:
                folder = _into_folder(order, args, cancelled)
    except LadderExhaustedError as error:
        print(f"g2vlm export tensorrt: {plain_lines(str(error))}", file=sys.stderr)
        return 1
    except CancelledError as error:
        print(f"g2vlm export tensorrt: {plain_lines(str(error))}", file=sys.stderr)
        return 130
    if args.progress != "json":
        print(_summary(folder.path, folder.manifest))
    return 0


def timings_file(trt: TensorRT, gpu: Gpu) -> Path:
    """File of the store with times of kernels, which hold for one TensorRT, GPU and driver.

    A second profile or another export of the same model is built in a fraction of the time. The
    files of those that were used last are kept.
    """
    folder = Store.open().root / TIMINGS
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = f"{trt.name} {trt.version} {gpu.name} {gpu.compute_capability} {gpu.driver}"
    own = folder / re.sub(r"[^\w.]+", "-", facts)
    others = [path for path in folder.iterdir() if path != own]
    for old in sorted(others, key=lambda path: -path.stat().st_mtime_ns)[KEPT_TIMINGS - 1 :]:
        old.unlink(missing_ok=True)
    return own


def _into_cache(
    order: EngineOrder, args: argparse.Namespace, cancelled: threading.Event
) -> EngineFolder:
    """Build under the lock of the cache, unless it has these engines already."""
    assert order.gpu is not None, order
    manifest = order.source.manifest
    key = engine_key(order.source.digest, manifest.precision, order.trt, order.gpu, order.profile)
    cache = Store.open()
    if args.force:
        cache.set_aside(key, "built again with --force")
    with cache.building(key, needed_bytes=_needed_bytes(order)) as building:
        if building.entry is None:
            _build(order, building.folder, args.progress, cancelled)
            building.commit()
        assert building.entry is not None, key
        folder = building.entry.folder
    return EngineFolder.open(folder, order.trt, order.gpu, order.source.digest)


def _into_folder(
    order: EngineOrder, args: argparse.Namespace, cancelled: threading.Event
) -> EngineFolder:
    """Build into a folder that the user names; its manifest comes last."""
    out: Path = args.out
    if (out / ENGINES_FILE).exists() and not args.force:
        raise FileExistsError(f"{out} holds engines already; give another --out, or --force")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    needed = _needed_bytes(order)
    with no_space_explained(
        out, needed, "free some, or take a larger disk (--out; for the cache G2VLM_CACHE)"
    ):
        _build(order, out, args.progress, cancelled)
    return EngineFolder.read(out)


def _build(order: EngineOrder, out: Path, progress: str, cancelled: threading.Event) -> None:
    with reporting(progress) as report:
        build_engines(order, out, report, cancelled.is_set)


def _needed_bytes(order: EngineOrder) -> int:
    manifest = order.source.manifest
    graphs = [manifest.graphs[name] for name in graphs_to_build(order.source)]
    files = {name for graph in graphs for name in (graph.file, graph.data) if name}
    return int(ENGINE_OVER_ONNX * sum(manifest.files[name].bytes for name in files))


def _tensorrt(flavour: str) -> TensorRT:
    try:
        return find_tensorrt(flavour)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error


def _profile(args: argparse.Namespace, source: ExportFolder) -> Profile:
    """The profile that the words ask for.

    Raises:
        ValueError: They contradict each other or the export.
    """
    sizes = [args.min, args.opt, args.max]
    manifest = source.manifest
    if args.profile == "custom":
        if not all(sizes):
            raise ValueError("--profile custom needs --min, --opt and --max, each N,H,W")
        return Profile(*(parse_size(size) for size in sizes))
    if any(sizes):
        raise ValueError("--min, --opt and --max belong to --profile custom")
    if manifest.static_nhw is not None and args.profile is None:
        frames, height, width = manifest.static_nhw
        return Profile(*[(frames, height, width)] * 3)
    name = args.profile or default_profile()
    return named_profile(name, ModelConfig.from_folder(source.path).dino_width, manifest.patch)


def _check_memory(source: ExportFolder, profile: Profile) -> None:
    """Refuse what the memory that this machine has free cannot build or run.

    Raises:
        ValueError: It does not fit; the text says by how much and what to do.
    """
    if importlib.util.find_spec("torch") is None:
        _LOG.warning("whether the engines fit into the memory is not checked: that needs torch")
        return
    # It counts with torch, which a machine that only builds and runs engines need not have.
    from .devices import find_device
    from .plan import Request, check_fits

    frames, *picture_hw = profile.maximum
    request = Request(
        ModelConfig.from_folder(source.path),
        find_device("here"),
        (picture_hw[0], picture_hw[1]),
        precision=source.manifest.precision,
    )
    try:
        check_fits(request, frames)
    except ValueError as error:
        raise ValueError(f"{error}; --profile custom builds without this check") from None


def _device(args: argparse.Namespace, trt: TensorRT) -> tuple[Gpu | None, tuple[str, ...]]:
    """The GPU that runs the engines, where it is here, and what to compile ahead for.

    Raises:
        ValueError: There is no GPU and none was asked to be compiled for, or targets that this
            TensorRT does not have.
    """
    names = tuple(name for name in args.targets.split(",") if name)
    targets(trt, names)
    if (args.build_only or names) and args.out is None:
        raise ValueError(
            "--build-only and --targets need --out: the cache holds engines of this machine's GPU "
            "that were checked on it"
        )
    if args.build_only and trt.compiles_ahead:
        return None, names or targets_by_default(trt)
    try:
        gpu = find_gpu(args.device)
    except GpuMissingError as error:
        ahead = "add --build-only --out DIR" if trt.compiles_ahead else "use tensorrt_rtx"
        raise ValueError(
            f"{error}. Engines are built and checked on the GPU that runs them: run this command "
            f"there; or, to compile ahead for desktop GPUs, {ahead}"
        ) from error
    if names and gpu.target not in names:
        raise ValueError(
            f"--targets are {', '.join(names)}, the engines are checked on {gpu.name}, which is "
            f"{gpu.target}: add it, or leave the check to the device with --build-only --out DIR"
        )
    return gpu, names


@contextmanager
def _cancelled_by_signals() -> Iterator[threading.Event]:
    """The first SIGINT or SIGTERM asks the build to end cleanly, the second ends the process."""
    cancelled = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()
        print("cancelled: ending at the build's next step (Ctrl-C again: at once)", file=sys.stderr)

    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield cancelled
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _summary(folder: Path, manifest: EngineManifest) -> str:
    where = f"for {', '.join(manifest.targets)}" if manifest.targets else f"on {manifest.gpu}"
    lines = [
        f"{folder}: {manifest.model_id}, {manifest.builder} {manifest.builder_version} {where}",
        f"  windows {manifest.profile} (smallest..tuned for..largest)",
    ]
    for graph, engine in manifest.engines.items():
        lines.append(
            f"  {graph:<12} {engine.bytes / 1e6:8.1f} MB  {engine.rung}, built in "
            f"{engine.seconds:.0f} s; golden check: {engine.check}"
        )
        lines += [f"    refused: {reason}" for reason in engine.reasons]
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = CommandParser(
        prog="g2vlm export tensorrt",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--onnx", type=Path, required=True, metavar="DIR", help="what g2vlm export onnx wrote")
    add("--profile", choices=(*sorted(PROFILES), "custom"), help="default: as this machine is")
    for name in ("min", "opt", "max"):
        add(f"--{name}", metavar="N,H,W", help=f"{name} window of --profile custom")
    add("--out", type=Path, metavar="DIR", help="folder of the engines; default: the cache")
    add("--force", action="store_true", help="build again what is there")
    add("--flavour", choices=("auto", *FLAVOURS), default="auto", help="which TensorRT")
    add("--device", type=at_least(0), default=0, metavar="N", help="which CUDA device")
    add("--targets", default="", help="GPUs to compile ahead for, such as sm86,sm89,sm120")
    add("--build-only", action="store_true", help="leave the golden check to the device")
    add("--progress", choices=("auto", "json"), default="auto",
        help="a bar on a terminal, or one JSON object per line on stdout")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
