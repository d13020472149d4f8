# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The embedded model: its size, where it comes from, and that it sees what it is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from g2vlm_training.datasets.batch import draw_batch
from g2vlm_training.datasets.mixture import ClipPool
from g2vlm_training.datasets.synthetic import ShardPlan, write_shards
from g2vlm_training.evaluate.examine import Examiner
from g2vlm_training.evaluate.geometry_run import GeometryOptions, run_geometry
from g2vlm_training.evaluate.windows import mean_depth_of
from g2vlm_training.run.export import export_model
from g2vlm_training.run.start import Start, start_model
from g2vlm_training.stages.question_batch import questions_of, text_batch, token_row, view_of
from g2vlm_training.stages.semantic_stage import SemanticStage
from g2vlm_training.stages.tokens import SPECIAL_TOKENS, nano_tokenizer
from safetensors import safe_open

from g2vlm_model.checkpoint import EMBEDDED_MODELS, load_model
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.tokenizer import Tokenizer, prompt_ids

FOLDER = EMBEDDED_MODELS["nano"]
WEIGHTS = FOLDER / "model.safetensors"


@pytest.fixture(scope="module")
def nano() -> tuple[G2VLM, Tokenizer]:
    return load_model("nano")


@pytest.fixture(scope="module")
def test_pool(tmp_path_factory: pytest.TempPathFactory) -> ClipPool:
    """Unseen rooms, and a few training rooms for the mean-depth map."""
    folder = tmp_path_factory.mktemp("rooms")
    for split, first in (("test", 50), ("train", 900)):
        plan = ShardPlan(
            split=split,  # type: ignore[arg-type]
            rooms=6,
            clips=1,
            frames=4,
            heights=(84,),
            smooth=0.0,
            fov_deg=(50.0, 85.0),  # what the weights were trained with
        )
        for _ in write_shards(folder, plan, first, 1):
            pass
    return ClipPool(folder, "test")


def test_size_limits(nano: tuple[G2VLM, Tokenizer]) -> None:
    parameters = sum(p.numel() for p in nano[0].parameters())
    assert parameters <= 16_000_000
    assert WEIGHTS.stat().st_size <= 32 * 1024**2
    with safe_open(WEIGHTS, framework="pt") as file:
        kinds = {file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16}


def test_folder_is_the_preset_and_has_its_own_tokenizer(nano: tuple[G2VLM, Tokenizer]) -> None:
    assert ModelConfig.from_folder(FOLDER) == ModelConfig.nano()
    tokenizer = nano[1]
    for index, name in enumerate(SPECIAL_TOKENS):
        assert tokenizer.id_of(name) == index
    text = "A frame 1 x 34 y 57\nHow far is A from the größte Tür? 2.4 m"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    fresh = nano_tokenizer(ModelConfig.nano().text.vocab_size)
    assert fresh.encode(text) == tokenizer.encode(text)


def test_weights_say_where_they_come_from() -> None:
    with safe_open(WEIGHTS, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["git"]
    assert "train 0" in metadata["seed_splits"]
    geometry = json.loads(metadata["geometry"])
    assert geometry["steps"] > 0
    assert geometry["frames"] > 0
    assert isinstance(geometry["seed"], int)
    assert geometry["git"]


def test_training_heads_are_not_in_the_weights() -> None:
    with safe_open(WEIGHTS, framework="pt") as file:
        names = list(file.keys())
    assert not [name for name in names if "coarse" in name]
    assert [name for name in names if name.startswith("match.")]


def test_better_than_its_baselines_on_unseen_rooms(
    nano: tuple[G2VLM, Tokenizer], test_pool: ClipPool
) -> None:
    """A coarse floor under the model card's numbers, on a window of each of 6 rooms."""
    model, prompts = nano[0], prompt_ids(nano[1], nano[0].config.tokens)
    learned = ClipPool(test_pool.folder, "train").clips
    mean_map = mean_depth_of(learned, model.config, seed=0, frames=24)
    options = GeometryOptions(frames=(4,), windows=12, refined=0, shown=0)
    examiner = Examiner(model, prompts, mean_map, mean_map)
    (table,) = run_geometry(examiner, test_pool.clips, options)
    rows = {row["row"]: row["metrics"] for row in table.summary()}

    def of(row: str, key: str) -> float:
        return float(rows[row][key]["value"])

    assert of("head", "abs_rel") < of("mean-depth map", "abs_rel"), rows
    still = of("identity motion", "rotation_median_deg")
    assert of("head", "rotation_median_deg") < 0.6 * still, rows
    assert of("identity motion", "rta30") == 0.0, "who does not move has no direction"
    assert table.gains()["rotation, mean deg: head - identity"].high < 0, rows
    assert of("head", "rta30") > of("best constant axis", "rta30"), rows


def test_export_gives_back_the_same_model(tmp_path: Path) -> None:
    model, tokenizer, *_ = start_model(ModelConfig.nano(), Start(seed=1))
    meta = {"step": 3, "frames_seen": 12, "config": {"seed": 1}, "git": "abc", "shards": ["a"]}
    export_model(tmp_path, model, tokenizer, {"geometry": meta})
    loaded, _ = load_model(tmp_path)
    for name, parameter in model.named_parameters():
        assert torch.equal(loaded.get_parameter(name), parameter.half().float()), name
    with safe_open(tmp_path / "model.safetensors", framework="pt") as file:
        assert json.loads(file.metadata()["geometry"])["frames"] == 12


def test_teacher_forcing_is_what_decoding_does(
    nano: tuple[G2VLM, Tokenizer], test_pool: ClipPool
) -> None:
    """The training loss's logits predict the tokens that greedy decoding says."""
    model, tokenizer = nano
    stage = SemanticStage(model, tokenizer, questions=1)
    window = draw_batch(test_pool, 1, 2, torch.Generator().manual_seed(5), None)
    question = questions_of(view_of(window, 0), 1, np.random.default_rng(0))[0]
    with torch.no_grad():
        prefix = stage.prefix(window)
        said = stage.answer(prefix, question, window.grid)
        told = replace(question, answer=said)
        row = token_row(told, tokenizer, stage.prompts)
        text = text_batch([row], stage.prompts)
        shape = (prefix, text.input_MT.shape[1], [row.start])
        added = stage.added([told], [[window.grid] * 2], *shape)
        logits = model.semantic_logits(text.input_MT, prefix.cache.copy(), added)
    counted = text.target_MT[0] != -100
    answer = tokenizer.encode(said)
    assert logits[0, counted].argmax(-1).tolist()[: len(answer)] == answer
