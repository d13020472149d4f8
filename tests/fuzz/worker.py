# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A process that knocks at one door for a while: `python -m tests.fuzz.worker TOOL DOOR S FOLDER`.

TOOL is `hypothesis` (strategies, random seeds), `atheris` (libFuzzer guided by the coverage of the
product's Python code: it changes good files, most of the time inside of their structure, or, where
inputs are no bytes, the choices that a strategy makes one from), or `coverage` (both tools' inputs
again under coverage.py). It goes on behind a finding. What it did stands in FOLDER/TOOL.json,
written while it runs: a process that dies loses a second of its counts, and its input is kept.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.fuzz.doors import Door

__all__ = ["Tally", "from_choices", "knock"]

SLOW_S = 10.0  # CPU time of one input beyond which it is a finding
_EVERY_S = 1.0
_MOST_FINDINGS = 20
_MOST_BYTES = 64_000
_MOST_CHOICES = 2_000  # bytes that a strategy's choices are read from
_AFRESH, _ANYHOW = 0.4, 0.15  # shares of a guided run's changes: of a good input; of any bytes
_REPLAYED = 3000  # files of the guided run's corpus under coverage


class Tally:
    """Counts of one tool at one door, and what it found.

    Args:
        tool: Its name.
        folder: Of the door.
    """

    def __init__(self, tool: str, folder: Path) -> None:
        self.inputs = self.past = 0
        self.findings: dict[str, str] = {}  # by where it came from
        self.lines: dict[str, list[int]] = {}
        self._file = folder / f"{tool}.json"
        self._folder = folder
        self._started = self._told = time.monotonic()

    def tell(self, *, now: bool = False) -> None:
        """Write what is known, at most once a second."""
        at = time.monotonic()
        if not now and at - self._told < _EVERY_S:
            return
        self._told = at
        content = {
            "inputs": self.inputs, "past": self.past, "seconds": at - self._started,
            "findings": self.findings, "lines": self.lines,
        }  # fmt: skip
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(content))
        os.replace(partial, self._file)

    def found(self, given: Any, text: str) -> None:
        """Keep an input that must not do what it did, once for each place that it comes from."""
        place = hashlib.sha1(text.encode(errors="replace")).hexdigest()[:12]
        if place in self.findings or len(self.findings) >= _MOST_FINDINGS:
            return
        kept = self._folder / f"finding-{place}"
        content = given if isinstance(given, bytes) else repr(given).encode(errors="replace")
        kept.write_bytes(content)
        self.findings[place] = text
        self.tell(now=True)


def knock(door: Door, given: Any, folder: Path, tally: Tally) -> None:
    """Try one input and count it."""
    tally.inputs += 1
    started = time.process_time()
    try:
        tally.past += bool(door.take(given, folder))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of Rust is one
        frames = traceback.extract_tb(error.__traceback__)[-6:]
        place = "\n".join(f"{Path(one.filename).name}:{one.name}:{one.line}" for one in frames)
        tally.found(given, f"{type(error).__name__}\n{place}")
    spent_s = time.process_time() - started
    if spent_s > SLOW_S:
        tally.found(given, f"takes {SLOW_S:g} s and more of CPU time")
    tally.tell()


