# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Rigs: which frames belong together, and why they do not."""

from __future__ import annotations

import numpy as np
import pytest

from g2vlm_map.options import SyncOptions
from g2vlm_map.sync import Synchroniser
from tests.map.frames import Drops, arrival

NONE: frozenset[str] = frozenset()


def test_rig_puts_partners_together() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], SyncOptions(), drops)
    assert not rig.add(arrival(1.0, "left"), NONE)
    found = rig.add(arrival(1.01, "right"), NONE)
    assert [f.camera for f in found] == ["left", "right"]
    assert not rig.add(arrival(2.0, "right"), NONE)
    assert not rig.add(arrival(2.1, "left"), NONE)  # 0.1 s apart: no partner
    assert rig.add(arrival(2.11, "right"), NONE)
    assert drops == {"unsynchronised": 1}
    assert rig.waiting == 0


def test_rig_bounds_what_waits() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], SyncOptions(tolerance_s=0.0), drops)
    for index in range(20):
        assert not rig.add(arrival(1.0 + index, "left"), NONE)
    assert rig.waiting == 8
    assert drops == {"unsynchronised": 12}
    rig.clear("reset")
    assert drops["reset"] == 8


def test_rig_goes_on_without_a_silent_camera() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], SyncOptions(), drops)
    rig.add(arrival(1.0, "left"), NONE)
    found = rig.add(arrival(1.5, "right"), frozenset({"left"}))
    assert [f.camera for f in found] == ["right"]
    assert rig.waiting == 0
    assert drops == {"unsynchronised": 1}


@pytest.mark.parametrize(("offset_s", "said"), [(0.03, "0.030 s after"), (-0.03, "0.030 s before")])
def test_what_is_said_of_cameras_apart_would_pair_them(offset_s: float, said: str) -> None:
    def fed(tolerance_s: float) -> Synchroniser:
        rig = Synchroniser(["left", "right"], SyncOptions(tolerance_s=tolerance_s), Drops())
        for index in range(30):
            rig.add(arrival(1.0 + 0.1 * index, "left"), NONE)
            rig.add(arrival(1.0 + 0.1 * index + offset_s, "right"), NONE)
        return rig

    text = fed(0.02).explain()
    assert f"frames of right are stamped {said} those of left" in text
    assert "sync.tolerance_s = 0.02;" in text
    assert "sync.tolerance_s = 0.033 would pair them, and with the extrinsics of all" in text
    assert fed(0.033).waiting <= 1
    assert fed(0.02).waiting == 16


def test_clocks_that_differ_are_not_a_matter_of_tolerance() -> None:
    rig = Synchroniser(["left", "right"], SyncOptions(), Drops())
    rig.add(arrival(1.0, "left"), NONE)
    assert rig.explain() == ""
    rig.add(arrival(3601.0, "right"), NONE)
    assert "3600.000 s after" in rig.explain()
    assert "the cameras' clocks differ" in rig.explain()


def free_running(rig: Synchroniser, periods_s: dict[str, float], end_s: float) -> list[list[float]]:
    """Stamps of each moment, by camera in order; NaN where one is not in it."""
    frames = [
        (1.0 + offset + period * index, name)
        for offset, (name, period) in zip((0.0, 0.013, 0.029), periods_s.items(), strict=False)
        for index in range(int(end_s / period))
    ]
    moments = []
    for stamp_s, name in sorted(frames):
        found = rig.add(arrival(stamp_s, name), NONE)
        if found:
            stamps = {item.camera: item.stamp_ns / 1e9 for item in found}
            moments.append([stamps.get(camera, float("nan")) for camera in periods_s])
    return moments


def test_a_rigid_rig_takes_cameras_at_their_own_stamps() -> None:
    """Of unequal rates; each frame of the reference makes a moment with the nearest others."""
    drops = Drops()
    periods = {"front": 0.1, "left": 0.07, "back": 0.25}
    rig = Synchroniser(list(periods), SyncOptions(), drops)
    assert len(free_running(rig, periods, 5.0)) < 10, "they hardly ever meet"
    rig = Synchroniser(list(periods), SyncOptions(), drops)
    rig.is_rigid = True
    moments = np.array(free_running(rig, periods, 5.0))
    assert len(moments) >= 48
    np.testing.assert_allclose(np.diff(moments[:, 0]), 0.1, atol=1e-6)
    gap = np.abs(moments - moments[:, :1])
    assert np.nanmax(gap[:, 1]) <= 0.05
    assert np.isfinite(moments[:, 1]).mean() > 0.9
    assert np.nanmax(gap[:, 2]) <= 0.2
    assert 0.3 < np.isfinite(moments[:, 2]).mean() < 0.6, "the slow one is in every other one"
    for camera in range(3):
        seen = moments[np.isfinite(moments[:, camera]), camera]
        assert (np.diff(seen) > 0).all(), "no frame is used twice"
    assert not rig.leaves_out


def test_a_rigid_rig_that_is_synchronised_keeps_its_pairs() -> None:
    rig = Synchroniser(["left", "right"], SyncOptions(), Drops())
    rig.is_rigid = True
    for index in range(20):
        at_s = 1.0 + 0.1 * index
        assert not rig.add(arrival(at_s, "left"), NONE)
        found = rig.add(arrival(at_s + 0.002, "right"), NONE)
        assert [item.stamp_ns / 1e9 for item in found] == pytest.approx([at_s, at_s + 0.002])


@pytest.mark.parametrize("shift_s", [-3600.0, 3600.0])
def test_clocks_that_differ_are_told_of_a_rigid_rig_too(shift_s: float) -> None:
    rig = Synchroniser(["left", "right"], SyncOptions(), Drops())
    rig.is_rigid = True
    moments = 0
    for index in range(40):
        moments += bool(rig.add(arrival(9000.0 + 0.1 * index, "left"), NONE))
        moments += bool(rig.add(arrival(9000.05 + 0.1 * index + shift_s, "right"), NONE))
    assert moments > 30, "the reference goes on alone"
    assert rig.leaves_out
    assert "had no frame of right" in rig.explain()
    assert "sync.max_gap_s = 0.2" in rig.explain()
