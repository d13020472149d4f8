"""One replay from start to end: node up, recording played, everything measured and written."""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rosbags.rosbag2 import WriterError
from tqdm import tqdm

from g2vlm_map.recordings.bag import BagSource, TopicChoice, is_bag
from g2vlm_map.recordings.bag_writer import BagWriter
from g2vlm_map.recordings.errors import ReplayInputError
from g2vlm_map.recordings.folder import FolderSource
from g2vlm_map.recordings.source import NS, ReplaySource

from .domain import ReservedDomain
from .evaluate import Evaluation, evaluate
from .fail_if import FailCondition, failures
from .files import merge_clouds, write_json, write_ply, write_tum
from .node_process import SCENE_TOPIC, STATUS_TOPIC, NodeOptions, NodeProcess
from .player import Player, PlayResult
from .questions import Question, load_questions
from .recorder import Recorder, Timeline
from .recording import Recording
from .report import ReportInput, write_report
from .summary import metrics_document, summary_lines
from .system import describe_system

LOGGER = logging.getLogger(__name__)
OUTPUTS = ("report.html", "metrics.json", "cloud.ply", "trajectory.tum", "node.log", "recorded")
LONG_PAUSE_S = 30.0
RECORDING_FILES = {"metadata.yaml", "recorded.mcap"}


@dataclass(frozen=True)
class RunOptions:
    """What the command line says beyond the source; see `cli.py`."""

    out: Path
    node: NodeOptions
    questions: Path | None = None
    rate: float = 1.0
    start_timeout_s: float = 180.0
    question_timeout_s: float = 0.0
    cloud_confidence: float = 0.3
    title: str = ""
    conditions: tuple[FailCondition, ...] = ()
    progress: bool = True


@dataclass(frozen=True)
class RunResult:
    """A finished replay: all numbers by name, and a few lines to print."""

    values: Mapping[str, float | None]
    evaluation: Evaluation
    summary: str
    failed: tuple[str, ...]


def open_source(
    path: Path, topics: Mapping[str, str], fps: float | None = None, limit: int = 0
) -> ReplaySource:
    """Open a bag or a folder of pictures.

    Args:
        path: what the user named.
        topics: fields of TopicChoice.
        fps, limit: see `FolderSource` and `BagSource`.

    Raises:
        ReplayInputError: Neither, or something about it is wrong.
    """
    if not path.exists():
        raise ReplayInputError(f"{path} does not exist; expected a bag or a folder of pictures")
    if path.is_dir() and not is_bag(path):
        return FolderSource(path, fps, limit)
    if path.suffix == ".bag":
        raise ReplayInputError(
            f"{path} is a ROS 1 bag; convert it first: rosbags-convert --src {path} --dst NEW"
        )
    if path.is_file() and not is_bag(path):
        raise ReplayInputError(
            f"{path} is no bag; expected a folder with metadata.yaml, a .mcap or .db3 file, or a "
            "folder of pictures"
        )
    return BagSource(path, TopicChoice(**topics), limit)


def replay(source: ReplaySource, options: RunOptions) -> RunResult:
    """Run the node on a source and write everything.

    Raises:
        ReplayInputError: Questions or options are wrong, or the folder cannot be written.
        NodeFailedError: The node died or did not become active.
    """
    questions = (
        load_questions(options.questions, source.info.stamps_ns) if options.questions else []
    )
    with _reserved(options.out):
        return _replay(source, options, questions, _clean(options.out, source.info.path))


def _replay(
    source: ReplaySource, options: RunOptions, questions: list[Question], out: Path
) -> RunResult:
    timeline = Timeline()
    try:
        with BagWriter(out / "recorded") as writer:
            played, answers = _play(source, options, questions, writer, timeline)
    except WriterError as error:
        raise ReplayInputError(f"cannot write {out / 'recorded'}: {error}") from error
    if options.progress:
        print("measuring, drawing the report ...", file=sys.stderr)
    recording = Recording(out / "recorded")
    evaluation = evaluate(source, recording, timeline, played, answers)
    write_tum(out / "trajectory.tum", evaluation.segments)
    cloud = None
    if evaluation.segments:
        longest = max(evaluation.segments, key=lambda segment: len(segment.stamps_ns))
        cloud = merge_clouds(recording.clouds(), longest, options.cloud_confidence)
        write_ply(
            out / "cloud.ply",
            cloud,
            f"segment {longest.number}, axes of its first camera (x right, y down, z forward), "
            "up to scale",
        )
    failed = tuple(failures(options.conditions, evaluation.values))
    system = describe_system()
    document = metrics_document(source, options, evaluation, timeline, played, system)
    write_json(out / "metrics.json", document)
    write_report(
        out / "report.html",
        ReportInput(
            title=options.title or f"Replay of {source.info.path.resolve().name}",
            created=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            source=source,
            recording=recording,
            evaluation=evaluation,
            timeline=timeline,
            played=played,
            cloud=cloud,
            cloud_confidence=options.cloud_confidence,
            rate=options.rate,
            conditions=tuple(str(condition) for condition in options.conditions),
            failed=failed,
            system=system,
        ),
    )
    return RunResult(evaluation.values, evaluation, summary_lines(out, evaluation), failed)


