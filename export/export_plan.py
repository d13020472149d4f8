# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What an export takes of memory and disk, before it begins and between its stages.

Weights stay in files: what counts are the libraries, a piece of a tensor, passes of the goldens,
and the graphs without weights.
"""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from g2vlm_model.config import ModelConfig
from g2vlm_model.quantised import PRECISIONS as QUANTISED
from g2vlm_model.runtimes.machine import free_memory

from .footprint import Passes, pass_bytes, weight_bytes
from .goldens import golden_sizes
from .weights import PIECE, SHARED_BYTES

__all__ = ["ExportPlan", "MemoryTakenError", "plan_export"]

MIB = 2**20
# Measured on generated folders of the published widths with one and four layers a stack (7 and 28
# with the decoders of the heads): fp16 815 and 872 MiB, int8 with one 1353; passes, pieces and
# rounded weights are 433, 468 and 997 of that.
LIBRARIES = 370 * MIB  # torch, onnxscript and onnx
LAYER = 3 * MIB  # of a stack, in all graphs: nodes, their shapes and names
SMALL = 300 * MIB  # passes and tensors of a model whose weights fit into its graphs


class MemoryTakenError(OSError):
    """Memory that was free when the export began is not there any more."""


@dataclass(frozen=True)
class ExportPlan:
    """Bytes that an export takes at most.

    Args:
        tensor: A piece of a tensor, as it is read and converted.
        passes: Of the goldens, with what they hold of the weights.
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
        return LIBRARIES + self.graphs + max(self.tensor, self.passes)

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
    tensor = 2 * PIECE * torch.float32.itemsize  # as it is read, and in another order or type
    frames, height, width = golden_sizes(config)[-1]
    taken = pass_bytes(config, (frames,), (height, width), Passes(torch.float32, in_place=True))[
        frames
    ]
    # Rounded weights are held for the goldens; others are read in pieces whenever they are used.
    held = weights if quantise else tensor
    passes = taken.observe + taken.scene + taken.ask + held
    return ExportPlan(tensor, passes, graphs, disk)


def _there(path: Path) -> Path:
    """The folder that is there, of those above a new one."""
    return next(one for one in (path, *path.absolute().parents) if one.is_dir())


def _gib(size: int) -> str:
    return f"{size / 2**30:.2f}"
