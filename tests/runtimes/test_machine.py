# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is found of NVIDIA's software and hardware, and what is said where there is none."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from g2vlm_model.runtimes import machine
from g2vlm_model.runtimes.machine import Gpu, GpuMissingError, TensorRT, find_gpu, find_tensorrt

DESKTOP = (
    "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 01:02:03 UTC 2025\n"
    "GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n"
)
OPEN = (
    "NVRM version: NVIDIA UNIX Open Kernel Module for aarch64  540.4.0  Release Build  (buildbrain)"
    "  Tue Sep 10 12:00:00 UTC 2024\nGCC version:  collect2: error: ld returned 1 exit status\n"
)


@pytest.mark.parametrize(
    ("text", "version"), [(DESKTOP, "570.86.15"), (OPEN, "540.4.0"), ("GCC version: 12.2\n", "")]
)
def test_the_version_of_the_kernel_module(tmp_path: Path, text: str, version: str) -> None:
    file = tmp_path / "version"
    assert machine._kernel_module_version(file) == ""
    file.write_text(text)
    assert machine._kernel_module_version(file) == version


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "CUDA_LIBRARY", "libnothing.so.1")
    find_gpu.cache_clear()
    with pytest.raises(GpuMissingError, match=r"no CUDA driver: libnothing\.so\.1"):
        find_gpu()
    find_gpu.cache_clear()


@pytest.mark.parametrize(
    ("name", "version", "opset"),
    [
        ("tensorrt", "10.3.0", 18),
        ("tensorrt", "10.9.0.34", 18),
        ("tensorrt", "10.15.1.29", 23),
        ("tensorrt", "11.4.1.106", 23),
        ("tensorrt_rtx", "1.7.1.116", 23),
    ],
)
def test_which_opset_a_version_reads(name: str, version: str, opset: int) -> None:
    assert TensorRT(SimpleNamespace(), name, version).opset == opset


def test_auto_takes_the_first_that_can_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.FLAVOURS:
        monkeypatch.setitem(sys.modules, name, None)  # as where it is not installed
    with pytest.raises(ModuleNotFoundError, match=r"no TensorRT.*tensorrt: .*tensorrt_rtx: .*pip"):
        find_tensorrt()
    with pytest.raises(ValueError, match="flavour is 'rtx', expected auto or one of"):
        find_tensorrt("rtx")
    module = ModuleType("tensorrt_rtx")
    module.__version__ = "1.7.1.116"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tensorrt_rtx", module)
    assert str(find_tensorrt()) == "tensorrt_rtx 1.7.1.116"
    with pytest.raises(ModuleNotFoundError):
        find_tensorrt("tensorrt")


def test_a_gpu_is_named_as_compilers_do() -> None:
    assert Gpu(0, "Orin", "8.7", "540.4.0").target == "sm87"
    assert Gpu(0, "RTX 5090", "12.0", "580.1").target == "sm120"
