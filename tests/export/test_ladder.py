# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The ladder on graphs that really overflow or really are damaged, run by real executors."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from g2vlm_export import ladder
from g2vlm_export.attention_casts import (
    attention_cores,
    in_float32,
    with_float32_attention,
    without_fused_attention,
)
from g2vlm_export.ladder import (
    LadderExhaustedError,
    Run,
    Rung,
    Verdict,
    climb,
    golden_verdict,
    rungs_of,
)
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from g2vlm_model.runtimes.export_folder import Golden
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.machine import free_memory

from .attention_graphs import (
    WIDTH,
    expected,
    grouped_graph,
    inputs,
    weights,
    with_large_table,
    write_graph,
)

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy tells of overflows

FUSED, DECOMPOSED, WIDE, SINGLE = (rung.name for rung in rungs_of("fp16"))
GIB = 2**30
MODERATE = 1.0
BEYOND_HALF = 2e5  # scores: products of half-precision queries and keys end at 65504
QUERIES_BEYOND_HALF = 4e9  # the queries themselves


def in_numpy(path: Path, broken: type[OpRun] | None = None) -> Run:
    """ONNX's reference: every node in the type that the file says, rounded after each.

    ONNX Runtime's CPU kernels compute half precision in float32 and drop casts between two
    nodes, so overflows do not show there.
    """
    session = ReferenceEvaluator(str(path), new_ops=[broken] if broken else None)
    return lambda given: dict(
        zip(session.output_names, session.run(None, dict(given)), strict=True)
    )


def outcome(
    folder: Path,
    precision: str,
    opset: int,
    scores: float,
    executor: Callable[[Path], Run] = in_numpy,
    damage: Callable[[dict[str, NDArray[np.float32]]], None] = lambda matrices: None,
) -> tuple[str, tuple[str, ...]]:
    """Climb with one attention; returns the rung that was taken and why not the ones before."""
    matrices = weights(scores)
    golden = expected(inputs(), matrices)
    damage(matrices)
    graph = write_graph(folder / "attention.onnx", matrices, precision, opset)
    climbed = climb(
        graph,
        rungs_of(precision),
        folder,
        lambda path, rung: executor(path),
        lambda run: golden_verdict(run, [golden], Tolerances.of(precision)),
    )
    assert "1 of 1 golden windows pass" in climbed.report
    return climbed.rung.name, climbed.reasons


