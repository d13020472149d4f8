# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Geometry by engines: the golden check, the profile, what stays on the device.

Engines of these tests are the exported graphs themselves, "executed" by `host_gpu`.
"""

from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest

from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.geometry_engine import GeometryEngine, StreamingEngine
from g2vlm_model.runtimes.machine import TensorRT
from g2vlm_model.runtimes.tensorrt.cuda import DeviceArray
from g2vlm_model.runtimes.tensorrt.engines import EngineFolder, EngineRefusedError, Profile
from g2vlm_model.runtimes.tensorrt.geometry import open_geometry

from .compiled import GPU, STREAMING, WHOLE, WIDE, compiled, compute_something_else
from .host_gpu import HostCuda


def opened(
    export: ExportFolder, trt: TensorRT, on_device: bool = False
) -> GeometryEngine | StreamingEngine:
    engines = EngineFolder.open(export.path / "engines", trt, GPU, export.digest)
    return open_geometry(export, engines, trt, GPU, on_device=on_device)


@pytest.mark.parametrize("names", [STREAMING, WHOLE])
def test_engines_that_nobody_checked_are_checked_here(
    export: ExportFolder, trt: TensorRT, host: HostCuda, names: tuple[str, ...]
) -> None:
    folder = compiled(export, names, checked=False)
    engine = opened(export, trt)
    assert isinstance(engine, StreamingEngine) == (names == STREAMING)
    facts = engine.facts
    assert facts.runtime == "tensorrt"
    assert facts.device == "cuda:0 (a GPU in the host's memory, tensorrt 10.15.1)"
    engine.close()
    engine.close()
    assert not host.blocks
    noted = EngineFolder.read(folder).manifest
    assert noted.checked
    assert all("local_points" in noted.engines[n].check for n in names if n != "encoder")


def test_what_the_ladder_made_of_fp16_is_reported(export: ExportFolder, trt: TensorRT) -> None:
    folder = compiled(export)
    manifest = EngineFolder.read(folder).manifest
    reported = {}
    for rungs in (("fp16 fused",) * 2, ("fp16 decomposed", "fp32"), ("fp32", "fp32")):
        engines = {
            name: replace(record, rung=rung, reasons=("fp16 fused: 0.1 of range",))
            for (name, record), rung in zip(manifest.engines.items(), rungs, strict=True)
        }
        replace(manifest, engines=engines, precision="fp16").write(folder)
        engine = opened(export, trt)
        reported[rungs] = (engine.facts.precision, engine.facts.fallback_reason)
        engine.close()
    reason = "fp16 was refused by the golden check ({})"
    expert = "expert: fp16 fused: 0.1 of range"
    assert list(reported.values()) == [
        ("fp16", ""),
        ("fp16", reason.format(expert)),
        ("fp32", reason.format(f"encoder: fp16 fused: 0.1 of range | {expert}")),
    ]


@pytest.mark.parametrize(
    "facts", [{"checked": False}, {"targets": ("sm87",), "gpu": "", "driver": "", "checked": True}]
)
def test_an_engine_that_computes_something_else_is_refused(
    export: ExportFolder, trt: TensorRT, host: HostCuda, facts: dict[str, object]
) -> None:
    """One that was compiled ahead is checked on every device, wherever it was before."""
    folder = compiled(export, **facts)  # type: ignore[arg-type]
    compute_something_else(folder)
    with pytest.raises(EngineRefusedError, match="the engine of encoder gives wrong numbers on"):
        opened(export, trt)
    assert EngineFolder.read(folder).manifest.checked == facts["checked"]
    gc.collect()
    assert not host.blocks


def test_an_engine_that_nothing_can_be_compared_with_is_refused(
    export: ExportFolder, trt: TensorRT
) -> None:
    compiled(export, checked=False, profile=Profile((20, 14, 14), (20, 42, 56), (24, 560, 560)))
    with pytest.raises(EngineRefusedError, match="cannot be checked: no golden window of"):
        opened(export, trt)


def test_a_window_outside_of_the_profile_is_said(export: ExportFolder, trt: TensorRT) -> None:
    compiled(export, profile=replace(WIDE, maximum=(4, 84, 84)))
    engine = opened(export, trt)
    with pytest.raises(ValueError, match=r"built for 1x14x14 to 4x84x84; use another window") as e:
        engine.run(np.zeros((5, 42, 56, 3), np.uint8))
    assert "g2vlm export tensorrt --profile custom --min 1,14,14 --opt 5,42,56" in str(e.value)
    assert engine.run(np.zeros((4, 42, 56, 3), np.uint8)).local_points.shape == (4, 42, 56, 3)
    engine.close()


def test_an_engine_for_one_size_encodes_fewer_new_frames(
    export: ExportFolder, trt: TensorRT, host: HostCuda
) -> None:
    pictures = max((golden.inputs["pictures"] for golden in export.goldens("geometry")), key=len)
    size = (len(pictures), *pictures.shape[1:3])
    for number, on_device in enumerate((False, True)):
        compiled(export, profile=Profile(*[size] * 3))
        engine = opened(export, trt, on_device)
        assert isinstance(engine, StreamingEngine)
        whole, one = engine.encode(pictures), engine.encode(pictures[1:2])
        if on_device:
            assert isinstance(one, DeviceArray)
            whole, one = host.read(whole), host.read(one)
        np.testing.assert_allclose(one, whole[1:2], atol=1e-5)
        with pytest.raises(ValueError, match=f"the window is 1x{size[1]}x{size[2]}"):
            engine.run_tokens(whole[:1], pictures[:1])
        engine.close()
        (export.path / "engines").rename(export.path / f"used{number}")


def test_keys_and_values_stay_on_the_device(
    export: ExportFolder, trt: TensorRT, host: HostCuda
) -> None:
    compiled(export)
    pictures = np.random.default_rng(1).integers(0, 256, (2, 42, 56, 3), np.uint8)
    there, here = opened(export, trt, on_device=True), opened(export, trt)
    kept, arrays = there.run(pictures), here.run(pictures)
    there.close()
    for name in ("local_points", "rotation9", "translation", "keys", "values"):
        array = getattr(kept, name)
        assert isinstance(array, DeviceArray)
        np.testing.assert_allclose(host.read(array), getattr(arrays, name), atol=1e-5)
    here.close()
    del kept, array
    assert not host.blocks
