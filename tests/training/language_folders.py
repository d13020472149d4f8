# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tiny language data sets, each in its published layout; the pictures are made here."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

__all__ = [
    "film",
    "jpeg",
    "jsonl",
    "llava",
    "onevision",
    "picture",
    "said",
    "spar",
    "tar",
    "video178k",
    "write_json",
]


def jpeg(shade: int = 0, size: tuple[int, int] = (48, 36)) -> bytes:
    """A picture of `size` (width, height), bright to the right."""
    ramp = np.tile(np.linspace(0, 255, size[0]).astype(np.uint8), (size[1], 1))
    pixels = np.stack([ramp, np.full_like(ramp, shade % 256), ramp[:, ::-1]], axis=-1)
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "JPEG")
    return held.getvalue()


def picture(path: Path, shade: int = 0, size: tuple[int, int] = (48, 36)) -> Path:
    """`jpeg` as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg(shade, size))
    return path


def film(path: Path, frames: int = 12) -> Path:
    """A film whose frames grow brighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (48, 36))
    assert writer.isOpened()
    for number in range(frames):
        writer.write(np.full((36, 48, 3), 20 * number, np.uint8))
    writer.release()
    return path


def write_json(path: Path, content: Any) -> Path:
    """One JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def said(*turns: str, system: str = "") -> list[dict[str, str]]:
    """Questions and answers in turn, as LLaVA writes them."""
    who = [{"from": "system", "value": system}] if system else []
    return who + [
        {"from": "gpt" if number % 2 else "human", "value": words}
        for number, words in enumerate(turns)
    ]


def jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """One object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def tar(path: Path, members: Mapping[str, bytes]) -> Path:
    """A WebDataset tar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


def llava(root: Path) -> Path:
    """Two entries: several turns about two pictures, and a caption."""
    for number in range(2):
        picture(root / f"images/p{number}.jpg", 40 * number)
    words = ("<image>\nIs <image> the same place?", "yes", "What colour is it?", "brown")
    first = said(*words, system="Be brief.")
    rows = [
        {"id": "a", "image": ["images/p0.jpg", "images/p1.jpg"], "conversations": first},
        {"id": "b", "image": "p1.jpg", "conversations": said("<image>\nWhat is it?", "a chair")},
    ]
    return write_json(root / "train.json", rows).parent


def spar(root: Path) -> Path:
    """ScanNet's part: a depth question with marks in two pictures, and a box."""
    for name in ("scene0012_01/image_color/0.jpg", "scene0012_01/image_color/7.jpg"):
        picture(root / "scannet/images" / name, size=(100, 50))
    names = [f"scene0012_01/image_color/{number}.jpg" for number in (0, 7)]
    depth = {
        "id": "scene0012_01_3", "image": names, "type": "depth_prediction_oc_mv",
        "conversations": said("How deep is the chair (blue point)?", "1.5"),
        "red_point": [[395, 100]], "blue_point": [[500, 620]], "point_img_idx": [[0, 1]],
    }  # fmt: skip
    volume = {
        "id": "scene0012_01_4", "image": names[:1], "type": "spatial_volume_infer",
        "conversations": said("How large is the box (red bbox)?", "0.4"),
        "red_bbox": [[100, 200, 300, 600]],
    }  # fmt: skip
    folder = root / "scannet/qa_jsonl/train"
    jsonl(folder / "depth_prediction_oc_mv/fill/fill_1.jsonl", [depth])
    jsonl(folder / "spatial_volume_infer/fill/fill_1.jsonl", [volume])
    jsonl(root / "scannet/qa_jsonl/val/x/fill/fill_1.jsonl", [volume])
    return root


def onevision(root: Path) -> Path:
    """A subset as parquet: a picture in each of two entries, and one of words alone."""
    import pyarrow
    import pyarrow.parquet

    cells: list[dict[str, Any] | None] = [
        {"bytes": jpeg(9), "path": "a.jpg"}, {"bytes": jpeg(99), "path": "b.jpg"}, None,
    ]  # fmt: skip
    asked = ["<image>\nWhat is it?", "<image>\nHow many?", "What is two and two?"]
    table = pyarrow.table(
        {
            "id": ["a", "b", "c"],
            "image": cells,
            "conversations": [said(words, "four") for words in asked],
            "data_source": ["ai2d"] * 3,
        }
    )
    folder = root / "ai2d(cauldron,llava_format)"
    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "train-00000-of-00001.parquet", row_group_size=2)
    return root


def video178k(root: Path) -> Path:
    """A part of the data set: one film, asked about once."""
    part = "0_30_s_academic_v0_1"
    film(root / part / "academic_source/Charades/AAA.mp4")
    row = {
        "id": "AAA", "data_source": part, "video": "academic_source/Charades/AAA.mp4",
        "conversations": said("<image>\nWhat happens?", "it grows brighter"),
    }  # fmt: skip
    write_json(root / part / f"{part}_oe_qa_processed.json", [row])
    return root
