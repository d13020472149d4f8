# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Traces the geometric path once and turns it into ONNX graphs.

One trace serves every number of frames and every size of picture (or the one asked for), every
opset, and the parts: a graph that is cut at the encoder's tokens gives the two graphs of the
part "streaming", with the same nodes and the same weights.

Names of free sizes: N frames, pictures of 14*rows x 14*columns pixels for patches of 14.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.export import Dim, ExportedProgram

from g2vlm_model.config import ModelConfig
from g2vlm_model.runtimes.export_folder import PARTS, PRECISIONS

from .traced import traced_forms
from .wrappers import GeometryGraph, kept_names, prefix_names, said_names

if TYPE_CHECKING:
    import onnx_ir

    from .semantic_to_onnx import GraphSpec

__all__ = [
    "OPSETS",
    "Cut",
    "ExportOptions",
    "cut_graph",
    "cuts",
    "geometry_graph",
    "to_onnx",
    "trace_geometry",
    "trace_spec",
]

Cut = tuple[tuple[str, ...], tuple[str, ...]]
"""Names of a graph's inputs and outputs."""

OPSETS = (18, 23)
MAX_FRAMES = 64
MAX_ROWS = 256
MAX_PREFIX = 1024  # tokens of a prompt
TRACED_NHW = (3, 2, 4)  # frames, rows, columns: three sizes that nothing else has


@dataclass(frozen=True)
class ExportOptions:
    """What to export.

    Args:
        precision: "fp32" or "fp16".
        opset: 18 (attention and norms as products and sums) or 23 (as one node each).
        parts: Of `PARTS`; "geometry" is always among them.
        in_graph_rotation: The graph orthogonalises the rotations.
        static_nhw: Serve one number of frames and size of picture only; None serves all.

    Raises:
        ValueError: A value that there is no such thing for.
    """

    precision: str = "fp32"
    opset: int = 23
    parts: tuple[str, ...] = ("geometry", "kv")
    in_graph_rotation: bool = False
    static_nhw: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision is {self.precision!r}, expected one of {PRECISIONS}")
        if self.opset not in OPSETS:
            raise ValueError(
                f"opset is {self.opset!r}, expected 18 (TensorRT before 10.15) or 23 (everything "
                "newer)"
            )
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or len(set(self.parts)) != len(self.parts):
            raise ValueError(f"parts are {list(self.parts)}, expected some of {list(PARTS)}, once")
        if "geometry" not in self.parts:
            raise ValueError(f"parts are {list(self.parts)}; the others build on geometry: add it")
        if "semantic" in self.parts and "kv" not in self.parts:
            raise ValueError(
                f"parts are {list(self.parts)}; semantic answers behind the geometry's keys and "
                "values: add kv"
            )

    def check(self, config: ModelConfig) -> None:
        """Refuse what a model cannot be exported as.

        Raises:
            ValueError: Such an option; the text says what to do.
        """
        patch = config.patch_size
        if self.static_nhw is not None:
            frames, height, width = self.static_nhw
            if min(self.static_nhw) < 1 or height % patch or width % patch:
                raise ValueError(
                    f"static size is {frames},{height},{width}, expected at least one frame, and "
                    f"a height and width that are multiples of the patch {patch}"
                )
        elif config.geometry_attention == "frame_causal":
            raise ValueError(
                "geometry_attention is frame_causal: one attention per frame, so the graph serves "
                "one number of frames; give --static N,H,W"
            )
        if config.dino_attention == "compat" and "streaming" in self.parts:
            raise ValueError(
                "dino_attention is compat: a frame's tokens depend on the other frames, so "
                "windows cannot share them; leave the part streaming out"
            )


def trace_geometry(graph: GeometryGraph, options: ExportOptions) -> ExportedProgram:
    """Trace a window; the result serves every opset."""
    patch = graph.model.config.patch_size
    frames, rows, columns = TRACED_NHW
    size = options.static_nhw or (frames, rows * patch, columns * patch)
    pictures_NHW3 = torch.zeros((*size, 3), dtype=torch.uint8, device=graph.model.device)
    dims: list[dict[int, Any]] = [{}]
    if options.static_nhw is None:
        row_dim, column_dim = (Dim(name, min=1, max=MAX_ROWS) for name in ("rows", "columns"))
        dims = [{0: Dim("N", min=1, max=MAX_FRAMES), 1: patch * row_dim, 2: patch * column_dim}]
    given = [pictures_NHW3]
    if prefix_names(graph.model.config):
        prefix_dim = Dim("T", min=2, max=MAX_PREFIX)
        for kept_EGTC in (graph.keys_EGTC, graph.values_EGTC):
            assert isinstance(kept_EGTC, torch.Tensor)
            given.append(torch.zeros_like(kept_EGTC))
            dims.append({2: prefix_dim})
    with torch.no_grad(), traced_forms(), quiet():
        return torch.export.export(graph, tuple(given), dynamic_shapes=tuple(dims), strict=False)


