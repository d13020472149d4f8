# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Configs from files and the command line: what is taken, and what is refused with a reason."""

from __future__ import annotations

import ast
import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from g2vlm_training.config import GeometryWeights, TrainConfig
from g2vlm_training.config_file import CONFIG_FOLDER, config_of, load_config, read_yaml
from g2vlm_training.datasets.augment import AugmentOptions
from g2vlm_training.datasets.mixture import SourceOptions
from g2vlm_training.datasets.views import PATCH, ViewOptions
from g2vlm_training.gasp.gasp_options import GaspOptions, LoraOptions
from g2vlm_training.run.run import build_stage
from g2vlm_training.stages.losses import LossOptions
from g2vlm_training.stages.tokens import nano_tokenizer

from g2vlm_model.checkpoint import model_on_meta
from g2vlm_model.config import ModelConfig
from tests.helpers import REPO


def config_from(text: str) -> TrainConfig:
    return config_of(read_yaml(text, "some.yaml"), "some.yaml")


@pytest.mark.parametrize("text", ["1e-4", "1E-4", "1.e-4", "+.1e-3", "0.0001", "1.0e-04"])
def test_a_rate_may_be_written_as_people_write_it(text: str) -> None:
    assert config_from(f"lr: {text}").lr == 1e-4


def test_values_become_what_the_fields_are() -> None:
    config = config_from(
        "loss: {translation_weight: 1e2, clip: .inf}\nwindows: [[4, 2], [2, 3]]\nlr: 1\n"
        "views: {width: null, aspect: [1, 1]}\nsources: [{layout: tum, root: a}, {weight: 2}]"
    )
    weight = config.loss.translation_weight
    assert (weight, type(weight), config.loss.clip) == (100.0, float, math.inf)
    assert config.windows == ((4, 2), (2, 3))
    assert (config.lr, type(config.lr)) == (1.0, float)
    assert (config.views.width, config.views.aspect) == (None, (1.0, 1.0))
    assert [(source.layout, source.weight) for source in config.sources] == [
        ("tum", 1.0), ("synthetic", 2.0),
    ]  # fmt: skip


REFUSED = {
    "lr: fast": "lr is 'fast', expected a valid number",
    "lr: '1e-4'": "lr is '1e-4', expected a valid number",
    "lr: -1": r"lr is -1.0, expected more than 0",
    "lr: .inf": "lr is inf, expected more than 0",
    "loss: {translation_weight: abc}": r"loss\.translation_weight is 'abc', expected a valid",
    "loss: {clip: .nan}": "loss: clip is nan, expected more than 0",
    "loss: 3": "loss is 3, expected an object",
    "windows: [4, 2]": r"windows\.0 is 4, expected a valid array",
    "windows: [[4]]": r"windows\.0\.1 is missing: the list is \[4\]",
    "windows: []": r"windows is \(\), expected \(clips, frames\) pairs",
    "betas: [0.9]": r"betas\.1 is missing: the list is \[0.9\]",
    "betas: [0.9, 0.95, 0.99]": "betas is .*at most 2 items",
    "betas: [0.9, 1.0]": "betas is .*expected 0 up to but not 1",
    "ema: false": "ema is False, expected a valid number",
    "ema: 1": "ema is 1.0, expected 0 up to but not 1",
    "recompute: 1": "recompute is 1, expected a valid boolean",
    "steps: 10.5": "steps is 10.5, expected a valid integer",
    "steps: true": "steps is True, expected a valid integer",
    "steps: 0": "steps is 0, expected 1 or more",
    "weight_decay: -1": "weight_decay is -1.0, expected 0 or more",
    "warmup: -5": "warmup is -5, expected 0 or more",
    "seed: -1": "seed is -1, expected 0 or more",
    "layer_scale: 0": "layer_scale is 0.0, expected more than 0",
    "stage: both": "stage is 'both', expected 'geometry', .* or 'gasp'",
    "tasks: [turn, shape]": r"tasks has \['shape'\], expected some of",
    "sources: []": "sources is empty",
    "sources: [{layout: x}]": r"sources\.0: layout is 'x', expected one of .*'tum'",
    "sources: [{layot: x}]": r"unknown key sources\.0\.layot, expected some of .*'layout'",
    "learning_rate: 1": r"unknown key learning_rate, expected some of .*'lr'",
    "loss: {alpha: 3}": r"unknown key loss\.alpha, expected some of .*'camera_weight'",
    "model: {text: {hidden: 3}}": r"unknown key model\.text\.hidden, .*'hidden_size'",
    "model: {match_width: -1}": "model: match_width is -1",
    "extra: {pixel_stride: 0}": "extra: pixel_stride is 0, expected 1 or more",
    "preset: giant": r"preset is 'giant'.*g2vlm_2b.*nano",
    "- 1": "expected keys and values, got list",
    "lr: [": "is no YAML",
}


