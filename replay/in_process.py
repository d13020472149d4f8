# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Drives the pipeline in this process, without ROS: the same frames, questions and numbers.

At rate 0 each frame is handed in when nothing is left to be done for the one before, so every
frame is offered, none is overtaken, and the outcome is the same on every machine and in every
run. What comes out lies in a temporary folder until it was read, because a long run does not fit
into memory.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from g2vlm_map.mapping.store import MapFileError
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.questions import Mark as PipelineMark
from g2vlm_map.questions import Question as PipelineQuestion
from g2vlm_map.questions import Reply
from g2vlm_map.recordings import (
    NS,
    RecordedFrame,
    Recording,
    RigRecording,
    cameras_of,
)
from g2vlm_model.interface import SpatialRuntime
from g2vlm_model.interface.progress import Progress
from g2vlm_model.interface.whole_files import scratch_folder
from g2vlm_ros.params import NodeParams

from .asking import Answer, Asker
from .depth_sensor import depth_sensor
from .errors import NodeFailedError, ReplayInputError
from .feed import Feed, await_build, loaded
from .kept import KeptScenes, Listener, note_status
from .machine import ProcessWatch
from .map_metrics import FinalMap, segments_of
from .outcome import Outputs, Played, Timeline
from .question_file import Question
from .run_options import MAP_FILE, RunOptions, parameters_without_node

LOGGER = logging.getLogger(__name__)
SETTLE_TIMEOUT_S = 300.0
QUESTION_TIMEOUT_S = 120.0
SAMPLE_PERIOD_S = 0.01  # how often a pause of the recording is looked into


@contextmanager
def play_in_process(
    recording: Recording,
    options: RunOptions,
    questions: list[Question],
    timeline: Timeline,
    shown: Progress,
) -> Iterator[tuple[Played, list[Answer], Outputs]]:
    """Load the model, hand it the recording, ask it the questions.

    Args:
        recording: what to play.
        options: of the replay.
        questions: to ask.
        timeline: filled.
        shown: told how far it is.

    Yields:
        How it went, the answers, and what came out; the pipeline has ended then.

    Raises:
        ReplayInputError: A parameter is wrong, or names what is not there.
        NodeFailedError: The model cannot be loaded.
    """
    rig = recording.cameras if isinstance(recording, RigRecording) else {}
    params = parameters_without_node(options.model, tuple(rig))
    depth = depth_sensor(recording, params.depth.source, params.cameras[0])
    with scratch_folder(Path(tempfile.gettempdir()) / "g2vlm-replay") as folder:
        scenes = KeptScenes(folder, params.depth)
        shown.stage("loading")
        runtime = loaded(params)
        try:
            await_build(runtime, shown.stage)
            listener = Listener(timeline, scenes)
            with _pipeline(runtime, params, listener) as pipeline:
                listener.pipeline = pipeline
                feed = Feed(recording, params, pipeline, depth)
                player = _Player(recording, options, feed, pipeline, timeline, questions, shown)
                played = player.play()
                _save_map(pipeline, options.out / MAP_FILE)
                scenes.map = FinalMap.of_world(
                    pipeline.world, () if listener.before is None else segments_of(listener.before)
                )
        finally:
            runtime.close()
        if listener.failure is not None:
            raise NodeFailedError(f"a scene could not be kept: {listener.failure}")
        yield played, player.asker.answers(), scenes


def _pipeline(runtime: SpatialRuntime, params: NodeParams, listener: Listener) -> Pipeline:
    try:
        return Pipeline(runtime, params, listener)
    except ValueError as error:
        raise ReplayInputError(str(error)) from error


def _save_map(pipeline: Pipeline, path: Path) -> None:
    """Keep the map as the node would be asked to."""
    try:
        pipeline.save_map(path)
    except MapFileError as error:
        LOGGER.warning("the map is not kept: %s", error)


