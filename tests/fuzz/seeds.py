# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Good inputs of the doors, small ones, made when they are asked for."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

__all__ = [
    "bags",
    "documents",
    "manifests",
    "maps",
    "model_folder",
    "pictures",
    "questions",
    "shards",
    "weights",
]

CORPUS = Path(__file__).parent / "corpus"


def _coded(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture as a file."""
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, kind, **options)
    return file.getvalue()


@functools.cache
def pictures() -> tuple[bytes, ...]:
    """All kinds and modes that are read."""
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [_coded(kind) for kind in ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "PPM")]
    return (
        *kinds,
        *(_coded("JPEG", mode) for mode in ("L", "CMYK")),
        _coded("JPEG", progressive=True, exif=exif),
        *(_coded("PNG", mode) for mode in ("L", "LA", "P", "RGBA", "1", "I;16")),
        _coded("WebP", lossless=True, exif=exif),
    )


@functools.cache
def bags() -> tuple[bytes, ...]:
    """MCAP without and with an index, sqlite3, ROS 1 in chunks."""
    from g2vlm_replay.node.bag_writer import BagWriter
    from rosbags.rosbag1 import Writer
    from rosbags.typesys import Stores, get_typestore

    from tests.map.test_foreign_bags import IMAGE, mcap, picture, ros1
    from tests.replay.bags import NS, Scribe, jpeg, pattern, png, translation, write_plain_bag

    found = [mcap([("/image", IMAGE, "cdr")], [(1, (i + 1) * NS, picture(i)) for i in range(2)])]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        with BagWriter(folder / "mcap") as writer:
            scribe = Scribe(writer)
            for index in range(2):
                stamp = (index + 1) * NS
                scribe.compressed("/cam/image/compressed", stamp, jpeg(pattern(index)))
                scribe.compressed("/depth", stamp, png(np.ones((8, 8), np.uint16)), "16UC1; png")
                scribe.pose("/ground_truth", stamp, translation(float(index)))
        found += [path.read_bytes() for path in (folder / "mcap").glob("*.mcap")]
        write_plain_bag(folder / "sqlite", mcap=False, count=2)
        found += [path.read_bytes() for path in (folder / "sqlite").glob("*.db3")]
        store = get_typestore(Stores.ROS1_NOETIC)
        ros1_writer = Writer(folder / "a.bag")
        ros1_writer.set_compression(Writer.CompressionFormat.LZ4)
        with ros1_writer:
            connection = ros1_writer.add_connection("/image", IMAGE, typestore=store)
            for index in range(2):
                ros1_writer.write(connection, (index + 1) * NS, ros1(picture(index)))
        found.append((folder / "a.bag").read_bytes())
    return tuple(found)


@functools.cache
def documents() -> tuple[bytes, ...]:
    """What somebody else may have written as JSON or YAML."""
    tree = {"a": [1, 2.5, -3e-7, None, True, "x"], "T_BS": {"data": [0.0] * 16}, "b": {"c": {}}}
    return (
        json.dumps(tree).encode(),
        b"%YAML:1.0\n---\nT_BS:\n  rows: 4\n  data: [1, 0, 0]\n",
        b"a: &x [1, 2]\nb: *x\nc: 2024-01-01\n",
        b'[{"question": "How far?", "at": 1.5}]',
    )


@functools.cache
def questions() -> tuple[bytes, ...]:
    """Files of questions."""
    whole = {
        "question": "How far is <mark>?", "at": 0.5, "max_tokens": 8,
        "marks": [{"u": 3.0, "v": 4.0, "label": "chair"}],
        "expected": {"value": 1.4, "unit": "m", "tolerance": 0.1},
    }  # fmt: skip
    return (json.dumps([whole]).encode(), json.dumps([{"question": "Where?", "at": -1}]).encode())


@functools.cache
def manifests() -> tuple[bytes, ...]:
    """Of an export and of an entry of the cache."""
    from g2vlm_model.runtimes.export_folder import (
        EXPORT,
        FileRecord,
        GraphRecord,
        Largest,
        Manifest,
        TensorRecord,
    )
    from g2vlm_model.runtimes.golden_check import Tolerances
    from g2vlm_model.runtimes.store_entry import ENTRY, EntryManifest, ExportKey

    files = {name: FileRecord("a" * 64, 9) for name in ("geometry.onnx", "goldens.safetensors")}
    tensors = (TensorRecord("images", "float32", ("frames", 3, "14*rows", 84)),)
    graphs = {"geometry": GraphRecord("geometry.onnx", "", tensors, tensors)}
    export = Manifest(
        model_id="tiny-1", model_sha256="b" * 64, precision="fp32", opset=18, parts=("geometry",),
        in_graph_rotation=True, static_nhw=None, patch=14, prefix_tokens=3, prefix_position=3,
        tolerances=Tolerances(1e-3, 1e-3), files=files, graphs=graphs,
        goldens="goldens.safetensors", versions={"torch": "2"}, largest=(Largest("a", 3.0),),
    )  # fmt: skip
    entry = EntryManifest(ExportKey("a", "1", "fp32", "18", ("geometry",)).as_json(), files)
    return EXPORT.text(export).encode(), ENTRY.text(entry).encode()


@functools.cache
def model_folder() -> Path:
    """A whole model folder, tiny."""
    from g2vlm_model.checkpoint import save_model
    from g2vlm_model.tokenizer import Tokenizer
    from tests.model.tiny import tiny_model
    from tests.model.tiny_tokenizer import train_tokenizer

    folder = Path(tempfile.mkdtemp(prefix="g2vlm_fuzz_model_")) / "tiny"
    save_model(folder, tiny_model(), Tokenizer(train_tokenizer(280)), metadata={"note": "a test"})
    return folder


@functools.cache
def weights() -> tuple[bytes, ...]:
    """Tensors of all kinds that are read, small ones."""
    import torch
    from safetensors.torch import save

    return tuple(
        save({"a": torch.arange(6, dtype=kind).reshape(2, 3), "b": torch.ones(4, dtype=kind)})
        for kind in (torch.float32, torch.float16, torch.bfloat16)
    )


@functools.cache
def shards() -> tuple[bytes, ...]:
    """A shard of one clip."""
    from g2vlm_training.datasets.shards import write_shard

    from tests.training.test_shards import make_clip

    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "a.tar"
        write_shard(path, [make_clip(frames=2, size=(4, 6))])
        return (path.read_bytes(),)


@functools.cache
def maps() -> tuple[bytes, ...]:
    """A map of a few keyframes."""
    from g2vlm_map.mapping.store import save_map
    from tests.map.mapping.test_store import content

    with tempfile.TemporaryDirectory() as made:
        path = Path(made) / "a.g2map"
        save_map(path, content())
        return (path.read_bytes(),)
