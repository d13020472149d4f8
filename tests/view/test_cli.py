# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command: what it refuses, what it prints, and how it ends."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from g2vlm_view import main

from tests.helpers import REPO
from tests.view.viewed import write_drive

SCRIPTED = ("--runtime", "tests.ros.scripted_runtime:create", "--no-browser", "--port", "0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "got 0 sources, expected one"),
        (["x", "--camera", "0"], "got 2 sources"),
        (["/nowhere"], "/nowhere does not exist"),
        (["x", "--port", "70000"], "--port is 70000"),
        (["launch"], "launch"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("g2vlm view: ")
    assert said in lines[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_told_to_end(tmp_path: Path, number: int) -> None:
    drive = write_drive(tmp_path / "drive", 3)
    command = [sys.executable, "-m", "g2vlm_model.cli", "view", str(drive), *SCRIPTED]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=REPO,
        # A job in the background of a shell ignores Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"drive at (http://127\.0\.0\.1:(\d+)/\?token=\S+)", line)
        assert found, line
        opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        with opener.open(found[1], timeout=20) as answer:
            assert b"<title>g2vlm view</title>" in answer.read()
        process.send_signal(number)
        out, said = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "Traceback" not in said
        assert "g2vlm view: interrupted" in said
        assert not out
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", int(found[2]))) != 0
