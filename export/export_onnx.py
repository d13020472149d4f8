# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports a model folder: computes goldens, traces, translates, writes the folder.

What was traced serves every further export in the same precision: another opset only has to be
translated, other parts only cut.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch.export import ExportedProgram

from g2vlm_model.checkpoint import load_model, model_id, resolve_folder
from g2vlm_model.config import CHAT, ModelConfig, SpecialIds
from g2vlm_model.model import G2VLM
from g2vlm_model.quantised import PRECISIONS as QUANTISED
from g2vlm_model.runtimes.export_folder import PRECISIONS, Golden, GraphRecord, Manifest
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.own_exports import model_digest

from .export_plan import plan_export
from .goldens import Truth, largest_numbers, require_half_range
from .manifest import (
    GOLDENS,
    PREFIXES,
    copy_model_files,
    file_records,
    replaced_folder,
    save_goldens,
    save_graph,
    save_prefixes,
    write_manifest,
)
from .progress import Report, Stages, silent
from .reference import TorchReference
from .semantic_goldens import semantic_goldens
from .semantic_to_onnx import GraphSpec, semantic_graphs
from .streamed import streamed_model
from .to_onnx import (
    ExportOptions,
    cut_graph,
    cuts,
    geometry_graph,
    to_onnx,
    trace_geometry,
    trace_spec,
)
from .weights import WEIGHTS, WeightFile, lay_out
from .wrappers import GeometryGraph, Prefix, prefix_names

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["Exporter", "export_onnx"]

T = TypeVar("T")

DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript")
TRUTH, LOAD, TRACE, TRANSLATE, SEMANTIC, WRITE = (
    "computing goldens",
    "loading the model",
    "tracing",
    "translating",
    "exporting the answers",
    "writing",
)
SHARES = {TRUTH: 1.0, LOAD: 0.5, TRACE: 8.0, TRANSLATE: 12.0, SEMANTIC: 16.0, WRITE: 0.5}


def export_onnx(
    model: str | Path,
    out: str | Path,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    report: Report = silent,
) -> Manifest:
    """Write one export folder; see `Exporter`."""
    options = options or ExportOptions()
    return Exporter(model, options.precision).write(out, options, force=force, report=report)


