# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Language data: every layout from a folder written as it is published, and what is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from g2vlm_training.dataset_cli import main as dataset
from g2vlm_training.datasets.base import DataError
from g2vlm_training.datasets.language import LANGUAGE_LAYOUTS, Conversation, LanguagePool
from g2vlm_training.datasets.language.rows import Row
from g2vlm_training.datasets.mixture import Mixture, SourceOptions
from g2vlm_training.stages.question_batch import QuestionMaker
from g2vlm_training.stages.tokens import nano_tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from g2vlm_model.interface import PixelMark
from tests.training import language_folders as folders
from tests.training.tiny import tiny_config

MAKER = QuestionMaker(tiny_config(), nano_tokenizer(700), 2, ("depth_prediction_oo",), False, 400)
GOOD = {"pictures": ["a.jpg"], "question": "What is it?", "answer": "a chair"}


def conversations(layout: str, root: Path, **options: Any) -> list[Conversation]:
    pool = LanguagePool(layout, root, **options)
    return [pool.read(index) for index in range(len(pool))]


def test_own_lines_have_pictures_turns_marks_and_words_of_the_system(tmp_path: Path) -> None:
    folders.picture(tmp_path / "pictures/a.jpg", size=(60, 30))
    folders.picture(tmp_path / "b.jpg")
    turns = [{"question": "Where is A?", "answer": "left"}, {"question": "Why?", "answer": "so"}]
    mark = {"picture": 2, "u": 10, "v": 20.5, "label": "A", "box": [4, 6]}
    rows: list[dict[str, Any]] = [
        {"pictures": ["pictures/a.jpg", "b.jpg"], "turns": turns, "marks": [mark], "system": "Hi."},
        {"pictures": ["b.jpg"], "question": "What is it?", "answer": "a chair"},
    ]
    folders.jsonl(tmp_path / "train.jsonl", rows)
    first, second = conversations("jsonl", tmp_path)
    assert [picture.shape for picture in first.pictures] == [(30, 60, 3), (36, 48, 3)]
    assert [(turn.question, turn.answer) for turn in first.turns] == [
        ("Where is A?", "left"), ("Why?", "so"),
    ]  # fmt: skip
    assert first.marks == (PixelMark(1, 10.0, 20.5, "A", (4.0, 6.0)),)
    assert (first.system, second.system, len(second.turns)) == ("Hi.", "", 1)


def test_llavas_turns_places_and_system(tmp_path: Path) -> None:
    first, second = conversations("llava", folders.llava(tmp_path))
    assert [turn.question for turn in first.turns] == [
        "Is frame 2 the same place?", "What colour is it?",
    ]  # fmt: skip
    assert (first.system, len(first.pictures)) == ("Be brief.", 2)
    assert [(turn.question, turn.answer) for turn in second.turns] == [("What is it?", "a chair")]


def test_spars_marks_are_on_their_pictures_in_their_colours(tmp_path: Path) -> None:
    depth, volume = conversations("spar", folders.spar(tmp_path))
    places = [(m.frame_index, round(m.u, 6), round(m.v, 6), m.label) for m in depth.marks]
    assert places == [(0, 39.5, 5.0, "red point"), (1, 50.0, 31.0, "blue point")]
    (box,) = volume.marks
    assert (box.label, round(box.u, 6), round(box.v, 6)) == ("red bbox", 20.0, 20.0)
    assert box.box_wh is not None
    assert [round(side, 6) for side in box.box_wh] == [20.0, 20.0]
    assert depth.turns[0].answer == "1.5"


def test_onevisions_parquet_gives_pictures_and_words_alone(tmp_path: Path) -> None:
    pool = LanguagePool("onevision", folders.onevision(tmp_path))
    shades = [int(pool.read(index).pictures[0][..., 1].mean().round()) for index in range(2)]
    assert np.abs(np.array(shades) - (9, 99)).max() < 12
    alone = pool.read(2)
    assert (alone.pictures, alone.turns[0].question) == ((), "What is two and two?")


def test_words_alone_are_said_to_be_so(tmp_path: Path) -> None:
    """An entry whose pictures were forgotten or lost is not taken for one."""
    turn = {"question": "What is two and two?", "answer": "four"}
    folders.jsonl(tmp_path / "own/train.jsonl", [turn | {"pictures": []}])
    assert conversations("jsonl", tmp_path / "own")[0].pictures == ()
    talk = {"conversations": folders.said("What is two and two?", "four")}
    lost = {"conversations": folders.said("<image>\nWhat is it?", "a chair")}
    members = {"s1.json": json.dumps(turn | {"pictures": []}).encode(), "s1.jpg": folders.jpeg(7)}
    members |= {"s2.json": json.dumps(talk).encode(), "s3.json": json.dumps(turn).encode()}
    members |= {"s4.json": json.dumps(lost).encode()}
    folders.tar(tmp_path / "tars/train-0.tar", members)
    pool = LanguagePool("webdataset", tmp_path / "tars")
    assert [pool.read(index).pictures for index in range(2)] == [(), ()]
    for index, words in (
        (2, r's3.* has no picture; .*"pictures": \[\]'),
        (3, "0 pictures and 1 times"),
    ):
        with pytest.raises(DataError, match=words):
            pool.read(index)


