# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The words and rows of the report: cards, metrics beside baselines, answers."""

from __future__ import annotations

import math
from typing import Any

from g2vlm_map.recordings import NS

from .asking import Answer
from .metrics import BASELINES, METRICS
from .scoring import Judged, Scores

GROUPS = (
    ("Depth", ("abs_rel", "delta_125", "depth_coverage", "depth_frames")),
    (
        "Poses",
        (
            "ate_m",
            "ate_se3_m",
            "ate_published_m",
            "rpe_trans_m",
            "rpe_rot_deg",
            "rot_median_deg",
            "direction_30",
            "poses",
            "segments",
        ),
    ),
    (
        "Map and scale",
        (
            "keyframes",
            "loops",
            "loops_wrong",
            "nees",
            "nees_published",
            "scale_error",
            "scale_inside",
            "scale_scenes",
            "map_mib",
        ),
    ),
    (
        "Answers",
        (
            "questions",
            "answers_ok",
            "answers_judged",
            "answers_correct",
            "answer_accuracy",
            "crosscheck_disagrees",
            "answer_p50_ms",
        ),
    ),
    (
        "Running",
        (
            "pictures",
            "pictures_unreadable",
            "frames_received",
            "frames_used",
            "frames_dropped",
            "frames_refused",
            "scenes",
            "latency_p50_ms",
            "latency_p90_ms",
            "latency_p99_ms",
            "observe_p50_ms",
            "publish_p50_ms",
            "wall_s",
            "node_peak_rss_mib",
            "node_cpu_cores",
        ),
    ),
)
# Within this share of the baseline a metric counts as no better and no worse.
MARGIN = 0.02
MAX_ANSWER_CHARS = 160
UNITS_SHOWN = {"scene_unit": "units", "": ""}


def show(value: float | None) -> str:
    """A number with about three digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def cards(scores: Scores) -> list[dict[str, Any]]:
    """The numbers on top of the report, each with what it must be read against."""
    values = scores.values
    made = [
        {
            "name": "Scenes published",
            "value": show(values["scenes"]),
            "unit": "",
            "beside": [f"from {show(values['pictures'])} frames"],
        }
    ]
    for name in ("abs_rel", "rpe_rot_deg", "ate_m"):
        if values[name] is not None:
            beside = [
                f"{show(number)} {BASELINES[name][key]}"
                for key, number in scores.baselines[name].items()
            ]
            if name == "ate_m" and values["ate_se3_m"] is not None:
                beside.append(f"{show(values['ate_se3_m'])} m at its own scale")
            if name == "abs_rel":
                beside.append(f"over {values['depth_coverage'] or 0:.0%} of the pixels")
            made.append(
                {
                    "name": METRICS[name].title,
                    "value": show(values[name]),
                    "unit": METRICS[name].unit,
                    "beside": beside,
                }
            )
    if rated := values["answers_judged"]:
        made.append(
            {
                "name": "Answers right",
                "value": f"{show(values['answers_correct'])} / {show(values['answers_judged'])}",
                "unit": "",
                "beside": [
                    f"{scores.baselines['answer_accuracy']['constant'] * rated:.0f} by the "
                    "best constant answer per kind"
                ],
            }
        )
    made.append(
        {
            "name": "Latency, median",
            "value": show(values["latency_p50_ms"]),
            "unit": "ms",
            "beside": [f"99 %: {show(values['latency_p99_ms'])} ms"],
        }
    )
    return made


def metric_groups(scores: Scores) -> list[tuple[str, list[dict[str, Any]]]]:
    """Rows of the metrics table by group, of what was measured."""
    groups = []
    for title, names in GROUPS:
        measured = [name for name in names if scores.values[name] is not None]
        if measured and not (title == "Answers" and not scores.answers):
            groups.append((title, [_metric_row(scores, name) for name in measured]))
    return groups


def answer_rows(scores: Scores, stamps_ns: tuple[int, ...]) -> list[dict[str, str]]:
    """Rows of the questions table."""
    index = {stamp: i for i, stamp in enumerate(stamps_ns)}
    return [_answer_row(item, index, stamps_ns[0]) for item in scores.answers]


def _metric_row(scores: Scores, name: str) -> dict[str, Any]:
    metric, value = METRICS[name], scores.values[name]
    baselines = scores.baselines.get(name, {})
    unit = f" {metric.unit}" if metric.unit else ""
    verdict, tone = _verdict(metric.better, value, list(baselines.values()))
    return {
        "key": name,
        "title": metric.title,
        "value": show(value) + (unit if value is not None else ""),
        "baselines": [
            f"{show(number)}{unit} ({BASELINES[name][key]})" for key, number in baselines.items()
        ],
        "verdict": verdict,
        "tone": tone,
        "meaning": metric.meaning,
    }


def _short(text: str) -> str:
    return text if len(text) <= MAX_ANSWER_CHARS else text[:MAX_ANSWER_CHARS] + " …"


def _verdict(better: str, value: float | None, baselines: list[float]) -> tuple[str, str]:
    """Whether the value beats every baseline."""
    if value is None or not baselines or not better:
        return "", ""
    lower = better == "lower"
    best = min(baselines) if lower else max(baselines)
    gain = best - value if lower else value - best
    if gain > MARGIN * abs(best):
        return "beats the baselines", "good"
    if gain < -MARGIN * abs(best):
        return "below a baseline", "bad"
    return "like a baseline", ""


def _by(answer: Answer) -> str:
    """Whose reading an answer is, and the model's words where it is not theirs."""
    if answer.source != "GEOMETRY":
        return ""
    return f"measured; the model said {answer.text!r:.40}" if answer.text else "measured"


def _answer_row(item: Judged, index: dict[int, int], start_ns: int) -> dict[str, str]:
    answer = item.answer
    expected = answer.question.expected
    where = "not asked"
    if answer.scene_ns:
        where = f"at {(answer.scene_ns - start_ns) / NS:.1f} s, frame {index[answer.scene_ns]}"
        if answer.question.frame not in (None, index[answer.scene_ns]):
            where += f" (wanted frame {answer.question.frame})"
    if answer.question.marks:
        marks = ", ".join(f"{m.label} ({m.u:.0f}, {m.v:.0f})" for m in answer.question.marks)
        where += f"; marks {marks}"
    verdict, tone = "", ""
    if expected is not None:
        verdict, tone = {
            True: ("right", "good"),
            False: ("wrong", "bad"),
            None: ("not judged", ""),
        }[item.correct]
    unit = UNITS_SHOWN.get(answer.unit, answer.unit)
    check = answer.cross_check.lower() if answer.cross_check != "NOT_CHECKABLE" else ""
    if answer.measured_value is not None:
        spread = "" if answer.measured_sigma is None else f" ± {show(answer.measured_sigma)}"
        measured = f"{show(answer.measured_value)}{spread} {unit}".strip()
        check = f"{measured} ({check})" if check else measured
    said = "" if answer.status == "OK" else answer.status.lower().replace("_", " ")
    return {
        "question": answer.question.text,
        "where": where,
        "answer": _short(answer.reply) or said or _short(answer.text),
        "message": answer.message if answer.status != "OK" else _by(answer),
        "expected": "" if expected is None else str(expected),
        "verdict": verdict,
        "tone": tone,
        "check": check,
        "time": f"{answer.total_ms:.0f} ms" if answer.total_ms else "",
    }
