# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""torch or ONNX Runtime on this CPU: the faster one, measured once and remembered. A `Maker`.

One observation at a time, in turns, and nothing else is served while it runs: both are measured
alike, whatever a node is doing meanwhile. A verdict holds for an export, a CPU, its threads and
the versions of the libraries; a change of any of them is measured anew. Without an export torch
serves while one is made.
"""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..config import ModelConfig
from ..interface import Frame, FrameWindow, SpatialRuntime
from ..interface.documents import parse_json
from ..interface.whole_files import write_text
from .export_folder import ExportFolder
from .machine import cpu_facts, cpu_threads, package_version
from .onnx import own_export
from .own_exports import OwnExport
from .request import RuntimeRequest
from .serving import BuildContext, close_all
from .store import Store
from .store_entry import StoreKey

__all__ = ["Circumstances", "build", "meanwhile", "observe_ms", "ready", "recall", "remember"]

_LOG = logging.getLogger(__name__)

FOLDER = "measured"
LIBRARIES = ("torch", "onnxruntime", "numpy")
ASPECT = 3 / 4  # height over width of the pictures that are measured with
FRAMES = 4
ROUNDS = 5
BUDGET_S = 60.0

Alone = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True)
class Circumstances(StoreKey):
    """What a measurement holds for; any change is another measurement.

    Args:
        export: Digest of the export folder, which stands for the model too.
        cpu, cores, threads: Its name, and the numbers that this process and a graph may use.
        versions: Of the libraries that compute.
    """

    kind: ClassVar[str] = "speed"

    export: str
    cpu: str
    cores: str
    threads: str
    versions: tuple[str, ...]

    @classmethod
    def here(cls, export: str) -> Circumstances:
        """Of this process on this machine."""
        versions = tuple(f"{name} {package_version(name)}" for name in LIBRARIES)
        cores = str(len(os.sched_getaffinity(0)))
        return cls(export, cpu_facts()[0], cores, str(cpu_threads()), versions)


def ready(request: RuntimeRequest) -> SpatialRuntime | None:
    """Load the faster one where there is an export to compare with."""
    store = Store.open()
    folder = request.given_export() or _own(request).find(store)
    return None if folder is None else _faster(store, folder, request)


def meanwhile(request: RuntimeRequest) -> SpatialRuntime:
    """Torch on the CPU."""
    from .torch import meanwhile as by_torch

    return by_torch(RuntimeRequest(request.model, "cpu", prompt_mode=request.prompt_mode))


def build(context: BuildContext, request: RuntimeRequest) -> SpatialRuntime | None:
    """Export, measure, and take over where ONNX Runtime is faster."""
    store = Store.open()
    folder = _own(request).make(context, store)
    context.stage("measuring")
    best = _faster(store, folder, request, context.serving, context.alone)
    return None if best is context.serving else best


def observe_ms(
    runtimes: Mapping[str, SpatialRuntime],
    size_hw: tuple[int, int],
    alone: Alone = nullcontext,
) -> dict[str, float]:
    """Median milliseconds of an observation of each runtime by its name, in turns.

    Each window has new frames, as at the start of a drive. The first observation of each is not
    counted; after `BUDGET_S` no further round begins.

    Args:
        runtimes: By name.
        size_hw: Height and width of the camera's pictures in pixels.
        alone: Entered around each observation: nothing else runs there. Its errors pass.
    """
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    started = time.perf_counter()
    for number in range(1 + ROUNDS):
        keys = [f"measured-{number}-{index}" for index in range(FRAMES)]
        window = FrameWindow(tuple(Frame(image, 0, "measured", "measured", key) for key in keys))
        for name, runtime in runtimes.items():
            with alone():
                begun = time.perf_counter()
                scene = runtime.observe(window)
                times[name].append((time.perf_counter() - begun) * 1e3)
            scene.close()
        if number and time.perf_counter() - started > BUDGET_S:
            break
    return {name: statistics.median(spans[1:]) for name, spans in times.items()}


def recall(store: Store, circumstances: Circumstances) -> dict[str, float] | None:
    """What was measured; None where nothing was, or the file is damaged (it is measured again)."""
    path = _path(store, circumstances)
    try:
        tree = parse_json(path.read_bytes())
        if circumstances.differences(tree["circumstances"]):
            raise ValueError("it was measured elsewhere")
        found = {str(name): float(spent) for name, spent in tree["observe_ms"].items()}
        if set(found) != {"torch", "onnx"} or not all(
            math.isfinite(spent) and spent > 0 for spent in found.values()
        ):
            raise ValueError(f"its times are {found}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("%s is not used, the speed is measured again: %s", path, error)
        return None
    return found


def remember(store: Store, circumstances: Circumstances, observe_ms: Mapping[str, float]) -> None:
    """Write what was measured, in one step for all readers."""
    path = _path(store, circumstances)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    tree = {"circumstances": circumstances.as_json(), "observe_ms": dict(observe_ms)}
    write_text(path, json.dumps(tree, indent=1))


def _faster(
    store: Store,
    folder: ExportFolder,
    request: RuntimeRequest,
    serving: SpatialRuntime | None = None,
    alone: Alone = nullcontext,
) -> SpatialRuntime:
    """The faster of both, as remembered, or measured now; the other one is closed.

    `serving` is torch where it is loaded already; it is never closed here.
    """
    circumstances = Circumstances.here(folder.digest)
    known = recall(store, circumstances)
    loaded: dict[str, SpatialRuntime] = {} if serving is None else {"torch": serving}
    if known is None:
        try:
            for name in ("torch", "onnx"):
                if name not in loaded:
                    loaded[name] = _load(name, folder, request)
            width = ModelConfig.from_folder(folder.path).dino_width
            known = observe_ms(loaded, (round(width * ASPECT), width), alone)
        except BaseException:
            close_all(*(one for one in loaded.values() if one is not serving))
            raise
        try:
            remember(store, circumstances, known)
        except OSError as error:  # a full or read-only disk: measured again the next time
            _LOG.warning("how fast the runtimes are is not remembered: %s", error)
    best = min(known, key=known.__getitem__)
    spoken = ", ".join(f"{name} {spent:.0f} ms" for name, spent in known.items())
    _LOG.info("an observation takes: %s; %s serves", spoken, best)
    chosen = loaded.pop(best, None)
    close_all(*(one for one in loaded.values() if one is not serving))
    return chosen or _load(best, folder, request)


def _load(name: str, folder: ExportFolder, request: RuntimeRequest) -> SpatialRuntime:
    if name == "torch":
        return meanwhile(request)
    from .onnx.runtime import open_runtime

    return open_runtime(folder, request.model, "cpu", request.prompt_mode)


def _own(request: RuntimeRequest) -> OwnExport:
    return own_export(replace(request, device="cpu", precision="fp32"))


def _path(store: Store, circumstances: Circumstances) -> Path:
    return store.root / FOLDER / f"{circumstances.digest}.json"
