# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Folders that somebody may hand in: of frames in the layouts that there are, of a model."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import strategies as st

from tests.fuzz import seeds
from tests.fuzz.mutate import change_document
from tests.fuzz.strategies import (
    EXTREME,
    NAMES,
    NUMBERS,
    RANDOMS,
    documents,
    mostly,
    mutated,
    pictures,
    values,
)

__all__ = ["folders", "model_files"]

_texts = st.one_of(
    st.lists(st.lists(NUMBERS, min_size=1, max_size=16), max_size=5).map(
        lambda rows: "\n".join(" ".join(map(str, row)) for row in rows).encode()
    ),
    st.just(b"30 0 16\n0 30 12\n0 0 1\n"),
    st.just(b"1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n"),
    st.binary(max_size=40),
    documents,
)


@st.composite
def _folders(draw: Any) -> dict[str, bytes]:
    """Names and content of files of a folder of frames, in the layouts that there are."""
    ending = draw(
        st.sampled_from([".jpg", ".png", ".color.png", ".color.jpg", ".HEIC", ".mp4", ""])
    )
    root = draw(st.sampled_from(["", "", "images/", "cam0/", "cam0/data/", "mav0/cam0/data/"]))
    stems = draw(st.lists(
        st.one_of(
            st.integers(0, 10**19).map(str),
            st.sampled_from(["a1", "a2", "frame-000001", "x\u00b2"]),
        ), max_size=3, unique=True,
    ))  # fmt: skip
    files = {f"{root}{stem}{ending}": draw(pictures) for stem in stems}
    for stem in stems:
        if draw(st.booleans()):
            files[f"{root}{stem}.depth.png"] = draw(pictures)
            files[f"{root}{stem}.pose.txt"] = draw(_texts)
    beside = ("camera-intrinsics.txt", "K.txt", "poses.txt", "transforms.json", "notes.txt",
              "cam0/sensor.yaml", "mav0/state_groundtruth_estimate0/data.csv")  # fmt: skip
    for name in draw(st.lists(st.sampled_from(beside), max_size=3, unique=True)):
        files[name] = draw(_transforms(stems)) if name == "transforms.json" else draw(_texts)
    if draw(st.integers(0, 3)) == 0:
        files["cam0/sensor.yaml"] = draw(mutated(_SENSOR))
    return files


folders = _folders()
_SENSOR = b"""T_BS:
  data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
resolution: [32, 24]
intrinsics: [30, 30, 16, 12]
distortion_model: radial-tangential
distortion_coefficients: [0, 0, 0, 0]
"""


@st.composite
def _transforms(draw: Any, stems: list[str]) -> bytes:
    names = st.one_of(st.sampled_from([f"{stem}.jpg" for stem in stems] or ["x"]), NAMES)
    entry = st.fixed_dictionaries(
        {"file_path": names},
        optional={
            "transform_matrix": st.one_of(
                values, st.just([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
            ),
            "depth_file_path": names,
        },
    )
    lens = st.one_of(NUMBERS.filter(math.isfinite), EXTREME)
    document = draw(st.fixed_dictionaries(
        {"frames": st.one_of(st.lists(entry, max_size=3), values)},
        optional=dict.fromkeys(("fl_x", "w", "h", "cx", "camera_angle_x", "k1"), lens),
    ))  # fmt: skip
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _model_files() -> st.SearchStrategy[dict[str, bytes]]:
    folder = seeds.model_folder()
    names = sorted(path.name for path in folder.glob("*.json") if "index" not in path.name)

    def change(name: str) -> st.SearchStrategy[dict[str, bytes]]:
        whole = (folder / name).read_bytes()
        values_changed = RANDOMS.map(lambda rng: change_document(whole, rng))
        content = mostly(values_changed, mutated(whole))
        return content.map(lambda data: {name: data})

    return st.sampled_from(names).flatmap(change)


model_files = st.deferred(_model_files)
