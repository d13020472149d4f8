# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fixtures of the map's tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.map.bench import Bench, Make


@pytest.fixture
def bench() -> Iterator[Make]:
    made: list[Bench] = []

    def make(*arguments: Any, **options: Any) -> Bench:
        made.append(Bench(*arguments, **options))
        return made[-1]

    yield make
    for one in made:
        one.runtime.observe_gate.set()
        one.runtime.ask_gate.set()
        one.pipeline.stop()