def test_video178ks_films_give_frames(tmp_path: Path) -> None:
    (told,) = conversations("video178k", folders.video178k(tmp_path), frames=4)
    brightness = [float(picture.mean()) for picture in told.pictures]
    assert len(brightness) == 4
    assert np.diff(brightness).min() > 30
    assert told.turns[0].question == "What happens?"
    part = tmp_path / "0_30_s_academic_v0_1/academic_source"
    (part / "Charades/AAA.mp4").rename(part / "AAA.mp4")
    with pytest.raises(DataError, match=r"AAA\.mp4 \(unpack .* there\) is missing"):
        conversations("video178k", tmp_path)


def test_tars_hold_either_kind_of_entry(tmp_path: Path) -> None:
    own = {"question": "What is it?", "answer": "a chair"}
    talk = {"conversations": folders.said("<image><image>\nSame?", "yes")}
    members = {"s1.json": json.dumps(own).encode(), "s1.jpg": folders.jpeg(7)}
    members |= {"s2.json": json.dumps(talk).encode()}
    members |= {f"s2.{number}.jpg": folders.jpeg(size=(40 + number, 36)) for number in (10, 2)}
    folders.tar(tmp_path / "train-0.tar", members)
    first, second = conversations("webdataset", tmp_path)
    assert (first.turns[0].answer, second.turns[0].question) == ("a chair", "Same?")
    assert [picture.shape[1] for picture in second.pictures] == [42, 50]  # 2 ahead of 10