@pytest.mark.parametrize("text", REFUSED)
def test_what_a_field_cannot_be_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=rf"^some\.yaml.*{REFUSED[text]}"):
        config_from(text)


def test_every_problem_of_a_file_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)lr is 'a'.*loss\.clip is 'b'.*unknown key c"):
        config_from("lr: a\nloss: {clip: b}\nc: 1")


OUT_OF_RANGE: tuple[tuple[type, dict[str, object]], ...] = (
    (TrainConfig, {"clip_norm": math.nan}),
    (TrainConfig, {"grounding": -0.1}),
    (TrainConfig, {"probing": math.inf}),
    (TrainConfig, {"eval_windows": -1}),
    (GeometryWeights, {"frame_causal": 1.5}),
    (GeometryWeights, {"correspondence": -1.0}),
    (LossOptions, {"huber_delta": 0.0}),
    (LossOptions, {"normal_weight": -1.0}),
    (LossOptions, {"scale_samples": 0}),
    (LossOptions, {"invalid_weight": math.nan}),
    (ViewOptions, {"flip": 1.1}),
    (AugmentOptions, {"jpeg": 2.0}),
    (AugmentOptions, {"noise": math.nan}),
    (SourceOptions, {"weight": 0.0}),
    (GaspOptions, {"temperature": 0.0}),
    (LoraOptions, {"rank": 0}),
)


@pytest.mark.parametrize(("options", "values"), OUT_OF_RANGE)
def test_numbers_out_of_range_are_refused_in_code_too(
    options: type, values: dict[str, object]
) -> None:
    ((name, value),) = values.items()
    with pytest.raises(ValueError, match=rf"{name} is {value}, expected"):
        options(**values)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.0, 0.0, 0.0, 0.0)])
def test_every_kind_of_window_has_a_share(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="expected one number for each of the 4 windows, some ab"):
        TrainConfig(window_shares=shares)
    with pytest.raises(ValueError, match=r"window_shares is .*-1.*, expected 0 or more"):
        TrainConfig(window_shares=(1.0, 1.0, 1.0, -1.0))


