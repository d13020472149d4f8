# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""YAML that somebody else wrote, as `g2vlm_model.interface.documents` reads JSON."""

from __future__ import annotations

from typing import Any

import yaml

from g2vlm_model.interface.documents import MAX_DIGITS, check_size

__all__ = ["parse_yaml"]

_MAX_VALUES = 1_000_000  # of a document, whose aliases may multiply without end
_TEXT_CHARS = 300


def parse_yaml(text: str | bytes) -> Any:
    """Read YAML without tags of Python.

    Args:
        text: The document.

    Raises:
        ValueError: It is none, or holds what no file of this project needs.
    """
    check_size(text)
    try:
        document = yaml.safe_load(text)
        _check(document, [_MAX_VALUES])
    except RecursionError:
        raise ValueError("values are nested too deeply") from None
    except (yaml.YAMLError, OverflowError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(" ".join(str(error).split())[:_TEXT_CHARS]) from error
    except (LookupError, AttributeError) as error:  # PyYAML's, at `!!bool x` or `!!int ""`
        raise ValueError(f"a value is not what its tag says: {error!r:.80}") from error
    return document


def _check(value: Any, left: list[int]) -> None:
    """Refuse numbers that no float holds, and documents that aliases made endless."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"it holds more than {_MAX_VALUES} values")
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**MAX_DIGITS:
        raise ValueError(f"a number of more than {MAX_DIGITS} digits")
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key, left)
            _check(inner, left)
    elif isinstance(value, (list, tuple, set)):
        for inner in value:
            _check(inner, left)
