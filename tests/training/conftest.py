# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What many tests of the training share; each worker of a parallel run makes its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from g2vlm_training.datasets.mixture import ClipPool

from tests.training.tiny import write_tiny_shards


@pytest.fixture(scope="session")
def tiny_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a shard of three rooms, of training and again of validation; read only."""
    folder = write_tiny_shards(tmp_path_factory.mktemp("shards"))
    (folder / "val-00000.tar").write_bytes((folder / "train-00000.tar").read_bytes())
    return folder


@pytest.fixture(scope="module")
def pool(tiny_shards: Path) -> ClipPool:
    """The training clips of `tiny_shards`."""
    return ClipPool(tiny_shards, "train")