class Exporter:
    """Writes exports of one model in one precision.

    Args:
        model: Folder, or the name of an embedded model.
        precision: One of `PRECISIONS`.

    Raises:
        FileNotFoundError: No such model, or a config file is missing.
        ValueError: A damaged config, or no such precision.
    """

    def __init__(self, model: str | Path, precision: str = "fp32") -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"precision is {precision!r}, expected one of {PRECISIONS}")
        self.source = resolve_folder(model)
        self.config = ModelConfig.from_folder(self.source)
        self.precision = precision
        self._full: TorchReference | None = None
        self._open = ExitStack()  # the files that it reads
        self._ids: SpecialIds | None = None
        self._network: G2VLM | None = None
        self._weights: WeightFile | None = None
        self._prefixes: dict[str, Prefix] = {}
        # What was computed so far, by what it depends on.
        self._truths: dict[object, Truth] = {}
        self._geometries: dict[object, tuple[GeometryGraph, ExportedProgram]] = {}
        self._specs: list[tuple[GraphSpec, ExportedProgram]] = []
        self._said: list[Golden] = []
        self._wholes: dict[object, onnx_ir.Model] = {}

    def write(
        self,
        out: str | Path,
        options: ExportOptions,
        *,
        force: bool = False,
        report: Report = silent,
    ) -> Manifest:
        """Write an export folder.

        Args:
            out: The new folder.
            options: What to export; in this exporter's precision.
            force: Replace an export that is there.
            report: Told how far it is.

        Returns:
            What was written.

        Raises:
            FileNotFoundError: A file of the model is missing.
            FileExistsError: `out` is there already.
            ValueError: A damaged model, one that cannot be exported as asked, or that this machine
                has not the memory for.
            OSError: The folder cannot be written; nothing of it is left behind.
            MemoryTakenError: Another process took the memory that was free; nothing either.
        """
        assert options.precision == self.precision, (options.precision, self.precision)
        options.check(self.config)
        shares = {stage: share for stage, share in SHARES.items() if stage != SEMANTIC}
        plan = plan_export(self.config, self.precision)
        plan.require(Path(out))

        def watched(stage: str, fraction: float, seconds_left: float | None) -> None:
            report(stage, fraction, seconds_left)
            if fraction < 1.0:
                plan.require_left(stage)

        stages = Stages(watched, SHARES if "semantic" in options.parts else shares)
        with replaced_folder(Path(out), force=force) as folder:
            stages.begin(TRUTH)
            truth = self._truth(options)
            answers = self._answers() if "semantic" in options.parts else ()
            stages.begin(LOAD)
            network, weights = self._load(folder)
            made = self._graphs(network, options, stages)
            graphs, parameters = _saved(folder, made, weights)
            stages.begin(WRITE)
            token_type = np.dtype(_type_of_tokens(network))
            goldens = truth.goldens(cuts(self.config, options), token_type)
            save_goldens(folder, [*goldens, *answers])
            if prefix_names(self.config):
                save_prefixes(folder, self._prefixes)
            copy_model_files(self.source, folder)
            manifest = self._manifest(options, folder, graphs, parameters, truth)
            write_manifest(folder, manifest)
        stages.end()
        return manifest

    def _manifest(
        self,
        options: ExportOptions,
        folder: Path,
        graphs: dict[str, GraphRecord],
        parameters: int,
        truth: Truth,
    ) -> Manifest:
        """What the files that lie in the folder are."""
        return Manifest(
            model_id=model_id(self.source),
            model_sha256=model_digest(self.source),
            precision=options.precision,
            opset=options.opset,
            parts=options.parts,
            in_graph_rotation=options.in_graph_rotation,
            static_nhw=options.static_nhw,
            patch=self.config.patch_size,
            prefix_tokens=self._prefixes[CHAT].tokens,
            prefix_position=self._prefixes[CHAT].position,
            tolerances=Tolerances.of(options.precision),
            files=file_records(folder),
            graphs=graphs,
            goldens=GOLDENS,
            prefixes=PREFIXES if prefix_names(self.config) else "",
            versions={name: version(name) for name in LIBRARIES},
            largest=truth.largest,
            parameters=parameters,
        )

    def _graphs(
        self, network: G2VLM, options: ExportOptions, stages: Stages
    ) -> Iterator[tuple[str, onnx_ir.Model]]:
        """Trace and translate what is not there yet, and cut the parts out."""
        stages.begin(TRACE)
        traced = (options.static_nhw, options.in_graph_rotation)
        geometry, program = _known(
            self._geometries, traced, lambda: _traced(network, self._prefixes[CHAT], options)
        )
        stages.begin(TRANSLATE)
        whole = _known(
            self._wholes,
            (traced, options.opset),
            lambda: geometry_graph(program, geometry, options.opset),
        )
        for name, cut in cuts(self.config, options).items():
            yield name, cut_graph(whole, name, cut)
        if "semantic" not in options.parts:
            return
        stages.begin(SEMANTIC)
        if not self._specs:
            specs = semantic_graphs(network)
            self._specs = [(spec, trace_spec(spec)) for spec in specs]
        for spec, program in self._specs:
            yield (
                spec.name,
                to_onnx(program, spec.input_names, spec.output_names, options.opset),
            )

    def _truth(self, options: ExportOptions) -> Truth:
        """What torch says; in half precision its range is checked too."""
        truth = _known(
            self._truths,
            options.static_nhw,
            lambda: Truth.of(self._reference(), options.static_nhw),
        )
        if self.precision == "fp16":
            require_half_range(truth.largest)
        return truth

    def _answers(self) -> list[Golden]:
        """Goldens of the graphs that answer; in half precision the range is checked too."""
        if not self._said:
            key_type = np.dtype(np.float16 if self.precision == "fp16" else np.float32)
            model = self._reference().model
            with largest_numbers(model) as largest:
                self._said = semantic_goldens(model, key_type)
            if self.precision == "fp16":
                require_half_range(largest)
        return self._said

    def _reference(self) -> TorchReference:
        """The model in float32, or with the export's weights of few bits."""
        if self._full is None:
            quantise = self.precision if self.precision in QUANTISED else ""
            if quantise:  # rounded once; to round them at each use would take minutes
                network, tokenizer = load_model(self.source, global_points=False, quantise=quantise)
                network.requires_grad_(False)
            else:
                network, tokenizer = self._open.enter_context(streamed_model(self.source))
            self._full, self._ids = TorchReference(network, tokenizer), network.special_ids
            for prompt, text in self._full.prefixes.items():
                keys, values = (
                    kept[:, 0].to(DTYPES.get(self.precision, torch.float32)).clone()
                    for kept in (text.keys, text.values)
                )
                self._prefixes[prompt] = Prefix(keys, values, text.position)
        return self._full

    def _load(self, folder: Path) -> tuple[G2VLM, WeightFile]:
        """The model on top of the file of weights for the graphs; the reference is given up."""
        if not self._prefixes:
            self._reference()
        if self._network is None or self._weights is None:
            assert self._ids is not None, "no reference"
            self._full = None
            gc.collect()  # modules know each other: a model's weights would stay for a while
            self._network, self._weights = lay_out(
                self.source, self.config, self._ids, self.precision, folder / WEIGHTS
            )
        self._full = None
        self._open.close()
        return self._network, self._weights


