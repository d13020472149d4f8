# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which device and which precision: one table, and no silent fallback.

| device | what it can do            | precision=auto | also allowed |
|--------|---------------------------|----------------|--------------|
| cuda   | compute capability >= 8.0 | bf16           | fp16, fp32   |
| cuda   | 7.0 to 7.9                | fp16           | fp32         |
| cuda   | below 7.0                 | fp32           |              |
| cpu    | bf16 instructions         | fp32           | bf16         |
| cpu    | none                      | fp32           |              |

Everywhere also int8, int4+int8 and int4: large weights of so many bits (`quantised.py`), the rest
and the activations in fp32 on a CPU, in the first precision of its row on a GPU.

A precision that was asked for runs, or is refused by name: never another one in its place. A CPU
without bf16 instructions emulates them, slower than fp32 and ten times less accurate than fp16;
where it is asked for it runs, and `Placement.description` and the log say that it is emulated. A
device that is named and not there is refused too; "auto" takes what is there.

A model has to fit: what it needs is held against the free memory of the device before a weight is
read. Where the first precision of a row does not fit the next one runs, on a CPU then bf16,
emulated or not, and int8 in the end; where none fits, or not the one that was asked for, the model
is refused with the numbers. Else the kernel would end the process halfway, and who knows whose
besides.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import torch

from ...quantised import PRECISIONS
from ..machine import cpu_facts, free_memory

__all__ = ["DTYPES", "Fits", "Hardware", "Placement", "choose_placement", "nearest"]

_LOG = logging.getLogger(__name__)

_BYTES = {  # of a weight, in the mean over a model of the published size
    "fp32": 4.0,
    "fp16": 2.0,
    "bf16": 2.0,
    "int8": 1.06,
    "int4+int8": 0.85,
    "int4": 0.70,
}
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
# Beside the weights: what loading and a window of few frames take, as a share of them (measured at
# the published size in bf16: 3.7 % while it loads, 3 % for a frame, 3 % for a first question).
_WORK_SHARE = 0.08
NATIVE_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # "bf16" is Arm's name


@dataclass(frozen=True)
class Hardware:
    """What this machine has.

    Args:
        cpu_flags: Instruction sets as the kernel names them; empty where unknown.
        cpu_name: As the kernel names it.
        cuda: (name, (major, minor) compute capability) of each CUDA device.
        cuda_problem: Why there is no CUDA device; "" where there is one.
        cpu_free: Bytes of memory that this process can still take; None where unknown.
        cuda_free: The same of each CUDA device.
    """

    cpu_flags: frozenset[str]
    cpu_name: str
    cuda: tuple[tuple[str, tuple[int, int]], ...]
    cuda_problem: str
    cpu_free: int | None = None
    cuda_free: tuple[int, ...] = ()

    @classmethod
    def probe(cls) -> Hardware:
        """Look at the machine."""
        name, flags = cpu_facts()
        free = free_memory()
        if torch.version.cuda is None:
            return cls(flags, name, (), f"torch {torch.__version__} was built without CUDA", free)
        if not torch.cuda.is_available():
            problem = "torch sees no CUDA device (driver or device missing)"
            return cls(flags, name, (), problem, free)
        indices = range(torch.cuda.device_count())
        devices = (
            (torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index))
            for index in indices
        )
        left = tuple(torch.cuda.mem_get_info(index)[0] for index in indices)
        return cls(flags, name, tuple(devices), "", free, left)

    def missing(self, cuda_index: int) -> str:
        """Why there is no such CUDA device; "" where there is."""
        if cuda_index < len(self.cuda):
            return ""
        count = len(self.cuda)
        there = "there is 1 CUDA device" if count == 1 else f"there are {count} CUDA devices"
        return self.cuda_problem or there

    def free(self, cuda_index: int | None) -> int | None:
        """Bytes that a device has left; None where unknown."""
        if cuda_index is None:
            return self.cpu_free
        return self.cuda_free[cuda_index] if cuda_index < len(self.cuda_free) else None

    def row(self, cuda_index: int | None) -> tuple[str, tuple[str, ...]]:
        """Row of the table: its name, and its precisions with the one for "auto" first."""
        if cuda_index is None:
            if self.cpu_flags & NATIVE_BF16_FLAGS:
                return "this CPU", ("fp32", "bf16")
            return "this CPU", ("fp32",)
        name, capability = self.cuda[cuda_index]
        row = f"{name} (compute capability {capability[0]}.{capability[1]})"
        if capability >= (8, 0):
            return row, ("bf16", "fp16", "fp32")
        if capability >= (7, 0):
            return row, ("fp16", "fp32")
        return row, ("fp32",)


@dataclass(frozen=True)
class Placement:
    """Where and in what precision a model runs.

    Args:
        device, dtype: For torch.
        precision: Short name of the dtype, or of the weights' bits.
        description: For `RuntimeInfo.device`, e.g. "cuda:0 (NVIDIA H200)".
        fallback_reason: Why this is not what was asked for; "" where it is.
    """

    device: torch.device
    dtype: torch.dtype
    precision: str
    description: str
    fallback_reason: str = ""

    @property
    def quantise(self) -> str:
        """The precision where weights are quantised, else ""."""
        return self.precision if self.precision in PRECISIONS else ""


