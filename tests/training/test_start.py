# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a run begins with: every weight from where it was named, and written down truthfully."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.run.export import export_model
from g2vlm_training.run.run import build_stage
from g2vlm_training.run.start import Base, Start, start_model
from g2vlm_training.run.trainer import Trainer
from g2vlm_training.run.weights import load_averaged, load_folder
from g2vlm_training.stages.freeze import Stage, is_geometric, trained_in
from g2vlm_training.stages.tokens import nano_tokenizer
from safetensors.torch import load_file, save_file
from torch import Tensor

from g2vlm_model.checkpoint import load_model, save_model
from g2vlm_model.checkpoint_keys import published_names
from g2vlm_model.model import G2VLM
from g2vlm_model.mot import MixtureLayer
from g2vlm_model.tokenizer import QWEN2_SPECIAL, Tokenizer
from tests.training.tiny import tiny_config, tiny_model

TEXTS = ("How far is the red chair?", "frame 3 x 34 y 7", "Zwölf Öfen – ☃ 12.5 m\n")


def whole_folder(folder: Path, seed: int = 8, **options: object) -> Path:
    save_model(folder, tiny_model(seed, **options), nano_tokenizer(700))
    return folder


def changed_folder(
    folder: Path, change: Callable[[dict[str, Tensor]], Mapping[str, Tensor]]
) -> Path:
    """A whole model's folder with other tensors in its file."""
    whole_folder(folder)
    file = folder / "model.safetensors"
    save_file(dict(change(load_file(file))), file)
    return folder


def run_of(stage: Stage, folder: Path, **options: object) -> Path:
    """The folder of a run of a stage, at step 0."""
    config = TrainConfig(stage=stage, model=tiny_config(**options))
    module = build_stage(config, tiny_model(9, **options), nano_tokenizer(700))
    Trainer(module, config, folder, lambda step: pytest.fail("not run")).save()
    return folder


def of_seed_8(model: G2VLM) -> set[str]:
    source = dict(tiny_model(8).named_parameters())
    return {name for name, p in model.named_parameters() if torch.equal(p, source[name])}


def part_folders(folder: Path, drop: str = "nothing") -> tuple[Path, Path]:
    """An encoder and a tied language model under the names that they have alone."""
    source = tiny_model(seed=8)
    parameters = dict(source.named_parameters())
    encoder, language = {}, {}
    for published, ours in published_names(parameters).items():
        tensor = parameters[ours].detach().clone()
        if drop in published:
            continue
        if published.startswith("dino_model."):
            encoder[published.removeprefix("dino_model.")] = tensor
        elif published.startswith("vit_model."):
            language[published.replace("vit_model.", "visual.")] = tensor
        elif published.startswith("language_model.model.") and not is_geometric(ours):
            language[published.removeprefix("language_model.")] = tensor
    for name, tensors in (("encoder", encoder), ("language", language)):
        (folder / name).mkdir(parents=True)
        save_file(tensors, folder / name / "model.safetensors")
    nano_tokenizer(700).save(folder / "language")
    return folder / "encoder", folder / "language"


def test_parts_alone_give_their_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    source = tiny_model(seed=8)
    folders = part_folders(tmp_path)
    start = Start(seed=1, folders=folders, layer_scale=0.01, copy_expert=True)
    model, _, base, sources = start_model(tiny_config(), start)
    trunk, old = model.trunk, source.trunk
    assert torch.equal(model.dino.cls_token, source.dino.cls_token)
    assert torch.equal(model.vit.merger.fc1.weight, source.vit.merger.fc1.weight)
    assert torch.equal(trunk.lm_head.weight, old.embed_tokens.weight)
    layer, like = trunk.layers[1], old.layers[1]
    assert isinstance(layer, MixtureLayer)
    assert isinstance(like, MixtureLayer)
    assert torch.equal(layer.semantic.up_proj.weight, like.semantic.up_proj.weight)
    assert torch.equal(layer.geometric.up_proj.weight, like.semantic.up_proj.weight)
    assert layer.geometric.mlp_scale is not None
    assert layer.geometric.mlp_scale.unique().tolist() == [pytest.approx(0.01)]
    assert sources["dino.cls_token"].startswith("of encoder@")
    assert sources["trunk.lm_head.weight"].startswith("of language@")
    copied = sources["trunk.layers.1.geometric.up_proj.weight"]
    assert copied == f"copied from the expert {sources['trunk.embed_tokens.weight']}"
    assert sources["heads.point_head.weight"] == "drawn"
    heads = [name for name, source in sources.items() if (name[:6], source) == ("heads.", "drawn")]
    assert f"{len(heads)} of heads" in caplog.text
    assert base is not None
    assert sum(base.sources.values()) == len(sources)


