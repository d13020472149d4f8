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
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import torch
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_training.synthetic import (
    RenderedFrames,
    Room,
    SceneObject,
    camera_path,
    intrinsics,
    make_room,
    render,
    scene_seed,
)
from g2vlm_training.synthetic.questions import Question, View, ask
from g2vlm_training.synthetic.room import COLOURS
from numpy.typing import NDArray

from g2vlm_map.keyframes import KeyframeChooser
from g2vlm_map.options import KeyframeOptions
from g2vlm_map.pixels import CompressedPixels
from g2vlm_map.recordings.source import COMPRESSED, NS
from g2vlm_map.segment import quaternion_xyzw

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
ASKED_AT_SHARE = (0.2, 0.4, 0.6, 0.8, 0.97)  # of the keyframes
MAX_TOKENS = 12
MIN_OBJECT_PIXELS = 250
TRIES = 40
# Types that one picture can answer; marks name the places.
ASKED = (
    "what", "distance_prediction_oc", "distance_prediction_oo", "nearer", "depth_prediction_oc",
    "depth_prediction_oo", "distance_infer_center_oo", "obj_spatial_relation_oo",
)  # fmt: skip


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
    questions = make_questions(room, scene)
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


def make_questions(room: Room, scene: RenderedFrames) -> list[dict[str, Any]]:
    """Questions with exact answers, a handful at each of some pictures."""
    questions = []
    used = keyframes(scene)
    for share in ASKED_AT_SHARE:
        questions += _questions_at(room, scene, used[int(share * (len(used) - 1))])
    return questions


def keyframes(scene: RenderedFrames) -> list[int]:
    """Frames that the node uses with its default parameters: questions are about these."""
    chooser = KeyframeChooser(KeyframeOptions())
    found = []
    for index, rgb in enumerate(scene.rgb):
        pixels = CompressedPixels(SimpleNamespace(format="jpeg", data=_jpeg(rgb)))
        pixels.size(SIZE_HW[0] * SIZE_HW[1])
        verdict = chooser.judge("camera", _stamp_ns(index), pixels.gray)
        if verdict is not None:
            chooser.accept(verdict, (), 0)
            found.append(index)
    return found


def _questions_at(room: Room, scene: RenderedFrames, index: int) -> list[dict[str, Any]]:
    """One question of each type and a colour at one picture, as far as it shows enough."""
    view = View(
        room.objects,
        scene.depth[index : index + 1],
        scene.object_id[index : index + 1],
        scene.T_world_cam[index : index + 1],
        np.asarray(scene.K, np.float64)[None],
    )
    rng = np.random.default_rng([room.seed, index])
    made = []
    for task in ASKED:
        tries = (ask(view, task, rng) for _ in range(TRIES))
        question = next((q for q in tries if q is not None and not q.by_name), None)
        if question is not None:
            made.append(_entry(question, index))
    colour = _colour_of_one(room, scene, index)
    return made if colour is None else [*made, colour]


def _entry(question: Question, index: int) -> dict[str, Any]:
    """A question as the replay reads it; lengths are metres."""
    expected: dict[str, Any] = {"text": question.answer}
    if question.value is not None:
        expected = {"value": round(question.value, 3), "unit": "m"}
    places = [{"label": mark.label, "u": mark.u, "v": mark.v} for mark in question.marks]
    return {
        "kind": question.task, "question": question.bare, "at": {"frame": index},
        "expected": expected, "max_tokens": MAX_TOKENS, "marks": places,
    }  # fmt: skip


def _colour_of_one(room: Room, scene: RenderedFrames, index: int) -> dict[str, Any] | None:
    """The colour of the only thing of its name so far that looks like its colour."""
    counts = np.bincount(scene.object_id[index].ravel(), minlength=256)
    so_far = set(np.unique(scene.object_id[: index + 1]).tolist())
    names = Counter(thing.name for thing in room.objects if thing.object_id in so_far)
    for thing in sorted(room.objects, key=lambda thing: -int(counts[thing.object_id])):
        if counts[thing.object_id] < MIN_OBJECT_PIXELS or names[thing.name] > 1:
            continue
        if thing.colour and _looks(scene, index, thing) == thing.colour:
            return {
                "kind": "colour", "question": f"What colour is the {thing.name}?",
                "at": {"frame": index}, "expected": {"text": thing.colour},
                "max_tokens": MAX_TOKENS,
            }  # fmt: skip
    return None


def _looks(scene: RenderedFrames, index: int, thing: SceneObject) -> str:
    """The colour name that most of a thing's pixels show, whatever its light is."""
    rgb = scene.rgb[index][scene.object_id[index] == thing.object_id] / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    tints = np.array(list(COLOURS.values()))
    hue = linear / np.linalg.norm(linear, axis=1, keepdims=True).clip(1e-6)
    near = np.argmax(hue @ (tints / np.linalg.norm(tints, axis=1, keepdims=True)).T, axis=1)
    return list(COLOURS)[int(np.bincount(near).argmax())]


if __name__ == "__main__":
    raise SystemExit(main())