class _Player:
    """One playing of a recording into a pipeline."""

    def __init__(
        self,
        recording: Recording,
        options: RunOptions,
        feed: Feed,
        pipeline: Pipeline,
        timeline: Timeline,
        questions: list[Question],
        shown: Progress,
    ) -> None:
        self._recording = recording
        self._options, self._feed = options, feed
        self._pipeline = pipeline
        self._timeline = timeline
        self._shown = shown
        self._watch = ProcessWatch(os.getpid())
        self._frames = 0
        self._stalled = 0
        self._late_ms: list[float] = []
        self.asker = Asker(questions, recording.info.stamps_ns, self._ask, timeline)

    def play(self) -> Played:
        """Play everything, ask everything, and wait until all is done."""
        self._shown.begin("playing")
        self._feed.calibrate()
        started, cpu_s = time.monotonic(), self._watch.cpu_s()
        if self._options.rate > 0:
            self._play_in_time(self._options.rate)
        else:
            self._play_in_lockstep()
        while self.asker.ask_due(at_end=True, at_most=1):
            self._await_answers()
        self._await_answers()
        note_status(self._timeline, self._pipeline)
        return Played(
            time.monotonic() - started,
            self._frames,
            self._stalled,
            tuple(self._late_ms),
            self._watch.peak_rss_mib,
            self._watch.cpu_s() - cpu_s,
        )

    def _play_in_lockstep(self) -> None:
        for camera, frame in self._feed.frames():
            self._feed.sense_until(frame.time_ns)
            self._add(camera, frame)
            self._settle()
            while self.asker.ask_due(at_most=1):  # one by one: times without queueing
                self._await_answers()

    def _play_in_time(self, rate: float) -> None:
        first_ns = min(one.info.times_ns[0] for one in cameras_of(self._recording).values())
        started = time.monotonic()
        for camera, frame in self._feed.frames():
            due = started + (frame.time_ns - first_ns) / NS / rate
            self._feed.sense_until(frame.time_ns)
            while (left := due - time.monotonic()) > 0:
                self.asker.ask_due()
                self._watch.sample()
                time.sleep(min(left, SAMPLE_PERIOD_S))
            self._late_ms.append((time.monotonic() - due) * 1e3)
            self._add(camera, frame)
        self._settle()
        self.asker.ask_due()

    def _add(self, camera: str, frame: RecordedFrame) -> None:
        if camera == self._feed.reference:
            self._timeline.sent_s.setdefault(frame.stamp_ns, time.monotonic())
            self._shown.advance()
        self._feed.add(camera, frame)
        self._frames += 1
        self._watch.sample()
        self._shown.note(f"{len(self._timeline.scene_s)} scenes")

    def _settle(self) -> None:
        """Wait until the pipeline is done with what it has; for a pass at work however long."""
        while not self._pipeline.wait(SETTLE_TIMEOUT_S):
            if self._pipeline.snapshot().pass_s < 0:
                self._stalled += 1
                break
        note_status(self._timeline, self._pipeline)

    def _ask(self, question: Question, frame_ns: int, scene_ns: int) -> Future[Answer]:
        result: Future[Answer] = Future()
        asked = PipelineQuestion(
            question.text,
            marks=tuple(
                PipelineMark(mark.u, mark.v, mark.label, stamp_ns=frame_ns)
                for mark in question.marks
            ),
            stamp_ns=scene_ns,
            timeout_s=self._options.question_timeout_s,
            max_tokens=question.max_tokens,
            reason=question.reason,
        )
        self._pipeline.submit(
            asked, lambda reply: result.set_result(_answer_of(question, scene_ns, reply))
        )
        return result

    def _await_answers(self) -> None:
        def is_at_work() -> bool:
            now = self._pipeline.snapshot()
            return now.pass_s >= 0 or now.questions_open

        self.asker.wait(self._watch.sample, QUESTION_TIMEOUT_S, is_at_work)


def _answer_of(question: Question, scene_ns: int, reply: Reply) -> Answer:
    answer = reply.answer
    return Answer(
        question=question,
        scene_ns=scene_ns,
        status=answer.status.name,
        message=answer.message,
        text=answer.text,
        value=answer.value,
        unit=answer.unit,
        is_metric=answer.is_metric,
        confidence=answer.confidence,
        cross_check=answer.cross_check.name,
        text_value=answer.text_value,
        measured_value=answer.measured_value,
        measured_sigma=answer.measured_sigma,
        kind=answer.kind,
        source=answer.source.name,
        reply=answer.reply,
        queue_ms=reply.queue_ms,
        prefill_ms=answer.prefill_ms,
        decode_ms=answer.decode_ms,
        points=tuple((float(x), float(y), float(z)) for x, y, z in answer.points),
        labels=tuple(answer.labels),
    )
