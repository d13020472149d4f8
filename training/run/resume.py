# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What may differ when a run is continued: nothing that changes its weights, unless it is named."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["BASE", "FREE", "Difference", "check_same_run", "differences"]

BASE = "base"
FREE = (
    "accumulate", "bad_steps", "compile", "eval_steps", "eval_windows", "log_steps", "parallel",
    "peak_tflops", "recompute", "save_minutes", "save_steps", "validation", "workers",
)  # fmt: skip
"""Keys of a config that change no weight of a run: periods, limits, and how memory is spent."""

Difference = tuple[str, Any, Any]
"""Dotted key, what was, what is."""
_ABSENT = "nothing"


def check_same_run(
    checkpoint: Path,
    was: Mapping[str, Any],
    now: Mapping[str, Any],
    allowed: Collection[str] = (),
) -> dict[str, list[Any]]:
    """Refuse to continue another run than the one that a checkpoint is of.

    Args:
        checkpoint: Named in errors.
        was: What it says: "base" (`start.Base` as a dict) and the keys of its config.
        now: The same of this command.
        allowed: Dotted keys, or beginnings of them, that may differ; "base" is the weights and
            the vocabulary that the run began with.

    Returns:
        What differs by key, as [was, is].

    Raises:
        ValueError: A difference that is not allowed, or an allowed key that does not exist.
    """
    old, new = dict(was), dict(now)
    bases = [side.pop(BASE, None) or {} for side in (old, new)]
    known = {BASE, *(key for side in (old, new) for key, _ in _leaves(side))}
    for name in allowed:
        if not any(_within(key, name) for key in known):
            raise ValueError(f"--allow-change {name}: expected some of {sorted(known)}")
    found = [one for one in differences(old, new) if one[0] not in FREE]
    if bases[0].get("digest") != bases[1].get("digest"):
        found.append((BASE, bases[0] or _ABSENT, bases[1]))
    refused = [one for one in found if not any(_within(one[0], name) for name in allowed)]
    if refused:
        lines = [f"{checkpoint} is of another run than this command:"]
        lines += [
            f"{key} was {_shown(before)}, is {_shown(after)}" for key, before, after in refused
        ]
        if not bases[0] and any(key == BASE for key, *_ in refused):
            lines.append("it was written before checkpoints said what their run began with")
        keys = " ".join(key for key, *_ in refused)
        lines.append(
            f"give what the run began with, or another --out; if it is meant: --allow-change {keys}"
        )
        raise ValueError("\n  ".join(lines))
    return {key: [before, after] for key, before, after in found}


def differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> list[Difference]:
    """Leaves of two trees of plain values that differ, in the order of their keys."""
    old, new = dict(_leaves(was)), dict(_leaves(now))
    return [
        (key, old.get(key, _ABSENT), new.get(key, _ABSENT))
        for key in sorted({*old, *new})
        if key not in old or key not in new or old[key] != new[key]
    ]


def _leaves(tree: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{key}.")
        else:
            yield above + key, value


def _within(key: str, name: str) -> bool:
    return key == name or key.startswith(f"{name}.")


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        sources = value.get("sources", {})
        return ", ".join(f"{count} tensors {source}" for source, count in sources.items())
    return repr(value) if value != _ABSENT else _ABSENT
