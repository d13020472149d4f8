# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Other forms of an exported graph, for devices whose fused attention computes it wrong.

An attention is one `Attention` node (opset 23), or the pattern MatMul, Softmax, MatMul with what
stands between them (opset 18). Fused kernels exist for half precision only, and TensorRT finds
the pattern by its Softmax: an attention in float32, or one whose softmax is written out, is not
fused. Inputs and outputs of a graph keep their names and types in every form. Weights are read
when a graph is written, so a graph of any size is rewritten in little memory.

Shape letters: B batch, A heads, G key/value heads, L tokens, C head width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

__all__ = ["attention_cores", "in_float32", "with_float32_attention", "without_fused_attention"]

Core = tuple[ir.Node, ...]

HALF, FLOAT = ir.DataType.FLOAT16, ir.DataType.FLOAT
PASSED = {"Add", "Sub", "Mul", "Div", "Where", "Cast", "Clip", "Identity"}
MAX_PASSED = 6  # nodes between a MatMul and its Softmax
LOWEST = {FLOAT: -3.0e38, HALF: -6.0e4}  # what a masked score becomes


def attention_cores(model: ir.Model) -> tuple[Core, ...]:
    """The nodes of each attention, in the order of the graph."""
    found: list[Core] = []
    for node in model.graph:
        if node.op_type == "Attention" and node.domain == "":
            found.append((node,))
        elif node.op_type == "Softmax":
            before, after = _scores(node), _weighted(node)
            if before and after:
                found.append((*before, node, *after))
    return tuple(found)


def with_float32_attention(model: ir.Model) -> int:
    """Compute every half-precision attention of a graph in float32, in place.

    Returns:
        The number of attentions that were changed.
    """
    _know_types(model)
    changed = 0
    for core in attention_cores(model):
        if not any(value.dtype == HALF for node in core for value in node.outputs):
            continue
        changed += 1
        _widen_core(model.graph, core)
    return changed


def without_fused_attention(model: ir.Model) -> int:
    """Write out the softmax of every attention, so that no fused kernel takes it, in place.

    Returns:
        The number of attentions that were changed.

    Raises:
        ValueError: An `Attention` node with an option that the exporter does not use.
    """
    _know_types(model)
    cores = attention_cores(model)
    for number, core in enumerate(cores):
        node = next(node for node in core if node.op_type in ("Attention", "Softmax"))
        new = _Nodes(f"unfused{number}_", _kind(node.outputs[0]))
        if node.op_type == "Attention":
            result = _expanded(new, node)
        else:
            result = _softmax(new, _given(node, 0))
        old = node.outputs[:1]
        ir.convenience.replace_nodes_and_values(model.graph, node, [node], new.nodes, old, [result])
    return len(cores)


def in_float32(model: ir.Model) -> None:
    """Compute a half-precision graph in float32, in place; its weights stay as rounded.

    Its inputs and outputs keep their types.
    """
    _know_types(model)
    graph = model.graph
    for value in graph.initializers.values():
        if value.const_value is not None and value.dtype == HALF:
            value.const_value = _widened(value.const_value)
            value.dtype = FLOAT
    for node in graph:
        for name, attribute in list(node.attributes.items()):
            if attribute.type == ir.AttributeType.TENSOR and attribute.as_tensor().dtype == HALF:
                node.attributes[name] = ir.AttrTensor(name, _widened(attribute.as_tensor()))
            elif node.op_type == "Cast" and name == "to" and attribute.as_int() == HALF:
                node.attributes[name] = ir.AttrInt64(name, FLOAT)
        for value in node.outputs:
            if value.dtype == HALF and not value.is_graph_output():
                value.dtype = FLOAT
    for value in graph.outputs:
        if value.dtype == HALF and (made := value.producer()) is not None:
            _narrow(graph, made, value, outside=None)
    first = next(iter(graph), None)
    for value in graph.inputs:
        if value.dtype == HALF and first is not None and value.name not in graph.initializers:
            uses = value.uses()
            wide = _cast(value, f"{value.name}_fp32", FLOAT)
            for use in uses:
                use.node.replace_input_with(use.idx, wide.outputs[0])
            graph.insert_before(first, wide)


def _know_types(model: ir.Model) -> None:
    """Give every value the type and the shape that follow from the inputs'."""
    ShapeInferencePass(check_type=False, strict_mode=False, data_prop=False)(model)


