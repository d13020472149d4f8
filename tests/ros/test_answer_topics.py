# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Pictures of keyframes that can be marked, and what answers rest on: markers, boxes, drawings."""

from __future__ import annotations

import dataclasses
import math
import time
import types
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, PoseStamped
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from sensor_msgs.msg import CompressedImage
from visualization_msgs.msg import Marker, MarkerArray

from g2vlm_interfaces.msg import PixelMark
from g2vlm_interfaces.msg import SpatialAnswer as Answer
from g2vlm_map.camera_model import read_camera_info
from g2vlm_map.rectify import Rectification
from g2vlm_ros.answer_markers import detection_array, image_annotations, marker_array, shown_words
from tests.ros.graph import image_message, picture

Make = Callable[..., Any]
NS = 1_000_000_000


def heard(graph: Any, kind: Any, name: str) -> list[Any]:
    """What comes on a topic of the node from now on; it is matched when this returns."""
    messages: list[Any] = []
    topic = f"/g2vlm/{name}"
    subscription = graph.client.create_subscription(kind, topic, messages.append, 50)
    graph.wait(subscription.get_publisher_count, f"the publisher of {topic}")
    return messages


def listened(graph: Any, name: str) -> None:
    graph.wait(lambda: graph.node.count_subscribers(f"/g2vlm/{name}"), f"a listener to {name}")


def decoded(message: Any) -> Any:
    bgr_HW3 = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
    assert bgr_HW3 is not None
    return bgr_HW3[..., ::-1]


def test_the_keyframes_picture_can_be_marked(graph: Any) -> None:
    pictures = heard(graph, CompressedImage, "keyframe/image/compressed")
    listened(graph, "keyframe/image/compressed")
    graph.scene()
    graph.wait(lambda: pictures, "a picture")
    message = pictures[-1]
    assert message.header.frame_id == "camera_optical"
    assert "jpeg" in message.format
    shown = decoded(message).astype(float)
    assert np.abs(shown - picture(graph.shift)).mean() < 12.0
    marks = [PixelMark(stamp=message.header.stamp, u=80.0, v=60.0, label="A")]
    assert graph.ask("How deep is A?", marks=marks).status == Answer.OK
    assert graph.runtime.queries[-1].marks[0].u == 80.0


def test_pictures_come_no_oftener_than_eyes_need(make_graph: Make) -> None:
    graph = make_graph()
    graph.listen("status")
    graph.start()
    pictures = heard(graph, CompressedImage, "keyframe/image/compressed")
    listened(graph, "keyframe/image/compressed")
    before = graph.stamp_ns
    started = time.monotonic()
    for _ in range(12):
        graph.scene()
    took = time.monotonic() - started
    graph.wait(lambda: pictures, "a picture")
    assert len(pictures) <= took / 0.2 + 1
    assert all(item.header.stamp.sec * NS >= before for item in pictures)


def test_a_rigs_cameras_have_a_picture_each(make_graph: Make) -> None:
    graph = make_graph(cameras=["left", "right"])
    graph.listen("status")
    graph.start()
    topics = {
        name: heard(graph, CompressedImage, f"{prefix}keyframe/image/compressed")
        for name, prefix in (("", ""), ("left", "left/"), ("right", "right/"))
    }
    for name in topics:
        listened(graph, f"{name}/keyframe/image/compressed".lstrip("/"))
    for name in ("left", "right"):
        graph.publisher(f"/{name}/image_raw")
    for _ in range(2):
        graph.stamp_ns += NS // 10
        graph.shift += 12
        for name in ("left", "right"):
            message = image_message(picture(graph.shift), graph.stamp_ns, name)
            graph.publish(message, f"/{name}/image_raw")
    graph.wait(lambda: all(topics.values()), "three pictures")
    frames = {name: messages[-1].header.frame_id for name, messages in topics.items()}
    assert frames == {"": "left", "left": "left", "right": "right"}


