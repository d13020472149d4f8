# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A map file gives back what went in, or says why not; nothing half written is ever found."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from g2vlm_map.mapping.keyframe import View
from g2vlm_map.mapping.store import VERSION, MapContent, MapFileError, load_map, save_map
from g2vlm_map.world import World
from tests.helpers import full_disk

from .worlds import random_view, random_world

MODEL, DETECTOR = "nano-12345678", "sift"


def content(seed: int = 0, keyframes: int = 5) -> MapContent:
    return MapContent(MODEL, DETECTOR, "words-1", random_world(seed, keyframes))


def load(path: Path, **changes: Any) -> MapContent:
    return load_map(path, **{"model_id": MODEL, "detector": DETECTOR, **changes})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "room.g2map"
    save_map(path, content())
    return path


def assert_same(left: Any, right: Any, where: str = "content") -> None:
    """Equal in every field, arrays to the last bit and of one type."""
    assert type(left) is type(right), where
    if dataclasses.is_dataclass(left):
        for item in dataclasses.fields(left):
            name = f"{where}.{item.name}"
            assert_same(getattr(left, item.name), getattr(right, item.name), name)
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype, where
        np.testing.assert_array_equal(left, right, err_msg=where)
    elif isinstance(left, tuple | list):
        assert len(left) == len(right), where
        for k, (one, other) in enumerate(zip(left, right, strict=True)):
            assert_same(one, other, f"{where}[{k}]")
    elif isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_same(left[key], right[key], f"{where}[{key!r}]")
    else:
        assert left == right or (left != left and right != right), where


def test_a_map_comes_back_to_the_last_bit(saved: Path) -> None:
    assert_same(content(), load(saved))
    assert os.listdir(saved.parent) == [saved.name]


def test_equal_maps_make_equal_files(saved: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    assert save_map(again, content()) == saved.stat().st_size
    assert again.read_bytes() == saved.read_bytes()


def test_an_empty_map_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    save_map(path, MapContent(MODEL, DETECTOR, "", World()))
    assert_same(MapContent(MODEL, DETECTOR, "", World()), load(path))


def test_numpy_reads_its_arrays_without_pickle(saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as arrays:
        assert arrays["keyframe_T_map_body"].shape == (5, 4, 4)


def test_a_map_of_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(MapFileError, match="'nano-12345678', 'g2vlm-2b-0' runs"):
        load(saved, model_id="g2vlm-2b-0")


def test_a_map_of_other_features_is_refused(saved: Path) -> None:
    with pytest.raises(MapFileError, match="features of 'sift', 'orb' is in use"):
        load(saved, detector="orb")


def live_view(**changes: Any) -> View:
    return dataclasses.replace(random_view(np.random.default_rng(1), 3), **changes)


def test_a_map_of_this_camera_is_taken_whatever_the_size_of_its_frames(saved: Path) -> None:
    half = live_view(image_hw=(24, 32))
    assert load(saved, cameras={"camera": live_view()}).world.version == 7
    assert load(saved, cameras={"camera": half}).world.version == 7


@pytest.mark.parametrize(
    ("name", "live", "said"),
    [
        ("left", live_view(), "none of them is 'left'"),
        ("camera", live_view(K=live_view().K * [[1.2], [1.2], [1]]), "another camera 'camera'"),
        ("camera", live_view(image_hw=(64, 64)), "another camera|frames of 64x48"),
    ],
)
def test_a_map_of_another_camera_is_refused(saved: Path, name: str, live: View, said: str) -> None:
    with pytest.raises(MapFileError, match=said):
        load(saved, cameras={name: live})


def test_a_file_that_is_cut_off_is_refused_wherever_it_ends(saved: Path, tmp_path: Path) -> None:
    whole = saved.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 100, len(whole) - 1):
        cut = tmp_path / f"cut-{length}"
        cut.write_bytes(whole[:length])
        with pytest.raises(MapFileError, match=r"cut off|damaged"):
            load(cut)


def test_a_flipped_bit_is_found_wherever_it_is(saved: Path, tmp_path: Path) -> None:
    whole = bytearray(saved.read_bytes())
    flipped = tmp_path / "flipped"
    rng = np.random.default_rng(3)
    with zipfile.ZipFile(saved) as archive:
        spans = [(i.header_offset + 200, i.file_size) for i in archive.infolist()]
    for start, size in spans:
        if size < 400:
            continue
        place = start + int(rng.integers(0, size - 300))
        whole[place] ^= 0x10
        flipped.write_bytes(whole)
        with pytest.raises(MapFileError):
            load(flipped)
        whole[place] ^= 0x10


def rewritten(saved: Path, change: Any, arrays: dict[str, np.ndarray] | None = None) -> Path:
    """The file with a changed header and changed arrays."""
    path = saved.with_name("changed")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            data = old.read(info)
            if info.filename == "header.json":
                header = json.loads(data)
                change(header)
                data = json.dumps(header).encode()
            name = info.filename.removesuffix(".npy")
            if arrays and name in arrays:
                raw = io.BytesIO()
                np.lib.format.write_array(raw, arrays[name], (1, 0))
                data = raw.getvalue()
            new.writestr(info.filename, data)
    return path


def keep(header: dict[str, Any]) -> None:
    pass


def test_a_later_version_is_refused(saved: Path) -> None:
    path = rewritten(saved, lambda header: header.update(version=VERSION + 1))
    with pytest.raises(MapFileError, match=f"version {VERSION + 1} .* reads {VERSION}"):
        load(path)


def test_a_map_of_the_version_before_has_its_depths_in_the_units_of_their_segments(
    saved: Path,
) -> None:
    path = rewritten(saved, lambda header: header.update(version=2))
    assert {one.log_depth_centre for one in load(path).world.keyframes} == {0.0}


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something else"},
        {"keyframes": 10**12},
        {"keyframes": -1},
        {"keyframes": 4},
        {"views": 10**15},
        {"edges": 3},
        {"edges": True},
        {"keys": []},
        {"places": {"words": [5, 2**40]}},
        {"places": {"words": [2**40, 32]}},
        {"places": {"../../words": [5, 32]}},
        {"places": []},
        {"scale": {"log_scale": "big"}},
        {"scale": None},
        {"T_level_map": [[0.0] * 4] * 4},
        {"T_level_map": "up"},
        {"view_texts": [["camera", "x"]]},
        {"map_version": None},
    ],
    ids=str,
)
def test_impossible_headers_are_refused(saved: Path, change: dict[str, Any]) -> None:
    with pytest.raises(MapFileError):
        load(rewritten(saved, lambda header: header.update(change)))