def choose_placement(
    device: str = "auto",
    precision: str = "auto",
    hardware: Hardware | None = None,
    weights: int = 0,
) -> Placement:
    """The table of this module, applied; logs a warning where it has to fall back.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32", "fp16", "bf16", "int8", "int4+int8" or "int4".
        hardware: This machine where None.
        weights: How many the model has; 0: it fits anywhere.

    Raises:
        ValueError: A device or a precision that this machine has not; a model that does not fit.
    """
    if precision not in ("auto", *_BYTES):
        raise ValueError(f"precision is {precision!r}, expected auto, {', '.join(_BYTES)}")
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ValueError(f"device is {device!r}, expected auto, cpu, cuda or cuda:N")
    hardware = hardware or Hardware.probe()
    index: int | None = int(match.group(1) or 0)
    if device == "cpu" or (device == "auto" and not hardware.cuda):
        index = None
    elif missing := hardware.missing(index or 0):
        raise ValueError(f"device is {device!r}, but {missing}; choose auto or cpu")
    row_name, allowed = hardware.row(index)
    fits = Fits(weights, hardware.free(index))
    emulated = ("bf16",) if index is None and "bf16" not in allowed else ()
    chosen, reason = _choose(precision, row_name, allowed, emulated, fits)
    if reason:
        _LOG.warning("fallback: %s", reason)
    where = torch.device("cpu") if index is None else torch.device("cuda", index)
    name = hardware.cpu_name if index is None else hardware.cuda[index][0]
    if chosen in emulated:
        name += f", emulates {chosen}: slow"
        _LOG.warning("%s runs in %s, which %s emulates: slow", where, chosen, row_name)
    dtype = DTYPES[allowed[0] if chosen in PRECISIONS else chosen]
    return Placement(where, dtype, chosen, f"{where} ({name})", reason)


def nearest(device: str) -> str:
    """Where torch works beside something that runs on a GPU: there, else on the CPU.

    Args:
        device: "cuda:N".
    """
    return "cpu" if Hardware.probe().missing(int(device.partition(":")[2] or 0)) else device


@dataclass(frozen=True)
class Fits:
    """Whether so many weights fit into so many free bytes, by precision.

    Args:
        weights: Of the model.
        free: Bytes that the device has left; None where unknown: all fits.
    """

    weights: int
    free: int | None

    def bytes(self, precision: str) -> int:
        """Of the weights, and of the work on them."""
        return round((1 + _WORK_SHARE) * self.weights * _BYTES[precision])

    def __call__(self, precision: str) -> bool:
        """Whether they fit."""
        return self.free is None or self.bytes(precision) <= self.free

    def need(self, precision: str) -> str:
        """What they need, in words."""
        return (
            f"{self.weights / 1e9:.2f} B weights need {_gib(self.bytes(precision))} in {precision}"
        )

    @property
    def has(self) -> str:
        """What there is, in words."""
        return f"{_gib(self.free or 0)} are free"

    def refusal(self, row_name: str, allowed: tuple[str, ...], precision: str) -> str:
        """What does not fit, and a line for each precision that would or would not."""
        lines = [
            f"  {one}: {_gib(self.bytes(one))}, {'fits' if self(one) else 'does not fit'}"
            + (f" ({row_name} emulates it: slow)" if one == "bf16" and one not in allowed else "")
            for one in _BYTES
            if one in (*allowed, *PRECISIONS) or (one == "bf16" and "fp16" not in allowed)
        ]
        return "\n".join([f"the model does not fit: {self.need(precision)}, {self.has}", *lines])


def _choose(
    precision: str, row_name: str, allowed: tuple[str, ...], emulated: tuple[str, ...], fits: Fits
) -> tuple[str, str]:
    """The first precision that fits of those that are meant, and why it is not the first one.

    Args:
        precision: What was asked for.
        row_name, allowed: Of the table.
        emulated: What runs there too, slowly: where it is asked for, or nothing before it fits.
        fits: The model on the device.

    Raises:
        ValueError: The row has no such precision; none of those that are meant fits.
    """
    wanted: tuple[str, ...] = (precision,)
    if precision == "auto":
        wanted = (*allowed, *emulated, "int8")
    elif precision not in (*allowed, *emulated, *PRECISIONS):
        has = ", ".join((*allowed, *emulated, *PRECISIONS))
        raise ValueError(
            f"precision is {precision!r}, which {row_name} does not compute in; choose auto, or "
            f"one of {has}"
        )
    chosen = next((one for one in wanted if fits(one)), None)
    if chosen is None:
        raise ValueError(fits.refusal(row_name, allowed, wanted[0]))
    if chosen == wanted[0]:
        return chosen, ""
    slow = f", which {row_name} emulates: slow" if chosen in emulated else ""
    return chosen, f"{fits.need(wanted[0])}, {fits.has}; running {chosen}{slow}"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f} GiB"
