# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""JSON, YAML and arrays of others: data, or a ValueError in words."""

from __future__ import annotations

import io
import math

import pytest

from g2vlm_map.documents import parse_yaml
from g2vlm_model.interface.documents import parse_json
from g2vlm_model.interface.npy import read_npy_header


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
        ("1" * 5000, "5000 digits"),
        ("1e999", "no finite number"),
        ("[-1e999]", "no finite number"),
        ("NaN", "no finite number"),
        ("{", "Expecting"),
        (b"\xff\xfe{}", "decode"),
        ("", "Expecting"),
    ],
)
def test_json_that_is_refused(text: str | bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(text)


def test_json_that_is_asked_for_only() -> None:
    assert math.isnan(parse_json('{"a": NaN}', nan=True)["a"])
    with pytest.raises(ValueError, match="Infinity is no finite number"):
        parse_json("Infinity", nan=True)
    with pytest.raises(ValueError, match="it has 9 bytes, expected at most 8"):
        parse_json('"1234567"', 8)
    assert parse_json(b"\xef\xbb\xbf[1]") == [1]


def test_json_that_is_read() -> None:
    assert parse_json(b'{"a": [1, -2.5, 1e300, true, null, "x"]}') == {
        "a": [1, -2.5, 1e300, True, None, "x"]
    }
    assert parse_json(str(2**127)) == 2**127  # a generator's state


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        "a: " + "9" * 5000,
        "a: !!python/object/apply:os.system [ls]",
        "a: [",
        "\x00",
        "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"b{i}: &b{i} [{', '.join(['*b' + str(i - 1) if i else '*a'] * 10)}]\n"
                  for i in range(9)),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_yaml(text)


def test_yaml_that_is_read() -> None:
    assert parse_yaml("a: {b: [1, 2.5, x]}") == {"a": {"b": [1, 2.5, "x"]}}


def test_an_array_whose_header_is_long_is_refused_in_a_line() -> None:
    """Numpy says it in three, and how to have it unpickled."""
    file = io.BytesIO(b"\x93NUMPY\x01\x00" + (17_014).to_bytes(2, "little") + b" " * 17_014)
    with pytest.raises(ValueError, match=r"17014.* is large") as caught:
        read_npy_header(file)
    assert str(caught.value).isprintable()
    assert "pickle" not in str(caught.value)
