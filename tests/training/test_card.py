# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Real stretches and the model card: what they take, what they say, what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from g2vlm_training.evaluate.card import claims, confidence_table, real_table
from g2vlm_training.evaluate.stretches import Stretch, part_of, stretches_of
from g2vlm_training.evaluate_cli import main

from g2vlm_model.checkpoint import model_id, resolve_folder
from tests.training.layout_folders import write_dl3dv, write_posed


def number(value: float, spread: float = 0.01) -> dict[str, float]:
    return {"value": value, "low": value - spread, "high": value + spread}


def evaluation(name: str, place: str, gain: float, ratio: float, model: str) -> dict[str, Any]:
    head = {
        "abs_rel": number(0.25 + gain), "confidence_ratio": number(ratio),
        "confidence_area": number(ratio), "rotation_median_deg": number(1.0),
    }  # fmt: skip
    rows = [
        {"row": "head", "windows": 20, "metrics": head},
        {"row": "mean-depth map", "windows": 20, "metrics": {"abs_rel": number(0.25)}},
        {"row": "identity motion", "windows": 20, "metrics": {"rotation_median_deg": number(3.0)}},
    ]
    return {
        "model": model, "git": "abc", "command": {"stride": 2, "dataset": "posed"},
        "stretch": {"name": name, "place": place, "seen": ""},
        "tables": [
            {
                "frames": 1, "rows": rows,
                "gains": {"AbsRel: head - mean-depth map": number(gain)},
            }
        ],
    }  # fmt: skip


def four(gain: float = -0.05, ratio: float = 0.4, model: str = "") -> list[dict[str, Any]]:
    places = {"a1": "a", "a2": "a", "b": "b", "c": "c"}
    return [evaluation(name, place, gain, ratio, model) for name, place in places.items()]


def test_a_card_claims_only_what_holds_on_all() -> None:
    depth, confidence = claims(four())
    assert depth.endswith("better than the training rooms' mean depth map on all 4 stretches")
    assert "confidence orders errors on every stretch" in confidence
    mixed = four()
    mixed[1] = evaluation("a2", "a", 0.05, 0.9, "")
    mixed[3] = evaluation("c", "c", 0.001, 0.5, "")
    depth, confidence = claims(mixed)
    assert depth.endswith("mean depth map: better on a1, b; not told apart on c; worse on a2")
    assert "does not order errors" in confidence
    assert "0.90" in confidence
    assert "| a2 | a |  | 1 | 20 | 0.300 | 0.250 |" in real_table(mixed)
    assert "| a2 | 1 | 0.90 (0.89 to 0.91) |" in confidence_table(mixed)


def written(folder: Path, stretches: list[dict[str, Any]]) -> Path:
    for item in stretches:
        path = folder / item["stretch"]["name"] / "geometry.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(item))
    return folder


def test_a_card_is_written_from_files_and_refuses_others(tmp_path: Path) -> None:
    model = model_id("nano")
    notes = tmp_path / "notes.md"
    notes.write_text("## Data\n\nRooms.\n")
    rooms = tmp_path / "rooms.json"
    content = evaluation("x", "x", -0.1, 0.3, model)
    rooms.write_text(
        json.dumps({**content, "command": {"stride": 1, "split": "test", "root": "made/plain"}})
    )
    good = written(tmp_path / "good", four(model=model))
    words = ["card", "--rooms", str(rooms), "--notes", str(notes), "--stretches"]
    out = tmp_path / "README.md"
    assert main([*words, str(good), "--out", str(out)]) == 0
    text = out.read_text()
    for part in (model, "5,654,632", "11.3 MB", "## Data", "seed 9", "on all 4 stretches",
                 "| a1 | a |", "**shards plain, split test, stride 1, 1 frame**"):  # fmt: skip
        assert part in text, part
    few = written(tmp_path / "few", four(model=model)[:3])
    with pytest.raises(ValueError, match="3 real stretches of 2 places, a card needs 4 of 3"):
        main([*words, str(few)])
    assert main([*words, str(few), "--force", "--out", str(out)]) == 0
    other = written(tmp_path / "other", four(model="nano@older"))
    with pytest.raises(ValueError, match="is of nano@older, the card is of nano@"):
        main([*words, str(other)])
    rooms.write_text("[]")
    with pytest.raises(ValueError, match="is no evaluation file with 'tables'"):
        main([*words, str(good)])


