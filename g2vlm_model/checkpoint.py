# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Model folders: strict loading, saving, identity of the weights.

Only safetensors and JSON are read, never a pickle.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .checkpoint_keys import published_names
from .config import EXTRA_FILE, ModelConfig, SpecialIds
from .interface.whole_files import scratch_folder, sync
from .interface.words import plain
from .model import G2VLM
from .model_folder import (
    CONFIG_FILES,
    EMBEDDED_MODELS,
    WEIGHTS_FILE,
    has_file,
    model_name,
    resolve_folder,
    weight_files,
)
from .quantised import QuantisedEmbedding, QuantisedLinear, Rows, quantisable
from .runtimes.machine import give_free_blocks_back
from .safetensors_file import SafetensorsFile, StoredRows, StoredWeight, write_errors
from .tokenizer import Tokenizer

__all__ = [
    "EMBEDDED_MODELS",
    "FLOAT32_PREFIXES",
    "GLOBAL_POINTS",
    "TABLE",
    "assign",
    "calibration_text",
    "drop_global_points",
    "load_model",
    "load_weights",
    "model_id",
    "model_on_meta",
    "own_tokenizer",
    "quantised_bits",
    "resolve_folder",
    "save_model",
    "stored_weights",
    "weight_count",
    "weight_files",
]

# Computed in float32 by the published code under autocast too; 3 M weights of the 2B model.
FLOAT32_PREFIXES = (
    "heads.point_head.",
    "heads.global_head.",
    "heads.confidence_head.",
    "heads.invalid_head.",
    "heads.camera_head.",
)

TABLE = "trunk.embed_tokens.weight"
# What an engine of the geometry does in the place of the model.
CALIBRATION_FILE = "calibration.json"  # how often answers are right: `g2vlm_map.answers`
MAX_CALIBRATION_BYTES = 1 << 18
GLOBAL_POINTS = "heads.global_"  # beginning of the names of what only training computes
_GIVE_BACK_EVERY = 256 << 20  # bytes that were read
GEOMETRIC_MODULES = ("dino", "dino_projection", "heads", "match")


def model_on_meta(config: ModelConfig, special_ids: SpecialIds | None = None) -> G2VLM:
    """Return a model whose weights have shapes but no memory."""
    with torch.device("meta"), _WithoutInitialisation():
        return G2VLM(config, special_ids)