def _known(found: dict[object, T], key: object, make: Callable[[], T]) -> T:
    """What is kept under a key, made on first use."""
    if key not in found:
        found[key] = make()
    return found[key]


def _traced(
    network: G2VLM, prefix: Prefix, options: ExportOptions
) -> tuple[GeometryGraph, ExportedProgram]:
    graph = GeometryGraph(network, prefix, in_graph_rotation=options.in_graph_rotation)
    return graph, trace_geometry(graph.eval(), options)


def _type_of_tokens(network: G2VLM) -> type[np.float16] | type[np.float32]:
    """Type of the encoder's tokens."""
    return np.float16 if network.dino_projection.weight.dtype == torch.float16 else np.float32


def _saved(
    folder: Path, graphs: Iterable[tuple[str, onnx_ir.Model]], weights: WeightFile
) -> tuple[dict[str, GraphRecord], int]:
    """Write graphs one after the other, and what they share; their records and their weights."""
    records: dict[str, GraphRecord] = {}
    parameters = 0
    for name, graph in graphs:
        parameters += _weights(graph) if name not in ("encoder", "expert") else 0
        records[name] = save_graph(folder, name, graph, weights)
    if not weights.shared:
        (folder / WEIGHTS).unlink(missing_ok=True)
    elif not (folder / WEIGHTS).exists():  # an earlier export has the first one
        weights.copy_to(folder / WEIGHTS)
    return records, parameters


def _weights(graph: onnx_ir.Model) -> int:
    """Number of a graph's floating-point constants, nearly all of them weights.

    Of weights of few bits the numbers count that they stand for, and not their scales.
    """
    products = [node for node in graph.graph if node.op_type == "MatMulNBits"]
    scales = {node.inputs[2] for node in products}
    stands_for = sum(
        node.attributes["K"].as_int() * node.attributes["N"].as_int() for node in products
    )
    constants = ((value, value.const_value) for value in graph.graph.initializers.values())
    return stands_for + sum(
        int(constant.size)
        for value, constant in constants
        if constant is not None and value not in scales and constant.dtype.is_floating_point()
    )
