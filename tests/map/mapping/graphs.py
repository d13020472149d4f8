# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Small ONNX graphs that find corners, describe them, and match them: what a user's would do.

Corners by Harris and Stephens (1988), descriptors by fixed random filters of zero mean over a
patch, matches by mutual nearest neighbour with the ratio test. Nothing is learned.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

CORNERS, NUMBERS, PATCH = 300, 64, 15

_FIND = """
    gx{n} = Conv <pads = [1, 1, 1, 1]> ({image}, across)
    gy{n} = Conv <pads = [1, 1, 1, 1]> ({image}, down)
    xx{n} = Mul (gx{n}, gx{n})
    yy{n} = Mul (gy{n}, gy{n})
    xy{n} = Mul (gx{n}, gy{n})
    sxx{n} = AveragePool <kernel_shape = [5, 5], pads = [2, 2, 2, 2], strides = [1, 1]> (xx{n})
    syy{n} = AveragePool <kernel_shape = [5, 5], pads = [2, 2, 2, 2], strides = [1, 1]> (yy{n})
    sxy{n} = AveragePool <kernel_shape = [5, 5], pads = [2, 2, 2, 2], strides = [1, 1]> (xy{n})
    product{n} = Mul (sxx{n}, syy{n})
    square{n} = Mul (sxy{n}, sxy{n})
    determinant{n} = Sub (product{n}, square{n})
    trace{n} = Add (sxx{n}, syy{n})
    trace2{n} = Mul (trace{n}, trace{n})
    share{n} = Mul (trace2{n}, k_harris)
    corner{n} = Sub (determinant{n}, share{n})
    highest{n} = MaxPool <kernel_shape = [7, 7], pads = [3, 3, 3, 3], strides = [1, 1]> (corner{n})
    is_peak{n} = Equal (corner{n}, highest{n})
    as_float{n} = Cast <to = 1> (is_peak{n})
    peak{n} = Mul (corner{n}, as_float{n})
    flat{n} = Reshape (peak{n}, flat_shape)
    score{n}, index{n} = TopK (flat{n}, k_corners)
    shape{n} = Shape ({image})
    width{n} = Gather (shape{n}, three)
    row{n} = Div (index{n}, width{n})
    column{n} = Mod (index{n}, width{n})
    row3{n} = Unsqueeze (row{n}, two)
    column3{n} = Unsqueeze (column{n}, two)
    place{n} = Concat <axis = 2> (column3{n}, row3{n})
    point{n} = Cast <to = 1> (place{n})
    dense{n} = Conv <pads = [7, 7, 7, 7]> ({image}, filters)
    long{n} = Reshape (dense{n}, long_shape)
    list{n} = Reshape (index{n}, minus_one)
    picked{n} = Gather <axis = 2> (long{n}, list{n})
    turned{n} = Transpose <perm = [0, 2, 1]> (picked{n})
    descriptor{n} = LpNormalization <axis = 2, p = 2> (turned{n})
"""
_MATCH = """
    a = Reshape (descriptor0, rows_shape)
    b = Reshape (descriptor1, rows_shape)
    b_T = Transpose <perm = [1, 0]> (b)
    near = MatMul (a, b_T)
    best_j = ArgMax <axis = 1, keepdims = 0> (near)
    best_i = ArgMax <axis = 0, keepdims = 0> (near)
    back = Gather (best_i, best_j)
    mutual = Equal (back, counting)
    nearest2, which2 = TopK <axis = 1> (near, two)
    nearness, next = Split <axis = 1> (nearest2, halves)
    apart = Sub (one_f, nearness)
    apart2 = Sub (one_f, next)
    limit = Mul (apart2, ratio)
    clear = Less (apart, limit)
    strong = Reshape (clear, minus_one)
    good = And (mutual, strong)
    found = NonZero (good)
    i_M = Reshape (found, minus_one)
    j_M = Gather (best_j, i_M)
    i_M1 = Unsqueeze (i_M, one)
    j_M1 = Unsqueeze (j_M, one)
    {outputs}
"""


def extractor(path: Path, size: str = "H, W", batch: int = 1) -> Path:
    """image -> keypoints, scores, descriptors."""
    body = _FIND.format(n=0, image="image") + (
        "keypoints = Identity (point0)\nscores = Identity (score0)\n"
        "descriptors = Identity (descriptor0)"
    )
    return _write(
        path,
        f"float[{batch}, 1, {size}] image",
        "float[1, F, 2] keypoints, float[1, F] scores, float[1, F, D] descriptors",
        body,
    )