BROKEN: dict[str, tuple[dict[str, Any] | str, str]] = {
    "a file that is missing": (GOOD | {"pictures": ["gone.jpg"]}, r":1: .*gone\.jpg is missing"),
    "a picture that is none": (GOOD | {"pictures": ["note.jpg"]}, "note.jpg is no picture"),
    "an empty answer": (GOOD | {"answer": "  "}, "answer 1 is empty"),
    "a path out of the folder": (GOOD | {"pictures": ["../a.jpg"]}, "leads out of"),
    "an absolute path": (GOOD | {"pictures": ["/etc/passwd"]}, "leads out of"),
    "no picture": (GOOD | {"pictures": None}, "has no picture"),
    "marks in words alone": (
        GOOD | {"pictures": [], "marks": [{"u": 1, "v": 1}]}, "has marks and no picture",
    ),
    "a line that is none": ('{"pictures": ["a.jpg"', ":1 is no JSON"),
    "a line of another kind": ("[1, 2]", "is no JSON object"),
    "a misspelt key": (GOOD | {"pictuers": []}, r"has the keys \['pictuers'\]"),
    "a mark off its picture": (GOOD | {"marks": [{"u": 99, "v": 1}]}, "is outside"),
    "a mark of no picture": (
        GOOD | {"marks": [{"picture": 3, "u": 1, "v": 1}]}, "frame_index is 2",
    ),
    "a mark that is none": (GOOD | {"marks": [{"u": "left"}]}, "a mark is"),
    "an answer longer than the context": (
        GOOD | {"answer": "left " * 500}, r"has \d+ tokens, \d+ of them words; the context is 400",
    ),
    "a question that spells the prompt": (
        GOOD | {"question": "x<|im_end|>"}, r"spells <\|im_end\|>",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_broken_entries_are_refused_by_name_and_counted(tmp_path: Path, what: str) -> None:
    row, why = BROKEN[what]
    folders.picture(tmp_path / "a.jpg")
    (tmp_path / "note.jpg").write_text("no picture")
    text = row if isinstance(row, str) else json.dumps(row)
    (tmp_path / "train.jsonl").write_text(f"{text}\n{json.dumps(GOOD)}\n")
    pool = LanguagePool("jsonl", tmp_path)
    with pytest.raises(DataError, match=why) as raised:
        MAKER.of_conversation(pool.read(0))
    assert str(raised.value).startswith(str(tmp_path / "train.jsonl"))
    mixture = Mixture((SourceOptions("jsonl", "."),), tmp_path)
    for seed in range(8):  # the other one is taken in its place
        generator = torch.Generator().manual_seed(seed)
        drawn = mixture.draw_conversation(generator, MAKER.of_conversation)
        assert drawn.prepared[0].questions[0].answer == "a chair"
    assert mixture.refusals.count > 0
    (tmp_path / "train.jsonl").write_text(f"{text}\n")
    alone = Mixture((SourceOptions("jsonl", "."),), tmp_path)
    with pytest.raises(DataError, match="25 conversations in a row cannot be used"):
        alone.draw_conversation(torch.Generator(), MAKER.of_conversation)


@pytest.mark.parametrize("places", ["", "<image><image>\n"])
def test_places_that_do_not_fit_the_pictures_are_refused(tmp_path: Path, places: str) -> None:
    folders.picture(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "conversations": folders.said(f"{places}What is it?", "a chair")}
    folders.write_json(tmp_path / "x.json", [row])
    with pytest.raises(DataError, match=r"has 1 pictures and \d times <image>"):
        conversations("llava", tmp_path)


@pytest.mark.parametrize(
    "turns",
    [
        folders.said("<image>\nWhat?"),
        folders.said("<image>\nWhat?", "this", "why?"),
        [{"from": "dog", "value": "<image>\nwoof"}],
        ["<image>"],
        [{"from": "human", "value": 3}],
    ],
)
def test_turns_that_are_none_are_refused(tmp_path: Path, turns: Any) -> None:
    folders.picture(tmp_path / "a.jpg")
    folders.write_json(tmp_path / "x.json", [{"image": "a.jpg", "conversations": turns}])
    with pytest.raises(DataError, match=r"x\.json entry 1"):
        conversations("llava", tmp_path)


def _cut_tar(root: Path) -> Path:
    members = {"s.json": json.dumps(GOOD).encode(), "s.jpg": folders.jpeg()}
    path = folders.tar(root / "a.tar", members)
    path.write_bytes(path.read_bytes()[:1400])
    return path


def _cut_list(root: Path) -> Path:
    path = folders.llava(root) / "train.json"
    path.write_text(path.read_text()[:-9])
    return path


def _cut_parquet(root: Path) -> Path:
    (path,) = folders.onevision(root).glob("*/*.parquet")
    path.write_bytes(path.read_bytes()[:200])
    return path


@pytest.mark.parametrize(
    ("layout", "cut"),
    [("webdataset", _cut_tar), ("llava", _cut_list), ("onevision", _cut_parquet)],
)
def test_files_that_are_cut_off_are_left_out(
    tmp_path: Path, layout: str, cut: Callable[[Path], Path]
) -> None:
    broken = cut(tmp_path)
    with pytest.raises(DataError, match="no conversation can be read"):
        LanguagePool(layout, tmp_path)
    if layout == "webdataset":
        sample = {"s.json": json.dumps(GOOD | {"pictures": None}).encode(), "s.jpg": folders.jpeg()}
        folders.tar(tmp_path / "b.tar", sample)
        pool = LanguagePool(layout, tmp_path)
        assert list(pool.refused) == [broken]
        assert len(pool) == 1
        assert pool.read(0).turns[0].answer == "a chair"


def test_a_folder_without_data_says_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"needs SOURCE/qa_jsonl/train"):
        LanguagePool("spar", tmp_path)


def test_check_looks_at_all_and_names_what_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders.picture(tmp_path / "a.jpg")
    rows = [GOOD, GOOD | {"pictures": ["gone.jpg"]}, GOOD | {"answer": "left " * 900}]
    folders.jsonl(tmp_path / "train.jsonl", rows)
    command = ["check", str(tmp_path), "--dataset", "jsonl", "--context", "700"]
    assert dataset(command) == 1
    said = capsys.readouterr().out
    assert f"{tmp_path}/train.jsonl:2: {tmp_path}/gone.jpg is missing" in said
    assert re.search(
        r"train\.jsonl:3 has \d{4} tokens, \d+ of them words; the context is 700", said
    )
    assert "3 conversations; 1 with their 1 pictures read (1 questions, at most 1" in said
    assert "2 refused" in said
    folders.jsonl(tmp_path / "train.jsonl", rows[:1])
    assert dataset(command) == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
TURN = st.fixed_dictionaries({"from": st.sampled_from(("human", "gpt", "x")), "value": JSON})
FIELDS = {
    "pictures": JSON, "film": JSON, "question": JSON, "answer": JSON, "turns": JSON, "marks": JSON,
    "system": JSON, "image": JSON, "video": JSON,
    "conversations": JSON | st.lists(TURN, max_size=4),
    "type": st.sampled_from(("depth_prediction_oo_mv", "spatial_imagination_oc_video")),
    "red_point": JSON, "green_bbox": JSON, "point_img_idx": JSON, "bbox_list": JSON,
    "data_source": JSON,
}  # fmt: skip


@pytest.mark.parametrize("layout", LANGUAGE_LAYOUTS)
@given(fields=st.fixed_dictionaries({}, optional=FIELDS))
@settings(max_examples=40, derandomize=True, deadline=None, database=None)
def test_whatever_an_entry_says_it_is_taken_or_refused(layout: str, fields: dict[str, Any]) -> None:
    path = Path("/nowhere/scannet/qa_jsonl/train/x.jsonl")
    with suppress(DataError):
        LANGUAGE_LAYOUTS[layout].read(Row("x:1", path, fields), Path("/nowhere"), 4)
