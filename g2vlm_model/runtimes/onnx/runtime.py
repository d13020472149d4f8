"""A loaded export: answered by its own graphs, or by torch where it has no semantic part."""

from __future__ import annotations

from pathlib import Path

from ...interface import RuntimeInfo, SpatialRuntime
from ..automatic import other_model
from ..exported import ExportFolder
from ..gate import DeviceGate
from ..geometry_engine import GeometryEngine
from ..scene_runtime import MAX_FRAMES, SceneRuntime
from .executor import OnnxExecutor
from .geometry import open_geometry
from .providers import Provider
from .sessions import Session

__all__ = ["OnnxRuntime", "open_runtime"]


class OnnxRuntime(SceneRuntime):
    """A `SpatialRuntime` without torch; thread-safe.

    Args:
        folder: With the part "semantic".
        engine: Computes the geometry; its arrays are numpy's. Closed with the runtime.
        provider: Runs the semantic graphs.
        threads: Of the CPU; 0 is `cpu.cpu_threads`.
        max_frames: Longest window that is accepted.

    Raises:
        ValueError: The folder has no part "semantic", or its files do not fit each other.
        RuntimeError: A graph cannot be loaded.
    """

    def __init__(
        self,
        folder: ExportFolder,
        engine: GeometryEngine,
        provider: Provider,
        threads: int = 0,
        max_frames: int = MAX_FRAMES,
    ) -> None:
        def opened(name: str) -> Session:
            return Session(folder.graph(name), provider, threads)

        def load(gate: DeviceGate) -> tuple[OnnxExecutor, RuntimeInfo]:
            facts = engine.facts
            info = RuntimeInfo(
                runtime=facts.runtime,
                device=facts.device,
                precision=facts.precision,
                model_id=folder.manifest.model_id,
                parameters=facts.parameters,
                fallback_reason=facts.fallback_reason,
            )
            return OnnxExecutor(folder, engine, opened, gate), info

        super().__init__(load, engine.facts.device, max_frames=max_frames)


def open_runtime(
    folder: ExportFolder, model: str | Path, device: str = "auto", max_frames: int = MAX_FRAMES
) -> SpatialRuntime:
    """Load an export folder.

    Args:
        folder: With the part "semantic" for answers without torch, else with "kv".
        model: Answers with torch where the folder has no part "semantic".
        device: See `providers`.
        max_frames: Longest window that is accepted.

    Raises:
        ValueError: An unknown device, or files that do not fit each other.
        ProviderError: The device was asked for by name and does not run.
        RuntimeError: A graph cannot be loaded.
    """
    semantic = "semantic" in folder.manifest.parts
    engine, provider = open_geometry(folder, device, on_device=not semantic)
    try:
        if semantic:
            return OnnxRuntime(folder, engine, provider, max_frames=max_frames)
        return _answered_by_torch(folder, engine, provider, model, max_frames)
    except BaseException:
        engine.close()
        raise


def _answered_by_torch(
    folder: ExportFolder,
    engine: GeometryEngine,
    provider: Provider,
    model: str | Path,
    max_frames: int,
) -> SpatialRuntime:
    from ..torch.placement import choose_placement
    from ..torch.runtime import TorchRuntime

    if "kv" not in folder.manifest.parts:
        raise ValueError(
            f"{folder.path} holds the parts {', '.join(folder.manifest.parts)}, but questions "
            "stand behind keys and values; export with --parts geometry,kv"
        )
    if other := other_model(folder, model):
        raise ValueError(f"torch is to answer here: {other}")
    placement = choose_placement(provider.torch_device)
    return TorchRuntime(model, placement, max_frames=max_frames, geometry=engine)
