# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Compiled engines in a folder: the window sizes that they serve, and what vouches for them.

`g2vlm export tensorrt` writes such a folder: one engine per graph, and `engines.json`, which says
what they were compiled from, by which TensorRT, for which GPU and window sizes, and how the
golden check on that GPU went. An engine is code bound to all of it: nothing is loaded that the
manifest does not vouch for. No TensorRT.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ...interface import RuntimeLimits, WindowRefusedError
from ..machine import Gpu, TensorRT
from ..store_entry import EngineKey
from ..vouched import FileRecord, ManifestFile, require_own

__all__ = [
    "ENGINES_FILE",
    "PROFILES",
    "EngineFolder",
    "EngineManifest",
    "EngineRecord",
    "EngineRefusedError",
    "Profile",
    "Size",
    "bound_to",
    "default_profile",
    "engine_key",
    "named_profile",
    "parse_size",
]

Size = tuple[int, int, int]  # frames, height, width in pixels of the model's picture


@dataclass(frozen=True)
class Profile:
    """A range of window sizes, ascending in each of their three numbers."""

    minimum: Size
    optimum: Size
    maximum: Size

    def __post_init__(self) -> None:
        sizes = zip(self.minimum, self.optimum, self.maximum, strict=True)
        for what, values in zip(("frames", "height", "width"), sizes, strict=True):
            if not 1 <= values[0] <= values[1] <= values[2]:
                raise ValueError(
                    f"{what} of the profile are {values}, expected smallest <= tuned for <= "
                    "largest, each at least 1"
                )

    @property
    def is_static(self) -> bool:
        """Whether one size is served only."""
        return self.minimum == self.maximum

    @property
    def limits(self) -> RuntimeLimits:
        """The same for a runtime's `info`."""
        (least, *smallest), (most, *largest) = self.minimum, self.maximum
        return RuntimeLimits(most, least, (smallest[0], smallest[1]), (largest[0], largest[1]))

    def covers(self, size: Size) -> bool:
        """Whether windows of this size can be run."""
        ranges = zip(self.minimum, size, self.maximum, strict=True)
        return all(low <= value <= high for low, value, high in ranges)

    def require(self, size: Size) -> None:
        """Raise `WindowRefusedError` where the profile excludes a window's size."""
        if not self.covers(size):
            low = ",".join(str(min(pair)) for pair in zip(size, self.minimum, strict=True))
            high = ",".join(str(max(pair)) for pair in zip(size, self.maximum, strict=True))
            raise WindowRefusedError(
                f"the window is {_shown(size)} (frames x height x width), the engine was built "
                f"for {_shown(self.minimum)} to {_shown(self.maximum)}; use another window, or "
                "build for it: g2vlm export tensorrt --profile custom "
                f"--min {low} --opt {','.join(map(str, size))} --max {high}"
            )

    def __str__(self) -> str:
        return "..".join(_shown(size) for size in (self.minimum, self.optimum, self.maximum))


PROFILES = {  # frames, and height over width, so that they fit every model
    # Cameras are 16:9 to 4:3 (with a rig's 2:1 below); memory is short.
    "jetson": ((1, 4, 8), (1 / 2, 3 / 4, 3 / 4)),
    # Up to the longest window of the published training, up to square pictures. What is longer
    # goes to the runtime that serves beside the engine.
    "desktop": ((1, 8, 24), (1 / 2, 3 / 4, 1.0)),
}


def named_profile(name: str, width: int, patch: int) -> Profile:
    """A profile of `PROFILES` in the sizes of a model.

    Args:
        name: "jetson" or "desktop".
        width, patch: Of the model's picture, and a side of its patches, in pixels.

    Raises:
        ValueError: No such profile.
    """
    if name not in PROFILES:
        raise ValueError(f"profile is {name!r}, expected custom or one of {sorted(PROFILES)}")
    sizes = [
        (frames, max(1, round(width * shape / patch)) * patch, width)
        for frames, shape in zip(*PROFILES[name], strict=True)
    ]
    return Profile(*sizes)


def default_profile() -> str:
    """The profile of the machine that this runs on: a Jetson is the one with an Arm CPU."""
    return "jetson" if platform.machine() == "aarch64" else "desktop"


def parse_size(text: str) -> Size:
    """Read "frames,height,width", three whole numbers from 1, as the command line takes it."""
    match = re.fullmatch(r"\s*([1-9]\d*)\s*,\s*([1-9]\d*)\s*,\s*([1-9]\d*)\s*", text)
    if match is None:
        raise ValueError(f"size is {text!r}, expected frames,height,width such as 4,392,518")
    return int(match[1]), int(match[2]), int(match[3])


def _shown(size: Size) -> str:
    return "x".join(map(str, size))


ENGINES_FILE = "engines.json"
BUILDER = ("builder", "builder_version")
BUILDER_FLAGS = ("no-tf32", "strongly-typed")  # what `g2vlm export tensorrt` asks of the builder
AGAIN = "build it again here with `g2vlm export tensorrt --onnx DIR`"


class EngineRefusedError(ValueError):
    """An engine that is not to be loaded here; the text says why and what to do."""


