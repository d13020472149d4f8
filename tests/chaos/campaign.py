# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Breaks work off at every point and at any moment, and looks at what is left.

    python -m tests.chaos.campaign                       # everything
    python -m tests.chaos.campaign map build --random 5  # of some scenarios, few random moments
    python -m tests.chaos.campaign export --parts moments

For each scenario of `scenarios.py`:

- **points**: the renames, replaces and fsyncs of a whole run are counted; then there is a run for
  each of them that is killed there, and one for each fault of `points.FAULTS` that is raised there;
- **moments**: runs that get SIGKILL, and as many that get SIGTERM, at random moments; these share
  nothing with others (an export traces anew, where those of the points only write);
- **disks**: small file systems of growing size, one that is read-only, one without permission;
- **two**: two at once write to the same place.

After each: what is there can be read, no process is left, and the same work, started again, ends
well and leaves nothing hidden.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.common import print_table
from g2vlm_model.processes import INTERRUPTED

from .children import Child, be_subreaper
from .points import FAULTS, KILL, watch
from .scenarios import SCENARIOS, Scenario

__all__ = ["Campaign", "main"]

ORPHAN_S = 10.0
RUN_S = 900.0
NOBODY = 65534
PARTS = ("points", "disks", "two", "moments")
DISKS = 6  # sizes of small disks, from a twentieth of what a run takes to all but a little
HIDDEN_NAMES = (".partial", ".tmp", ".part")


@dataclass
class Campaign:
    """Runs of one scenario, and what was wrong.

    Args:
        scenario: What is broken off.
        root: A folder for it.
        random: Draws the moments.
        report: Gets what was found, after each run: a campaign that is stopped leaves that.
    """

    scenario: Scenario
    root: Path
    random: random.Random
    report: Path
    runs: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    points: list[str] = field(default_factory=list)
    seconds: float = 0.0
    started_s: float = field(default_factory=time.monotonic)

    def prepare(self) -> None:
        """Make the input, and run once without a fault: the points, the time it takes."""
        for module in self.scenario.modules:
            importlib.import_module(module)
        self.given = self.root / "given"
        self.given.mkdir(parents=True)
        self._must(Child(lambda: self._quiet(self.scenario.prepare)).wait(RUN_S), {0}, "prepare")
        log = self.root / "points.txt"
        out = self._fresh()
        started = time.monotonic()
        code = self._run(out, before=lambda: watch(log), anew=True).wait(RUN_S)
        self.seconds = time.monotonic() - started
        self._must(code, {0}, "the run without a fault")
        self._holds(self.scenario.whole, out, "the run without a fault")
        self.points = log.read_text().splitlines() if log.exists() else []
        self.bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
        if self.scenario.anew is not None:
            self._share()

    def _share(self) -> None:
        """Do once what runs share; they pass the same points with it as without."""
        self.scenario.share(self.given)
        out, log = self._fresh(), self.root / "shared.txt"
        self._must(self._run(out, before=lambda: watch(log)).wait(RUN_S), {0}, "a run that shares")
        self._holds(self.scenario.whole, out, "a run that shares")
        points = log.read_text().splitlines()
        if points != self.points:
            self._note("a run that shares", f"other points: {points}, not {self.points}")

    def at_points(self, faults: Sequence[str]) -> None:
        """A run for each point and fault."""
        for number, place in enumerate(self.points):
            for fault in faults:
                out, log = self._fresh(), self.root / "stopped.txt"
                what = f"{fault} at {number} {place}"
                code = self._run(
                    out,
                    before=functools.partial(watch, log, number, fault),
                ).wait(RUN_S)
                # A fault may be got over: what is only a convenience is done without.
                wanted = {-signal.SIGKILL} if fault == KILL else {0, *self.scenario.refusals}
                self._must(code, wanted, what)
                self._afterwards(out, what, fault)

    def at_moments(self, count: int) -> None:
        """Runs that get a signal at a random moment."""
        for number in (signal.SIGKILL, signal.SIGTERM):
            for _ in range(count):
                out = self._fresh()
                child = self._run(out, anew=True)
                moment = self.random.uniform(0.0, 1.05 * self.seconds)
                child.wait_or(moment)
                child.signal(number)
                name = signal.Signals(number).name
                what = f"{name} after {moment:.2f} s"
                code = child.wait(RUN_S)
                # The signal may come ahead of the handler, or when everything is done.
                wanted = {0, -number} if number == signal.SIGKILL else {0, -number, INTERRUPTED}
                self._must(code, wanted, what)
                self._afterwards(out, what, name)

    def on_bad_disks(self) -> None:
        """Small disks, one that is read-only, one that belongs to somebody else."""
        for step in range(1, DISKS + 1):
            size = max(20_000, int(self.bytes * (step / DISKS) * 0.95))
            with _disk(self.root / "disk", size) as place:
                if place is None:
                    self.runs["no small disks here"] += 1
                    return
                code = self._run(place).wait(RUN_S)
                self._must(code, {0, *self.scenario.refusals}, f"a disk of {size} bytes")
                self._afterwards(place, f"a disk of {size} bytes", "small disk", again=False)
        with _disk(self.root / "disk", 1 << 20) as place:
            assert place is not None
            _call("mount", "-o", "remount,ro", str(place))
            code = self._run(place).wait(RUN_S)
            self._must(code, set(self.scenario.refusals), "a read-only disk")
            self._afterwards(place, "a read-only disk", "read-only disk", again=False)
        out = self._fresh()
        out.chmod(0o755)
        code = self._run(out, before=_become_nobody).wait(RUN_S)
        self._must(code, set(self.scenario.refusals), "no permission")
        self._afterwards(out, "no permission", "no permission", again=False)

    def two_at_once(self) -> None:
        """Both end well, or one says why it does not; then what is there is whole."""
        out = self._fresh()
        children = [self._run(out), self._run(out)]
        codes = [child.wait(RUN_S) for child in children]
        for code in codes:
            self._must(code, {0, *self.scenario.refusals}, "two at once")
        if 0 not in codes:
            self._note("two at once", f"neither ended well: {codes}")
        self._afterwards(out, "two at once", "two at once")

    def _fresh(self) -> Path:
        shutil.rmtree(self.root / "out", ignore_errors=True)
        out = self.root / "out"
        out.mkdir()
        return out

    def _run(
        self, out: Path, before: Callable[[], object] = lambda: None, anew: bool = False
    ) -> Child:
        work_alone = self.scenario.anew if anew else None

        def work() -> int:
            before()
            return (work_alone or self.scenario.work)(self.given, out)

        return Child(work, self.root / "log.txt")

    def _quiet(self, call: Callable[[Path], object]) -> int:
        call(self.given)
        return 0

    def _afterwards(self, out: Path, what: str, kind: str, again: bool = True) -> None:
        """What is there can be read, nobody is left, the work can be done again."""
        self.runs[kind] += 1
        self._write()
        if left := _orphans():
            self._note(what, f"processes are left: {left}")
        self._holds(self.scenario.sound, out, what)
        if not again:
            return
        self._must(self._run(out).wait(RUN_S), {0}, f"again after {what}")
        self._holds(self.scenario.whole, out, f"again after {what}")
        hidden = [path.name for path in out.rglob(".*") if path.suffix in HIDDEN_NAMES]
        if hidden:
            self._note(what, f"remains after the next run: {hidden}")

    def _holds(self, check: Callable[[Path, Path], None], out: Path, what: str) -> None:
        def look() -> int:
            check(self.given, out)
            return 0

        code = Child(look, self.root / "check.txt").wait(RUN_S)
        if code:
            said = (self.root / "check.txt").read_text(errors="replace").splitlines()
            self._note(what, f"what is there is not sound: {said[-1:]}")

    def _must(self, code: int, wanted: set[int], what: str) -> None:
        log = self.root / "log.txt"
        said = log.read_text(errors="replace") if log.exists() else ""
        if code not in wanted:
            self._note(what, f"exit code {code}, wanted one of {sorted(wanted)}: {said[-300:]!r}")
        elif "Traceback" in said:
            self._note(what, f"a traceback: {said[-300:]!r}")

    def _write(self) -> None:
        content = {
            "scenario": self.scenario.name,
            "points": self.points,
            "runs": dict(self.runs),
            "faults": self.faults,
            "seconds_a_run": round(self.seconds, 2),
            "seconds": round(time.monotonic() - self.started_s, 1),
        }
        self.report.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    def _note(self, what: str, how: str) -> None:
        self.faults.append(f"{self.scenario.name}: {what}: {how}")
        self._write()
        print(f"  FAULT {self.faults[-1]}", flush=True)


