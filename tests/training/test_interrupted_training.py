"""Training that is killed, or whose disk is full: what was saved stays, and is continued."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from g2vlm_training.batch import ClipPool
from g2vlm_training.checkpoints import latest_checkpoint, load_state
from g2vlm_training.distribution import Processes
from g2vlm_training.runlog import RunLog
from g2vlm_training.trainer import Trainer

from tests.helpers import REPO
from tests.training.tiny import write_tiny_shards
from tests.training.tiny_run import tiny_trainer

FILE_BYTES = 100_000  # less than a checkpoint of the tiny model, more than a log
CODE = """
import sys
from pathlib import Path
from g2vlm_training.batch import ClipPool
from g2vlm_training.distribution import Processes
from tests.training.test_interrupted_training import endless_trainer
endless_trainer(ClipPool(Path(sys.argv[1]), "train"), Path(sys.argv[2])).run()
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ClipPool:
    return ClipPool(write_tiny_shards(tmp_path_factory.mktemp("shards")), "train")


def endless_trainer(pool: ClipPool, folder: Path, steps: int = 10_000) -> Trainer:
    """Saves after every step, so that a kill is likely to hit a checkpoint."""
    trainer = tiny_trainer(pool, folder, Processes())
    trainer.config = dataclasses.replace(trainer.config, steps=steps, save_steps=1, log_steps=1)
    trainer.resume()
    return trainer


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file of this process grow beyond some bytes: writing a checkpoint fails half-way."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_costs_checkpoints_and_not_the_run(
    pool: ClipPool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = endless_trainer(pool, tmp_path, steps=4)
    trainer.run(until=2)
    with full_disk(), pytest.raises(OSError, match=r"free some space.*step-0000002") as caught:
        trainer.run()
    assert "step-0000004" in str(caught.value)
    assert trainer.step == 4, "the failed checkpoint of step 3 stopped the run"
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ["training goes on" in record.getMessage() for record in errors] == [True]
    assert [path.name for path in sorted(tmp_path.glob("*step-*"))] == [
        "step-0000001.safetensors",
        "step-0000002.safetensors",
    ]
    again = endless_trainer(pool, tmp_path, steps=4)
    assert again.step == 2
    again.run()
    newest = latest_checkpoint(tmp_path)
    assert newest is not None
    assert load_state(newest).meta["step"] == 4


def test_a_killed_run_goes_on_with_the_same_losses(pool: ClipPool, tmp_path: Path) -> None:
    whole = endless_trainer(pool, tmp_path / "whole")
    losses: list[float] = []
    for kill, seconds in enumerate((0.03, 0.11)):
        folder = tmp_path / "cut"
        begun = _newest_step(folder)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        words = [sys.executable, "-c", CODE, str(pool.folder), str(folder)]
        with subprocess.Popen(words, cwd=REPO, env=environment) as process:
            deadline = time.monotonic() + 200
            while _newest_step(folder) < begun + 2:
                assert process.poll() is None, "the run ended by itself"
                assert time.monotonic() < deadline, f"no second checkpoint after kill {kill}"
                time.sleep(0.01)
            time.sleep(seconds)
            process.kill()
        resumed = endless_trainer(pool, folder)
        assert resumed.step >= begun + 2
        while len(losses) <= resumed.step:
            losses.append(whole.train_step()["loss"])
        assert resumed.train_step()["loss"] == losses[resumed.step - 1]


def _newest_step(folder: Path) -> int:
    newest = latest_checkpoint(folder)
    return -1 if newest is None else int(newest.stem.removeprefix("step-"))


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
