# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The arrows between the packages, and what may be loaded by importing them."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers import REPO

sys.path.insert(0, str(REPO / "scripts"))

import write_licence

# Folder -> installed name.
PACKAGES = {
    "g2vlm_model": "g2vlm_model",
    "g2vlm_map": "g2vlm_map",
    "g2vlm_ros": "g2vlm_ros",
    "replay": "g2vlm_replay",
    "training": "g2vlm_training",
    "export": "g2vlm_export",
    "demo": "g2vlm_demo",
    "view": "g2vlm_view",
}
# Which project modules a package may import: itself, and these (with what lies below them).
ALLOWED = {
    "g2vlm_model": (),
    "g2vlm_map": ("g2vlm_model.interface",),
    "g2vlm_ros": (
        "g2vlm_interfaces",
        "g2vlm_map",
        "g2vlm_model.interface",
        "g2vlm_model.processes",
        "g2vlm_model.runtimes",
    ),
    "g2vlm_replay": (
        "g2vlm_interfaces",
        "g2vlm_map",
        "g2vlm_model.interface",
        "g2vlm_model.processes",
        "g2vlm_model.runtimes",  # --in-process embeds the pipeline, as a user would
        "g2vlm_ros",
    ),
    "g2vlm_training": ("g2vlm_map", "g2vlm_model"),
    "g2vlm_export": ("g2vlm_model",),
    # Writes bags, renders rooms, starts the node beside the robot; nobody but tests imports it.
    "g2vlm_demo": (
        "g2vlm_map",
        "g2vlm_model.interface",
        "g2vlm_model.processes",
        "g2vlm_replay",
        "g2vlm_ros",
        "g2vlm_training",
    ),
    # The replay's way of feeding a pipeline, and its parameters; nobody imports it.
    "g2vlm_view": (
        "g2vlm_interfaces",
        "g2vlm_map",
        "g2vlm_model.interface",
        "g2vlm_model.processes",
        "g2vlm_replay",
        "g2vlm_ros",
    ),
}
# Libraries that a package must not import anywhere, not even inside a function.
FORBIDDEN = {
    "g2vlm_model": {"rclpy", "cv2", "sensor_msgs"},
    "g2vlm_map": {"rclpy", "torch", "torchvision", "safetensors", "tokenizers", "sensor_msgs"},
    "g2vlm_ros": {
        *("torch", "torchvision", "safetensors", "tokenizers"),
        *("evo", "jinja2", "matplotlib", "psutil", "rosbags", "scipy", "tqdm"),  # the replay's
    },
    "g2vlm_replay": {"torch", "torchvision", "safetensors", "tokenizers"},
    "g2vlm_training": {"rclpy"},
    "g2vlm_export": {"rclpy", "cv2"},
    "g2vlm_demo": {"safetensors", "tokenizers"},
    "g2vlm_view": {"torch", "torchvision", "safetensors", "tokenizers"},
}
# ROS packages, and others that no requirement file names because they come with ROS.
FROM_ROS = re.compile(
    r"(\w+_msgs|\w+_srvs|rcl\w+|ros\w*2\w*|ament_\w+|tf2_\w+|launch\w*|\w+_interfaces)$"
)
IMPORT_NAMES = {
    "array-api-compat": "array_api_compat",
    "onnx-ir": "onnx_ir",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
}
OPTIONAL = {"bond", "cv_bridge", "huggingface_hub", "sensor_msgs_py", "tensorrt", "tqdm"}
# Found by path, not installed.
OURS = (
    "tests",
    "benchmarks",
    "setup_host",
    "setup_venv",
    "lay_out_workspace",
    "write_jetson_tables",
    "write_licence",
    "write_published_folder",
)
ROSDEP_KEYS = {
    "PIL": "python3-pil",
    "cv2": "python3-opencv",
    "scipy": "python3-scipy",
    "numpy": "python3-numpy",
    "tf2_ros": "tf2_ros_py",
    "torch": "python3-pytorch-pip",
    "yaml": "python3-yaml",
}
# Installed with pip on a robot: see README.md.
WITHOUT_ROSDEP_KEY = {
    *("array_api_compat", "safetensors", "tokenizers"),
    *("onnx", "onnxruntime", "onnxscript", "tensorrt_rtx"),
}
MAX_LINES = 400


@dataclass(frozen=True)
class Import:
    """One import statement: the module by its absolute name, and where it stands."""

    module: str
    place: str


def _files(folder: str) -> list[Path]:
    return sorted((REPO / folder).rglob("*.py"))


@functools.cache
def _imports(folder: str, package: str) -> tuple[Import, ...]:
    return tuple(_read_imports(folder, package))


def _read_imports(folder: str, package: str) -> Iterator[Import]:
    for path in _files(folder):
        inner = path.relative_to(REPO / folder).with_suffix("").parts
        name = ".".join((package, *inner))
        base = name.split(".") if path.name != "__init__.py" else [*name.split(".")[:-1], ""]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(REPO)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield Import(alias.name, place)
            elif isinstance(node, ast.ImportFrom):
                prefix = base[: -node.level] if node.level else []
                module = ".".join([*prefix, *([node.module] if node.module else [])])
                for alias in node.names:
                    yield Import(f"{module}.{alias.name}", place)


