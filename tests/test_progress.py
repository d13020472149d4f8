# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Progress on a terminal, without one, and with `--quiet`."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios

from tests.helpers import REPO

WORK = """
import logging, sys, time
from g2vlm_model.interface import progress as module
from g2vlm_model.interface.command_line import CommandParser
from g2vlm_model.interface.words import log_plainly
parser = CommandParser(prog="work")
parser.add_subparsers().add_parser("now")
assert not vars(parser.parse_args(sys.argv[1:]))
log_plainly(logging.INFO, "%(message)s")
module._FIRST_LINE_S = 0.5
with module.progress(4, "digging", "holes", done=1) as shown:
    for number in range(3):
        time.sleep(0.9 if number == 1 else 0.0)  # the first line comes meanwhile
        shown.note("deep")
        shown.say(f"hole {number}")
        logging.warning("wet")
        shown.advance()
"""
COMMAND = [sys.executable, "-c", WORK, "now"]
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "G2VLM_QUIET"}
HOLES = ["hole 0", "hole 1", "hole 2"]


def test_without_a_terminal_lines_come_now_and_then() -> None:
    done = subprocess.run(COMMAND, capture_output=True, text=True, cwd=REPO, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == HOLES
    (line,) = (line for line in done.stderr.splitlines() if line != "wet")
    assert re.fullmatch(r"digging: 50%, 2 of 4 holes, deep, about \d s left", line)


def test_quiet_leaves_results_and_warnings() -> None:
    said = subprocess.run(
        [*COMMAND, "--quiet"], capture_output=True, text=True, cwd=REPO, env=ENVIRONMENT
    )
    assert (said.returncode, said.stdout.splitlines()) == (0, HOLES), said.stderr
    assert said.stderr.splitlines() == ["wet"] * 3


def on_terminal(work: str, columns: int = 120) -> tuple[list[str], str]:
    """What it says on stdout, and to the terminal that is its stderr."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-c", work, "now"]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=theirs, text=True, cwd=REPO, env=ENVIRONMENT
    )
    os.close(theirs)
    said = os.read(ours, 65536).decode()
    os.close(ours)
    assert done.returncode == 0, said
    return done.stdout.splitlines(), said


def test_a_terminal_has_a_bar_that_is_gone_at_the_end() -> None:
    results, said = on_terminal(WORK)
    assert results == HOLES
    assert "100%|" in said
    assert "4 of 4 holes, deep" in said
    assert said.count("wet\r\n") == 3
    assert not said.rpartition("\r\n")[2].rpartition("\r")[0].rpartition("\r")[2].strip()


def test_a_terminal_has_lines_where_tqdm_is_not_installed() -> None:
    for results, said in (
        on_terminal("import sys; sys.modules['tqdm'] = None" + WORK),
        on_terminal(WORK, columns=0),  # as a serial console
    ):
        assert results == HOLES
        assert "digging: 50%, 2 of 4 holes" in said
        assert "|" not in said