@pytest.mark.parametrize(
    "drop", ["blocks.0.attn.qkv", "layers.1.mlp.up_proj", "layers.0.self_attn.q_norm"]
)
def test_half_a_part_is_refused(tmp_path: Path, drop: str) -> None:
    encoder, language = part_folders(tmp_path, drop)
    load_folder(tiny_model(), encoder)
    with pytest.raises(ValueError, match=r"language does not fit.*\n.*[12] tensors missing: .*"):
        load_folder(tiny_model(), language)


def test_a_published_language_model_has_no_norms_of_queries_and_keys(tmp_path: Path) -> None:
    _, language = part_folders(tmp_path, drop="_norm.weight")
    file = language / "model.safetensors"
    source = {n: p for n, p in tiny_model(8).named_parameters() if "_norm.weight" in n}
    names = {ours: name for name, ours in published_names(source).items()}
    kept = {
        names[ours].removeprefix("language_model."): p.detach().clone()
        for ours, p in source.items()
        if "semantic" in ours and not ours.endswith(("q_norm.weight", "k_norm.weight"))
    }
    save_file({**load_file(file), **kept}, file)
    loaded = load_folder(tiny_model(), language)
    assert "trunk.layers.0.semantic.mlp_norm.weight" in loaded
    assert "trunk.layers.0.semantic.q_norm.weight" not in loaded


def test_a_whole_model_is_a_start(tmp_path: Path) -> None:
    model, read, base, _ = start_model(tiny_config(), Start(1, (whole_folder(tmp_path),)))
    assert read.size == 700
    assert of_seed_8(model) == {name for name, _ in model.named_parameters()}
    assert base is not None
    ((source, count),) = base.sources.items()
    assert source.startswith(f"of {tmp_path.name}@")
    assert count == len(list(model.parameters()))


def without_heads(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: t for n, t in tensors.items() if "point_decoder" not in n and "camera_head" not in n}


def with_strangers(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        **tensors,
        "some.layers.0.weight": torch.zeros(2),
        "some.layers.1.weight": torch.zeros(2),
    }


def of_another_width(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {**tensors, "conv.weight": torch.zeros(1), "dino2llm.bias": torch.zeros(5)}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (without_heads, r"(?s)\d+ tensors missing: .*heads\.camera_head\.fc1\.bias.*--draw PREFIX"),
        (with_strangers, r"2 tensors without a place: some\.layers\.\*\.weight \(2\)"),
        (
            of_another_width,
            r"(?s)without a place: conv\.weight.*dino2llm\.bias is \[5\], the",
        ),
        (
            lambda tensors: {"some.weight": torch.zeros(2)},
            r"no tensor of this model, but some\.weight",
        ),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_loaded(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]], text: str
) -> None:
    folder = changed_folder(tmp_path, change)
    model = tiny_model(seed=3)
    with pytest.raises(ValueError, match=text):
        load_folder(model, folder)
    before = tiny_model(seed=3)
    assert all(torch.equal(p, before.get_parameter(n)) for n, p in model.named_parameters())


@pytest.mark.parametrize("stage", ["geometry", "semantic", "gasp"])
def test_a_folder_of_a_smaller_model_is_no_start(tmp_path: Path, stage: Stage) -> None:
    """Not even where the stage may draw: who gives a whole model means all of it."""
    smaller = changed_folder(
        tmp_path, lambda tensors: {n: t for n, t in tensors.items() if "dino" in n}
    )
    with pytest.raises(ValueError, match=r"tensors missing: .*trunk\.layers\.\*\.semantic\.q_proj"):
        start_model(tiny_config(), Start(folders=(smaller,), stage=stage))


def test_what_shall_be_drawn_can_be_named(tmp_path: Path) -> None:
    folder = changed_folder(tmp_path, without_heads)
    draw = ("heads.point_decoder", "heads.camera_head")
    start = Start(1, (folder,), stage="gasp", draw=draw)
    _, _, base, sources = start_model(tiny_config(), start)
    drawn = {name for name, source in sources.items() if source == "drawn"}
    assert drawn
    assert all(name.startswith(draw) for name in drawn)
    assert base is not None
    assert base.sources["drawn from seed 1"] == len(drawn)
    with pytest.raises(ValueError, match=r"--draw heads\.pint: no tensor of the model"):
        start_model(tiny_config(), Start(1, (folder,), draw=("heads.pint",)))