def to_onnx(
    program: ExportedProgram, inputs: Sequence[str], outputs: Sequence[str], opset: int
) -> onnx_ir.Model:
    """Translate a traced program.

    Args:
        program: From `torch.export`.
        inputs, outputs: Their names.
        opset: Of `OPSETS`.

    Returns:
        A model in memory; its weights are the program's own tensors.
    """
    from onnx_ir.passes.common import CommonSubexpressionEliminationPass
    from onnxscript.optimizer import optimize_ir
    from onnxscript.rewriter.onnx_fusions import fuse

    with quiet():
        translated = torch.onnx.export(
            program,
            input_names=list(inputs),
            output_names=list(outputs),
            opset_version=opset,
            dynamo=True,
            verbose=False,
            optimize=False,
        )
        assert translated is not None
        model = translated.model
        # What `optimize=True` does, in a quarter of the time: half of the nodes are copies of
        # others, and one round suffices without them.
        CommonSubexpressionEliminationPass()(model)
        optimize_ir(model, num_iterations=1)
        fuse(model)
    assert model.opset_imports[""] == opset, (model.opset_imports, opset)
    return model


def cuts(config: ModelConfig, options: ExportOptions) -> dict[str, Cut]:
    """Return names of inputs and outputs of the geometric path's graphs, by graph."""
    said = said_names(config, in_graph_rotation=options.in_graph_rotation)
    said += kept_names(config) if "kv" in options.parts else ()
    behind = prefix_names(config)
    graphs: dict[str, Cut] = {"geometry": (("pictures", *behind), said)}
    if "streaming" in options.parts:
        graphs["encoder"] = (("pictures",), ("tokens",))
        graphs["expert"] = (("tokens", "pictures", *behind), said)
    return graphs


def geometry_graph(program: ExportedProgram, graph: GeometryGraph, opset: int) -> onnx_ir.Model:
    """Translate what was traced: a graph with all outputs, from which the parts are cut.

    Args:
        program: From `trace_geometry`.
        graph: What was traced.
        opset: Of `OPSETS`.
    """
    inputs = ("pictures", *prefix_names(graph.model.config))
    whole = to_onnx(program, inputs, graph.outputs, opset)
    _name_sizes(whole, graph.model.config.patch_size)
    return whole


def cut_graph(whole: onnx_ir.Model, name: str, cut: Cut) -> onnx_ir.Model:
    """Return the part of a graph that leads from inputs to outputs."""
    import onnx_ir as ir

    part = ir.convenience.extract(whole.graph, *cut)
    part.name = name
    # In an order of their own they differ from run to run, and with them the folder's digest.
    weights = sorted(part.initializers.items())
    part.initializers.clear()
    part.initializers.update(weights)
    return ir.Model(part, ir_version=whole.ir_version, producer_name="g2vlm")


def trace_spec(spec: GraphSpec) -> ExportedProgram:
    """Trace a graph of the part "semantic"."""
    with torch.no_grad(), traced_forms(), quiet():
        return torch.export.export(
            spec.module, spec.inputs, dynamic_shapes=dict(spec.dynamic_shapes), strict=False
        )


def _name_sizes(model: onnx_ir.Model, patch: int) -> None:
    """Call the free sizes by their names in all shapes."""
    import onnx_ir as ir

    found = {}
    free = [("N", "rows", "columns"), *[("", "", "T")] * (len(model.graph.inputs) - 1)]
    for names, value in zip(free, model.graph.inputs, strict=True):
        for name, size in zip(names, value.shape or (), strict=False):
            if name and not isinstance(size, int):
                found[str(size.value).removeprefix(f"{patch}*")] = name
    if not found:
        return
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, found)) + r")\b")

    def renamed(shape: onnx_ir.Shape) -> onnx_ir.Shape:
        sizes = [
            size if isinstance(size, int) or size.value is None
            else pattern.sub(lambda match: found[match[1]], str(size.value))
            for size in shape
        ]  # fmt: skip
        return ir.Shape(sizes)

    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = renamed(value.shape)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the exporter's notes to its own developers from the user."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
