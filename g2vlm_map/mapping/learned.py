# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Features and matches by a network of yours, an ONNX graph: `features.detector: /path/to/it.onnx`.

Three kinds of graph are taken, told apart by the names of their inputs and outputs. The names, and
the shapes behind them, are those of the widely used exports of SuperPoint, DISK and ALIKED with
LightGlue (Lindenberger et al. 2023; github.com/fabio-sim/LightGlue-ONNX); none of them is shipped.

    extractor  image (1, C, H, W)   -> keypoints (1, F, 2), scores (1, F), descriptors (1, F, D)
    pair       image0, image1       -> kpts0 (1, F0, 2), kpts1 (1, F1, 2), matches0 (M, 2),
                                       mscores0 (M,)
    pipeline   images (2, C, H, W)  -> keypoints (2, F, 2), matches (M, 3): 0, of the first, of the
                                       second; mscores (M,)

Pictures are float32 or float16 in 0..1, grey where C is 1 and RGB where it is 3. Sides that the
graph leaves open are those that SIFT would search (`features.min_side`, `features.max_side`),
rounded to a multiple of 16; fixed ones are kept to, by stretching. Keypoints are (column, row) in
pixels of that picture. Outputs may come in any order, descriptors as (1, D, F) too.

An extractor sees the frame as it was taken. Its descriptors, of any length and sign, are kept as
int8 and matched by mutual nearest neighbour with the ratio test, as the others' are. A graph that
matches by itself has to see both pictures, so it is run on those that keyframes keep: the model's.
Its keypoints of a picture must not depend on the other one.

Whatever graph it is, geometry verifies the matches: an edge is an edge by its inliers.