@pytest.mark.parametrize(
    ("stage", "given", "lacking"),
    [
        ("semantic", "language", r"dino\.cls_token.*heads\."),
        ("spatial", "language", r"dino\.cls_token"),
        ("joint", "encoder", r"heads\.point_head"),
        ("gasp", "geometry", r"trunk\.embed_tokens\.weight"),
    ],
)
def test_a_stage_draws_only_what_it_may(
    tmp_path: Path, stage: Stage, given: str, lacking: str
) -> None:
    encoder, language = part_folders(tmp_path)
    folders = {"language": (language,), "encoder": (encoder,)}.get(given, ())
    geometry = run_of("geometry", tmp_path / "run") if given == "geometry" else None
    start = Start(folders=folders, geometry=geometry, stage=stage)
    with pytest.raises(ValueError, match=rf"(?s)stage {stage} cannot begin with drawn.*{lacking}"):
        start_model(tiny_config(), start)


def test_a_geometry_run_gives_all_of_the_geometric_half(tmp_path: Path) -> None:
    run = run_of("geometry", tmp_path / "run")
    model, _, base, sources = start_model(tiny_config(), Start(geometry=run, stage="semantic"))
    source = tiny_model(9)
    trained = trained_in(model, "geometry")
    assert {n for n in trained if n.startswith("dino.blocks")}
    for name, parameter in model.named_parameters():
        if name in trained:
            assert torch.equal(parameter, source.get_parameter(name)), name
            assert sources[name] == "of the geometry run run/step-0000000"
    assert base is not None
    assert base.sources["of the geometry run run/step-0000000"] == len(trained)


@pytest.mark.parametrize("stage", ["semantic", "spatial", "joint"])
def test_a_run_of_another_stage_is_no_geometry_run(tmp_path: Path, stage: Stage) -> None:
    run = run_of(stage, tmp_path / "run")
    with pytest.raises(ValueError, match=f"is a run of the stage {stage}, --geometry takes"):
        start_model(tiny_config(), Start(geometry=run))


def test_a_geometry_run_of_another_model_is_listed_and_refused(tmp_path: Path) -> None:
    run = run_of("geometry", tmp_path / "run", match_width=0)
    with pytest.raises(ValueError, match=r"(?s)tensors missing: .*match\.describe\.weight"):
        start_model(tiny_config(), Start(geometry=run))
    with pytest.raises(ValueError, match=r"without a place: .*match\.describe"):
        newest = run_of("geometry", tmp_path / "more") / "step-0000000.safetensors"
        model = tiny_model(match_width=0)
        load_averaged(model, newest, trained_in(model, "geometry"))
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        start_model(tiny_config(), Start(geometry=tmp_path))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"isolate_geometry": False}, "isolate_geometry: False there, True here"),
        ({"ray_prior_fov_deg": 90.0}, "ray_prior_fov_deg: 90.0 there, 65.0 here"),
    ],
)
def test_options_without_weights_have_to_be_the_folders(
    tmp_path: Path, options: dict[str, object], text: str
) -> None:
    with pytest.raises(ValueError, match=rf"(?s)other options than the config:.*model\.{text}"):
        start_model(tiny_config(), Start(folders=(whole_folder(tmp_path, 8, **options),)))


def test_heads_that_nothing_reads_may_be_added_to_a_model(tmp_path: Path) -> None:
    folder = whole_folder(tmp_path, 8, confidence_head=False)
    config = tiny_config(confidence_head=True, invalid_head=True)
    with pytest.raises(ValueError, match=r"heads\.confidence_head\.bias"):
        start_model(config, Start(folders=(folder,), stage="geometry"))
    draw = ("heads.confidence_", "heads.invalid_")
    model, _, _, sources = start_model(
        config, Start(folders=(folder,), stage="geometry", draw=draw)
    )
    drawn = {name for name, source in sources.items() if source == "drawn"}
    assert drawn == {name for name, _ in model.named_parameters() if name.startswith(draw)}
    assert drawn < trained_in(model, "geometry")
    with pytest.raises(ValueError, match="confidence_head: True there, False here"):
        start_model(
            tiny_config(confidence_head=False),
            Start(folders=(whole_folder(tmp_path / "more", 8, confidence_head=True),)),
        )


def based(start: Start) -> Base:
    base = start_model(tiny_config(), start).base
    assert base is not None
    return base


