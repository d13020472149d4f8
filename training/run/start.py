# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the weights of a run come from: drawn, read from model folders, or from another run.

Nothing is drawn that nobody meant to draw, and what every weight came from is written down.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from g2vlm_model.checkpoint import model_id, model_on_meta, resolve_folder, weight_files
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.safetensors_file import SafetensorsFile
from g2vlm_model.tokenizer import Tokenizer

from ..stages.freeze import STAGES, Stage, is_geometric, learns_if_there, trained_in
from ..stages.tokens import nano_tokenizer
from .checkpoints import latest_checkpoint, stored_meta
from .initialise import LAYER_SCALE, initialise, initialise_places
from .resume import differences
from .weights import grouped, holds_embedding, load_averaged, load_folder

__all__ = ["Base", "Start", "Started", "base_of", "runs_of", "source_of", "start_model"]

_LOG = logging.getLogger(__name__)
_DRAWN = "drawn"
_SEMANTIC, _GEOMETRIC = ".semantic.", ".geometric."
_ADDED = ("confidence_head", "invalid_head")
_LEAST_USED = 0.9  # of the rows of an embedding; published ones are padded by less than a hundredth


@dataclass(frozen=True)
class Start:
    """What a run begins with.

    Args:
        seed: Of the weights that are drawn.
        folders: Model folders, or folders of an encoder or a language model alone.
        geometry: Run of the stage geometry whose averaged weights come last.
        layer_scale: Of the geometric expert and encoder where they are drawn.
        copy_expert: Begin the geometric expert with the semantic one's weights.
        stage: That begins so: it says what may be drawn (`may_draw`); None draws whatever nothing
            holds.
        draw: Beginnings of names that are drawn where nothing holds them, whatever the stage.
    """

    seed: int = 0
    folders: tuple[Path, ...] = ()
    geometry: Path | None = None
    layer_scale: float = LAYER_SCALE
    copy_expert: bool = False
    stage: Stage | None = None
    draw: tuple[str, ...] = ()

    @property
    def checkpoint(self) -> Path | None:
        """Newest checkpoint of the geometry run.

        Raises:
            FileNotFoundError: It has none.
            ValueError: The run is of another stage.
        """
        if self.geometry is None:
            return None
        newest = latest_checkpoint(self.geometry)
        if newest is None:
            raise FileNotFoundError(f"{self.geometry} holds no checkpoint of a geometry run")
        stage = stored_meta(newest).get("config", {}).get("stage")
        if stage != "geometry":
            raise ValueError(
                f"{self.geometry} is a run of the stage {stage}, --geometry takes one of the stage "
                "geometry; to go on from this run give its command again with --export FOLDER, "
                "and --init FOLDER here"
            )
        return newest

    def may_draw(self, name: str) -> bool:
        """Whether a parameter that nothing holds is drawn.

        Stage 1 draws anything. Stage 2 builds on a trained geometric half and draws the semantic
        one alone, the stage gasp draws nothing. A head of the
        confidence may be drawn anywhere, because geometry goes without.
        """
        if self.stage in (None, "geometry") or learns_if_there(name) or name.startswith(self.draw):
            return True
        return self.stage != "gasp" and not is_geometric(name)

    def tokenizer(self, config: ModelConfig) -> Tokenizer:
        """The tokenizer of the folder that the embedding comes from; nano's for a drawn one.

        Raises:
            ValueError: The folder has none, or one of another vocabulary.
        """
        rows = config.text.vocab_size
        for folder in reversed(self.folders):
            if not holds_embedding(folder):
                continue
            root = resolve_folder(folder)
            try:
                tokenizer = Tokenizer.from_folder(root)
            except FileNotFoundError as error:
                raise ValueError(
                    f"{error}: its embedding means nothing without them; copy the tokenizer's "
                    "files of that model beside its weights"
                ) from None
            if not _LEAST_USED * rows <= tokenizer.size <= rows:
                raise ValueError(
                    f"{tokenizer.source} has {tokenizer.size} tokens, the embedding {rows} rows; "
                    "they are of two different models, give the tokenizer's files of that model"
                )
            return tokenizer
        return nano_tokenizer(rows)


