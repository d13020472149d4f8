"""Compiled engines in a folder, and what their manifest vouches for.

`g2vlm export tensorrt` writes such a folder: one engine per graph, and `engines.json`, which says
what they were compiled from, by which TensorRT, for which GPU and window sizes, and how the
golden check on that GPU went. An engine is code bound to all of it: nothing is loaded that the
manifest does not vouch for. No numpy, no TensorRT.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config_fields import from_strict
from .cache_entry import require_own
from .cache_key import EngineKey
from .engine_profile import Profile
from .file_hash import known_sha256
from .nvidia import Gpu, TensorRT

__all__ = [
    "ENGINES_FILE",
    "EngineFolder",
    "EngineManifest",
    "EngineRecord",
    "EngineRefusedError",
    "engine_key",
]

ENGINES_FILE = "engines.json"
FORMAT = 1
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
        precision: Of the exported graphs, "fp32" or "fp16".
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
        compared = [
            ("TensorRT", f"{self.builder} {self.builder_version}", str(trt)),
            *(
                [
                    ("GPU", self.gpu, gpu.name),
                    ("compute capability", self.compute_capability, gpu.compute_capability),
                    ("driver", self.driver, gpu.driver),
                ]
                if not self.targets
                else []
            ),
        ]
        reasons = [
            f"{what}: built with {own}, here is {here}"
            for what, own, here in compared
            if own != here
        ]
        if self.targets and gpu.target not in self.targets:
            reasons.append(
                f"built for {', '.join(self.targets)}, here is {gpu.target} ({gpu.name})"
            )
        return tuple(reasons)

    def write(self, folder: Path) -> None:
        """Write `engines.json`; a reader sees the old one or the new one."""
        new = folder / f".{ENGINES_FILE}"
        with new.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT, **dataclasses.asdict(self)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        new.replace(folder / ENGINES_FILE)


class EngineFolder:
    """Engines whose files were compared with their manifest when it was opened.

    Attributes:
        path: The folder.
        manifest: What the engines are.
    """

    def __init__(self, path: Path, manifest: EngineManifest) -> None:
        self.path = path
        self.manifest = manifest

    @classmethod
    def open(
        cls, path: str | Path, trt: TensorRT, gpu: Gpu, source: str | None = None
    ) -> EngineFolder:
        """Read the manifest; check every file, the TensorRT and the GPU.

        Args:
            path: The folder.
            trt, gpu: What is to run the engines.
            source: Digest of the export folder that they must have been compiled from.

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
        source = root / ENGINES_FILE
        if not source.is_file():
            raise FileNotFoundError(f"{root} holds no {ENGINES_FILE}; {AGAIN} --out {root}")
        require_own(root)
        manifest = _parse(source)
        for graph, record in manifest.engines.items():
            file = root / record.file
            if file.parent != root or not file.is_file():
                raise EngineRefusedError(f"{file}, the engine of {graph}, is missing; {AGAIN}")
            if file.stat().st_size != record.bytes or known_sha256(file) != record.sha256:
                raise EngineRefusedError(
                    f"{file} is not the engine that {ENGINES_FILE} vouches for (its size or "
                    f"SHA-256 differs): it was cut off or changed; {AGAIN}"
                )
        return cls(root, manifest)

    def plan(self, graph: str) -> Path:
        """Return the engine of a graph.

        Raises:
            EngineRefusedError: There is none.
        """
        if graph not in self.manifest.engines:
            raise EngineRefusedError(
                f"{self.path} has no engine of {graph!r}, it has "
                f"{', '.join(self.manifest.engines)}; export the model with the part that holds "
                f"it, and {AGAIN}"
            )
        return self.path / self.manifest.engines[graph].file

    def mark_checked(self, reports: Mapping[str, str]) -> None:
        """Note that the golden check passed on the device that runs the engines.

        Args:
            reports: Of the check, by graph.
        """
        engines = {
            graph: dataclasses.replace(record, check=reports[graph])
            for graph, record in self.manifest.engines.items()
        }
        self.manifest = dataclasses.replace(self.manifest, checked=True, engines=engines)
        self.manifest.write(self.path)


def engine_key(source: str, precision: str, trt: TensorRT, gpu: Gpu, profile: Profile) -> EngineKey:
    """Return the key of engines that are compiled on the device that runs them.

    Args:
        source: `ExportFolder.digest`.
        precision: Of the exported graphs.
        trt, gpu: What compiles and what runs them.
        profile: Window sizes.
    """
    return EngineKey(
        source=source,
        builder=trt.name,
        builder_version=trt.version,
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        precision=precision,
        profile=str(profile),
        flags=BUILDER_FLAGS,
    )


def _parse(path: Path) -> EngineManifest:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        found = tree.pop("format", None)
        if found != FORMAT:
            raise ValueError(f"has format {found!r}, this version reads {FORMAT}")
        profile = from_strict(Profile, tree.pop("profile"), path, prefix="profile.")
        engines = {
            str(graph): _record(record, path, f"engines.{graph}.")
            for graph, record in tree.pop("engines").items()
        }
        given = {"profile": profile, "engines": engines}
        return from_strict(EngineManifest, tree, path, given=given)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EngineRefusedError(f"{path} cannot be read: {error}; {AGAIN}") from error


def _record(tree: dict[str, Any], path: Path, prefix: str) -> EngineRecord:
    layers = {str(kind): int(count) for kind, count in tree.pop("layers").items()}
    return from_strict(EngineRecord, tree, path, prefix=prefix, given={"layers": layers})