def test_a_straightened_picture_is_bent_back() -> None:
    """A place in what is shown is the same place in what the camera delivered."""
    info = types.SimpleNamespace(
        width=320, height=240, distortion_model="plumb_bob", d=[-0.25, 0.06, 0.0, 0.0, 0.0],
        k=[200.0, 0.0, 160.0, 0.0, 200.0, 120.0, 0.0, 0.0, 1.0],
        r=[0.0] * 9, p=[0.0] * 12, binning_x=0, binning_y=0, roi=None,
    )  # fmt: skip
    rectification = Rectification(read_camera_info(info, (240, 320)), 100.0)
    delivered = cv2.resize(picture(0), (320, 240), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    straight = np.zeros_like(delivered)
    rectification.apply(delivered, straight)
    back = rectification.undo(straight)
    inner = (slice(20, -20), slice(20, -20))
    error = np.abs(back[inner].astype(float) - delivered[inner])
    assert np.abs(straight[inner].astype(float) - delivered[inner]).mean() > 4 * error.mean()
    assert error.mean() < 3.0


def test_markers_say_what_an_answer_rests_on(make_graph: Make) -> None:
    graph = make_graph(scale__fixed=1.5)
    graph.listen("status")
    graph.start()
    graph.publisher("/camera/image_raw")
    metric = heard(graph, MarkerArray, "answers/markers")
    free = heard(graph, MarkerArray, "up_to_scale/answers/markers")
    listened(graph, "answers/markers")
    listened(graph, "up_to_scale/answers/markers")
    for _ in range(3):
        graph.scene()
    answers = [graph.ask() for _ in range(2)]
    assert all(answer.is_metric for answer in answers)
    graph.wait(lambda: len(metric) == 2, "markers of both answers")
    assert not free
    namespaces = {marker.ns for array in metric for marker in array.markers}
    assert len(namespaces) == 2
    markers = metric[0].markers
    assert [marker.id for marker in markers] == list(range(len(markers)))
    assert {marker.header.frame_id for marker in markers} == {"camera_optical"}
    assert all(marker.header.stamp == answers[0].header.stamp for marker in markers)
    assert all(marker.lifetime.sec == 60 for marker in markers)
    sphere = next(marker for marker in markers if marker.type == Marker.SPHERE)
    assert sphere.pose.position.z == pytest.approx(answers[0].points[0].z)


def test_up_to_scale_nothing_is_called_metres(graph: Any) -> None:
    metric = heard(graph, MarkerArray, "answers/markers")
    free = heard(graph, MarkerArray, "up_to_scale/answers/markers")
    listened(graph, "answers/markers")
    listened(graph, "up_to_scale/answers/markers")
    graph.scene()
    graph.runtime.break_answer = lambda answer: dataclasses.replace(answer, text="2 meters")
    graph.ask()
    graph.wait(lambda: free, "markers up to scale")
    assert not metric
    markers = free[0].markers
    assert {marker.header.frame_id for marker in markers} == {"camera_optical_up_to_scale"}
    assert [marker.text for marker in markers if marker.text] == ["wall"]


def answer_of(**fields: Any) -> Any:
    points = [Point(x=0.0, y=0.0, z=2.0), Point(x=1.0, y=0.0, z=2.0)]
    values = {
        "points": points, "labels": ["A", "B"], "kind": "distance", "is_metric": True,
        "has_value": True, "value": 1.0, "sigma": 0.12, "unit": "m", "reply": "1.00 m",
        "source": Answer.SOURCE_GEOMETRY, "confidence": 0.75, **fields,
    }  # fmt: skip
    answer = Answer(**values)
    answer.header.frame_id = "camera_optical"
    answer.header.stamp = Time(sec=7, nanosec=5)
    return answer


def test_lengths_have_lines_and_words_with_sigma() -> None:
    array = marker_array(answer_of(), "answer_1")
    (line,) = [m for m in array.markers if m.type == Marker.LINE_STRIP]
    assert [(p.x, p.z) for p in line.points] == [(0.0, 2.0), (1.0, 2.0)]
    words = [m for m in array.markers if m.text == "1.00 ± 0.12 m"]
    assert len(words) == 1
    assert (words[0].pose.position.x, words[0].pose.position.z) == (0.5, 2.0)
    assert {m.text for m in array.markers if m.type == Marker.TEXT_VIEW_FACING} == {
        "A", "B", "1.00 ± 0.12 m"
    }  # fmt: skip
    depth = marker_array(answer_of(kind="depth", points=[Point(z=2.0)], labels=["A"]), "a")
    (line,) = [m for m in depth.markers if m.type == Marker.LINE_STRIP]
    assert [p.z for p in line.points] == [0.0, 2.0]
    assert marker_array(answer_of(points=[], labels=[]), "a") is None


def test_an_answer_about_the_map_shows_where_it_was_seen_from() -> None:
    pose = PoseStamped()
    pose.header.stamp = Time(sec=3 * 3600 + 125)
    pose.pose.position.x = 4.0
    array = marker_array(answer_of(points=[], labels=[], poses=[pose], reply="there"), "a")
    assert [m.text for m in array.markers if m.text] == ["03:02:05", "1.00 ± 0.12 m"]
    assert array.markers[0].pose.position.x == 4.0


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "1.00 ± 0.12 m"),
        ({"unit": "scene_unit", "is_metric": False}, "1.00 ± 0.12 map units"),
        ({"unit": "deg", "value": 31.25, "sigma": 1.0}, "31.2 ± 1.0 deg"),
        ({"sigma": math.nan}, "1.00 m"),
        ({"source": Answer.SOURCE_TEXT, "reply": "2 meters"}, '"2 meters"'),
        ({"source": Answer.SOURCE_TEXT, "reply": "2 meters", "is_metric": False}, ""),
        ({"source": Answer.SOURCE_TEXT, "reply": "7 feet", "is_metric": False}, ""),
        ({"source": Answer.SOURCE_TEXT, "reply": "left", "is_metric": False}, "left"),
        ({"status": Answer.ABSTAINED}, ""),
    ],
)
def test_words_of_what_is_shown(fields: dict[str, Any], words: str) -> None:
    assert shown_words(answer_of(**fields)) == words


