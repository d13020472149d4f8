# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Published benchmarks of spatial questions: readers, scorers, tables, and what asks a model."""

from __future__ import annotations

from .base import Benchmark
from .mindcube import MINDCUBE
from .omnispatial import OMNISPATIAL
from .ost import OST
from .spar import SPAR
from .vsi import VSI

__all__ = ["BENCHMARKS"]

BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark for benchmark in (SPAR, MINDCUBE, OST, OMNISPATIAL, VSI)
}
