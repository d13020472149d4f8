# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Makes a yardstick: a wheeled robot's camera in a synthetic room, as a bag with ground truth.

    python tests/data/room/make_room.py [--out tests/data/room]

writes `room.mcap` (JPEG pictures, CameraInfo, depth in millimetres, TF with the camera's true
poses) and `questions.json` (questions with exact answers read off the scene). The room's seed
lies in the test range: no training data comes from there. The same arguments make the same
scene and the same questions.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from g2vlm_demo.questions import keyframes_of, make_questions
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_training.synthetic import (
    RenderedFrames,
    camera_path,
    intrinsics,
    make_room,
    render,
    scene_seed,
)
from numpy.typing import NDArray

from g2vlm_map.poses import quaternion_xyzw
from g2vlm_map.recordings.source import COMPRESSED, NS

ROOM_INDEX = 25
PATH = 1
FRAMES = 60
STEP, TURN_DEG = 0.06, 5.0  # between neighbouring pictures: metres, degrees
SIZE_HW = (240, 320)
FOV_DEG = 65.0
RATE_HZ = 5.0
FIRST_STAMP_NS = 1_000 * NS
JPEG_QUALITY = 92
MAX_BYTES = 2_500_000
FRAME_ID = "camera_optical_frame"
TOPIC = "/camera/image_raw/compressed"


def main() -> int:
    """Render, write the bag and the questions."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--room", type=int, default=ROOM_INDEX, help="index in the test range")
    parser.add_argument("--path", type=int, default=PATH, help="number of the way through it")
    parser.add_argument("--frames", type=int, default=FRAMES)
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # the same sums on every machine
    seed = scene_seed("test", arguments.room)
    room = make_room(seed)
    T_world_cam = camera_path(
        room, arguments.path, arguments.frames, "robot", step=STEP, turn_deg=TURN_DEG
    )
    scene = render(room, T_world_cam, intrinsics(FOV_DEG, SIZE_HW), SIZE_HW, supersample=2)
    arguments.out.mkdir(parents=True, exist_ok=True)
    bag = write_bag(arguments.out / "room.mcap", scene)
    stamps = [_stamp_ns(index) for index in range(len(scene.rgb))]
    used = keyframes_of([_jpeg(rgb) for rgb in scene.rgb], stamps)
    questions = make_questions(room, scene, used)
    text = json.dumps(questions, indent=1) + "\n"
    (arguments.out / "questions.json").write_text(text)
    print(f"{bag}: {bag.stat().st_size / 1e6:.2f} MB, {len(questions)} questions")
    return 0


def write_bag(path: Path, scene: RenderedFrames) -> Path:
    """Write the recording as one MCAP file.

    Raises:
        RuntimeError: It is larger than what the repository may carry.
    """
    with tempfile.TemporaryDirectory() as folder:
        with BagWriter(Path(folder) / "bag") as writer:
            types = writer.types()
            for index in range(len(scene.rgb)):
                _write_frame(writer, types, scene, index)
        (file,) = (Path(folder) / "bag").glob("*.mcap")
        content = file.read_bytes()
    if len(content) > MAX_BYTES:
        raise RuntimeError(f"the bag has {len(content)} bytes, expected at most {MAX_BYTES}")
    path.write_bytes(content)
    return path


def _write_frame(
    writer: BagWriter, types: dict[str, Any], scene: RenderedFrames, index: int
) -> None:
    stamp_ns = _stamp_ns(index)
    stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // NS, nanosec=stamp_ns % NS)

    def header(frame_id: str) -> Any:
        return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame_id)

    transform = _transform(types, scene.T_world_cam[index])
    stamped = types["geometry_msgs/msg/TransformStamped"](
        header=header("world"), child_frame_id=FRAME_ID, transform=transform
    )
    tf = types["tf2_msgs/msg/TFMessage"](transforms=[stamped])
    writer.write_message("/tf", "tf2_msgs/msg/TFMessage", stamp_ns, tf)
    writer.write_camera_info("/camera/camera_info", stamp_ns, header(FRAME_ID), scene.K, SIZE_HW)
    depth_mm = np.rint(scene.depth[index] * 1000).clip(0, 65534).astype(np.uint16)
    depth = cv2.imencode(".png", depth_mm, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()
    for topic, form, payload in (
        (TOPIC, "jpeg", _jpeg(scene.rgb[index])),
        ("/camera/depth/image/compressed", "16UC1; png", depth),
    ):
        data = np.frombuffer(payload, np.uint8)
        message = types[COMPRESSED](header=header(FRAME_ID), format=form, data=data)
        writer.write_message(topic, COMPRESSED, stamp_ns, message)


def _stamp_ns(index: int) -> int:
    return FIRST_STAMP_NS + round(index / RATE_HZ * NS)


def _jpeg(rgb_HW3: NDArray[np.uint8]) -> bytes:
    bgr = np.ascontiguousarray(rgb_HW3[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _transform(types: dict[str, Any], T: NDArray[np.float64]) -> Any:
    x, y, z = (float(value) for value in T[:3, 3])
    qx, qy, qz, qw = quaternion_xyzw(T[:3, :3])
    return types["geometry_msgs/msg/Transform"](
        translation=types["geometry_msgs/msg/Vector3"](x=x, y=y, z=z),
        rotation=types["geometry_msgs/msg/Quaternion"](x=qx, y=qy, z=qz, w=qw),
    )


if __name__ == "__main__":
    raise SystemExit(main())
