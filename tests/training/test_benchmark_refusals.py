# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Files that are no benchmark, rows that cannot be asked: told or counted, never skipped."""

from __future__ import annotations

import importlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_training.datasets.pictures import load_picture, video_frames
from g2vlm_training.evaluate.benchmarks import BENCHMARKS
from g2vlm_training.evaluate.benchmarks.base import Refusals
from PIL import Image

from tests.training.benchmark_folders import (
    OST_TURNS,
    SPAR_ROWS,
    WRITERS,
    vsi_row,
    write_json,
    write_lines,
    write_mindcube,
    write_ost,
    write_spar,
    write_vsi,
)


def test_ost_turns_behind_a_missing_picture_are_refused(tmp_path: Path) -> None:
    write_ost(tmp_path)
    (tmp_path / "images" / "scene0001_00" / "2_3.jpg").unlink()
    reading = BENCHMARKS["ost"].read(tmp_path)
    assert [item.id for item in reading.items] == ["scene0001_00/1"]
    assert reading.refusals.counts == {
        "missing picture or video": 1,
        "a picture of an earlier turn is missing": 3,
    }


def test_parquet_without_pyarrow_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match="pip install pyarrow"):
        BENCHMARKS["spar"].read(tmp_path)


def test_a_parquet_file_that_is_cut_off(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    importlib.import_module("pyarrow.parquet")
    (tmp_path / "test-0.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match="cut off"):
        BENCHMARKS["spar"].read(tmp_path)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_a_folder_without_the_layout_is_told_it(name: str, tmp_path: Path) -> None:
    benchmark = BENCHMARKS[name]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        benchmark.read(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError) as caught:
        benchmark.read(tmp_path)
    assert benchmark.layout in str(caught.value)
    assert "fields:" in str(caught.value)


@pytest.mark.parametrize("name", sorted(WRITERS))
def test_the_annotation_file_itself_can_be_named(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path)
    path = next(p for p in tmp_path.rglob("*.json*") if p.suffix in (".json", ".jsonl"))
    whole = BENCHMARKS[name].read(tmp_path)
    assert [item.id for item in BENCHMARKS[name].read(path).items] == [
        item.id for item in whole.items
    ]
    assert whole.refusals.total == 0


def test_broken_rows_are_counted_with_an_example(tmp_path: Path) -> None:
    write_spar(tmp_path)
    good = dict(SPAR_ROWS[0])
    write_lines(
        tmp_path / "spar.jsonl",
        [
            good,
            '{"id": 12, "task": "depth_pre\n',  # a line cut off
            '["a", "list"]\n',
            {**good, "task": "tea_making"},
            {**good, "image": ["images/gone.png"]},
            {**good, "image": []},
            {**good, "answer": "nan"},
            {**good, "question": " "},
            {**dict(SPAR_ROWS[3]), "answer": "E"},
            {**dict(SPAR_ROWS[5]), "answer": "stay"},
            {key: value for key, value in good.items() if key != "answer"},
            good,  # the same identity again
        ],
    )
    reading = BENCHMARKS["spar"].read(tmp_path)
    assert [item.id for item in reading.items] == [
        "depth_prediction_oc/1",
        "depth_prediction_oc/1#4",  # a picture that turns up later must not rename it
    ]
    assert reading.refusals.counts == {
        "line or entry that is no JSON object": 2,
        "unknown task": 1,
        "missing picture or video": 1,
        "field 'image' holds no list of pictures": 1,
        "answer is no finite number": 1,
        "empty field 'question'": 1,
        "answer is no letter of an option": 1,
        "answer names no camera motion": 1,
        "no field 'answer' with text": 1,
    }
    assert reading.refusals.examples["missing picture or video"] == "spar.jsonl:5: images/gone.png"
    assert any("refused 2 x line or entry" in line for line in reading.refusals.lines())


def bad_file(path: Path, content: Any) -> None:
    path.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ('[{"id": 1', "cut off"),
        ({"questions": []}, "holds a dict, expected a list"),
        ([], "no entry"),
        ([{"task_type": "x", "sub_task_type": "y"}], "unknown task"),
    ],
)
def test_a_broken_json_file_is_refused(content: Any, match: str, tmp_path: Path) -> None:
    bad_file(tmp_path / "data.json", content)
    with pytest.raises(ValueError, match=match):
        BENCHMARKS["omnispatial"].read(tmp_path)


