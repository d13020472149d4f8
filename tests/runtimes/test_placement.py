# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The hardware table, with hardware that this machine does not have."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from g2vlm_model.runtimes import load_runtime, machine
from g2vlm_model.runtimes.torch.placement import Hardware, choose_placement
from tests.helpers import REPO
from tests.runtimes.model_folders import small_config, write_model

PLAIN_CPU = Hardware(frozenset({"avx2"}), "old CPU", (), "torch sees no CUDA device")
BF16_CPU = Hardware(frozenset({"avx512_bf16"}), "new CPU", (), "torch sees no CUDA device")


def with_gpu(*capability: int) -> Hardware:
    gpu = ("a GPU", (capability[0], capability[1]))
    return Hardware(frozenset(), "CPU", (gpu, gpu), "")


@pytest.mark.parametrize(
    ("hardware", "device", "precision", "expected"),
    [
        (PLAIN_CPU, "auto", "auto", ("cpu", "fp32")),
        (BF16_CPU, "auto", "auto", ("cpu", "fp32")),
        (BF16_CPU, "cpu", "bf16", ("cpu", "bf16")),
        (with_gpu(9, 0), "auto", "auto", ("cuda:0", "bf16")),
        (with_gpu(8, 0), "cuda:1", "fp16", ("cuda:1", "fp16")),
        (with_gpu(8, 0), "cuda", "fp32", ("cuda:0", "fp32")),
        (with_gpu(7, 5), "auto", "auto", ("cuda:0", "fp16")),
        (with_gpu(6, 1), "auto", "auto", ("cuda:0", "fp32")),
        (with_gpu(9, 0), "cpu", "auto", ("cpu", "fp32")),
    ],
)
def test_the_table(
    hardware: Hardware, device: str, precision: str, expected: tuple[str, str]
) -> None:
    placement = choose_placement(device, precision, hardware)
    assert (str(placement.device), placement.precision) == expected
    assert placement.fallback_reason == ""
    assert {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}[
        placement.precision
    ] is placement.dtype