def test_the_card_that_ships_is_what_the_command_writes(tmp_path: Path) -> None:
    """No number of it comes from elsewhere, and all are of the very weights beside it."""
    files = Path(__file__).parents[2] / "docs/cards/nano"
    out = tmp_path / "README.md"
    words = ["card", "--model", "nano", "--notes", str(files / "notes.md"), "--out", str(out)]
    rooms = [str(files / name / "geometry.json") for name in ("rooms", "realistic")]
    words += ["--rooms", *rooms, "--stretches", str(files / "stretches")]
    assert main([*words, "--questions", str(files / "questions.json")]) == 0
    shipped = resolve_folder("nano") / "README.md"
    assert shipped.read_text(encoding="utf-8") == out.read_text(encoding="utf-8")
    for path in files.rglob("*.json"):
        assert '"/' not in path.read_text(encoding="utf-8"), f"{path} names a place of one machine"


def test_a_stretch_is_a_part_of_a_sequence(tmp_path: Path) -> None:
    from g2vlm_training.datasets.layouts import open_dataset

    write_posed(tmp_path)
    (whole,) = open_dataset("posed", tmp_path)
    part = part_of(whole, Stretch("end", "here", "posed", ".", first=1))
    assert len(part) == len(whole) - 1
    np.testing.assert_array_equal(part.read([0]).rgb, whole.read([1]).rgb)
    with pytest.raises(ValueError, match=r"frames 2 to 9, .* has 3"):
        part_of(whole, Stretch("long", "here", "posed", ".", first=2, count=7))


def test_stretches_are_looked_at_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_posed(tmp_path / "data")
    write_dl3dv(tmp_path / "object")
    for path in (tmp_path / "object").rglob("transforms.json"):
        found = json.loads(path.read_text())
        for frame in found["frames"]:
            frame.pop("depth_file_path", None)
        path.write_text(json.dumps(found))
    entries: list[dict[str, Any]] = [
        {"name": "walk", "place": "p", "dataset": "posed", "root": "data/walk"},
        {"name": "turn", "place": "q", "dataset": "dl3dv", "root": "object", "depth": False},
    ]
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps(entries))
    words = ["stretches", "--data", str(tmp_path), "--list", str(listed), "--stride", "1"]
    words += ["--frames", "1,2", "--windows", "2", "--out", str(tmp_path / "out")]
    assert main([*words, "all"]) == 0
    walk = json.loads((tmp_path / "out/walk/geometry.json").read_text())
    assert walk["stretch"]["place"] == "p"
    (row, *_) = walk["tables"][0]["rows"]
    assert {"abs_rel", "confidence_ratio", "confidence_area"} <= row["metrics"].keys()
    turn = json.loads((tmp_path / "out/turn/geometry.json").read_text())
    assert [table["frames"] for table in turn["tables"]] == [2]
    metrics = turn["tables"][0]["rows"][0]["metrics"]
    assert "rotation_median_deg" in metrics
    assert "abs_rel" not in metrics
    with pytest.raises(ValueError, match=r"no stretch is called \['cellar'\]"):
        main([*words, "cellar"])
    entries[1]["root"] = "nowhere"
    listed.write_text(json.dumps(entries))
    with pytest.raises(FileNotFoundError, match=r"stretch turn needs .*nowhere"):
        main([*words, "turn"])
    listed.write_text(json.dumps([entries[0], entries[0]]))
    with pytest.raises(ValueError, match="names a stretch twice"):
        stretches_of(listed)


def test_the_stretches_that_come_with_it_are_enough_for_a_card() -> None:
    from g2vlm_training.evaluate import stretches

    found = stretches_of(Path(stretches.__file__).with_name("stretches.json"))
    assert len(found) >= 4
    assert len({stretch.place for stretch in found}) >= 3
    assert [stretch.name for stretch in found if stretch.seen] == ["kitchen_a"]
