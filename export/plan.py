# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a runtime takes on a device, and whether it fits, before anything is built.

Three moments are added up: the node at work, the build of an engine by itself, and the build
while the node serves with another runtime. The model's part comes from its code
(`footprint.py`) and is checked against real processes; what libraries and the system take are
constants below, each with where it comes from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from g2vlm_model.config import ModelConfig
from g2vlm_model.quantised import PRECISIONS as QUANTISED
from g2vlm_model.quantised import cast_at_once
from g2vlm_model.runtimes.scene_runtime import MAX_FRAMES

from .devices import Device
from .footprint import PassBytes, Passes, WeightBytes, pass_bytes, weight_bytes
from .tensorrt_build import WORKSPACE
from .weights import PIECE, SHARED_BYTES

__all__ = ["RUNTIMES", "Request", "WindowPlan", "check_fits", "gib", "plan_windows", "refusal"]

MIB = 2**20
RUNTIMES = ("torch", "onnx", "tensorrt")
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
PRECISIONS = (*DTYPES, *QUANTISED)

# The node with a runtime that takes nothing: 192 MB (docs/performance.md, "The node").
_NODE = 195 * MIB
# Keyframes of the map, at most (`places.max_memory_mb`).
_MAP = 300 * MIB
# Importing torch: 176 MiB more than numpy on a CPU; measured by tests/export/test_plan.py.
_TORCH = 180 * MIB
# ONNX Runtime 1.31.1 on a CPU, measured on graphs of 14 and 348 MiB: a loaded session takes 1.3 to
# 1.8 times its weights (38 MiB, 468 to 631 MiB); its arena grows by doubling, so a pass takes 1.5
# times what is traced and some (8 frames: 53 MiB where 13 are traced, 362 where 246 are).
_SESSION, _SESSION_FIXED = 1.8, 20 * MIB
_GRAPHS = 4  # sessions of an export with answers
_ARENA, _ARENA_FIXED = 1.5, 40 * MIB
# A CUDA context with lazily loaded kernels, 300 to 400 MB (pytorch issues 107667, 109888).
_CUDA = 400 * MIB
# cuBLAS, cuDNN and torch's kernels in the host's memory [estimate].
_TORCH_CUDA = 500 * MIB
# TensorRT and what it loads: "around 600 MiB" (NVIDIA's forum, TensorRT 3; nothing newer found).
_TENSORRT = 600 * MIB
# An engine beside its weights: 22 MB in fp32 and 23 MB in fp16 for a graph of 142 to 283 MB
# (TensorRT-RTX 1.7.1, dynamic profile); 13 MB for nano in fp16.
_ENGINE = 25 * MIB
# "At least two copies of the weights in host memory" while an engine is built (TensorRT's
# manual, "How TensorRT works"), and one on the device to time kernels with.
_HOST_COPIES, _DEVICE_COPIES = 2, 1
# Allocators round up and fragment [estimate]: a share of what a runtime allocates.
_SLACK = 0.05