@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize(
    ("scores", "rung", "refused"),
    [(MODERATE, FUSED, 0), (BEYOND_HALF, WIDE, 2), (QUERIES_BEYOND_HALF, SINGLE, 3)],
)
def test_the_first_form_that_computes_right_is_taken(
    tmp_path: Path, opset: int, scores: float, rung: str, refused: int
) -> None:
    taken, reasons = outcome(tmp_path, "fp16", opset, scores)
    assert (taken, len(reasons)) == (rung, refused)
    assert all("are not finite" in reason for reason in reasons), reasons
    assert [reason.split(":")[0] for reason in reasons] == [
        r.name for r in rungs_of("fp16")[:refused]
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["attention.onnx"], "forms are removed"


class Softmax(OpRun):  # type: ignore[misc]
    """A fused kernel that is wrong: the last token is not seen."""

    op_domain = ""

    def _run(self, x: NDArray[Any], axis: int | None = None) -> tuple[NDArray[Any]]:
        raised = np.exp(x - x.max(-1, keepdims=True))
        raised[..., -1] = 0
        return ((raised / raised.sum(-1, keepdims=True)).astype(x.dtype),)


class Attention(OpRun):  # type: ignore[misc]
    """The same as one node."""

    op_domain = ""

    def _run(
        self, q: NDArray[Any], k: NDArray[Any], v: NDArray[Any], **options: object
    ) -> tuple[NDArray[Any], ...]:
        scores = q @ k.swapaxes(-1, -2) / WIDTH**0.5
        scores[..., -1] = -np.inf
        raised = np.exp(scores - scores.max(-1, keepdims=True))
        return ((raised / raised.sum(-1, keepdims=True) @ v).astype(q.dtype), v, v, v)[:1]


@pytest.mark.parametrize(("opset", "broken"), [(18, Softmax), (23, Attention)])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_a_wrong_fused_kernel_is_gone_round(
    tmp_path: Path, precision: str, opset: int, broken: type[OpRun]
) -> None:
    taken, reasons = outcome(
        tmp_path, precision, opset, MODERATE, lambda path: in_numpy(path, broken)
    )
    assert taken == {"fp16": DECOMPOSED, "fp32": "fp32 decomposed"}[precision]
    assert len(reasons) == 1
    assert "FAILED y: max" in reasons[0]


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_where_every_form_is_wrong_the_engine_is_refused(
    tmp_path: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    def damage(matrices: dict[str, NDArray[np.float32]]) -> None:
        matrices["v"][0, 0, 3, 5] += 4.0

    with pytest.raises(LadderExhaustedError, match="the engine is refused") as raised:
        outcome(tmp_path, precision, 23, MODERATE, damage=damage)
    for rung in rungs_of(precision):
        assert f"{rung.name}: 0 of 1 golden windows pass" in str(raised.value)
        assert f"rung {rung.name!r} is refused" in caplog.text


def test_a_form_that_cannot_be_compiled_or_run_is_a_reason(tmp_path: Path) -> None:
    def compiler(path: Path) -> Run:
        nodes = [node.op_type for node in onnx.load(path).graph.node]
        if "Attention" in nodes:
            raise RuntimeError("no kernel for Attention")
        return in_numpy(path)

    taken, reasons = outcome(tmp_path, "fp16", 23, MODERATE, compiler)
    assert (taken, reasons) == (DECOMPOSED, (f"{FUSED}: RuntimeError: no kernel for Attention",))


def test_what_is_wrong_with_the_input_is_not_climbed_over(tmp_path: Path) -> None:
    def compiler(path: Path) -> Run:
        raise ValueError("opset 23 cannot be read")

    with pytest.raises(ValueError, match="opset 23 cannot be read"):
        outcome(tmp_path, "fp16", 23, MODERATE, compiler)


def test_the_taken_rung_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    outcome(tmp_path, "fp16", 18, BEYOND_HALF)
    said = [record.getMessage() for record in caplog.records]
    assert [words.split("'")[1] for words in said] == [FUSED, DECOMPOSED, WIDE]
    assert "is taken: 1 of 1 golden windows pass" in said[-1]


FORMS = {
    "decomposed": without_fused_attention,
    "float32 attention": with_float32_attention,
    "float32": in_float32,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mask", ["", "added", "allowed"])
@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_forms_compute_the_same_with_shared_heads_and_masks(
    form: str, mask: str, precision: str
) -> None:
    model, given = grouped_graph(mask, precision)
    before = _run(model, given)
    changed = ir.from_proto(model)
    FORMS[form](changed)
    model = ir.to_proto(changed)
    onnx.checker.check_model(model, full_check=True)
    after = _run(model, given)
    assert after.dtype == before.dtype
    error = np.abs(after.astype(np.float64) - before.astype(np.float64)).max()
    assert error < {"fp16": 4e-3, "fp32": 2e-6}[precision], f"{form}: {error:.2e}"
    left = [node.op_type for node in model.graph.node]
    assert ("Attention" in left) == (form != "decomposed")
    assert "Softmax" not in left
    if precision == "fp16" and form == "float32 attention":
        typed = {
            info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info
        }
        core = attention_cores(changed)[0][0]
        kinds = {typed[value.name].type.tensor_type.elem_type for value in core.outputs}
        assert kinds == {onnx.TensorProto.FLOAT}


def test_graphs_beyond_two_gigabytes_are_rewritten(tmp_path: Path) -> None:
    """In little memory: the table, 2.4 GB of nothing, is neither read nor copied."""
    graph = write_graph(tmp_path / "attention.onnx", weights(MODERATE), "fp16", 23)
    with_large_table(graph, halves=1_200_000_000)
    data = graph.with_suffix(".data").stat()
    rungs = rungs_of("fp16")[:3]
    seen: list[tuple[str, int, bool]] = []

    def look(path: Path, rung: Rung) -> None:
        model = onnx.load(path, load_external_data=False)
        attention = sum(node.op_type == "Attention" for node in model.graph.node)
        beside = path.with_name(graph.with_suffix(".data").name).stat()
        seen.append((rung.name, attention, beside.st_ino == data.st_ino))
        assert path.stat().st_size < 20_000

    with pytest.raises(LadderExhaustedError):
        climb(graph, rungs, tmp_path, look, lambda result: Verdict(False, "looked at only"))
    assert seen == [(FUSED, 1, True), (DECOMPOSED, 0, True), (WIDE, 1, True)]
    single = ir.load(graph)
    in_float32(single)  # the table would be computed on writing
    assert single.graph.initializers["table"].dtype == ir.DataType.FLOAT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rungs", "halves", "stored"),
    [
        pytest.param(rungs_of("fp16")[:3], 1_100_000_000, 2, id="weights as exported"),
        pytest.param(rungs_of("fp16")[3:], 600_000_000, 4, id="weights of its own"),
    ],
)
def test_every_rung_runs_beyond_two_gigabytes(
    rungs: tuple[Rung, ...], halves: int, stored: int, tmp_path: Path
) -> None:
    """On ONNX Runtime, each form of a graph with 2.2 or 2.4 GB of weights beside it."""
    free = free_memory() or 8 * GIB
    if free < 8 * GIB or shutil.disk_usage(tmp_path).free < 4 * GIB:
        pytest.skip("8 GiB of memory and 4 of disk are needed")
    graph = write_graph(tmp_path / "attention.onnx", weights(MODERATE), "fp16", 23)
    with_large_table(graph, halves)
    want = expected(inputs(), weights(MODERATE)).outputs["y"]

    def run(path: Path, rung: Rung) -> Verdict:
        size = sum(one.stat().st_size for one in path.parent.glob("attention.*"))
        assert size == pytest.approx(stored * halves, rel=0.01)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (said,) = session.run(None, {"x": inputs()})
        assert np.abs(said - want).max() < 2e-3, rung
        return Verdict(False, "computes right")

    with pytest.raises(LadderExhaustedError) as exhausted:
        climb(graph, rungs, tmp_path, run, lambda verdict: verdict)
    assert str(exhausted.value).count("computes right") == len(rungs), exhausted.value


def test_weights_that_one_file_cannot_hold_stand_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "ONE_FILE_BYTES", 100)
    graph = write_graph(tmp_path / "attention.onnx", weights(MODERATE), "fp16", 23)
    with_large_table(graph, halves=1000)
    given, wide = {"x": inputs()}, rungs_of("fp16")[3:]

    def run(path: Path, rung: Rung) -> NDArray[Any]:
        assert (path.parent / "attention.data").stat().st_size > 4 * 1000
        return in_numpy(path)(given)["y"]

    said = climb(graph, wide, tmp_path, run, lambda y: Verdict(True, "")).result
    want = expected(inputs(), weights(MODERATE)).outputs["y"]
    assert np.abs(said - want).max() < 1e-3


def _run(model: onnx.ModelProto, given: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    (result,) = ReferenceEvaluator(model).run(None, dict(given))
    assert isinstance(result, np.ndarray)
    return result


def test_an_attention_with_unknown_options_is_refused() -> None:
    model, _ = grouped_graph("", "fp32")
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("softcap", 30.0))
    with pytest.raises(ValueError, match=r"softcap.*can be written out"):
        without_fused_attention(ir.from_proto(model))


def test_golden_windows_are_counted() -> None:
    x = inputs()
    right = expected(x, weights(MODERATE))
    wrong = Golden("attention", "other", {"x": x}, {"y": right.outputs["y"] + 1})
    verdict = golden_verdict(lambda given: right.outputs, [right, wrong], Tolerances.of("fp32"))
    assert not verdict.passed
    assert verdict.report.startswith("1 of 2 golden windows pass; at other: FAILED y")
