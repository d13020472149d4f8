# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The data of the report's part that can be explored: scenes with their pictures, 3D, questions.

`templates/explore.js` draws it; `explore_space.py` has what it draws in 3D.
Shape letters: H W pixels.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from g2vlm_map.recordings import NS, RecordingError
from g2vlm_model.interface.words import plain

from .charts import TimeAxis
from .explore_space import ShownPart, as_base64, columns, drawn_space, evidence
from .panels import colour_depth, jpeg
from .report_rows import answer_rows
from .summary import scene_rows

if TYPE_CHECKING:
    from .report import ReportInput

__all__ = ["LIMIT_BYTES", "embedded", "exploration", "scenes_within", "within", "worst_first"]

LIMIT_BYTES = 12_000_000  # of the whole report
MAX_SCENES = 1000
WORST = 40  # scenes in that list
WIDTHS = (128, 480)  # pixels of a picture, least and most
# Of a frame and its depth together, as JPEG of this quality; what real ones take is looked at.
BYTES_PER_PIXEL, QUALITY = 0.25, 72
SCENE_BYTES = 700  # of a scene without its pictures
_FACTS = {
    "abs_rel": "AbsRel {:.3f}",
    "position_error_m": "position off by {:.2f} m",
    "rotation_error_deg": "turned by {:.1f}°",
    "confidence": "mean confidence {:.2f}",
    "latency_ms": "latency {:.0f} ms",
}


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that may stand inside a <script>: words from outside can neither end nor begin one."""
    text = json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def exploration(report: ReportInput, axes: Mapping[str, Sequence[TimeAxis]]) -> dict[str, Any]:
    """Everything but the scenes: 3D, worst scenes, questions, where the charts have their time.

    Args:
        report: the run.
        axes: of each chart that has a time, by the id of its figure.
    """
    scores, stamps = report.scores, report.recording.info.stamps_ns
    part = ShownPart.of(scores)
    index = {stamp: number for number, stamp in enumerate(stamps)}
    title, worst = worst_first(report)
    return {
        "scenes": [],
        "hint": "The slider moves the frame, its depth, the camera in the map and the lines in the "
        "charts below. Drag turns the map, the wheel goes nearer, the right button shifts.",
        "space": drawn_space(report, part),
        "charts": {name: [asdict(axis) for axis in found] for name, found in axes.items()},
        "worst_title": title,
        "worst": [
            {
                "frame": index[stamp],
                "where": f"{(stamp - stamps[0]) / NS:.1f} s, frame {index[stamp]}",
                "why": why,
            }
            for stamp, why in worst[:WORST]
            if stamp in index
        ],
        "questions": _questions(report, part, index),
    }


def worst_first(report: ReportInput) -> tuple[str, list[tuple[int, str]]]:
    """What scenes are ordered by, and their stamps, the worst one first, each with its number.

    By the error of the depth, or of the pose, where there is a truth; else by the mean confidence
    of the keyframe.
    """
    rows = _rows(report)
    for name, title in (
        ("abs_rel", "Worst scenes first, by the error of their depth"),
        ("position_error_m", "Worst keyframes first, by the error of their position"),
        ("confidence", "Least confident keyframes first"),
    ):
        found = [(stamp, row[name]) for stamp, row in rows.items() if name in row]
        if found:
            sign = 1 if name == "confidence" else -1
            found.sort(key=lambda item: (sign * item[1], item[0]))
            return title, [(stamp, _FACTS[name].format(value)) for stamp, value in found]
    return "", []


def scenes_within(report: ReportInput, room: int) -> list[dict[str, Any]]:
    """The scenes in order, with pictures, in so many bytes of the page.

    All of them where they fit, else those of questions, the worst ones, and others spread evenly.

    Args:
        report: the run.
        room: bytes that they may take, embedded.
    """
    index = {stamp: at for at, stamp in enumerate(report.recording.info.stamps_ns)}
    stamps = sorted(stamp for stamp in report.timeline.scene_s if stamp in index)
    asked = [item.answer.scene_ns for item in report.scores.answers]
    needed = [*asked, *(stamp for stamp, _ in worst_first(report)[1][:WORST])]
    most = min(MAX_SCENES, max(room, 0) // (SCENE_BYTES + 4000))
    stamps = _chosen(stamps, needed, most)
    if not stamps:
        return []
    width = _width(report, room / len(stamps))
    inputs, depths = _pictures(report, stamps, index, width)
    part, rows = ShownPart.of(report.scores), _rows(report)
    poses = [None] * len(stamps) if part is None else part.at(stamps)
    first, timeline = report.recording.info.stamps_ns[0], report.timeline
    began = timeline.statuses[0].wall_s if timeline.statuses else 0.0
    scenes = {}
    for stamp, pose in zip(stamps, poses, strict=True):
        known = [_FACTS[name].format(rows[stamp][name]) for name in _FACTS if name in rows[stamp]]
        came = timeline.scene_s.get(stamp)
        picture, span = depths.get(stamp, ("", ""))
        scenes[stamp] = {
            "frame": index[stamp],
            "seconds": round((stamp - first) / NS, 3),
            "wall": None if came is None else round(came - began, 3),
            "pose": None if pose is None else columns(pose),
            "facts": [*([span] if span else []), *known],
            "input": inputs.get(stamp, ""),
            "depth": picture,
        }
    costs = {stamp: len(embedded({"s": scene})) for stamp, scene in scenes.items()}
    return [scenes[stamp] for stamp in within(costs, needed, room)]


def within(costs: Mapping[int, int], needed: Iterable[int], room: int) -> list[int]:
    """The stamps that together cost no more than there is room for, in order.

    Args:
        costs: bytes of each.
        needed: stamps that stay longest, the most wanted one first.
        room: bytes.
    """
    kept, needed = sorted(costs), list(needed)
    while (total := sum(costs[stamp] for stamp in kept)) > room and kept:
        fewer = min(len(kept) - 1, int(len(kept) * max(room, 0) / total))
        kept = _chosen(kept, needed, fewer)
    return kept


def _chosen(stamps: Sequence[int], needed: Iterable[int], count: int) -> list[int]:
    """At most so many of some stamps: first those that are needed, others spread evenly."""
    there = set(stamps)
    first = [stamp for stamp in dict.fromkeys(needed) if stamp in there][: max(count, 0)]
    others = [stamp for stamp in stamps if stamp not in set(first)]
    more = min(count - len(first), len(others))
    spread = np.linspace(0, len(others) - 1, more).round().astype(int) if more > 0 else ()
    return sorted({*first, *(others[at] for at in spread)})


def _width(report: ReportInput, each: float) -> int:
    """Pixels of a picture so that it and its depth take about as many bytes in base64."""
    height, width = report.recording.info.size_hw
    pixels = max(each - SCENE_BYTES, 1.0) * 3 / 4 / BYTES_PER_PIXEL
    least, most = WIDTHS
    return int(np.clip(math.sqrt(pixels * width / height), least, min(most, max(width, least))))


def _pictures(
    report: ReportInput, stamps: Sequence[int], index: Mapping[int, int], width: int
) -> tuple[dict[int, str], dict[int, tuple[str, str]]]:
    """Base64 of JPEGs by stamp: frames, and depths with the words for their colours."""
    wanted = set(stamps)
    units = {said.stamp_ns: "m" if said.metric else "map units" for said in report.timeline.scales}
    depths: dict[int, tuple[str, str]] = {}
    for stamp, depth_HW in report.outputs.depths():
        if stamp not in wanted or stamp in depths:
            continue
        read = depth_HW[np.isfinite(depth_HW) & (depth_HW > 0)]
        near, far = (float(v) for v in np.percentile(read, (2, 98))) if read.size else (1.0, 2.0)
        picture = jpeg(colour_depth(depth_HW, near, max(far, 1.01 * near)), QUALITY, width)
        span = f"depth {near:.2f} (red) to {far:.2f} (blue) {units.get(stamp, '')}".strip()
        depths[stamp] = (as_base64(picture), span if read.size else "no depth")
    inputs = {}
    for frame in report.recording.frames(index[stamp] for stamp in stamps):
        try:
            shown = jpeg(frame.rgb(), QUALITY, width)
        except RecordingError:  # cut off; the scene is of another frame with this stamp
            continue
        inputs[report.recording.info.stamps_ns[frame.index]] = as_base64(shown)
    return inputs, depths


def _rows(report: ReportInput) -> dict[int, dict[str, float]]:
    """What is known of each scene alone, by stamp, with the confidence of its keyframe."""
    rows: dict[int, dict[str, float]] = {stamp: {} for stamp in report.timeline.scene_s}
    for row in scene_rows(report.scores, report.timeline):
        rows.setdefault(int(row["stamp_ns"]), {}).update(row)
    final = report.scores.final
    for placed in () if final is None or final.world is None else final.world.keyframes:
        view = placed.keyframe.views[0] if placed.keyframe.views else None
        if view is not None and placed.keyframe.stamp_ns in rows and (view.depth_HW > 0).any():
            mean = float(view.confidence_HW[view.depth_HW > 0].mean()) / 255
            rows[placed.keyframe.stamp_ns]["confidence"] = mean
    return rows


def _questions(
    report: ReportInput, part: ShownPart | None, index: Mapping[int, int]
) -> list[dict[str, Any]]:
    """Each question with its answer, its scene, and what it rests on in the frame and in 3D."""
    info, found = report.recording.info, []
    rows = answer_rows(report.scores, info.stamps_ns)
    for item, row in zip(report.scores.answers, rows, strict=True):
        asked = item.answer.question
        frame = index.get(item.answer.scene_ns)
        words = {name: row[name] for name in ("question", "where", "answer", "check")}
        height, width = info.size_hw
        own = asked.frame is None or asked.frame == frame  # marks are pixels of that frame
        marks = [[m.u / width, m.v / height, m.label] for m in asked.marks] if own else []
        found.append(
            words
            | {"verdict": row["verdict"], "tone": row["tone"], "frame": frame}
            | {"marks": marks, "points": evidence(report, part, item.answer)}
        )
    return found


def _finite(value: Any) -> Any:
    """Numbers that JSON has, and words without control characters."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str) and not value.isprintable():
        return plain(value, sys.maxsize)
    return value
