# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every door that takes what somebody else made: how to knock, and what counts as refused.

A door's `take` gets an input and says whether it came past the first check. It raises for whatever
must not be: an error that is not the door's own, a refusal without printable words. What a door
needs is imported when it is first knocked at: a process that tries one is soon at work.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from g2vlm_map.decode import BadInputError, check_raw
from g2vlm_map.documents import parse_yaml
from g2vlm_map.pictures import open_picture
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_map.recordings import RecordingError, open_recording
from g2vlm_map.recordings.layouts.file_names import natural_key, stamps_of_names
from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.words import MAX_CHARS, plain
from tests.fuzz import folder_strategies, seeds, strategies
from tests.fuzz.archives import (
    bag_ending,
    change_bag,
    change_map,
    change_shard,
    change_weights,
)
from tests.fuzz.mutate import change_bytes, change_document, change_picture

__all__ = ["DOORS", "Door", "refused"]

LIMIT = 4096  # pixels of a picture
Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Door:
    """One way in.

    Args:
        name: Of the door; findings in the corpus begin with it.
        take: Gets an input and an empty folder; whether it came past the first check.
        strategy: Of hypothesis.
        watched: Files whose lines count as the door's, below the repository.
        seeds: Good inputs; none where inputs are no bytes.
        change: How a guided run changes them.
    """

    name: str
    take: Callable[[Any, Path], bool]
    strategy: SearchStrategy[Any]
    watched: tuple[str, ...]
    seeds: Callable[[], tuple[bytes, ...]] | None = None
    change: Change = change_bytes


@contextmanager
def refused(*kinds: type[Exception], most: int = 2 * MAX_CHARS) -> Iterator[list[str]]:
    """Take a refusal for good where it is of the door's own kind and says why.

    Yields:
        Why, once it was refused.
    """
    said: list[str] = []
    try:
        yield said
    except kinds as error:
        said.append(str(error))
    for text in said:
        assert text.strip(), f"one of {kinds} says nothing"
        assert len(text) <= most, f"a refusal of {len(text)} characters"


def _is_plain(said: list[str]) -> None:
    assert all(text.isprintable() for text in said)


def _pixels(pixels: Any) -> None:
    with refused(BadInputError) as said:
        height, width = pixels.size(LIMIT)
        assert height * width <= LIMIT
        pixels.write_rgb(np.zeros((height, width, 3), np.uint8))
        assert pixels.gray().shape[1] == 160
    _is_plain(said)


def _picture(data: bytes, folder: Path) -> bool:
    with refused(BadInputError) as said:
        open_picture(data, LIMIT)
    _pixels(CompressedPixels(SimpleNamespace(format="", data=data)))
    return not said


def _raw(image: Any, folder: Path) -> bool:
    with refused(BadInputError) as said:
        check_raw(image, LIMIT)
    _pixels(RawPixels(image))
    return not said


def _bag(data: bytes, folder: Path) -> bool:
    path = folder / f"fuzz{bag_ending(data)}"
    path.write_bytes(data)
    with refused(RecordingError) as said:
        recording = open_recording(path)
        recording.true_poses()
        for _ in recording.samples("camera"):
            pass
        for frame in recording.frames():
            with refused(RecordingError):
                frame.rgb()
    _is_plain(said)
    return not any("cannot be read as a bag" in text for text in said)


def _document(data: bytes, folder: Path) -> bool:
    said: list[list[str]] = []
    for read in (parse_json, parse_yaml):
        with refused(ValueError) as why:
            read(data)
        said.append(why)
    return not all(said)


def _questions(data: bytes, folder: Path) -> bool:
    from g2vlm_replay.errors import ReplayInputError
    from g2vlm_replay.question_file import load_questions

    path = folder / "questions.json"
    path.write_bytes(data)
    with refused(ReplayInputError, most=4 * MAX_CHARS) as said:
        load_questions(path, (10**9, 2 * 10**9))
    return not any("is no JSON" in text for text in said)


def _names(names: list[str], folder: Path) -> bool:
    ordered = sorted(names, key=natural_key)
    found = stamps_of_names(ordered)
    assert found is None or len(found[0]) == len(names)
    return found is not None


def _stamps(frames: list[tuple[int, str, int]], folder: Path) -> bool:
    from g2vlm_map.cameras import Camera, InputFrame
    from g2vlm_map.options import ImageOptions

    camera = Camera("camera", 8, ImageOptions())
    shown = np.zeros((16, 16, 3), np.uint8)
    let_in = 0
    for stamp_ns, frame_id, now_ns in frames:
        camera.compare_clock(stamp_ns, abs(now_ns))
        assert camera.skew.isprintable()
        with refused(BadInputError) as said:
            let_in += len(camera.admit(InputFrame(shown, stamp_ns, "", frame_id), now_ns).arrivals)
        _is_plain(said)
    assert let_in <= len(frames)
    return let_in > 0


