# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The file of an export's weights: its layout, products of few bits, models on top of it."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from g2vlm_export import weights
from g2vlm_export.manifest import replaced_folder, save_graph
from g2vlm_export.to_onnx import to_onnx
from g2vlm_export.weights import (
    BLOCKS,
    MatrixLinear,
    NBitsLinear,
    WeightFile,
    block_size,
    lay_out,
    nbits,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.export import Dim

from g2vlm_model import quantised
from g2vlm_model.checkpoint import load_model
from g2vlm_model.config import ModelConfig
from g2vlm_model.model_folder import INDEX_FILE
from g2vlm_model.quantised import QuantisedLinear
from g2vlm_model.runtimes.export_folder import FLOATS, PRECISIONS
from g2vlm_model.runtimes.onnx.sessions import Provider, Session
from tests.exports import Exports
from tests.helpers import full_disk


def test_the_precisions_are_torchs_and_floats() -> None:
    """Written twice: the folder is read where there is no torch."""
    assert set(PRECISIONS) == {*FLOATS, *quantised.PRECISIONS}
    assert len(PRECISIONS) == len(set(PRECISIONS))


@pytest.mark.parametrize(
    ("group", "block"), [(8960, 256), (384, 128), (96, 32), (64, 64), (1493, 16)]
)
def test_blocks_fill_their_groups(group: int, block: int) -> None:
    assert block_size(group) == block
    assert set(BLOCKS) == {16, 32, 64, 128, 256}


class Maps(nn.Module):
    """Linear maps side by side."""

    def __init__(self, maps: Sequence[nn.Module]) -> None:
        super().__init__()
        self.maps = nn.ModuleList(maps)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([one(x[:, : inputs_of(one)]) for one in self.maps], dim=-1)


def inputs_of(one: nn.Module) -> int:
    return one.inputs if isinstance(one, NBitsLinear) else 64


def run_map(maps: Sequence[nn.Module], x_BI: Tensor, folder: Path) -> Tensor:
    program = torch.export.export(Maps(maps), (x_BI,), dynamic_shapes=({0: Dim("B", min=1)},))
    save_graph(folder, "map", to_onnx(program, ("x",), ("y",), 18))
    session = Session(folder / "map.onnx", Provider("cpu"))
    return torch.from_numpy(session.run({"x": x_BI.numpy()})["y"])


def test_products_of_few_bits_are_torchs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of one scale and of several, blocks that fill up, maps in pieces, with bias or none."""
    monkeypatch.setattr(weights, "PIECE", 40 * 192)
    torch.manual_seed(0)
    made, wanted = [], []
    x_BI = torch.randn(5, 192)
    for bits, inputs in ((8, 192), (8, 150), (4, 192), (4, 150)):
        weight_OI = torch.randn(96, inputs)
        bias = nn.Parameter(torch.randn(96), requires_grad=False) if bits == 8 else None
        parts = weight_OI.split(weights.PIECE // inputs)
        assert len(parts) > 1
        pieces = [nbits(QuantisedLinear(part, bits, torch.float32)) for part in parts]
        made.append(NBitsLinear(pieces, inputs, bits, bias))
        wanted.append(QuantisedLinear(weight_OI, bits, torch.float32, bias)(x_BI[:, :inputs]))
    found = run_map(made, x_BI, tmp_path)
    torch.testing.assert_close(found, torch.cat(wanted, dim=-1), atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("bits", [8, 4])
def test_what_the_operator_takes_and_how_well(bits: int) -> None:
    """Its own accuracy level, 0, keeps activations; 4 rounds them to 8 bits, a hundred times worse.

    Blocks above 256 are refused: 1.26 took 512 and gave zeros (onnxruntime issue 28551).
    """
    torch.manual_seed(0)
    small = QuantisedLinear(torch.randn(64, 1024), bits, torch.float32)
    x_BI = torch.randn(3, 1024)
    want = small(x_BI).numpy()
    packed, scales = (one.numpy() for one in nbits(small))
    errors = {}
    for level in (0, 4):
        session = onnxruntime.InferenceSession(one_product(packed, scales, bits, level))
        (found,) = session.run(None, {"x": x_BI.numpy()})
        errors[level] = float(np.abs(found - want).max() / np.abs(want).max())
    assert errors[0] < 1e-5 < 1e-3 < errors[4] < 2e-2, errors
    onnxruntime.set_default_logger_severity(4)
    try:
        wide = packed.reshape(64, 2, -1)
        with pytest.raises(Exception, match="block sizes 16, 32, 64, 128, and 256"):
            onnxruntime.InferenceSession(one_product(wide, scales[:, :2].copy(), bits, 0))
    finally:
        onnxruntime.set_default_logger_severity(2)


def one_product(packed: object, scales: object, bits: int, level: int) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    blocks = np.asarray(packed)
    sizes = {"K": 1024, "N": 64, "bits": bits, "block_size": blocks.shape[2] * 8 // bits}
    node = helper.make_node(
        "MatMulNBits", ["x", "q", "s"], ["y"], domain="com.microsoft", accuracy_level=level, **sizes
    )
    sides = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", size])]
        for name, size in (("x", 1024), ("y", 64))
    ]
    constants = [numpy_helper.from_array(blocks, "q"), numpy_helper.from_array(scales, "s")]
    graph = helper.make_graph([node], "one", *sides, constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=10
    ).SerializeToString()
    return content


def test_graphs_name_places_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two graphs with one weight hold it once; a session leaves it in the file."""
    monkeypatch.setattr(weights, "SHARED_BYTES", 0)
    file = WeightFile(tmp_path / weights.WEIGHTS)
    torch.manual_seed(0)
    weight_IO = torch.randn(64, 48)
    with file.path.open("wb") as out:
        file.put(out, "odd", [torch.zeros(3, dtype=torch.uint8)])
        file.put(out, "weight", weight_IO.split(3))
    mapped = file.map()["weight"]
    assert torch.equal(mapped, weight_IO)
    assert file.place_of(mapped) == 64
    assert file.place_of(weight_IO) is None
    assert file.place_of(mapped.t()) is None, "in another order it is another tensor"
    x_BI = torch.randn(2, 64)
    for name, scale in (("once", 1.0), ("twice", 2.0)):
        module = Maps([MatrixLinear([mapped], nn.Parameter(torch.full((48,), scale)))])
        program = torch.export.export(module.requires_grad_(False), (x_BI,))
        record = save_graph(tmp_path, name, to_onnx(program, ("x",), ("y",), 18), file)
        assert record.data == weights.WEIGHTS
        assert (tmp_path / record.file).stat().st_size < 2000
        session = Session(tmp_path / record.file, Provider("cpu"), mapped=True)
        found = torch.from_numpy(session.run({"x": x_BI.numpy()})["y"])
        torch.testing.assert_close(found, x_BI @ weight_IO + scale)
    file.copy_to(tmp_path / "again.bin")
    assert (tmp_path / "again.bin").read_bytes() == file.path.read_bytes()


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int4+int8"])
def test_a_model_on_top_of_its_file(precision: str, exports: Exports, tmp_path: Path) -> None:
    source = exports.tiny_model()
    config = ModelConfig.from_folder(source)
    whole, _ = load_model(source)
    model, file = lay_out(source, config, whole.special_ids, precision, tmp_path / "w")
    assert file.bytes == (tmp_path / "w").stat().st_size
    up = model.trunk.layers[0].get_submodule("geometric.up_proj")
    want = whole.trunk.layers[0].get_submodule("geometric.up_proj").get_parameter("weight")
    if precision == "int4+int8":
        assert isinstance(up, NBitsLinear)
        assert up.bits == 8
    else:
        assert isinstance(up, MatrixLinear)
        (weight_IO,) = up.weights
        torch.testing.assert_close(weight_IO.float(), want.t(), atol=1e-3, rtol=1e-3)
    for name, parameter in model.named_parameters():
        assert file.place_of(parameter) is not None, name
        assert (parameter.dtype == torch.float16) == (
            precision == "fp16" and not name.startswith("heads.point_head.")
        ) or name.startswith("heads."), name


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(
    wrong: float, exports: Exports, tmp_path: Path
) -> None:
    from g2vlm_export.export_onnx import export_onnx

    source = shutil.copytree(exports.tiny_model(), tmp_path / "model")
    tensors = load_file(source / "model.safetensors")
    name = next(name for name in tensors if name.endswith("mlp.up_proj.weight"))
    tensors[name].view(-1)[7] = wrong
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        export_onnx(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_index_that_leads_out_of_its_folder(exports: Exports, tmp_path: Path) -> None:
    from g2vlm_export.export_onnx import export_onnx

    source = shutil.copytree(exports.tiny_model(), tmp_path / "model")
    (source / "model.safetensors").rename(tmp_path / "elsewhere.safetensors")
    names = {"weight_map": {"a": "../elsewhere.safetensors"}}
    (source / INDEX_FILE).write_text(json.dumps(names))
    with pytest.raises(ValueError, match="which is not in its folder"):
        export_onnx(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_while_the_weights_are_written(exports: Exports, tmp_path: Path) -> None:
    """At 90 % of them; nothing is left behind."""
    source = exports.tiny_model()
    config = ModelConfig.from_folder(source)
    whole, _ = load_model(source)
    _, file = lay_out(source, config, whole.special_ids, "fp32", tmp_path / "w")
    (tmp_path / "w").unlink()
    with (
        full_disk(file.bytes * 9 // 10),
        pytest.raises(OSError, match=r"no space left .* give --out on another disk") as caught,
        replaced_folder(tmp_path / "out", force=False) as folder,
    ):
        lay_out(source, config, whole.special_ids, "fp32", folder / weights.WEIGHTS)
    assert caught.value.errno == errno.EFBIG
    assert not list(tmp_path.iterdir())
