# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command: what it refuses, what it prints, and how it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from g2vlm_replay.errors import NodeFailedError
from g2vlm_view import cli, main

from tests.helpers import REPO, wait_for
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


GOING_ON = threading.Event()


def never(**given: str) -> Any:
    """A runtime whose weights turn out to be broken, after a while."""
    assert GOING_ON.wait(60.0)
    raise RuntimeError("the weights are cut off at byte 17")


async def told(url: str) -> tuple[list[str], str]:
    """What the page says of the status while the model loads, and what it answers to a command.

    Then the model goes on, and the last is what the page says before the server is gone.
    """
    said: list[str] = []
    refusal = ""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        async with session.get(url) as answer:
            assert b"<title>g2vlm view</title>" in await answer.read()
        async with session.ws_connect(url.split("?")[0] + "live") as line:
            await line.send_str(json.dumps({"id": 1, "do": "ask", "question": "How far is A?"}))
            async for message in line:
                heard = json.loads(message.data)
                if "state" in heard:
                    reason = heard["state"]["status"]["reasons"][0]
                    said.append(f"{reason['title']} {reason['text']}")
                else:
                    refusal = heard["text"]
                if said and refusal:
                    GOING_ON.set()
    return said, refusal


def test_the_page_is_there_before_the_model_and_says_why_it_cannot_be_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    GOING_ON.clear()
    drive = str(write_drive(tmp_path / "drive", 3))
    runtime = f"{__name__}:never"
    given = cli.parser().parse_args([drive, *SCRIPTED[2:], "--runtime", runtime])
    shown = ""

    def address() -> str:
        nonlocal shown
        shown += capsys.readouterr().out
        found = re.search(r"drive at (http://\S+)\n", shown)
        return found[1] if found else ""

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(cli._run, given)
        try:
            url = wait_for(address, 20.0, what="the address")
            said, refusal = asyncio.run(asyncio.wait_for(told(url), 30.0))
        finally:
            GOING_ON.set()
        with pytest.raises(NodeFailedError, match="cut off at byte 17"):
            running.result(20.0)
    assert said[0].startswith("loading the model …")
    assert refusal == "loading the model: it can be used after that"
    assert said[-1].endswith("the model cannot be loaded: the weights are cut off at byte 17")