@dataclass(frozen=True)
class Request:
    """What is planned.

    Args:
        config: Of the model.
        device: Where it runs.
        runtime: One of `RUNTIMES`.
        precision: "fp32", "fp16" (bf16 takes as much), or the bits of the weights.
        picture_hw: Height and width of the model's picture in pixels.
        scenes: Scenes alive at once: those kept for questions, and the one being made.
        headless: No desktop runs.

    Raises:
        ValueError: Unknown runtime or precision.
    """

    config: ModelConfig
    device: Device
    picture_hw: tuple[int, int]
    runtime: str = "tensorrt"
    precision: str = "fp16"
    scenes: int = 4
    headless: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (
            ("runtime", self.runtime, RUNTIMES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected one of {list(known)}")
        if self.runtime == "tensorrt" and self.device.kind == "cpu":
            raise ValueError("runtime 'tensorrt' needs an NVIDIA GPU; plan onnx or torch for a cpu")
        if self.runtime == "tensorrt" and self.quantise:
            raise ValueError(
                f"runtime 'tensorrt' has no {self.precision}, neither with 10.3 nor with 11: it "
                "does not read MatMulNBits; plan fp16, or --runtime torch or onnx"
            )

    @property
    def quantise(self) -> str:
        """The precision where weights have few bits, else ""."""
        return self.precision if self.precision in QUANTISED else ""

    @property
    def on_cpu(self) -> bool:
        """Whether the model runs on the processor; Jetsons have no ONNX Runtime with CUDA."""
        return self.device.kind == "cpu" or (self.runtime == "onnx" and self.device.shared)

    @property
    def dtype(self) -> torch.dtype:
        """Of activations, keys and values, and of weights that have no fewer bits."""
        if self.quantise:
            return torch.float32 if self.on_cpu else torch.float16
        return DTYPES[self.precision]

    @property
    def cast(self) -> int:
        """Bytes that weights of few bits are cast to at once."""
        if not self.quantise:
            return 0
        copies = 1 if self.quantise == "int8" else 3  # of 4 bits: halves, levels, scaled
        at_once = PIECE if self.runtime == "onnx" else cast_at_once(self.on_cpu)
        return copies * self.dtype.itemsize * at_once


@dataclass(frozen=True)
class WindowPlan:
    """Bytes of one size of window, and whether they fit.

    Args:
        frames: Of the window.
        engine: Weights of the geometric path as engine or session; 0 for torch.
        model: Weights that torch holds.
        activations: Of the passes.
        scenes: Keys, values and maps of all scenes alive.
        process: Python, ROS, libraries, CUDA context.
        build: Most that building the engine takes, by itself; 0 where nothing is built.
        build_serving: The same beside a node that serves with torch.
        free: What the device has for all of it.
    """

    frames: int
    engine: int
    model: int
    activations: int
    scenes: int
    process: int
    build: int
    build_serving: int
    free: int

    @property
    def run(self) -> int:
        """Of the node at work."""
        allocated = self.engine + self.model + self.activations + self.scenes
        return self.process + round((1 + _SLACK) * allocated)

    @property
    def fits(self) -> bool:
        """Whether it can be built on the device and run there."""
        return max(self.run, self.build) <= self.free

    @property
    def verdict(self) -> str:
        """In words."""
        if self.run > self.free:
            return "does not fit"
        if self.build > self.free:
            return "cannot be built"
        if self.build_serving > self.free:
            return "build it ahead"
        return "fits"


def plan_windows(request: Request, windows: Sequence[int]) -> tuple[WindowPlan, ...]:
    """Plan windows of several sizes.

    Args:
        request: What is planned.
        windows: Numbers of frames.

    Raises:
        ValueError: A window that no runtime takes.
    """
    if max(windows) > MAX_FRAMES:
        raise ValueError(
            f"a window of {max(windows)} frames is asked for, every runtime takes at most "
            f"{MAX_FRAMES}; plan smaller ones"
        )
    dtype = request.dtype
    weights = weight_bytes(request.config, dtype, request.quantise)

    def traced(passes: Passes) -> dict[int, PassBytes]:
        return pass_bytes(request.config, tuple(windows), request.picture_hw, passes)

    torch_passes = (
        traced(Passes(dtype, in_place=request.on_cpu)) if request.runtime != "onnx" else {}
    )
    if request.runtime == "torch":
        return tuple(_at_work(request, "torch", weights, *item) for item in torch_passes.items())
    # The kernels of ONNX Runtime hold a layer's scores twice, TensorRT's fused ones do not.
    scores = 2 if request.runtime == "onnx" else 0
    plans = []
    for frames, taken in traced(Passes(dtype, scores, engine=True)).items():
        plan = _at_work(request, request.runtime, weights, frames, taken)
        if request.runtime == "tensorrt":
            build = _build_bytes(request.device, weights, taken)
            serving = _at_work(request, "torch", weights, frames, torch_passes[frames])
            plan = dataclasses.replace(plan, build=build, build_serving=build + serving.run)
        plans.append(plan)
    return tuple(plans)


def check_fits(request: Request, frames: int) -> WindowPlan:
    """Refuse what the device cannot hold; for commands that build.

    Args:
        request: What is planned.
        frames: Largest window of the build.

    Returns:
        The plan, where it fits.

    Raises:
        ValueError: It does not fit; the message says by how much and what to do.
    """
    (plan,) = plan_windows(request, (frames,))
    if not plan.fits:
        raise ValueError(refusal(request, plan))
    return plan


def refusal(request: Request, plan: WindowPlan) -> str:
    """Why a plan does not fit, and what to do."""
    doing, needed = ("run", plan.run) if plan.run > plan.free else ("build", plan.build)
    advice = ["fewer frames"] if plan.activations + plan.scenes > plan.engine + plan.model else []
    if request.precision == "fp32" and not request.on_cpu:
        advice.append("--precision fp16")
    if not request.quantise:
        advice.append("--precision int8" + (" --runtime torch" * (request.runtime == "tensorrt")))
    if not request.headless and request.device.desktop:
        advice.append("--headless, without a desktop")
    if doing == "build":
        advice.append("a runtime that needs no build (--runtime torch)")
    advice.append("a smaller model or a larger device")
    return (
        f"a window of {plan.frames} frames takes {gib(needed)} GiB to {doing}, and "
        f"{request.device.name} has {gib(plan.free)} GiB left beside its system; "
        f"try {', '.join(advice)}"
    )


def gib(size: int) -> str:
    """Bytes as GiB with two digits behind the point."""
    return f"{size / 2**30:.2f}"


def _at_work(
    request: Request, runtime: str, weights: WeightBytes, frames: int, taken: PassBytes
) -> WindowPlan:
    """The node with a runtime, nothing being built."""
    shared = request.device.shared
    engine, passes, libraries = 0, taken.observe, 0
    # One file for all graphs, answers among them: no torch, and no second semantic expert.
    mapped = runtime == "onnx" and request.on_cpu and weights.whole > SHARED_BYTES
    if runtime == "tensorrt":
        engine, libraries = weights.graph + _ENGINE, _TENSORRT
    elif runtime == "onnx":
        engine = round(_SESSION * weights.graph) + _SESSION_FIXED
        passes = round(_ARENA * taken.observe) + _ARENA_FIXED
        if mapped:
            engine = weights.whole + _GRAPHS * _SESSION_FIXED
    # A card holds no numpy array, and of the process its context only.
    process = _NODE + _MAP + libraries + (0 if mapped else _TORCH) if shared else 0
    cuda = request.device.kind != "cpu" and not mapped
    if request.device.kind == "jetson" and cuda:
        process += _TORCH_CUDA
    # An engine and a session keep what their passes take; passes of torch and questions take turns.
    active = passes + taken.ask if engine else max(passes, taken.ask)
    return WindowPlan(
        frames=frames,
        engine=engine,
        model=0 if mapped else weights.answering if engine else weights.whole,
        activations=active + request.cast,
        scenes=request.scenes * (taken.scene + (taken.arrays if shared else 0)),
        process=process + (_CUDA if cuda else 0),
        build=0,
        build_serving=0,
        free=request.device.free(request.headless),
    )


def _build_bytes(device: Device, weights: WeightBytes, taken: PassBytes) -> int:
    """A builder's process, engine and network included."""
    copies = _DEVICE_COPIES + (_HOST_COPIES if device.shared else 0)
    process = _CUDA + (_TENSORRT if device.shared else 0)
    return process + copies * weights.graph + taken.observe + WORKSPACE
