# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A run is continued as what it was; what differs is named, refused, and allowed by name."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from g2vlm_training.config import TrainConfig
from g2vlm_training.datasets.mixture import SourceOptions
from g2vlm_training.gasp.gasp_options import LoraOptions
from g2vlm_training.run.checkpoints import RunState, latest_checkpoint, load_state, save_state
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.resume import FREE, check_same_run, differences
from g2vlm_training.run.run import Run, RunOptions, averaged_model, prepared_run, train
from g2vlm_training.run.start import Start, runs_of, start_model
from g2vlm_training.stages.lora import load_adapted
from g2vlm_training.stages.tokens import nano_tokenizer

from g2vlm_model.checkpoint import save_model
from tests.training.tiny import tiny_config, tiny_model

CONFIG = TrainConfig(
    model=tiny_config(), steps=4, windows=((1, 2),), warmup=1, lr=1e-3, save_steps=1, seed=5,
    questions=2, eval_windows=0,
)  # fmt: skip
START = Start(CONFIG.seed)
GASP = dataclasses.replace(
    CONFIG, stage="gasp", lora=LoraOptions(rank=2),
    gasp=dataclasses.replace(CONFIG.gasp, descriptor_width=16, grids=(4,)),
)  # fmt: skip


def prepared(
    shards: Path,
    out: Path,
    config: TrainConfig = CONFIG,
    start: Start = START,
    **options: Any,
) -> Run:
    return prepared_run(config, RunOptions(shards, out, start, **options), Processes())


def folder_of(folder: Path, seed: int) -> Path:
    save_model(folder, tiny_model(seed), nano_tokenizer(700))
    return folder


@pytest.fixture
def saved(tiny_shards: Path, tmp_path: Path) -> Path:
    """The folder of a run after a step."""
    prepared(tiny_shards, tmp_path / "run").trainer.run(until=1)
    return tmp_path / "run"


def test_the_same_command_goes_on(tiny_shards: Path, saved: Path) -> None:
    again = prepared(tiny_shards, saved)
    assert again.trainer.step == 1
    assert again.trainer.extra_state()["changes"] == []


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"lr": 2e-3}, "lr", r"lr was 0\.001, is 0\.002"),
        ({"seed": 6}, "seed", "seed was 5, is 6"),
        ({"windows": ((2, 2),)}, "windows", r"windows was \[\[1, 2\]\], is \[\[2, 2\]\]"),
        ({"steps": 8}, "steps", "steps was 4, is 8"),
        (
            {"loss": dataclasses.replace(CONFIG.loss, clip=20.0)}, "loss",
            r"loss\.clip was 10\.0, is 20\.0",
        ),
    ],
)  # fmt: skip
def test_another_config_is_refused_unless_its_key_is_named(
    tiny_shards: Path, saved: Path, changes: dict[str, Any], key: str, said: str
) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    with pytest.raises(ValueError, match=rf"(?s)of another run.*{said}.*--allow-change {key}"):
        prepared(tiny_shards, saved, config)
    with pytest.raises(ValueError, match="of another run"):
        prepared(tiny_shards, saved, config, allow_change=("warmup",))
    trainer = prepared(tiny_shards, saved, config, allow_change=(key,)).trainer
    trainer.run(until=2)
    newest = latest_checkpoint(saved)
    assert newest is not None
    (change,) = load_state(newest).meta["changes"]
    assert change["step"] == 1
    assert next(iter(change["changed"])).startswith(key)
    assert prepared(tiny_shards, saved, config).trainer.step == 2, "it is the run's own now"


def test_what_changes_no_weight_may_change(tiny_shards: Path, saved: Path) -> None:
    changes: dict[str, Any] = {"save_steps": 7, "log_steps": 3, "recompute": True, "bad_steps": 2}
    changes |= {"accumulate": 2, "workers": 1, "compile": True, "peak_tflops": 1.0}
    changes |= {"validation": (SourceOptions("7scenes", "real"),)}
    config = dataclasses.replace(
        CONFIG, parallel="fsdp", eval_steps=9, eval_windows=1, save_minutes=2.0, **changes
    )
    changed = {key for key, *_ in differences(vars(CONFIG), vars(config))}
    assert changed == set(FREE)
    assert prepared(tiny_shards, saved, config).trainer.step == 1


def test_a_data_set_may_join_a_run_that_is_told_so(tiny_shards: Path, saved: Path) -> None:
    other = saved.parent / "more"
    other.mkdir()
    (other / "train-00007.tar").write_bytes((tiny_shards / "train-00000.tar").read_bytes())
    sources = (SourceOptions(), SourceOptions(root=str(other)))
    config = dataclasses.replace(CONFIG, sources=sources)
    with pytest.raises(ValueError, match="--allow-change sources"):
        prepared(tiny_shards, saved, config)
    run = prepared(tiny_shards, saved, config, allow_change=("sources",))
    assert run.trainer.step == 1
    assert [Path(name).name for name in run.pool.names] == ["train-00000.tar", "train-00007.tar"]
    run.trainer.train_step()


