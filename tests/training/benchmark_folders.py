# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Tiny folders in the layouts of the published benchmarks, and a runtime with fixed answers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw

from benchmarks.instant_runtime import InstantRuntime, InstantScene
from g2vlm_model.interface import (
    AnswerStatus,
    FrameWindow,
    RuntimeInfo,
    Scene,
    SpatialAnswer,
    SpatialQuery,
)

SIZE = (64, 48)


def draw(path: Path, shade: int) -> None:
    """A picture with a box whose place and grey depend on `shade`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", SIZE, (shade, 90, 255 - shade))
    ImageDraw.Draw(image).rectangle((shade % 40, 8, shade % 40 + 12, 30), fill=(250, 240, 20))
    image.save(path)


def draw_video(path: Path, frames: int) -> None:
    """A video whose frames get brighter, 8 grey levels a frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, SIZE)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((SIZE[1], SIZE[0], 3), 8 * index, np.uint8))
    writer.release()


def write_lines(path: Path, entries: Sequence[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(e if isinstance(e, str) else json.dumps(e) + "\n" for e in entries)
    path.write_text(text, encoding="utf-8")


def write_json(path: Path, entries: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries), encoding="utf-8")


def spar_row(
    number: int, task: str, question: str, answer: str, images: int = 1
) -> dict[str, object]:
    return {
        "id": number,
        "img_type": "multi_view" if images > 1 else "single_view",
        "format_type": "select" if answer in "ABCD" else "fill",
        "task": task,
        "source": "scannet",
        "image": [f"images/{number}_{index}.png" for index in range(images)],
        "question": question,
        "answer": answer,
    }


SPAR_ROWS = (
    spar_row(1, "depth_prediction_oc", "How deep is the chair (red point) in meters?", "2.0"),
    spar_row(2, "depth_prediction_oc", "How deep is the lamp (red point) in meters?", "4.0"),
    spar_row(3, "distance_prediction_oo_mv", "How far is A from B?", "1.0", images=3),
    spar_row(
        4,
        "obj_spatial_relation_oo",
        "Where is the lamp?\nA. left, above\nB. right, above\nC. left\nD. right",
        "B",
    ),
    spar_row(5, "spatial_imagination_oc", "Where is it then? A. left B. right", "A"),
    spar_row(
        6,
        "view_change_infer",
        "How did the camera move?",
        "move_right:0.4,move_forward:2.0,rotate_left:20",
        images=2,
    ),
    spar_row(7, "position_matching", "Which box? A. (1,2,3,4) B. (5,6,7,8)", "B", images=2),
)


def write_spar(folder: Path) -> None:
    write_lines(folder / "spar.jsonl", SPAR_ROWS)
    for row in SPAR_ROWS:
        images = row["image"]
        assert isinstance(images, list)
        for index, name in enumerate(images):
            draw(folder / name, 20 * int(str(row["id"])) + index)


def write_mindcube(folder: Path) -> None:
    lines = []
    for name, answer, count in (
        ("among_group001_q1", "A", 4),
        ("among_group001_q2", "C", 4),
        ("aroundnew_group7_q2_1", "B", 2),
        ("rotation_group3_q0", "D", 3),
        ("translation_group3_q0", "D", 2),
    ):
        images = [f"other_all_image/set/{name[:9]}_{index}.jpg" for index in range(count)]
        for index, image in enumerate(images):
            draw(folder / image, 10 * index)
        lines.append(
            {
                "id": name,
                "category": ["P-P", "self"],
                "type": "setting",
                "meta_info": [[3], ["table", "chair"]],
                "question": "Where is the chair? A. In front B. Behind C. Left D. Right",
                "images": images,
                "gt_answer": answer,
            }
        )
    write_lines(folder / "raw" / "MindCube_tinybench.jsonl", lines)


def ost_turn(
    turn: int, kind: str, question: str, answer: str, option: list[str]
) -> dict[str, object]:
    return {
        "scan_id": "scene0001_00",
        "system_prompt": "Assume you are exploring a room.",
        "turn_id": turn,
        "type": kind,
        "origin_question": question,
        "answer": answer,
        "option": option,
        "new_observations": [f"scene0001_00/{turn}_{index}.jpg" for index in range(5)],
        "user_message": f"For the {turn} turn ... {question}",
    }


OST_TURNS = (
    ost_turn(2, "Agent_state-orientation(Estimation)", "By how much did you turn?", "90.0", []),
    ost_turn(1, "Agent_state-position(Judgement)", "Which way?", '"left"', ["left", "right"]),
    ost_turn(3, "Agent_visible_info-quantity(Counting)", "How many chairs?", "3", []),
    ost_turn(4, "A_room-size(float)", "How large is the room?", "30.0", []),
    ost_turn(5, "AO_direction(option1)", "Where is it?", "front-left", ["front-left", "rear-left"]),
)


def write_ost(folder: Path) -> None:
    write_json(folder / "OST_bench.json", OST_TURNS)
    for row in OST_TURNS:
        images = row["new_observations"]
        assert isinstance(images, list)
        for index, name in enumerate(images):
            draw(folder / "images" / name, 7 * int(str(row["turn_id"])) + index)


def omni_entry(name: str, dimension: str, task: str, answer: int) -> dict[str, object]:
    return {
        "id": name,
        "question": "What is true?",
        "options": ["2.7s", "14.7s", "25.7s", "3.9s"],
        "answer": answer,
        "task_type": dimension,
        "sub_task_type": task,
    }


def write_omnispatial(folder: Path) -> None:
    entries = [
        omni_entry("0_0", "Dynamic_Reasoning", "Motion_Analysis", 0),
        omni_entry("0_0", "Spatial_Interaction", "Localization", 1),
        omni_entry("0_1", "Spatial_Interaction", "Localization", 2),
        omni_entry("3_0", "Perspective_Taking", "Egocentric", 3),
    ]
    entries[3].pop("answer")
    entries[3]["gt"] = "D"
    write_json(folder / "data.json", entries)
    for entry in entries:
        draw(folder / str(entry["task_type"]) / f"{str(entry['id']).split('_')[0]}.png", 60)


def vsi_row(number: int, kind: str, truth: str, options: list[str] | None) -> dict[str, object]:
    return {
        "id": number,
        "dataset": "scannet",
        "scene_name": "scene0001_00",
        "question_type": kind,
        "question": f"A question about {kind}?",
        "options": options,
        "ground_truth": truth,
    }


def write_vsi(folder: Path) -> None:
    rows = [
        vsi_row(0, "object_counting", "4", None),
        vsi_row(1, "object_size_estimation", "80", None),
        vsi_row(2, "object_rel_direction_easy", "A", ["A. left", "B. right"]),
        vsi_row(3, "object_rel_direction_hard", "B", ["A. front-left", "B. back-left", "C. back"]),
        vsi_row(4, "route_planning", "C", ["A. Turn Left", "B. Turn Right", "C. Turn Back"]),
    ]
    write_lines(folder / "test.jsonl", rows)
    draw_video(folder / "scannet" / "scene0001_00.mp4", frames=30)


WRITERS: Mapping[str, Callable[[Path], None]] = {
    "spar": write_spar,
    "mindcube": write_mindcube,
    "ost": write_ost,
    "omnispatial": write_omnispatial,
    "vsi": write_vsi,
}


class TalkingRuntime(InstantRuntime):
    """Answers with the first text whose key the question holds, else with `otherwise`."""

    def __init__(self, answers: Mapping[str, str], otherwise: str = "B") -> None:
        super().__init__(24, 32)
        self.info = RuntimeInfo("scripted", "cpu", "fp32", "talker-0", 1)
        self.answers = answers
        self.otherwise = otherwise
        self.windows: list[FrameWindow] = []
        self.questions: list[str] = []
        self.scenes: list[InstantScene] = []

    def observe(
        self, window: FrameWindow, *, cancelled: Callable[[], bool] | None = None
    ) -> InstantScene:
        self.windows.append(window)
        scene = super().observe(window)
        self.scenes.append(scene)
        return scene

    def ask(
        self,
        scene: Scene,
        query: SpatialQuery,
        *,
        on_text: Callable[[str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> SpatialAnswer:
        self.questions.append(query.question)
        text = next((t for key, t in self.answers.items() if key in query.question), self.otherwise)
        if text == "FAIL":
            raise RuntimeError("the device failed")
        return SpatialAnswer(AnswerStatus.OK, text=text)


def create(
    model: str | Path = "", device: str = "", precision: str = "", prompt_mode: str = ""
) -> TalkingRuntime:
    """Runtime "tests.training.benchmark_folders:create"; `model` is what it always says."""
    runtime = TalkingRuntime({}, otherwise=str(model))
    runtime.info = RuntimeInfo("scripted", "cpu", "fp32", f"talker-{model}", 1)
    return runtime
