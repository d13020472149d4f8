# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The metrics of a replay, and conditions on them that turn it into a failure.

One table is shared by metrics.json, the report and `--fail-if`, whose conditions are such as
`abs_rel>0.3`.
"""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .errors import ReplayInputError

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
    ">": operator.gt,
    "<": operator.lt,
}
CONDITION = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*(>=|<=|==|!=|>|<)\s*(\S+)\s*$")


@dataclass(frozen=True)
class Metric:
    """What a number means.

    Args:
        title: for the report.
        unit: "" where it has none.
        better: "lower", "higher" or "" where neither is better.
        meaning: one sentence.
    """

    title: str
    unit: str
    better: str
    meaning: str


_SCALED = "after scaling by the median of the ratios"
_ALIGNED = "after a Sim(3) alignment of each segment"
_FINAL = "of the final map's keyframes"

METRICS: dict[str, Metric] = {
    "abs_rel": Metric("Depth AbsRel", "", "lower", f"Mean relative depth error {_SCALED}."),
    "delta_125": Metric(
        "Depth δ < 1.25", "", "higher", f"Share of pixels within a factor 1.25 {_SCALED}."
    ),
    "depth_coverage": Metric(
        "Depth coverage",
        "",
        "higher",
        "Share of the true depth's pixels where a depth came out; the errors above are over "
        "these pixels only, for the model and for its baselines.",
    ),
    "depth_frames": Metric("Depth maps compared", "", "", "Scenes with a depth ground truth."),
    "ate_m": Metric("ATE", "m", "lower", f"Root mean square position error {_FINAL}, {_ALIGNED}."),
    "ate_se3_m": Metric(
        "ATE in metres",
        "m",
        "lower",
        f"The same {_FINAL} in the published metres: only a rotation and a shift are taken from "
        "the ground truth.",
    ),
    "ate_published_m": Metric(
        "ATE as published",
        "m",
        "lower",
        f"The same of each pose as it was published at its own time, {_ALIGNED}.",
    ),
    "rpe_trans_m": Metric(
        "RPE, translation", "m", "lower", f"Error of the motion between neighbours {_ALIGNED}."
    ),
    "rpe_rot_deg": Metric(
        "RPE, rotation", "°", "lower", "Error of the turn between neighbours, root mean square."
    ),
    "rot_median_deg": Metric(
        "Rotation error, median", "°", "lower", "Over all pairs of poses of a segment."
    ),
    "direction_30": Metric(
        "Translation direction < 30°",
        "",
        "higher",
        "Share of pairs, more than 3 cm apart, whose direction is off by less than 30 degrees; "
        "a random direction reaches 0.07.",
    ),
    "nees": Metric(
        "Error squared over covariance",
        "",
        "",
        f"Mean {_FINAL}, six degrees of freedom: 6 where the covariances are honest, more where "
        "they promise too much.",
    ),
    "nees_published": Metric(
        "The same of the poses as published",
        "",
        "",
        "Each at its own time, relative to the first of its segment in the same unit; the scale's "
        "sigma counts where it is in metres.",
    ),
    "scale_error": Metric(
        "Scale error", "", "lower", "How far the last published scale is off, as a share."
    ),
    "scale_inside": Metric(
        "True scale within two sigma",
        "",
        "",
        "Share of the scenes in metres; 0.95 where the sigmas are honest.",
    ),
    "scale_scenes": Metric("Scenes in metres", "", "higher", "Scenes whose scale carried."),
    "keyframes": Metric("Keyframes of the map", "", "", "That it holds at the end."),
    "map_mib": Metric("Map, kept", "MiB", "lower", "Of the keyframes' arrays."),
    "loops": Metric("Loops", "", "", "Accepted between keyframes far apart in time."),
    "loops_wrong": Metric("Loops, wrong", "", "lower", "Off by more than 10 degrees or 0.5 m."),
    "poses": Metric("Poses compared", "", "", "Poses with a ground truth in scored segments."),
    "segments": Metric("Segments", "", "lower", "Parts of the map that share axes and scale."),
    "scenes": Metric("Scenes", "", "", "Clouds with depth and pose that were published."),
    "pictures": Metric("Frames played", "", "", "What was handed in."),
    "pictures_unreadable": Metric(
        "Frames unreadable", "", "lower", "Files of the folder that cannot be decoded."
    ),
    "frames_received": Metric("Frames received", "", "", "What arrived."),
    "frames_used": Metric("Frames used", "", "", "What went into a window as keyframe."),
    "frames_dropped": Metric("Frames dropped", "", "", "By policy or refused; see the reasons."),
    "frames_refused": Metric(
        "Frames refused", "", "lower", "Dropped because of what they are (bad_..., damaged)."
    ),
    "latency_p50_ms": Metric(
        "Latency, median", "ms", "lower", "From publishing a frame to receiving its scene's pose."
    ),
    "latency_p90_ms": Metric("Latency, 90 %", "ms", "lower", "The same."),
    "latency_p99_ms": Metric("Latency, 99 %", "ms", "lower", "The same."),
    "observe_p50_ms": Metric("Model pass, median", "ms", "lower", "As the pipeline measures it."),
    "publish_p50_ms": Metric("Publishing, median", "ms", "lower", "As the pipeline measures it."),
    "questions": Metric("Questions", "", "", "In the questions file."),
    "answers_ok": Metric("Answers", "", "higher", "Questions that ended with status OK."),
    "answers_judged": Metric("Answers judged", "", "", "With an expectation that could be judged."),
    "answers_correct": Metric("Answers correct", "", "higher", "Of the judged ones."),
    "answer_accuracy": Metric("Answer accuracy", "", "higher", "Correct by judged."),
    "crosscheck_disagrees": Metric(
        "Cross-checks that disagree", "", "lower", "Answers that the geometry contradicts."
    ),
    "answer_p50_ms": Metric("Answer time, median", "ms", "lower", "From sending to receiving."),
    "wall_s": Metric("Duration", "s", "", "Wall time of the playing."),
    "node_peak_rss_mib": Metric("Memory, peak", "MiB", "lower", "Resident memory."),
    "node_cpu_cores": Metric("Processor use", "cores", "lower", "Processor time by duration."),
}

BASELINES: dict[str, dict[str, str]] = {
    "abs_rel": {"mean_picture": "mean depth map", "constant": "constant depth"},
    "delta_125": {"mean_picture": "mean depth map", "constant": "constant depth"},
    "ate_m": {"identity": "camera that never moves", "line": "best straight line"},
    "rpe_trans_m": {"identity": "camera that never moves"},
    "rpe_rot_deg": {"identity": "camera that never moves"},
    "rot_median_deg": {"identity": "camera that never moves"},
    "direction_30": {"constant": "best constant direction"},
    "answer_accuracy": {"constant": "best constant answer per kind"},
}


@dataclass(frozen=True)
class FailCondition:
    """`metric operator limit`; the replay fails where it holds."""

    metric: str
    comparison: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.limit:g}"


def parse_condition(text: str) -> FailCondition:
    """Read one condition.

    Args:
        text: e.g. "abs_rel>0.3".

    Raises:
        ReplayInputError: Not of that form, an unknown metric, or no finite number.
    """
    match = CONDITION.match(text)
    if match is None:
        raise ReplayInputError(
            f"--fail-if {text!r} is no condition; expected METRIC OPERATOR NUMBER such as "
            f"'abs_rel>0.3', operators are {' '.join(OPERATORS)}"
        )
    metric, comparison, number = match.groups()
    if metric not in METRICS:
        close = difflib.get_close_matches(metric, METRICS, n=1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise ReplayInputError(
            f"--fail-if {text!r}: unknown metric {metric!r}{hint} Known: {', '.join(METRICS)}"
        )
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if not math.isfinite(limit):
        raise ReplayInputError(f"--fail-if {text!r}: {number!r} is no finite number")
    return FailCondition(metric, comparison, limit)


def failures(conditions: Sequence[FailCondition], values: Mapping[str, float | None]) -> list[str]:
    """One line for each condition that holds.

    A condition on a metric that this run could not measure fails too: a guard that silently
    passes is none.
    """
    lines = []
    for condition in conditions:
        value = values.get(condition.metric)
        if value is None or math.isnan(value):
            lines.append(
                f"FAILED {condition}: {condition.metric} was not measured in this run "
                "(no ground truth, or nothing was published)"
            )
        elif OPERATORS[condition.comparison](value, condition.limit):
            lines.append(f"FAILED {condition}: {condition.metric} is {value:.6g}")
    return lines