Shape letters: H W pixels, C channels, F features, D numbers of a descriptor, M matches.
"""

from __future__ import annotations

import functools
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

__all__ = ["LearnedMatcher", "learned_matcher"]

Floats32 = NDArray[np.float32]

_MULTIPLE = 16  # DISK's; SuperPoint asks for 8
_PROBE_HW = (128, 160)
_INPUTS = {
    ("image",): "extractor",
    ("image0", "image1"): "pair",
    ("images",): "pipeline",
}
_OUTPUTS = {
    "extractor": ("keypoints", "scores", "descriptors"),
    "pair": ("kpts0", "kpts1", "matches0", "mscores0"),
    "pipeline": ("keypoints", "matches", "mscores"),
}
_CONTRACT = (
    "expected image -> keypoints, scores, descriptors; image0, image1 -> kpts0, kpts1, matches0, "
    "mscores0; or images -> keypoints, matches, mscores"
)
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True, eq=False)
class GraphFeatures:
    """What a graph found in one picture.

    Args:
        pixel_F2: (column, row) in pixels of the picture as it was given.
        score_F: The higher the better; zeros where a graph tells none.
        descriptor_FD: (F, 0) where a graph matches by itself.
    """

    pixel_F2: Floats32
    score_F: Floats32
    descriptor_FD: Floats32


class LearnedMatcher:
    """A graph that was loaded, checked and tried; safe between threads.

    Args:
        path: Of the file.

    Raises:
        ValueError: No file, no ONNX graph, other inputs or outputs, or it fails on a picture.
    """

    def __init__(self, path: Path) -> None:
        self._name = f"features.detector = {str(path)!r}"
        if not path.is_file():
            raise ValueError(f"{self._name} is no file; expected sift, orb or an ONNX graph")
        self.identity = f"onnx-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
        self._session = _session(path, self._name)
        inputs = {item.name: item for item in self._session.get_inputs()}
        outputs = [item.name for item in self._session.get_outputs()]
        self.kind = _INPUTS.get(tuple(sorted(inputs)), "")
        if not self.kind or not set(_OUTPUTS[self.kind]) <= set(outputs):
            hint = ""
            if {"kpts0", "desc0"} & set(inputs):
                hint = "; this one matches what another graph found: export the two as one"
            raise ValueError(f"{self._name} has {sorted(inputs)} -> {outputs}, {_CONTRACT}{hint}")
        first = next(iter(inputs.values()))
        if first.type not in _TYPES or len(first.shape) != 4:
            raise ValueError(
                f"{self._name} takes {first.name}: {first.type} {first.shape}, expected float or "
                "float16 of four axes"
            )
        self._dtype: type = _TYPES[first.type]
        batch, channels, *sides = (side if isinstance(side, int) else 0 for side in first.shape)
        if channels not in (0, 1, 3) or batch not in (0, 2 if self.kind == "pipeline" else 1):
            raise ValueError(
                f"{self._name} takes {first.name} {first.shape}, expected 1 or 3 channels of "
                f"{'two pictures' if self.kind == 'pipeline' else 'one picture'}"
            )
        self._channels, self._sides = channels or 1, (sides[0], sides[1])
        self._probe()

    @property
    def matches_itself(self) -> bool:
        """Whether it is asked for matches, and not for descriptors."""
        return self.kind != "extractor"

    def find(self, picture_HW3: NDArray[np.uint8], px: float = 1.0) -> GraphFeatures:
        """Features of a picture.

        Args:
            picture_HW3: RGB.
            px: Size of a pixel of the searched picture in pixels of it, where sides are open.

        Raises:
            ValueError: What comes out has another shape, or is not finite.
        """
        if self.matches_itself:
            first, _, _ = self._run_pair(picture_HW3, picture_HW3, px)
            return first
        fed, stretch = self._fed(picture_HW3, px)
        out = self._run({"image": fed})
        pixel = self._keypoints(out["keypoints"], "keypoints", stretch)
        count = len(pixel)
        score = self._finite(out["scores"], "scores").reshape(-1)
        raw = self._finite(out["descriptors"], "descriptors")
        rows, columns = (0, 0, *raw.shape)[-2:]
        descriptor = np.zeros((0, 0), np.float32)
        if rows * columns == raw.size:
            descriptor = raw.reshape(rows, columns)
        if rows != count and columns == count:
            descriptor = descriptor.T
        if len(score) != count or len(descriptor) != count:
            raise ValueError(
                f"{self._name} gave {count} keypoints, {len(score)} scores and descriptors "
                f"{out['descriptors'].shape}"
            )
        return GraphFeatures(pixel, score, descriptor)

    def pair(
        self, i_HW3: NDArray[np.uint8], j_HW3: NDArray[np.uint8], px: float = 1.0
    ) -> tuple[Floats32, Floats32]:
        """Two times (M, 2): where matches lie in either picture; for graphs that match.

        Args:
            i_HW3, j_HW3: RGB.
            px: As of `find`.

        Raises:
            ValueError: As `find`.
        """
        first, second, match_M2 = self._run_pair(i_HW3, j_HW3, px)
        return first.pixel_F2[match_M2[:, 0]], second.pixel_F2[match_M2[:, 1]]

    def _run_pair(
        self, i_HW3: NDArray[np.uint8], j_HW3: NDArray[np.uint8], px: float
    ) -> tuple[GraphFeatures, GraphFeatures, NDArray[np.int64]]:
        fed_i, stretch_i = self._fed(i_HW3, px)
        fed_j, stretch_j = self._fed(j_HW3, px)
        if self.kind == "pair":
            out = self._run({"image0": fed_i, "image1": fed_j})
            points = (out["kpts0"], out["kpts1"])
            match_M2 = self._indices(out["matches0"], 2)
        else:
            if fed_i.shape != fed_j.shape:
                raise ValueError(f"{self._name} takes two pictures of one size")
            out = self._run({"images": np.concatenate((fed_i, fed_j))})
            if len(out["keypoints"]) != 2:
                shape = out["keypoints"].shape
                raise ValueError(f"{self._name} gave keypoints {shape} of two pictures")
            points = (out["keypoints"][0], out["keypoints"][1])
            match_M2 = self._indices(out["matches"], 3)[:, 1:]
        pixel = [
            self._keypoints(raw, "keypoints", stretch)
            for raw, stretch in zip(points, (stretch_i, stretch_j), strict=True)
        ]
        if len(match_M2) and (match_M2 >= [len(pixel[0]), len(pixel[1])]).any():
            raise ValueError(
                f"{self._name} matches keypoint {match_M2.max(axis=0).tolist()} of "
                f"{len(pixel[0])} and {len(pixel[1])}"
            )
        first, second = (
            GraphFeatures(one, np.zeros(len(one), np.float32), np.zeros((len(one), 0), np.float32))
            for one in pixel
        )
        return first, second, match_M2

    def _fed(
        self, picture_HW3: NDArray[np.uint8], px: float
    ) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The picture as the graph takes it, and the stretch (2,) back, across and down."""
        height, width = picture_HW3.shape[:2]
        sides = [
            fixed or max(_MULTIPLE, round(side / px / _MULTIPLE) * _MULTIPLE)
            for fixed, side in zip(self._sides, (height, width), strict=True)
        ]
        picture: Any = np.ascontiguousarray(picture_HW3)
        if self._channels == 1:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        how = cv2.INTER_AREA if sides[1] < width else cv2.INTER_LINEAR
        resized = cv2.resize(picture, (sides[1], sides[0]), interpolation=how)
        resized = resized.reshape(sides[0], sides[1], self._channels)
        fed = (resized.transpose(2, 0, 1)[None] / np.float32(255)).astype(self._dtype)
        return fed, np.array([width / sides[1], height / sides[0]])

    def _run(self, feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = _OUTPUTS[self.kind]
        try:
            values = self._session.run(list(names), feed)
        except Exception as error:  # onnxruntime's own kinds have no common base
            text = " ".join(str(error).split())
            raise ValueError(f"{self._name} fails on a picture: {text:.300}") from error
        return dict(zip(names, (np.asarray(value) for value in values), strict=True))

    def _keypoints(self, raw: NDArray[Any], name: str, stretch: NDArray[np.float64]) -> Floats32:
        points = self._finite(raw, name)
        if points.ndim == 3 and len(points) == 1:
            points = points[0]
        if points.ndim != 2 or points.shape[1] != 2:
            raise ValueError(f"{self._name} gave {name} {raw.shape}, expected (1, F, 2)")
        return ((points + 0.5) * stretch - 0.5).astype(np.float32)

    def _finite(self, raw: NDArray[Any], name: str) -> Floats32:
        values = np.asarray(raw, np.float32)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ValueError(f"{self._name} gave {name} with {bad} values that are not finite")
        return values

    def _indices(self, raw: NDArray[Any], columns: int) -> NDArray[np.int64]:
        if raw.ndim != 2 or raw.shape[1] != columns or not np.issubdtype(raw.dtype, np.integer):
            raise ValueError(
                f"{self._name} gave matches {raw.dtype} {raw.shape}, expected whole numbers "
                f"(M, {columns})"
            )
        if (raw < 0).any():
            raise ValueError(f"{self._name} matches keypoint {raw.min()}")
        return raw.astype(np.int64)

    def _probe(self) -> None:
        """Try it on a picture with texture."""
        noise = np.random.default_rng(0).integers(0, 256, (16, 20, 3), np.uint8)
        height, width = (fixed or side for fixed, side in zip(self._sides, _PROBE_HW, strict=True))
        picture = np.asarray(cv2.resize(noise, (width, height)), np.uint8)
        self.find(picture)
        if self.matches_itself:
            self.pair(picture, picture)


def learned_matcher(detector: str) -> LearnedMatcher | None:
    """The graph that `features.detector` names; None where it names none. Loaded once.

    Raises:
        ValueError: As `LearnedMatcher`.
    """
    if not detector.endswith(".onnx"):
        return None
    path = Path(detector).expanduser()
    stamp = path.stat().st_mtime_ns if path.is_file() else math.nan
    return _loaded(path, stamp)


@functools.lru_cache(maxsize=4)
def _loaded(path: Path, _stamp: float) -> LearnedMatcher:
    return LearnedMatcher(path)


def _session(path: Path, name: str) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{name} needs the package onnxruntime: {error}") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised
    providers = [
        one
        for one in ("CUDAExecutionProvider", "CPUExecutionProvider")
        if one in onnxruntime.get_available_providers()
    ]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime's own kinds have no common base
        text = " ".join(str(error).split())
        raise ValueError(f"{name} is no ONNX graph that can be run: {text:.300}") from error
