"""The statistics of the scale, on few drives: the whole of it runs as `benchmarks.scale`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.scale_history import History
from benchmarks.scale_model import MapErrors, modelled
from benchmarks.scale_runs import drive
from benchmarks.scale_table import HEADER, row_of

ERRORS = [MapErrors(0.15, 0.6, 0.15, 0.85, 0.03, 0.12)]


def test_the_truth_lies_where_the_sigma_says_on_modelled_drives(tmp_path: Path) -> None:
    stretches = []
    for seed in range(3):
        history = modelled(ERRORS, seed)
        history.save(tmp_path / "one.npz")
        again = History.load(tmp_path / "one.npz")
        np.testing.assert_array_equal(again.pose_P44, history.pose_P44)
        stretches += drive(f"m{seed}", again, ("odometry",), seed)
    row = row_of("odometry", stretches)
    assert (row.drives, row.keyframes) == (3, 300)
    assert row.inside_so_far >= 0.9
    assert row.median_so_far <= 0.06
    assert len(row.cells()) == len(HEADER)


def test_a_lidars_row_never_carries_on_modelled_drives() -> None:
    (stretch,) = drive("m", modelled(ERRORS, 1), ("scan",), 1)
    assert not any(said.estimate.metric for said in stretch.said)