def _with(array: np.ndarray, index: Any, value: Any) -> np.ndarray:
    changed: np.ndarray = array.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("name", "index", "value"),
    [
        ("keyframe_T_map_body", (0, 0, 3), np.nan),
        ("keyframe_T_map_body", (0, 0, 0), 5.0),
        # Its product with itself is infinite, and NaN where infinities meet.
        ("keyframe_T_map_body", (0, slice(2), slice(2)), [[1e200, 1e200], [1e200, -1e200]]),
        ("keyframe_integers", (0, 0), -4),
        ("keyframe_integers", (0, 3), 1000),
        ("keyframe_log_depth_scale", 1, np.inf),
        ("edge_integers", (0, 1), 999),
        ("edge_integers", (0, 2), 77),
        ("edge_sigmas", (0, 0), np.nan),
        ("edge_sigmas", (0, 1), -1.0),
        ("view_integers", (0, 1), 2**40),
        ("view_integers", (0, 5), -5),
        ("view_K", (0, 0, 0), -3.0),
        ("place_words_keyframes", 0, 50),
    ],
)
def test_impossible_numbers_are_refused(saved: Path, name: str, index: Any, value: Any) -> None:
    with np.load(saved) as arrays:
        changed = _with(arrays[name], index, value)
    with pytest.raises(MapFileError):
        load(rewritten(saved, keep, {name: changed}))


def test_an_array_that_claims_to_be_huge_costs_no_memory(saved: Path) -> None:
    """The size is compared with the member's before anything is allocated."""
    raw = io.BytesIO()
    fields = {"descr": "<i8", "fortran_order": False, "shape": (10**15, 4)}
    np.lib.format.write_array_header_1_0(raw, fields)
    path = saved.with_name("huge")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            huge = info.filename == "keyframe_integers.npy"
            new.writestr(info.filename, raw.getvalue() if huge else old.read(info))
    with pytest.raises(MapFileError, match=r"keyframe_integers is int64 .1000000000000000, 4."):
        load(path)


def test_compressed_members_are_refused(saved: Path) -> None:
    path = saved.with_name("bomb")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(MapFileError, match=r"compressed|more than it has"):
        load(path)


def test_pickles_are_refused_and_not_run(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    raw = io.BytesIO()
    np.lib.format.write_array(raw, np.array([Trap()], object), (1, 0), allow_pickle=True)
    path = saved.with_name("trap")
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for info in old.infolist():
            trap = info.filename == "keyframe_log_depth_scale.npy"
            new.writestr(info.filename, raw.getvalue() if trap else old.read(info))
    with pytest.raises(MapFileError):
        load(path)
    (tmp_path / "pickle").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(MapFileError):
        load(tmp_path / "pickle")
    assert not (tmp_path / "sprung").exists()


def test_no_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(MapFileError, match="could not be read"):
            load(path)


@pytest.mark.parametrize("room", [0, 4096, 20000])
def test_a_full_disk_leaves_the_earlier_map(saved: Path, room: int) -> None:
    before = saved.read_bytes()
    with pytest.raises(MapFileError, match=r"could not be written.*unharmed"), full_disk(room):
        save_map(saved, content(seed=5))
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name], "a part of a file stayed"


def test_a_disk_that_fails_at_the_last_moment_leaves_the_earlier_map(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    before = saved.read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MapFileError, match="No space left on device"):
        save_map(saved, content(seed=5))
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_no_folder_to_write_into_is_said(tmp_path: Path) -> None:
    with pytest.raises(MapFileError, match="could not be written: No such file"):
        save_map(tmp_path / "missing" / "room", content())