def _lens(info: Any, folder: Path) -> bool:
    from g2vlm_map.calibration import CameraCalibration

    calibration = CameraCalibration(120.0)
    calibration.take(info)
    K, optics = calibration.of_frame((24, 32), np.full((120, 160), 90, np.uint8))
    if optics.rectification is not None:
        picture = np.zeros((24, 32, 3), np.uint8)
        optics.rectification.apply(picture, picture.copy())
    assert calibration.problem.isprintable()
    assert K is None or np.isfinite(K).all()
    assert (K is None) == bool(calibration.problem), calibration.problem
    return not calibration.problem


def _sensor(given: tuple[str, Any], folder: Path) -> bool:
    from g2vlm_map.recordings.frames import message_depth
    from g2vlm_ros import messages, sensor_messages

    kind, message = given
    read: dict[str, Callable[[Any], Any]] = {
        "cloud": sensor_messages.cloud_points,
        "scan": sensor_messages.scan_points,
        "depth": lambda message: message_depth(message, "depth", 1 + message.width % 3),
        "imu": sensor_messages.up_of_imu,
        "pose": lambda message: messages.matrix(message.position, message.orientation),
    }
    found: Any = None
    with refused(ValueError):
        found = read[kind](message)
        if kind == "imu" and found is not None:
            assert abs(np.linalg.norm(found[0]) - 1) < 1e-6
    return found is not None


def _transforms(links: list[tuple[str, str, int, Any, bool]], folder: Path) -> bool:
    from g2vlm_map.transform_tree import TransformTree, TransformUnknownError
    from g2vlm_ros import messages

    tree = TransformTree()
    added = 0
    for parent, child, stamp_ns, pose, is_static in links:
        T = messages.matrix(pose.position, pose.orientation)
        if T is not None:
            added += not tree.add(parent, child, stamp_ns, T, static=is_static)
    for parent, child, stamp_ns, _, _ in links:
        with refused(TransformUnknownError):
            assert np.isfinite(tree.lookup(parent, child, stamp_ns)).all()
    return added > 0


def _query(request: Any, folder: Path) -> bool:
    from g2vlm_map.questions import Question
    from g2vlm_ros import messages

    asked = messages.question(request)
    assert isinstance(asked, Question)
    return bool(asked.text.strip())


def _parameters(values: dict[str, Any], folder: Path) -> bool:
    from g2vlm_ros.params import parse

    with refused(ValueError, most=10 * MAX_CHARS) as said:
        parse(values)
    return not any("unknown parameter" in text for text in said)


def _folder(files: dict[str, bytes], folder: Path) -> bool:
    root = folder / "frames"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    root.mkdir(exist_ok=True)
    with refused(RecordingError) as said:
        recording = open_recording(root)
        stamps = [frame.stamp_ns for frame in recording.frames() if frame.load() is not None]
        assert stamps == list(recording.info.stamps_ns)
        recording.true_poses()
        list(recording.true_depths(stamps, []))
    _is_plain(said)
    return not any("holds no frame" in text for text in said)


def _model(files: dict[str, bytes], folder: Path) -> bool:
    from g2vlm_model.config import ModelConfig
    from g2vlm_model.tokenizer import Tokenizer

    root = folder / "model"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(seeds.model_folder(), root)
    for name, content in files.items():
        (root / name).write_bytes(content)
    with refused(ValueError, OSError) as said:
        ModelConfig.from_folder(root)
        Tokenizer.from_folder(root).encode("How far is it?")
    _is_plain(said)
    return not any("is not valid JSON" in text for text in said)


def _weights(data: bytes, folder: Path) -> bool:
    import torch

    from g2vlm_model.safetensors_file import SafetensorsFile

    path = folder / "model.safetensors"
    path.write_bytes(data)
    with refused(ValueError) as said, SafetensorsFile(path) as file:
        for name, entry in file.entries.items():
            if np.prod(entry.shape) < 10_000:
                with refused(ValueError):
                    file.copy_into(name, torch.empty(entry.shape))
    _is_plain(said)
    first = ("is no safetensors", "is cut off", "damaged header;")
    return not any(words in text for text in said for words in first)


def _manifest(data: bytes, folder: Path) -> bool:
    from g2vlm_model.runtimes.export_folder import EXPORT
    from g2vlm_model.runtimes.store_entry import ENTRY

    past = False
    for manifest in (EXPORT, ENTRY):
        with refused(ValueError, FileNotFoundError, most=10 * MAX_CHARS) as said:
            read = manifest.parse(data, folder / manifest.name)
            manifest.check(folder, getattr(read, "files", {}))
        _is_plain(said)
        past |= not any("not valid JSON" in text or "has format" in text for text in said)
    return past


