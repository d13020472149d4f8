"""Other forms of an exported graph, for devices whose fused attention computes it wrong.

An attention is one `Attention` node (opset 23), or the pattern MatMul, Softmax, MatMul with what
stands between them (opset 18). Fused kernels exist for half precision only, and TensorRT finds
the pattern by its Softmax: an attention in float32, or one whose softmax is written out, is not
fused. Inputs and outputs of a graph keep their names and types in every form.

Shape letters: B batch, A heads, G key/value heads, L tokens, C head width.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

__all__ = ["attention_cores", "in_float32", "with_float32_attention", "without_fused_attention"]

HALF, FLOAT = TensorProto.FLOAT16, TensorProto.FLOAT
PASSED = {"Add", "Sub", "Mul", "Div", "Where", "Cast", "Clip", "Identity"}
MAX_PASSED = 6  # nodes between a MatMul and its Softmax
LOWEST = {FLOAT: -3.0e38, HALF: -6.0e4}  # what a masked score becomes


class _Graph:
    """A graph's nodes by what they make and take, and the types of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.proto = model.graph
        self.makers = {name: node for node in self.proto.node for name in node.output if name}
        self.takers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.proto.node:
            for name in node.input:
                self.takers.setdefault(name, []).append(node)
        self.outputs = {output.name for output in self.proto.output}
        typed = onnx.shape_inference.infer_shapes(model).graph
        infos = [*typed.value_info, *typed.input, *typed.output]
        self.types = {info.name: info.type.tensor_type.elem_type for info in infos}
        self.types |= {weight.name: weight.data_type for weight in self.proto.initializer}
        self.shapes = {
            info.name: tuple(
                size.dim_value if size.HasField("dim_value") else None
                for size in info.type.tensor_type.shape.dim
            )
            for info in infos
        }

    def forget_types(self, names: Iterable[str]) -> None:
        """Remove noted types that are not true any more."""
        gone = set(names)
        kept = [info for info in self.proto.value_info if info.name not in gone]
        del self.proto.value_info[:]
        self.proto.value_info.extend(kept)

    def replace(self, old: Iterable[onnx.NodeProto], new: dict[int, list[onnx.NodeProto]]) -> None:
        """Put `new[id(node)]` in a node's place, for those of `old`; others stay."""
        gone = {id(node) for node in old}
        nodes: list[onnx.NodeProto] = []
        for node in self.proto.node:
            nodes.extend(new.get(id(node), [] if id(node) in gone else [node]))
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.proto.node[:]
        self.proto.node.extend(copies)


def attention_cores(model: onnx.ModelProto) -> tuple[tuple[onnx.NodeProto, ...], ...]:
    """The nodes of each attention, in the order of the graph."""
    return _cores(_Graph(model))


def with_float32_attention(model: onnx.ModelProto) -> int:
    """Compute every half-precision attention of a graph in float32, in place.

    Returns:
        The number of attentions that were changed.
    """
    graph = _Graph(model)
    changed = 0
    new: dict[int, list[onnx.NodeProto]] = {}
    for number, core in enumerate(_cores(graph)):
        inside = {name for node in core for name in node.output}
        if not any(graph.types.get(name) == HALF for name in inside):
            continue
        changed += 1
        widened: set[str] = set()
        for node in core:
            before, after = [], []
            for index, name in enumerate(node.input):
                if name and name not in inside and graph.types.get(name) == HALF:
                    wide = f"{name}_attention{number}"
                    if wide not in widened:
                        before.append(_cast(name, wide, FLOAT))
                    widened.add(wide)
                    node.input[index] = wide
            if node.op_type == "Cast" and node.attribute[0].i == HALF:
                node.attribute[0].i = FLOAT
            for index, name in enumerate(node.output):
                takers = graph.takers.get(name, [])
                leaves = name in graph.outputs or any(
                    not any(taker is own for own in core) for taker in takers
                )
                if leaves and graph.types.get(name) == HALF:
                    wide = f"{name}_fp32"
                    node.output[index] = wide
                    for own in core:
                        own.input[:] = [wide if taken == name else taken for taken in own.input]
                    after.append(_cast(wide, name, HALF))
            new[id(node)] = [*before, node, *after]
        graph.forget_types(inside)
    graph.replace((), new)
    return changed


