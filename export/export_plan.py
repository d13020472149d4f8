# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an export takes of memory and disk, before it begins and between its stages.

Weights stay in files: what counts are the libraries, the largest tensor, the passes of the goldens,
and the graphs without weights.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.config import ModelConfig, SpecialIds
from g2vlm_model.quantised import PRECISIONS as QUANTISED
from g2vlm_model.runtimes.machine import free_memory

from .footprint import Passes, pass_bytes, weight_bytes
from .goldens import golden_sizes
from .weights import SHARED_BYTES

__all__ = ["ExportPlan", "MemoryTakenError", "plan_export"]

MIB = 2**20
LIBRARIES = 500 * MIB  # torch, onnxscript and onnx, with a trace of nano; nothing else is smaller
LAYER = 12 * MIB  # of a stack, in all graphs: nodes, their shapes and names
# Of what is traced of a pass, with the copies of those who look for the largest numbers: measured
# on a generated folder of the published widths with two layers a stack.
PASSES = 2.4
SMALL = 300 * MIB  # passes and tensors of a model whose weights fit into its graphs


class MemoryTakenError(OSError):
    """Memory that was free when the export began is not there any more."""


@dataclass(frozen=True)
class ExportPlan:
    """Bytes that an export takes at most.

    Args:
        tensor: The largest tensor, as it is read and converted.
        passes: Of the goldens.
        graphs: Without weights.
        disk: Of the folder.
    """

    tensor: int
    passes: int
    graphs: int
    disk: int

    @property
    def memory(self) -> int:
        """Of the process at its peak."""
        return LIBRARIES + self.graphs + max(self.tensor, self.passes + self.tensor // 4)

    def require(self, out: Path) -> None:
        """Refuse an export that this machine has no room for.

        Args:
            out: The new folder.

        Raises:
            ValueError: Too little free memory.
            OSError: Too little free disk.
        """
        free, where = free_memory(), _there(out)
        needs = (
            f"the export takes about {_gib(self.memory)} GiB of memory and {_gib(self.disk)} GiB "
            "of disk"
        )
        if free is not None and free < self.memory - LIBRARIES:  # which this process holds by now
            raise ValueError(
                f"{needs}, and {_gib(free)} GiB of memory are free; end other programs, or export "
                "on a machine with more"
            )
        left = shutil.disk_usage(where).free
        if left < self.disk:
            raise OSError(
                errno.ENOSPC,
                f"{needs}, and {_gib(left)} GiB of disk are free; free some, or give --out on "
                "another disk",
                str(where),
            )

    def require_left(self, stage: str) -> None:
        """End an export whose memory another process has taken, before the kernel ends it.

        Args:
            stage: What comes next, in words.

        Raises:
            MemoryTakenError: There is less free than the stage may take.
        """
        free = free_memory()
        needed = max(self.tensor, self.passes)
        if free is not None and free < needed:
            raise MemoryTakenError(
                errno.ENOMEM,
                f"{stage}: {_gib(free)} GiB of memory are left of the {_gib(needed)} that it may "
                "take: another process has taken them since the export began. Nothing was written; "
                "export again when that is done",
            )


def plan_export(config: ModelConfig, precision: str) -> ExportPlan:
    """Plan an export of a model with every part.

    Args:
        config: Of the model.
        precision: One of `export_folder.PRECISIONS`.
    """
    quantise = precision if precision in QUANTISED else ""
    dtype = torch.float16 if precision == "fp16" else torch.float32
    weights = weight_bytes(config, dtype, quantise).whole
    stacks = (config.text, config.vit, config.dino)
    depths = (getattr(one, "num_hidden_layers", getattr(one, "depth", 0)) for one in stacks)
    graphs = LAYER * (sum(depths) + 4 * config.heads.depth)
    disk = round(1.03 * weights) + SMALL  # goldens, tokenizer
    if weights < SHARED_BYTES:
        return ExportPlan(SMALL, SMALL, graphs, 2 * disk)
    model = model_on_meta(config, SpecialIds(0, 1, 2, 3, 4))
    largest = max(parameter.numel() for parameter in model.parameters())
    # As it is read, and a copy in another order or type of a piece.
    tensor = largest * dtype.itemsize + 512 * MIB
    frames, height, width = golden_sizes(config)[-1]
    taken = pass_bytes(config, (frames,), (height, width), Passes(torch.float32))[frames]
    # Rounded weights are held for the goldens; others are read whenever they are used.
    held = weights if quantise else 0
    passes = round(PASSES * (taken.observe + taken.scene + taken.ask)) + held
    return ExportPlan(tensor, passes, graphs, disk)


def _there(path: Path) -> Path:
    """The folder that is there, of those above a new one."""
    return next(one for one in (path, *path.absolute().parents) if one.is_dir())


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"
