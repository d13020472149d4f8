# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fuzz all doors for as long as asked, and say what came of it: `make fuzz MINUTES=10`.

Each door gets its turns, a process per turn and tool (`worker.py`), so that a process that dies is
a finding and not the end. What was done adds up in OUT/counts.json over runs, whoever stops them;
the inputs that reached something new stay in OUT/doors/*/corpus. OUT/report.md says inputs by tool,
the share that came past the first check, findings, and which lines of each door were run.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.fuzz.doors import DOORS

__all__ = ["main"]

REPO = Path(__file__).parents[2]
TOOLS = ("hypothesis", "atheris")
WANTED, WANTED_AT_NODE = 1_000_000, 20_000
_GRACE_S = 240.0  # to import and to make seeds, on a machine that does other work too
_SCRATCH = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class Counts:
    """What all runs into one folder did, on disk after each turn.

    Args:
        file: JSON; made where it is missing.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self.doors: dict[str, dict[str, dict[str, Any]]] = {}
        self.node: dict[str, Any] = {}
        if file.is_file():
            content = json.loads(file.read_text())
            self.doors, self.node = content["doors"], content.get("node", {})

    def add(self, door: str, tool: str, told: dict[str, Any]) -> None:
        """Add one turn."""
        all_so_far = self.doors.setdefault(door, {}).setdefault(
            tool, {"inputs": 0, "past": 0, "seconds": 0.0, "findings": {}, "lines": {}}
        )
        for name in ("inputs", "past", "seconds"):
            all_so_far[name] += told[name]
        all_so_far["findings"].update(told["findings"])
        all_so_far["lines"].update(told["lines"])
        self.save()

    def save(self) -> None:
        """Write all."""
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps({"doors": self.doors, "node": self.node}, indent=1))
        os.replace(partial, self._file)

    def total(self, name: str, *tools: str) -> int:
        """Sum of one count over all doors."""
        return sum(
            int(one[name]) for told in self.doors.values() for tool, one in told.items()
            if not tools or tool in tools
        )  # fmt: skip


def turn(door: str, tool: str, seconds: float, out: Path, counts: Counts) -> bool:
    """One process at one door; whether it ended well."""
    folder = out / "doors" / door
    folder.mkdir(parents=True, exist_ok=True)
    told_file = folder / f"{tool}.json"
    told_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.worker", tool, door, str(seconds), str(folder)]
    with tempfile.TemporaryDirectory(prefix="g2vlm_fuzz_", dir=_SCRATCH) as scratch:
        environment = {**os.environ, "TMPDIR": scratch, "PYTHONHASHSEED": "0"}
        with (folder / f"{tool}.log").open("w") as log:
            try:
                code = subprocess.run(
                    command, stdout=log, stderr=log, cwd=REPO, env=environment, check=False,
                    timeout=seconds + _GRACE_S,
                ).returncode  # fmt: skip
            except subprocess.TimeoutExpired:
                code = -1
    told: dict[str, Any] = {"inputs": 0, "past": 0, "seconds": 0.0, "findings": {}, "lines": {}}
    if told_file.is_file():
        told = json.loads(told_file.read_text())
    if code:
        tail = (folder / f"{tool}.log").read_text(errors="replace")[-400:]
        told["findings"][f"{tool}-ended-{code}"] = f"the process ended with {code}: {tail}"
    counts.add(door, tool, told)
    return not code


def report(counts: Counts) -> str:
    """What was done, in Markdown."""
    inputs, past = counts.total("inputs", *TOOLS), counts.total("past", *TOOLS)
    rows = [
        "| door | hypothesis | atheris | past the first check | findings | lines of the door |",
        "|---|---|---|---|---|---|",
    ]
    for name in DOORS:
        told = counts.doors.get(name, {})
        by_tool = [int(told.get(tool, {}).get("inputs", 0)) for tool in TOOLS]
        done = sum(by_tool)
        share = sum(told.get(tool, {}).get("past", 0) for tool in TOOLS) / max(1, done)
        found = sum(len(one["findings"]) for one in told.values())
        lines = told.get("coverage", {}).get("lines", {})
        run, there = (sum(pair[at] for pair in lines.values()) for at in (0, 1))
        covered = f"{run} of {there} ({100 * run / there:.0f} %)" if there else "not measured"
        cells = [f"{count:,}" for count in by_tool]
        rows.append(f"| {name} | {' | '.join(cells)} | {share:.0%} | {found} | {covered} |")
    seconds = counts.total("seconds", *TOOLS)
    text = [
        "# Fuzz",
        "",
        f"{inputs:,} inputs to {len(DOORS)} doors ({counts.total('inputs', 'hypothesis'):,} by "
        f"hypothesis, {counts.total('inputs', 'atheris'):,} by atheris) in {seconds:,} s, "
        f"{past / max(1, inputs):.0%} past the first check; wanted: {WANTED:,} and half.",
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores.",
        "",
        *rows,
        "",
    ]
    if counts.node:
        text += ["## The real node", "", *(f"- {k}: {v}" for k, v in counts.node.items()), ""]
    for name, told in counts.doors.items():
        for tool, one in told.items():
            for place, why in one["findings"].items():
                text += [f"## {name}, {tool}, {place}", "", "```", why, "```", ""]
    return "\n".join(text)


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; 1 where it found something."""
    made = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    made.add_argument("--minutes", type=float, default=10.0)
    made.add_argument("--out", type=Path, default=REPO / "out" / "fuzz")
    made.add_argument("--turn", type=float, default=30.0, help="seconds of one process")
    made.add_argument("--doors", default=",".join(DOORS), help="which, with commas between")
    made.add_argument("--node", type=int, default=0, help="messages to the real node")
    given = made.parse_args(argv)
    given.out.mkdir(parents=True, exist_ok=True)
    counts = Counts(given.out / "counts.json")
    doors = given.doors.split(",")
    tools = [tool for tool in TOOLS if tool != "atheris" or importlib.util.find_spec("atheris")]
    if "atheris" not in tools:
        print("atheris is not installed: only hypothesis runs (requirements/fuzz.txt)", flush=True)
    if given.node:
        counts.node = _at_the_node(given.node, given.out, counts.node)
        counts.save()
    until = time.monotonic() + 60 * given.minutes
    while time.monotonic() < until:
        for name in doors:
            for tool in tools:
                left = until - time.monotonic()
                if left > 0:
                    turn(name, tool, min(given.turn, left), given.out, counts)
        (given.out / "report.md").write_text(report(counts))
    for name in doors if importlib.util.find_spec("coverage") else ():
        turn(name, "coverage", min(10.0, given.turn), given.out, counts)
    text = report(counts)
    (given.out / "report.md").write_text(text)
    print(text)
    return int(counts.total("inputs") == 0 or any(
        one["findings"] for told in counts.doors.values() for one in told.values()
    ) or bool(counts.node.get("findings")))  # fmt: skip


def _at_the_node(messages: int, out: Path, so_far: dict[str, Any]) -> dict[str, Any]:
    """Run `node.py` in a process of its own and add its counts up."""
    told = out / "node.json"
    told.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.fuzz.node", str(messages), str(told)]
    with (out / "node.log").open("w") as log:
        code = subprocess.run(command, stdout=log, stderr=log, cwd=REPO, check=False).returncode
    new: dict[str, Any] = json.loads(told.read_text()) if told.is_file() else {"findings": []}
    if code:
        new["findings"] = [*new["findings"], f"the process ended with {code}: see node.log"]
    for name, value in so_far.items():
        if name in ("messages", "findings", "questions", "refused", "scenes"):
            new[name] = value + new.get(name, type(value)())
        elif isinstance(value, (int, float)):
            new[name] = max(value, new.get(name, value))
    return new


if __name__ == "__main__":
    sys.exit(main())
