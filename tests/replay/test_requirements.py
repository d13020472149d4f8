# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which libraries what needs: a robot none of the replay's, the rest those of its extra."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from importlib import metadata

from tests.helpers import REPO

REPLAYS = ("rosbags", "evo", "jinja2", "matplotlib", "psutil", "tqdm", "pandas")
IMPORT_NAMES = {
    "opencv-python-headless": "cv2",
    "pyyaml": "yaml",
    "pillow": "PIL",
    "onnx-ir": "onnx_ir",
}
FROM_ROS = re.compile(r"(\w+_msgs|rcl\w+|\w+_interfaces)$")

ROBOT = """
import importlib, pkgutil, sys
for name in {blocked!r}: sys.modules[name] = None
import g2vlm_map, g2vlm_ros
for package in (g2vlm_map, g2vlm_ros):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.startswith(
            ("g2vlm_map.recordings.bag", "g2vlm_map.recordings.unpacking",
             "g2vlm_ros.doctor.recorded", "g2vlm_ros.launch_actions")
        ):
            importlib.import_module(module.name)
import numpy as np
from g2vlm_map.options import KeyframeOptions, PipelineOptions
from g2vlm_map.pipeline import InputFrame, Pipeline
from tests.ros.scripted_runtime import create
options = PipelineOptions(keyframe=KeyframeOptions(min_motion=0.0))
with Pipeline(create(), options) as pipeline:
    for index in range(3):
        pixels = np.random.default_rng(index).integers(0, 255, (48, 64, 3), np.uint8)
        pipeline.add(InputFrame(pixels, (index + 1) * 10**9))
        assert pipeline.wait()
    answer = pipeline.ask("How far is the wall?").answer
    print("scenes", pipeline.snapshot().scenes, answer.status.name)
"""


def test_node_and_pipeline_need_none_of_the_replays_libraries() -> None:
    """Every module of theirs is imported, and scenes and an answer come out."""
    done = subprocess.run(
        [sys.executable, "-c", ROBOT.format(blocked=REPLAYS)],
        capture_output=True, text=True, cwd=REPO,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["scenes", "2", "OK"]


def _imported(folder: str, files: str = "*.py") -> set[str]:
    found = set()
    for path in (REPO / folder).rglob(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.add(node.module.split(".")[0])
    ours = {name for name in found if name.startswith("g2vlm_") or FROM_ROS.match(name)}
    return found - ours - set(sys.stdlib_module_names) - _required("extra ==", none=True)


def _extra(name: str) -> set[str]:
    return _required(f'extra == "{name}"')


def _required(marker: str, none: bool = False) -> set[str]:
    """Import names of the requirements with such a marker, or of all without."""
    wanted = set()
    for line in metadata.requires("g2vlm_ros") or []:
        requirement, _, markers = line.partition(";")
        if (marker in markers.replace("'", '"')) is not none:
            library = re.split(r"[<>=!~\[ ]", requirement.strip())[0].lower()
            wanted.add(IMPORT_NAMES.get(library, library))
    return wanted


def test_the_extras_are_what_is_imported() -> None:
    recordings = _imported("g2vlm_map/recordings") | _imported("g2vlm_map", "documents.py")
    assert _extra("recordings") == recordings
    assert _extra("replay") - {"tqdm"} == _imported("replay") | recordings  # by `g2vlm_model`
    assert not _extra("ros") & set(REPLAYS)


def test_the_training_and_the_export_import_what_their_extras_bring() -> None:
    """TensorBoard is reached through torch, ONNX Runtime and tqdm through `g2vlm_model`."""
    special = _extra("scenes") | _extra("gasp") | _extra("benchmarks")
    assert _extra("train") - {"tensorboard", "tqdm"} == _imported("training") - (special - {"cv2"})
    assert special <= _imported("training")
    assert _extra("onnx") - {"onnx", "onnxruntime", "tqdm"} == _imported("export")


def test_an_export_without_tqdm_shows_no_bar() -> None:
    """As on a robot, whose node exports its own model."""
    code = (
        "import sys; sys.modules['tqdm'] = None\n"
        "from g2vlm_export.progress import reporting\n"
        "with reporting('json') as report: report('graphs', 0.5, 2.0)\n"
        "with reporting('auto') as report: report('graphs', 0.5, 2.0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"stage": "graphs", "fraction": 0.5, "seconds_left": 2.0}
