# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The example of docs/model.md runs as it stands there."""

from __future__ import annotations

import re

import pytest

from tests.helpers import REPO


def test_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (REPO / "docs" / "model.md").read_text(encoding="utf-8")
    examples = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(examples) == 1
    exec(compile(examples[0], "docs/model.md", "exec"), {})
    assert capsys.readouterr().out == ("torch.Size([1, 2, 84, 112, 3]) torch.Size([1, 2, 4, 4])\n")
