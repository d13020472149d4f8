# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""How a place looks, as one short vector, and which known places look alike.

Two descriptors of a keyframe, each good where the other is not (VLAD wins in cluttered rooms, the
model's tokens where features are few), so that candidates are the union of both:

- "words": VLAD (Jegou et al. 2010) over the features that the map takes anyway, with the residuals
  of each word at unit length (Arandjelovic and Zisserman 2013) and the root of each component.
  The vocabulary is trained on the project's synthetic rooms by `scripts/write_place_words.py`.
- "tokens": what the model's encoder says of the frame as a whole (`TokenScene`).

Alike is a dot product.

Shape letters: F features, E bytes of a descriptor, W words, D numbers of a vector, N keyframes.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .features import unit_vectors

__all__ = [
    "WORDS_FILE",
    "PlaceIndex",
    "candidates",
    "place_vectors",
    "words_id",
    "words_vector",
]

WORDS_FILE = Path(__file__).parent / "place_words.npz"
_FEWEST = 20  # features below which a picture is no place
_BLOCK = 1024  # keyframes that are compared at once: bounds the float32 copy
_DETECTOR_OF_BYTES = {32: "orb", 128: "sift"}

Vector = NDArray[np.float16]


def place_vectors(
    descriptor_FE: NDArray[np.uint8 | np.int8], tokens_D: NDArray[np.floating] | None
) -> dict[str, Vector]:
    """What `Keyframe.places` holds.

    Args:
        descriptor_FE: Features of the reference camera's view.
        tokens_D: Of its frame, see `TokenScene`; None where the runtime has none.
    """
    places = {}
    words = words_vector(descriptor_FE)
    if words is not None:
        places["words"] = words
    if tokens_D is not None and np.isfinite(tokens_D).all() and np.any(tokens_D):
        places["tokens"] = _unit(np.asarray(tokens_D, np.float32))
    return places


def words_vector(descriptor_FE: NDArray[np.uint8 | np.int8]) -> Vector | None:
    """(W * D,) float16 of unit length: what the features are beside their words.

    Returns:
        None where there are too few features, or no vocabulary for their kind.
    """
    if descriptor_FE.dtype != np.uint8:
        return None
    centres_WD = _vocabulary().get(_DETECTOR_OF_BYTES.get(descriptor_FE.shape[1], ""))
    if centres_WD is None or len(descriptor_FE) < _FEWEST:
        return None
    found_FD = unit_vectors(descriptor_FE)
    nearest = (found_FD @ centres_WD.T - 0.5 * (centres_WD**2).sum(axis=1)).argmax(axis=1)
    is_word_FW = (nearest[:, None] == np.arange(len(centres_WD))).astype(np.float32)
    residual_WD = is_word_FW.T @ found_FD - is_word_FW.sum(axis=0)[:, None] * centres_WD
    residual_WD = np.sign(residual_WD) * np.sqrt(np.abs(residual_WD))
    length = np.linalg.norm(residual_WD, axis=1, keepdims=True)
    return _unit((residual_WD / np.maximum(length, 1e-6)).ravel())


@functools.cache
def words_id() -> str:
    """Identity of the vocabulary: vectors of two of them cannot be compared."""
    return f"words-{zlib.crc32(WORDS_FILE.read_bytes()):08x}"


class PlaceIndex:
    """The places of all keyframes that are kept, for one kind of descriptor.

    Used by one thread at a time.
    """

    def __init__(self) -> None:
        self._numbers = np.zeros(0, np.int64)
        self._row_of: dict[int, int] = {}
        self._rows_ND = np.zeros((0, 0), np.float16)

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, number: int) -> bool:
        return number in self._row_of

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays."""
        return self._rows_ND.nbytes + self._numbers.nbytes

    def add(self, number: int, vector: Vector) -> None:
        """Know a keyframe's place; a vector of another width than the others' is an error."""
        count = len(self._row_of)
        if not count:
            self._rows_ND = np.zeros((0, len(vector)), np.float16)
            self._numbers = np.zeros(0, np.int64)
        assert number not in self._row_of, number
        assert self._rows_ND.shape[1] == len(vector), (self._rows_ND.shape, len(vector))
        if count == len(self._rows_ND):
            grown = max(64, count + count // 2)
            rows = np.zeros((grown, len(vector)), np.float16)
            rows[:count] = self._rows_ND
            self._rows_ND = rows
            self._numbers = np.concatenate((self._numbers, np.zeros(grown - count, np.int64)))
        self._rows_ND[count] = vector
        self._numbers[count] = number
        self._row_of[number] = count

    def remove(self, number: int) -> None:
        """Forget a keyframe; one that is not known is none."""
        row = self._row_of.pop(number, None)
        if row is None:
            return
        last = len(self._row_of)
        if row != last:
            self._rows_ND[row] = self._rows_ND[last]
            self._numbers[row] = self._numbers[last]
            self._row_of[int(self._numbers[row])] = row

    def search(
        self,
        vector: Vector,
        top: int,
        without: Collection[int] = (),
        allowed: Collection[int] | None = None,
    ) -> list[tuple[int, float]]:
        """The most alike keyframes with their likeness in -1..1, the most alike first.

        Args:
            vector: Of the place that is looked for.
            top: How many at most.
            without: Numbers that must not come out.
            allowed: Numbers that may come out; None: all.
        """
        count = len(self._row_of)
        if not count or top < 1:
            return []
        wanted = np.asarray(vector, np.float32)
        alike = np.empty(count, np.float32)
        for start in range(0, count, _BLOCK):
            rows = self._rows_ND[start : min(start + _BLOCK, count)].astype(np.float32)
            alike[start : start + len(rows)] = rows @ wanted
        numbers = self._numbers[:count]
        if without:
            alike[np.isin(numbers, np.fromiter(without, np.int64, len(without)))] = -np.inf
        if allowed is not None:
            alike[~np.isin(numbers, np.fromiter(allowed, np.int64, len(allowed)))] = -np.inf
        best = np.argsort(-alike, kind="stable")[:top]
        return [(int(numbers[k]), float(alike[k])) for k in best if np.isfinite(alike[k])]


def candidates(
    indices: Mapping[str, PlaceIndex],
    places: Mapping[str, Vector],
    top: int,
    without: Collection[int] = (),
    allowed: Collection[int] | None = None,
) -> list[int]:
    """Keyframes that look alike by any descriptor, each once; see `PlaceIndex.search`."""
    found = [
        index.search(places[name], top, without, allowed)
        for name, index in indices.items()
        if name in places
    ]
    ranked = sorted(
        (rank, -alike, number) for each in found for rank, (number, alike) in enumerate(each)
    )
    return list(dict.fromkeys(number for _, _, number in ranked))


@functools.cache
def _vocabulary() -> dict[str, NDArray[np.float32]]:
    with np.load(WORDS_FILE, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in _DETECTOR_OF_BYTES.values() if name in arrays}


def _unit(vector_D: NDArray[np.float32]) -> Vector:
    length = max(float(np.linalg.norm(vector_D)), 1e-12)
    return np.asarray(vector_D / length, np.float16)
