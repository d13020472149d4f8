# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm train` says what it lacks before it starts anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from g2vlm_training.cli import main


def test_a_run_needs_data_and_a_folder() -> None:
    with pytest.raises(ValueError, match="give --data"):
        main(["--config", "nano"])


def test_answers_need_a_trained_geometry(tmp_path: Path) -> None:
    arguments = ["--config", "nano_semantic", "--data", str(tmp_path), "--out", str(tmp_path / "o")]
    with pytest.raises(ValueError, match="give --geometry RUN"):
        main(arguments)
    assert not (tmp_path / "o").exists()
