# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads weights into a model, strictly: what is missing or has no place is listed and refused.

A folder holds a whole model, or parts of one under the names that they have alone. A checkpoint
holds the averages of the weights that its stage trained. What a source may lack stands in
`PARTS`, by name and with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.checkpoint import resolve_folder, weight_files
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.model import G2VLM
from g2vlm_model.safetensors_file import SafetensorsFile

from .checkpoints import load_into, stored_meta, stored_shapes

__all__ = ["PARTS", "Part", "grouped", "holds_embedding", "load_averaged", "load_folder"]

AVERAGED, TRAINED = "average/model.", "weights/model."
_EMBEDDING, _HEAD = "trunk.embed_tokens.weight", "trunk.lm_head.weight"

# Files of the encoders and of the language model alone lack the prefix of the whole model.
_ALONE = (
    ("visual.", "vit_model."),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("embeddings.", "dino_model.embeddings."),
    ("encoder.", "dino_model.encoder."),
    ("layernorm.", "dino_model.layernorm."),
)
# Stored by older versions of the published libraries, and no weights: computed from the config.
_NO_WEIGHT = re.compile(r".*rotary_emb\.inv_freq")


@dataclass(frozen=True)
class Part:
    """A part of the model that a folder may hold without the others.

    Args:
        names: Pattern of its parameters.
        lacks: Patterns of parameters that its published files lack, all of one pattern or none,
            and what happens to them.
    """

    names: str
    lacks: Mapping[str, str] = field(default_factory=dict)


PARTS = {
    "geometric encoder": Part(r"dino\..*"),
    "semantic encoder": Part(r"vit\..*"),
    "language model": Part(
        r"trunk\.(?!.*geometric).*",
        {
            r"trunk\.layers\.\d+\.semantic\.[qk]_norm\.weight": "Qwen2-VL has none: start at one",
            r"trunk\.lm_head\.weight": "tied: copied from the embedding",
        },
    ),
}


@torch.no_grad()
def load_folder(model: G2VLM, folder: Path, draw: Collection[str] = ()) -> list[str]:
    """Load what a folder holds of a model: all of it, or whole parts of it.

    Args:
        model: Changed in place, once everything was found to fit.
        folder: Weights in safetensors, in the published layout or that of the parts.
        draw: Beginnings of names that the folder may lack.

    Returns:
        Names of the parameters that were loaded.

    Raises:
        FileNotFoundError: No weights there.
        ValueError: Tensors that are missing, have no place, come twice or have another shape.
    """
    parameters = dict(model.named_parameters())
    ours_of = published_names(parameters)
    with ExitStack() as stack:
        files = [
            stack.enter_context(SafetensorsFile(path))
            for path in weight_files(resolve_folder(folder))
        ]
        whole = any(stored in ours_of for file in files for stored in file.entries)
        found: dict[str, tuple[SafetensorsFile, str]] = {}
        unexpected, wrong = [], []
        for file in files:
            for stored, entry in file.entries.items():
                ours = ours_of.get(stored if whole else _whole_name(stored))
                if ours is None:
                    unexpected.append(stored)
                elif ours in found:
                    wrong.append(f"{stored} comes twice")
                elif entry.shape != tuple(parameters[ours].shape):
                    wrong.append(
                        f"{stored} is {list(entry.shape)}, the config says "
                        f"{list(parameters[ours].shape)}"
                    )
                else:
                    found[ours] = (file, stored)
        unexpected = [stored for stored in unexpected if not _NO_WEIGHT.fullmatch(stored)]
        if not found and not wrong:
            raise ValueError(f"{folder} holds no tensor of this model, but {grouped(unexpected)}")
        missing = _missing(parameters, found, whole) - {
            name for name in parameters if name.startswith(tuple(draw))
        }
        _refuse(str(folder), missing, unexpected, wrong)
        for ours, (file, stored) in found.items():
            file.copy_into(stored, parameters[ours])
    loaded = list(found)
    if not whole and _EMBEDDING in found and _HEAD not in found:
        parameters[_HEAD].copy_(parameters[_EMBEDDING])
        loaded.append(_HEAD)
    return loaded


