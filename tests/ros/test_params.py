"""The parameter table, the status board and their documentation: no ROS."""

from __future__ import annotations

import pytest

from g2vlm_map.options import StatusOptions
from g2vlm_map.status import DROP_CODES, REASON_CODES, StatusBoard
from g2vlm_model.interface import AnswerStatus, RuntimeInfo
from g2vlm_ros.params import changeable, parse
from tests.helpers import REPO

DOCS = (REPO / "docs" / "node.md").read_text(encoding="utf-8")


def test_defaults_are_valid() -> None:
    params = parse({})
    assert params.count("window.size") == 8
    assert params.cameras[0].image_topic == "camera/image_raw"


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        parse({"window.size": 0, "points.decimation": True, "typo": 1, "front.transport": "smoke"})
    text = str(caught.value)
    for part in ("window.size is 0", "points.decimation is True", "typo is no", "front.transport"):
        assert part in text


def test_cameras_have_parameters_of_their_own() -> None:
    values = {"cameras": ["a", "b"], "b.transport": "compressed", "b.image_topic": "x/compressed"}
    first, second = parse(values).cameras
    assert (first.name, first.transport, first.image_topic) == ("a", "raw", "a/image_raw")
    assert (second.transport, second.image_topic) == ("compressed", "x/compressed")


@pytest.mark.parametrize("name", ["points", "images", "a b", "", "a.b", "ä"])
def test_names_that_cannot_be_cameras(name: str) -> None:
    with pytest.raises(ValueError, match="cameras holds"):
        parse({"cameras": [name]})


def test_changes_are_checked_against_the_rest() -> None:
    params = parse({"points.max_range": 5.0})
    assert params.replaced({"points.min_range": 1}).number("points.min_range") == 1.0
    with pytest.raises(ValueError, match=r"points.max_range is 5"):
        params.replaced({"points.min_range": 6.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0, "1", None, [1.0]])
def test_numbers_are_numbers(value: object) -> None:
    with pytest.raises(ValueError, match=r"points.max_range is"):
        parse({"points.max_range": value})


def test_docs_list_every_code_and_drop_reason() -> None:
    for name in [*REASON_CODES, *DROP_CODES]:
        assert f"`{name}`" in DOCS, name


def test_weights_cannot_be_swapped_while_active() -> None:
    assert not changeable("model")
    assert changeable("points.decimation")


def test_events_end_and_conditions_last() -> None:
    board = StatusBoard(StatusOptions(hold_s=2.0))
    board.event("BAD_IMAGES", "broken", now=10.0)
    board.condition("NO_IMAGES", True, "silent", source="left")
    board.condition("NO_IMAGES", True, "silent", source="right")
    assert [r.code for r in board.reasons(11.9)] == ["NO_IMAGES", "BAD_IMAGES"]
    assert board.reasons(11.9)[0].text == "left: silent; right: silent"
    assert [r.code for r in board.reasons(12.0)] == ["NO_IMAGES"]
    board.condition("NO_IMAGES", False, source="left")
    assert board.reasons(12.0)[0].text == "right: silent"
    board.condition("NO_IMAGES", False, source="right")
    assert not board.reasons(12.0)


def test_logs_do_not_repeat() -> None:
    board = StatusBoard(StatusOptions(hold_s=0.5))
    lines = []
    for tick in range(300):  # thirty seconds of a reason that flickers
        now = tick / 10
        if tick % 10 == 0:
            board.event("BAD_IMAGES", "broken", now)
        lines += board.messages(board.reasons(now), now)
    assert sum("broken" in line for line in lines) == 3
    assert sum("over" in line for line in lines) == 3


def test_a_standing_reason_is_repeated_once_a_minute() -> None:
    board = StatusBoard(StatusOptions(hold_s=1.0))
    board.condition("NO_IMAGES", True, "silent")
    lines = [line for t in range(180) for line in board.messages(board.reasons(t), t)]
    assert lines == ["NO_IMAGES: silent"] * 3


def test_tolerated_codes_do_not_degrade() -> None:
    board = StatusBoard(StatusOptions(hold_s=1.0, tolerated=("SCALE_UNKNOWN",)))
    board.condition("SCALE_UNKNOWN", True, "none")
    assert not board.degraded(board.reasons(0.0))
    board.condition("LOW_PARALLAX", True, "still")
    assert board.degraded(board.reasons(0.0))


def test_interface_numbers_agree() -> None:
    from g2vlm_interfaces import msg as messages

    for status in AnswerStatus:
        assert getattr(messages.SpatialAnswer, status.name) == status


def test_helpers_name_what_runs() -> None:
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    from g2vlm_ros.messages import hardware_id

    info = RuntimeInfo("torch", "cpu", "fp32", "nano-1", 5)
    assert hardware_id(info) == "nano-1 on cpu (torch, fp32)"
