# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A short seeded run at every door; minimal findings of longer ones are replayed from `corpus/`."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from g2vlm_replay.errors import ReplayInputError
from g2vlm_replay.question_file import load_questions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g2vlm_map.cameras import Camera, InputFrame
from g2vlm_map.decode import BadInputError
from g2vlm_map.documents import parse_yaml
from g2vlm_map.options import ImageOptions
from g2vlm_map.pixels import CompressedPixels, RawPixels
from g2vlm_map.recordings import RecordingError, open_recording
from g2vlm_map.recordings.layouts.file_names import natural_key, stamps_of_names
from g2vlm_map.words import MAX_CHARS, plain
from g2vlm_model.interface.documents import parse_json
from tests.fuzz.strategies import NAMES, STAMPS, images, mutated, pictures, question_entries
from tests.map.test_foreign_bags import IMAGE, mcap, picture

CORPUS = Path(__file__).parent / "corpus"
LIMIT = 4096
# `G2VLM_FUZZ=20000 pytest tests/fuzz` looks for longer, and not always at the same.
EXAMPLES = int(os.environ.get("G2VLM_FUZZ", "0"))
door = settings(
    max_examples=EXAMPLES or 40,
    derandomize=not EXAMPLES,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
WHOLE_BAG = mcap([("/image", IMAGE, "cdr")], [(1, 10**9, picture(0)), (1, 2 * 10**9, picture(1))])


def taken(pixels: Any) -> bool:
    """Whether a picture is decoded; else it is refused in words."""
    try:
        size = pixels.size(LIMIT)
        assert size[0] * size[1] <= LIMIT
        out = np.zeros((*size, 3), np.uint8)
        pixels.write_rgb(out)
        assert pixels.gray().shape[1] == 160
    except BadInputError as error:
        assert str(error).isprintable()  # noqa: PT017
        assert len(str(error)) < MAX_CHARS + 100  # noqa: PT017
        return False
    return True


@door
@given(images())
def test_raw_pictures(image: Any) -> None:
    taken(RawPixels(image))


@door
@given(st.one_of(pictures, st.binary(max_size=100)), NAMES)
def test_coded_pictures(data: bytes, told: str) -> None:
    taken(CompressedPixels(SimpleNamespace(format=told, data=data)))


@door
@given(st.lists(st.tuples(STAMPS, NAMES, st.integers(-(2**40), 2**40)), max_size=12))
def test_stamps_and_frames(frames: list[tuple[int, str, int]]) -> None:
    camera = Camera("camera", 8, ImageOptions())
    shown = np.zeros((16, 16, 3), np.uint8)
    let_in = 0
    for stamp_ns, frame_id, now_ns in frames:
        camera.compare_clock(stamp_ns, abs(now_ns))
        assert camera.skew.isprintable()
        try:
            let_in += len(camera.admit(InputFrame(shown, stamp_ns, "", frame_id), now_ns).arrivals)
        except BadInputError as error:
            assert str(error).isprintable()  # noqa: PT017
    assert let_in <= len(frames)


@door
@given(st.one_of(question_entries(), st.binary(max_size=60)))
def test_question_files(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "questions.json"
    path.write_bytes(data)
    try:
        load_questions(path, (10**9, 2 * 10**9))
    except ReplayInputError as error:
        assert len(plain(str(error))) <= 4 * MAX_CHARS  # noqa: PT017


@door
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_documents(data: bytes) -> None:
    for parse in (parse_json, parse_yaml):
        try:
            parse(data)
        except ValueError:
            continue


@door
@given(mutated(WHOLE_BAG))
def test_bags(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.mcap"
    path.write_bytes(data)
    try:
        for frame in open_recording(path).frames():
            frame.rgb()
    except RecordingError as error:
        assert str(error).isprintable()  # noqa: PT017


@door
@given(st.lists(NAMES, min_size=1, max_size=5))
def test_names_of_files(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    found = stamps_of_names(ordered)
    assert found is None or len(found[0]) == len(names)


@door
@given(st.text(max_size=300))
def test_words(text: str) -> None:
    assert plain(text).isprintable()
    assert len(plain(text, 50)) < 150


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*")), ids=lambda path: path.name)
def test_findings_stay_mended(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Files are named by their door: picture-, bag-, questions-, document-."""
    data = path.read_bytes()
    kind = path.name.partition("-")[0]
    if kind == "picture":
        taken(CompressedPixels(SimpleNamespace(format="", data=data)))
    elif kind == "document":
        with pytest.raises(ValueError, match=r"."):
            parse_json(data)
    elif kind == "questions":
        with pytest.raises(ReplayInputError):
            load_questions(path, (10**9,))
    else:
        with pytest.raises(RecordingError):
            open_recording(path)
    assert capfd.readouterr().err == ""