def holds_embedding(folder: Path) -> bool:
    """Whether the token embedding is among the weights of a folder."""
    published = published_names([_EMBEDDING])
    for path in weight_files(resolve_folder(folder)):
        with SafetensorsFile(path) as file:
            if any(_whole_name(stored) in published for stored in file.entries):
                return True
    return False


def load_averaged(model: G2VLM, checkpoint: Path, expected: Iterable[str]) -> dict[str, Any]:
    """Put the averaged weights of a checkpoint into a model; heads for training only stay out.

    Args:
        model: Changed in place, once everything was found to fit.
        checkpoint: Of a run.
        expected: Names of the parameters that it holds averages of.

    Returns:
        The checkpoint's metadata.

    Raises:
        ValueError: Averages that are missing, have no place or have another shape.
    """
    parameters = dict(model.named_parameters())
    shapes = stored_shapes(checkpoint)
    averaged = any(name.startswith(AVERAGED) for name in shapes)
    prefix = AVERAGED if averaged else TRAINED  # of a run without an average
    stored = {
        name.removeprefix(prefix): shape
        for name, shape in shapes.items()
        if name.startswith(prefix)
    }
    wanted = set(expected)
    wrong = [
        f"{name} is {list(stored[name])}, the config says {list(parameters[name].shape)}"
        for name in sorted(wanted & set(stored))
        if stored[name] != tuple(parameters[name].shape)
    ]
    _refuse(str(checkpoint), wanted - set(stored), set(stored) - wanted, wrong)
    load_into(checkpoint, {prefix + name: parameters[name].data for name in wanted})
    return stored_meta(checkpoint)


def grouped(names: Iterable[str]) -> str:
    """All names in few words: those that differ in the numbers of layers alone are one entry."""
    counts: dict[str, int] = {}
    for name in names:
        alike = re.sub(r"(?<=\.)\d+(?=\.)", "*", name)
        counts[alike] = counts.get(alike, 0) + 1
    entries = (f"{name} ({count})" if "*" in name else name for name, count in counts.items())
    return ", ".join(entries)


def _whole_name(stored: str) -> str:
    """Name in a whole model of a tensor of a part, or of a whole model."""
    for alone, whole in _ALONE:
        if stored.startswith(alone):
            return whole + stored[len(alone) :]
    return stored


def _missing(parameters: Iterable[str], found: Collection[str], whole: bool) -> set[str]:
    """What a folder should hold and does not."""
    absent = {name for name in parameters if name not in found}
    if whole:
        return absent
    missing: set[str] = set()
    for part in PARTS.values():
        mine = {name for name in parameters if re.fullmatch(part.names, name)}
        if mine <= absent:
            continue
        missing |= mine & absent
        for pattern in part.lacks:
            optional = {name for name in mine if re.fullmatch(pattern, name)}
            if optional <= absent:
                missing -= optional
    return missing


def _refuse(
    source: str, missing: Collection[str], unexpected: Collection[str], wrong: Collection[str]
) -> None:
    if not missing and not unexpected and not wrong:
        return
    lines = [f"{source} does not fit the model of the config:"]
    if missing:
        lines.append(f"{len(missing)} tensors missing: {grouped(sorted(missing))}")
    if unexpected:
        lines.append(f"{len(unexpected)} tensors without a place: {grouped(sorted(unexpected))}")
    if wrong:
        lines.append(f"{len(wrong)} tensors wrong: {'; '.join(wrong)}")
    lines.append(
        "give the config that it was made with, or name what shall be drawn in place of missing "
        "tensors: --draw PREFIX"
    )
    raise ValueError("\n  ".join(lines))