def without_fused_attention(model: onnx.ModelProto) -> int:
    """Write out the softmax of every attention, so that no fused kernel takes it, in place.

    Returns:
        The number of attentions that were changed.

    Raises:
        ValueError: An `Attention` node with an option that the exporter does not use.
    """
    graph = _Graph(model)
    new: dict[int, list[onnx.NodeProto]] = {}
    cores = _cores(graph)
    for number, core in enumerate(cores):
        prefix = f"unfused{number}_"
        if core[0].op_type == "Attention":
            new[id(core[0])] = _expanded(graph, core[0], prefix)
        else:
            node = next(node for node in core if node.op_type == "Softmax")
            new[id(node)] = _softmax(graph, node.input[0], node.output[0], prefix)
    graph.replace((), new)
    return len(cores)


def in_float32(model: onnx.ModelProto) -> None:
    """Compute a half-precision graph in float32, in place; its weights stay as rounded.

    Its inputs and outputs keep their types.
    """
    graph = model.graph
    for weight in graph.initializer:
        _widen(weight)
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                _widen(attribute.t)
            elif node.op_type == "Cast" and attribute.name == "to" and attribute.i == HALF:
                attribute.i = FLOAT
    del graph.value_info[:]
    first, last = [], []
    for tensor in graph.input:
        if tensor.type.tensor_type.elem_type == HALF:
            first.append(_cast(tensor.name, _rename(graph, tensor.name), FLOAT))
    for tensor in graph.output:
        if tensor.type.tensor_type.elem_type == HALF:
            last.append(_cast(_rename(graph, tensor.name), tensor.name, HALF))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    del graph.node[:]
    graph.node.extend([*first, *nodes, *last])


def _cores(graph: _Graph) -> tuple[tuple[onnx.NodeProto, ...], ...]:
    found = []
    for node in graph.proto.node:
        if node.op_type == "Attention" and node.domain == "":
            found.append((node,))
        elif node.op_type == "Softmax":
            before, after = _scores(graph, node), _weighted(graph, node)
            if before and after:
                found.append((*before, node, *after))
    return tuple(found)


def _scores(graph: _Graph, node: onnx.NodeProto, depth: int = 0) -> list[onnx.NodeProto]:
    """Nodes from the first MatMul to ahead of `node`; empty where there is none."""
    for name in node.input:
        maker = graph.makers.get(name)
        if maker is None or len(graph.takers[name]) > 1:
            continue
        if maker.op_type == "MatMul":
            return [maker]
        if maker.op_type in PASSED and depth < MAX_PASSED:
            path = _scores(graph, maker, depth + 1)
            if path:
                return [*path, maker]
    return []


def _weighted(graph: _Graph, node: onnx.NodeProto, depth: int = 0) -> list[onnx.NodeProto]:
    """Nodes behind `node` to the second MatMul; empty where there is none."""
    takers = graph.takers.get(node.output[0], [])
    if len(takers) != 1 or node.output[0] in graph.outputs:
        return []
    taker = takers[0]
    if taker.op_type == "MatMul":
        return [taker] if taker.input[0] == node.output[0] else []
    if taker.op_type in PASSED and depth < MAX_PASSED:
        path = _weighted(graph, taker, depth + 1)
        return [taker, *path] if path else []
    return []


