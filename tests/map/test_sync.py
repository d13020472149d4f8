"""Rigs: which frames belong together, and why they do not."""

from __future__ import annotations

import pytest

from g2vlm_map.sync import Synchroniser
from tests.map.frames import Drops, arrival

NONE: frozenset[str] = frozenset()


def test_rig_puts_partners_together() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], 0.02, drops)
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
    rig = Synchroniser(["left", "right"], 0.0, drops)
    for index in range(20):
        assert not rig.add(arrival(1.0 + index, "left"), NONE)
    assert rig.waiting == 8
    assert drops == {"unsynchronised": 12}
    rig.clear("reset")
    assert drops["reset"] == 8


def test_rig_goes_on_without_a_silent_camera() -> None:
    drops = Drops()
    rig = Synchroniser(["left", "right"], 0.02, drops)
    rig.add(arrival(1.0, "left"), NONE)
    found = rig.add(arrival(1.5, "right"), frozenset({"left"}))
    assert [f.camera for f in found] == ["right"]
    assert rig.waiting == 0
    assert drops == {"unsynchronised": 1}


@pytest.mark.parametrize(("offset_s", "said"), [(0.03, "0.030 s after"), (-0.03, "0.030 s before")])
def test_what_is_said_of_cameras_apart_would_pair_them(offset_s: float, said: str) -> None:
    def fed(tolerance_s: float) -> Synchroniser:
        rig = Synchroniser(["left", "right"], tolerance_s, Drops())
        for index in range(30):
            rig.add(arrival(1.0 + 0.1 * index, "left"), NONE)
            rig.add(arrival(1.0 + 0.1 * index + offset_s, "right"), NONE)
        return rig

    text = fed(0.02).explain()
    assert f"frames of right are stamped {said} those of left" in text
    assert "sync.tolerance_s = 0.02;" in text
    assert "sync.tolerance_s = 0.033 would pair them" in text
    assert fed(0.033).waiting <= 1
    assert fed(0.02).waiting == 16


def test_clocks_that_differ_are_not_a_matter_of_tolerance() -> None:
    rig = Synchroniser(["left", "right"], 0.02, Drops())
    rig.add(arrival(1.0, "left"), NONE)
    assert rig.explain() == ""
    rig.add(arrival(3601.0, "right"), NONE)
    assert "3600.000 s after" in rig.explain()
    assert "the cameras' clocks differ" in rig.explain()