@dataclass(frozen=True)
class Base:
    """What a run began with, as its checkpoints and the header of its model folder have it.

    Args:
        digest: Of the vocabulary and of every weight; of drawn ones by what they were drawn with.
        sources: Number of tensors by where they came from.
    """

    digest: str
    sources: dict[str, int]

    def __str__(self) -> str:
        said = ", ".join(f"{count} tensors {source}" for source, count in self.sources.items())
        return f"{said} ({self.digest})"


class Started(NamedTuple):
    """A model with the weights that a run begins with.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        base: Where the weights came from; None where there are none (the meta device).
        sources: The same of every parameter.
    """

    model: G2VLM
    tokenizer: Tokenizer
    base: Base | None
    sources: dict[str, str]


def runs_of(folder: Path) -> dict[str, str]:
    """The runs that a model folder came from: JSON by stage, as `export_model` writes it."""
    kept: dict[str, str] = {}
    for path in weight_files(resolve_folder(folder)):
        with SafetensorsFile(path) as reader:
            kept |= {stage: reader.metadata[stage] for stage in STAGES if stage in reader.metadata}
    return kept


def source_of(folder: Path) -> str:
    """What `Base.sources` calls a model folder."""
    return f"of {model_id(folder)}"


def start_model(config: ModelConfig, start: Start, on_meta: bool = False) -> Started:
    """A model with the weights that a run begins with.

    Args:
        config: Of the model.
        start: See there.
        on_meta: Shapes only: another process has the weights.

    Raises:
        FileNotFoundError: A folder or run is missing.
        ValueError: Weights or a vocabulary that do not fit, or weights that nothing holds and that
            may not be drawn.
    """
    tokenizer = start.tokenizer(config)
    ids = tokenizer.special_ids(config.tokens)
    if on_meta:
        return Started(model_on_meta(config, ids), tokenizer, None, {})
    with torch.random.fork_rng():
        torch.manual_seed(start.seed)
        model = G2VLM(config, ids)
    initialise(model, start.seed, start.layer_scale)
    initialise_places(model, tokenizer, start.seed)
    sources = dict.fromkeys((name for name, _ in model.named_parameters()), _DRAWN)
    _check_draw(start.draw, sources)
    for folder in start.folders:
        _check_config(folder, config)
        loaded = load_folder(model, folder, start.draw)
        sources |= dict.fromkeys(loaded, source_of(folder))
    if start.copy_expert:
        sources |= copy_expert(model, sources)
    checkpoint = start.checkpoint
    if start.geometry is not None and checkpoint is not None:
        trained = trained_in(model, "geometry")
        if stored_meta(checkpoint)["config"].get("adapters"):
            raise ValueError(
                f"{start.geometry} is a run of adapters, which mean nothing without the weights "
                "that it began with: end it with --export FOLDER, and give the folder"
            )
        load_averaged(model, checkpoint, trained)
        where = f"{start.geometry.resolve().name}/{checkpoint.stem}"
        sources |= dict.fromkeys(trained, f"of the geometry run {where}")
    _check_drawn(start, sources)
    base = base_of(model, tokenizer, sources, start)
    drawn = [name for name, source in sources.items() if source == _DRAWN]
    some = f"; drawn are {_by_part(drawn)}" if 0 < len(drawn) < len(sources) else ""
    _LOG.info("begins with %s%s", base, some)
    return Started(model, tokenizer, base, sources)


