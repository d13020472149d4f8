"""Engines that several tests share, compiled without a GPU by TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest
from g2vlm_export.tensorrt_cli import main

from g2vlm_model.runtimes.nvidia import Gpu, TensorRT, find_tensorrt

from ..exports import Exports

TARGETS = ("sm86", "sm89", "sm120")
RTX_4090 = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", "570.86.15")


@pytest.fixture(scope="session")
def rtx() -> TensorRT:
    pytest.importorskip("tensorrt_rtx", reason="there is no wheel of tensorrt_rtx for this machine")
    return find_tensorrt("tensorrt_rtx")


@pytest.fixture(scope="session")
def static_export(exports: Exports) -> Path:
    """One small size only, float32 at opset 18, rotations in the graph."""
    return exports.tiny(static_nhw=(2, 42, 56), in_graph_rotation=True, opset=18)


@pytest.fixture(scope="session")
def static_engines(
    rtx: TensorRT, static_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Engines of `static_export`, built by the command."""
    out = tmp_path_factory.mktemp("engines") / "static"
    assert main(words(static_export, out)) == 0
    return out


def words(source: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a build ahead of time."""
    given = ["--onnx", str(source), "--out", str(out), "--flavour", "tensorrt_rtx"]
    return [*given, "--build-only", "--targets", ",".join(TARGETS), *more]