@pytest.mark.parametrize(("folder", "package"), PACKAGES.items())
def test_packages_import_only_along_the_arrows(folder: str, package: str) -> None:
    allowed = (package, *ALLOWED[package])
    project = (*PACKAGES.values(), *PACKAGES, "g2vlm_interfaces")
    wrong = [
        f"{item.place} imports {item.module}"
        for item in _imports(folder, package)
        if item.module.split(".")[0] in project
        and not any(item.module == name or item.module.startswith(name + ".") for name in allowed)
    ]
    assert not wrong, f"{package} may import of the project only {allowed}:\n" + "\n".join(wrong)


@pytest.mark.parametrize(("folder", "package"), PACKAGES.items())
def test_packages_leave_libraries_to_those_who_own_them(folder: str, package: str) -> None:
    wrong = [
        f"{item.place} imports {item.module}"
        for item in _imports(folder, package)
        if item.module.split(".")[0] in FORBIDDEN[package]
    ]
    assert not wrong, "\n".join(wrong)


def test_interface_needs_numpy_only() -> None:
    folder = REPO / "g2vlm_model" / "interface"
    names = {
        item.module.split(".")[0]
        for item in _imports("g2vlm_model", "g2vlm_model")
        if item.place.startswith("g2vlm_model/interface/")
    }
    assert len(list(folder.glob("*.py"))) > 1
    optional = {"tqdm"}  # progress is shown as lines without it: tests/test_progress.py
    assert names - optional - set(sys.stdlib_module_names) == {"numpy", "g2vlm_model"}
    inside = [
        item
        for item in _imports("g2vlm_model", "g2vlm_model")
        if item.place.startswith("g2vlm_model/interface/") and item.module.startswith("g2vlm_model")
    ]
    assert all(item.module.startswith("g2vlm_model.interface.") for item in inside), inside


def _loaded_by(*modules: str) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(*(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_model_package_loads_no_torch() -> None:
    light = [
        "g2vlm_model",
        "g2vlm_model.interface",
        "g2vlm_map.answers.measure",
        "g2vlm_model.runtimes",
    ]
    light += ["g2vlm_model.runtimes.export_folder", "g2vlm_export.cli"]
    loaded = _loaded_by(*light, "g2vlm_model.cli")
    assert not loaded & {"torch", "onnx", "onnxruntime", "tensorrt", "tokenizers", "rclpy", "cv2"}


def test_importing_the_node_loads_neither_torch_nor_the_replays_libraries() -> None:
    loaded = _loaded_by("g2vlm_ros.node", "g2vlm_ros.perception_node")
    assert "rclpy" in loaded
    assert not loaded & {"torch", "evo", "matplotlib", "rosbags", "pandas", "tokenizers"}


def test_every_library_is_in_a_requirement_file() -> None:
    """What is imported and not pinned works only where somebody happened to install it."""
    pinned = set()
    for path in (REPO / "requirements").rglob("*.txt"):
        if path.name != "constraints.txt":
            for line in path.read_text(encoding="utf-8").splitlines():
                if line and not line.startswith("#"):
                    name = re.split(r"[=\[;<> ]", line)[0].lower()
                    pinned.add(IMPORT_NAMES.get(name, name).lower())
    wrong = set()
    for folder, package in [*PACKAGES.items(), ("benchmarks", "benchmarks"), ("tests", "tests")]:
        for item in _imports(folder, package):
            top = item.module.split(".")[0]
            known = top in sys.stdlib_module_names or top.startswith(("g2vlm_", *OURS))
            known = known or top in OPTIONAL or bool(FROM_ROS.match(top))
            if not known and top.lower() not in pinned and top != package:
                wrong.add(f"{item.place} imports {top}")
    assert not wrong, "not in requirements/*.txt:\n" + "\n".join(sorted(wrong))


def test_package_xml_declares_what_the_node_and_the_launch_files_import_and_no_more() -> None:
    """Without what is optional: recordings, exports and engines, a ROS distribution's cv_bridge."""
    document = ET.parse(REPO / "package.xml").getroot()
    declared = {item.text or "" for item in document if item.tag == "exec_depend"}
    imported = set()
    for folder in ("g2vlm_ros", "g2vlm_map", "g2vlm_model", "launch"):
        for item in _imports(folder, folder):
            if not item.place.startswith("g2vlm_map/recordings/"):
                imported.add(item.module.split(".")[0])
    imported -= {*sys.stdlib_module_names, *PACKAGES.values(), *WITHOUT_ROSDEP_KEY, *OPTIONAL}
    wanted = {ROSDEP_KEYS.get(name, name) for name in imported}
    assert wanted <= declared, f"not in package.xml: {sorted(wanted - declared)}"
    libraries = {name for name in declared if name.startswith("python3-")}
    assert libraries <= wanted, f"nothing imports: {sorted(libraries - wanted)}"
    assert "cv_bridge" in declared


def test_launch_is_no_package() -> None:
    assert not (REPO / "launch" / "__init__.py").exists(), "it would shadow ROS's own launch"


def test_no_file_is_long() -> None:
    folders = [*PACKAGES, "tests", "benchmarks", "scripts", "launch"]
    lengths = {
        path.relative_to(REPO).as_posix(): len(
            path.read_text(encoding="utf-8").removeprefix(write_licence.NOTICE).splitlines()
        )
        for folder in folders
        for path in _files(folder)
    }
    long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
    assert len(lengths) > 20
    assert not long, f"one file, one idea, at most {MAX_LINES} lines: {long}"
