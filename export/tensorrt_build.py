# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One ONNX graph to one TensorRT engine: parse, profile, compile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from g2vlm_model.interface.whole_files import whole_file
from g2vlm_model.runtimes.machine import TensorRT, find_tensorrt

from .apart import CancelledError
from .progress import Report, silent
from .tensorrt_api import (
    TensorRTLog,
    allow_decomposed_attention,
    layer_histogram,
    make_log,
    targets,
)
from .tensorrt_progress import PhaseTree, make_monitor

__all__ = ["WORKSPACE", "BuildReport", "GraphBuilder", "Range", "compile_graph"]

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""Smallest, tuned-for and largest shape of an input."""

_LOG = logging.getLogger(__name__)

SHOWN_ERRORS = 5
BEAT_S = 0.5
WORKSPACE = 1 << 30  # bytes that kernels may use while they are tried out, and later while they run


@dataclass(frozen=True)
class BuildReport:
    """What was compiled.

    Args:
        bytes: Of the engine.
        seconds: That it took.
        layers: Of the parsed network, number by type.
        attention_layers: That TensorRT may fuse; in opset 18 it looks for the pattern instead.
    """

    bytes: int
    seconds: float
    layers: Mapping[str, int]
    attention_layers: int


def compile_graph(
    report: Report,
    cancelled: Callable[[], bool],
    flavour: str,
    target_names: tuple[str, ...],
    timings: Path | None,
    onnx: Path,
    ranges: Mapping[str, Range],
    out: Path,
) -> BuildReport:
    """Compile a graph and write the engine; made to be called by `run_apart`.

    Args:
        report, cancelled: As of `GraphBuilder`.
        flavour: `TensorRT.name`.
        target_names, timings: As of `GraphBuilder`.
        onnx, ranges, out: As of `GraphBuilder.build`, and so are the errors.
    """
    builder = GraphBuilder(find_tensorrt(flavour), target_names, timings, report, cancelled)
    return builder.build(onnx, ranges, out)


@dataclass
class GraphBuilder:
    """Compiles graphs with one TensorRT.

    Args:
        trt: The installed TensorRT.
        target_names: GPUs to compile for ahead of time ("sm86", ...); empty for the device that
            is here.
        timings: File in which times of kernels are kept for other graphs; None: they are not.
        report: Told how far the build of a graph is.
        cancelled: Asked after each step of a build.
    """

    trt: TensorRT
    target_names: tuple[str, ...] = ()
    timings: Path | None = None
    report: Report = silent
    cancelled: Callable[[], bool] = lambda: False

    def build(self, onnx: Path, ranges: Mapping[str, Range], out: Path) -> BuildReport:
        """Compile a graph and write the engine.

        Args:
            onnx: The graph; its weights may stand in a file beside it.
            ranges: Of every input that has a free size.
            out: File of the engine.

        Raises:
            ValueError: The graph cannot be read by this TensorRT, the ranges do not fit its
                inputs, or the targets do not exist; the text names nodes and what to do.
            CancelledError: `cancelled` was true.
            RuntimeError: TensorRT could not build; the text holds its errors.
            OSError: The file cannot be written.
        """
        api, log = self.trt.api, make_log(self.trt)
        started = time.monotonic()
        builder = api.Builder(log.sink)
        if builder is None:
            raise RuntimeError(f"{self.trt} has no builder here: {'; '.join(log.errors)}")
        network = self._parse(builder, onnx, log)
        attention = allow_decomposed_attention(self.trt, network)
        config = self._config(builder, network, ranges)
        tree = PhaseTree(self.cancelled)
        monitor = make_monitor(api, tree)  # TensorRT keeps no reference of its own
        if monitor is not None:
            config.progress_monitor = monitor
        plan = _in_thread(
            lambda: builder.build_serialized_network(network, config),
            lambda: self.report(*tree.state()),
        )
        if self.cancelled():
            raise CancelledError(f"the build of {onnx.name} was cancelled")
        if plan is None:
            reasons = "; ".join(log.errors) or "it gave no reason"
            raise RuntimeError(f"{self.trt} could not compile {onnx}: {reasons}")
        if log.errors:
            _LOG.warning("%s on %s: %s", self.trt, onnx.name, "; ".join(log.errors))
        self._keep_timings(config)
        out.write_bytes(memoryview(plan))
        seconds = time.monotonic() - started
        return BuildReport(plan.nbytes, seconds, layer_histogram(network), attention)

    def _parse(self, builder: Any, onnx: Path, log: TensorRTLog) -> Any:
        if not onnx.is_file():
            raise FileNotFoundError(f"no ONNX file {onnx}; make it with g2vlm export onnx")
        api = self.trt.api
        flags = getattr(api.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        network = builder.create_network(0 if flags is None else 1 << int(flags))
        parser = api.OnnxParser(network, log.sink)
        if not parser.parse_from_file(str(onnx)):
            raise ValueError(_parse_problem(self.trt, onnx, parser))
        return network

    def _config(self, builder: Any, network: Any, ranges: Mapping[str, Range]) -> Any:
        api = self.trt.api
        config = builder.create_builder_config()
        config.set_memory_pool_limit(api.MemoryPoolType.WORKSPACE, WORKSPACE)
        flags = api.BuilderFlag
        if hasattr(flags, "TF32"):  # ten bits of mantissa are no fp32
            config.clear_flag(flags.TF32)
        chosen = targets(self.trt, self.target_names)
        if chosen:
            config.num_compute_capabilities = len(chosen)
            for index, target in enumerate(chosen):
                config.set_compute_capability(target, index)
        elif self.timings is not None and not self.trt.compiles_ahead:
            self._take_timings(config)
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            _set_range(profile, tensor.name, tuple(tensor.shape), ranges.get(tensor.name))
        if config.add_optimization_profile(profile) < 0:
            raise ValueError(f"{self.trt} refuses the ranges {dict(ranges)} of the inputs")
        return config

    def _take_timings(self, config: Any) -> None:
        """Start with the times that are known, with none where the file is of no use any more."""
        assert self.timings is not None, "nothing is kept"
        known = self.timings.read_bytes() if self.timings.is_file() else b""
        taken = config.create_timing_cache(known)
        if known and (taken is None or not config.set_timing_cache(taken, False)):
            _LOG.warning("%s is not used: %s does not take it", self.timings, self.trt)
            known = b""
        if not known:
            config.set_timing_cache(config.create_timing_cache(b""), False)

    def _keep_timings(self, config: Any) -> None:
        if self.timings is not None and not self.trt.compiles_ahead:
            timings = config.get_timing_cache()
            if timings is not None:
                with whole_file(self.timings) as partial:
                    partial.write_bytes(memoryview(timings.serialize()))


def _set_range(profile: Any, name: str, shape: tuple[int, ...], wanted: Range | None) -> None:
    """Set what an input may be; -1 in its shape is a free size."""
    if wanted is None:
        if -1 in shape:
            raise ValueError(f"input {name!r} has the shape {shape}, and no range was given for it")
        return
    for size in wanted:
        fits = len(size) == len(shape) and all(
            own in (-1, given) for own, given in zip(shape, size, strict=True)
        )
        if not fits:
            raise ValueError(
                f"input {name!r} has the shape {shape} (-1 is free), the profile asks for {size}; "
                "choose another profile, or export the graph for that size"
            )
    profile.set_shape(name, *wanted)


def _parse_problem(trt: TensorRT, onnx: Path, parser: Any) -> str:
    """What the parser says of which nodes, and which export would be read."""
    problems = []
    for index in range(parser.num_errors):
        error = parser.get_error(index)
        asked = (getattr(error, name, None) for name in ("node_operator", "node_name"))
        node = " ".join(part() for part in asked if part is not None)
        problems.append(f"{node.strip() or 'the file'}: {' '.join(error.desc().split())}")
    more = len(problems) - SHOWN_ERRORS
    return (
        f"{trt} cannot read {onnx}: {'; '.join(problems[:SHOWN_ERRORS]) or 'it gives no reason'}"
        + (f"; and {more} more" if more > 0 else "")
        + ". An opset above 18 needs tensorrt 10.15, 11 or tensorrt_rtx: for older ones export "
        "the model again with g2vlm export onnx --opset 18"
    )


def _in_thread(build: Callable[[], Any], beat: Callable[[], None]) -> Any:
    """Run a build in a thread: TensorRT would keep Ctrl-C from the one that waits.

    Args:
        build: Returns soon after its caller's `cancelled` has become true.
        beat: Called every `BEAT_S` meanwhile, and at the end.
    """
    result: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(build())
        except BaseException as error:  # handed to the caller below
            failure.append(error)

    thread = threading.Thread(target=work, name="tensorrt-build", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(BEAT_S)
        beat()
    if failure:
        raise failure[0]
    return result[0]
