# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a replay says in words and numbers: metrics.json and the closing lines."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from g2vlm_map.recordings import LeftOut, Recording, cameras_of
from g2vlm_model.interface.words import plain

from .metrics import BASELINES, METRICS
from .outcome import Played, Timeline
from .pose_metrics import rotation_angle_deg
from .scoring import Judged, Scores

if TYPE_CHECKING:
    from .run_options import RunOptions

FORMAT_VERSION = 1
# Numbers of each scene in metrics.json: title, unit, and the metric that says which is better.
PER_SCENE = {
    "abs_rel": ("Depth AbsRel, scenes", "", "abs_rel"),
    "position_error_m": ("Position error, keyframes", "m", "ate_m"),
    "rotation_error_deg": ("Rotation error, keyframes", "°", "rpe_rot_deg"),
    "latency_ms": ("Latency, scenes", "ms", "latency_p50_ms"),
}
_LINES, _LINE_CHARS = 5, 160  # of what was left out, on the terminal
SCALE_WORDS = (
    "Depth is compared after multiplying each depth map by the median of the ratios, ATE after "
    "one Sim(3) alignment per segment; both take the scale from the ground truth. What is in "
    "metres is said to be."
)


def metrics_document(
    recording: Recording,
    options: RunOptions,
    scores: Scores,
    timeline: Timeline,
    played: Played,
    system: Mapping[str, str],
) -> dict[str, Any]:
    """The content of metrics.json; docs/replay.md describes it."""
    info = recording.info
    return {
        "format_version": FORMAT_VERSION,
        "scale": SCALE_WORDS,
        "metrics": dict(scores.values),
        "baselines": scores.baselines,
        "units": {name: metric.unit for name, metric in METRICS.items()},
        "meanings": {name: metric.meaning for name, metric in METRICS.items()},
        "drops": scores.drops,
        "input": {
            "path": info.path.resolve().name,
            "kind": info.kind,
            "image_topic": info.image_topic,
            "image_type": info.image_type,
            "camera_info_topic": info.info_topic,
            "frame_id": info.frame_id,
            "cameras": [name for name in cameras_of(recording) if name],
            "pictures": len(info.stamps_ns),
            "unreadable": [item.name for item in info.left_out],
            "left_out": [str(item) for item in info.left_out],
            "height_width": list(info.size_hw),
            "duration_s": info.duration_s,
            "notes": list(info.notes),
        },
        "replay": {
            "rate": options.rate,
            "in_process": options.in_process,
            "stalled_pictures": played.stalled,
            "late_ms_max": max(played.late_ms, default=None),
            "parameters": {**options.model.file_values, **options.model.own_values},
            "fail_if": [str(condition) for condition in options.conditions],
        },
        "node": asdict(timeline.ran_with) if timeline.ran_with is not None else {},
        "scenes": scene_rows(scores, timeline),
        "segments": [
            {
                "number": segment.number,
                "poses": len(segment.stamps_ns),
                "first_stamp_ns": segment.stamps_ns[0],
                "last_stamp_ns": segment.stamps_ns[-1],
            }
            for segment in scores.segments
        ],
        "answers": [_answer_entry(item) for item in scores.answers],
        "notes": list(scores.notes),
        "system": dict(system),
    }


def scene_rows(scores: Scores, timeline: Timeline) -> list[dict[str, float]]:
    """What is known of single scenes and keyframes, by stamp, for comparisons in pairs.

    Errors of poses are those of the final map where there is one, laid onto the truth by segment.
    """
    rows: dict[int, dict[str, float]] = {}
    for stamp, error in scores.depth.per_frame if scores.depth is not None else ():
        rows.setdefault(stamp, {})["abs_rel"] = error.abs_rel
    poses = scores.poses
    if scores.map is not None and scores.map.poses is not None:
        poses = scores.map.poses
    for segment in poses.segments if poses is not None else ():
        own, true = segment.T_world_cam_M44, segment.truth_T_world_cam_M44
        metres = np.linalg.norm(own[:, :3, 3] - true[:, :3, 3], axis=1)
        degrees = rotation_angle_deg(np.swapaxes(true[:, :3, :3], 1, 2) @ own[:, :3, :3])
        for stamp, metre, degree in zip(segment.stamps_ns, metres, degrees, strict=True):
            known = {"position_error_m": float(metre), "rotation_error_deg": float(degree)}
            rows.setdefault(stamp, {}).update(known)
    for stamp, sent in timeline.sent_s.items():
        if stamp in timeline.scene_s:
            rows.setdefault(stamp, {})["latency_ms"] = (timeline.scene_s[stamp] - sent) * 1e3
    return [{"stamp_ns": stamp, **rows[stamp]} for stamp in sorted(rows)]


