# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a person sees of questions: the pictures that can be marked, and what answers rest on.

The picture of a keyframe is published as its camera delivered it, so that a place in it is a mark:
what was straightened for the model is bent back. What rests on places goes out in metres under
`~/answers/...`, else up to scale under `~/up_to_scale/answers/...`, as everything does.
"""

from __future__ import annotations

import array
import importlib
import itertools
import time
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage
from visualization_msgs.msg import MarkerArray

from g2vlm_map.events import Event, QuestionAnswered, SceneReady
from g2vlm_map.frame_optics import CameraFrame
from g2vlm_map.questions import Reply
from g2vlm_map.scenes import SceneRecord
from g2vlm_model.interface import Frame
from g2vlm_ros import messages
from g2vlm_ros.answer_markers import detection_array, image_annotations, marker_array
from g2vlm_ros.frame_options import UP_TO_SCALE
from g2vlm_ros.params import NodeParams

__all__ = ["ANSWERS", "OPTIONAL", "PICTURE", "AnswerTopics", "delivered"]

PICTURE = "keyframe/image/compressed"
ANSWERS = ("answers/markers",)  # in metres and up to scale
# Topics of types that a robot may lack: package, type, topic, whether it has lengths.
OPTIONAL = (
    ("vision_msgs", "Detection3DArray", "answers/detections", True),
    ("foxglove_msgs", "ImageAnnotations", "keyframe/annotations", False),
)
_QUALITY = 85  # of the JPEG
_PERIOD_S = 0.2  # between two pictures of one camera: for eyes, and 2 to 10 ms of a pass each
_QOS = QoSProfile(depth=10)


class AnswerTopics:
    """Lifecycle publishers of keyframes' pictures and answers' evidence.

    Args:
        node: The LifecycleNode.
        params: Checked parameters.
    """

    def __init__(self, node: Any, params: NodeParams) -> None:
        self._node, self._map_frame = node, params.frames.map
        self._numbers = itertools.count(1)
        self._all: list[Any] = []
        several = len(params.cameras) > 1  # the reference's stand under its own name too
        self._pictures = {
            camera: _Picture(self._make(CompressedImage, name))
            for camera, name in (
                ("", f"~/{PICTURE}"),
                *((camera, f"~/{camera}/{PICTURE}") for camera in params.cameras if several),
            )
        }
        self._markers = {
            metric: self._make(MarkerArray, f"{prefix}/{ANSWERS[0]}")
            for metric, prefix in ((True, "~"), (False, f"~/{UP_TO_SCALE}"))
        }
        self._types = {package: _found(package) for package, *_ in OPTIONAL}
        self._optional: dict[tuple[str, bool], Any] = {}
        missing = []
        for package, kind, topic, has_lengths in OPTIONAL:
            types = self._types[package]
            if types is None or not hasattr(types, kind):
                missing.append(f"~/{topic} ({package})")
                continue
            units = (True, False) if has_lengths else (True,)
            for metric in units:
                name = f"~/{topic}" if metric else f"~/{UP_TO_SCALE}/{topic}"
                self._optional[package, metric] = self._make(getattr(types, kind), name)
        if missing:
            node.get_logger().info(
                f"without {' and '.join(missing)}: the package is not installed, nothing else "
                "needs it"
            )

    @property
    def publishers(self) -> list[Any]:
        """All of them."""
        return list(self._all)

    def destroy(self) -> None:
        """Remove the publishers."""
        for publisher in self._all:
            self._node.destroy_lifecycle_publisher(publisher)
        self._all = []

    def on_event(self, event: Event) -> None:
        """Publish what follows from it; in the thread in which it happens."""
        if isinstance(event, SceneReady):
            self._publish_pictures(event.record)
        elif isinstance(event, QuestionAnswered):
            self._publish_answer(event.reply)

    def _make(self, kind: Any, name: str) -> Any:
        publisher = self._node.create_lifecycle_publisher(kind, name, _QOS)
        self._all.append(publisher)
        return publisher

    def _publish_pictures(self, record: SceneRecord) -> None:
        for camera, picture in self._pictures.items():
            if not camera:
                picture.publish(record.frames[record.newest])
                continue
            for index in record.moment:
                if record.frames[index].camera == camera:
                    picture.publish(record.frames[index])

    def _publish_answer(self, reply: Reply) -> None:
        """What somebody listens to; an answer without places shows nothing."""
        if not len(reply.answer.points) and reply.recalled is None:
            return
        metric = reply.answer.is_metric
        markers = self._markers[metric]
        boxes = self._optional.get(("vision_msgs", metric))
        drawn = self._optional.get(("foxglove_msgs", True))
        heard = {item for item in (markers, boxes, drawn) if item and item.get_subscription_count()}
        if not heard:
            return
        answer = messages.answer_message(reply, self._map_frame)
        if markers in heard:
            _publish(markers, marker_array(answer, f"answer_{next(self._numbers)}"))
        if boxes in heard and reply.recalled is None:
            _publish(boxes, detection_array(answer, self._types["vision_msgs"]))
        if drawn in heard and reply.record is not None and reply.recalled is None:
            places_M2 = reply.record.places(reply.answer.points)
            _publish(drawn, image_annotations(answer, places_M2, self._types["foxglove_msgs"]))


class _Picture:
    """The pictures of one camera's keyframes."""

    def __init__(self, publisher: Any) -> None:
        self._publisher = publisher
        self._due = 0.0  # monotonic time before which the next one is left out

    def publish(self, frame: Frame) -> None:
        """Publish a keyframe where somebody listens, and not too often."""
        now = time.monotonic()
        if now < self._due or not self._publisher.get_subscription_count():
            return
        self._due = now + _PERIOD_S
        bgr_HW3 = np.ascontiguousarray(delivered(frame)[..., ::-1])
        _, coded = cv2.imencode(".jpg", bgr_HW3, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        data = array.array("B")
        data.frombytes(coded.data)
        header = messages.header(frame.stamp_ns, frame.frame_id)
        # As image_transport has it: the encoding of the picture, and of what was coded.
        self._publisher.publish(
            CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=data)
        )


def delivered(frame: Frame) -> NDArray[np.uint8]:
    """(H, W, 3) RGB of a frame with the pixels where its camera delivered them.

    What straightening cut away is black.
    """
    rectification = frame.optics.rectification if isinstance(frame, CameraFrame) else None
    if rectification is None:
        return frame.image
    return rectification.undo(frame.image)


def _found(package: str) -> ModuleType | None:
    """Its messages; None where it is not installed."""
    try:
        return importlib.import_module(f"{package}.msg")
    except ImportError:
        return None


def _publish(publisher: Any, message: Any) -> None:
    if message is not None:
        publisher.publish(message)
