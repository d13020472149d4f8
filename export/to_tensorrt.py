# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An export folder to a folder of TensorRT engines: ranges, ladder, golden check, manifest."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from g2vlm_model.config import RECONSTRUCT
from g2vlm_model.runtimes.export_folder import (
    PREFIX_INPUTS,
    ExportFolder,
    Golden,
    GraphRecord,
    Prefixes,
)
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.machine import Gpu, TensorRT, find_gpu, find_tensorrt
from g2vlm_model.runtimes.tensorrt import require_floats
from g2vlm_model.runtimes.tensorrt.engines import (
    ENGINES_FILE,
    EngineManifest,
    EngineRecord,
    Profile,
    Size,
)
from g2vlm_model.runtimes.vouched import file_sha256

from .apart import run_apart
from .ladder import Climbed, Rung, Verdict, climb, golden_verdict, rungs_of
from .progress import Report, silent
from .tensorrt_build import BuildReport, Range, compile_graph

__all__ = [
    "EngineOrder",
    "Executor",
    "build_engines",
    "check_engine",
    "graphs_to_build",
    "input_ranges",
]

STREAMING = ("encoder", "expert")
WHOLE = "geometry"
SCRATCH = "forms."
NOT_CHECKED = "not done: it is left to the device that runs the engine"


class Executor(Protocol):
    """Runs one compiled graph on the device."""

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        """Inputs by name to outputs by name."""
        ...

    def close(self) -> None:
        """Give the device's memory back."""
        ...


@dataclass(frozen=True)
class EngineOrder:
    """What to build.

    Args:
        source: Exported graphs.
        profile: Window sizes to serve.
        trt: What compiles.
        gpu: The device that runs the engines; None where they are compiled ahead.
        targets: GPUs to compile ahead for ("sm86", ...).
        check: Whether the golden check is done here.
        timings: File in which times of kernels outlive the build; None: only its graphs share them.

    Raises:
        ValueError: Weights of few bits; a profile that does not fit the graphs, or without a golden
            window in it.
    """

    source: ExportFolder
    profile: Profile
    trt: TensorRT
    gpu: Gpu | None
    targets: tuple[str, ...] = ()
    check: bool = True
    timings: Path | None = None

    def __post_init__(self) -> None:
        assert self.gpu is not None or (self.targets and not self.check), self
        require_floats(self.source)
        manifest, profile = self.source.manifest, self.profile
        own = manifest.static_nhw
        if own is not None and not (profile.is_static and profile.minimum == tuple(own)):
            raise ValueError(
                f"{self.source.path} was exported for windows of {_shown(own)} only, the profile "
                f"is {profile}; leave --profile away, or export it without --static"
            )
        for size in (profile.minimum, profile.optimum, profile.maximum):
            if any(side % manifest.patch for side in size[1:]):
                raise ValueError(
                    f"the profile has pictures of {size[1]} x {size[2]}, expected multiples of "
                    f"the model's patch, {manifest.patch}"
                )
        for graph in graphs_to_build(self.source):
            self.goldens(graph)

    def goldens(self, graph: str) -> tuple[Golden, ...]:
        """Golden windows of a graph that the profile covers; at least one."""
        found = self.source.goldens(graph)
        sizes = [_window(golden) for golden in found]
        covered = tuple(
            golden for golden, size in zip(found, sizes, strict=True) if self.profile.covers(size)
        )
        if not covered:
            raise ValueError(
                f"the profile {self.profile} covers none of the golden windows "
                f"{', '.join(_shown(size) for size in sizes)}, so the engine of {graph} could not "
                "be checked: widen it (--min), or export with --static for one size only"
            )
        return covered


def graphs_to_build(source: ExportFolder) -> tuple[str, ...]:
    """Graphs of the geometry: encoder and expert where both are there, else the whole."""
    graphs = source.manifest.graphs
    return STREAMING if all(name in graphs for name in STREAMING) else (WHOLE,)


def input_ranges(
    graph: GraphRecord, profile: Profile, patch: int, prefixes: Prefixes
) -> dict[str, Range]:
    """The shapes of a graph's inputs over a profile and the prompts.

    Raises:
        ValueError: An input that is none of pictures, tokens and prefix.
    """
    sizes = (profile.minimum, profile.optimum, profile.maximum)
    ranges: dict[str, Range] = {}
    for tensor in graph.inputs:
        if tensor.name == "pictures":
            shapes: list[tuple[int, ...]] = [(*size, 3) for size in sizes]
        elif tensor.name == "tokens":
            width = tensor.shape[-1]
            assert isinstance(width, int), tensor
            shapes = [(n, h // patch * (w // patch), width) for n, h, w in sizes]
        elif tensor.name in PREFIX_INPUTS:
            shapes = sorted(one[tensor.name].shape for one in prefixes.values())
            shapes = [shapes[0], prefixes[RECONSTRUCT][tensor.name].shape, shapes[-1]]
        else:
            raise ValueError(
                f"{graph.file} has an input {tensor.name!r}, not known to this version"
            )
        ranges[tensor.name] = (shapes[0], shapes[1], shapes[2])
    return ranges


def build_engines(
    order: EngineOrder,
    out: Path,
    report: Report = silent,
    cancelled: Callable[[], bool] = lambda: False,
    open_engine: Callable[[Path], Executor] | None = None,
) -> EngineManifest:
    """Compile the geometry's graphs, check them, and write engines and manifest.

    The manifest comes last: a folder without it holds no engine for any reader.

    Args:
        order: What to build.
        out: Folder that is there.
        report: Told how far it is.
        cancelled: Asked during the builds.
        open_engine: Loads an engine for the check, in this process; None: on the order's GPU,
            in a process of its own.

    Raises:
        ValueError: A graph that this TensorRT cannot read.
        LadderExhaustedError: No form of a graph can be compiled and passes the golden check.
        CancelledError: `cancelled` was true.
        OSError: The files cannot be written.
    """
    names = graphs_to_build(order.source)
    _clear(out)
    engines: dict[str, EngineRecord] = {}
    scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=out))
    try:
        for index, name in enumerate(names):
            work = _Work(order, scratch, _part_of(report, index, len(names)), cancelled)
            file = out / f"{name}.engine"
            climbed = work.build(name, file, open_engine)
            engines[name] = _record(file, climbed)
    except BaseException:
        for name in names:  # engines that nothing vouches for
            (out / f"{name}.engine").unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    manifest = _manifest(order, engines)
    manifest.write(out)
    report("done", 1.0, 0.0)
    return manifest


