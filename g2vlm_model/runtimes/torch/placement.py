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

A CPU without bf16 instructions emulates them, slower than fp32 and ten times less accurate
than fp16, so bf16 is refused there. Where the machine lacks what was asked for, the nearest
row that exists runs instead, and `Placement.fallback_reason` says why.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass

import torch

from ..machine import cpu_facts

__all__ = ["Hardware", "Placement", "choose_placement"]

_LOG = logging.getLogger(__name__)

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NATIVE_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # "bf16" is Arm's name


@dataclass(frozen=True)
class Hardware:
    """What this machine has.

    Args:
        cpu_flags: Instruction sets as the kernel names them; empty where unknown.
        cpu_name: As the kernel names it.
        cuda: (name, (major, minor) compute capability) of each CUDA device.
        cuda_problem: Why there is no CUDA device; "" where there is one.
    """

    cpu_flags: frozenset[str]
    cpu_name: str
    cuda: tuple[tuple[str, tuple[int, int]], ...]
    cuda_problem: str

    @classmethod
    def probe(cls) -> Hardware:
        """Look at the machine."""
        name, flags = cpu_facts()
        if torch.version.cuda is None:
            return cls(flags, name, (), f"torch {torch.__version__} was built without CUDA")
        if not torch.cuda.is_available():
            return cls(flags, name, (), "torch sees no CUDA device (driver or device missing)")
        devices = (
            (torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index))
            for index in range(torch.cuda.device_count())
        )
        return cls(flags, name, tuple(devices), "")


@dataclass(frozen=True)
class Placement:
    """Where and in what precision a model runs.

    Args:
        device, dtype: For torch.
        precision: The dtype's short name.
        description: For `RuntimeInfo.device`, e.g. "cuda:0 (NVIDIA H200)".
        fallback_reason: Why this is not what was asked for; "" where it is.
    """

    device: torch.device
    dtype: torch.dtype
    precision: str
    description: str
    fallback_reason: str = ""


def choose_placement(
    device: str = "auto", precision: str = "auto", hardware: Hardware | None = None
) -> Placement:
    """The table of this module, applied; logs a warning where it has to fall back.

    Args:
        device: "auto", "cpu", "cuda" or "cuda:N".
        precision: "auto", "fp32", "fp16" or "bf16".
        hardware: This machine where None.

    Raises:
        ValueError: A device or precision that no machine has.
    """
    if precision not in ("auto", *DTYPES):
        raise ValueError(f"precision is {precision!r}, expected auto, {', '.join(DTYPES)}")
    match = re.fullmatch(r"auto|cpu|cuda(?::(\d+))?", device)
    if match is None:
        raise ValueError(f"device is {device!r}, expected auto, cpu, cuda or cuda:N")
    hardware = hardware or Hardware.probe()
    reasons: list[str] = []
    index: int | None = int(match.group(1) or 0)
    if device == "cpu" or (device == "auto" and not hardware.cuda):
        index = None
    elif not hardware.cuda:
        reasons.append(f"device {device!r} was asked for, but {hardware.cuda_problem}")
        index = None
    elif index is not None and index >= len(hardware.cuda):
        reasons.append(
            f"device {device!r} was asked for, but there are {len(hardware.cuda)} CUDA devices"
        )
        index = 0
    row_name, allowed = _row(hardware, index)
    chosen = allowed[0] if precision == "auto" else precision
    if chosen not in allowed:
        reasons.append(
            f"precision {chosen!r} was asked for, but {row_name} only emulates it; "
            f"running {allowed[0]}"
        )
        chosen = allowed[0]
    reason = "; ".join(reasons)
    if reason:
        _LOG.warning("fallback: %s", reason)
    where = torch.device("cpu") if index is None else torch.device("cuda", index)
    name = hardware.cpu_name if index is None else hardware.cuda[index][0]
    return Placement(where, DTYPES[chosen], chosen, f"{where} ({name})", reason)


def _row(hardware: Hardware, cuda_index: int | None) -> tuple[str, tuple[str, ...]]:
    """Row of the table: its name, and its precisions with the one for "auto" first."""
    if cuda_index is None:
        if hardware.cpu_flags & NATIVE_BF16_FLAGS:
            return "this CPU", ("fp32", "bf16")
        return "this CPU", ("fp32",)
    name, capability = hardware.cuda[cuda_index]
    row = f"{name} (compute capability {capability[0]}.{capability[1]})"
    if capability >= (8, 0):
        return row, ("bf16", "fp16", "fp32")
    if capability >= (7, 0):
        return row, ("fp16", "fp32")
    return row, ("fp32",)
