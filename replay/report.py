"""report.html: one file that opens without a network; pictures and charts are inside."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.recordings.source import NS, ReplaySource

from .charts import cloud_chart, depth_chart, latency_chart, timeline_chart, trajectory_chart
from .evaluate import Evaluation
from .panels import colour_bar_png, make_panels
from .player import PlayResult
from .recorder import Timeline
from .recording import Recording
from .registry import BASELINES
from .report_rows import answer_rows, cards, metric_groups, show
from .summary import SCALE_WORDS, model_facts

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class ReportInput:
    """Everything that the report shows.

    Args:
        title, created: heading and time.
        source, recording, evaluation, timeline, played: the run.
        cloud: records of `files.PLY_DTYPE`, or None.
        cloud_confidence: its lower bound.
        rate: of the playing.
        conditions: of --fail-if, for the record.
        failed: a line for each condition that holds.
        system: from `describe_system`.
    """

    title: str
    created: str
    source: ReplaySource
    recording: Recording
    evaluation: Evaluation
    timeline: Timeline
    played: PlayResult
    cloud: NDArray[np.void] | None
    cloud_confidence: float
    rate: float
    conditions: tuple[str, ...]
    failed: tuple[str, ...]
    system: Mapping[str, str]


def write_report(path: Path, report: ReportInput) -> None:
    """Render the report into one HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    page = environment.get_template("report.html.j2").render(_context(report))
    path.write_text(page, encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of a picture as the source of an <img>; "" for no bytes."""
    if not content:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _context(report: ReportInput) -> dict[str, Any]:
    evaluation, info = report.evaluation, report.source.info
    panels = make_panels(report.source, report.recording)
    return {
        "title": report.title,
        "created": report.created,
        "subtitle": f"{info.kind}, {len(info.stamps_ns)} pictures of {info.size[1]} × "
        f"{info.size[0]} px over {info.duration_s:.1f} s; {_model_words(report)}",
        "cards": cards(evaluation),
        "failed": report.failed,
        "scale_words": SCALE_WORDS,
        "panels": [_panel_entry(panel) for panel in panels],
        "has_truth": any(panel.truth_jpeg for panel in panels),
        "colour_bar": data_uri(colour_bar_png(), "png"),
        "scenes_hint": _scenes_hint(evaluation),
        "depth_chart": _depth_chart(report),
        "cloud_chart": _cloud_chart(report),
        "cloud_hint": _cloud_hint(report),
        "trajectory_chart": data_uri(trajectory_chart(evaluation.poses.segments), "svg+xml")
        if evaluation.poses
        else "",
        "trajectory_hint": _trajectory_hint(evaluation),
        "answers": answer_rows(evaluation, info.stamps_ns),
        "questions_hint": "Each question goes to the node's service at the scene of its picture. "
        "The geometry column is the same quantity read off the reconstruction, not the truth.",
        "latency_chart": data_uri(
            latency_chart(
                evaluation.latencies_ms, [item[2] for item in report.timeline.latencies_ms]
            ),
            "svg+xml",
        ),
        "latency_hint": _latency_hint(report),
        "metric_groups": metric_groups(evaluation),
        "notes": [*info.notes, *evaluation.notes],
        "timeline_chart": data_uri(timeline_chart(report.timeline.statuses), "svg+xml")
        if report.timeline.statuses
        else "",
        "drops": sorted(evaluation.drops.items()),
        "reasons": _reasons(report.timeline),
        "node_facts": _node_facts(report),
        "input_facts": _input_facts(report),
    }


def _panel_entry(panel: Any) -> dict[str, str]:
    caption = f"AbsRel {panel.abs_rel:.3f}" if panel.abs_rel is not None else ""
    span = f"{panel.near:.2f} to {panel.far:.2f} {panel.unit}"
    return {
        "picture": str(panel.picture),
        "time": f"{panel.seconds:.1f}",
        "input": data_uri(panel.input_jpeg, "jpeg"),
        "depth": data_uri(panel.depth_jpeg, "jpeg"),
        "truth": data_uri(panel.truth_jpeg, "jpeg"),
        "caption": caption or span,
        "range": span,
    }


def _depth_chart(report: ReportInput) -> str:
    depth = report.evaluation.depth
    if depth is None or len(depth.per_frame) < 2:
        return ""
    start = report.source.info.stamps_ns[0]
    baselines = {
        BASELINES["abs_rel"][name]: getattr(depth, name).abs_rel for name in BASELINES["abs_rel"]
    }
    chart = depth_chart(
        [(stamp - start) / NS for stamp, _ in depth.per_frame],
        [error.abs_rel for _, error in depth.per_frame],
        baselines,
    )
    return data_uri(chart, "svg+xml")


def _cloud_chart(report: ReportInput) -> str:
    if report.cloud is None or len(report.cloud) < 10:
        return ""
    chart = cloud_chart(report.cloud["xyz"], report.cloud["rgb"], "segment units")
    return data_uri(chart, "png")


def _cloud_hint(report: ReportInput) -> str:
    if report.cloud is None:
        return ""
    longest = max(report.evaluation.segments, key=lambda segment: len(segment.stamps_ns))
    return (
        f"{len(report.cloud):,} points of {len(longest.stamps_ns)} scenes of segment "
        f"{longest.number}, laid together by the node's own poses; points with a confidence below "
        f"{report.cloud_confidence:g} are left out. Up to scale: segment units, no metres."
    )


def _scenes_hint(evaluation: Evaluation) -> str:
    if evaluation.depth is None:
        return "Lengths are in segment units: the input carries no depth to compare with."
    return (
        f"{evaluation.depth.predicted.frames} scenes are compared with the true depth. Each depth "
        "picture is scaled by the ratio of medians before colours and errors are made."
    )


def _trajectory_hint(evaluation: Evaluation) -> str:
    if not evaluation.segments:
        return "The node published no pose."
    if evaluation.poses is None:
        return "No true poses to compare with; the poses are in trajectory.tum, up to scale."
    scales = ", ".join(f"{segment.scale:.3g}" for segment in evaluation.poses.segments[:6])
    return (
        f"{evaluation.poses.poses} poses; segments with three poses or more: "
        f"{len(evaluation.poses.segments)}. Each segment is laid onto the ground truth by one "
        f"Sim(3); the scale that this chose, in metres per segment unit: {scales}. A scale near "
        "zero means that the positions carry nothing."
    )


def _latency_hint(report: ReportInput) -> str:
    if report.rate == 0:
        return (
            "Lock-step: each picture was sent when the node was done with the one before, so no "
            "picture waited for another one."
        )
    late = max(report.played.late_ms, default=0.0)
    return (
        f"Played at {report.rate:g} times the recorded speed; the latest picture went out "
        f"{late:.0f} ms after its time."
    )


def _model_words(report: ReportInput) -> str:
    facts = model_facts(report.timeline.last_status)
    return f"model {facts['model_id']} on {facts['device']}" if facts else "no status of the node"


def _reasons(timeline: Timeline) -> list[tuple[str, str]]:
    found: dict[str, str] = dict.fromkeys(
        sorted({code for status in timeline.statuses for code in status.reasons}), ""
    )
    found.update(timeline.reason_texts)
    return list(found.items())


def _node_facts(report: ReportInput) -> list[tuple[str, str]]:
    facts = model_facts(report.timeline.last_status)
    words = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    values = report.evaluation.values
    words += [
        ("peak memory", f"{show(values['node_peak_rss_mib'])} MiB"),
        ("processor use", f"{show(values['node_cpu_cores'])} cores"),
    ]
    return words + [(name, value) for name, value in report.system.items()]


def _input_facts(report: ReportInput) -> list[tuple[str, str]]:
    info = report.source.info
    facts = [
        ("input", info.path.resolve().name),
        ("kind", info.kind),
        ("pictures", f"{info.image_topic} ({info.image_type.rsplit('/', 1)[1]})"),
        ("camera info", info.info_topic or "none"),
        ("frame", info.frame_id),
        ("playing", f"{report.rate:g} x" if report.rate else "lock-step"),
        ("played in", f"{report.played.wall_s:.1f} s"),
    ]
    if info.K is not None:
        fx, fy, cx, cy = info.K[0, 0], info.K[1, 1], info.K[0, 2], info.K[1, 2]
        facts.append(("intrinsics", f"fx {fx:.1f}, fy {fy:.1f}, cx {cx:.1f}, cy {cy:.1f} px"))
    if info.unreadable:
        facts.append(("unreadable files", ", ".join(info.unreadable[:8])))
    if report.played.stalled:
        facts.append(("stalled", f"{report.played.stalled} pictures were not settled in time"))
    if report.conditions:
        facts.append(("fail if", ", ".join(report.conditions)))
    return facts
