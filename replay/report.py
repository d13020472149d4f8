# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""report.html: one file that opens without a network: pictures, charts, and all that moves."""

from __future__ import annotations

import base64
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.dense.dense_map import DenseMap, DenseRules
from g2vlm_map.dense.metric import metric_views
from g2vlm_map.dense.occupancy import grid
from g2vlm_map.recordings import NS, Recording
from g2vlm_map.world import World
from g2vlm_model.interface.whole_files import whole_file
from g2vlm_model.interface.words import plain

from .charts import TimeChart, cloud_chart, depth_chart, latency_chart, timeline_chart
from .explore import LIMIT_BYTES, embedded, exploration, scenes_within
from .map_charts import (
    PathsShown,
    change_chart,
    occupancy_chart,
    path_chart,
    scale_chart,
    trajectory_chart,
)
from .metrics import BASELINES
from .outcome import Outputs, Played, Timeline
from .panels import Panel, colour_bar_png, make_panels
from .report_rows import answer_rows, cards, metric_groups, show
from .scoring import Scores
from .summary import SCALE_WORDS

TEMPLATES = Path(__file__).with_name("templates")


@dataclass(frozen=True)
class ReportInput:
    """Everything that the report shows.

    Args:
        title, created: heading and time.
        recording, outputs, scores, timeline, played: the run.
        cloud: records of `files.PLY_DTYPE`, or None.
        cloud_confidence: its lower bound.
        rate: of the playing.
        in_process: whether the pipeline ran alone, without ROS.
        conditions: of --fail-if, for the record.
        failed: a line for each condition that holds.
        system: from `describe_machine`.
    """

    title: str
    created: str
    recording: Recording
    outputs: Outputs
    scores: Scores
    timeline: Timeline
    played: Played
    cloud: NDArray[np.void] | None
    cloud_confidence: float
    rate: float
    in_process: bool
    conditions: tuple[str, ...]
    failed: tuple[str, ...]
    system: Mapping[str, str]


def _shown(value: Any) -> Any:
    """What is put into the page; words from outside without control characters."""
    if not isinstance(value, str) or hasattr(value, "__html__") or value.isprintable():
        return value
    return "\n".join(plain(line, sys.maxsize) for line in value.splitlines())


def write_report(path: Path, report: ReportInput) -> None:
    """Render the report into one HTML file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=_shown,
    )
    charts = _charts(report)
    first_ns = report.recording.info.stamps_ns[0]
    data = exploration(
        report,
        {
            name: chart.since(first_ns)
            for name, chart in charts.items()
            if isinstance(chart, TimeChart)
        },
    )
    template, context = environment.get_template("report.html.j2"), _context(report)
    context |= {name: data_uri(chart, "svg+xml") for name, chart in charts.items()}
    bare = template.render(context, explore=embedded(data)).encode()
    data["scenes"] = scenes_within(report, LIMIT_BYTES - len(bare))
    page = template.render(context, explore=embedded(data))
    with whole_file(path) as partial:
        partial.write_text(page, encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes of an image as the source of an <img>; "" for no bytes."""
    if not content:
        return ""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _charts(report: ReportInput) -> dict[str, bytes]:
    """SVGs by the id of their figure; b"" where there is nothing to draw."""
    scores, timeline = report.scores, report.timeline
    return {
        "depth_chart": _depth_chart(report),
        "trajectory_chart": _trajectory_chart(scores),
        "change_chart": _change_chart(scores),
        "occupancy_chart": plan_of(None if scores.final is None else scores.final.world),
        "scale_chart": _scale_chart(scores, timeline),
        "latency_chart": latency_chart(
            scores.latencies_ms, [item.observe for item in timeline.scene_times]
        ),
        "timeline_chart": timeline_chart(timeline.statuses) if timeline.statuses else b"",
    }


def _context(report: ReportInput) -> dict[str, Any]:
    scores, info = report.scores, report.recording.info
    panels = make_panels(report.recording, report.outputs)
    return {
        "title": report.title,
        "created": report.created,
        "in_process": report.in_process,
        "subtitle": f"{info.kind}, {len(info.stamps_ns)} frames of {info.size_hw[1]} × "
        f"{info.size_hw[0]} px over {info.duration_s:.1f} s; {_model_words(report)}",
        "cards": cards(scores),
        "failed": report.failed,
        "scale_words": "" if scores.depth is None and scores.poses is None else SCALE_WORDS,
        "panels": [_panel_entry(panel) for panel in panels],
        "has_truth": any(panel.truth_jpeg for panel in panels),
        "colour_bar": data_uri(colour_bar_png(), "png"),
        "scenes_hint": _scenes_hint(scores),
        "cloud_chart": _cloud_chart(report),
        "cloud_hint": _cloud_hint(report),
        "trajectory_hint": _trajectory_hint(scores),
        "change_hint": _change_hint(report.timeline),
        "scale_hint": _scale_hint(scores, report.timeline),
        "answers": answer_rows(scores, info.stamps_ns),
        "questions_hint": "Each question is asked at the scene of its frame. "
        "The geometry column is the same quantity read off the reconstruction, not the truth.",
        "latency_hint": _latency_hint(report),
        "metric_groups": metric_groups(scores),
        "notes": [*info.notes, *scores.notes],
        "drops": sorted(scores.drops.items()),
        "reasons": _reasons(report.timeline),
        "node_facts": _node_facts(report),
        "input_facts": _input_facts(report),
    }