def base_of(model: G2VLM, tokenizer: Tokenizer, sources: Mapping[str, str], start: Start) -> Base:
    """What a model and its tokenizer are, to compare with later.

    Args:
        model: With all of its weights.
        tokenizer: Of the model.
        sources: Of every parameter.
        start: Seed and layer scale stand for drawn weights, whose last digits differ between
            processors.
    """
    digest = hashlib.sha256(tokenizer.backend.to_str().encode())
    counts: dict[str, int] = {}
    for name, parameter in sorted(model.named_parameters()):
        source = sources[name]
        counts[source] = counts.get(source, 0) + 1
        digest.update(f"{name} {list(parameter.shape)}".encode())
        if source == _DRAWN:
            digest.update(f"{start.seed} {start.layer_scale}".encode())
        else:
            values = parameter.detach().to("cpu", torch.float32).contiguous()
            digest.update(values.flatten().numpy().data)
    if _DRAWN in counts:
        counts[f"drawn from seed {start.seed}"] = counts.pop(_DRAWN)
    return Base(digest.hexdigest()[:16], counts)


@torch.no_grad()
def copy_expert(model: G2VLM, sources: Mapping[str, str]) -> dict[str, str]:
    """Give the geometric expert the semantic one's weights, except for its layer scales.

    Args:
        model: Changed in place.
        sources: Of every parameter.

    Returns:
        Sources of what was copied.
    """
    parameters = dict(model.named_parameters())
    copied = {
        name: name.replace(_SEMANTIC, _GEOMETRIC)
        for name in parameters
        if name.startswith("trunk.layers.") and _SEMANTIC in name
    }
    copied["trunk.semantic_norm.weight"] = "trunk.geometric_norm.weight"
    for name, target in copied.items():
        parameters[target].copy_(parameters[name])
    return {
        target: _DRAWN if sources[name] == _DRAWN else f"copied from the expert {sources[name]}"
        for name, target in copied.items()
    }


def _by_part(names: Collection[str]) -> str:
    """Numbers of parameters by the part of the model that they belong to."""
    counts: dict[str, int] = {}
    for name in names:
        part, *_ = name.split(".")
        if part == "trunk":
            part = f"{'geometric' if is_geometric(name) else 'semantic'} expert"
        counts[part] = counts.get(part, 0) + 1
    return ", ".join(f"{count} of {part}" for part, count in counts.items())


def _check_draw(prefixes: Collection[str], names: Collection[str]) -> None:
    for prefix in prefixes:
        if not any(name.startswith(prefix) for name in names):
            raise ValueError(f"--draw {prefix}: no tensor of the model begins so")


def _check_config(folder: Path, config: ModelConfig) -> None:
    """Refuse the weights of a model with other options, which compute something else.

    Sizes alone do not tell them: the rotary base, the marks' style and others have no weights.
    Heads that nothing else reads may be added to a model that was made without.
    """
    root = resolve_folder(folder)
    if not (root / "text_config.json").is_file():
        return  # a part alone
    theirs = _plain(ModelConfig.from_folder(root))
    mine = _plain(config)
    added = {key: mine[key] for key in _ADDED if not theirs[key]}
    different = differences(theirs | added, mine)
    if different:
        raise ValueError(
            f"{folder} is a model with other options than the config:\n  "
            + "\n  ".join(
                f"model.{key}: {was!r} there, {now!r} here" for key, was, now in different
            )
            + "\n  write the folder's values into the config, or give another folder"
        )


def _plain(config: ModelConfig) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def _check_drawn(start: Start, sources: Mapping[str, str]) -> None:
    drawn = [name for name, source in sources.items() if source == _DRAWN]
    wrong = [name for name in drawn if not start.may_draw(name)]
    if wrong:
        raise ValueError(
            f"the stage {start.stage} cannot begin with drawn weights, and nothing that it was "
            f"given holds {len(wrong)} of {len(sources)} tensors:\n  {grouped(wrong)}\n  give a "
            "folder (--init) or a geometry run (--geometry) that holds them, or name what shall "
            "be drawn: --draw PREFIX"
        )
