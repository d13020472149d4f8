# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The campaign itself: it keeps what it finds, adds up what it did, and goes on behind a crash."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz import campaign, seeds
from tests.fuzz.doors import DOORS, Door, refused
from tests.fuzz.mutate import change_document, change_picture
from tests.fuzz.worker import Tally, from_choices, knock
from tests.helpers import REPO


def broken(take: Any) -> Door:
    return Door("broken", take, DOORS["word"].strategy, ())


def test_what_a_door_must_not_do_is_kept_once(tmp_path: Path) -> None:
    def take(given: bytes, folder: Path) -> bool:
        if given.startswith(b"bad"):
            raise OverflowError("nobody foresaw it")
        return given == b"good"

    tally = Tally("test", tmp_path)
    for given in (b"good", b"bad 1", b"other", b"bad 2"):
        knock(broken(take), given, tmp_path, tally)
    assert (tally.inputs, tally.past, len(tally.findings)) == (4, 1, 1)
    ((place, text),) = tally.findings.items()
    assert text.startswith("OverflowError")
    assert (tmp_path / f"finding-{place}").read_bytes() == b"bad 1"
    assert json.loads((tmp_path / "test.json").read_text())["findings"] == tally.findings


def test_a_slow_input_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.worker.SLOW_S", 0.01)

    def take(given: bytes, folder: Path) -> bool:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return True

    tally = Tally("test", tmp_path)
    knock(broken(take), b"x", tmp_path, tally)
    assert "CPU time" in next(iter(tally.findings.values()))


@pytest.mark.parametrize("text", ["", " ", "x" * 9000])
def test_a_refusal_says_why_and_not_too_much(text: str) -> None:
    with pytest.raises(AssertionError), refused(ValueError):
        raise ValueError(text)
    with pytest.raises(KeyError), refused(ValueError):
        raise KeyError("of another kind")


def test_choices_make_inputs_where_a_door_takes_no_bytes(tmp_path: Path) -> None:
    taken: list[Any] = []

    def take(given: Any, folder: Path) -> bool:
        taken.append(given)
        return True

    tally, rng = Tally("test", tmp_path), random.Random(1)
    knock_with = from_choices(Door("numbers", take, st.integers(0, 9), ()), tmp_path, tally)
    for _ in range(200):
        knock_with(rng.randbytes(rng.randrange(1, 40)))
    assert set(taken) == set(range(10))
    assert tally.inputs == len(taken), "bytes that make no input do not count"


def test_turns_add_up_and_a_dead_process_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = campaign.Counts(tmp_path / "counts.json")
    assert campaign.turn("word", "hypothesis", 0.5, tmp_path, counts)
    first = counts.total("inputs")
    assert first > 0
    again = campaign.Counts(tmp_path / "counts.json")
    assert again.total("inputs", "hypothesis") == first
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert not campaign.turn("word", "hypothesis", 0.5, tmp_path, again)
    assert again.total("inputs") == first
    text = campaign.report(again)
    assert f"{first:,} inputs to {len(DOORS)} doors" in text
    assert "the process ended with 1" in text


def test_changes_leave_the_structure_whole() -> None:
    rng = random.Random(1)
    png = next(data for data in seeds.pictures() if data.startswith(b"\x89PNG"))
    jpeg = next(data for data in seeds.pictures() if data.startswith(b"\xff\xd8"))
    past = [
        sum(DOORS["picture"].take(change_picture(whole, rng), Path()) for _ in range(100))
        for whole in (png, jpeg)
    ]
    assert min(past) > 40
    for _ in range(50):
        changed = change_document(seeds.questions()[0], rng)
        assert changed != seeds.questions()[0]


@pytest.mark.slow
def test_the_real_node_takes_or_refuses_in_words(tmp_path: Path) -> None:
    told = tmp_path / "node.json"
    command = [sys.executable, "-m", "tests.fuzz.node", "2000", str(told)]
    done = subprocess.run(
        command, cwd=REPO, env=os.environ, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    content = json.loads(told.read_text())
    assert content["scenes"] > 0
    assert content["refused"] > 100