def test_a_file_changes_fields_of_its_preset(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text("model: {conv_stem: 0, text: {num_hidden_layers: 2, mrope_section: [2, 7, 7]}}")
    model = load_config(str(file)).model
    assert (model.conv_stem, model.text.num_hidden_layers) == (0, 2)
    assert model.text.mrope_section == (2, 7, 7)
    assert model.match_width == ModelConfig.nano().match_width > 0
    file.write_text("")
    assert load_config(str(file)) == TrainConfig()


def test_the_command_line_changes_single_values() -> None:
    changed = load_config(
        "nano", ["lr=3e-5", "loss.clip=20", "model.text.num_hidden_layers=2", "windows=[[1, 2]]"]
    )
    shipped = load_config("nano")
    assert (changed.lr, changed.loss.clip, changed.windows) == (3e-5, 20.0, ((1, 2),))
    assert changed.model.text.num_hidden_layers == 2
    restored = dataclasses.replace(
        changed, lr=shipped.lr, loss=shipped.loss, windows=shipped.windows, model=shipped.model
    )
    assert restored == shipped, "something else changed"
    with pytest.raises(ValueError, match=r"nano\.yaml loss\.klip=2: unknown key loss\.klip"):
        load_config("nano", ["loss.klip=2"])
    with pytest.raises(ValueError, match="'lr', expected NAME=VALUE"):
        load_config("nano", ["lr"])


def test_a_config_that_is_not_shipped_is_told_from_those_that_are() -> None:
    with pytest.raises(FileNotFoundError, match=r"no config 'giant'; shipped ones are .*'nano'"):
        load_config("giant")


def test_what_became_a_constant_may_still_be_said_as_it_is() -> None:
    """Checkpoints and configs from before name it; another value of it is refused."""
    old = "views: {multiple: 14, spread: 30, whole: 0.1}\nlora: {scale: 1.0, dropout: 0.0, rank: 4}"
    assert config_from(old).lora.rank == 4
    with pytest.raises(ValueError, match=r"unknown key views\.spread"):
        config_from("views: {spread: 8}")


@pytest.mark.parametrize(
    ("text", "meant"), [("lrr: 1", "lr"), ("loss: {huber: 1}", "loss.huber_delta"), ("qwz: 1", "")]
)
def test_a_misspelt_key_says_what_was_meant_in_one_line(text: str, meant: str) -> None:
    with pytest.raises(ValueError, match="unknown key") as raised:
        config_from(text)
    said = str(raised.value)
    assert "\n" not in said
    assert (f"did you mean {meant}?" in said) == bool(meant)


def _leaves(options: Any, above: str = "") -> Iterator[str]:
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if not dataclasses.is_dataclass(value):
            yield above + one.name
        elif one.name != "model":
            yield from _leaves(value, f"{above}{one.name}.")


def test_every_option_is_set_or_told_of_and_read() -> None:
    """A key that no config sets and no page names is a constant; one that nobody reads is none."""
    package, docs = CONFIG_FOLDER.parent, REPO / "docs"
    shipped = "".join(
        path.read_text(encoding="utf-8")
        for folder in ("configs", "reproduce/studies")
        for path in (package / folder).glob("*.yaml")
    )
    pages = "".join(path.read_text(encoding="utf-8") for path in docs.glob("*.md"))
    read: set[str] = set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        checks = [
            node for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == "__post_init__"
        ]  # fmt: skip
        checking = {id(inner) for check in checks for inner in ast.walk(check)}
        read |= {
            node.attr
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and id(node) not in checking
        }
    names = [*_leaves(TrainConfig()), *(f"sources.{name}" for name in _leaves(SourceOptions()))]
    for name in names:
        leaf = name.rpartition(".")[2]
        told = re.search(rf"`{re.escape(leaf)}[`:=]|\b{re.escape(name)}\b", pages)
        given = shipped + pages if name.startswith("sources.") else shipped
        assert told or re.search(rf"\b{leaf}:", given), f"nothing sets {name} or tells of it"
        assert leaf in read, f"nothing reads {name}"


SHIPPED = sorted(path.stem for path in CONFIG_FOLDER.glob("*.yaml"))


def test_a_config_extends_another_one(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("extends: nano_rooms\nlr: 1e-4\nloss: {point_weight: 0.5}\n")
    (tmp_path / "again.yaml").write_text("extends: own.yaml\nsteps: 7\n")
    found, base = load_config(str(tmp_path / "again.yaml")), load_config("nano_rooms")
    loss = dataclasses.replace(base.loss, point_weight=0.5)
    assert found == dataclasses.replace(base, lr=1e-4, steps=7, loss=loss)
    for text in ("extends: no_such", "extends: own.yaml", "extends: [1]"):
        own.write_text(text)
        with pytest.raises(ValueError, match=r"own\.yaml: extends is .*, expected another config"):
            load_config(str(own))


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_config_fits_its_model_and_its_stage(name: str) -> None:
    """Ranks, widths of heads, layers and sizes of pictures, on a model without memory."""
    config = load_config(name)
    tokenizer = nano_tokenizer(config.model.text.vocab_size)
    model = model_on_meta(config.model, tokenizer.special_ids(config.model.tokens))
    with torch.device("meta"):
        stage = build_stage(config, model, tokenizer)
    assert any(parameter.requires_grad for parameter in stage.parameters())
    assert config.model.patch_size == PATCH
    assert config.warmup < config.steps


def test_the_documented_table_of_configs_is_theirs() -> None:
    text = (REPO / "docs" / "training.md").read_text(encoding="utf-8")
    table = text[text.index("| config | stage |") :].split("\n\n")[0].splitlines()[2:]
    stages = {"1a": {"geometry"}, "1b": {"geometry"}, "gasp": {"gasp"}}
    told = set()
    for row in table:
        names, stage, length, *_ = (cell.strip() for cell in row.strip("|").split("|"))
        first, *others = [name.strip().strip("`") for name in names.split(",")]
        stem = first.rpartition("_")[0]
        for name in (first, *(stem + other if other[0] == "_" else other for other in others)):
            config = load_config(name)
            assert config.stage in stages.get(stage, {"semantic", "spatial", "joint"}), name
            numbers = re.fullmatch(r"([\d,]+), (\S+)", length)
            if numbers is None:
                assert "the-commands" in length
            else:
                steps = int(numbers[1].replace(",", ""))
                assert (config.steps, config.lr) == (steps, float(numbers[2])), name
            told.add(name)
    assert told == set(SHIPPED)
