"""The metrics of a replay: one table that metrics.json, --fail-if and the report share."""

from __future__ import annotations

from dataclasses import dataclass


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


_SCALED = "after scaling by the ratio of medians"
_ALIGNED = "after a Sim(3) alignment of each segment"

METRICS: dict[str, Metric] = {
    "abs_rel": Metric("Depth AbsRel", "", "lower", f"Mean relative depth error {_SCALED}."),
    "delta_125": Metric(
        "Depth δ < 1.25", "", "higher", f"Share of pixels within a factor 1.25 {_SCALED}."
    ),
    "depth_coverage": Metric(
        "Depth coverage",
        "",
        "higher",
        "Share of the true depth's pixels where the node publishes a depth; the errors above are "
        "over these pixels only, for the node and for its baselines.",
    ),
    "depth_frames": Metric("Depth pictures compared", "", "", "Scenes with a depth ground truth."),
    "ate_m": Metric("ATE", "m", "lower", f"Root mean square position error {_ALIGNED}."),
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
    "poses": Metric("Poses compared", "", "", "Poses with a ground truth in scored segments."),
    "segments": Metric("Segments", "", "lower", "Runs of poses that share axes and scale."),
    "scenes": Metric("Scenes", "", "", "Clouds with depth and pose that were published."),
    "pictures": Metric("Pictures played", "", "", "What was sent to the node."),
    "pictures_unreadable": Metric(
        "Pictures unreadable", "", "lower", "Files of the folder that are no pictures."
    ),
    "frames_received": Metric("Pictures received", "", "", "What arrived at the node."),
    "frames_used": Metric("Pictures used", "", "", "What went into a window as keyframe."),
    "frames_dropped": Metric("Pictures dropped", "", "", "By policy or refused; see the reasons."),
    "frames_refused": Metric(
        "Pictures refused", "", "lower", "Dropped because of what they are (bad_...)."
    ),
    "latency_p50_ms": Metric(
        "Latency, median", "ms", "lower", "From publishing a picture to receiving its scene's pose."
    ),
    "latency_p90_ms": Metric("Latency, 90 %", "ms", "lower", "The same."),
    "latency_p99_ms": Metric("Latency, 99 %", "ms", "lower", "The same."),
    "observe_p50_ms": Metric(
        "Model pass, median", "ms", "lower", "What the node reports as observe_ms."
    ),
    "publish_p50_ms": Metric(
        "Publishing, median", "ms", "lower", "What the node reports as publish_ms."
    ),
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
    "node_peak_rss_mib": Metric("Node memory, peak", "MiB", "lower", "Resident memory."),
    "node_cpu_cores": Metric("Node processor use", "cores", "lower", "Processor time by duration."),
}

BASELINES: dict[str, dict[str, str]] = {
    "abs_rel": {"mean_picture": "mean depth picture", "constant": "constant depth"},
    "delta_125": {"mean_picture": "mean depth picture", "constant": "constant depth"},
    "ate_m": {"identity": "camera that never moves", "line": "best straight line"},
    "rpe_trans_m": {"identity": "camera that never moves"},
    "rpe_rot_deg": {"identity": "camera that never moves"},
    "rot_median_deg": {"identity": "camera that never moves"},
    "direction_30": {"constant": "best constant direction"},
    "answer_accuracy": {"constant": "best constant answer per kind"},
}
