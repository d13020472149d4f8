# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""One replay from start to end: recording played, everything measured and written."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from g2vlm_map.recordings import NS, Recording, cameras_of
from g2vlm_model.interface.command_line import reason
from g2vlm_model.interface.progress import Progress, progress
from g2vlm_model.interface.whole_files import only_writer

from .asking import Answer
from .depth_sensor import NOTE, straight_recording
from .errors import ReplayInputError
from .files import map_cloud, write_json, write_ply, write_tum
from .machine import describe_machine
from .metrics import failures
from .outcome import Outputs, Played, Timeline
from .question_file import Question, load_questions
from .report import ReportInput, write_report
from .run_options import MAP_FILE, RunOptions, parameters_of
from .scoring import Scores, score
from .summary import metrics_document, summary_lines, why_none

# Plays a recording to the model, and gives how it went, the answers and what came out; that is
# there to be read until the context ends.
Play = Callable[
    [Recording, RunOptions, list[Question], Timeline, Progress],
    AbstractContextManager[tuple[Played, list[Answer], Outputs]],
]
LOGGER = logging.getLogger(__name__)
RECORDED = "recorded"  # the one output that is a folder
OUTPUTS = (
    *("report.html", "metrics.json", "cloud.ply", "trajectory.tum"),
    *(MAP_FILE, "node.log", RECORDED),
)
LONG_PAUSE_S = 30.0
# The last one is what a writer that was killed leaves.
RECORDING_FILES = {"metadata.yaml", "recorded.mcap", "metadata.yaml.tmp"}


@dataclass(frozen=True)
class RunResult:
    """A finished replay: all numbers by name, and a few lines to print."""

    values: Mapping[str, float | None]
    scores: Scores
    summary: str
    failed: tuple[str, ...]
    why_none: str  # of a run without a scene


def replay(recording: Recording, options: RunOptions) -> RunResult:
    """Run the model on a recording and write everything.

    Raises:
        ReplayInputError: Questions or options are wrong, or the folder cannot be written.
        NodeFailedError: What ran the model died or did not become active.
    """
    stamps_ns = recording.info.stamps_ns
    questions = load_questions(options.questions, stamps_ns) if options.questions else []
    with _reserved(options.out):
        _clean(options.out, recording.info.path)
        return _replay(recording, options, questions)


def _replay(recording: Recording, options: RunOptions, questions: list[Question]) -> RunResult:
    if pause := long_pause(recording.info.times_ns, options.rate):
        LOGGER.warning("%s", pause)
    timeline = Timeline()
    with (  # it ends with what is broken off, ahead of the words about that
        progress(len(recording.info.stamps_ns), "starting", "frames") as shown,
        _way(options)(recording, options, questions, timeline, shown) as run,
    ):
        played, answers, outputs = run
        shown.stage("measuring, drawing")
        names = tuple(name for name in cameras_of(recording) if name)
        params = parameters_of(options.model, names)
        recording = straight_recording(recording, params)
        scores = score(recording, outputs, timeline, played, answers)
        source = params.depth.source
        if source != "model":
            scores = replace(scores, notes=(*scores.notes, NOTE.format(source=source)))
        return _write(recording, options, scores, timeline, played, outputs)


def _way(options: RunOptions) -> Play:
    """The function that runs the model; only the node's way needs ROS."""
    play: Play
    if options.in_process:
        from .in_process import play_in_process as play
    else:
        from .node.player import play_through_node as play
    return play


def _write(
    recording: Recording,
    options: RunOptions,
    scores: Scores,
    timeline: Timeline,
    played: Played,
    outputs: Outputs,
) -> RunResult:
    out = options.out
    final = scores.final
    unit = "as published: metres or map units" if final is None else final.unit
    write_tum(out / "trajectory.tum", scores.segments if final is None else final.path(), unit)
    cloud = None
    if final is not None and final.world is not None and final.segments:
        cloud = map_cloud(final.world, options.cloud_confidence, in_metres=final.unit == "m")
        axes = "axes of its first camera (x right, y down, z forward)"
        write_ply(out / "cloud.ply", cloud, f"{axes}, {unit}")
    failed = tuple(failures(options.conditions, scores.values))
    machine = describe_machine()
    document = metrics_document(recording, options, scores, timeline, played, machine)
    write_json(out / "metrics.json", document)
    report = ReportInput(
        title=options.title or f"Replay of {recording.info.path.resolve().name}",
        created=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        recording=recording,
        outputs=outputs,
        scores=scores,
        timeline=timeline,
        played=played,
        cloud=cloud,
        cloud_confidence=options.cloud_confidence,
        rate=options.rate,
        in_process=options.in_process,
        conditions=tuple(str(condition) for condition in options.conditions),
        failed=failed,
        system=machine,
    )
    write_report(out / "report.html", report)
    return RunResult(
        scores.values,
        scores,
        summary_lines(out, scores, recording.info.left_out, in_process=options.in_process),
        failed,
        why_none(scores, timeline),
    )


def long_pause(times_ns: tuple[int, ...], rate: float) -> str:
    """Words on the longest pause of a recording where playing it would look like a hang."""
    gaps_s = [(later - earlier) / NS for earlier, later in itertools.pairwise(times_ns)]
    if rate <= 0 or not gaps_s or max(gaps_s) / rate <= LONG_PAUSE_S:
        return ""
    after = gaps_s.index(max(gaps_s))
    return (
        f"the recording pauses for {max(gaps_s):.0f} s after frame {after}, and so will the "
        "replay; --rate 0 does not wait"
    )


@contextmanager
def _reserved(out: Path) -> Iterator[None]:
    """Make the folder and keep other replays out of it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReplayInputError(f"--out {out} cannot be written: {reason(error)}") from error
    with ExitStack() as held:
        try:
            held.enter_context(only_writer(out))
        except BlockingIOError:
            raise ReplayInputError(
                f"--out {out}: another replay writes there; wait for it or choose another folder"
            ) from None
        except OSError as error:
            raise ReplayInputError(f"--out {out} cannot be written: {reason(error)}") from error
        yield


def _clean(out: Path, source: Path) -> None:
    """Empty the folder: an earlier replay's files in it go, nothing else does.

    Raises:
        ReplayInputError: Something in it is no replay's, or is the source; nothing is gone then.
    """
    try:
        earlier = [out / name for name in OUTPUTS if os.path.lexists(out / name)]
        for old in earlier:
            if source.resolve().is_relative_to(old.resolve()):
                raise ReplayInputError(
                    f"--out {out} would delete {source}, which is to be replayed; choose another "
                    "folder"
                )
            if foreign := _foreign(old):
                raise ReplayInputError(
                    f"{foreign}, which no replay wrote; move it away or choose another --out"
                )
        for old in earlier:
            if old.is_symlink() or not old.is_dir():
                old.unlink()
            else:
                shutil.rmtree(old)
        with tempfile.TemporaryFile(dir=out):
            pass  # permission bits do not tell of read-only mounts, nor of root's own limits
    except OSError as error:
        raise ReplayInputError(f"--out {out} cannot be written: {reason(error)}") from error


def _foreign(old: Path) -> str:
    """What is there in the place of an earlier replay's output; empty where it is that output."""
    if old.is_symlink():
        return ""
    if old.is_dir() != (old.name == RECORDED):
        return f"{old} is a {'folder' if old.is_dir() else 'file'}"
    names = {item.name for item in old.iterdir()} - RECORDING_FILES if old.is_dir() else ()
    return f"{old} holds {min(names)}" if names else ""
