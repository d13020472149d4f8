"""Where the weights of a run come from: drawn, read from model folders, or from another run."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from g2vlm_model.checkpoint import model_on_meta, resolve_folder, weight_files
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.safetensors_file import SafetensorsFile
from g2vlm_model.tokenizer import Tokenizer

from .checkpoints import latest_checkpoint, load_into, stored_meta, stored_shapes
from .freeze import STAGES
from .initialise import LAYER_SCALE, initialise, initialise_places
from .tokens import nano_tokenizer

__all__ = ["Start", "load_averaged", "load_parts", "runs_of", "start_model"]

_LOG = logging.getLogger(__name__)
_AVERAGED = "average/model."
# Files of the encoder and of the language model alone lack the prefix of the whole model.
_ALONE = (
    ("visual.", "vit_model."),
    ("model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    ("embeddings.", "dino_model.embeddings."),
    ("encoder.", "dino_model.encoder."),
    ("layernorm.", "dino_model.layernorm."),
)
_SEMANTIC, _GEOMETRIC = ".semantic.", ".geometric."


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Args:
        seed: Of the weights that are drawn.
        folders: Model folders, or folders of a geometric encoder or a language model alone.
        geometry: Run whose averaged weights come last.
        layer_scale: Of the geometric expert and encoder where they are drawn.
        copy_expert: Begin the geometric expert with the semantic one's weights.
    """

    seed: int = 0
    folders: tuple[Path, ...] = ()
    geometry: Path | None = None
    layer_scale: float = LAYER_SCALE
    copy_expert: bool = False

    @property
    def checkpoint(self) -> Path | None:
        """Newest checkpoint of the geometry run.

        Raises:
            FileNotFoundError: It has none.
        """
        if self.geometry is None:
            return None
        newest = latest_checkpoint(self.geometry)
        if newest is None:
            raise FileNotFoundError(f"{self.geometry} holds no checkpoint of a geometry run")
        return newest

    def tokenizer(self, config: ModelConfig) -> Tokenizer:
        """The tokenizer of the first folder that has one; else the embedded model's."""
        for folder in self.folders:
            root = resolve_folder(folder)
            if (root / "tokenizer.json").is_file():
                return Tokenizer.from_folder(root)
        return nano_tokenizer(config.text.vocab_size)


def runs_of(folder: Path) -> dict[str, str]:
    """The runs that a model folder came from: JSON by stage, as `export_model` writes it."""
    kept: dict[str, str] = {}
    for path in weight_files(resolve_folder(folder)):
        with SafetensorsFile(path) as reader:
            kept |= {stage: reader.metadata[stage] for stage in STAGES if stage in reader.metadata}
    return kept


def start_model(
    config: ModelConfig, start: Start, on_meta: bool = False
) -> tuple[G2VLM, Tokenizer]:
    """A model with the weights that a run begins with, and its tokenizer.

    Args:
        config: Of the model.
        start: See there.
        on_meta: Shapes only: another process has the weights.

    Raises:
        FileNotFoundError: A folder or run is missing.
        ValueError: Weights that do not fit.
    """
    tokenizer = start.tokenizer(config)
    ids = tokenizer.special_ids(config.tokens)
    if on_meta:
        return model_on_meta(config, ids), tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(start.seed)
        model = G2VLM(config, ids)
    initialise(model, start.seed, start.layer_scale)
    initialise_places(model, tokenizer, start.seed)
    loaded = [name for folder in start.folders for name in load_parts(model, folder)]
    if start.copy_expert:
        copy_expert(model)
    if start.checkpoint is not None:
        load_averaged(model, start.checkpoint)
    _LOG.info(
        "%d of %d tensors from %s, geometry of %s",
        len(loaded), len(list(model.parameters())), list(map(str, start.folders)), start.geometry,
    )  # fmt: skip
    return model, tokenizer


@torch.no_grad()
def load_parts(model: G2VLM, folder: Path) -> list[str]:
    """Load what a folder holds of a model: all of it, or an encoder or language model alone.

    A language model whose head is tied to its embedding gives the head too.

    Args:
        model: Changed in place.
        folder: Weights in safetensors, in the published layout or that of the parts.

    Returns:
        Names of the parameters that were loaded.

    Raises:
        FileNotFoundError: No weights there.
        ValueError: Nothing that fits, or a tensor of another shape.
    """
    parameters = dict(model.named_parameters())
    ours_of = published_names(parameters)
    loaded, unknown = [], []
    for path in weight_files(resolve_folder(folder)):
        with SafetensorsFile(path) as reader:
            for stored, entry in reader.entries.items():
                ours = ours_of.get(_published(stored, ours_of))
                if ours is None:
                    unknown.append(stored)
                    continue
                if entry.shape != tuple(parameters[ours].shape):
                    raise ValueError(
                        f"{path}: {stored} is {list(entry.shape)}, the config says "
                        f"{list(parameters[ours].shape)}"
                    )
                reader.copy_into(stored, parameters[ours])
                loaded.append(ours)
    if not loaded:
        raise ValueError(f"{folder} holds no tensor of this model, e.g. {unknown[:3]}")
    if "trunk.embed_tokens.weight" in loaded and "trunk.lm_head.weight" not in loaded:
        model.trunk.lm_head.weight.copy_(model.trunk.embed_tokens.weight)
        loaded.append("trunk.lm_head.weight")
    if unknown:
        _LOG.warning("%s: %d tensors have no place, e.g. %s", folder, len(unknown), unknown[:3])
    return loaded


def _published(stored: str, known: dict[str, str]) -> str:
    if stored in known:
        return stored
    for alone, whole in _ALONE:
        if stored.startswith(alone):
            return whole + stored[len(alone) :]
    return stored


@torch.no_grad()
def copy_expert(model: G2VLM) -> None:
    """Give the geometric expert the semantic one's weights, except for its layer scales."""
    parameters = dict(model.named_parameters())
    for name, parameter in parameters.items():
        if name.startswith("trunk.layers.") and _SEMANTIC in name:
            parameters[name.replace(_SEMANTIC, _GEOMETRIC)].copy_(parameter)
    model.trunk.geometric_norm.weight.copy_(model.trunk.semantic_norm.weight)


def load_averaged(model: G2VLM, checkpoint: Path) -> dict[str, Any]:
    """Put the averaged weights of a checkpoint into a model; heads for training only stay out.

    Returns:
        The checkpoint's metadata.

    Raises:
        ValueError: The checkpoint does not fit the model.
    """
    parameters = {_AVERAGED + name: value for name, value in model.named_parameters()}
    stored = stored_shapes(checkpoint)
    names = [name for name in stored if name.startswith(_AVERAGED)]
    for name in names:
        target = parameters.get(name)
        if target is None or tuple(target.shape) != stored[name]:
            raise ValueError(f"{checkpoint}: {name} {stored[name]} does not fit the model")
    load_into(checkpoint, {name: parameters[name].data for name in names})
    return stored_meta(checkpoint)