class _WithoutInitialisation(TorchFunctionMode):
    """Leaves out `torch.nn.init`: on the meta device it only imports 70 MB of modules."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def load_model(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    geometric: bool = True,
    global_points: bool = True,
    quantise: str = "",
) -> tuple[G2VLM, Tokenizer]:
    """Load a model folder.

    The tensors are converted on the way; besides the model itself a few megabytes are used.
    In half precision the last linear maps of the geometry heads stay in float32.

    Args:
        folder: Folder, or the name of an embedded model.
        device, dtype: Where the weights go, and as what.
        geometric: Load the encoder, experts and heads of the geometry too; without them the
            model answers on top of the keys and values that an engine computed.
        global_points: Load the decoder of global points, which training alone has a use for.
        quantise: One of `quantised.PRECISIONS`: how the large linear maps keep their weights.

    Returns:
        The model in evaluation mode, and its tokenizer.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A damaged or wrong file; the message names it and says what to do.
    """
    root = resolve_folder(folder)
    config = ModelConfig.from_folder(root)
    files = weight_files(root)
    tokenizer = own_tokenizer(root, config)
    model = model_on_meta(config, tokenizer.special_ids(config.tokens))
    kinds = {"geometric": geometric, "global_points": global_points}
    load_weights(model, files, device, dtype, **kinds, quantise=quantise)
    if not global_points:
        drop_global_points(model)
    if not geometric:
        for name in GEOMETRIC_MODULES:
            setattr(model, name, None)
        for layer in (*model.trunk.layers, model.trunk):
            for name in ("geometric", "geometric_norm"):
                layer._modules.pop(name, None)
    return model.eval(), tokenizer


def own_tokenizer(folder: Path, config: ModelConfig) -> Tokenizer:
    """The tokenizer of a model's folder, whose every token has a row in the model's embedding.

    Raises:
        FileNotFoundError, ValueError: There is none, or it is another model's.
    """
    tokenizer = Tokenizer.from_folder(folder)
    if tokenizer.size > config.text.vocab_size:
        raise ValueError(
            f"{tokenizer.source} has {tokenizer.size} tokens, text_config.json says vocab_size "
            f"{config.text.vocab_size}; the files are of two different models"
        )
    return tokenizer


def drop_global_points(model: G2VLM) -> None:
    """Take out what computes the global points: inference has no use for their time and memory."""
    for name in ("global_decoder", "global_head"):
        model.heads._modules.pop(name, None)


def load_weights(
    model: G2VLM,
    files: Iterable[Path],
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
    *,
    geometric: bool = True,
    global_points: bool = True,
    quantise: str = "",
) -> None:
    """Fill a model from safetensors files that together hold exactly its tensors.

    Args:
        model: On any device, the meta device too; its parameters are replaced.
        files: The weight files.
        device, dtype: Where the weights go, and as what.
        geometric: False leaves the geometric parameters as they are.
        global_points: False leaves those of the global points as they are.
        quantise: As `load_model`; such a model is not trained or saved.

    Raises:
        ValueError: Missing, unexpected, repeated or wrongly shaped tensors, each named.
    """
    bits = quantised_bits(model, quantise)
    with stored_weights(model, files) as stored:
        for one in _giving_back(stored):
            if not geometric and _is_geometric(one.name):
                continue
            if not global_points and one.name.startswith(GLOBAL_POINTS):
                continue
            if one.name in bits:
                _quantise(model, one.name, StoredRows(one, device), bits[one.name], dtype)
                continue
            keep = dtype.itemsize < 4 and one.name.startswith(FLOAT32_PREFIXES)
            assign(model, one.name, one.read(torch.float32 if keep else dtype, device))


def _giving_back(stored: Iterable[StoredWeight]) -> Iterator[StoredWeight]:
    """Weights one by one; what is free between those that stay is given back now and then.

    Else a tenth more is held than is used: small blocks that stay keep apart what was converted.
    """
    read = 0
    for one in stored:
        yield one
        read += one.dtype.itemsize * math.prod(one.shape)
        if read > _GIVE_BACK_EVERY:
            give_free_blocks_back()
            read = 0


@contextmanager
def stored_weights(model: G2VLM, files: Iterable[Path]) -> Iterator[list[StoredWeight]]:
    """The tensors of weight files that together hold exactly a model's parameters.

    Args:
        model: On any device, as it was built.
        files: Open until the block ends.

    Raises:
        ValueError: Missing, unexpected, repeated or wrongly shaped tensors, each named.
    """
    parameters = dict(model.named_parameters())
    ours_of = published_names(parameters)
    with ExitStack() as opened:
        readers = [opened.enter_context(SafetensorsFile(path)) for path in files]
        _check_fit(readers, {name: tuple(parameters[one].shape) for name, one in ours_of.items()})
        yield [
            StoredWeight(ours_of[name], reader, name)
            for reader in readers
            for name in reader.entries
        ]


def quantised_bits(model: G2VLM, precision: str) -> dict[str, int]:
    """Bits of each parameter that a precision quantises, by name; none for ""."""
    if not precision:
        return {}
    bits = {f"{name}.weight": bits for name, _, bits in quantisable(model, precision)}
    if not model.config.reference_features:  # which average rows of the table
        bits[TABLE] = 8
    return bits


def _check_fit(readers: Sequence[SafetensorsFile], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError unless files together hold exactly the tensors of these names and shapes."""
    missing = set(shapes)
    problems: list[str] = []
    for reader in readers:
        for name, entry in reader.entries.items():
            if name not in shapes:
                problems.append(f"unexpected {name} in {reader.path.name}")
            elif name not in missing:
                problems.append(f"repeated {name} in {reader.path.name}")
            elif entry.shape != shapes[name]:
                wanted = list(shapes[name])
                problems.append(f"{name} is {list(entry.shape)}, the configs say {wanted}")
            missing.discard(name)
    problems += [f"missing {name}" for name in sorted(missing)]
    if problems:
        raise ValueError(_describe([reader.path for reader in readers], problems))


def weight_count(folder: str | Path) -> int:
    """How many numbers a model folder's weights are, read off the files' headers.

    Raises:
        OSError, ValueError: As `load_weights`.
    """
    count = 0
    for path in weight_files(resolve_folder(folder)):
        with SafetensorsFile(path) as reader:
            count += sum(math.prod(entry.shape) for entry in reader.entries.values())
    return count