def _orphans() -> list[str]:
    """Processes that this one has inherited and that do not end within `ORPHAN_S`."""
    deadline = time.monotonic() + ORPHAN_S
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        left = psutil.Process().children(recursive=True)
        if not left or time.monotonic() > deadline:
            names = []
            for process in left:
                with suppress(psutil.NoSuchProcess):
                    names.append(" ".join(process.cmdline())[-160:])
                    process.kill()
            return names
        time.sleep(0.05)


@contextmanager
def _disk(place: Path, size: int) -> Iterator[Path | None]:
    """A file system of some bytes; None where none may be mounted."""
    place.mkdir(exist_ok=True)
    if not _call("mount", "-t", "tmpfs", "-o", f"size={size},mode=0777", "chaos", str(place)):
        yield None
        return
    try:
        yield place
    finally:
        _call("umount", "-l", str(place))


def _call(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _become_nobody() -> None:
    """Give up the rights of root, which stop at no permission."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; 0 where no fault was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(SCENARIOS))
    parser.add_argument("--random", type=int, default=30, help="moments for each signal")
    parser.add_argument(
        "--faults", nargs="+", choices=FAULTS, default=list(FAULTS), help="at the points"
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/chaos"))
    given = parser.parse_args(argv)
    if unknown := set(given.scenarios) - set(SCENARIOS):
        parser.error(f"no scenario {sorted(unknown)}; there are {', '.join(SCENARIOS)}")
    be_subreaper()
    given.out.mkdir(parents=True, exist_ok=True)
    faults = 0
    for name in given.scenarios or SCENARIOS:
        # Not below a folder that only root may enter: one run is nobody's.
        with tempfile.TemporaryDirectory(prefix="g2vlm-chaos-") as root:
            Path(root).chmod(0o755)
            drawn, report = random.Random(given.seed), given.out / f"{name}.json"
            campaign = Campaign(SCENARIOS[name], Path(root), drawn, report)
            _one(campaign, given)
            faults += len(campaign.faults)
    return 1 if faults else 0


def _one(campaign: Campaign, given: argparse.Namespace) -> None:
    """One scenario."""
    campaign.prepare()
    name = campaign.scenario.name
    print(f"{name}: {len(campaign.points)} points, {campaign.seconds:.1f} s a run", flush=True)
    parts: dict[str, Callable[[], None]] = {
        "points": lambda: campaign.at_points(given.faults),
        "disks": campaign.on_bad_disks,
        "two": campaign.two_at_once,
        "moments": lambda: campaign.at_moments(given.random),
    }
    for part in PARTS:
        if part in given.parts:
            parts[part]()
    rows = [["broken off by", "runs"], *([kind, str(n)] for kind, n in campaign.runs.items())]
    print_table([*rows, ["faults found", str(len(campaign.faults))]])


if __name__ == "__main__":
    sys.exit(main())
