# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a step computes, beside what its device could, and takes: utilisation and memory in the log.

The utilisation (MFU of PaLM, Chowdhery et al. 2022, arXiv 2204.02311, appendix B) is the operations
of the model's matrix products and of attention, forward and backward, over what the device's peak
would do in the time of the step, waiting for data included. What is computed a second time to save
memory does not count.
"""

from __future__ import annotations

import resource
from collections.abc import Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

__all__ = ["Operations", "most_memory", "peak_tflops", "recomputing"]

_PEAKS = {  # dense bfloat16 with accumulation in float32, 1e12 operations per second
    "B200": 2250.0,
    "GH200": 989.0,
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100": 989.0,
    "H800": 989.0,
    "A100": 312.0,
    "A800": 312.0,
    "L40S": 362.0,
    "L40": 181.0,
    "L4": 121.0,
    "A40": 150.0,
    "A10G": 70.0,
    "A10": 125.0,
    "RTX 4090": 165.0,
    "RTX 3090": 71.0,
}
_MOST_KINDS = 64  # that are counted; steps of others have no utilisation in the log
_counter: _Counter | None = None  # of the process: the backward pass may have a thread of its own


def _attended(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(q, k, v))


def _attended_back(out: Any, q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    return int(sdpa_backward_flop_count(out, q, k, v))


_ON_CPU = {  # torch's table knows attention on GPUs alone
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attended,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attended_back,
}


class _Counter(FlopCounterMode):
    """Counts operations, and apart from them those that a backward pass does again."""

    def __init__(self) -> None:
        super().__init__(display=False, custom_mapping=_ON_CPU)
        self.again = 0


class Operations:
    """Counts what steps compute, once for each kind of step."""

    def __init__(self) -> None:
        self._known: dict[Hashable, int] = {}

    def of(self, kind: Hashable) -> int | None:
        """Operations of a step of a kind; None while nobody has counted them."""
        return self._known.get(kind)

    @contextmanager
    def counted(self, kind: Hashable) -> Iterator[None]:
        """Count the forward and backward pass inside, where the kind is new; eager, if so."""
        global _counter
        if kind in self._known or len(self._known) >= _MOST_KINDS:
            yield
            return
        # What is compiled shows no operation.
        with torch.compiler.set_stance("force_eager"), _Counter() as counter:
            _counter = counter
            try:
                yield
            finally:
                _counter = None
        self._known[kind] = counter.get_total_flops() - counter.again


def recomputing() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """For `torch.utils.checkpoint`: around a layer's first pass, and around its second one."""
    return nullcontext(), _again()


@contextmanager
def _again() -> Iterator[None]:
    counter = _counter
    before = 0 if counter is None else counter.get_total_flops()
    try:
        yield
    finally:
        if counter is not None:
            counter.again += counter.get_total_flops() - before


def peak_tflops(given: float, device: torch.device, precision: str) -> float:
    """Peak of a device in 1e12 operations per second; 0 where nobody knows it.

    Args:
        given: By the config; 0 looks the device up by its name.
        device: Where steps run.
        precision: Of the config; the peaks that are known are those of bfloat16.
    """
    if given or device.type != "cuda" or precision == "fp32":
        return given
    name = torch.cuda.get_device_name(device)
    return next((peak for part, peak in _PEAKS.items() if part in name), 0.0)


def most_memory(device: torch.device) -> int:
    """Most bytes so far: of tensors on a GPU, of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
