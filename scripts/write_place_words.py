# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Train the vocabulary of place descriptors on the project's own synthetic rooms.

Usage: python scripts/write_place_words.py [--rooms 60] [--views 4] [--check]

Renders rooms of the training split, takes the features that the map takes, and clusters each
detector's descriptors (k-means) into the words that `g2vlm_map.mapping.places` counts by. The
seeds stand in the file. With --check nothing is written; the exit code is 1 where another
vocabulary comes out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from g2vlm_training.synthetic import camera_path, intrinsics, make_room, render, scene_seed
from g2vlm_training.synthetic.paths import PathStyle
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2

from g2vlm_map.mapping.features import find_features, unit_vectors
from g2vlm_map.mapping.options import FeatureOptions
from g2vlm_map.mapping.places import WORDS_FILE

WORDS = 32
SEED = 12
SIZE_HW = (480, 640)
FOV_DEG = 65.0
STYLES: tuple[PathStyle, ...] = ("robot", "hand")
PER_PICTURE = 250  # descriptors of a picture that are clustered
DETECTORS = ("sift", "orb")


def pictures(rooms: int, views: int) -> Iterator[NDArray[np.uint8]]:
    """Photographs of rooms of the training split, some looked at from a robot, some by hand."""
    K = intrinsics(FOV_DEG, SIZE_HW)
    for index in range(rooms):
        room = make_room(scene_seed("train", 7919 * index), "indoor")
        style = STYLES[index % len(STYLES)]
        path = camera_path(room, SEED, views, style, step=0.5, turn_deg=40.0)
        yield from render(room, path, K, SIZE_HW).rgb


def vocabulary(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(WORDS, D) centres of descriptors (F, D)."""
    rng = np.random.default_rng(SEED)
    centres, _ = kmeans2(descriptors, WORDS, iter=30, minit="++", rng=rng)
    return np.asarray(centres, np.float32)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rooms", type=int, default=60)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    rng = np.random.default_rng(SEED)
    found: dict[str, list[NDArray[np.float32]]] = {name: [] for name in DETECTORS}
    for picture in pictures(given.rooms, given.views):
        for name in DETECTORS:
            kept = find_features(picture, FeatureOptions(detector=name)).descriptor_FE
            chosen = rng.permutation(len(kept))[:PER_PICTURE]
            found[name].append(unit_vectors(kept[chosen]))
    made = {name: vocabulary(np.concatenate(parts)) for name, parts in found.items()}
    seeds = np.array([SEED, given.rooms, given.views], np.int64)
    if given.check:
        with np.load(WORDS_FILE, allow_pickle=False) as old:
            same = all(np.allclose(old[name], made[name], atol=1e-4) for name in DETECTORS)
        print("the vocabulary is the same" if same else "another vocabulary comes out")
        return 0 if same else 1
    np.savez(WORDS_FILE, seed_rooms_views=seeds, **made)  # type: ignore[arg-type]
    print(f"{Path(WORDS_FILE).name}: {WORDS} words of {given.rooms * given.views} pictures")
    return 0


if __name__ == "__main__":
    sys.exit(main())