def pair(path: Path) -> Path:
    """image0, image1 -> kpts0, kpts1, matches0, mscores0."""
    outputs = (
        "matches0 = Concat <axis = 1> (i_M1, j_M1)\n"
        "mscores1 = Reshape (nearness, minus_one)\nmscores0 = Gather (mscores1, i_M)\n"
        "kpts0 = Identity (point0)\nkpts1 = Identity (point1)"
    )
    body = "".join(_FIND.format(n=n, image=f"image{n}") for n in (0, 1))
    return _write(
        path,
        "float[1, 1, H0, W0] image0, float[1, 1, H1, W1] image1",
        "float[1, F, 2] kpts0, float[1, F, 2] kpts1, int64[M, 2] matches0, float[M] mscores0",
        body + _MATCH.format(outputs=outputs),
    )


def pipeline(path: Path) -> Path:
    """images -> keypoints, matches, mscores."""
    outputs = (
        "zero_M1 = Sub (i_M1, i_M1)\nmatches = Concat <axis = 1> (zero_M1, i_M1, j_M1)\n"
        "mscores1 = Reshape (nearness, minus_one)\nmscores = Gather (mscores1, i_M)\n"
        "keypoints = Concat <axis = 0> (point0, point1)"
    )
    body = "first, second = Split <axis = 0> (images, halves)\n"
    body += _FIND.format(n=0, image="first") + _FIND.format(n=1, image="second")
    return _write(
        path,
        "float[2, 1, H, W] images",
        "float[2, F, 2] keypoints, int64[M, 3] matches, float[M] mscores",
        body + _MATCH.format(outputs=outputs),
    )


def matcher_alone(path: Path) -> Path:
    """What LightGlue is where it is exported without an extractor."""
    body = "matches0 = Identity (kpts0)\nmscores0 = Identity (desc0)\n"
    return _write(
        path,
        "float[1, F, 2] kpts0, float[1, F, 2] kpts1, float[1, F, D] desc0, float[1, F, D] desc1",
        "float[1, F, 2] matches0, float[1, F, D] mscores0",
        body,
    )


def with_outputs(path: Path, keypoints: str, scores: str, descriptors: str) -> Path:
    """An extractor that answers every picture alike: its outputs as ONNX expressions."""
    body = (
        "s = Shape (image)\n"
        f"keypoints = {keypoints}\nscores = {scores}\ndescriptors = {descriptors}"
    )
    return _write(
        path,
        "float[1, 1, H, W] image",
        "float[a, b, c] keypoints, float[d, e] scores, float[f, g, h] descriptors",
        body,
    )


def _write(path: Path, inputs: str, outputs: str, body: str) -> Path:
    text = (
        f'<ir_version: 8, opset_import: ["" : 13]>\nagraph ({inputs}) => ({outputs}) {{\n{body}\n}}'
    )
    model = parser.parse_model(text)
    used = {name for node in model.graph.node for name in node.input}
    for name, values in _constants().items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(values, name))
    onnx.save(model, path)
    return path


def _constants() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    sobel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
    window = np.outer(*[np.exp(-0.5 * np.linspace(-2, 2, PATCH) ** 2)] * 2)
    filters = rng.normal(size=(NUMBERS, 1, PATCH, PATCH)) * window
    filters -= window * (filters.sum(axis=(2, 3), keepdims=True) / window.sum())
    return {
        "across": sobel[None, None],
        "down": sobel.T[None, None].copy(),
        "filters": filters.astype(np.float32),
        "k_harris": np.array(0.04, np.float32),
        "k_corners": np.array([CORNERS], np.int64),
        "flat_shape": np.array([1, -1], np.int64),
        "long_shape": np.array([1, NUMBERS, -1], np.int64),
        "rows_shape": np.array([-1, NUMBERS], np.int64),
        "minus_one": np.array([-1], np.int64),
        "one": np.array([1], np.int64),
        "two": np.array([2], np.int64),
        "three": np.array(3, np.int64),
        "halves": np.array([1, 1], np.int64),
        "counting": np.arange(CORNERS, dtype=np.int64),
        "one_f": np.array(1.0, np.float32),
        "ratio": np.array(0.64, np.float32),
        "points": rng.uniform(0, 90, (1, 40, 2)).astype(np.float32),
        "points3": np.zeros((1, 40, 3), np.float32),
        "points_nan": np.full((1, 40, 2), np.nan, np.float32),
        "marks": np.ones((1, 40), np.float32),
        "few_marks": np.ones((1, 30), np.float32),
        "vectors": rng.normal(size=(1, 40, 8)).astype(np.float32),
        "vectors_T": rng.normal(size=(1, 8, 40)).astype(np.float32),
        "vectors_nan": np.full((1, 40, 8), np.nan, np.float32),
    }
