# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Where the tensors of a checkpoint folder lie, as JSON.

`torch.distributed.checkpoint` pickles this index, and whoever opens a foreign folder runs what the
pickle says. Here it is data that is checked; the tensors themselves are read by `torch.load` with
`weights_only`, as in the library.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.storage import WriteResult

from g2vlm_model.interface.documents import parse_json

__all__ = ["IndexReader", "IndexWriter"]

INDEX_FILE = "index.json"
_MAX_BYTES = 2**28


class IndexWriter(FileSystemWriter):
    """Writes the parts as the library does, and the index as JSON."""

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """Write the index, behind all parts; called in the first process.

        Raises:
            ValueError: Something is no tensor.
        """
        tensors: dict[str, Any] = {}
        for name, entry in metadata.state_dict_metadata.items():
            if not isinstance(entry, TensorStorageMetadata):
                raise ValueError(f"{name} is a {type(entry).__name__}, expected a tensor")
            chunks = [[list(chunk.offsets), list(chunk.sizes)] for chunk in entry.chunks]
            dtype = str(entry.properties.dtype).removeprefix("torch.")
            tensors[name] = {"dtype": dtype, "size": list(entry.size), "chunks": chunks, "at": []}
        for written in (item for part in results for item in part):
            index, where = written.index, written.storage_data
            offset = None if index.offset is None else list(index.offset)
            place = [offset, index.index, where.relative_path, where.offset, where.length]
            tensors[index.fqn]["at"].append(place)
        (Path(self.path) / INDEX_FILE).write_text(json.dumps(tensors), encoding="utf-8")


class IndexReader(FileSystemReader):
    """Reads what `IndexWriter` wrote."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        """The index of the folder.

        Raises:
            OSError: There is none: no checkpoint, or one of an earlier version, with a pickle.
            ValueError: It says what cannot be.
        """
        file = Path(self.path) / INDEX_FILE
        if file.stat().st_size > _MAX_BYTES:
            raise ValueError(f"{file} has {file.stat().st_size} bytes, at most {_MAX_BYTES}")
        try:
            return _metadata(parse_json(file.read_bytes()), Path(self.path))
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{file} is no index of a checkpoint: {error!r:.300}") from error


def _metadata(tensors: dict[str, Any], folder: Path) -> Metadata:
    entries: dict[str, Any] = {}
    places: dict[MetadataIndex, _StorageInfo] = {}
    held = sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
    for name, entry in tensors.items():
        dtype = getattr(torch, str(entry["dtype"]), None)
        if not isinstance(dtype, torch.dtype):
            raise ValueError(f"{name}: dtype {entry['dtype']!r:.40}")
        chunks = [ChunkStorageMetadata(_sizes(at), _sizes(size)) for at, size in entry["chunks"]]
        size = _sizes(entry["size"])
        held -= math.prod(size) * dtype.itemsize
        if held < 0:  # memory for it is taken before its part is looked at
            raise ValueError(f"{name}: {dtype} {tuple(size)} is more than the folder holds")
        entries[name] = TensorStorageMetadata(TensorProperties(dtype=dtype), size, chunks)
        for offset, index, file, start, length in entry["at"]:
            if (
                not isinstance(file, str)
                or Path(file).name != file
                or not (folder / file).is_file()
            ):
                raise ValueError(f"{name} lies in {file!r:.80}, which is no file of the folder")
            at = None if offset is None else _sizes(offset)
            number = None if index is None else _count(index)
            info = _StorageInfo(file, _count(start), _count(length))
            places[MetadataIndex(name, at, number)] = info
    return Metadata(entries, storage_data=places, storage_meta=StorageMeta())


def _sizes(numbers: Any) -> torch.Size:
    size = torch.Size([_count(number) for number in numbers])
    if math.prod(size) >= 2**48:
        raise ValueError(f"size {tuple(size)}")
    return size


def _count(number: Any) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**62:
        raise ValueError(f"{number!r:.40} is no count")
    return number
