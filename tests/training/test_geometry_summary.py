# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Metrics pooled over windows, their intervals, and the tables made of them."""

from __future__ import annotations

import numpy as np
import pytest
from g2vlm_training.evaluate.geometry_tables import frames_table, metrics_table, text_table
from g2vlm_training.evaluate.summary import METRICS, difference, estimate, groups_of, value_of

BY_KEY = {metric.key: metric for metric in METRICS}


def windows(*values: list[float], key: str = "rotation_deg") -> list[dict[str, np.ndarray]]:
    return [{key: np.array(items)} for items in values]


def test_shares_medians_and_areas_of_known_errors() -> None:
    samples = {"rotation_deg": np.array([1.0, 4.0, 10.0, 40.0]), "worst_deg": np.array([0.5, 45.0])}
    assert value_of(BY_KEY["rotation_median_deg"], samples) == 7.0
    assert value_of(BY_KEY["rra5"], samples) == 0.5
    assert value_of(BY_KEY["rra15"], samples) == 0.75
    assert value_of(BY_KEY["auc30"], samples) == 0.5
    assert value_of(BY_KEY["auc30"], {"worst_deg": np.array([15.5])}) == 0.5
    assert value_of(BY_KEY["abs_rel"], samples) is None
    assert value_of(BY_KEY["rra5"], {"rotation_deg": np.zeros(0)}) is None


def test_pairs_weigh_alike_whatever_window_they_are_of() -> None:
    found = estimate(BY_KEY["rra5"], windows([1.0, 1.0, 1.0], [9.0]), np.arange(2))
    assert found is not None
    assert found.value == 0.75
    assert (found.low, found.high) == (0.0, 1.0)


def test_interval_resamples_groups() -> None:
    """Ten copies of one window are no more evidence than one where they are one group."""
    rng = np.random.default_rng(0)
    values = [[float(v)] * 3 for v in rng.normal(10, 2, 12)]
    copies = [items for items in values for _ in range(10)]
    alone = estimate(BY_KEY["abs_rel"], windows(*values, key="abs_rel"), np.arange(12))
    grouped, blind = (
        estimate(BY_KEY["abs_rel"], windows(*copies, key="abs_rel"), groups)
        for groups in (np.repeat(np.arange(12), 10), np.arange(120))
    )
    assert alone is not None
    assert grouped is not None
    assert blind is not None
    assert grouped.high - grouped.low == pytest.approx(alone.high - alone.low)
    assert blind.high - blind.low < 0.5 * (grouped.high - grouped.low)
    median = estimate(BY_KEY["rotation_median_deg"], windows(*values), np.arange(12))
    assert median is not None
    assert median.low <= median.value <= median.high


def test_groups_are_sequences_where_there_are_many() -> None:
    index, kind = groups_of([f"room {k}" for k in range(10)] * 2, [0] * 20)
    assert kind == "sequences"
    assert index.max() == 9


def test_groups_are_neighbours_in_time_where_there_are_few_sequences() -> None:
    firsts = np.random.default_rng(0).permutation(34)
    index, kind = groups_of(["one"] * 34, firsts.tolist())
    assert kind == "runs of windows"
    in_time = index[np.argsort(firsts)]
    assert (np.diff(in_time) >= 0).all()
    assert sorted(np.bincount(index).tolist()) == [3] * 6 + [4] * 4
    index, _ = groups_of(["a", "a", "a", "b", "b", "b"], [4, 0, 2, 1, 0, 2])
    assert len(set(index.tolist())) == 6
    index, _ = groups_of(["a"] * 20 + ["b"] * 20, [*range(20), *range(20)])
    assert set(index[:20]) & set(index[20:]) == set()
    assert index.max() == 9


def test_windows_that_repeat_each_other_do_not_narrow_an_interval() -> None:
    """A slow drift: 60 windows know little more than its ten runs, and the interval says so."""
    rng = np.random.default_rng(3)
    drift = np.repeat(rng.normal(0.2, 0.05, 10), 6)
    samples = windows(*[[float(v)] for v in drift], key="abs_rel")
    runs, _ = groups_of(["one"] * 60, list(range(60)))
    honest = estimate(BY_KEY["abs_rel"], samples, runs)
    blind = estimate(BY_KEY["abs_rel"], samples, np.arange(60))
    assert honest is not None
    assert blind is not None
    assert honest.value == pytest.approx(blind.value)
    assert honest.high - honest.low > 2 * (blind.high - blind.low)


def test_difference_is_taken_window_by_window() -> None:
    mine, theirs = windows([1.0], [101.0], key="abs_rel"), windows([2.0], [102.0], key="abs_rel")
    found = difference("abs_rel", mine, theirs, np.arange(2))
    assert found is not None
    assert (found.value, found.low, found.high) == (-1.0, -1.0, -1.0)
    assert difference("none", mine, theirs, np.arange(2)) is None


def row(name: str, frames: int, value: float) -> dict[str, object]:
    interval = {"value": value, "low": value - 0.01, "high": value + 0.01}
    return {
        "row": name, "frames": frames, "windows": 3, "pairs": 3, "baseline_pairs": 2,
        "metrics": {"abs_rel": interval},
    }  # fmt: skip


def test_tables_show_the_files_numbers() -> None:
    rows = [row("head", 2, 0.1234), row("head", 4, 0.1), row("identity motion", 4, 0.5)]
    table = metrics_table(rows, ("abs_rel", "auc30"), interval=True)
    assert "| head | 3 | 0.123 (0.113 to 0.133) |  |" in table
    side = frames_table(rows, "head")
    assert "| AbsRel | 0.123 | 0.100 |" in side
    assert "2 frames | 4 frames" in side
    assert "0.123" in text_table(rows[:1])
    with pytest.raises(ValueError, match="no row 'tail'"):
        frames_table(rows, "tail")
