# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Text from outside becomes one bounded line without control characters."""

from __future__ import annotations

from g2vlm_map.decode import BadInputError
from g2vlm_map.options import StatusOptions
from g2vlm_map.recordings import RecordingError
from g2vlm_map.status import StatusBoard
from g2vlm_map.words import MAX_CHARS, plain

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\u202ednuor yaw gnorw\x00\n" + "x" * 10_000


def test_plain() -> None:
    assert plain("a topic /cam\u00e9ra/image \u4e2d") == "a topic /cam\u00e9ra/image \u4e2d"
    assert plain("one\ntwo\tthree") == "one two three"
    assert plain("\x1b[31m") == r"\x1b[31m"
    assert plain("a\u202eb\ud800") == r"a\u202eb\ud800"
    assert plain("x" * 30, 10) == "x" * 10 + " ... (20 characters more)"


def test_every_door_speaks_plainly() -> None:
    board = StatusBoard(StatusOptions())
    board.event("QUERY_REJECTED", HOSTILE, 0.0)
    board.condition("NO_IMAGES", True, HOSTILE, "camera")
    texts = [reason.text for reason in board.reasons(1.0)]
    texts += [str(BadInputError("bad_data", HOSTILE)), str(RecordingError(HOSTILE))]
    assert len(texts) == 4
    for text in texts:
        assert text.isprintable(), text
        assert len(text) < MAX_CHARS + 100