def _scores(node: ir.Node, depth: int = 0) -> list[ir.Node]:
    """Nodes from the first MatMul to ahead of `node`; empty where there is none."""
    for value in node.inputs:
        maker = None if value is None else value.producer()
        if value is None or maker is None or len(value.uses()) > 1:
            continue
        if maker.op_type == "MatMul":
            return [maker]
        if maker.op_type in PASSED and depth < MAX_PASSED:
            path = _scores(maker, depth + 1)
            if path:
                return [*path, maker]
    return []


def _weighted(node: ir.Node, depth: int = 0) -> list[ir.Node]:
    """Nodes behind `node` to the second MatMul; empty where there is none."""
    made = node.outputs[0]
    uses = list(made.uses())
    if len(uses) != 1 or made.is_graph_output():
        return []
    taker = uses[0].node
    if taker.op_type == "MatMul":
        return [taker] if uses[0].idx == 0 else []
    if taker.op_type in PASSED and depth < MAX_PASSED:
        path = _weighted(taker, depth + 1)
        return [taker, *path] if path else []
    return []


def _widen_core(graph: ir.Graph, core: Core) -> None:
    """Compute one attention in float32, between casts."""
    inside = {value for node in core for value in node.outputs}
    wide: dict[ir.Value, ir.Value] = {}
    for node in core:
        for index, value in enumerate(node.inputs):
            if value is None or value in inside or value.dtype != HALF:
                continue
            if value not in wide:
                cast = _cast(value, f"{value.name}_{core[-1].name}", FLOAT)
                graph.insert_before(node, cast)
                wide[value] = cast.outputs[0]
            node.replace_input_with(index, wide[value])
        if node.op_type == "Cast" and node.attributes["to"].as_int() == HALF:
            node.attributes["to"] = ir.AttrInt64("to", FLOAT)
    for node in core:
        for value in node.outputs:
            if value.dtype != HALF:
                continue
            if value.is_graph_output() or any(use.node not in core for use in value.uses()):
                _narrow(graph, node, value, outside=core)
            value.dtype = FLOAT


def _narrow(graph: ir.Graph, node: ir.Node, value: ir.Value, outside: Core | None) -> None:
    """Cast what a node makes back to half precision for those who take it outside of a core.

    The half-precision value takes over the name; without a core nobody else takes it.
    """
    takers = [use for use in value.uses() if outside is not None and use.node not in outside]
    name = value.name or ""
    value.name = f"{name}_fp32"
    value.dtype = FLOAT
    cast = _cast(value, name, HALF)
    graph.insert_after(node, cast)
    for use in takers:
        use.node.replace_input_with(use.idx, cast.outputs[0])
    for index, output in enumerate(graph.outputs):
        if output is value:
            graph.outputs[index] = cast.outputs[0]


def _cast(value: ir.Value, name: str, kind: ir.DataType) -> ir.Node:
    made = ir.Value(name=name, type=ir.TensorType(kind), shape=value.shape)
    return ir.node("Cast", [value], {"to": int(kind)}, outputs=[made], name=f"{name}_cast")


def _widened(tensor: ir.TensorProtocol) -> ir.LazyTensor:
    """A half-precision tensor in float32, read and computed when it is written."""
    assert isinstance(tensor.shape, ir.Shape), tensor.name
    return ir.LazyTensor(
        partial(_as_float32, tensor), dtype=FLOAT, shape=tensor.shape, name=tensor.name
    )