def _play(
    source: ReplaySource,
    options: RunOptions,
    questions: list[Question],
    writer: BagWriter,
    timeline: Timeline,
) -> tuple[PlayResult, Any]:
    from .asking import Asker
    from .link import NodeLink

    info = source.info
    recorder = Recorder(writer, SCENE_TOPIC, STATUS_TOPIC, timeline)
    log_file = options.out / "node.log"
    with (
        ReservedDomain() as domain,
        NodeProcess(options.node, info, domain.number, log_file) as process,
    ):
        link = NodeLink(info, domain.number, recorder)
        try:
            with _bar(len(info.stamps_ns), options.progress) as bar:
                shown = [""]

                def starting(state: str) -> None:
                    if shown[-1] != state:
                        shown.append(state)
                        bar.set_description_str(f"node: {state}")

                def played_one() -> None:
                    bar.update()
                    bar.set_postfix_str(f"{len(timeline.scene_s)} scenes", refresh=False)

                if pause := long_pause(info.times_ns, options.rate):
                    LOGGER.warning("%s", pause)
                link.wait_until_active(process, options.start_timeout_s, starting)
                link.wait_until_built(process, starting)
                bar.set_description_str("playing")
                bar.unpause()
                asker = Asker(questions, info.stamps_ns, link, timeline, options.question_timeout_s)
                player = Player(source, link, process, timeline, asker, played_one)
                played = player.play(options.rate)
            return played, asker.answers()
        finally:
            link.close()


def long_pause(times_ns: tuple[int, ...], rate: float) -> str:
    """Words on the longest pause of a recording where playing it would look like a hang."""
    gaps_s = [(later - earlier) / NS for earlier, later in itertools.pairwise(times_ns)]
    if rate <= 0 or not gaps_s or max(gaps_s) / rate <= LONG_PAUSE_S:
        return ""
    after = gaps_s.index(max(gaps_s))
    return (
        f"the recording pauses for {max(gaps_s):.0f} s after picture {after}, and so will the "
        "replay; --rate 0 does not wait"
    )


def _bar(total: int, show: bool) -> Any:
    return tqdm(
        total=total,
        unit="picture",
        file=sys.stderr,
        disable=not show,
        dynamic_ncols=True,
        desc="node: starting",
    )


@contextmanager
def _reserved(out: Path) -> Iterator[None]:
    """Make the folder and keep other replays out of it."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise ReplayInputError(f"--out {out} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        raise ReplayInputError(
            f"--out {out}: another replay writes there; wait for it or choose another folder"
        ) from None
    except OSError:
        LOGGER.debug("%s: this file system knows no locks", out)
    try:
        yield
    finally:
        os.close(folder)  # the lock ends with it


def _clean(out: Path, source: Path) -> Path:
    """Empty the folder: an earlier replay's files in it go, nothing else does."""
    try:
        for name in OUTPUTS:
            old = out / name
            if not os.path.lexists(old):
                continue
            if source.resolve().is_relative_to(old.resolve()):
                raise ReplayInputError(
                    f"--out {out} would delete {source}, which is to be replayed; choose another "
                    "folder"
                )
            if old.is_symlink() or not old.is_dir():
                old.unlink()
                continue
            if foreign := {item.name for item in old.iterdir()} - RECORDING_FILES:
                raise ReplayInputError(
                    f"{old} holds {min(foreign)}, which no replay wrote; move it away or choose "
                    "another --out"
                )
            shutil.rmtree(old)
        with tempfile.TemporaryFile(dir=out):
            pass  # permission bits do not tell of read-only mounts, nor of root's own limits
    except OSError as error:
        raise ReplayInputError(f"--out {out} cannot be written: {error.strerror}") from error
    return out
