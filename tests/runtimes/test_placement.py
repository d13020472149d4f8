# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The hardware table, with hardware that this machine does not have."""

from __future__ import annotations

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
    ("hardware", "device", "words"),
    [
        (PLAIN_CPU, "cuda", "device is 'cuda', but torch sees no CUDA device; choose auto or cpu"),
        (BF16_CPU, "cuda:1", "device is 'cuda:1', but torch sees no CUDA device"),
        (with_gpu(9, 0), "cuda:2", "device is 'cuda:2', but there are 2 CUDA devices"),
    ],
)
def test_a_device_that_is_not_there_is_refused_by_name(
    hardware: Hardware, device: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        choose_placement(device, "auto", hardware)


def test_a_precision_that_is_emulated_is_obeyed_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    placement = choose_placement("cpu", "bf16", PLAIN_CPU)
    assert (placement.precision, placement.dtype) == ("bf16", torch.bfloat16)
    assert placement.description == "cpu (old CPU, emulates bf16: slow)"
    assert placement.fallback_reason == ""  # it is what was asked for
    assert "cpu runs in bf16, which this CPU emulates: slow" in caplog.text
    assert choose_placement("cpu", "bf16", BF16_CPU).description == "cpu (new CPU)"


@pytest.mark.parametrize(
    ("hardware", "device", "precision", "words"),
    [
        (PLAIN_CPU, "auto", "fp16", r"^precision is 'fp16', which this CPU does not compute in; "),
        (BF16_CPU, "cpu", "fp16", r"choose auto, or one of fp32, bf16, int8, int4, int4\+int8$"),
        (with_gpu(7, 5), "cuda", "bf16", r"which a GPU \(compute capability 7\.5\) does not"),
    ],
)
def test_a_precision_that_the_device_lacks_is_refused_by_name(
    hardware: Hardware, device: str, precision: str, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        choose_placement(device, precision, hardware)


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
        (PLAIN_CPU, 12, "bf16", "bf16", ""),
        (PLAIN_CPU, 24, "bf16", "bf16", ""),
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