def why_none(scores: Scores, timeline: Timeline) -> str:
    """Why no scene came out: what became of the frames, and the reasons in force at the end."""
    last = timeline.last
    reasons = () if last is None else last.reasons
    told = (f"{code}: {timeline.reason_texts.get(code, '')}" for code in reasons)
    return "; ".join([dropped_words(scores), *told])


def dropped_words(scores: Scores) -> str:
    """What became of the frames of a run without a scene."""
    dropped = ", ".join(f"{count} {reason}" for reason, count in scores.drops.items())
    count = _count(scores.values["pictures"] or 0)
    waited = f"none, {count} waited for more that differ (window.min_moments)"
    return f"dropped {dropped or waited}"


def summary_lines(
    out: Path, scores: Scores, left_out: Sequence[LeftOut] = (), *, in_process: bool
) -> str:
    """A few friendly lines: where to look and the key numbers beside their baselines.

    Args:
        out: The run's folder.
        scores: What was measured.
        left_out: What of the recording was not played.
        in_process: There was no node.
    """
    values = scores.values
    lines = [
        "",
        f"  {_count(values['scenes'])} scenes from {_count(values['pictures'])} frames, "
        f"latency {_number(values['latency_p50_ms'])} ms (median)",
    ]
    if not values["scenes"]:
        hint = "" if in_process else f"; see {out / 'node.log'}"
        lines.append(f"  Nothing came out: {dropped_words(scores)}{hint}")
    if left_out:
        shown = [plain(f"    {item}", _LINE_CHARS) for item in left_out[:_LINES]]
        more = len(left_out) - len(shown)
        lines += [f"  Left out of the recording: {len(left_out)}", *shown]
        lines += [f"    ... {more} more in metrics.json"] if more > 0 else []
    lines += _beside_baselines(scores)
    if judged := values["answers_judged"]:
        constant = scores.baselines["answer_accuracy"]["constant"] * judged
        lines.append(
            f"  Answers {_count(values['answers_correct'])} right of {judged:.0f}  "
            f"({BASELINES['answer_accuracy']['constant']} {constant:.0f})"
        )
    lines += [
        "",
        f"  Report:  {out / 'report.html'}",
        f"  Numbers: {out / 'metrics.json'}",
        *(
            [f"  Cloud:   {out / 'cloud.ply'} ({scores.final.unit})"]
            if scores.final is not None and scores.final.segments
            else []
        ),
        *(
            []
            if in_process
            else [f"  Topics:  {out / 'recorded'} (MCAP: opens in Foxglove, ros2 bag play)"]
        ),
        "",
    ]
    return "\n".join(lines)


def _beside_baselines(scores: Scores) -> list[str]:
    """The key metrics that were measured, each with what needs no model."""
    lines = []
    for name in ("abs_rel", "rpe_rot_deg", "ate_m", "ate_se3_m"):
        value = scores.values[name]
        if value is None:
            continue
        metric = METRICS[name]
        others = ", ".join(
            f"{BASELINES[name][key]} {_number(number)}{_unit(metric.unit)}"
            for key, number in scores.baselines.get(name, {}).items()
        )
        beside = f"  ({others})" if others else ""
        lines.append(f"  {metric.title} {_number(value)}{_unit(metric.unit)}{beside}")
    return lines


def _answer_entry(item: Judged) -> dict[str, Any]:
    answer = item.answer
    expected = answer.question.expected
    return {
        "question": answer.question.text,
        "kind": answer.question.kind,
        "picture": answer.question.frame,
        "scene_stamp_ns": answer.scene_ns,
        "status": answer.status,
        "message": answer.message,
        "text": answer.text,
        "value": answer.value,
        "unit": answer.unit,
        "is_metric": answer.is_metric,
        "expected": None if expected is None else str(expected),
        "correct": item.correct,
        "confidence": answer.confidence,
        "cross_check": answer.cross_check,
        "text_value": answer.text_value,
        "measured_value": answer.measured_value,
        "measured_sigma": answer.measured_sigma,
        "understood_as": answer.kind,
        "source": answer.source,
        "reply": answer.reply,
        "queue_ms": answer.queue_ms,
        "prefill_ms": answer.prefill_ms,
        "decode_ms": answer.decode_ms,
        "total_ms": answer.total_ms,
    }


def _count(value: float | None) -> str:
    return "no" if value is None else f"{value:.0f}"


def _number(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "-"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _unit(unit: str) -> str:
    return unit if unit == "°" else f" {unit}" if unit else ""
