# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the store keeps, and what it removes: old entries, remains of builds, digests of files."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from g2vlm_model.runtimes.store import ExportKey, Store
from g2vlm_model.runtimes.vouched import file_sha256

from .test_store import KEY, build


@pytest.fixture
def cache(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def test_the_entries_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G2VLM_CACHE_ENTRIES", "2")
    cache = Store.open(tmp_path / "cache")
    keys = [dataclasses.replace(KEY, driver=str(number)) for number in range(4)]
    for age, key in enumerate(keys[:2]):
        os.utime(build(cache, key), (age, age))
    assert cache.lookup(keys[0]) is not None  # used: the other one is older now
    build(cache, keys[2])
    with cache.building(ExportKey("a", "1", "fp16", "18", ("geometry",))) as building:
        building.commit()  # another kind
    left = [cache.lookup(key) is not None for key in keys]
    assert left == [True, False, True, False]
    assert not list((cache.root / "building").iterdir())
    for wrong in ("0", "many"):
        monkeypatch.setenv("G2VLM_CACHE_ENTRIES", wrong)
        with pytest.raises(ValueError, match=f"G2VLM_CACHE_ENTRIES is '{wrong}', expected a whole"):
            Store.open(tmp_path / "cache")


def test_remains_of_killed_builds_go_when_the_cache_is_opened(cache: Store) -> None:
    """Whatever is built next, and never those of a build that goes on."""
    for name in (f"{KEY.digest}.left", f".{KEY.digest}.hidden"):
        (cache.root / "building" / name).mkdir()
    other = dataclasses.replace(KEY, gpu="another")
    with cache.building(other) as building:
        Store.open(cache.root)
        assert [path.name for path in (cache.root / "building").iterdir()] == [building.folder.name]


def test_strangers_in_the_cache_hide_nothing(cache: Store) -> None:
    """Files and folders that nobody of this project made, with the longest names there are."""
    build(cache)
    for place in ("entries", "building", "locks", "damaged"):
        for name in ("stray", "n" * 255):
            (cache.root / place / name).write_text("x")
        (cache.root / place / "folder" / "deep").mkdir(parents=True)
    again = Store.open(cache.root)
    assert list((cache.root / "building").iterdir()) == []
    assert again.lookup(KEY) is not None
    assert len(again.find("engine")) == 1
    build(again, dataclasses.replace(KEY, gpu="another"))
    assert len(again.find("engine")) == 2


def test_a_file_is_hashed_once_per_state(cache: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = cache.root.parent / "model.safetensors"
    weights.write_bytes(b"one")
    assert cache.sha256(weights, known_only=True) == ""
    digest = cache.sha256(weights)
    assert digest == file_sha256(weights)
    monkeypatch.setattr("g2vlm_model.runtimes.store.file_sha256", lambda path: "read again")
    assert Store.open(cache.root).sha256(weights, known_only=True) == digest  # in another process
    weights.write_bytes(b"two and more")
    assert cache.sha256(weights, known_only=True) == ""
    assert cache.sha256(weights) == "read again"
    (cache.root / "digests.json").write_text("[]")
    assert cache.sha256(weights) == "read again"