def _shard(data: bytes, folder: Path) -> bool:
    from g2vlm_training.datasets.base import DataError
    from g2vlm_training.datasets.shards import Shard

    path = folder / "fuzz.tar"
    path.write_bytes(data)
    with refused(DataError) as said:
        for clip in Shard(path).clips:
            clip.read(range(len(clip)))
    _is_plain(said)
    return not any(text.startswith("shard ") and "cannot be read" in text for text in said)


def _map(data: bytes, folder: Path) -> bool:
    from g2vlm_map.mapping.array_file import ArrayFileError
    from g2vlm_map.mapping.store import load_map

    path = folder / "fuzz.g2map"
    path.write_bytes(data)
    with refused(ArrayFileError) as said:
        load_map(path)
    _is_plain(said)
    return not any("no map" in text for text in said)


def _rows(data: bytes, folder: Path) -> bool:
    from g2vlm_training.evaluate.benchmarks.base import Refusals
    from g2vlm_training.evaluate.benchmarks.files import rows_of

    past = False
    for ending in (".json", ".jsonl"):
        path = folder / f"rows{ending}"
        path.write_bytes(data)
        with refused(ValueError) as said:
            past |= any(True for _ in rows_of(path, Refusals()))
        _is_plain([plain(text) for text in said])
    return past


def _words(text: str, folder: Path) -> bool:
    assert plain(text).isprintable()
    assert len(plain(text, 50)) < 150
    return len(text) > 0


_RECORDINGS = "g2vlm_map/recordings"
DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        Door("picture", _picture, strategies.pictures,
             ("g2vlm_map/picture_walk.py", "g2vlm_map/pictures.py"), seeds.pictures,
             change_picture),
        Door("raw", _raw, strategies.images(), ("g2vlm_map/decode.py", "g2vlm_map/pixels.py")),
        Door("bag", _bag, strategies.kept(seeds.bags, change_bag),
             (f"{_RECORDINGS}/bag.py", f"{_RECORDINGS}/bag_parts.py", f"{_RECORDINGS}/bag_files.py",
              f"{_RECORDINGS}/bag_opening.py", f"{_RECORDINGS}/bag_topics.py"), seeds.bags,
             change_bag),
        Door("document", _document, strategies.documents,
             ("g2vlm_model/interface/documents.py", "g2vlm_map/documents.py"), seeds.documents,
             change_document),
        Door("questions", _questions, strategies.question_entries(),
             ("replay/question_file.py",), seeds.questions, change_document),
        Door("name", _names, strategies.file_names, (f"{_RECORDINGS}/layouts/file_names.py",)),
        Door("stamp", _stamps, strategies.frames, ("g2vlm_map/cameras.py",)),
        Door("lens", _lens, strategies.camera_infos(),
             ("g2vlm_map/camera_model.py", "g2vlm_map/calibration.py", "g2vlm_map/rectify.py")),
        Door("sensor", _sensor, strategies.sensor_messages, ("g2vlm_ros/sensor_messages.py",)),
        Door("transform", _transforms, strategies.links, ("g2vlm_map/transform_tree.py",)),
        Door("query", _query, strategies.queries, ("g2vlm_ros/messages.py",)),
        Door("parameter", _parameters, strategies.parameters,
             ("g2vlm_ros/params.py", "g2vlm_map/option_fields.py", "g2vlm_ros/frame_options.py")),
        Door("folder", _folder, folder_strategies.folders,
             tuple(f"{_RECORDINGS}/{name}.py" for name in (
                 "folder", "layouts/__init__", "layouts/plain", "layouts/seven_scenes",
                 "layouts/transforms_json", "layouts/pose_rows", "layouts/euroc"))),
        Door("model", _model, folder_strategies.model_files,
             ("g2vlm_model/config.py", "g2vlm_model/config_fields.py", "g2vlm_model/tokenizer.py")),
        Door("weights", _weights, strategies.kept(seeds.weights, change_weights),
             ("g2vlm_model/safetensors_file.py",), seeds.weights, change_weights),
        Door("manifest", _manifest, strategies.manifests,
             ("g2vlm_model/runtimes/vouched.py", "g2vlm_model/runtimes/export_folder.py"),
             seeds.manifests, change_document),
        Door("shard", _shard, strategies.kept(seeds.shards, change_shard),
             ("training/datasets/shards.py",), seeds.shards, change_shard),
        Door("map", _map, strategies.kept(seeds.maps, change_map),
             ("g2vlm_map/mapping/array_file.py", "g2vlm_map/mapping/store.py"), seeds.maps,
             change_map),
        Door("rows", _rows, strategies.annotation_rows, ("training/evaluate/benchmarks/files.py",),
             seeds.questions, change_document),
        Door("word", _words, strategies.words, ("g2vlm_model/interface/words.py",)),
    )
}  # fmt: skip
