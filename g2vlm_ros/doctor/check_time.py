# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Checks of time: stamps, clocks, and the rates and jitter of rigs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator

import numpy as np

from g2vlm_map.cameras import NS, Arrival, skew_text
from g2vlm_map.pixels import ArrayPixels
from g2vlm_map.sync import Synchroniser
from g2vlm_ros.doctor.check_frames import base_of, is_placed
from g2vlm_ros.doctor.findings import Finding, absence_s
from g2vlm_ros.doctor.hearing import Hearing
from g2vlm_ros.doctor.seen import Seen

__all__ = ["check_clock", "check_rig", "check_skew", "check_stamps"]

_FEW = 4  # frames that say nothing yet
_APART = 1.5  # factor between rates of cameras of one rig
_JITTER = 0.5  # of the period, that a tenth of the steps is off by
_NO_PIXELS = ArrayPixels(np.zeros((1, 1, 3), np.uint8))


def check_clock(seen: Seen) -> Iterator[Finding]:
    """Simulated time without somebody who tells it."""
    clock = seen.clock
    if not seen.is_live or not clock.is_simulated:
        return
    if not clock.publishers:
        text = "use_sim_time is true and nobody publishes /clock: the node's time stands at 0"
    elif not clock.first_ns:
        text = f"{', '.join(clock.publishers)} publishes /clock, but nothing comes: time stands"
    elif clock.last_ns <= clock.first_ns:
        text = f"/clock stands at {clock.last_ns / NS:.3f} s: the simulation or the bag is paused"
    else:
        return
    yield Finding(
        "NO_CLOCK",
        "/clock",
        text,
        "use_sim_time: false, or start the simulator, or play the bag with --clock",
        ("CLOCK_SKEW", "TF_MISSING"),
        absence_s(seen) if clock.publishers else math.inf,
    )


def check_skew(seen: Seen) -> Iterator[Finding]:
    """Stamps of another clock than the node's."""
    limit_s = seen.params.images.max_skew_s
    if not limit_s or any(check_clock(seen)):
        return
    for want in seen.wants:
        hearing = seen.of(want)
        if hearing is None or want.role in ("info", "depth_info"):
            continue
        behind_ns = _behind_ns(hearing)
        if abs(behind_ns) / NS <= limit_s:
            continue
        yield Finding(
            "CLOCK_SKEW",
            want.topic,
            skew_text(behind_ns),
            _of_clock(seen, hearing),
            ("TF_MISSING", "SENSOR_REFUSED", "UNSYNCHRONISED", "DEPTH_MISSING"),
            abs(behind_ns) / NS,
        )


def _behind_ns(hearing: Hearing) -> int:
    """Median of how far stamps lie behind the node's clock; 0 where that is unknown."""
    behind = [mark.clock_ns - mark.stamp_ns for mark in hearing.marks if mark.clock_ns > 0]
    return int(statistics.median(behind)) if behind else 0


def _of_clock(seen: Seen, hearing: Hearing) -> str:
    """What mends the skew of a topic."""
    clock = seen.clock
    near_ns = abs(clock.last_ns - hearing.marks[-1].stamp_ns)
    if not clock.is_simulated and clock.last_ns and near_ns < 5 * NS:
        return "use_sim_time: true (its stamps are those of /clock)"
    if clock.is_simulated:
        return "use_sim_time: false, or let the driver stamp with simulated time"
    return "chrony or PTP on both machines, or the driver's own parameter for host time"