def _as_float32(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    return ir.tensor(tensor.numpy().astype(np.float32), name=tensor.name)


def _given(node: ir.Node, index: int) -> ir.Value:
    value = node.inputs[index]
    assert value is not None, (node.name, index)
    return value


def _kind(value: ir.Value) -> ir.DataType:
    return value.dtype or FLOAT


def _sizes(value: ir.Value | None) -> tuple[int | None, ...]:
    """A value's shape; None for sizes that are free."""
    if value is None or value.shape is None:
        return ()
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def _expanded(new: _Nodes, node: ir.Node) -> ir.Value:
    """Compute an `Attention` of four axes, softmax(q k^T scale + mask) v.

    Query heads share key/value heads in order, A / G each.
    """
    options = {name: attribute.value for name, attribute in node.attributes.items()}
    unknown = sorted(name for name, value in options.items() if name != "scale" and value)
    query_BALC, key_BGLC, value_BGLC = (_given(node, index) for index in range(3))
    mask = node.inputs[3] if len(node.inputs) > 3 else None
    sizes = _sizes(query_BALC), _sizes(key_BGLC)
    if unknown or any(node.inputs[4:]) or len(node.outputs) > 1 or {len(s) for s in sizes} != {4}:
        raise ValueError(
            f"attention {node.name or node.outputs[0].name} has shapes {sizes}, "
            f"{len(node.inputs)} inputs, {len(node.outputs)} outputs and options {options}; only "
            "four axes, a mask and a scale can be written out"
        )
    heads, groups, width = sizes[0][1], sizes[1][1], sizes[0][3]
    if heads is None or groups is None or width is None:
        raise ValueError(f"attention {node.name}: heads or width are not fixed")
    scale = float(options.get("scale") or 1.0 / math.sqrt(width))
    shared = heads != groups
    if shared:  # (B, G, A / G, L, C): a head of the key serves the third axis
        split = new.ints([0, groups, heads // groups, -1, width])
        query_BALC = new.add("Reshape", query_BALC, split)
        key_BGLC = new.add("Unsqueeze", key_BGLC, new.ints([2]))
        value_BGLC = new.add("Unsqueeze", value_BGLC, new.ints([2]))
        if mask is not None and len(_sizes(mask)) == 4:
            if _sizes(mask)[1] != 1:
                raise ValueError(f"attention {node.name}: a mask per head, and shared keys")
            mask = new.add("Unsqueeze", mask, new.ints([2]), kind=_kind(mask))
    root = new.number(math.sqrt(scale))  # half on either side, as products stay smaller
    axes = [0, 1, 2, 4, 3] if shared else [0, 1, 3, 2]
    turned = new.add("Transpose", new.add("Mul", key_BGLC, root), perm=axes)
    scores = new.add("MatMul", new.add("Mul", query_BALC, root), turned)
    if mask is not None and mask.dtype == ir.DataType.BOOL:
        scores = new.add("Where", mask, scores, new.number(LOWEST[new.kind]))
    elif mask is not None:
        scores = new.add("Add", scores, mask)
    result = new.add("MatMul", _softmax(new, scores), value_BGLC)
    return new.add("Reshape", result, new.ints([0, heads, -1, width])) if shared else result


def _softmax(new: _Nodes, source: ir.Value) -> ir.Value:
    """A softmax over the last axis without its name: exp(x - max) / sum."""
    last = new.ints([-1])
    shifted = new.add("Sub", source, new.add("ReduceMax", source, last, keepdims=1))
    raised = new.add("Exp", shifted)
    return new.add("Div", raised, new.add("ReduceSum", raised, last, keepdims=1))


class _Nodes:
    """New nodes with names of their own.

    Args:
        prefix: Of the names.
        kind: Type of what they make.
    """

    def __init__(self, prefix: str, kind: ir.DataType) -> None:
        self.prefix = prefix
        self.kind = kind
        self.nodes: list[ir.Node] = []

    def add(
        self,
        operator: str,
        *inputs: ir.Value,
        kind: ir.DataType | None = None,
        **options: int | Sequence[int],
    ) -> ir.Value:
        """Append a node; returns what it makes, in this type or in another one."""
        return self._append(operator, inputs, options, kind or self.kind)

    def ints(self, values: list[int]) -> ir.Value:
        """A constant list."""
        tensor = ir.tensor(np.array(values, dtype=np.int64))
        return self._append("Constant", (), {"value": tensor}, ir.DataType.INT64)

    def number(self, value: float) -> ir.Value:
        """A constant number."""
        tensor = ir.tensor(np.array(value, dtype=self.kind.numpy()))
        return self._append("Constant", (), {"value": tensor}, self.kind)

    def _append(
        self,
        operator: str,
        inputs: Sequence[ir.Value],
        options: dict[str, ir.TensorProtocol] | dict[str, int | Sequence[int]],
        kind: ir.DataType,
    ) -> ir.Value:
        name = f"{self.prefix}{len(self.nodes)}"
        made = ir.Value(name=name, type=ir.TensorType(kind))
        self.nodes.append(ir.node(operator, inputs, options, outputs=[made], name=name))
        return made
