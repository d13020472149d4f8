# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Reads the config of a run: a YAML file of `configs/`, and changes from the command line.

pydantic checks every value against the types of the dataclasses, without converting any but whole
numbers to floats, and calls their `__post_init__`, which checks ranges.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from g2vlm_model.config import ModelConfig

from .config import TrainConfig

__all__ = [
    "CONFIG_FOLDER",
    "PRESETS",
    "config_of",
    "load_config",
    "merged",
    "read_yaml",
    "without_constants",
]

CONFIG_FOLDER = Path(__file__).parent / "configs"
PRESETS = {"nano": ModelConfig.nano, "g2vlm_2b": ModelConfig.g2vlm_2b}
_SHOWN = 60
# Options that nothing ever set are constants now; configs and runs from before may name the value.
_CONSTANT: dict[str, dict[str, object]] = {
    "views": {"multiple": 14, "spread": 30, "stratified": 0.5, "whole": 0.1},
    "gasp": {"visibility": "exact"},
    "lora": {"scale": 1.0, "dropout": 0.0},
}
# YAML 1.1 takes 1e-4 for a word; 1.2, which is what people write, for a number.
_FLOAT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$")


def load_config(name: str, changes: Sequence[str] = ()) -> TrainConfig:
    """Read a config by name (`configs/NAME.yaml`) or path.

    Args:
        name: Of a shipped config, or a file; what it `extends` is read first.
        changes: Of single values, as the command line has them: "lr=3e-5",
            "model.text.num_hidden_layers=2"; the value is YAML.

    Raises:
        FileNotFoundError: There is none.
        ValueError: Unknown key, or a value of the wrong type or out of range.
    """
    path = Path(name)
    if not path.is_file():
        path = CONFIG_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = sorted(item.stem for item in CONFIG_FOLDER.glob("*.yaml"))
        raise FileNotFoundError(f"no config {name!r}; shipped ones are {known}, or give a file")
    content = _content_of(path)
    if changes and isinstance(content, dict):
        for change in changes:
            content = merged(content, _tree_of(change))
    return config_of(content, " ".join((str(path), *changes)))


def _content_of(path: Path, above: tuple[Path, ...] = ()) -> Any:
    """A file's keys over those of the config that it `extends`, by name or by path beside it."""
    content = read_yaml(path.read_text(encoding="utf-8"), str(path))
    if not isinstance(content, dict) or "extends" not in content:
        return {} if content is None else content
    name = content.pop("extends")
    found = [
        one for one in (path.parent / str(name), CONFIG_FOLDER / f"{name}.yaml") if one.is_file()
    ]
    if not found or found[0].resolve() in above:
        raise ValueError(
            f"{path}: extends is {name!r}, expected another config, by its name or a file's"
        )
    below = _content_of(found[0], (*above, path.resolve()))
    return merged(below, content) if isinstance(below, dict) else below


def config_of(content: Any, where: str) -> TrainConfig:
    """Build a config from the content of a file.

    Args:
        content: Keys and values; `preset` names what `model` starts from.
        where: Named in errors.

    Raises:
        ValueError: Unknown key, or a value of the wrong type or out of range.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected keys and values, got {type(content).__name__}")
    changes = without_constants(content)
    preset = changes.pop("preset", "nano")
    if preset not in PRESETS:
        raise ValueError(f"{where}: preset is {preset!r}, expected one of {sorted(PRESETS)}")
    defaults = dataclasses.asdict(TrainConfig(model=PRESETS[preset]()))
    # As JSON, where a list may become a tuple; what JSON has no word for becomes a string.
    text = json.dumps(merged(defaults, changes), default=str)
    try:
        return TypeAdapter(TrainConfig).validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        said = [_described(problem, defaults) for problem in error.errors()]
        raise ValueError("\n  ".join((f"{where}: {said[0]}", *said[1:]))) from None


def without_constants(content: Mapping[str, Any]) -> dict[str, Any]:
    """Content of a file or a checkpoint without what became a constant and says its very value."""
    found = dict(content)
    for part, constants in _CONSTANT.items():
        if isinstance(found.get(part), Mapping):
            said = found[part].items()
            found[part] = {key: value for key, value in said if constants.get(key) != value}
    return found


def read_yaml(text: str, where: str) -> Any:
    """The content of a YAML text, in which 1e-4 is a number.

    Raises:
        ValueError: No YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        pass

    Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+.0123456789"))
    try:
        return yaml.load(text, Loader)
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"{where} is no YAML: {said}") from None


def merged(low: dict[str, Any], high: dict[str, Any]) -> dict[str, Any]:
    """Both trees, the second one's leaves where both have one."""
    both = copy.deepcopy(low)
    for key, value in high.items():
        if isinstance(value, dict) and isinstance(both.get(key), dict):
            both[key] = merged(both[key], value)
        else:
            both[key] = copy.deepcopy(value)
    return both


def _tree_of(change: str) -> dict[str, Any]:
    """{"a": {"b": value}} of "a.b=value"."""
    name, equals, text = change.partition("=")
    if not equals or not all(name.split(".")):
        raise ValueError(f"a change is {change!r}, expected NAME=VALUE such as loss.clip=20")
    tree = read_yaml(text, change)
    for key in reversed(name.split(".")):
        tree = {key: tree}
    assert isinstance(tree, dict)
    return tree


def _described(problem: Mapping[str, Any], defaults: dict[str, Any]) -> str:
    """One of pydantic's problems in the words of every other refused option."""
    name = ".".join(map(str, problem["loc"]))
    if problem["type"] == "value_error":
        said = str(problem["ctx"]["error"])
        return said if not name or said.startswith(f"{name}: ") else f"{name}: {said}"
    if problem["type"] == "unexpected_keyword_argument":
        known = sorted(_keys_beside(problem["loc"], defaults))
        near = difflib.get_close_matches(str(problem["loc"][-1]), known, 1)
        meant = f"; did you mean {'.'.join([*name.split('.')[:-1], *near])}?" if near else ""
        return f"unknown key {name}, expected some of {known}{meant}"
    got = repr(problem["input"])
    got = got if len(got) <= _SHOWN else got[:_SHOWN] + " ..."
    if problem["type"] == "missing":
        return f"{name} is missing: the list is {got}"
    said = problem["msg"].replace("Input should be", "expected")
    return f"{name} is {got}, {said[0].lower()}{said[1:]}"


def _keys_beside(place: Iterable[int | str], defaults: dict[str, Any]) -> list[str]:
    """Names that the defaults have where an unknown one was found."""
    tree: Any = defaults
    for key in list(place)[:-1]:
        tree = tree[0] if isinstance(key, int) else tree[key]
    return list(tree)
