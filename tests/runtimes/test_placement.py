# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The hardware table, with hardware that this machine does not have."""

from __future__ import annotations

import logging

import pytest
import torch

from g2vlm_model.runtimes.torch.placement import Hardware, choose_placement

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
    ("device", "precision"), [("gpu", "auto"), ("cuda:x", "auto"), ("cpu", "int3")]
)
def test_nonsense_is_refused(device: str, precision: str) -> None:
    with pytest.raises(ValueError, match="expected auto"):
        choose_placement(device, precision, PLAIN_CPU)


def test_this_machine_has_a_row() -> None:
    placement = choose_placement()
    assert placement.fallback_reason == ""
    assert placement.device.type in placement.description
