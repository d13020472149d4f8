# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What is known of each kind of source before it has said anything.

The numbers were chosen on the tuning drives of `benchmarks/scale.py` and are scored on others.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["KINDS", "PATH", "WEAK_SIGMA", "Kind"]

PATH = "_path"  # ends the name of the kind that chords by a sensor's depth are of
WEAK_SIGMA = 0.30  # of a weak source, until a strong one agrees with it


@dataclass(frozen=True)
class Kind:
    """What is known of a kind of source.

    Args:
        name: As in `ScaleReading.source`.
        measures: "trajectory" or "depth".
        bias_sigma: What its slow bias is believed to be before it was learnt: standard deviation
            of the log.
        floor: Standard deviation of what no number of readings averages out: a wheel's radius, an
            angle of the mount.
        weak: Sees one kind of surface, or rests on an assumption; never carries alone.
        said: A person said it: carries from the first reading on.
        drift: Standard deviation by which the log-scale wanders per keyframe.
        off: Of one that measures depth: standard deviation of the log of that depth's scale over
            the trajectory's, measured, see docs/map.md.
    """

    name: str
    measures: str
    bias_sigma: float
    floor: float
    weak: bool = False
    said: bool = False
    drift: float = 0.004
    off: float = 0.28

    @property
    def by_pictures(self) -> bool:
        """Whether it speaks through the camera's own depth or matches, as others of them do."""
        return self.measures == "depth" or self.name.endswith(PATH)


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("odometry", "trajectory", bias_sigma=0.15, floor=0.03),
        Kind("depth", "depth", bias_sigma=0.05, floor=0.02, drift=0.002, off=0.05),
        Kind("range", "depth", bias_sigma=0.30, floor=0.03),
        Kind("range_path", "trajectory", bias_sigma=0.15, floor=0.04),
        Kind("stereo", "depth", bias_sigma=0.30, floor=0.03),
        Kind("stereo_path", "trajectory", bias_sigma=0.15, floor=0.04),
        Kind("rig", "depth", bias_sigma=0.30, floor=0.04),
        Kind("rig_path", "trajectory", bias_sigma=0.15, floor=0.05),
        Kind("fiducial", "depth", bias_sigma=0.30, floor=0.03),
        Kind("fiducial_path", "trajectory", bias_sigma=0.20, floor=0.10),
        Kind("scan", "depth", bias_sigma=0.30, floor=0.10, weak=True),
        Kind("height", "depth", bias_sigma=0.30, floor=0.10, weak=True),
        Kind("length", "trajectory", bias_sigma=0.01, floor=0.03, said=True),
        Kind("fixed", "trajectory", bias_sigma=0.01, floor=0.01, said=True, drift=0.0),
        Kind("map", "trajectory", bias_sigma=0.01, floor=0.01, said=True, drift=0.0),
    )
}
