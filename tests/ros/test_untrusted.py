# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What others may send to the real node: nothing of it runs code, leaves folders, or ends it."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter

from g2vlm_interfaces.srv import LoadMap, SaveMap
from g2vlm_model.model_folder import resolve_folder
from g2vlm_ros.map_services import map_path
from tests.model.test_foreign import PANICS
from tests.ros.graph import SCRIPTED

Make = Callable[..., Any]


def set_parameter(graph: Any, name: str, value: str) -> Any:
    request = SetParameters.Request(parameters=[Parameter(name, value=value).to_parameter_msg()])
    return graph.call(SetParameters, "/g2vlm/set_parameters", request).results[0]


def test_a_runtime_of_ones_own_is_taken_at_start_up_only(
    make_graph: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may set parameters of an unconfigured node runs no code with it."""
    ran = tmp_path / "ran"
    (tmp_path / "planted.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.syspath_prepend(tmp_path)
    graph = make_graph()  # its start-up parameters name the scripted runtime
    result = set_parameter(graph, "runtime", "planted:create")
    assert not result.successful
    assert "is taken from the start-up parameters only" in result.reason
    assert set_parameter(graph, "runtime", "torch").successful
    assert set_parameter(graph, "runtime", SCRIPTED).successful, "what it was started with"
    assert graph.configure()
    assert not ran.exists()


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "def create(**_): raise SystemExit(3)"])
def test_a_runtime_that_wants_to_end_the_process_does_not(
    code: str, make_graph: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaving.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "leaving", raising=False)
    graph = make_graph(runtime="leaving:create")
    assert not graph.configure()
    assert graph.state == "unconfigured"


def test_a_tokenizer_that_panics_leaves_the_node_up(
    make_graph: Make, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The library of tokenizers is Rust; its panic is no Exception."""
    folder = tmp_path / "model"
    shutil.copytree(resolve_folder("nano"), folder)
    (folder / "tokenizer.json").write_text(PANICS)
    graph = make_graph(runtime="torch", model=str(folder), device="cpu")
    assert not graph.configure()
    assert graph.state == "unconfigured"
    assert "tokenizer.json gave up" in capfd.readouterr().err
    assert set_parameter(graph, "model", "nano").successful


def test_maps_stay_in_their_folder_and_replace_only_maps(make_graph: Make, tmp_path: Path) -> None:
    folder, outside = tmp_path / "maps", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "notes.txt").write_text("mine")
    graph = make_graph(map_folder=str(folder))
    graph.start()
    graph.scene()

    def save(path: str) -> Any:
        request = SaveMap.Request(path=path, overwrite=True)
        return graph.call(SaveMap, "/g2vlm/save_map", request)

    for path in ("../outside/a", str(outside / "a"), "link/a", ".", "a/../../b"):
        answer = save(path)
        assert not answer.success, path
        assert "leads out of map_folder" in answer.message
    answer = save("notes.txt")
    assert not answer.success
    assert "is no map, and only a map is overwritten" in answer.message
    assert (folder / "notes.txt").read_text() == "mine"
    assert save("kitchen").success
    assert save("kitchen").success, "a map may be replaced"
    assert (folder / "kitchen.g2map").is_file()
    assert not list(outside.iterdir())
    loaded = graph.call(LoadMap, "/g2vlm/load_map", LoadMap.Request(path="../outside/a"))
    assert "leads out of map_folder" in loaded.message
    assert graph.call(LoadMap, "/g2vlm/load_map", LoadMap.Request(path="kitchen")).success


def test_answers_hold_no_control_characters_and_have_a_length(graph: Any) -> None:
    hostile = "/nowhere/\x1b[2J" + "long" * 2000
    answer = graph.call(SaveMap, "/g2vlm/save_map", SaveMap.Request(path=hostile))
    assert not answer.success
    assert answer.message.isprintable()
    assert len(answer.message) < 5000
    with pytest.raises(ValueError, match="expected the name of a file"):
        map_path("a\0b", "")


def test_a_name_with_an_escape_reaches_no_log(
    graph: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whoever calls the service chooses the file's name; others read the log and the events."""
    graph.scene()
    path = str(tmp_path / "a\x1b[2Jb.g2map")
    saved = graph.call(SaveMap, "/g2vlm/save_map", SaveMap.Request(path=path))
    loaded = graph.call(LoadMap, "/g2vlm/load_map", LoadMap.Request(path=path))
    assert saved.success
    assert loaded.success
    events = graph.wait(lambda: [e for e in graph.received["map_event"] if e.cause], "an event")
    texts = [saved.message, loaded.message, *(event.text for event in events)]
    assert all(text.isprintable() for text in texts), texts
    assert "\x1b[2J" not in capfd.readouterr().err


def test_what_a_model_says_and_is_called_reaches_no_terminal_raw(
    graph: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """A model folder from elsewhere chooses its name, and its weights what is answered."""
    graph.scene()
    graph.runtime.info = dataclasses.replace(graph.runtime.info, model_id="nano\x1b[2J-0")
    graph.runtime.break_answer = lambda answer: dataclasses.replace(
        answer, text="it is\n\x1b]0;owned\x07 2.0", model_id="own\x1b[2J"
    )
    answer = graph.ask()
    assert answer.text == "it is\n\\x1b]0;owned\\x07 2.0"
    assert answer.model_id == "own\\x1b[2J"
    graph.status(lambda status: status.model_id == "nano\\x1b[2J-0")
    said: list[str] = []

    def is_logged() -> bool:
        said.append(capfd.readouterr().err)
        return "runs nano" in "".join(said)

    graph.wait(is_logged, "the log's line on the new runtime")
    assert "\x1b[2J" not in "".join(said)
