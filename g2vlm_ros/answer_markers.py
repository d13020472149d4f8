# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""An answer's evidence in pictures: markers for RViz, detections, annotations for Foxglove.

Functions of a `SpatialAnswer` message. What lies in map units is never called metres: words of the
model that name a metric length stay out of what is drawn while nothing fixes the scale. Types of
packages that a robot may lack are given by the caller.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, PoseWithCovariance, Quaternion, Vector3
from numpy.typing import NDArray
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_interfaces.msg import SpatialAnswer
from g2vlm_map.answers.quantity import QuantityKind, parse_quantity

__all__ = ["LIFETIME_S", "detection_array", "image_annotations", "marker_array", "shown_words"]

LIFETIME_S = 60
_SIZE = 0.03  # of a point, as a share of its distance
_LEAST_SIZE = 0.01  # in the answer's unit
_BETWEEN = ("distance", "gap", "difference", "ratio", "between", "relation")
_FROM_CAMERA = ("depth", "distance", "angle", "direction")
_GREEN, _AMBER, _WHITE = (0.2, 0.9, 0.3), (1.0, 0.7, 0.1), (1.0, 1.0, 1.0)
_UNITS = {"scene_unit": " map units", "deg": " deg", "m": " m", "": ""}


def shown_words(answer: Any) -> str:
    """The answer in a few words, with its sigma; "" where there is none that may be shown."""
    if answer.status not in (SpatialAnswer.OK, SpatialAnswer.TRUNCATED):
        return ""
    if answer.has_value and answer.source == SpatialAnswer.SOURCE_GEOMETRY:
        unit = _UNITS.get(answer.unit, f" {answer.unit}")
        digits = 1 if answer.unit == "deg" else 2
        sigma = "" if math.isnan(answer.sigma) else f" ± {answer.sigma:.{digits}f}"
        return f"{answer.value:.{digits}f}{sigma}{unit}"
    words = answer.reply or answer.text
    quantity = parse_quantity(words)
    if quantity is not None and quantity.kind is QuantityKind.METRIC_LENGTH:
        # Said, not measured; without a scale it is a guess, and what is drawn is in map units.
        return f'"{words}"' if answer.is_metric else ""
    return str(words)


def marker_array(answer: Any, namespace: str) -> Any:
    """visualization_msgs/MarkerArray of an answer: its points, lines between them, words.

    Args:
        answer: The message; lengths in its own unit, axes of its header's frame.
        namespace: Of this answer's markers.

    Returns:
        None where the answer rests on no place.
    """
    points = [*answer.points, *(item.pose.position for item in answer.poses)]
    if not points:
        return None
    names = [*answer.labels, *([""] * len(answer.points))][: len(answer.points)]
    names += [_clock(item.header.stamp) for item in answer.poses]
    color = _AMBER if answer.status == SpatialAnswer.ABSTAINED else _GREEN
    markers = []
    for point, name in zip(points, names, strict=True):
        size = max(_LEAST_SIZE, _SIZE * math.hypot(point.x, point.y, point.z))
        markers.append(_marker(answer, Marker.SPHERE, color, point, (size, size, size)))
        if name:
            text = _marker(answer, Marker.TEXT_VIEW_FACING, _WHITE, point, (0.0, 0.0, 2 * size))
            text.text = name
            text.pose.position.y -= 1.5 * size  # above it, in optical axes
            markers.append(text)
    ends = _line(answer)
    size = max(_LEAST_SIZE, _SIZE * max(math.hypot(p.x, p.y, p.z) for p in points))
    for first, second in ends:
        line = _marker(answer, Marker.LINE_STRIP, color, Point(), (0.3 * size, 0.0, 0.0))
        line.points = [first, second]
        markers.append(line)
    words = shown_words(answer)
    if words:
        where = _middle([p for end in ends for p in end] or points)
        text = _marker(answer, Marker.TEXT_VIEW_FACING, _WHITE, where, (0.0, 0.0, 2.5 * size))
        text.text = words
        markers.append(text)
    for number, marker in enumerate(markers):
        marker.ns, marker.id = namespace, number
    return MarkerArray(markers=markers)


