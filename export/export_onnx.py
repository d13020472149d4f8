"""Exports a model folder: loads it, computes goldens, traces, translates, writes the folder."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from g2vlm_model.checkpoint import load_model, model_id, resolve_folder
from g2vlm_model.config import ModelConfig
from g2vlm_model.model import G2VLM
from g2vlm_model.runtimes.automatic import model_digest
from g2vlm_model.runtimes.exported import GraphRecord, Largest, Manifest
from g2vlm_model.runtimes.golden_check import Tolerances
from g2vlm_model.runtimes.torch.caches import prefix_cache
from g2vlm_model.tokenizer import prompt_ids

from .goldens import HALF_MAX, geometry_goldens, largest_numbers
from .manifest import (
    GOLDENS,
    copy_model_files,
    file_records,
    replaced_folder,
    save_goldens,
    save_graph,
    write_manifest,
)
from .progress import Report, Stages, silent
from .reference import TorchReference
from .to_onnx import ExportOptions, cuts, geometry_graphs, spec_graph, trace_geometry
from .wrappers import GeometryGraph, Prefix

if TYPE_CHECKING:
    import onnx_ir

__all__ = ["export_onnx"]

_LOG = logging.getLogger(__name__)

SEARCH = ("dino", "dino_projection", "match")  # modules of the model
DTYPES = {"fp32": torch.float32, "fp16": torch.float16}
HEADROOM = 4.0  # other pictures than the goldens may give numbers so many times larger
LIBRARIES = ("torch", "onnx", "onnx-ir", "onnxscript")
LOAD, TRUTH, TRACE, TRANSLATE, SEMANTIC, WRITE = (
    "loading the model",
    "computing goldens",
    "tracing",
    "translating",
    "exporting the answers",
    "writing",
)
SHARES = {LOAD: 1.0, TRUTH: 0.5, TRACE: 8.0, TRANSLATE: 16.0, SEMANTIC: 20.0, WRITE: 0.5}


def export_onnx(
    model: str | Path,
    out: str | Path,
    options: ExportOptions | None = None,
    *,
    force: bool = False,
    report: Report = silent,
) -> Manifest:
    """Write an export folder.

    Args:
        model: Folder, or the name of an embedded model.
        out: The new folder.
        options: What to export; None is fp32 at opset 23 with keys and values.
        force: Replace an export that is there.
        report: Told how far it is.

    Returns:
        What was written.

    Raises:
        FileNotFoundError: No such model, or a file of it is missing.
        FileExistsError: `out` is there already.
        ValueError: A damaged model, or one that cannot be exported as asked.
        OSError: The folder cannot be written; nothing of it is left behind.
    """
    options = options or ExportOptions()
    source = resolve_folder(model)
    config = ModelConfig.from_folder(source)
    options.check(config)
    left_out = () if "semantic" in options.parts else (SEMANTIC,)
    stages = Stages(
        report, {stage: share for stage, share in SHARES.items() if stage not in left_out}
    )
    with replaced_folder(Path(out), force=force) as folder:
        stages.begin(LOAD)
        network, tokenizer = load_model(source)
        network.requires_grad_(False)
        # No graph gives the global points.
        del network.heads.global_decoder, network.heads.global_head
        reference = TorchReference(network, tokenizer)
        with torch.inference_mode():
            text = prefix_cache(network, prompt_ids(tokenizer, config.tokens).system)
        stages.begin(TRUTH)
        dtype = DTYPES[options.precision]
        names = cuts(config, options)
        with largest_numbers(network) as largest:
            exact = dtype == torch.float32 or network.match is not None
            token_type = np.dtype(np.float32 if exact else np.float16)
            goldens = geometry_goldens(reference, names, token_type, options.static_nhw)
        if options.precision == "fp16":
            _check_range(largest)
            del reference
            network = _in_half(source, network)
        prefix = Prefix(text.keys[:, 0].to(dtype), text.values[:, 0].to(dtype), text.position)
        graphs: dict[str, GraphRecord] = {}
        parameters = 0
        for name, graph in _graphs(network, prefix, options, stages):
            graphs[name] = save_graph(folder, name, graph)
            parameters += _weights(graph) if name not in ("encoder", "expert") else 0
        stages.begin(WRITE)
        save_goldens(folder, goldens)
        copy_model_files(source, folder)
        manifest = Manifest(
            model_id=model_id(model),
            model_sha256=model_digest(source),
            precision=options.precision,
            opset=options.opset,
            parts=options.parts,
            in_graph_rotation=options.in_graph_rotation,
            static_nhw=options.static_nhw,
            patch=config.patch_size,
            prefix_tokens=prefix.tokens,
            prefix_position=prefix.position,
            tolerances=Tolerances.of(options.precision),
            files=file_records(folder),
            graphs=graphs,
            goldens=GOLDENS,
            versions={name: version(name) for name in LIBRARIES},
            largest=tuple(largest),
            parameters=parameters,
        )
        write_manifest(folder, manifest)
    stages.end()
    return manifest


def _graphs(
    network: G2VLM, prefix: Prefix, options: ExportOptions, stages: Stages
) -> Iterator[tuple[str, onnx_ir.Model]]:
    """Trace and translate, graph by graph; one that is saved need not stay in memory."""
    stages.begin(TRACE)
    geometry = GeometryGraph(
        network,
        prefix,
        keys_and_values="kv" in options.parts,
        in_graph_rotation=options.in_graph_rotation,
    ).eval()
    program = trace_geometry(geometry, options)
    stages.begin(TRANSLATE)
    yield from geometry_graphs(program, geometry, options).items()
    if "semantic" in options.parts:
        from .semantic_to_onnx import semantic_graphs

        stages.begin(SEMANTIC)
        for spec in semantic_graphs(network):
            yield spec.name, spec_graph(spec, options.opset)


def _in_half(source: Path, full: G2VLM) -> G2VLM:
    """Load the model again in half precision, in the place of the full one.

    A model that searches for matches (`match_width`) keeps the search and the encoder ahead of
    it in float32: which cell is the best one is not continuous, and the rounding of half
    precision picks another one for a few tokens of every fourth window. Those were wrong by
    6 % of the range of the keys, 120 times what half precision costs all others.
    """
    kept = {name: getattr(full, name) for name in SEARCH} if full.match is not None else {}
    for name, weight in full.named_parameters():
        if name.split(".")[0] not in kept:
            weight.data = weight.data.new_empty(0)
    gc.collect()
    half, _ = load_model(source, dtype=torch.float16)
    for name, module in kept.items():
        setattr(half, name, module)
    del half.heads.global_decoder, half.heads.global_head
    if half.match is not None:
        # The search for matches takes the best of near equals: rounding what it compares would
        # send a token to another place, far beyond the error of its numbers.
        for part in (half.dino, half.dino_projection, half.match):
            part.float()
    return half.requires_grad_(False)


def _check_range(largest: list[Largest]) -> None:
    """Refuse half precision where it overflows, and warn where it is near that.

    Raises:
        ValueError: A layer's numbers are too large.
    """
    if not largest:
        return
    top = largest[0]
    if not top.value <= HALF_MAX:
        raise ValueError(
            f"{top.layer} gives numbers up to {top.value:.3g}, half precision ends at "
            f"{HALF_MAX:.0f}; export with --precision fp32"
        )
    if top.value * HEADROOM > HALF_MAX:
        _LOG.warning(
            "%s gives numbers up to %.0f, half precision ends at %.0f; other pictures may "
            "overflow: compare on your own with `g2vlm export check`, or use --precision fp32",
            top.layer,
            top.value,
            HALF_MAX,
        )


def _weights(graph: onnx_ir.Model) -> int:
    """Number of a graph's weights: all constants that have more than one axis or are long."""
    return sum(
        int(value.const_value.size)
        for value in graph.graph.initializers.values()
        if value.const_value is not None and value.const_value.dtype.is_floating_point()
    )
