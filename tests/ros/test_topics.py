# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Names of topics by image_transport's conventions, and what of parameter files is shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from g2vlm_ros.param_files import shared_names
from g2vlm_ros.topics import compressed_topic, frame_name, info_topic


@pytest.mark.parametrize(
    ("base", "compressed", "info"),
    [
        ("/cam/image_raw", "/cam/image_raw/compressed", "/cam/camera_info"),
        ("/cam/image_raw/compressed", "/cam/image_raw/compressed", "/cam/camera_info"),
        ("/camera1/image_compressed", "/camera1/image_compressed", "/camera1/camera_info"),
        ("/image", "/image/compressed", "/camera_info"),
        ("image", "image/compressed", "camera_info"),
        ("~/left/image_rect", "~/left/image_rect/compressed", "~/left/camera_info"),
    ],
)
def test_topics_follow_the_base_topic(base: str, compressed: str, info: str) -> None:
    assert compressed_topic(base) == compressed
    assert info_topic(base) == info


def test_a_frame_name_loses_the_slash_of_ros_1() -> None:
    assert frame_name("/cam_optical") == "cam_optical"
    assert frame_name("robot1/cam_optical") == "robot1/cam_optical"


FILE = """
/**:
  ros__parameters:
    use_sim_time: true
    lidar.range: 5.0
    window: {size: 4, typo: 1}
    mine: 1
/**/g2vlm:
  ros__parameters: {addressed: 1}
robot1:
  g2vlm:
    ros__parameters:
      nested: {deep: 1}
      mine: 2
"""


def test_names_of_blocks_for_all_nodes_are_told_from_those_of_this_one(tmp_path: Path) -> None:
    file = tmp_path / "params.yaml"
    file.write_text(FILE)
    argv = ["node", "--ros-args", "--params-file", str(file), "-p", "lidar.range:=2.0"]
    assert shared_names(argv) == {"use_sim_time", "window.size", "window.typo"}
    named = [*argv[:-1], "g2vlm:window.typo:=2"]
    assert shared_names(named) == {"use_sim_time", "window.size", "lidar.range"}
    outside = ["node", "--params-file", str(file), "--ros-args", "--", "--params-file", str(file)]
    assert shared_names(outside) == set()


@pytest.mark.parametrize("text", ["{", "- a", "text", "", "/**: 3", "\xff\xfe"])
def test_a_file_that_is_no_parameter_file_adds_nothing(tmp_path: Path, text: str) -> None:
    file = tmp_path / "params.yaml"
    file.write_bytes(text.encode("latin1"))
    assert shared_names(["--ros-args", "--params-file", str(file)]) == set()
    assert shared_names(["--ros-args", "--params-file", str(tmp_path / "none.yaml")]) == set()
