# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Processes end when they are told to, and children with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from g2vlm_model import cli
from g2vlm_model.processes import INTERRUPTED, ended_by_signals, started
from tests.families import KINDS
from tests.helpers import REPO, wait_for

AGAIN_S = 1.2  # as `processes._AGAIN_S`, with room


@pytest.fixture
def families() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that end with the test."""
    made: list[subprocess.Popen[str]] = []
    yield made
    for process in made:
        process.kill()
        process.communicate()


def family(families: list[subprocess.Popen[str]], kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.families", kind],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_signals,
    )
    families.append(process)
    return process


def _hear_signals() -> None:
    """What a shell starts in the background ignores SIGINT, under nohup SIGHUP, and so do tests."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def gone(number: int) -> bool:
    try:
        return bool(psutil.Process(number).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("kind", KINDS)
def test_children_end_with_a_parent_that_is_killed(
    families: list[subprocess.Popen[str]], kind: str
) -> None:
    parent = family(families, kind)
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert children
    if kind != "pool":
        assert parent.stdout.readline() == "up\n"
    assert not any(map(gone, children))
    parent.kill()
    parent.wait()
    wait_for(lambda: all(map(gone, children)), 10.0, what="the children's end")


@pytest.mark.parametrize(
    ("kind", "printed"), [("lost", ""), ("imports", ""), ("starts", "joined\n")]
)
def test_an_interrupt_where_none_may_be_raised_comes_later(
    families: list[subprocess.Popen[str]], kind: str, printed: str
) -> None:
    """Python lets none out of a callback; an import swallows it, or C++ in it makes SIGABRT of it.

    And who starts a thread would not know of it.
    """
    process = family(families, kind)
    said, errors = process.communicate(timeout=20)
    expected = (INTERRUPTED, printed, f"g2vlm {kind}: interrupted\n")
    assert (process.returncode, said, errors) == expected


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["model", "info", "nano"], ["export", "plan"]])
def test_a_command_is_told_to_end_at_any_moment(words: list[str]) -> None:
    """From its start on: while Python starts, modules are imported, it works, and ends."""
    command = [sys.executable, "-m", "g2vlm_model.cli", *words]
    began = time.monotonic()
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    took_s = time.monotonic() - began
    seen = set()
    for moment in range(20):
        process = subprocess.Popen(
            command, cwd=REPO, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=_hear_signals,
        )  # fmt: skip
        time.sleep(took_s * moment / 20)
        process.terminate()
        said, errors = process.communicate(timeout=60)
        told = (process.returncode, errors)
        seen.add(told)
        # Ahead of its first line the signal does what it does to every process.
        assert told in (
            (INTERRUPTED, f"g2vlm {words[0]}: interrupted\n"),
            (done.returncode, done.stderr),
            (-signal.SIGTERM, ""),
        ), (moment, told)
        assert process.returncode == done.returncode or said in ("", done.stdout)
    assert any(code == INTERRUPTED for code, _ in seen) or words == ["--help"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_command_that_is_told_to_end_cleans_up_and_says_so(
    families: list[subprocess.Popen[str]], number: int
) -> None:
    process = family(families, "hang")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(number)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGTERM)  # the same request, by somebody else
    said, errors = process.communicate(timeout=20)
    assert said == "clean\n"
    assert errors == "g2vlm hang: interrupted\n"
    assert process.returncode == INTERRUPTED


def test_told_again_it_ends_at_once(families: list[subprocess.Popen[str]]) -> None:
    """Also from C that does not come back; what comes in the same moment is no second request."""
    process = family(families, "deaf hang")
    assert process.stdout is not None
    assert process.stdout.readline() == "hangs\n"
    began = psutil.Process(process.pid)
    spent = began.cpu_times().user
    wait_for(lambda: began.cpu_times().user > spent + 0.2, 20.0, what="work in C")
    for _ in range(3):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    time.sleep(AGAIN_S)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    said, errors = process.communicate(timeout=20)
    assert (said, errors) == ("", "told to end twice: ends at once\n")
    assert process.returncode == INTERRUPTED


def test_a_flood_is_one_request(families: list[subprocess.Popen[str]]) -> None:
    process = family(families, "hang")
    assert process.stdout is not None
    process.stdout.readline()
    while process.poll() is None:  # also beyond the second that parts two requests
        process.send_signal(signal.SIGINT)
        time.sleep(0.002)
    said, errors = process.communicate(timeout=20)
    assert said == "cleaning\nclean\n"
    assert errors == "g2vlm hang: interrupted\n"


def test_blocks_inside_each_other_are_one() -> None:
    with ended_by_signals() as told:
        with pytest.raises(KeyboardInterrupt), ended_by_signals() as inner:
            assert inner is told
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the same request
        assert told.asked


@pytest.mark.parametrize("became", [OSError, ImportError, RuntimeError])
def test_what_a_library_makes_of_an_interrupt_is_one_again(
    became: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also ahead of a command's own words for that error, which would be no answer to a signal."""

    def turned(words: list[str]) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except KeyboardInterrupt:
            raise became("multiarray failed to import") from None
        return 0

    monkeypatch.setattr(cli, "_commands", lambda: {"turned": SimpleNamespace(load=lambda: turned)})
    assert cli.main(["turned"]) == INTERRUPTED
    assert capsys.readouterr().err == "g2vlm turned: interrupted\n"


def test_signals_interrupt_a_block_once_and_are_as_before_behind_it() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with ended_by_signals() as told:
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)  # the same request
        assert told.asked
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupt_of_source_text_leaves_the_exit_code(tmp_path: Path) -> None:
    """As it comes while a dataclass is imported; `python -m` would end by SIGINT for it."""
    (tmp_path / "told.py").write_text(
        "from g2vlm_model.processes import leave\n"
        "try:\n    exec('raise KeyboardInterrupt')\n"
        "except KeyboardInterrupt:\n    leave(130)\n"
    )
    environment = {**os.environ, "PYTHONPATH": f"{REPO}:{tmp_path}"}
    told = subprocess.run([sys.executable, "-m", "told"], env=environment, cwd=tmp_path)
    assert told.returncode == INTERRUPTED


def test_an_ignored_signal_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals() as told:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not told.asked
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_child_that_cannot_be_started_leaves_no_descriptor() -> None:
    before = psutil.Process().num_fds()
    with pytest.raises(FileNotFoundError):
        started(["/no/such/program"])
    assert psutil.Process().num_fds() == before


@pytest.mark.parametrize("kind", ["leaves", "refuses"])
def test_told_to_end_while_it_ends_it_keeps_its_code(
    families: list[subprocess.Popen[str]], kind: str
) -> None:
    """All is done and written; SIGTERM's own code would say something else."""
    process = family(families, kind)
    assert process.stdout is not None
    assert process.stdout.readline() == "ends\n"
    process.send_signal(signal.SIGTERM)
    out, errors = process.communicate(timeout=20)
    assert (process.returncode, out, errors) == (3, "", "")


def test_it_ends_in_order_beside_a_thread_at_work(families: list[subprocess.Popen[str]]) -> None:
    """SIGABRT is what Python's own end makes of this one."""
    process = family(families, "at work")
    out, errors = process.communicate(timeout=60.0)
    assert (process.returncode, out, errors) == (3, "ends\ngiven back\n", "")
