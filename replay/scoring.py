# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From what came out of a run and the ground truth to the numbers of `metrics.METRICS`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from g2vlm_map.recordings import LeftOut, Recording, TruePoses
from g2vlm_map.status import DROP_CODES

from .asking import Answer
from .depth_metrics import DepthReport, resample_truth, score_depths
from .map_metrics import FinalMap, MapReport, published_nees, score_map
from .metrics import METRICS
from .outcome import Outputs, Played, Timeline
from .pose_metrics import PoseReport, PoseSegment, score_poses
from .question_file import Expected, compare

# More depth maps than this are thinned evenly: all are held in memory for the baseline.
MAX_DEPTH_FRAMES = 400
# The model never saw such a question, so its answer cannot be judged.
NOT_HEARD = {"NOT_ASKED", "REJECTED", "NO_SCENE", "CANCELLED"}


@dataclass(frozen=True)
class Judged:
    """An answer and whether it is right (None: no expectation, or not comparable)."""

    answer: Answer
    correct: bool | None


@dataclass(frozen=True)
class Scores:
    """Everything that was measured.

    Args:
        values: by name of `metrics.METRICS`; None where this run could not measure it.
        baselines: metric -> baseline -> value.
        depth, poses: the details, None without ground truth; the poses as they were published.
        final, map: the map at the end and its errors; None where it is not known.
        segments: the poses that came out, as they were published.
        answers: in the order of the questions file.
        drops: dropped frames by reason.
        latencies_ms: from handing in a frame to its scene, one per scene.
        notes: what a reader must know to read the numbers.
    """

    values: Mapping[str, float | None]
    baselines: Mapping[str, Mapping[str, float]]
    depth: DepthReport | None
    poses: PoseReport | None
    final: FinalMap | None
    map: MapReport | None
    segments: tuple[PoseSegment, ...]
    answers: tuple[Judged, ...]
    drops: Mapping[str, int]
    latencies_ms: tuple[float, ...]
    notes: tuple[str, ...]


def score(
    recording: Recording,
    outputs: Outputs,
    timeline: Timeline,
    played: Played,
    answers: Sequence[Answer],
) -> Scores:
    """Compute all metrics of a run.

    Args:
        recording: what was played, with its ground truth.
        outputs: the scenes that came out.
        timeline: when they did, and the counters.
        played: how the playing went.
        answers: to the questions.
    """
    notes: list[str] = []
    segments, final = outputs.segments(), outputs.final()
    truth = recording.true_poses()
    poses = _poses(truth, segments, notes)
    world = None if truth is None or final is None else score_map(final, timeline.scales, truth)
    depth = _depths(recording, outputs, notes)
    judged = tuple(_judge(answer, depth) for answer in answers)
    latencies = tuple(
        (timeline.scene_s[stamp] - sent) * 1e3
        for stamp, sent in timeline.sent_s.items()
        if stamp in timeline.scene_s
    )
    drops = dict(timeline.last.drops) if timeline.last is not None else {}
    values: dict[str, float | None] = dict.fromkeys(METRICS)
    baselines: dict[str, dict[str, float]] = {}
    _fill_depth(values, baselines, depth)
    _fill_poses(values, baselines, poses, world)
    _fill_map(values, final, world)
    _fill_run(values, recording, timeline, played, latencies)
    if truth is not None and poses is not None:
        spread = published_nees(segments, outputs.covariances(), truth)
        values["nees_published"] = _finite(spread)
    values["segments"] = float(len(segments if final is None else final.segments))
    _fill_answers(values, baselines, judged)
    return Scores(
        values=values,
        baselines=baselines,
        depth=depth,
        poses=poses,
        final=final,
        map=world,
        segments=tuple(segments),
        answers=judged,
        drops=drops,
        latencies_ms=latencies,
        notes=tuple(notes),
    )


def _poses(
    truth: TruePoses | None, segments: list[PoseSegment], notes: list[str]
) -> PoseReport | None:
    if truth is None:
        notes.append("No pose ground truth: ATE and RPE are not measured.")
        return None
    report = score_poses(segments, truth)
    notes.append(f"Pose ground truth: {truth.origin}.")
    if report is None:
        notes.append("No segment has three poses with a ground truth: ATE and RPE are missing.")
    elif report.segments_too_short or report.poses_without_truth:
        notes.append(
            f"{report.segments_too_short} segments with fewer than three poses and "
            f"{report.poses_without_truth} poses without a ground truth are not scored."
        )
    return report


def _depths(recording: Recording, outputs: Outputs, notes: list[str]) -> DepthReport | None:
    predicted = dict(_thinned(outputs, notes))
    left_out: list[LeftOut] = []
    pairs = [
        (stamp, predicted[stamp], resample_truth(truth, predicted[stamp].shape))
        for stamp, truth in recording.true_depths(predicted, left_out)
    ]
    if left_out:
        notes.append(
            f"{len(left_out)} true depth maps cannot be read and are not scored; the first: "
            f"{left_out[0]}."
        )
    report = score_depths(sorted(pairs, key=lambda pair: pair[0]))
    if report is None:
        notes.append("No depth ground truth at a scene: AbsRel and δ are not measured.")
    return report


def _thinned(outputs: Outputs, notes: list[str]) -> list[tuple[int, np.ndarray]]:
    stamps = [stamp for stamp, _ in outputs.depths()]
    keep = set(stamps)
    if len(stamps) > MAX_DEPTH_FRAMES:
        chosen = np.linspace(0, len(stamps) - 1, MAX_DEPTH_FRAMES).astype(int)
        keep = {stamps[index] for index in chosen}
        notes.append(f"{MAX_DEPTH_FRAMES} of {len(stamps)} depth maps are scored, evenly.")
    return [(stamp, depth) for stamp, depth in outputs.depths() if stamp in keep]


