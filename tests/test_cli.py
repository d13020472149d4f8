# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The `g2vlm` command itself; what the sub-commands do is tested beside them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from g2vlm_model import cli
from tests.helpers import REPO

EXPECTED = {"replay", "train", "dataset", "evaluate"}


@pytest.fixture
def extra_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An installed third-party package that brings a sub-command of its own."""
    (tmp_path / "third_party.py").write_text(
        '"""Count the words.\n\nMore."""\n\n\ndef main(argv):\n    return len(argv)\n'
    )
    (tmp_path / "broken_party.py").write_text('"""Needs more."""\nimport surely_not_there\n')
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[g2vlm.commands]\nwords = third_party:main\nbroken = broken_party:main\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return "words"


def test_help_lists_every_command_with_one_line(
    extra_command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    rows = dict(line.split(None, 1) for line in text.splitlines() if line.startswith("  "))
    assert set(rows) >= {*EXPECTED, extra_command}
    assert rows[extra_command] == "Count the words."
    assert "not installed" not in text


def test_the_exit_code_and_the_arguments_are_the_commands_own(extra_command: str) -> None:
    assert cli.main([extra_command, "one", "--two", "three"]) == 3
    assert cli.main([extra_command]) == 0


def test_an_unknown_command_is_named_and_exits_with_2(
    extra_command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["wrods"]) == 2
    text = capsys.readouterr().err
    assert "unknown command 'wrods'" in text
    assert "did you mean 'words'?" in text


def test_help_of_a_command_is_its_own(extra_command: str) -> None:
    assert cli.main(["help", extra_command]) == 1  # called with the one word --help


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset", "synthetic", "--out", "OUT", "--frames", "-3"], "frames is -3, expected"),
        (["dataset", "synthetic", "--out", "/proc/self/x", "--shards", "1"], "/proc/self/x"),
        (["evaluate", "questions", "--root", "OUT"], "no test shards in"),
        (["train", "--config", "nope", "--data", "OUT", "--out", "OUT"], "no config 'nope'"),
    ],
)
def test_refused_input_is_one_line(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    assert cli.main(places) == 2
    text = capsys.readouterr().err
    assert text.startswith(f"g2vlm {words[0]}: ")
    assert says in text
    assert "Traceback" not in text


def test_faults_keep_their_traceback(extra_command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ValueError that our own code did not put into words."""
    third_party = importlib.import_module("third_party")
    monkeypatch.setattr(third_party, "main", lambda argv: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main([extra_command])


def test_no_command_prints_the_overview_and_exits_with_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main([]) == 2
    assert "usage: g2vlm COMMAND" in capsys.readouterr().err


TALKS = """
import sys, types
from g2vlm_model import cli
talk = types.SimpleNamespace(load=lambda: lambda words: print("x" * int(words[0])))
cli._commands = lambda: {"talk": talk}
cli.command()
"""


@pytest.mark.parametrize(
    "command",
    [
        ["-c", TALKS, "talk", "10"],
        ["-c", TALKS, "talk", "1000000"],
        ["-m", "g2vlm_model.cli", "help"],
        ["-m", "g2vlm_model.cli", "model", "--help"],
        ["-m", "g2vlm_model.cli", "export", "help"],
    ],
)
def test_who_reads_may_have_seen_enough(command: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, *command], stdout=writing, stderr=subprocess.PIPE, cwd=REPO, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_missing_dependency_is_named(
    extra_command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["broken"]) == 2
    assert "needs the Python package 'surely_not_there'" in capsys.readouterr().err


def test_the_installed_command_runs_and_is_light() -> None:
    """The script that set-up installs, in a process of its own; it loads no torch."""
    command = Path(sys.prefix) / "bin" / "g2vlm"
    if not command.exists():
        pytest.skip("not run from the environment that `make setup` makes")
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run([command, "help"], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "replay" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not {"torch", "rclpy", "cv2", "numpy"} & imported
