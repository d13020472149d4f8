"""What decides whether a built thing may be used again: the key of an entry of the cache.

An engine is bound to the graph it was compiled from, to the TensorRT that compiled it, to the
GPU and driver that it was tuned on, and to what was asked of the builder. A change of any of
them is another key, so the cache misses and the engine is built anew. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import ClassVar

__all__ = ["CacheKey", "EngineKey", "ExportKey"]


@dataclass(frozen=True)
class CacheKey:
    """Facts in words; two keys are the same when all of them are."""

    kind: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            words = value if isinstance(value, tuple) else (value,)
            if not all(isinstance(word, str) for word in words):
                raise ValueError(f"{field.name} of a cache key is {value!r}, expected text")

    def as_json(self) -> dict[str, object]:
        """The facts by name, `kind` among them; tuples as lists."""
        named = asdict(self)
        return {"kind": self.kind} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in named.items()
        }

    @property
    def digest(self) -> str:
        """32 hexadecimal digits that stand for all facts: the name of the entry's folder."""
        text = json.dumps(self.as_json(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def differences(self, other: Mapping[str, object]) -> tuple[str, ...]:
        """Where the facts of an entry are not these, in words.

        Args:
            other: `as_json()` of the key that the entry was built under.

        Returns:
            One text per fact, "name: built with X, here is Y"; empty where all agree.
        """
        mine = self.as_json()
        return tuple(
            f"{name}: built with {other.get(name)!r}, here is {mine.get(name)!r}"
            for name in sorted({*mine, *other})
            if mine.get(name) != other.get(name)
        )


@dataclass(frozen=True)
class EngineKey(CacheKey):
    """What an engine is bound to.

    Args:
        source: SHA-256 of the exported folder that it was compiled from.
        builder: Python module of the TensorRT, "tensorrt" or "tensorrt_rtx".
        builder_version: As that module says, all its parts.
        gpu: Name of the device, "" for an engine that was compiled ahead for `targets`.
        compute_capability: Of that device, "8.7"; for one compiled ahead its targets in
            alphabetical order, "sm86,sm89".
        driver: Version of the device's driver, "" for one compiled ahead.
        precision: Of the exported graphs, "fp32" or "fp16".
        profile: Range of input sizes, as the profile writes itself.
        flags: What else was asked of the builder, in alphabetical order.
    """

    kind: ClassVar[str] = "engine"

    source: str
    builder: str
    builder_version: str
    gpu: str
    compute_capability: str
    driver: str
    precision: str
    profile: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExportKey(CacheKey):
    """What an automatic ONNX export of a model is bound to.

    Args:
        source: SHA-256 over the files of the model folder.
        exporter_version: Changes with whatever changes the exported graphs.
        precision: "fp32" or "fp16".
        opset: "18" or "23".
        parts: In alphabetical order.
        flags: What else was asked of the exporter, in alphabetical order.
    """

    kind: ClassVar[str] = "export"

    source: str
    exporter_version: str
    precision: str
    opset: str
    parts: tuple[str, ...]
    flags: tuple[str, ...] = ()