def test_recomputed_layers_leave_the_next_loss_as_it_was(tiny_shards: Path, saved: Path) -> None:
    config = dataclasses.replace(CONFIG, recompute=True)
    losses = [
        prepared(tiny_shards, saved, c).trainer.train_step()["loss"] for c in (CONFIG, config)
    ]
    assert losses[0] == losses[1]


def test_other_weights_to_begin_with_are_refused(tiny_shards: Path, tmp_path: Path) -> None:
    one, other = (folder_of(tmp_path / name, seed) for name, seed in (("one", 8), ("other", 9)))
    out = tmp_path / "run"
    prepared(tiny_shards, out, start=Start(5, (one,))).trainer.run(until=1)
    said = r"base was \d+ tensors of one@\w+, is \d+ tensors of other@\w+\n.*--allow-change base"
    with pytest.raises(ValueError, match=said):
        prepared(tiny_shards, out, start=Start(5, (other,)))
    again = prepared(tiny_shards, out, start=Start(5, (other,)), allow_change=("base",))
    changes: Any = again.trainer.extra_state()["changes"]
    before, after = changes[0]["changed"]["base"]
    assert [*before["sources"]] == [
        *prepared(tiny_shards, tmp_path / "r", start=Start(5, (one,))).base.sources
    ]
    assert after["digest"] == again.base.digest


def test_questions_with_and_without_pictures_are_two_runs(
    tiny_shards: Path, tmp_path: Path
) -> None:
    config = dataclasses.replace(CONFIG, stage="semantic")
    prepared(tiny_shards, tmp_path, config, blind=True).trainer.save()
    assert prepared(tiny_shards, tmp_path, config, blind=True).trainer.step == 0
    with pytest.raises(ValueError, match="blind was True, is False"):
        prepared(tiny_shards, tmp_path, config)


def test_a_checkpoint_that_does_not_say_what_it_began_with(tiny_shards: Path, saved: Path) -> None:
    """As those are that were written before."""
    newest = latest_checkpoint(saved)
    assert newest is not None
    state = load_state(newest)
    for key in ("base", "blind", "changes"):
        del state.meta[key]
    save_state(newest, RunState(state.tensors, state.meta))
    with pytest.raises(ValueError, match=r"(?s)was nothing.*written before.*--allow-change base$"):
        prepared(tiny_shards, saved)
    assert prepared(tiny_shards, saved, allow_change=("base",)).trainer.step == 1


def test_options_that_came_or_went_since_are_no_difference(tiny_shards: Path, saved: Path) -> None:
    newest = latest_checkpoint(saved)
    assert newest is not None
    state = load_state(newest)
    stored: Any = state.meta["config"]
    del stored["augment"]["jitter"], stored["peak_tflops"]
    for multiple in (14, 7):
        stored["views"]["multiple"] = multiple
        save_state(newest, RunState(state.tensors, state.meta))
        if multiple == 14:
            assert prepared(tiny_shards, saved).trainer.step == 1
        else:
            with pytest.raises(ValueError, match=r"views\.multiple was 7, is nothing"):
                prepared(tiny_shards, saved)


def test_a_key_that_does_not_exist_cannot_be_allowed() -> None:
    with pytest.raises(ValueError, match=r"--allow-change learning_rate: expected .*'lr'"):
        check_same_run(Path("step"), {"lr": 1}, {"lr": 2}, ["learning_rate"])
    assert check_same_run(Path("step"), {"a": {"b": 1}}, {"a": {"c": 2}}, ["a"]) == {
        "a.b": [1, "nothing"],
        "a.c": ["nothing", 2],
    }


def test_adapters_never_merge_into_another_model(tiny_shards: Path, tmp_path: Path) -> None:
    one, other = (folder_of(tmp_path / name, seed) for name, seed in (("one", 8), ("other", 9)))
    run = prepared(tiny_shards, tmp_path / "run", GASP, Start(5, (one,)))
    checkpoint = run.trainer.save()
    for folder in (other, one):
        model, _, base, _ = start_model(GASP.model, Start(5, (folder,)))
        assert base is not None
        before = {name: value.clone() for name, value in model.state_dict().items()}
        if folder == other:
            with pytest.raises(ValueError, match=r"adapters of a run that began with .*one@"):
                load_adapted(model, checkpoint, GASP.lora, base)
        else:
            load_adapted(model, checkpoint, GASP.lora, base)
        assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_folder_that_changes_under_a_run_is_noticed_at_its_end(
    tiny_shards: Path, tmp_path: Path
) -> None:
    """What a stage freezes is read again for the model folder."""
    start = folder_of(tmp_path / "start", 8)
    options = RunOptions(
        tiny_shards, tmp_path / "run", Start(5, (start,), stage="gasp"), tmp_path / "model", until=1
    )
    train(GASP, options, Processes())
    header = json.loads(runs_of(tmp_path / "model")["gasp"])
    ((source, count),) = header["base"]["sources"].items()
    assert source.startswith("of start@")
    assert count == len(list(tiny_model().parameters()))
    assert "changes" not in header
    run = prepared(tiny_shards, tmp_path / "run", GASP, options.start)
    folder_of(start, 9)
    with pytest.raises(ValueError, match="of another run"):
        train(GASP, options, Processes())
    with pytest.raises(ValueError, match="began with were changed since"):
        averaged_model(run, options)
