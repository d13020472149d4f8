# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm evaluate qa`: continuing, blind rows, refusals while asking, and the real nano."""

from __future__ import annotations

import argparse
import csv
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.evaluate.benchmarks import BENCHMARKS, cli
from g2vlm_training.evaluate.benchmarks.runner import AskOptions, ask_items
from g2vlm_training.evaluate.benchmarks.store import AnswerStore

from g2vlm_model.interface import SpatialAnswer, SpatialQuery
from g2vlm_model.runtimes import load_runtime
from tests.helpers import REPO, wait_for
from tests.training.benchmark_folders import (
    SPAR_ROWS,
    WRITERS,
    TalkingRuntime,
    write_lines,
    write_mindcube,
    write_spar,
)

TALKER = "tests.training.benchmark_folders:create"


def qa(*words: str) -> int:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return cli.run(parser.parse_args(words))


def evaluate(name: str, data: Path, out: Path, *options: str, model: str = "B") -> int:
    command = ["--benchmark", name, "--data", str(data), "--out", str(out)]
    return qa(*command, "--runtime", TALKER, "--model", model, *options)


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_command_prints_and_writes_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mindcube(tmp_path / "data")
    assert evaluate("mindcube", tmp_path / "data", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out" / "report.txt").read_text()
    row = next(line for line in printed.splitlines() if line.startswith("Avg."))
    assert row.split() == ["Avg.", "4", "25.00", "75.00", "25.00"]
    with open(tmp_path / "out" / "report.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["method"] for row in table] == ["n", "chance", "frequency", "talker-B"]
    assert table[3] == {
        "method": "talker-B",
        "Avg.": "25.00",
        "Rotation": "0.00",
        "Among": "0.00",
        "Around": "100.00",
    }
    content = json.loads((tmp_path / "out" / "report.json").read_text())
    assert content["model"] == "talker-B"
    assert content["tables"]["accuracy over questions"]["Avg."]["talker-B"] == 25.0


def test_evaluate_offers_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from g2vlm_training.evaluate_cli import main

    write_mindcube(tmp_path / "data")
    command = ["qa", "--benchmark", "mindcube", "--data", str(tmp_path / "data"), "--model", "B"]
    assert main([*command, "--out", str(tmp_path / "out"), "--runtime", TALKER]) == 0
    assert "Rotation" in capsys.readouterr().out


def test_json_instead_of_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_spar(tmp_path / "data")
    assert evaluate("spar", tmp_path / "data", tmp_path / "out", "--json") == 0
    assert json.loads(capsys.readouterr().out)["benchmark"] == "SPAR-Bench"


def test_blind_shows_grey_pictures_and_becomes_a_row(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_spar(tmp_path / "data")
    items = BENCHMARKS["spar"].read(tmp_path / "data").items
    runtime = TalkingRuntime({})
    with AnswerStore(tmp_path / "a.jsonl", {}, items) as store:
        ask_items(runtime, BENCHMARKS["spar"], items, store, AskOptions(blind=True))
    assert sorted(map(len, runtime.windows)) == [1, 2, 3]  # one encoding a number of pictures
    for window in runtime.windows:
        assert all(np.ptp(frame.image) == 0 for frame in window.frames)
    assert len(runtime.questions) == len(items)

    out = tmp_path / "out"
    assert evaluate("spar", tmp_path / "data", out) == 0
    assert evaluate("spar", tmp_path / "data", out, "--blind") == 0
    rows = (out / "report.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[2:]] == [
        *("chance", "frequency", "talker-B", "talker-B blind"),
    ]
    assert lines_of(out / "answers.jsonl")[0]["blind"] is False
    assert lines_of(out / "answers_blind.jsonl")[0]["blind"] is True


def test_a_killed_run_continues_where_it_was(tmp_path: Path) -> None:
    """Half a line at the end, as kill -9 leaves it, is asked again; whole lines are not."""
    write_spar(tmp_path / "data")
    benchmark = BENCHMARKS["spar"]
    items = benchmark.read(tmp_path / "data").items
    path = tmp_path / "out" / "answers.jsonl"
    failing = TalkingRuntime({"Where is the lamp": "FAIL"}, otherwise="2.0")
    with (
        AnswerStore(path, {"model": "m"}, items) as store,
        pytest.raises(RuntimeError, match="device failed"),
    ):
        ask_items(failing, benchmark, items, store, AskOptions())
    assert all(scene.closed for scene in failing.scenes)
    assert len(lines_of(path)) == 1 + 3
    with open(path, "a") as file:
        file.write('{"id": "obj_spatial_relation_oo/4", "item": "12')
    healthy = TalkingRuntime({}, otherwise="A")
    with AnswerStore(path, {"model": "m"}, items) as store:
        assert len(store.answers) == 3
        ask_items(healthy, benchmark, items, store, AskOptions())
        assert len(healthy.questions) == len(items) - 3
    answers = lines_of(path)[1:]
    assert [entry["answer"] for entry in answers] == ["2.0"] * 3 + ["A"] * 4
    assert {entry["id"] for entry in answers} == {item.id for item in items}


def test_kill_9_while_asking(tmp_path: Path) -> None:
    """A run in another process is killed; what it had answered is there and is not asked again."""
    write_mindcube(tmp_path / "data")
    path = tmp_path / "out" / "answers.jsonl"
    script = f"""
import time
from pathlib import Path
from tests.training.benchmark_folders import TalkingRuntime
from g2vlm_training.evaluate.benchmarks import BENCHMARKS, cli
from g2vlm_training.evaluate.benchmarks.runner import AskOptions, ask_items
from g2vlm_training.evaluate.benchmarks.store import AnswerStore
class Slow(TalkingRuntime):
    def ask(self, *args, **options):
        if len(self.questions) == 2:
            time.sleep(60)
        return super().ask(*args, **options)
benchmark = BENCHMARKS["mindcube"]
items = benchmark.read(Path({str(tmp_path / "data")!r})).items
with AnswerStore(Path({str(path)!r}), {{}}, items) as store:
    ask_items(Slow({{}}), benchmark, items, store, AskOptions())
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", script], cwd=REPO, env=environment)
    try:
        wait_for(
            lambda: path.is_file() and path.read_bytes().count(b"\n") == 3, 30.0, what="2 answers"
        )
        benchmark = BENCHMARKS["mindcube"]
        items = benchmark.read(tmp_path / "data").items
        with pytest.raises(ValueError, match="in use by another run"):
            AnswerStore(path, {}, items)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    runtime = TalkingRuntime({})
    with AnswerStore(path, {}, items) as store:
        ask_items(runtime, benchmark, items, store, AskOptions())
        assert len(store.answers) == 4
    assert len(runtime.questions) == 2


def test_another_model_or_other_options_are_not_mixed(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    assert evaluate("spar", tmp_path / "data", tmp_path / "out") == 0
    with pytest.raises(ValueError, match="model 'talker-B' there, 'talker-C' here"):
        evaluate("spar", tmp_path / "data", tmp_path / "out", model="C")
    with pytest.raises(ValueError, match="frames 24 there, 2 here"):
        evaluate("spar", tmp_path / "data", tmp_path / "out", "--frames", "2")
    write_mindcube(tmp_path / "cube")
    with pytest.raises(ValueError, match="benchmark 'spar' there, 'mindcube' here"):
        evaluate("mindcube", tmp_path / "cube", tmp_path / "out")


def test_other_data_is_not_mixed(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    assert evaluate("spar", tmp_path / "data", tmp_path / "out") == 0
    changed = [{**row, "question": f"{row['question']} Really?"} for row in SPAR_ROWS]
    write_lines(tmp_path / "data" / "spar.jsonl", changed)
    with pytest.raises(ValueError, match="answers another question"):
        evaluate("spar", tmp_path / "data", tmp_path / "out")
    moved = [{**row, "id": int(str(row["id"])) + 100} for row in SPAR_ROWS]
    write_lines(tmp_path / "data" / "spar.jsonl", moved)
    with pytest.raises(ValueError, match="answers none of the data's questions"):
        evaluate("spar", tmp_path / "data", tmp_path / "out")


def test_a_damaged_file_of_answers_is_refused(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    items = BENCHMARKS["spar"].read(tmp_path / "data").items
    path = tmp_path / "answers.jsonl"
    path.write_text('{"model": "m"}\nnonsense\n{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"answers\.jsonl:2 is no JSON object"):
        AnswerStore(path, {"model": "m"}, items)
    path.write_text('{"model": "m"}\n{"id": "x"}\n')
    with pytest.raises(ValueError, match=r"answers\.jsonl:2 is no answer"):
        AnswerStore(path, {"model": "m"}, items)


def test_pictures_added_later_are_asked_about(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    gone = tmp_path / "data" / "images" / "2_0.png"
    content = gone.read_bytes()
    gone.unlink()
    out = tmp_path / "out"
    assert evaluate("spar", tmp_path / "data", out) == 0
    text = (out / "report.txt").read_text()
    assert "refused 1 x missing picture or video; first: spar.jsonl:2: images/2_0.png" in text
    gone.write_bytes(content)
    assert evaluate("spar", tmp_path / "data", out) == 0
    assert len(lines_of(out / "answers.jsonl")) == 1 + len(SPAR_ROWS)
    assert "refused" not in (out / "report.txt").read_text()


def test_what_cannot_be_shown_or_asked_is_counted(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    (tmp_path / "data" / "images" / "1_0.png").write_text("no picture")
    rows = [*SPAR_ROWS[:2], {**SPAR_ROWS[3], "question": "x" * 5000 + "? A. left B. right"}]
    write_lines(tmp_path / "data" / "spar.jsonl", rows)
    out = tmp_path / "out"
    assert evaluate("spar", tmp_path / "data", out, model="4.0") == 0
    text = (out / "report.txt").read_text()
    assert "refused 1 x pictures that cannot be shown; first: depth_prediction_oc/1" in text
    assert "refused 1 x question that the model does not take" in text
    assert "question has 50" in text
    assert "1 of 3 questions are scored" in text
    row = next(line for line in text.splitlines() if line.startswith("Depth-OC "))
    assert row.split() == ["Depth-OC", "1", "-", "100.00", "100.00"]


def test_an_answer_that_did_not_come_is_counted(tmp_path: Path) -> None:
    from g2vlm_model.interface import AnswerStatus, Scene

    class Late(TalkingRuntime):
        def ask(self, scene: Scene, query: SpatialQuery, **options: object) -> SpatialAnswer:
            return SpatialAnswer(AnswerStatus.TIMEOUT, "too late")

    write_mindcube(tmp_path)
    items = BENCHMARKS["mindcube"].read(tmp_path).items
    with AnswerStore(tmp_path / "a.jsonl", {}, items) as store:
        refusals = ask_items(Late({}), BENCHMARKS["mindcube"], items, store, AskOptions())
    assert refusals.counts == {"no answer": 4}
    assert "TIMEOUT too late" in refusals.examples["no answer"]


def test_limit_spreads_over_the_file_and_can_be_raised(tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    out = tmp_path / "out"
    assert evaluate("spar", tmp_path / "data", out, "--limit", "2") == 0
    asked = [entry["id"] for entry in lines_of(out / "answers.jsonl")[1:]]
    assert asked == ["depth_prediction_oc/1", "position_matching/7"]
    assert evaluate("spar", tmp_path / "data", out, "--limit", "3") == 0
    asked = [entry["id"] for entry in lines_of(out / "answers.jsonl")[1:]]
    assert asked[2:] == ["obj_spatial_relation_oo/4"]


@pytest.mark.parametrize(
    ("option", "value", "match"),
    [
        ("--limit", "0", "limit is 0"),
        ("--frames", "0", "frames is 0"),
        ("--max-tokens", "0", "max_tokens is 0"),
        ("--runtime", "nonsense", "runtime 'nonsense' does not exist"),
    ],
)
def test_options_out_of_range(option: str, value: str, match: str, tmp_path: Path) -> None:
    write_spar(tmp_path / "data")
    with pytest.raises(ValueError, match=match):
        evaluate("spar", tmp_path / "data", tmp_path / "out", option, value)


def test_more_pictures_than_the_model_takes_is_a_refusal_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = functools.partial(load_runtime, max_frames=24)
    monkeypatch.setattr("g2vlm_training.evaluate.benchmarks.cli.load_runtime", short)
    WRITERS["ost"](tmp_path / "data")
    command = ["--benchmark", "ost", "--data", str(tmp_path / "data"), "--frames", "30"]
    assert qa(*command, "--out", str(tmp_path / "out"), "--model", "nano") == 0
    text = (tmp_path / "out" / "report.txt").read_text()
    assert "refused 1 x pictures that cannot be shown" in text
    assert "the window has 25 frames, the runtime takes 1 to 24" in text


def test_the_embedded_model_answers_every_layout(tmp_path: Path) -> None:
    """nano through its runtime: every question gets some answer, seeing and blind."""
    for name in ("spar", "vsi"):
        WRITERS[name](tmp_path / name)
        command = ["--benchmark", name, "--data", str(tmp_path / name), "--frames", "4"]
        command += ["--out", str(tmp_path / "out" / name), "--max-tokens", "8", "--model", "nano"]
        assert qa(*command) == 0
        assert qa(*command, "--blind") == 0
        content = json.loads((tmp_path / "out" / name / "report.json").read_text())
        assert content["refusals"] == []
        assert content["model"].startswith("nano@")
        headline = next(iter(content["tables"].values()))["Avg."]
        total = len(BENCHMARKS[name].read(tmp_path / name).items)
        assert headline["n"] == total
        for row in (content["model"], f"{content['model']} blind"):
            assert 0.0 <= headline[row] <= 100.0
        for kind in ("answers", "answers_blind"):
            assert len(lines_of(tmp_path / "out" / name / f"{kind}.jsonl")) == 1 + total