def _expanded(graph: _Graph, node: onnx.NodeProto, prefix: str) -> list[onnx.NodeProto]:
    """Nodes that compute an `Attention` of four axes, softmax(q k^T scale + mask) v.

    Query heads share key/value heads in order, A / G each.
    """
    options = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    unknown = sorted(name for name, value in options.items() if name != "scale" and value)
    query_BALC, key_BGLC, value_BGLC = node.input[:3]
    mask = node.input[3] if len(node.input) > 3 else ""
    sizes = graph.shapes.get(query_BALC, ()), graph.shapes.get(key_BGLC, ())
    if unknown or any(node.input[4:]) or len(node.output) > 1 or {len(s) for s in sizes} != {4}:
        raise ValueError(
            f"attention {node.name or node.output[0]} has shapes {sizes}, {len(node.input)} "
            f"inputs, {len(node.output)} outputs and options {options}; only four axes, a mask "
            "and a scale can be written out"
        )
    heads, groups, width = sizes[0][1], sizes[1][1], sizes[0][3]
    if heads is None or groups is None or width is None:
        raise ValueError(f"attention {node.name or node.output[0]}: heads or width are not fixed")
    kind = graph.types[query_BALC]
    scale = float(options.get("scale") or 1.0 / math.sqrt(width))
    shared = heads != groups
    new = _Nodes(prefix, kind)
    if shared:  # (B, G, A / G, L, C): a head of the key serves the third axis
        query_BALC = new.add(
            "Reshape", query_BALC, new.ints([0, groups, heads // groups, -1, width])
        )
        key_BGLC = new.add("Unsqueeze", key_BGLC, new.ints([2]))
        value_BGLC = new.add("Unsqueeze", value_BGLC, new.ints([2]))
        if mask and len(graph.shapes.get(mask, ())) == 4:
            if graph.shapes[mask][1] != 1:
                raise ValueError(f"attention {node.name}: a mask per head, and shared keys")
            mask = new.add("Unsqueeze", mask, new.ints([2]))
    root = new.number(math.sqrt(scale))  # half on either side, as products stay smaller
    axes = [0, 1, 2, 4, 3] if shared else [0, 1, 3, 2]
    turned = new.add("Transpose", new.add("Mul", key_BGLC, root), perm=axes)
    scores = new.add("MatMul", new.add("Mul", query_BALC, root), turned)
    if mask and graph.types.get(mask) == TensorProto.BOOL:
        scores = new.add("Where", mask, scores, new.number(LOWEST[kind]))
    elif mask:
        scores = new.add("Add", scores, mask)
    weights = f"{prefix}weights"
    nodes = [*new.nodes, *_softmax(graph, scores, weights, f"{prefix}softmax_")]
    last = _Nodes(f"{prefix}out_", kind)
    result = last.add("MatMul", weights, value_BGLC)
    if shared:
        result = last.add("Reshape", result, last.ints([0, heads, -1, width]))
    last.add("Identity", result, output=node.output[0])
    return [*nodes, *last.nodes]


def _softmax(graph: _Graph, source: str, result: str, prefix: str) -> list[onnx.NodeProto]:
    """A softmax over the last axis without its name: exp(x - max) / sum."""
    new = _Nodes(prefix, graph.types.get(source, FLOAT))
    last = new.ints([-1])
    shifted = new.add("Sub", source, new.add("ReduceMax", source, last, keepdims=1))
    raised = new.add("Exp", shifted)
    new.add("Div", raised, new.add("ReduceSum", raised, last, keepdims=1), output=result)
    return new.nodes


class _Nodes:
    """New nodes with names of their own.

    Args:
        prefix: Of the names.
        kind: Type of the numbers that `number` makes.
    """

    def __init__(self, prefix: str, kind: int) -> None:
        self.prefix = prefix
        self.kind = kind
        self.nodes: list[onnx.NodeProto] = []

    def add(self, operator: str, *inputs: str, output: str = "", **options: Any) -> str:
        """Append a node; returns the name of what it makes."""
        name = f"{self.prefix}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(operator, list(inputs), [output or name], name=name, **options)
        )
        return output or name

    def ints(self, values: list[int]) -> str:
        """A constant list."""
        tensor = numpy_helper.from_array(np.array(values, dtype=np.int64))
        return self.add("Constant", value=tensor)

    def number(self, value: float) -> str:
        """A constant number."""
        return self.add("Constant", value=helper.make_tensor("", self.kind, [], [value]))


def _cast(source: str, result: str, kind: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [result], name=f"{result}_cast", to=kind)


def _widen(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == HALF:
        wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32))
        wide.name = tensor.name
        tensor.CopyFrom(wide)


def _rename(graph: onnx.GraphProto, name: str) -> str:
    """Give a tensor another name inside a graph; that of the input or output stays."""
    wide = f"{name}_fp32"
    for node in graph.node:
        node.input[:] = [wide if taken == name else taken for taken in node.input]
        node.output[:] = [wide if made == name else made for made in node.output]
    return wide
