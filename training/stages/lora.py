# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Low-rank adapters (`peft`) on the linear maps of a model, and their way back into its weights.

A run trains adapters beside frozen weights. At the end they are added to the weights and
removed, so that what is saved has the architecture, the names and the code of the model that
the run began with.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from g2vlm_model.model import G2VLM

from ..config import TrainConfig
from ..gasp.gasp_heads import LanguageLayer, language_layers
from ..gasp.gasp_options import LoraOptions
from ..run.checkpoints import stored_meta
from ..run.precision import BLOCKS
from ..run.start import Base
from ..run.weights import load_averaged

__all__ = ["Adapters", "adapt_stage", "attach_lora", "load_adapted", "put_adapters"]

_ADAPTER = "default"
_ENCODERS = ("vit.", "model.visual.", "visual.")
_HEADS = ("heads.", "match.")


class Adapters:
    """The adapters of a model.

    Args:
        model: The model, whose adapted maps have been replaced in place.
        tuner: Of `peft`.
    """

    def __init__(self, model: nn.Module, tuner: Any) -> None:
        self.model = model
        self._tuner = tuner

    def merge(self) -> None:
        """Add the adapters to the weights and put the plain maps back in their places.

        Raises:
            ValueError: An adapter holds numbers that are not finite; nothing is changed.
        """
        for name, parameter in self.model.named_parameters():
            if "lora_" in name and not bool(parameter.isfinite().all()):
                raise ValueError(f"{name} holds numbers that are not finite; train again")
        self._tuner.merge_and_unload()


def attach_lora(
    model: nn.Module, options: LoraOptions, layers: Sequence[LanguageLayer]
) -> Adapters:
    """Freeze a model and put adapters on the linear maps of its layers.

    Args:
        model: Changed in place; what it computes stays the same until a step is taken. Adapters
            are fp32 whatever the model is: small steps would be rounded away in bfloat16.
        options: Rank and so on.
        layers: Whose maps.

    Raises:
        ValueError: `peft` is not installed.
    """
    names = [
        f"{layer.name}.{inner}"
        for layer in layers
        for inner, part in layer.adapted.named_modules()
        if isinstance(part, nn.Linear)
    ]
    if options.encoder:
        names += [
            name
            for name, part in model.named_modules()
            if isinstance(part, nn.Linear) and name.startswith(_ENCODERS)
        ]
    return _attached(model, options, names)


def put_adapters(model: nn.Module, config: TrainConfig) -> Adapters | None:
    """The adapters of a run, in the stage gasp or where the config asks for them; else None.

    Of what its stage trains, the linear maps of transformer layers get adapters, the heads outside
    of them learn as they are, and all else is frozen.

    Args:
        model: Frozen as the stage says (`freeze.apply_freezing`); changed in place.
        config: Of the run.

    Raises:
        ValueError: `peft` is not installed.
    """
    if config.stage == "gasp":
        return adapt_stage(model, config.lora, config.gasp.geometric_tokens)
    if not config.adapters:
        return None
    layers = [name for name, part in model.named_modules() if isinstance(part, BLOCKS)]
    inside = tuple(f"{name}." for name in layers)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    maps = [
        name.removesuffix(".weight")
        for name in trained
        if name.startswith(inside) and isinstance(_owner(model, name), nn.Linear)
        if name.endswith(".weight")
    ]
    heads = [n for n in trained if n.startswith(_HEADS) and not n.startswith(inside)]
    adapters = _attached(model, config.lora, maps)
    for name in heads:
        model.get_parameter(name).requires_grad_(True)
    return adapters


def _owner(model: nn.Module, parameter: str) -> nn.Module:
    return model.get_submodule(parameter.rpartition(".")[0])


def _attached(model: nn.Module, options: LoraOptions, names: Sequence[str]) -> Adapters:
    """Freeze a model and put adapters on linear maps."""
    peft = _peft()
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.rank,
        target_modules=list(names),
    )
    model.requires_grad_(False)
    tuner = peft.LoraModel(model, config, _ADAPTER)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data = parameter.data.float()
    return Adapters(model, tuner)


def adapt_stage(model: nn.Module, options: LoraOptions, geometric_tokens: bool = False) -> Adapters:
    """The adapters of the stage `gasp`: on every layer, whichever layers have heads.

    Args:
        model: See `attach_lora`.
        options: See there.
        geometric_tokens: Adapt the geometric expert too.
    """
    layers = language_layers(model)
    if geometric_tokens:
        layers = [*layers, *language_layers(model, "geometric")]
    return attach_lora(model, options, layers)


def load_adapted(
    model: G2VLM,
    checkpoint: Path,
    options: LoraOptions,
    base: Base,
    geometric_tokens: bool = False,
) -> None:
    """Put the averaged adapters of a run's checkpoint into the weights of the model it began with.

    Args:
        model: Changed in place.
        checkpoint: Of the run.
        options: Of its adapters.
        base: Of the model, which has to be the run's.
        geometric_tokens: See `adapt_stage`.

    Raises:
        ValueError: The checkpoint does not fit the model, or the run began with other weights.
    """
    began = stored_meta(checkpoint).get("base") or {}
    if began.get("digest") != base.digest:
        raise ValueError(
            f"{checkpoint} holds adapters of a run that began with {began or 'unknown weights'}; "
            f"they mean nothing beside {base}"
        )
    adapters = adapt_stage(model, options, geometric_tokens)
    load_averaged(model, checkpoint, [n for n, p in model.named_parameters() if p.requires_grad])
    adapters.merge()


def _peft() -> Any:
    try:
        import peft
    except ModuleNotFoundError as error:
        if error.name not in ("peft", "transformers", "accelerate"):
            raise
        raise ValueError(
            f"adapters need the Python package {error.name!r}, which is not installed: "
            "pip install peft"
        ) from error
    return peft
