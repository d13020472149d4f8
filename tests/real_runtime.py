# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Which runtime serves the tests that run the embedded model through the node.

`pytest --runtime onnx` runs all of them with that one; without it those that take the fixture
`every_runtime` run with each of `DEFAULT`, those that take `other_runtime` with all but torch, the
others with torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["DEFAULT", "NAMES", "RealRuntime", "choose", "find"]

NAMES = ("torch", "onnx", "tensorrt", "auto")
DEFAULT = ("torch", "onnx")
FIXTURES = {"every_runtime": DEFAULT, "real_runtime": DEFAULT[:1], "other_runtime": DEFAULT[1:]}


@dataclass(frozen=True)
class RealRuntime:
    """A runtime of the node.

    Args:
        name: Its name in the parameter `runtime`.
        export: Its export; None where it needs none.
    """

    name: str
    export: Path | None

    @property
    def parameters(self) -> dict[str, str]:
        """The node's parameters."""
        return {"runtime": self.name} | ({"export": str(self.export)} if self.export else {})

    @property
    def options(self) -> tuple[str, ...]:
        """The same for `g2vlm replay`."""
        return tuple(
            word for name, value in self.parameters.items() for word in (f"--{name}", value)
        )


def choose(metafunc: pytest.Metafunc) -> None:
    """Give a test its runtimes; for `pytest_generate_tests`."""
    asked = metafunc.config.getoption("--runtime")
    for fixture, usual in FIXTURES.items():
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, [asked] if asked else usual, indirect=True)


def find(request: pytest.FixtureRequest) -> RealRuntime:
    """The runtime that a test was given, its export made where it needs one."""
    name = request.param
    export = None if name in ("torch", "auto") else request.getfixturevalue("nano_export")
    return RealRuntime(name, export)