def _clear(out: Path) -> None:
    """Remove engines, their manifest, and what a killed build left."""
    (out / ENGINES_FILE).unlink(missing_ok=True)  # first: it vouches for the rest
    for remains in out.glob(f"{SCRATCH}*"):
        shutil.rmtree(remains)
    for name in (*STREAMING, WHOLE):
        (out / f"{name}.engine").unlink(missing_ok=True)


def _manifest(order: EngineOrder, engines: dict[str, EngineRecord]) -> EngineManifest:
    """What was built; an engine for other targets than this machine's GPU names none."""
    gpu = order.gpu if not order.targets else None
    return EngineManifest(
        source=order.source.digest,
        model_id=order.source.manifest.model_id,
        builder=order.trt.name,
        builder_version=order.trt.version,
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        driver=gpu.driver if gpu else "",
        targets=order.targets,
        precision=order.source.manifest.precision,
        checked=order.check,
        profile=order.profile,
        engines=engines,
    )


@dataclass(frozen=True)
class _Work:
    """The build of one graph."""

    order: EngineOrder
    scratch: Path
    report: Report
    cancelled: Callable[[], bool]

    def build(
        self, name: str, file: Path, open_engine: Callable[[Path], Executor] | None
    ) -> Climbed[BuildReport]:
        """Compile a graph, in other forms where the check fails."""
        order, manifest = self.order, self.order.source.manifest
        graph, rungs = order.source.graph(name), rungs_of(manifest.precision)
        prefixes = order.source.prefixes()
        ranges = input_ranges(manifest.graphs[name], order.profile, manifest.patch, prefixes)

        def compile_form(onnx: Path, rung: Rung) -> BuildReport:
            timings = order.timings or self.scratch / "timings"
            return run_apart(
                f"compiling {name} ({rung.name})",
                lambda stage, *rest: self.report(f"{name}, {rung.name}: {stage}", *rest),
                self.cancelled,
                compile_graph,
                *(order.trt.name, order.targets, timings, onnx, ranges, file),
            )

        def check(built: BuildReport) -> Verdict:
            if not order.check:
                return Verdict(True, NOT_CHECKED)
            self.report(f"{name}: golden check", 1.0, None)
            goldens, tolerances = order.goldens(name), manifest.tolerances
            if open_engine is not None:
                with closing(open_engine(file)) as engine:
                    return golden_verdict(engine.run, goldens, tolerances)
            assert order.gpu is not None, order
            what = f"the golden check of {name} on {order.gpu.name}"
            where = (order.trt.name, order.gpu.index)
            return run_apart(
                what, silent, self.cancelled, check_engine, file, *where, goldens, tolerances
            )

        return climb(graph, rungs, self.scratch, compile_form, check)


def check_engine(
    report: Report,
    cancelled: Callable[[], bool],
    plan: Path,
    flavour: str,
    device: int,
    goldens: Sequence[Golden],
    tolerances: Tolerances,
) -> Verdict:
    """Run an engine's golden windows on a GPU; made to be called by `run_apart`."""
    # Loads CUDA's libraries: only where there is something to run.
    from g2vlm_model.runtimes.tensorrt.graph import TensorRTGraph

    graph = TensorRTGraph(plan, find_tensorrt(flavour), find_gpu(device))
    with closing(graph):
        return golden_verdict(graph.run, goldens, tolerances)


def _record(file: Path, climbed: Climbed[BuildReport]) -> EngineRecord:
    return EngineRecord(
        file=file.name,
        sha256=file_sha256(file),
        bytes=climbed.result.bytes,
        rung=climbed.rung.name,
        reasons=climbed.reasons,
        check=climbed.report,
        layers=climbed.result.layers,
        seconds=round(climbed.result.seconds, 1),
    )


def _part_of(report: Report, index: int, count: int) -> Report:
    """Progress of one of several graphs as part of the whole."""

    def part(stage: str, fraction: float, seconds_left: float | None) -> None:
        alone = seconds_left if count == 1 else None  # of the others nothing is known
        report(stage, (index + fraction) / count, alone)

    return part


def _window(golden: Golden) -> Size:
    frames, height, width = golden.inputs["pictures"].shape[:3]
    return frames, height, width


def _shown(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
