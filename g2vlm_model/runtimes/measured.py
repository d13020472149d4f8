"""How fast runtimes observe on this CPU: measured once, remembered beside the cache of engines."""

from __future__ import annotations

import json
import logging
import math
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..interface import Frame, FrameWindow, SpatialRuntime
from .cache_key import CacheKey
from .cpu import cpu_facts, cpu_threads
from .engine_cache import EngineCache

__all__ = ["Circumstances", "observe_ms", "recall", "remember"]

_LOG = logging.getLogger(__name__)

FOLDER = "measured"
LIBRARIES = ("torch", "onnxruntime", "numpy")
FRAMES = 4
ROUNDS = 5
BUDGET_S = 60.0


@dataclass(frozen=True)
class Circumstances(CacheKey):
    """What a measurement holds for; any change is another measurement.

    Args:
        export: Digest of the export folder, which stands for the model too.
        cpu: As the kernel names it.
        threads: That a graph uses.
        versions: Of the libraries that compute.
    """

    kind: ClassVar[str] = "speed"

    export: str
    cpu: str
    threads: str
    versions: tuple[str, ...]

    @classmethod
    def here(cls, export: str) -> Circumstances:
        """Of this process on this machine."""
        versions = tuple(f"{name} {_version(name)}" for name in LIBRARIES)
        return cls(export, cpu_facts()[0], str(cpu_threads()), versions)


def observe_ms(
    runtimes: Mapping[str, SpatialRuntime],
    size_hw: tuple[int, int],
    between: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Median milliseconds of an observation of each runtime, in turns.

    Each window has new frames, as at the start of a drive. The first observation of each is not
    counted, nor is the time that a runtime which serves a node meanwhile waits for the node's own
    observations; after `BUDGET_S` no further round begins.

    Args:
        runtimes: By name.
        size_hw: Of the camera's pictures.
        between: Called before each observation; what it raises ends the measurement.
    """
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (*size_hw, 3), dtype=np.uint8)
    times: dict[str, list[float]] = {name: [] for name in runtimes}
    started = time.perf_counter()
    for number in range(1 + ROUNDS):
        window = FrameWindow(
            tuple(
                Frame(image, 0, "measured", "measured", f"measured-{number}-{index}")
                for index in range(FRAMES)
            )
        )
        for name, runtime in runtimes.items():
            between()
            begun = time.perf_counter()
            scene = runtime.observe(window)
            spent_ms = (time.perf_counter() - begun) * 1e3
            scene.close()
            times[name].append(spent_ms - scene.latency_ms.get("wait", 0.0))
        if number and time.perf_counter() - started > BUDGET_S:
            break
    return {name: statistics.median(spans[1:]) for name, spans in times.items()}


def recall(cache: EngineCache, circumstances: Circumstances) -> dict[str, float] | None:
    """What was measured; None where nothing was, or the file is damaged (it is measured again)."""
    path = _path(cache, circumstances)
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if circumstances.differences(tree["circumstances"]):
            raise ValueError("it was measured elsewhere")
        found = {str(name): float(spent) for name, spent in tree["observe_ms"].items()}
        if not found or not all(math.isfinite(spent) and spent > 0 for spent in found.values()):
            raise ValueError(f"its times are {found}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _LOG.warning("%s is not used, the speed is measured again: %s", path, error)
        return None
    return found


def remember(
    cache: EngineCache, circumstances: Circumstances, observe_ms: Mapping[str, float]
) -> None:
    """Write what was measured, in one step for all readers."""
    path = _path(cache, circumstances)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    tree = {"circumstances": circumstances.as_json(), "observe_ms": dict(observe_ms)}
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(tree, file, indent=2)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _path(cache: EngineCache, circumstances: Circumstances) -> Path:
    return cache.root / FOLDER / f"{circumstances.digest}.json"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