def check_stamps(seen: Seen) -> Iterator[Finding]:
    """Stamps that do not rise, or are none."""
    for want in seen.wants:
        hearing = seen.of(want)
        if hearing is None or want.role in ("info", "depth_info"):
            continue
        steps, stamps = hearing.steps_ns, [mark.stamp_ns for mark in hearing.marks]
        wrong = [step for step in steps if step <= 0]
        if not wrong and min(stamps) > 0:
            continue
        if min(stamps) <= 0:
            text = f"{sum(stamp <= 0 for stamp in stamps)} of {len(stamps)} have no stamp"
        else:
            back = min(wrong)
            how = f"go back by up to {-back / NS:.3f} s" if back < 0 else "come twice"
            text = f"{len(wrong)} of {len(stamps)} stamps {how}, expected each later than the last"
        ends = [item.node for item in seen.publishers.get(want.topic, ())]
        if len(ends) > 1:
            text += f"; {len(ends)} publish it: {', '.join(sorted(ends))}"
            line = f"stop one of {', '.join(sorted(ends))}, or remap it"
        else:
            line = "let the driver stamp each frame with its capture (not a bag that starts again)"
        explains = ("TIME_JUMP", "BAD_IMAGES", "ODOMETRY_JUMP", "UNSYNCHRONISED", "NO_IMAGES")
        yield Finding("TIME_JUMP", want.topic, text, line, explains)


def check_rig(seen: Seen) -> Iterator[Finding]:
    """Cameras of one rig: frames that do not come together, other rates, jitter."""
    rig = {
        camera.name: hearing
        for camera in seen.params.topics
        if (hearing := seen.frames_of(camera.name)) is not None and len(hearing.marks) >= _FEW
    }
    judged = {finding.about for check in (check_stamps, check_skew) for finding in check(seen)}
    if len(rig) < 2 or judged & {hearing.topic for hearing in rig.values()}:
        return
    yield from _jitter(rig)
    if all(is_placed(seen, name, base_of(seen)) for name in rig):
        return  # a rigid rig takes frames of other instants
    periods = {name: hearing.period_s for name, hearing in rig.items()}
    slow, fast = max(periods, key=periods.__getitem__), min(periods, key=periods.__getitem__)
    if periods[slow] > _APART * periods[fast]:
        yield Finding(
            "RIG_RATES",
            slow,
            f"{fast} delivers {1 / periods[fast]:.1f} Hz, {slow} {1 / periods[slow]:.1f} Hz: most "
            f"frames of {fast} have no partner and are dropped",
            f"set the drivers of {fast} and {slow} to one rate, or give {fast}.extrinsics and "
            f"{slow}.extrinsics",
            ("UNSYNCHRONISED",),
            periods[slow],
        )
        return
    yield from _apart(seen, rig)


def _jitter(rig: dict[str, Hearing]) -> Iterator[Finding]:
    for name, hearing in rig.items():
        period = hearing.period_s
        off = sorted(abs(step / NS - period) for step in hearing.steps_ns)
        tenth = off[max(0, len(off) - 1 - len(off) // 10)] if off else 0.0
        if period and tenth > _JITTER * period:
            yield Finding(
                "RIG_JITTER",
                name,
                f"its period is {1e3 * period:.0f} ms, and a tenth of its frames is "
                f"{1e3 * tenth:.0f} ms or more off: its partners do not meet it",
                f"a fixed frame rate and exposure in the driver of {name}, or a hardware trigger",
                ("UNSYNCHRONISED",),
                tenth,
            )


def _apart(seen: Seen, rig: dict[str, Hearing]) -> Iterator[Finding]:
    """What the node's own synchroniser makes of the stamps."""
    dropped: list[int] = []
    sync = Synchroniser(list(rig), seen.params.sync, lambda _, count: dropped.append(count))
    arrivals = sorted(
        (mark.stamp_ns, name) for name, hearing in rig.items() for mark in hearing.marks
    )
    moments = 0
    for stamp_ns, name in arrivals:
        found = sync.add(
            Arrival(name, stamp_ns, name, None, _NO_PIXELS, (1, 1), stamp_ns), frozenset()
        )
        moments += bool(found)
    if 2 * moments >= min(len(hearing.marks) for hearing in rig.values()):
        return
    wanted_s = sync.pairing_tolerance_s
    line = f"sync.tolerance_s: {wanted_s:g}" if wanted_s else "synchronise the cameras' clocks"
    yield Finding(
        "UNSYNCHRONISED", ", ".join(rig), sync.explain(), line,
        margin_s=max(wanted_s, *(hearing.period_s for hearing in rig.values())),
    )  # fmt: skip