@dataclass(frozen=True)
class EngineRecord:
    """The engine of one graph.

    Args:
        file: Of the folder.
        sha256, bytes: What the file has to be.
        rung: Of the ladder: which form of the graph was compiled.
        reasons: Why the rungs before it were not taken, one text each.
        check: Report of the golden check.
        layers: Of the network, number by type.
        seconds: That the build took.
    """

    file: str
    sha256: str
    bytes: int
    rung: str
    reasons: tuple[str, ...]
    check: str
    layers: Mapping[str, int]
    seconds: float


@dataclass(frozen=True)
class EngineManifest:
    """What the engines of a folder are.

    Args:
        source: Digest of the export folder that they were compiled from.
        model_id: Of the model.
        builder, builder_version: The TensorRT, as `TensorRT.name` and `.version`.
        gpu, compute_capability, driver: Of the device that they were compiled on; "" each where
            they were compiled ahead.
        targets: GPUs that they were compiled ahead for ("sm86", ...); empty: for `gpu`.
        precision: Of the exported graphs, one of `export_folder.FLOATS`.
        checked: The golden check passed on `gpu`; False: it was not done, and has to be before
            the engines are used.
        profile: Window sizes that are served.
        engines: Graph -> its engine.
    """

    source: str
    model_id: str
    builder: str
    builder_version: str
    gpu: str
    compute_capability: str
    driver: str
    targets: tuple[str, ...]
    precision: str
    checked: bool
    profile: Profile
    engines: Mapping[str, EngineRecord]

    def refusals(self, trt: TensorRT, gpu: Gpu) -> tuple[str, ...]:
        """Why these engines cannot be used with a TensorRT and a GPU; empty where they can."""
        here = bound_to(trt, gpu)
        compared = here if not self.targets else {key: here[key] for key in BUILDER}
        reasons = [
            f"{name}: built with {getattr(self, name)}, here is {value}"
            for name, value in compared.items()
            if getattr(self, name) != value
        ]
        if self.targets and gpu.target not in self.targets:
            reasons.append(
                f"built for {', '.join(self.targets)}, here is {gpu.target} ({gpu.name})"
            )
        return tuple(reasons)

    def write(self, folder: Path) -> None:
        """Write `engines.json`; a reader sees the old one or the new one."""
        ENGINES.write(folder, self)


ENGINES = ManifestFile(ENGINES_FILE, EngineManifest, 1, AGAIN, EngineRefusedError)


class EngineFolder:
    """Engines whose files were compared with their manifest when the folder was opened."""

    def __init__(self, path: Path, manifest: EngineManifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(
        cls, path: str | Path, trt: TensorRT, gpu: Gpu, source: str | None = None
    ) -> EngineFolder:
        """Read the manifest; check every file, the TensorRT, the GPU, and the export's digest.

        Raises:
            FileNotFoundError: No such folder, or no `engines.json` in it.
            PermissionError: Somebody else owns the folder or may write there.
            EngineRefusedError: The manifest does not vouch for the engines here.
        """
        folder = cls.read(path)
        reasons = list(folder.manifest.refusals(trt, gpu))
        if source is not None and folder.manifest.source != source:
            reasons.append(
                f"built from the export {folder.manifest.source[:12]}, the one given is "
                f"{source[:12]}"
            )
        if reasons:
            raise EngineRefusedError(
                f"the engines of {folder.path} are not for this machine: {'; '.join(reasons)}; "
                f"{AGAIN}"
            )
        return folder

    @classmethod
    def read(cls, path: str | Path) -> EngineFolder:
        """Read the manifest and check every file, wherever the engines are to run.

        Raises:
            FileNotFoundError, PermissionError, EngineRefusedError: As `open`.
        """
        root = Path(path)
        if not (root / ENGINES_FILE).is_file():
            raise FileNotFoundError(f"{root} holds no {ENGINES_FILE}; {AGAIN} --out {root}")
        require_own(root)
        manifest = ENGINES.read(root)
        records = manifest.engines.values()
        ENGINES.check(root, {one.file: FileRecord(one.sha256, one.bytes) for one in records})
        return cls(root, manifest)

    def plan(self, graph: str) -> Path:
        """Return the engine of a graph; an `EngineRefusedError` where there is none."""
        if graph not in self.manifest.engines:
            raise EngineRefusedError(
                f"{self.path} has no engine of {graph!r}, it has "
                f"{', '.join(self.manifest.engines)}; export the model with the part that holds "
                f"it, and {AGAIN}"
            )
        return self.path / self.manifest.engines[graph].file

    def mark_checked(self, reports: Mapping[str, str]) -> None:
        """Note the reports of a golden check that passed on this device, by graph."""
        engines = {
            graph: replace(record, check=reports[graph])
            for graph, record in self.manifest.engines.items()
        }
        self.manifest = replace(self.manifest, checked=True, engines=engines)
        self.manifest.write(self.path)


def bound_to(trt: TensorRT, gpu: Gpu) -> dict[str, str]:
    """What engines are bound to beside their source, as `EngineKey` and `EngineManifest` say it."""
    return {
        "builder": trt.name,
        "builder_version": trt.version,
        "gpu": gpu.name,
        "compute_capability": gpu.compute_capability,
        "driver": gpu.driver,
    }


def engine_key(source: str, precision: str, trt: TensorRT, gpu: Gpu, profile: Profile) -> EngineKey:
    """Return the key of engines of an export, compiled on the device that runs them."""
    facts = bound_to(trt, gpu)
    return EngineKey(
        source, precision=precision, profile=str(profile), flags=BUILDER_FLAGS, **facts
    )
