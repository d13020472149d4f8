# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The index of a checkpoint folder: JSON that is checked, and no pickle that is run."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from g2vlm_training.run.checkpoint_index import INDEX_FILE, IndexReader, IndexWriter
from g2vlm_training.run.checkpoints import load_state
from torch.distributed.checkpoint import state_dict_loader, state_dict_saver


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tensors = {"a/w": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([7], dtype=torch.int64)}
    state_dict_saver.save(tensors, storage_writer=IndexWriter(tmp_path), no_dist=True)
    (tmp_path / "state.json").write_text('{"step": 3}')
    return tmp_path


def test_what_was_written_is_read(folder: Path) -> None:
    assert not (folder / ".metadata").exists()
    target = {"a/w": torch.zeros(2, 3), "b": torch.zeros(1, dtype=torch.int64)}
    state_dict_loader.load(target, storage_reader=IndexReader(folder), no_dist=True)
    assert target["a/w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert target["b"].tolist() == [7]
    state = load_state(folder)
    assert state.meta == {"step": 3}
    assert state.tensors["a/w"].tolist() == [[0, 1, 2], [3, 4, 5]]


class _Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


def test_a_pickle_beside_it_is_not_run(folder: Path) -> None:
    (folder / ".metadata").write_bytes(pickle.dumps(_Bomb()))
    assert load_state(folder).meta == {"step": 3}
    (folder / INDEX_FILE).unlink()
    with pytest.raises(ValueError, match="no index"):
        load_state(folder)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("a/w", "dtype"), "os"),
        (("a/w", "size"), [-1, 3]),
        (("a/w", "size"), [2**40, 2**40]),
        (("a/w", "size"), [2**10, 2**10]),  # 4 MB, for which memory would be taken
        (("a/w", "at", 0, 2), "../../etc/passwd"),
        (("a/w", "at", 0, 3), -5),
        (("a/w", "at"), 7),
        (("a/w",), None),
    ],
)
def test_an_index_that_says_what_cannot_be_is_refused(
    folder: Path, path: tuple[Any, ...], value: object
) -> None:
    index = json.loads((folder / INDEX_FILE).read_text())
    inner = index
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    (folder / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(ValueError, match="no index of a checkpoint"):
        load_state(folder)


def _as_part(content: object, folder: Path) -> None:
    """Put something in the place of the first tensor's part, in a file of its own."""
    index = json.loads((folder / INDEX_FILE).read_text())
    torch.save(content, folder / "part")
    index["a/w"]["at"][0][2:] = ["part", 0, (folder / "part").stat().st_size]
    (folder / INDEX_FILE).write_text(json.dumps(index))


@pytest.mark.parametrize(
    "part", [_Bomb(), {"w": torch.zeros(1)}, torch.zeros(1).expand(2**40), torch.zeros(7)]
)
def test_a_part_that_is_no_such_tensor_is_refused(folder: Path, part: object) -> None:
    """And what it would run is not run: the library reads parts with `weights_only`."""
    _as_part(part, folder)
    with pytest.raises(ValueError, match="cannot be read"):
        load_state(folder)
