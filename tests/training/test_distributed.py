# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Two gloo processes against one: the same losses, and checkpoints that either can read.

Geometry is read by workers and gone through in parts there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from g2vlm_training.run.checkpoints import latest_checkpoint, load_state
from g2vlm_training.run.distribution import Processes, fresh_store, joined_processes, shared_mean

from tests.helpers import REPO
from tests.training import language_folders as folders
from tests.training.tiny import write_tiny_shards
from tests.training.tiny_run import AFTER, ALONE, BEFORE, losses_of, tiny_trainer

TOLERANCE = 1e-5
# Sharded quickly in the stage with the most parts; joint alone is tested in one process too.
WAYS = (
    ("ddp", "geometry"),
    pytest.param("fsdp", "joint", marks=pytest.mark.slow),
    ("fsdp", "gasp"),
    # Three conversations: one of two processes has one less, and goes on in step.
    pytest.param("fsdp", "semantic", marks=pytest.mark.slow),
)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six rooms: windows for two processes with two parts each; and five conversations."""
    folder = write_tiny_shards(tmp_path_factory.mktemp("six"), 2)
    rows = []
    for number in range(5):
        folders.picture(folder / f"talk/{number}.jpg", 40 * number, (60 + 8 * number, 44))
        turns = [{"question": f"What is {k}?", "answer": f"the {number}"} for k in range(2)]
        shown = [f"{number}.jpg"] if number % 3 else []  # some are in words alone
        rows.append({"pictures": shown, "turns": turns[: 1 + number % 2]})
    folders.jsonl(folder / "talk/train.jsonl", rows)
    return folder


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, shards: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with what one process and what two processes wrote, for the ways that are tested."""
    given = [getattr(item, "callspec", None) for item in request.session.items]
    named = [one.params for one in given if one is not None and {"way", "stage"} <= set(one.params)]
    ways = sorted({(one["way"], one["stage"]) for one in named})
    out = tmp_path_factory.mktemp("runs")
    words = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone"]
    words += ["--nproc-per-node", "2", "-m", "tests.training.tiny_run", str(shards), str(out)]
    words += [f"{way}:{stage}" for way, stage in ways]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.Popen(
        words, cwd=REPO, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    for _, stage in ways:
        losses_of(shards, out, Processes(), "ddp", stage)
    said, _ = two.communicate(timeout=300)
    assert two.returncode == 0, said.decode(errors="replace")[-4000:]
    return out


def _read(runs: Path, name: str) -> Any:
    return json.loads((runs / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("way", "stage"), WAYS)
def test_two_processes_have_the_losses_of_one(runs: Path, way: str, stage: str) -> None:
    one = _read(runs, f"1-ddp-{stage}")[0]
    first, second = _read(runs, f"2-{way}-{stage}")
    assert first["frames"] == second["frames"] == one["frames"]
    for step, (a, b, whole) in enumerate(
        zip(first["losses"], second["losses"], one["losses"], strict=True)
    ):
        assert a["loss"] != b["loss"], "both processes saw the same windows"
        mean = (a["loss"] + b["loss"]) / 2
        assert mean == pytest.approx(whole["loss"], abs=TOLERANCE), step
        assert a["gradient"] == b["gradient"]
        assert a["gradient"] == pytest.approx(whole["gradient"], rel=1e-4), step


@pytest.mark.parametrize(("way", "stage"), WAYS)
def test_two_processes_resume_with_the_same_next_losses(runs: Path, way: str, stage: str) -> None:
    for process in _read(runs, f"2-{way}-{stage}"):
        assert process["resumed"] == process["losses"][BEFORE:]
        assert len(process["resumed"]) == AFTER


@pytest.mark.parametrize(("way", "stage"), WAYS)
def test_one_process_goes_on_with_the_checkpoint_of_two(
    shards: Path, runs: Path, way: str, stage: str
) -> None:
    folder = runs / f"2-{way}-{stage}"
    newest = latest_checkpoint(folder)
    assert newest is not None
    assert newest.is_dir()
    alone = load_state(runs / f"1-ddp-{stage}" / f"{newest.name}.safetensors")
    together = load_state(newest)
    assert together.meta["step"] == alone.meta["step"] == BEFORE
    assert set(together.tensors) == set(alone.tensors)
    apart = size = 0.0
    for name, tensor in alone.tensors.items():
        assert together.tensors[name].shape == tensor.shape, name
        if not name.startswith("optimiser"):
            apart += float((together.tensors[name] - tensor).square().sum())
            size += float(tensor.square().sum())
    # Not bit by bit: AdamW makes whole steps of the rounding of weights that no loss hangs on.
    assert apart**0.5 < 1e-3 * size**0.5
    trainer = tiny_trainer(shards, folder, Processes(), kind=stage, **ALONE.get(stage, {}))
    one = _read(runs, f"1-ddp-{stage}")[0]["losses"][BEFORE]
    assert trainer.train_step()["loss"] == pytest.approx(one["loss"], abs=TOLERANCE)


def test_processes_started_again_share_nothing_with_the_dead() -> None:
    """In one store: what the first ones wrote, some of them half, is not read by the second."""
    store: Any = dist.HashStore()  # type: ignore[attr-defined]
    for dead in ("asks/1", "asks/2"):
        store.set(dead, "dead")

    def started(world: int) -> list[Any]:
        found: dict[int, Any] = {}

        def join(rank: int) -> None:
            time.sleep(0.02 * rank)  # the first looks before the others have asked
            found[rank] = fresh_store(store, rank, world)

        threads = [threading.Thread(target=join, args=(rank,)) for rank in range(world)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        return [found[rank] for rank in range(world)]

    for attempt, world in enumerate((3, 3, 2)):  # the last of a smaller number
        first, *others = started(world)
        assert not first.check(["address"]), "left by those before"
        first.set("address", f"of attempt {attempt}")
        assert [other.get("address").decode() for other in others] == [f"of attempt {attempt}"] * (
            world - 1
        )


def test_a_mean_in_one_process_is_a_mean() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    assert float(shared_mean(values.sum(), 3)) == 3.0
    assert float(shared_mean(values[:0].sum(), 0)) == 0.0


@pytest.mark.skipif(torch.cuda.is_available(), reason="is of machines without CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="device is 'cuda', but"), joined_processes("cuda"):
        pytest.fail("it runs elsewhere")


def test_too_few_windows_for_the_processes_are_refused() -> None:
    assert list(Processes(1, 3).windows(8)) == [1, 4, 7]
    with pytest.raises(ValueError, match="2 windows for 3 processes"):
        Processes(0, 3).windows(2)