def _panel_entry(panel: Panel) -> dict[str, str]:
    caption = f"AbsRel {panel.abs_rel:.3f}" if panel.abs_rel is not None else ""
    span = f"{panel.near:.2f} to {panel.far:.2f} {panel.unit}"
    return {
        "frame": str(panel.frame),
        "time": f"{panel.seconds:.1f}",
        "input": data_uri(panel.input_jpeg, "jpeg"),
        "depth": data_uri(panel.depth_jpeg, "jpeg"),
        "truth": data_uri(panel.truth_jpeg, "jpeg"),
        "caption": caption or span,
        "range": span,
    }


def _depth_chart(report: ReportInput) -> bytes:
    depth = report.scores.depth
    if depth is None or len(depth.per_frame) < 2:
        return b""
    start = report.recording.info.stamps_ns[0]
    baselines = {
        BASELINES["abs_rel"][name]: getattr(depth, name).abs_rel for name in BASELINES["abs_rel"]
    }
    return depth_chart(
        [(stamp - start) / NS for stamp, _ in depth.per_frame],
        [error.abs_rel for _, error in depth.per_frame],
        baselines,
    )


def _cloud_chart(report: ReportInput) -> str:
    if report.cloud is None or len(report.cloud) < 10:
        return ""
    chart = cloud_chart(report.cloud["xyz"], report.cloud["rgb"], _unit(report.scores))
    return data_uri(chart, "png")


def _unit(scores: Scores) -> str:
    return "map units" if scores.final is None else scores.final.unit


def _cloud_hint(report: ReportInput) -> str:
    if report.cloud is None:
        return ""
    lengths = "metres" if _unit(report.scores) == "m" else "map units: up to scale"
    return (
        f"{len(report.cloud):,} points: the depth of the final map's keyframes at their final "
        f"poses; points with a confidence below {report.cloud_confidence:g} are left out. Lengths "
        f"are {lengths}."
    )


def _scenes_hint(scores: Scores) -> str:
    if scores.depth is None:
        return "Colours are by the depth of each scene, in the unit in which it was published."
    return (
        f"{scores.depth.predicted.frames} scenes are compared with the true depth. Each depth "
        "map is scaled by the median of the ratios before colours and errors are made."
    )


def _trajectory_chart(scores: Scores) -> bytes:
    """Paths on the ground truth, or alone where there is none."""
    poses = scores.poses
    if scores.map is not None and scores.map.poses is not None:
        published = () if poses is None else poses.segments
        return trajectory_chart(PathsShown(scores.map.poses.segments, published))
    if poses is not None:
        return trajectory_chart(PathsShown(poses.segments, ()))
    kept = scores.segments if scores.final is None else scores.final.path()
    shown = [segment for segment in kept if len(segment.stamps_ns) > 1]
    return path_chart(shown, _unit(scores)) if shown else b""


def _trajectory_hint(scores: Scores) -> str:
    if not scores.segments:
        return "No pose came out."
    report = scores.poses if scores.map is None else scores.map.poses
    if report is None:
        return "In the axes of each segment's first keyframe. Also in trajectory.tum."
    scales = ", ".join(f"{segment.scale:.3g}" for segment in report.segments[:6])
    return (
        f"{report.poses} poses; segments with three poses or more: {len(report.segments)}. Each "
        "segment is laid onto the ground truth by one Sim(3); the scale that this chose, in metres "
        f"per map unit: {scales}. A scale near zero means that the positions carry nothing."
    )


def _change_chart(scores: Scores) -> bytes:
    """The map before and after, on the ground truth where there is one."""
    final, world = scores.final, scores.map
    if final is None or not final.before:
        return b""
    if world is not None and world.poses is not None and world.before:
        before = [segment.T_world_cam_M44[:, :3, 3] for segment in world.before]
        after = [segment.T_world_cam_M44[:, :3, 3] for segment in world.poses.segments]
        truth = [segment.truth_T_world_cam_M44[:, :3, 3] for segment in world.poses.segments]
        return change_chart(before, after, np.concatenate(truth), "m")
    before, after = (
        [segment.poses.T_seg_cam_M44[:, :3, 3] for segment in segments]
        for segments in (final.before, final.segments)
    )
    return change_chart(before, after, None, "map units")


