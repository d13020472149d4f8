# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Weights of 8 and 4 bits: products, what is quantised, and models that run so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from g2vlm_model import quantised
from g2vlm_model.checkpoint import load_model, model_on_meta
from g2vlm_model.config import ModelConfig
from g2vlm_model.interface import AnswerStatus, PixelMark, SpatialQuery
from g2vlm_model.quantised import (
    PRECISIONS,
    QuantisedEmbedding,
    QuantisedLinear,
    quantisable,
    weight_count,
)
from g2vlm_model.runtimes import load_runtime
from g2vlm_model.runtimes.trial_frames import trial_window
from tests.runtimes.model_folders import small_config, write_model


def linear(inputs: int, outputs: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.012), (4, 0.16)])
@pytest.mark.parametrize(("inputs", "outputs"), [(128, 70), (96, 33), (2, 5), (1024, 700)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_products_are_those_of_the_rounded_weights(
    bits: int, most: float, inputs: int, outputs: int, dtype: torch.dtype
) -> None:
    whole = linear(inputs, outputs)
    small = QuantisedLinear(whole.weight, bits, dtype, nn.Parameter(whole.bias.to(dtype)))
    rounded = small.weights().float()
    error = float((rounded - whole.weight).norm() / whole.weight.norm())
    assert error < most
    close = 1e-4 if dtype == torch.float32 else 3e-2
    for shape in ((1, inputs), (3, 40, inputs)):  # by blocks, and whole
        x = torch.randn(shape).to(dtype)
        want = F.linear(x.float(), rounded, whole.bias)
        torch.testing.assert_close(small(x).float(), want, atol=close, rtol=close)


@pytest.mark.parametrize("bits", [8, 4])
@torch.inference_mode()
def test_many_tokens_cast_a_part_of_a_large_map_at_once(
    bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = linear(128, 70)
    small = QuantisedLinear(whole.weight, bits, torch.float32, whole.bias)
    x, longer = torch.randn(3, 40, 128), torch.randn(3, 200, 128)
    at_once, longer_at_once = small(x), small(longer)
    monkeypatch.setattr(quantised, "_CAST_CPU", 128 * 32)  # rows 0, 32 and 64 begin a part
    torch.testing.assert_close(small(x), at_once, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(small(longer), longer_at_once, atol=1e-6, rtol=1e-5)  # of 6 rows


@pytest.mark.parametrize(("bits", "share"), [(8, 0.26), (4, 0.145)])
def test_memory(bits: int, share: float) -> None:
    whole = linear(1024, 512)
    small = QuantisedLinear(whole.weight, bits, torch.float32)
    assert small.weight.nbytes + small.scale.nbytes < share * whole.weight.nbytes


@torch.inference_mode()
def test_a_table_of_rows() -> None:
    torch.manual_seed(0)
    whole = torch.randn(50, 64)
    table = QuantisedEmbedding(whole, torch.float32)
    ids = torch.tensor([[3, 49], [0, 3]])
    torch.testing.assert_close(table(ids), whole[ids], atol=0.02, rtol=0)
    assert torch.equal(table.row(49), table(ids)[0, 1])
    assert table.weight.nbytes + table.scale.nbytes < 0.27 * whole.nbytes


def test_rows_of_zeros_stay_zeros() -> None:
    small = QuantisedLinear(torch.zeros(4, 8), 4, torch.float32)
    assert not small.weights().any()
    assert torch.isfinite(small(torch.ones(1, 8))).all()


def test_odd_inputs_have_no_halves() -> None:
    with pytest.raises(ValueError, match="even number of inputs"):
        QuantisedLinear(torch.zeros(4, 7), 4, torch.float32)


@pytest.mark.parametrize(("precision", "share"), [("int8", 0.9), ("int4+int8", 0.9)])
def test_most_of_the_published_model_is_quantised(precision: str, share: float) -> None:
    model = model_on_meta(ModelConfig.g2vlm_2b())
    found = {name: (module, bits) for name, module, bits in quantisable(model, precision)}
    few_bits = sum(module.weight.numel() for module, _ in found.values())
    assert few_bits > share * weight_count(model)
    semantic, geometric = PRECISIONS[precision]
    assert found["trunk.layers.3.semantic.up_proj"][1] == semantic
    assert found["trunk.layers.3.geometric.up_proj"][1] == geometric
    assert found["vit.merger.fc2"][1] == found["trunk.lm_head"][1] == semantic
    kept = {"heads.point_head", "heads.camera_head.rotation", "dino_projection"}
    assert not kept & set(found)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_embedded_model_runs_so(precision: str) -> None:
    depths, answers = [], []
    for one in ("fp32", precision):
        runtime = load_runtime("torch", model="nano", device="cpu", precision=one)
        assert (runtime.info.precision, runtime.info.parameters) == (one, 5_205_660)
        scene = runtime.observe(trial_window(2, 224, 224))
        depths.append(scene.geometry.local_points[..., 2].astype(np.float64))
        mark = PixelMark(0, 112, 112, "A")
        answers.append(runtime.ask(scene, SpatialQuery("How far is A from the camera?", (mark,))))
        scene.close()
        runtime.close()
    off = np.abs(depths[1] / depths[0] - 1.0)
    assert 0 < float(np.median(off)) < (0.05 if precision == "int4" else 0.005)
    assert all(answer.status is AnswerStatus.OK for answer in answers)


def test_without_its_geometry(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "small", small_config())
    runtime = load_runtime("torch", model=folder, device="cpu", precision="int8")
    whole = load_runtime("torch", model=folder, device="cpu", precision="fp32")
    assert runtime.info.parameters == whole.info.parameters
    for one in (runtime, whole):
        one.close()
    model, _ = load_model(folder, geometric=False, quantise="int8")
    for name, kind in (
        ("trunk.embed_tokens", QuantisedEmbedding),
        ("trunk.layers.0.semantic.up_proj", QuantisedLinear),
    ):
        assert isinstance(model.get_submodule(name), kind)
    assert model.dino is None
