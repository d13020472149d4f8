# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A small graph with one real attention, for tests of the ladder and of the other forms.

y = softmax((x q) (x k)^T / sqrt(C)) (x v), in half or single precision, as one `Attention` node
(opset 23) or as products and a softmax (opset 18). Shape letters: B batch, A heads, L tokens, C.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from g2vlm_model.runtimes.export_folder import Golden

HEADS, TOKENS, WIDTH = 2, 12, 16


def weights(scores: float, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Matrices q, k, v of every head, for scores of about the given size before scaling."""
    rng = np.random.default_rng(seed)
    made = {
        name: rng.standard_normal((1, HEADS, WIDTH, WIDTH)).astype(np.float32) / 4
        for name in ("q", "k", "v")
    }
    made["q"] *= np.float32(math.sqrt(scores))
    made["k"] = made["q"].copy()  # a token's score with itself is the largest
    return {name: matrix.astype(np.float16).astype(np.float32) for name, matrix in made.items()}


def inputs(seed: int = 1) -> NDArray[np.float32]:
    """(1, A, L, C)."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal((1, HEADS, TOKENS, WIDTH)).astype(np.float32)


def expected(x: NDArray[np.float32], matrices: dict[str, NDArray[np.float32]]) -> Golden:
    """What the graph has to compute, in float64 from the formula."""
    q, k, v = (x.astype(np.float64) @ matrices[name] for name in ("q", "k", "v"))
    scores = q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH)
    raised = np.exp(scores - scores.max(-1, keepdims=True))
    y = (raised / raised.sum(-1, keepdims=True)) @ v
    return Golden("attention", "1x2x12", {"x": x}, {"y": y.astype(np.float32)})


def write_graph(
    path: Path, matrices: dict[str, NDArray[np.float32]], precision: str, opset: int
) -> Path:
    """Write the graph; input and output are float32 in every precision."""
    kind = TensorProto.FLOAT16 if precision == "fp16" else TensorProto.FLOAT
    own = np.float16 if precision == "fp16" else np.float32
    nodes = [helper.make_node("Cast", ["x"], ["x_own"], name="to_own", to=kind)]
    for name in matrices:
        nodes.append(helper.make_node("MatMul", ["x_own", f"w{name}"], [name], name=f"make_{name}"))
    root = np.array(math.sqrt(1 / math.sqrt(WIDTH)), dtype=own)
    constants = {f"w{name}": matrix.astype(own) for name, matrix in matrices.items()}
    if opset >= 23:
        nodes.append(helper.make_node("Attention", ["q", "k", "v"], ["a"], name="attention"))
    else:
        constants["root"] = root
        nodes += [
            helper.make_node("Transpose", ["k"], ["k_turned"], name="turn", perm=[0, 1, 3, 2]),
            helper.make_node("Mul", ["q", "root"], ["q_scaled"], name="scale_q"),
            helper.make_node("Mul", ["k_turned", "root"], ["k_scaled"], name="scale_k"),
            helper.make_node("MatMul", ["q_scaled", "k_scaled"], ["scores"], name="score"),
            helper.make_node("Softmax", ["scores"], ["shares"], name="softmax", axis=-1),
            helper.make_node("MatMul", ["shares", "v"], ["a"], name="weigh"),
        ]
    nodes.append(helper.make_node("Cast", ["a"], ["y"], name="to_float", to=TensorProto.FLOAT))
    shape = [1, HEADS, "L", WIDTH]
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save_model(model, path)
    return path


def grouped_graph(mask: str, precision: str) -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    """An `Attention` of 4 heads over 2 key/value heads, and inputs for it.

    Args:
        mask: "" for none, "added" to the scores, "allowed" as booleans.
        precision: Of inputs and output.
    """
    heads, groups, tokens, keys = 4, 2, 5, 7
    own = np.float16 if precision == "fp16" else np.float32
    rng = np.random.default_rng(3)
    given: dict[str, NDArray[Any]] = {
        "q": rng.standard_normal((2, heads, tokens, WIDTH)).astype(own),
        "k": rng.standard_normal((2, groups, keys, WIDTH)).astype(own),
        "v": rng.standard_normal((2, groups, keys, WIDTH)).astype(own),
    }
    if mask == "added":
        given["mask"] = rng.standard_normal((2, 1, tokens, keys)).astype(own)
    elif mask == "allowed":
        given["mask"] = rng.random((tokens, keys)) < 0.7
        given["mask"][:, 0] = True
    infos = [
        helper.make_tensor_value_info(
            name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in given.items()
    ]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(own))
    output = helper.make_tensor_value_info("y", kind, (2, heads, tokens, WIDTH))
    node = helper.make_node("Attention", list(given), ["y"], name="attention", scale=0.2)
    graph = helper.make_graph([node], "grouped", infos, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return model, given


def with_large_table(path: Path, halves: int) -> Path:
    """Add a half-precision table to a written graph, in a file of holes beside it.

    The graph's output is that of before plus the table's first number, which is 0.

    Args:
        path: From `write_graph`, in half precision; is overwritten.
        halves: Numbers of the table.
    """
    model = onnx.load(path)
    data = path.with_suffix(".data")
    with data.open("wb") as file:
        file.truncate(2 * halves)
    table = model.graph.initializer.add(name="table", data_type=TensorProto.FLOAT16, dims=[halves])
    table.data_location = TensorProto.EXTERNAL
    for key, value in (("location", data.name), ("offset", "0"), ("length", str(2 * halves))):
        table.external_data.add(key=key, value=value)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0, np.int64), "first"))
    cast = model.graph.node.pop()
    nodes = [
        helper.make_node("Gather", ["table", "first"], ["offset"], name="look_up"),
        helper.make_node("Add", [cast.input[0], "offset"], ["moved"], name="move"),
        helper.make_node("Cast", ["moved"], ["y"], name="to_float", to=TensorProto.FLOAT),
    ]
    model.graph.node.extend(nodes)
    path.write_bytes(model.SerializeToString())
    return path