def _change_hint(timeline: Timeline) -> str:
    causes = Counter(change.cause for change in timeline.changes)
    if not causes:
        return "Nothing changed the map's past."
    told = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    return f"Changes of the map's past: {told}. The last one: {timeline.changes[-1].text}."


def plan_of(world: World | None) -> bytes:
    """A map from above: what stands on its floor, keyframes and loops; SVG.

    Empty without metres, or where nobody knows the base.
    """
    if world is None or world.T_base_body is None or not world.scale.metric:
        return b""
    rules = DenseRules()
    views = metric_views(world)
    at = {
        view.number: view.T_level_base[:2, 3]
        for view in views
        if view.T_level_base is not None and view.view == 0
    }
    if not at:
        return b""
    path = np.stack(list(at.values()))
    loops = [
        np.stack([at[edge.i], at[edge.j]])
        for edge in world.edges
        if edge.kind == "loop" and edge.i in at and edge.j in at
    ]
    cells = DenseMap(rules).update(world).cells
    here = (float(path[-1][0]), float(path[-1][1]))
    return occupancy_chart(
        grid(cells, rules.occupancy, here), path, np.array(loops).reshape(-1, 2, 2)
    )


def _scale_chart(scores: Scores, timeline: Timeline) -> bytes:
    if not any(np.isfinite(sample.sigma) for sample in timeline.scales):
        return b""
    true = next(iter(scores.map.scale.true_by_segment.values()), None) if scores.map else None
    return scale_chart(timeline.scales, true)


def _scale_hint(scores: Scores, timeline: Timeline) -> str:
    metric = sum(sample.metric for sample in timeline.scales)
    if not metric:
        return "No source of scale carried: all lengths are up to scale."
    last = next(sample for sample in reversed(timeline.scales) if sample.metric)
    return (
        f"Lengths were metres in {metric} of {len(timeline.scales)} scenes, by "
        f"{', '.join(last.sources) or 'a stored map'}; the last scale: {last.metres_per_unit:.3g} "
        f"metres per map unit, sigma {100 * last.sigma:.1f} %."
    )


def _latency_hint(report: ReportInput) -> str:
    if report.rate == 0:
        return (
            "Lock-step: each frame was handed in when the one before was done, so no frame "
            "waited for another one."
        )
    late = max(report.played.late_ms, default=0.0)
    return (
        f"Played at {report.rate:g} times the recorded speed; the latest frame went out "
        f"{late:.0f} ms after its time."
    )


def _model_words(report: ReportInput) -> str:
    ran = report.timeline.ran_with
    return f"model {ran.model_id} on {ran.device}" if ran is not None else "no status"


def _reasons(timeline: Timeline) -> list[tuple[str, str]]:
    found: dict[str, str] = dict.fromkeys(
        sorted({code for status in timeline.statuses for code in status.reasons}), ""
    )
    found.update(timeline.reason_texts)
    return list(found.items())


def _node_facts(report: ReportInput) -> list[tuple[str, str]]:
    ran = report.timeline.ran_with
    facts = {} if ran is None else asdict(ran)
    words = [(name.replace("_", " "), str(value)) for name, value in facts.items()]
    values = report.scores.values
    words += [
        ("peak memory", f"{show(values['node_peak_rss_mib'])} MiB"),
        ("processor use", f"{show(values['node_cpu_cores'])} cores"),
    ]
    return words + [(name, value) for name, value in report.system.items()]


def _input_facts(report: ReportInput) -> list[tuple[str, str]]:
    info = report.recording.info
    facts = [
        ("input", info.path.resolve().name),
        ("kind", info.kind),
        ("frames", f"{info.image_topic} ({info.image_type.rsplit('/', 1)[1]})"),
        ("camera info", info.info_topic or "none"),
        ("optical frame", info.frame_id),
        ("playing", f"{report.rate:g} x" if report.rate else "lock-step"),
        ("driven", "in process, without ROS" if report.in_process else "as a node, over ROS"),
        ("played in", f"{report.played.wall_s:.1f} s"),
    ]
    if info.calibration is not None:
        K = info.calibration.K
        fx, fy, cx, cy = K[0, 0], K[1, 1], K[0, 2], K[1, 2]
        facts.append(("intrinsics", f"fx {fx:.1f}, fy {fy:.1f}, cx {cx:.1f}, cy {cy:.1f} px"))
    if info.left_out:
        facts.append(("left out", ", ".join(str(item) for item in info.left_out[:8])))
    if report.played.stalled:
        facts.append(("stalled", f"{report.played.stalled} frames were not settled in time"))
    if report.conditions:
        facts.append(("fail if", ", ".join(report.conditions)))
    return facts