def _by_hypothesis(door: Door, seconds: float, folder: Path, tally: Tally) -> None:
    from hypothesis import HealthCheck, Phase, given, seed, settings

    until = time.monotonic() + seconds
    quick = settings(
        max_examples=500, database=None, deadline=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    while time.monotonic() < until or not tally.inputs:

        @seed(random.getrandbits(64))
        @quick
        @given(door.strategy)
        def run(given: Any) -> None:
            if time.monotonic() < until or not tally.inputs:
                knock(door, given, folder, tally)

        run()


def _by_atheris(
    load: Callable[[], Door], seconds: float, folder: Path, kept: Path, tally: Tally
) -> None:
    import atheris

    with atheris.instrument_imports(include=["g2vlm_map", "g2vlm_model", "g2vlm_replay"]):
        door = load()
    corpus = kept / "corpus"
    corpus.mkdir(exist_ok=True)
    good = door.seeds() if door.seeds is not None else ()
    for number, whole in enumerate(good):
        (corpus / f"seed-{number}").write_bytes(whole)
    made = from_choices(door, folder, tally)

    def one(data: bytes) -> None:
        if good:
            knock(door, data, folder, tally)
        else:
            made(data)

    def change(data: bytes, most: int, seed: int) -> bytes:
        rng = random.Random(seed)
        drawn = rng.random()
        if not good and (drawn > 1 - _AFRESH or not data):
            return rng.randbytes(rng.randint(1, _MOST_CHOICES))
        if drawn < _ANYHOW or not good:
            return bytes(atheris.Mutate(data, most))
        # What breaks its structure reaches new lines too and is kept: without good ones in
        # between, a run would soon try the first check only.
        whole = rng.choice(good) if not data or drawn > 1 - _AFRESH else bytes(data)
        return door.change(whole, rng)[:most]

    options = [
        f"-max_total_time={max(1, round(seconds))}", "-timeout=60",
        f"-max_len={_MOST_BYTES if good else 2 * _MOST_CHOICES}",
        "-rss_limit_mb=3072", f"-artifact_prefix={kept}/died-", "-verbosity=0", str(corpus),
    ]  # fmt: skip
    atheris.Setup([sys.argv[0], *options], one, custom_mutator=change)
    atheris.Fuzz()  # ends the process


def from_choices(door: Door, folder: Path, tally: Tally) -> Callable[[bytes], object]:
    """Knocks with what the door's strategy makes of bytes; nothing where they are too few."""
    from hypothesis import HealthCheck, given, settings

    @settings(database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(door.strategy)
    def run(given: Any) -> None:
        knock(door, given, folder, tally)

    drive: Callable[[bytes], object] = run.hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    return drive


def _under_coverage(
    load: Callable[[], Door], seconds: float, folder: Path, kept: Path, tally: Tally
) -> None:
    coverage = importlib.import_module("coverage")  # beside pytest on one distribution only
    watch = coverage.Coverage(data_file=None, config_file=False)
    watch.start()
    door = load()
    corpus = sorted(kept.glob("corpus/*"))
    random.Random(1).shuffle(corpus)
    made = from_choices(door, folder, tally)
    for path in corpus[:_REPLAYED]:
        if door.seeds is not None:
            knock(door, path.read_bytes(), folder, tally)
        else:
            made(path.read_bytes())
    _by_hypothesis(door, seconds, folder, tally)
    watch.stop()
    measured = {os.path.realpath(name): name for name in watch.get_data().measured_files()}
    for name in door.watched:
        ran = measured.get(os.path.realpath(name))
        if ran is None:
            tally.lines[name] = [0, 0]
            continue
        _, lines, _, missing, _ = watch.analysis2(ran)
        tally.lines[name] = [len(lines) - len(missing), len(lines)]


def _door(name: str) -> Door:
    from tests.fuzz.doors import DOORS

    return DOORS[name]


def main(arguments: list[str]) -> int:
    """Run one tool at one door."""
    tool, name, seconds, target = arguments[0], arguments[1], float(arguments[2]), arguments[3]
    kept = Path(target)
    kept.mkdir(parents=True, exist_ok=True)
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("error", RuntimeWarning)  # numpy's: it goes past log and reasons
    tally = Tally(tool, kept)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if tool == "atheris":
            _by_atheris(lambda: _door(name), seconds, folder, kept, tally)
        elif tool == "coverage":
            _under_coverage(lambda: _door(name), seconds, folder, kept, tally)
        else:
            _by_hypothesis(_door(name), seconds, folder, tally)
    tally.tell(now=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