@pytest.mark.parametrize(
    ("hardware", "device", "precision", "expected", "words"),
    [
        (PLAIN_CPU, "cpu", "bf16", ("cpu", "fp32"), "this CPU only emulates it"),
        (PLAIN_CPU, "auto", "fp16", ("cpu", "fp32"), "'fp16' was asked for"),
        (PLAIN_CPU, "cuda", "auto", ("cpu", "fp32"), "torch sees no CUDA device"),
        (PLAIN_CPU, "cuda", "bf16", ("cpu", "fp32"), "; precision 'bf16'"),
        (with_gpu(7, 5), "cuda", "bf16", ("cuda:0", "fp16"), "compute capability 7.5"),
        (with_gpu(9, 0), "cuda:2", "auto", ("cuda:0", "bf16"), "there are 2 CUDA devices"),
    ],
)
def test_a_fallback_is_never_silent(
    hardware: Hardware,
    device: str,
    precision: str,
    expected: tuple[str, str],
    words: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        placement = choose_placement(device, precision, hardware)
    assert (str(placement.device), placement.precision) == expected
    assert words in placement.fallback_reason
    assert words in caplog.text


@pytest.mark.parametrize(
    ("device", "precision"),
    [("gpu", "auto"), ("cuda:x", "auto"), ("cpu", "int3"), ("cpu", "int8+int4")],
)
def test_nonsense_is_refused(device: str, precision: str) -> None:
    with pytest.raises(ValueError, match="expected auto"):
        choose_placement(device, precision, PLAIN_CPU)


GIB = 2**30


@pytest.mark.parametrize(
    ("hardware", "free_gib", "precision", "expected", "words"),
    [
        (PLAIN_CPU, 24, "auto", "fp32", ""),
        (BF16_CPU, 12, "auto", "bf16", "18.26 GiB in fp32, 12.00 GiB are free; running bf16"),
        (PLAIN_CPU, 12, "auto", "bf16", "which this CPU emulates: slow"),
        (PLAIN_CPU, 12, "bf16", "bf16", "which this CPU emulates: slow"),
        (PLAIN_CPU, 24, "bf16", "fp32", "'bf16' was asked for, but this CPU only emulates it"),
        (PLAIN_CPU, None, "auto", "fp32", ""),
        (with_gpu(9, 0), 11, "auto", "bf16", ""),
        (with_gpu(9, 0), 8, "auto", "int8", "9.13 GiB in bf16, 8.00 GiB are free; running int8"),
        (PLAIN_CPU, 6, "auto", "int8", "18.26 GiB in fp32, 6.00 GiB are free; running int8"),
        (PLAIN_CPU, 24, "int8", "int8", ""),
        (with_gpu(7, 5), 24, "int4+int8", "int4+int8", ""),
    ],
)
def test_a_model_takes_the_first_precision_that_fits(
    hardware: Hardware, free_gib: int | None, precision: str, expected: str, words: str
) -> None:
    free = None if free_gib is None else free_gib * GIB
    full = replace(hardware, cpu_free=free, cuda_free=(free or 0,) * len(hardware.cuda))
    placement = choose_placement("auto", precision, full, weights=4_538_000_000)
    assert placement.precision == expected
    assert words in placement.fallback_reason
    assert bool(words) == bool(placement.fallback_reason)


@pytest.mark.parametrize(
    ("hardware", "precision", "lines"),
    [
        (
            PLAIN_CPU,
            "auto",
            [
                "  fp32: 18.26 GiB, does not fit",
                "  bf16: 9.13 GiB, does not fit (this CPU emulates",
            ],
        ),
        (
            BF16_CPU,
            "fp32",
            [
                "need 18.26 GiB in fp32, 4.00 GiB are free",
                "  bf16: 9.13 GiB",
                "  int4: 3.20 GiB, fits",
            ],
        ),
        (with_gpu(8, 0), "auto", ["  fp16: 9.13 GiB, does not fit"]),
        (with_gpu(6, 1), "auto", ["  fp32: 18.26 GiB, does not fit"]),
    ],
)
def test_a_model_that_does_not_fit_is_refused_with_what_would(
    hardware: Hardware, precision: str, lines: list[str]
) -> None:
    full = replace(hardware, cpu_free=4 * GIB, cuda_free=(4 * GIB,) * len(hardware.cuda))
    with pytest.raises(ValueError, match="the model does not fit") as refused:
        choose_placement("auto", precision, full, weights=4_538_000_000)
    for line in lines:
        assert line in str(refused.value)


def test_a_precision_that_was_asked_for_is_not_made_smaller() -> None:
    full = replace(BF16_CPU, cpu_free=12 * GIB)
    with pytest.raises(
        ValueError, match=r"in fp32, 12\.00 GiB are free\n.*\n.*bf16: 9.* GiB, fits"
    ):
        choose_placement("cpu", "fp32", full, weights=4_538_000_000)


def test_a_containers_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text("MemTotal: 16032000 kB\nMemAvailable: 14032000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    assert machine.free_memory() == 14032000 * 1024
    (tmp_path / "memory.current").write_text("3000\n")
    (tmp_path / "memory.stat").write_text("anon 1000\ninactive_file 500\n")
    for limit, left in (("10000", 7500), ("max", 14032000 * 1024), ("2000", 0)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert machine.free_memory() == left
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "none")
    monkeypatch.setattr(machine, "CGROUP", tmp_path / "none")
    assert machine.free_memory() is None


def test_the_processs_own_limit_counts() -> None:
    program = (
        "import resource; from g2vlm_model.runtimes.machine import free_memory\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, resource.RLIM_INFINITY))\n"
        "before = free_memory(); taken = bytearray(100 << 20)\n"
        "print(before, before - free_memory())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=REPO
    )
    before, taken = map(int, done.stdout.split())
    assert GIB // 2 < before < GIB
    assert 100 << 20 <= taken < 102 << 20


def test_a_folder_is_held_against_the_memory_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_model(tmp_path / "small", small_config())
    monkeypatch.setattr("g2vlm_model.runtimes.torch.placement.free_memory", lambda: 100_000)
    monkeypatch.setattr("g2vlm_model.checkpoint.load_weights", None)
    with pytest.raises(ValueError, match=r"the model does not fit: 0\.00 B weights need"):
        load_runtime("torch", model=folder, device="cpu")


def test_this_machine_has_a_row() -> None:
    placement = choose_placement()
    assert placement.fallback_reason == ""
    assert placement.device.type in placement.description