def test_two_bases_are_the_same_where_all_weights_are(tmp_path: Path) -> None:
    one, other = whole_folder(tmp_path / "a", 8), whole_folder(tmp_path / "b", 9)
    assert based(Start(1, (one,))) == based(Start(2, (one,)))
    assert based(Start(1, (one,))).digest != based(Start(1, (other,))).digest
    assert based(Start(1)) == based(Start(1))
    assert len({based(Start(seed)).digest for seed in range(3)}) == 3
    assert based(Start(1)).digest != based(Start(1, layer_scale=0.01)).digest
    words = Tokenizer.from_folder(one)
    words.backend.add_special_tokens([])
    text = json.loads(words.backend.to_str())
    text["model"]["merges"].pop()
    (one / "tokenizer.json").write_text(json.dumps(text))
    assert (
        based(Start(1, (one,))).digest != based(Start(1, (whole_folder(tmp_path / "a2"),))).digest
    )


def test_the_log_and_the_header_say_what_came_from_where(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of("geometry", tmp_path / "run")
    _, language = part_folders(tmp_path)
    with caplog.at_level(logging.INFO):
        model, tokenizer, base, sources = start_model(
            tiny_config(), Start(1, (language,), run, stage="joint")
        )
    assert base is not None
    (line,) = (r.getMessage() for r in caplog.records if "begins with" in r.getMessage())
    for source, count in base.sources.items():
        assert f"{count} tensors {source}" in line
    drawn = [name for name, source in sources.items() if source == "drawn"]
    assert ("; drawn are " in line) == bool(drawn)
    meta = {"step": 0, "frames_seen": 0, "base": {"sources": base.sources, "digest": base.digest}}
    export_model(tmp_path / "out", model, tokenizer, {"joint": meta})
    with open(tmp_path / "out" / "model.safetensors", "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))["__metadata__"]
    assert json.loads(header["joint"])["base"]["sources"] == base.sources


def qwen_files(folder: Path, size: int) -> Tokenizer:
    """vocab.json and merges.txt as published folders have them, of so many tokens with special."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = size - len(QWEN2_SPECIAL)
    model = json.loads(nano_tokenizer(plain + 5).backend.to_str())["model"]
    words = [word for word in sorted(model["vocab"], key=model["vocab"].get) if "<|" not in word]
    vocab = {word: index for index, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    merges = "\n".join(" ".join(pair) for pair in model["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    return Tokenizer.from_folder(folder)


def published_folder(folder: Path, size: int = 700) -> Tokenizer:
    whole_folder(folder)
    (folder / "tokenizer.json").unlink()
    return qwen_files(folder, size)


def test_a_published_folders_own_vocabulary_is_used_and_handed_on(tmp_path: Path) -> None:
    own = published_folder(tmp_path / "a")
    assert own.encode(TEXTS[0]) != nano_tokenizer(700).encode(TEXTS[0])
    model, tokenizer, *_ = start_model(tiny_config(), Start(folders=(tmp_path / "a",)))
    assert [tokenizer.encode(text) for text in TEXTS] == [own.encode(text) for text in TEXTS]
    assert model.special_ids == own.special_ids(model.config.tokens)
    export_model(tmp_path / "b", model, tokenizer, {})
    _, handed_on = load_model(tmp_path / "b")
    assert [handed_on.encode(text) for text in TEXTS] == [own.encode(text) for text in TEXTS]
    assert handed_on.special_ids(model.config.tokens) == own.special_ids(model.config.tokens)


def test_the_vocabulary_is_that_of_the_embedding(tmp_path: Path) -> None:
    """Not of another folder that happens to have one."""
    encoder, language = part_folders(tmp_path)
    qwen_files(encoder, 700)
    tokenizer = start_model(tiny_config(), Start(folders=(language, encoder))).tokenizer
    assert tokenizer.encode(TEXTS[0]) == nano_tokenizer(700).encode(TEXTS[0])
    drawn = Start(folders=(encoder,)).tokenizer(tiny_config())
    assert drawn.encode(TEXTS[0]) == nano_tokenizer(700).encode(TEXTS[0])
    (language / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"no tokenizer.*its embedding means nothing without"):
        start_model(tiny_config(), Start(folders=(language,)))


@pytest.mark.parametrize("size", [600, 720])
def test_a_vocabulary_that_does_not_fit_the_embedding_is_refused(tmp_path: Path, size: int) -> None:
    """More tokens than rows, or a small vocabulary beside a large table, as of another model."""
    published_folder(tmp_path, size)
    with pytest.raises(ValueError, match=rf"has {size} tokens, the embedding 700 rows"):
        start_model(tiny_config(), Start(folders=(tmp_path,)))