def detection_array(answer: Any, types: Any) -> Any:
    """vision_msgs/Detection3DArray of an answer's places; a place has no extent.

    Args:
        answer: The message.
        types: The module `vision_msgs.msg`, of version 4 or later.

    Returns:
        None where the answer rests on no place.
    """
    if not answer.points:
        return None
    found = []
    for point, name in zip(answer.points, answer.labels, strict=True):
        pose = Pose(position=point, orientation=Quaternion(w=1.0))
        result = types.ObjectHypothesisWithPose(
            hypothesis=types.ObjectHypothesis(class_id=name, score=float(answer.confidence)),
            pose=PoseWithCovariance(pose=pose),
        )
        box = types.BoundingBox3D(center=pose, size=Vector3())
        found.append(types.Detection3D(header=answer.header, results=[result], bbox=box, id=name))
    return types.Detection3DArray(header=answer.header, detections=found)


def image_annotations(answer: Any, places_M2: NDArray[np.float64], types: Any) -> Any:
    """foxglove_msgs/ImageAnnotations of an answer on the keyframe's picture.

    Args:
        answer: The message.
        places_M2: (M, 2) pixels of its points in that picture; NaN where it does not show one.
        types: The module `foxglove_msgs.msg`.

    Returns:
        None where the picture shows none of them.
    """
    stamp = answer.header.stamp
    circles: list[Any] = []
    texts: list[Any] = []
    clear, dark = types.Color(), types.Color(a=0.6)
    green = types.Color(r=_GREEN[0], g=_GREEN[1], b=_GREEN[2], a=1.0)
    white = types.Color(r=1.0, g=1.0, b=1.0, a=1.0)
    words = shown_words(answer)
    for (u, v), name in zip(places_M2.tolist(), answer.labels, strict=True):
        if not (math.isfinite(u) and math.isfinite(v)):
            continue
        circles.append(
            types.CircleAnnotation(
                timestamp=stamp, position=types.Point2(x=u, y=v), diameter=10.0, thickness=2.0,
                fill_color=clear, outline_color=green,
            )
        )  # fmt: skip
        text = f"{name}: {words}" if name and words and not texts else name or words
        texts.append(
            types.TextAnnotation(
                timestamp=stamp, position=types.Point2(x=u + 8.0, y=v), text=text, font_size=12.0,
                text_color=white, background_color=dark,
            )
        )  # fmt: skip
    return types.ImageAnnotations(circles=circles, texts=texts) if circles else None


def _line(answer: Any) -> list[tuple[Any, Any]]:
    """Ends of the lines that a length or a direction was read along."""
    points = list(answer.points)
    if len(points) == 2 and answer.kind in _BETWEEN:
        return [(points[0], points[1])]
    if answer.kind in _FROM_CAMERA and not answer.poses:
        return [(Point(), point) for point in points]
    return []


def _marker(
    answer: Any, kind: int, color: tuple[float, float, float], at: Any, scale: tuple[float, ...]
) -> Any:
    red, green, blue = color
    return Marker(
        header=answer.header,
        type=kind,
        action=Marker.ADD,
        pose=Pose(position=Point(x=at.x, y=at.y, z=at.z), orientation=Quaternion(w=1.0)),
        scale=Vector3(x=scale[0], y=scale[1], z=scale[2]),
        color=ColorRGBA(r=red, g=green, b=blue, a=1.0),
        lifetime=Duration(sec=LIFETIME_S),
    )


def _middle(points: list[Any]) -> Any:
    x, y, z = np.mean([(p.x, p.y, p.z) for p in points], axis=0).tolist()
    return Point(x=x, y=y, z=z)


def _clock(stamp: Any) -> str:
    return f"{stamp.sec % 86400 // 3600:02}:{stamp.sec % 3600 // 60:02}:{stamp.sec % 60:02}"
