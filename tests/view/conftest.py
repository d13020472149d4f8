# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Fixtures of the view's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.view.viewed import Viewed


@pytest.fixture(scope="session")
def viewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewed]:
    """Six frames, played; tests leave it without marks."""
    with Viewed(tmp_path_factory.mktemp("view")) as one:
        yield one.played()