# The definitions as these packages document them, for types that the index does not have.
VISION = {
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score\n",
    "vision_msgs/msg/ObjectHypothesisWithPose": (
        "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose\n"
    ),
    "vision_msgs/msg/BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size\n",
    "vision_msgs/msg/Detection3D": (
        "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
        "vision_msgs/BoundingBox3D bbox\nstring id\n"
    ),
    "vision_msgs/msg/Detection3DArray": (
        "std_msgs/Header header\nvision_msgs/Detection3D[] detections\n"
    ),
}
FOXGLOVE = {
    "foxglove_msgs/msg/Color": "float64 r\nfloat64 g\nfloat64 b\nfloat64 a\n",
    "foxglove_msgs/msg/Point2": "float64 x\nfloat64 y\n",
    "foxglove_msgs/msg/CircleAnnotation": (
        "builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nfloat64 diameter\n"
        "float64 thickness\nfoxglove_msgs/Color fill_color\nfoxglove_msgs/Color outline_color\n"
    ),
    "foxglove_msgs/msg/TextAnnotation": (
        "builtin_interfaces/Time timestamp\nfoxglove_msgs/Point2 position\nstring text\n"
        "float64 font_size\nfoxglove_msgs/Color text_color\nfoxglove_msgs/Color background_color\n"
    ),
    "foxglove_msgs/msg/ImageAnnotations": (
        "foxglove_msgs/CircleAnnotation[] circles\nfoxglove_msgs/TextAnnotation[] texts\n"
    ),
}


def made(definitions: dict[str, str]) -> Any:
    """A module of message classes as rosidl makes them: keywords only, fields with defaults."""
    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in definitions.items():
        store.register(get_types_from_msg(text, name))
    module = types.SimpleNamespace()
    for name in definitions:
        fields = {field for field, _ in store.fielddefs[name][1]}

        def build(_fields: set[str] = fields, **values: Any) -> Any:
            assert set(values) <= _fields, f"no such field: {set(values) - _fields}"
            return types.SimpleNamespace(**values)

        setattr(module, name.rsplit("/", 1)[1], build)
    return module


def test_detections_and_annotations_have_the_fields_of_their_types() -> None:
    answer = answer_of()
    boxes = detection_array(answer, made(VISION))
    assert [box.id for box in boxes.detections] == ["A", "B"]
    assert boxes.detections[1].bbox.center.position.x == 1.0
    assert boxes.detections[0].results[0].hypothesis.score == pytest.approx(0.75)
    drawn = image_annotations(answer, np.array([[10.0, 20.0], [np.nan, np.nan]]), made(FOXGLOVE))
    assert [(c.position.x, c.position.y) for c in drawn.circles] == [(10.0, 20.0)]
    assert [text.text for text in drawn.texts] == ["A: 1.00 ± 0.12 m"]
    assert image_annotations(answer, np.full((2, 2), np.nan), made(FOXGLOVE)) is None
