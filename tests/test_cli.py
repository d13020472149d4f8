# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The `g2vlm` command itself; what the sub-commands do is tested beside them."""

from __future__ import annotations

import errno
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

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
    (tmp_path / "later_party.py").write_text(
        '"""Needs more later."""\n\n\ndef main(argv):\n    import surely_not_there\n'
    )
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[g2vlm.commands]\nwords = third_party:main\nbroken = broken_party:main\n"
        "later = later_party:main\n"
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


# What a newcomer types, in a folder with empty/, file, bad.yaml, a film of pictures, and film.mp4,
# which is none.
MISTAKES = {
    "dataset synthetic --out out --frames -3": "frames is -3, expected",
    "dataset synthetic --out /proc/self/x --shards 1": "/proc/self/x: there is nothing",
    "dataset synthetic --out file --shards 1": "file: a file is there, where a folder is to be",
    "dataset": "kind is one of synthetic, bag, check, models, render; `g2vlm dataset --help` expl",
    "dataset synthetik": "did you mean synthetic? `g2vlm dataset --help` explains",
    "dataset bag nowhere --out out": "nowhere does not exist",
    "dataset bag empty --out out": "empty holds no frame",
    "dataset bag film.mp4 --out out": "film.mp4 is no bag; expected",
    "dataset bag empty --ot out": "the following arguments are required: --out",
    "evaluate questions --root out": "no test shards in",
    "evaluate geometri": "did you mean geometry?",
    "train --config nope --data empty --out out": "no config 'nope'; shipped ones are",
    "train --config bad.yaml --data empty --out out": "bad.yaml is no YAML: while parsing",
    "train --config nano": "give --data, the folder of shards",
    "train --data empty --out out": "make some with `g2vlm dataset synthetic",
    "train --data empty --out out --threads -4": "is '-4', expected a whole number from 1 on",
    "train --data empty --out out --steps ten": "is 'ten', expected a whole number from 1 on",
    "train --data empty --out out --dry-run --processes 0": "expected a whole number from 1 on",
    "train --cofnig nano": "did you mean --config? `g2vlm train --help` explains",
    "model info nowhere": "no model folder nowhere (embedded models: nano",
    "model inof nano": "did you mean info?",
    "model info nano --device cuda": "--device cuda; `g2vlm model info --help` explains",
    "model verify nano --devcie cpu": "did you mean --device? `g2vlm model verify --help` explains",
    "model verify nano --device cuda:64": "device is 'cuda:64', but",
    "dataset synthetic --out out --device cuda:64": "device is 'cuda:64', but",
    "evaluate questions --root out --device cuda:64": "device is 'cuda:64', but",
    "evaluate questions --root out --stretches all --device cuda:64": "device is 'cuda:64', but",
    "replay film --out out --fps 2 --in-process --device cuda:64": "device is 'cuda:64', but",
    "export onxx": "did you mean 'onnx'?",
    "replay nowhere --out out": "nowhere does not exist",
    "replay empty --out out --fps 0": "is '0', expected 0.01 to 1000",
    "replay empty --out out --raet 3": "did you mean --rate? `g2vlm replay --help` explains",
    "doctor nowhere.mcap": "nowhere.mcap",
    "doctor empty": "empty is no bag; expected a folder with metadata.yaml, or a .mcap, .db3",
    "doctor void.mcap": "void.mcap is empty (0 bytes): nothing was recorded; record it again",
    "replay film --out out --in-process --questions no.json": "no.json: there is nothing of that",
    "replay film --out out --in-process --params empty": "empty: a folder is there, where a file",
    "replay compare empty empty": "empty/metrics.json: there is nothing of that name; look for a",
    "evaluate questions --root empty --json empty": "empty: a folder is there, where a file is to",
    "evaluate questions --root empty --calibrate file/c": "file: a file is there, where a folder",
    "evaluate stretches all --data empty --out file": "file/kitchen_a: a file is there, where a",
    "dataset models --out file": "--out file is a file, expected a folder",
    "doctor --params nowhere.yaml": "nowhere.yaml: there is nothing of that name; look for",
    "view": "got 0 sources, expected one",
    "view --camera 97": "camera 97 cannot be opened or gives no frame; of /dev/video* there is",
    "view --camera first": "is 'first', expected a whole number from 0 on",
    "view empty --speed fast": "is 'fast', expected 0 to 1000; `g2vlm view --help` explains",
    "view empty --points 3": "is '3', expected a whole number from 1000 on",
    "viwe": "did you mean 'view'?",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_refused_input_is_one_line_that_says_the_next_step(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("hello")
    (tmp_path / "void.mcap").touch()
    (tmp_path / "film.mp4").write_bytes(b"no film")
    (tmp_path / "film").mkdir()
    for number in range(2):
        Image.new("RGB", (64, 48)).save(tmp_path / "film" / f"{number}.png")
    (tmp_path / "bad.yaml").write_text("a: [b\n")
    try:
        code = cli.main(line.split())
    except SystemExit as ended:  # of the parser
        code = int(str(ended.code))
    said = capsys.readouterr()
    lines = said.err.splitlines()
    assert (code, said.out, len(lines)) == (2, "", 1), said
    assert lines[0].startswith("g2vlm")
    assert MISTAKES[line] in lines[0]


def refuses(error: Exception) -> Callable[[list[str]], int]:
    def command(words: list[str]) -> int:
        raise error

    return command


def said_by_the_system(number: int, *names: str | bytes) -> OSError:
    return OSError(number, os.strerror(number), *names)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (said_by_the_system(errno.EACCES, "/there/a"), "/there/a: permission denied; choose"),
        (said_by_the_system(errno.ENOSPC), "the disk is full; make room"),
        (said_by_the_system(errno.EFBIG), "the file is larger than may be written; `ulimit"),
        (said_by_the_system(errno.EROFS, b"/mnt/a"), "/mnt/a: nothing can be written there"),
        (said_by_the_system(errno.EISDIR, "a"), "a: a folder is there, where a file"),
        (OSError(errno.ENOSPC, "take --out", "a"), "[Errno 28] take --out: 'a'"),
        (MemoryError(), "no memory is left; take a smaller model"),
        (OSError("the store is in use; wait"), "the store is in use; wait"),
    ],
)
def test_what_the_system_refuses_is_said_with_the_next_step(
    error: Exception, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = SimpleNamespace(load=lambda: refuses(error))
    monkeypatch.setattr(cli, "_commands", lambda: {"write": command})
    assert cli.main(["write"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"g2vlm write: {says}")


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


@pytest.mark.parametrize("name", ["broken", "later"])  # at its import, and on its way
def test_a_missing_dependency_is_named(
    extra_command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name]) == 2
    assert "needs the Python package 'surely_not_there'" in capsys.readouterr().err


def test_what_the_package_names_is_brought_by_an_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lacks(module: str) -> Callable[[list[str]], int]:
        return refuses(ModuleNotFoundError(f"No module named '{module}'", name=module))

    for command, module, says in (
        ("replay", "evo.core", "; pip install 'g2vlm_ros[replay]'"),
        ("view", "cv2", "; pip install 'g2vlm_ros[view]'"),
        ("analyse", "h5py", "; pip install 'g2vlm_ros[train]'"),
        ("model", "torch", "; pip install torch"),
    ):
        one = SimpleNamespace(load=lambda module=module: lacks(module))
        monkeypatch.setattr(cli, "_commands", lambda command=command, one=one: {command: one})
        assert cli.main([command]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith(f"g2vlm {command} needs the Python package {module!r}: No module")
        assert line.endswith(says)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert re.fullmatch(r"g2vlm_ros \d+\.\d+\.\d+\n", capsys.readouterr().out)


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
