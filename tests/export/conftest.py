# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Engines that several tests share, compiled without a GPU by TensorRT-RTX."""

from __future__ import annotations

from pathlib import Path

import pytest
from g2vlm_export.tensorrt_cli import main

from g2vlm_model.runtimes.machine import Gpu, TensorRT, find_tensorrt

from ..made_once import MadeOnce

TARGETS = ("sm89",)  # what an engine takes to compile goes with their number
ALL_TARGETS = ("sm86", "sm89", "sm120")
RTX_4090 = Gpu(0, "NVIDIA GeForce RTX 4090", "8.9", "570.86.15")


@pytest.fixture(scope="session")
def rtx() -> TensorRT:
    pytest.importorskip("tensorrt_rtx", reason="there is no wheel of tensorrt_rtx for this machine")
    return find_tensorrt("tensorrt_rtx")


@pytest.fixture(scope="session")
def static_engines(rtx: TensorRT, static_export: Path, made_once: MadeOnce) -> Path:
    """Engines of `static_export` for several GPUs, built by the command."""

    def build(out: Path) -> None:
        assert main(words(static_export, out, "--targets", ",".join(ALL_TARGETS))) == 0

    return made_once.folder("static-engines", build)


def words(source: Path, out: Path, *more: str) -> list[str]:
    """Arguments of a build ahead of time."""
    given = ["--onnx", str(source), "--out", str(out), "--flavour", "tensorrt_rtx"]
    return [*given, "--build-only", "--targets", ",".join(TARGETS), *more]