def test_wrong_truths_of_the_other_layouts_are_refused(tmp_path: Path) -> None:
    WRITERS["omnispatial"](tmp_path / "omni")
    entries = json.loads((tmp_path / "omni" / "data.json").read_text())
    entries[0]["answer"] = 4
    entries[1]["options"] = "2.7s"
    write_json(tmp_path / "omni" / "data.json", entries)
    counts = BENCHMARKS["omnispatial"].read(tmp_path / "omni").refusals.counts
    assert counts == {
        "answer is no index of an option": 1,
        "field 'options' is no list of 2 to 8": 1,
    }
    write_ost(tmp_path / "ost")
    turns = [dict(turn) for turn in OST_TURNS]
    turns[1]["answer"] = "up"
    turns[2]["answer"] = "2.5"
    write_json(tmp_path / "ost" / "OST_bench.json", turns)
    counts = BENCHMARKS["ost"].read(tmp_path / "ost").refusals.counts
    assert counts == {"answer is none of the options": 1, "answer is no whole number": 1}
    write_vsi(tmp_path / "vsi")
    rows = [vsi_row(0, "object_counting", "4", None), vsi_row(1, "route_planning", "A", None)]
    rows.append({**rows[0], "scene_name": "scene0009_00"})
    write_lines(tmp_path / "vsi" / "test.jsonl", rows)
    counts = BENCHMARKS["vsi"].read(tmp_path / "vsi").refusals.counts
    assert counts == {"field 'options' is no list of 2 to 8": 1, "missing picture or video": 1}
    write_mindcube(tmp_path / "cube")
    line = (tmp_path / "cube" / "raw" / "MindCube_tinybench.jsonl").read_text().splitlines()[0]
    odd = {**json.loads(line), "id": "beyond_group1"}
    write_lines(tmp_path / "cube" / "raw" / "MindCube_tinybench.jsonl", [json.loads(line), odd])
    counts = BENCHMARKS["mindcube"].read(tmp_path / "cube").refusals.counts
    assert counts == {"id names no known setting": 1}


def test_pictures_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="is no picture"):
        load_picture(tmp_path / "a.png")
    image = io.BytesIO()
    Image.fromarray(np.zeros((40, 40, 3), np.uint8)).save(image, "PNG")
    with pytest.raises(ValueError, match=r"cannot be decoded|is no picture"):
        load_picture(image.getvalue()[:60])
    with pytest.raises(FileNotFoundError):
        load_picture(tmp_path / "b.png")
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = np.random.default_rng(1).integers(0, 256, (40, 56, 3), np.uint8)
    image = io.BytesIO()
    Image.fromarray(noise).save(image, "JPEG", exif=turned)
    assert load_picture(image.getvalue()).shape == (56, 40, 3)  # upright, as the node sees it
    whole = image.getvalue()
    cut = whole[: len(whole) // 2] + whole[-300:]
    with pytest.raises(ValueError, match="is damaged: Corrupt JPEG data"):
        load_picture(cut)
    (tmp_path / "v.mp4").write_text("no video")
    with pytest.raises(ValueError, match="no video"):
        video_frames(tmp_path / "v.mp4", 4)
    with pytest.raises(FileNotFoundError):
        video_frames(tmp_path / "w.mp4", 4)


def test_refusals_add_up() -> None:
    one, other = Refusals(), Refusals()
    one.add("x", "first")
    other.add("x", "second")
    other.add("y", "third")
    both = one.merged(other)
    assert both.total == 3
    assert both.lines() == ["refused 2 x x; first: first", "refused 1 x y; first: third"]
