# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Training that is killed, or whose disk is full: what was saved stays, and is continued."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from g2vlm_training.run.checkpoints import latest_checkpoint, load_state
from g2vlm_training.run.distribution import Processes
from g2vlm_training.run.run import RunOptions, train
from g2vlm_training.run.runlog import RunLog
from g2vlm_training.run.start import Start
from g2vlm_training.run.trainer import Trainer

from tests.helpers import REPO, full_disk
from tests.training.dying_rank import DIED, STEPS
from tests.training.killed_run import MOMENTS
from tests.training.tiny import write_tiny_shards
from tests.training.tiny_run import CONFIG, tiny_trainer

FILE_BYTES = 100_000  # less than a checkpoint of the tiny model, more than a log


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """As in the runs that are killed: sums of several threads differ in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def saving_trainer(shards: Path, folder: Path) -> Trainer:
    """Saves after every step."""
    return tiny_trainer(shards, folder, Processes(), steps=4, save_steps=1, log_steps=1)


def test_a_full_disk_costs_checkpoints_and_not_the_run(
    tiny_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = saving_trainer(tiny_shards, tmp_path)
    trainer.run(until=2)
    with (
        full_disk(FILE_BYTES),
        pytest.raises(OSError, match=r"same command.*step-0000002") as caught,
    ):
        trainer.run()
    assert "step-0000004" in str(caught.value)
    assert trainer.step == 4, "the failed checkpoint of step 3 stopped the run"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["training goes on" in record.getMessage() for record in errors] == [True]
    assert [path.name for path in sorted(tmp_path.glob("*step-*"))] == [
        "step-0000001.safetensors",
        "step-0000002.safetensors",
    ]
    again = saving_trainer(tiny_shards, tmp_path)
    assert again.step == 2
    again.run()
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert load_state(newest).meta["step"] == 4


def test_a_full_disk_costs_an_export_and_not_the_run(tiny_shards: Path, tmp_path: Path) -> None:
    model, run = tmp_path / "model", tmp_path / "run"
    options = RunOptions(tiny_shards, run, Start(CONFIG.seed), model)
    config = dataclasses.replace(CONFIG, steps=1, save_steps=1)
    train(config, options, Processes())
    before = {path.name: path.read_bytes() for path in model.iterdir()}
    saved = (run / "step-0000001.safetensors").stat()
    says = r"model\.safetensors: the file is larger.*step-0000001.*trains nothing again"
    with full_disk(FILE_BYTES), pytest.raises(OSError, match=says):
        train(config, options, Processes())
    assert {path.name: path.read_bytes() for path in model.iterdir()} == before
    assert (run / "step-0000001.safetensors").stat() == saved, "what is there was written again"
    train(config, options, Processes())
    written = {path.name: len(path.read_bytes()) for path in model.iterdir()}
    assert written == {name: len(content) for name, content in before.items()}


@pytest.fixture(scope="module")
def killed(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of runs that were killed while they wrote their third checkpoint, by the moment."""
    out = tmp_path_factory.mktemp("killed")
    words = [sys.executable, "-m", "tests.training.killed_run", str(tiny_shards), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        words, cwd=REPO, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert json.loads(done.stdout) == dict.fromkeys(MOMENTS, signal.SIGKILL)
    return out


@pytest.fixture(scope="module")
def whole(tiny_shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    """Losses of the run that nothing interrupts."""
    trainer = tiny_trainer(tiny_shards, tmp_path_factory.mktemp("whole"), Processes())
    return [trainer.train_step()["loss"] for _ in range(4)]


@pytest.mark.parametrize(("moment", "kept"), [*zip(MOMENTS, (2, 2, 3), strict=True)])
def test_a_run_killed_while_it_writes_goes_on_with_the_same_losses(
    tiny_shards: Path, killed: Path, whole: list[float], moment: str, kept: int
) -> None:
    folder = killed / moment
    assert list(folder.glob(".step-0000003.safetensors.*.partial")), "the kill came too late"
    named = (folder / "step-0000003.safetensors").is_file()
    assert named == (moment == "after the name"), "the kill came at another moment"
    resumed = tiny_trainer(tiny_shards, folder, Processes(), save_steps=1)
    assert resumed.step == kept
    losses = [resumed.train_step()["loss"] for _ in range(4 - kept)]
    assert losses == whole[kept:]
    newest = resumed.save()
    assert load_state(newest).meta["step"] == 4
    assert len(list(folder.glob("*step-*"))) == 2, "what the killed run left is still there"


@pytest.mark.slow
def test_where_a_process_dies_torchrun_starts_all_again_and_they_go_on(tmp_path: Path) -> None:
    """With the losses of a run of one process that nothing interrupted."""
    shards, out = write_tiny_shards(tmp_path / "shards", 2), tmp_path / "out"
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    words += ["--nproc-per-node", "2", "--max-restarts", "1", "-m", "tests.training.dying_rank"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*words, str(shards), str(out)], cwd=REPO, env=environment, capture_output=True,
        text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert (out / DIED).is_file(), "nobody died"
    newest = latest_checkpoint(out)
    assert newest is not None
    assert newest.name == f"step-{STEPS:07d}"
    alone = tiny_trainer(shards, tmp_path / "alone", Processes(), windows=((4, 2),))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line in lines:
        assert line["loss"] == pytest.approx(alone.train_step()["loss"], abs=1e-5)


def test_the_log_forgets_what_a_resumed_run_does_again(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    for step in (1, 2, 3):
        log.write(step, {"loss": 1.0 / step})
    log.close()
    with log.path.open("a") as file:
        file.write('{"step": 4, "lo')
    again = RunLog(tmp_path, 2)
    again.write(3, {"loss": 7.0})
    again.close()
    entries = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert entries == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 0.5},
        {"step": 3, "loss": 7.0},
    ]
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))


def test_log_entries_that_do_not_fit_on_the_disk_are_counted(tmp_path: Path) -> None:
    log = RunLog(tmp_path, 0)
    log.path = Path("/dev/full")
    log.write(1, {"loss": 1.0})
    log.write(2, {"loss": 1.0})
    assert log.lost == 2
    log.close()
