# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports with weights of 8 and 4 bits: what they say, who runs them, who refuses them."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from g2vlm_export import tensorrt_cli
from g2vlm_export.cli import main as export
from PIL import Image

from g2vlm_model.interface import Frame, FrameWindow, PixelMark, SpatialQuery, SpatialRuntime
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.auto import Machine, order
from g2vlm_model.runtimes.export_folder import MANIFEST, ExportFolder
from g2vlm_model.runtimes.golden_check import angles_between
from g2vlm_model.runtimes.request import RuntimeRequest
from g2vlm_model.runtimes.tensorrt import require_floats
from tests.exports import PARTS, Exports
from tests.runtimes.model_folders import window

ABS_REL, DEGREES = 0.002, 0.05  # that 8 bits may change, by ground truth
QUERY = SpatialQuery("How far is A from the camera?", (PixelMark(0, 112, 112, "A"),))


@pytest.fixture
def said_int8(tiny_export: Path, tmp_path: Path) -> Path:
    """An export whose manifest says int8; for those who read no further."""
    folder = shutil.copytree(tiny_export, tmp_path / "int8")
    content = json.loads((folder / MANIFEST).read_text())
    content["precision"] = "int8"
    (folder / MANIFEST).write_text(json.dumps(content))
    return folder


def test_tensorrt_refuses_them_and_says_why(said_int8: Path) -> None:
    told = r"exported in int8, which no TensorRT reads, neither 10\.3 nor 11.* runtime 'onnx'"
    with pytest.raises(ValueError, match=told):
        require_floats(ExportFolder.open(said_int8))
    with pytest.raises(ValueError, match=told):
        tensorrt_cli.main(["--onnx", str(said_int8)])
    with pytest.raises(ValueError, match="graphs are exported in fp32 or fp16"):
        load_runtime("tensorrt", precision="int8")


def test_auto_runs_them_with_onnx_runtime(said_int8: Path) -> None:
    """Also where torch is there, and a GPU: it would hold the whole model."""
    able = Machine(tensorrt="", torch="", torch_cuda="", onnx="")
    for precision in ("auto", "int8"):
        request = RuntimeRequest(precision=precision, export=said_int8)
        assert order(request, able) == ("onnx",)


def observed(runtime: SpatialRuntime) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Depths and rotations of some windows, and answers."""
    depths, rotations, texts = [], [], []
    for seed in range(4):
        scene = runtime.observe(window(3 * seed, 3 * seed + 1, 3 * seed + 2, height=240, width=320))
        depths.append(scene.geometry.local_points[..., 2].ravel())
        rotations.append(scene.geometry.T_world_cam[:, :3, :3])
        texts.append(runtime.ask(scene, QUERY).text)
        scene.close()
    return np.concatenate(depths), np.concatenate(rotations), texts


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["int8", "int4+int8", "int4"])
def test_nano_says_what_torch_says_with_the_same_weights(
    precision: str, exports: Exports, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exports.nano(precision=precision, opset=18)
    manifest = ExportFolder.open(folder).manifest
    assert (manifest.precision, manifest.parts) == (precision, PARTS)
    assert export(["check", str(folder)]) == 0, capsys.readouterr().out
    said = {}
    for name, runtime, given in (
        ("fp32", "torch", {"precision": "fp32"}),
        ("torch", "torch", {"precision": precision}),
        ("onnx", "onnx", {"export": folder}),
    ):
        with closing(load_runtime(runtime, "nano", "cpu", **given)) as loaded:
            said[name] = observed(loaded)
            if name != "fp32":
                assert loaded.info.precision == precision
    depth, rotation, texts = said["onnx"]
    off = np.abs(depth / said["torch"][0] - 1.0)
    assert float(np.quantile(off, 0.99)) < 1e-4
    assert texts == said["torch"][2]
    np.testing.assert_allclose(rotation, said["torch"][1], atol=1e-5)


def by_ground_truth(runtime: SpatialRuntime, data: Path) -> tuple[float, float]:
    """AbsRel with the median's scale; median error in degrees of rotations to the first frame."""
    names = sorted(path.name[:12] for path in data.glob("*.color.jpg"))
    errors, angles = [], []
    for first in range(0, 32, 4):
        window_names = names[first : first + 4]
        frames = tuple(
            Frame(np.asarray(Image.open(data / f"{name}.color.jpg")), i, "c", "c", name)
            for i, name in enumerate(window_names)
        )
        scene = runtime.observe(FrameWindow(frames))
        poses = [np.loadtxt(data / f"{name}.pose.txt") for name in window_names]
        for i, name in enumerate(window_names):
            depth_HW = scene.geometry.local_points[i, ..., 2]
            size = (depth_HW.shape[1], depth_HW.shape[0])
            true = Image.open(data / f"{name}.depth.png").resize(size, Image.Resampling.NEAREST)
            true_HW = np.asarray(true).astype(np.float64) / 1000.0
            seen = (true_HW > 0.1) & (true_HW < 10.0)
            ratio = depth_HW[seen] / true_HW[seen]
            errors.append(float(np.abs(ratio / np.median(ratio) - 1.0).mean()))
            wanted = (np.linalg.inv(poses[0]) @ poses[i])[:3, :3]
            angles.append(angles_between(scene.geometry.T_world_cam[i, :3, :3], wanted))
        scene.close()
    return float(np.mean(errors)), float(np.degrees(np.median(angles)))


@pytest.mark.slow
def test_eight_bits_change_little_by_ground_truth(exports: Exports, data_folder: Path) -> None:
    """32 real frames, which nothing was chosen by."""
    found = []
    folder = exports.nano(precision="int8", opset=18)
    for runtime, given in (("torch", {"precision": "fp32"}), ("onnx", {"export": folder})):
        with closing(load_runtime(runtime, "nano", "cpu", **given)) as loaded:
            found.append(by_ground_truth(loaded, data_folder / "7scenes_redkitchen"))
    (whole, turned), (rounded, turned_so) = found
    assert rounded == pytest.approx(whole, abs=ABS_REL)
    assert turned_so == pytest.approx(turned, abs=DEGREES)