def _judge(answer: Answer, depth: DepthReport | None) -> Judged:
    expected = answer.question.expected
    if expected is None:
        return Judged(answer, None)
    if answer.status in NOT_HEARD:
        return Judged(answer, None)
    if answer.status not in {"OK", "TRUNCATED"}:
        return Judged(answer, False)
    scale = depth.scale_at(answer.scene_ns) if depth is not None else None
    words = answer.reply or answer.text
    return Judged(answer, compare(expected, words, answer.value, answer.unit, scale))


def _fill_depth(
    values: dict[str, float | None],
    baselines: dict[str, dict[str, float]],
    report: DepthReport | None,
) -> None:
    if report is None:
        return
    values["depth_frames"] = float(report.predicted.frames)
    values["depth_coverage"] = report.predicted.coverage
    for name in ("abs_rel", "delta_125"):
        values[name] = getattr(report.predicted, name)
        baselines[name] = {
            "mean_picture": getattr(report.mean_picture, name),
            "constant": getattr(report.constant, name),
        }


def _fill_poses(
    values: dict[str, float | None],
    baselines: dict[str, dict[str, float]],
    published: PoseReport | None,
    world: MapReport | None,
) -> None:
    """The final keyframes' errors, or where no map is known those of the published poses."""
    report = published if world is None or world.poses is None else world.poses
    if report is None:
        return
    if published is not None:
        values["ate_published_m"] = published.predicted.ate_m
    values["poses"] = float(report.poses)
    for name in ("ate_m", "rpe_trans_m", "rpe_rot_deg", "rot_median_deg", "direction_30"):
        values[name] = _finite(getattr(report.predicted, name))
        if name != "direction_30":  # what does not move has no direction
            baselines[name] = {"identity": getattr(report.identity, name)}
    baselines["ate_m"]["line"] = report.line_ate_m
    if (constant := _finite(report.constant_direction_30)) is not None:
        baselines["direction_30"] = {"constant": constant}


def _fill_map(
    values: dict[str, float | None], final: FinalMap | None, world: MapReport | None
) -> None:
    if final is not None:
        values["keyframes"] = float(sum(len(s.poses.stamps_ns) for s in final.segments))
        values["map_mib"] = final.nbytes / 2**20
        values["loops"] = float(len(final.loops))
    if world is not None:
        values["ate_se3_m"] = _finite(world.ate_se3_m)
        values["nees"] = _finite(world.nees)
        values["scale_error"] = _finite(world.scale.error)
        values["scale_inside"] = _finite(world.scale.inside)
        values["scale_scenes"] = float(world.scale.samples)
        values["loops_wrong"] = None if world.loops_wrong is None else float(world.loops_wrong)


def _fill_run(
    values: dict[str, float | None],
    recording: Recording,
    timeline: Timeline,
    played: Played,
    latencies_ms: Sequence[float],
) -> None:
    values["pictures"] = float(played.frames)
    values["pictures_unreadable"] = float(len(recording.info.left_out))
    values["scenes"] = float(len(timeline.scene_s))
    if (last := timeline.last) is not None:
        for name in ("received", "used", "dropped"):
            values[f"frames_{name}"] = float(getattr(last, name))
        values["frames_refused"] = float(
            sum(count for reason, count in last.drops.items() if DROP_CODES[reason] == "BAD_IMAGES")
        )
    for percent in (50, 90, 99):
        values[f"latency_p{percent}_ms"] = _percentile(latencies_ms, percent)
    values["observe_p50_ms"] = _percentile([item.observe for item in timeline.scene_times], 50)
    values["publish_p50_ms"] = _percentile([item.publish for item in timeline.scene_times], 50)
    values["wall_s"] = played.wall_s
    values["node_peak_rss_mib"] = played.peak_rss_mib
    values["node_cpu_cores"] = played.cpu_s / played.wall_s if played.wall_s > 0 else None


def _fill_answers(
    values: dict[str, float | None],
    baselines: dict[str, dict[str, float]],
    judged: Sequence[Judged],
) -> None:
    values["questions"] = float(len(judged))
    if not judged:
        return
    rated = [item.correct for item in judged if item.correct is not None]
    values["answers_ok"] = float(sum(item.answer.status == "OK" for item in judged))
    values["answers_judged"] = float(len(rated))
    values["answers_correct"] = float(sum(rated))
    values["answer_accuracy"] = sum(rated) / len(rated) if rated else None
    if rated:
        baselines["answer_accuracy"] = {"constant": constant_answer_accuracy(judged)}
    values["crosscheck_disagrees"] = float(
        sum(item.answer.cross_check == "DISAGREES" for item in judged)
    )
    values["answer_p50_ms"] = _percentile(
        [item.answer.total_ms for item in judged if item.answer.total_ms > 0], 50
    )


def constant_answer_accuracy(judged: Sequence[Judged]) -> float:
    """Accuracy of saying, for each kind of question, always what is right most often."""
    kinds: dict[str, list[Expected]] = {}
    for item in judged:
        truth = item.answer.question.expected
        if item.correct is not None and truth is not None:
            kinds.setdefault(item.answer.question.kind, []).append(truth)
    right = sum(
        max(
            sum(
                bool(compare(wanted, " ".join(said.texts[:1]), said.value, said.unit, None))
                for wanted in expected
            )
            for said in expected
        )
        for expected in kinds.values()
    )
    return right / sum(len(expected) for expected in kinds.values())


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return float(np.percentile(values, percent)) if len(values) else None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