def model_id(folder: str | Path) -> str:
    """Return name and short hash of a model, e.g. "nano@1a2b3c4d".

    The hash covers the configs that are read, each weight file's size and header, and 64 samples
    of 4 KB of its data, so that it takes milliseconds for any size.
    """
    root = resolve_folder(folder)
    digest = hashlib.sha256()
    for name in sorted((*CONFIG_FILES, EXTRA_FILE)):
        if (root / name).is_file():
            digest.update((root / name).read_bytes())
    for path in weight_files(root):
        with SafetensorsFile(path) as reader:
            digest.update(f"{path.name} {reader.size}".encode())
            digest.update(reader.header)
            first = 8 + len(reader.header)
            for sample in range(64):
                begin = first + (reader.size - first) * sample // 64
                digest.update(reader.sample_bytes(begin, min(begin + 4096, reader.size)))
    return f"{plain(model_name(root))}@{digest.hexdigest()[:8]}"


def calibration_text(folder: str | Path) -> str:
    """Text of a model folder's `calibration.json`, "" where it has none.

    Raises:
        ValueError: It is larger than any calibration.
    """
    path = resolve_folder(folder) / CALIBRATION_FILE
    if not has_file(path, "it says how often answers are right"):
        return ""
    if path.stat().st_size > MAX_CALIBRATION_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, expected a few thousand")
    return path.read_text(encoding="utf-8")


def save_model(
    folder: str | Path,
    model: G2VLM,
    tokenizer: Tokenizer | None = None,
    *,
    dtype: torch.dtype | None = None,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write a model folder in the published layout; with the weights, the last file, it is whole.

    Args:
        folder: Created where missing; other files in it stay.
        model: Its config and weights are written.
        tokenizer: Written as tokenizer.json; left out where None.
        dtype: Of the file; the weights' own where None.
        metadata: Strings for the file's header.

    Raises:
        OSError: The disk is full or not writable.
    """
    from safetensors.torch import save_file

    root = Path(os.path.abspath(folder))
    root.parent.mkdir(parents=True, exist_ok=True)
    state = dict(model.named_parameters())
    tensors: dict[str, Tensor] = {}
    for published, ours in published_names(state).items():
        tensors[published] = state[ours].detach().to("cpu", dtype or state[ours].dtype).contiguous()
    with scratch_folder(root) as made:
        model.config.to_folder(made)
        with write_errors(root / WEIGHTS_FILE):
            save_file(tensors, made / WEIGHTS_FILE, metadata={"format": "pt", **(metadata or {})})
        if tokenizer is not None:
            tokenizer.save(made)
        root.mkdir(exist_ok=True)
        for path in sorted(made.iterdir(), key=lambda path: path.name == WEIGHTS_FILE):
            sync(path)
            os.replace(path, root / path.name)
        sync(root)


def _is_geometric(name: str) -> bool:
    parts = name.split(".")
    return parts[0] in GEOMETRIC_MODULES or bool({"geometric", "geometric_norm"} & {*parts[1:]})


def _quantise(model: nn.Module, name: str, weight: Rows, bits: int, dtype: torch.dtype) -> None:
    """Put a quantised map in the place of a linear one; its bias is there already, or comes yet."""
    path = name.removesuffix(".weight")
    made: nn.Module
    if name == TABLE:
        made = QuantisedEmbedding(weight, dtype)
    else:
        linear = model.get_submodule(path)
        assert isinstance(linear, nn.Linear)
        made = QuantisedLinear(weight, bits, dtype, linear.bias)
    owner, _, leaf = path.rpartition(".")
    model.get_submodule(owner)._modules[leaf] = made


def assign(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a parameter; whether it is trained stays as it was."""
    owner_name, _, leaf = name.rpartition(".")
    owner = model.get_submodule(owner_name)
    trained = owner.get_parameter(leaf).requires_grad
    setattr(owner, leaf, nn.Parameter(tensor, requires_grad=trained))


def _describe(paths: list[Path], problems: list[str], shown: int = 12) -> str:
    lines = problems[:shown]
    if len(problems) > shown:
        lines.append(f"and {len(problems) - shown} more")
    files = ", ".join(str(path) for path in paths)
    return f"{files} does not fit its config files:\n  " + "\n  ".join(lines)
