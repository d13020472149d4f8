# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Places that look alike are found, by either descriptor; the index forgets what is taken out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed

from g2vlm_map.mapping.features import find_features
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.mapping.places import PlaceIndex, candidates, place_vectors, words_vector
from tests.helpers import REPO

SIZE_HW = (240, 320)


def unit(rng: np.random.Generator, size: int) -> np.ndarray:
    vector: np.ndarray = rng.normal(size=size)
    return np.asarray(vector / np.linalg.norm(vector), np.float16)


def descriptors(rng: np.random.Generator, count: int, width: int = 128) -> np.ndarray:
    return rng.integers(0, 256, (count, width), dtype=np.uint8)


@pytest.mark.parametrize(("width", "size"), [(128, 4096), (32, 8192)], ids=["sift", "orb"])
def test_words_are_of_unit_length_and_know_no_order(width: int, size: int) -> None:
    rng = np.random.default_rng(0)
    found = descriptors(rng, 300, width)
    vector = words_vector(found)
    assert vector is not None
    assert vector.shape == (size,)
    assert vector.dtype == np.float16
    assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=2e-3)
    shuffled = words_vector(rng.permutation(found))
    assert shuffled is not None
    np.testing.assert_allclose(shuffled, vector, atol=1e-3)


def test_a_covered_camera_is_no_place() -> None:
    black = np.zeros((*SIZE_HW, 3), np.uint8)
    found = find_features(black, FeatureOptions())
    assert place_vectors(found.descriptor_FE, None) == {}
    assert place_vectors(found.descriptor_FE, np.full(8, np.nan)) == {}
    assert place_vectors(found.descriptor_FE, np.zeros(8)) == {}


@pytest.mark.parametrize("detector", ["sift", "orb"])
def test_a_room_looks_like_itself_more_than_like_other_rooms(detector: str) -> None:
    """Rooms of the test split, seen again from 0.3 m aside."""
    index = PlaceIndex()
    K, options = intrinsics(65.0, SIZE_HW), FeatureOptions(detector=detector)
    again = []
    for number in range(4):
        room = make_room(scene_seed("test", number), "indoor")
        path = camera_path(room, 1, 2, "hand", step=0.3, turn_deg=8.0)
        first, second = (
            words_vector(find_features(picture, options).descriptor_FE)
            for picture in render(room, path, K, SIZE_HW).rgb
        )
        assert first is not None
        assert second is not None
        index.add(number, first)
        again.append(second)
    found = [index.search(vector, 1)[0][0] for vector in again]
    assert found == list(range(4))


def test_the_index_finds_what_a_full_search_finds() -> None:
    rng = np.random.default_rng(1)
    index = PlaceIndex()
    known: dict[int, np.ndarray] = {}
    for step in range(3000):
        if known and rng.random() < 0.4:
            number = int(rng.choice(list(known)))
            index.remove(number)
            del known[number]
        else:
            known[step] = unit(rng, 16)
            index.add(step, known[step])
    assert len(index) == len(known) > 300
    wanted = unit(rng, 16)
    allowed = {number for number in known if number % 3}
    alike = {n: float(known[n].astype(np.float32) @ wanted.astype(np.float32)) for n in allowed}
    expected = sorted(allowed, key=lambda number: -alike[number])[:7]
    found = index.search(wanted, 7, allowed=allowed)
    assert [number for number, _ in found] == expected
    assert [likeness for _, likeness in found] == pytest.approx([alike[n] for n in expected])
    without = set(expected[:2])
    found = index.search(wanted, 5, without, allowed)
    assert [number for number, _ in found] == expected[2:]
    index.remove(10**9)
    assert index.search(wanted, 7, allowed=()) == []


def test_candidates_are_the_union_of_what_each_descriptor_finds() -> None:
    rng = np.random.default_rng(2)
    indices = {"words": PlaceIndex(), "tokens": PlaceIndex()}
    wanted = {"words": unit(rng, 32), "tokens": unit(rng, 8)}
    for number in range(20):
        indices["words"].add(number, unit(rng, 32))
        if number != 3:
            indices["tokens"].add(number, unit(rng, 8))
    indices["words"].add(20, wanted["words"])
    indices["tokens"].add(20, unit(rng, 8))
    indices["tokens"].add(21, wanted["tokens"])
    found = candidates(indices, wanted, top=2)
    assert set(found[:2]) == {20, 21}
    assert len(found) == len(set(found)) <= 4
    assert candidates(indices, {}, top=2) == []
    assert candidates(indices, {"words": wanted["words"]}, top=1) == [20]


@pytest.mark.slow
def test_the_vocabulary_is_made_by_its_command() -> None:
    command = [sys.executable, "scripts/write_place_words.py", "--check"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
