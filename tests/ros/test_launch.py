# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What stands beside the launch files: arguments, parameters, profile, views."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from g2vlm_map.status import DROP_CODES, REASON_CODES, explained_at
from g2vlm_ros import launch_arguments as arguments
from g2vlm_ros.answer_topics import OPTIONAL
from g2vlm_ros.params import RENAMED, camera_options, node_options, parse
from tests.helpers import REPO, wait_for

LAUNCH = REPO / "launch"
INSTANT = "benchmarks.instant_runtime:create"


def defaults(**given: str) -> dict[str, str]:
    """Values of all launch arguments, as a launch file would hold them."""
    return {item.name: item.default or "" for item in arguments.NODE_ARGUMENTS} | given


def yaml_parameters() -> dict[str, Any]:
    document = yaml.safe_load((LAUNCH / "g2vlm.yaml").read_text(encoding="utf-8"))
    parameters: dict[str, Any] = document["/**"]["ros__parameters"]
    return parameters


def test_the_parameter_file_and_the_parameter_table_are_up_to_date() -> None:
    command = [sys.executable, "scripts/write_reference.py", "--check"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reason_is_documented() -> None:
    page = (REPO / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    assert not {code for code in DROP_CODES if f"`{code}`" not in page}
    # Each code has a heading, whose anchor the log and the doctor name, and says what to do.
    sections = dict(re.findall(r"^### ([A-Z_]+)\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL))
    assert set(sections) == set(REASON_CODES)
    assert all("**Do:** " in text for text in sections.values())
    assert explained_at("NO_IMAGES") == "docs/troubleshooting.md#no_images"


def test_the_parameter_file_holds_every_parameter_and_no_other() -> None:
    assert set(yaml_parameters()) == {*node_options(), *camera_options("camera")}
    assert parse(yaml_parameters()).topics[0].image_topic == "camera/image_raw"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"use_sim_time": "no"}, {"use_sim_time": False}),
        ({"model": "/models/g2vlm", "device": "cuda:0", "runtime": "torch"},
         {"model": "/models/g2vlm", "device": "cuda:0", "runtime": "torch"}),
        ({"runtime": "onnx", "export": "/exports/nano"},
         {"runtime": "onnx", "export": "/exports/nano"}),
        ({"image_topic": "/a/b", "camera_info_topic": "/a/c", "image_transport": "compressed"},
         {"camera.image_topic": "/a/b", "camera.camera_info_topic": "/a/c",
          "camera.image_transport": "compressed"}),
        ({"image_topic": "/a/b", "camera_info": "no"},
         {"camera.image_topic": "/a/b", "camera.camera_info_topic": ""}),
        ({"camera_info": "true"}, {}),
        ({"cameras": "front, left", "image_topic": "/rig/{camera}/raw", "image_transport": "raw"},
         {"cameras": ["front", "left"], "front.image_topic": "/rig/front/raw",
          "left.image_topic": "/rig/left/raw", "front.image_transport": "raw",
          "left.image_transport": "raw"}),
        ({"cameras": "['a', 'b']", "camera": "b", "image_topic": "/b/raw"},
         {"cameras": ["a", "b"], "b.image_topic": "/b/raw"}),
        ({"rviz": "true", "foxglove": "1"}, {}),  # who looks on changes nothing
        ({"publish_tf": "yes"}, {"tf.publish": True}),
        ({"odometry_topic": "/odom", "base_frame": "base_link", "odom_frame": "odom",
          "depth_topic": "/depth/image", "depth_source": "fused"},
         {"sensors.odometry_topic": "/odom", "frames.base": "base_link", "frames.odom": "odom",
          "camera.depth_topic": "/depth/image", "depth.source": "fused"}),
        ({"use_sim_time": "on"}, {"use_sim_time": True}),
        ({"respawn": "true"}, {"autostart": True}),
        ({"respawn": "true", "autostart": "false"}, {}),
    ],
)  # fmt: skip
def test_arguments_become_parameters_that_the_node_knows(
    given: dict[str, str], expected: dict[str, str | bool | list[str]]
) -> None:
    result = arguments.node_parameters(defaults(**given))
    assert {"autostart": False, **expected} == result
    own = {name: value for name, value in result.items() if name != "use_sim_time"}
    shipped = yaml_parameters() if "cameras" not in own else {}
    parse({**shipped, **own})


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"cameras": "a,b", "camera": "c"}, "camera:=c is not one of cameras:=a,b"),
        ({"cameras": "a,b", "image_topic": "/x/raw"}, r"one topic for the cameras a, b; write {c"),
        ({"camera_info": "false", "camera_info_topic": "/i"}, "contradict each other"),
    ],
)
def test_topics_and_cameras_that_do_not_go_together(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        arguments.node_parameters(defaults(**given))


def test_topics_of_a_camera_that_the_node_lacks_name_what_to_add() -> None:
    """The parameter file may list the camera, so only the node can tell."""
    result = arguments.node_parameters(defaults(camera="front", image_topic="/a/b"))
    with pytest.raises(ValueError, match=r"add 'front' to it, e\.g\. cameras:=\[front\]"):
        parse(result)


@pytest.mark.parametrize(
    ("code", "respawn", "said"),
    [
        (0, False, ""),
        (1, False, "the node ended with exit code 1"),
        (-9, False, "the node ended with exit code -9"),
        (os.EX_CONFIG, False, "the node cannot be configured as asked, its log says why"),
        (0, True, ""),
        (-9, True, ""),  # a crash: another start may help
        (os.EX_CONFIG, True, "it is not started again"),
    ],
)
def test_what_the_end_of_a_process_means(code: int, respawn: bool, said: str) -> None:
    problem = arguments.exit_problem("the node", code, respawn=respawn)
    assert said in problem
    assert bool(problem) == bool(said)


def test_an_argument_of_an_earlier_version_is_refused_with_its_new_name() -> None:
    arguments.check_names(defaults(runtime="onnx", backend=""))
    with pytest.raises(ValueError, match=r"backend:=onnx: .* called runtime now; give runtime:=o"):
        arguments.check_names(defaults(backend="onnx"))
    with pytest.raises(ValueError, match=r"image_transport now; give image_transport:=raw"):
        arguments.check_names(defaults(compressed="false"))
    names = {item.name for item in arguments.NODE_ARGUMENTS}
    assert not names & {*RENAMED, "compressed"}


def test_an_enclave_reaches_the_node_and_what_runs_beside_it() -> None:
    assert arguments.ros_arguments(defaults()) == ["--log-level", "info"]
    inside = defaults(enclave="/robot1/g2vlm", log_level="WARN")
    words = ["--log-level", "warn", "--enclave", "/robot1/g2vlm"]
    assert arguments.ros_arguments(inside) == words
    assert arguments.companion_enclave(inside, "robot") == ["--enclave", "/robot"]
    assert arguments.companion_enclave(defaults(), "robot") == []
    with pytest.raises(ValueError, match="enclave:='g2vlm', expected a name such as /g2vlm"):
        arguments.ros_arguments(defaults(enclave="g2vlm"))


def test_a_log_level_that_is_none_is_an_error() -> None:
    arguments.check_names(defaults(log_level="WARN"))
    with pytest.raises(ValueError, match="log_level:='loud', expected one of debug, info"):
        arguments.check_names(defaults(log_level="loud"))


def test_a_parameter_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    default = LAUNCH / "g2vlm.yaml"
    assert arguments.parameter_file(defaults(), default) == str(default)
    own = tmp_path / "own.yaml"
    with pytest.raises(FileNotFoundError, match=r"own\.yaml' is not a file; give its absolute"):
        arguments.parameter_file(defaults(params_file=str(own)), default)
    own.touch()
    assert arguments.parameter_file(defaults(params_file=str(own)), default) == str(own)


def test_a_flag_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match="publish_tf:='maybe', expected true or false"):
        arguments.node_parameters(defaults(publish_tf="maybe"))


def test_what_the_user_has_set_in_the_environment_stays() -> None:
    profile, variable = Path("/shm.xml"), arguments.PROFILE_VARIABLE
    given = arguments.profile_environment
    assert given(defaults(), {}, profile) == {variable: "/shm.xml"}
    assert not given(defaults(), {variable: "/my.xml"}, profile)
    assert not given(defaults(shm="false"), {}, profile)
    environment = arguments.malloc_environment({"MALLOC_TRIM_THRESHOLD_": "7"})
    assert environment == {**arguments.MALLOC, "MALLOC_TRIM_THRESHOLD_": "7"}
    both = arguments.node_environment(defaults(), {}, profile)
    assert both == {**arguments.MALLOC, variable: "/shm.xml"}


def test_no_variable_is_set_for_what_else_is_launched() -> None:
    """A launch file that includes ours keeps its environment: each process gets its own."""
    for path in LAUNCH.glob("*.launch.py"):
        text = path.read_text(encoding="utf-8")
        assert "SetEnvironmentVariable" not in text
        assert "environ[" not in text
        started = len(re.findall(r"(?:Node|ExecuteProcess)\(\n", text))
        assert started == text.count("additional_env="), path.name


def test_a_viewer_finds_every_topic_of_a_node_in_a_namespace() -> None:
    views = (LAUNCH / "g2vlm.rviz").read_text(encoding="utf-8")
    assert arguments.moved_topics(views, "", "g2vlm") == []
    moved = dict(arguments.moved_topics(views, "/robot1/", "g2vlm"))
    shown = {topic for topic in shown_topics() if f"Value: {topic}\n" in views}
    assert shown <= set(moved)
    assert len(shown) >= 4
    assert moved["/g2vlm/depth/image"] == "/robot1/g2vlm/depth/image"
    assert moved["/g2vlm/depth/camera_info"] == "/robot1/g2vlm/depth/camera_info"


def test_play_command() -> None:
    values = {"bag": "/data/run", "rate": "0.5", "loop": "false", "end_with_bag": "false"}
    assert arguments.play_command(values)[:4] == ["ros2", "bag", "play", "/data/run"]
    assert "--loop" in arguments.play_command(values | {"loop": "true"})
    for rate in ("0", "-1", "fast", "inf", "nan"):
        with pytest.raises(ValueError, match=r"expected a number above 0"):
            arguments.play_command(values | {"rate": rate})


def test_parameters_of_the_simulated_robot() -> None:
    values = {item.name: item.default or "" for item in arguments.SIMULATED_ARGUMENTS}
    expected = {"scene": "room", "index": 0, "mode": "tour"}
    assert arguments.robot_parameters(values) == expected
    for wrong in ("-1", "first", ""):
        with pytest.raises(ValueError, match=r"index:='.*', expected a number of 0 or more"):
            arguments.robot_parameters(values | {"index": wrong})


def test_the_profile_is_large_enough_for_pictures_and_clouds() -> None:
    root = ET.parse(LAUNCH / "fastdds_shm.xml").getroot()
    space = {"d": "http://www.eprosima.com"}
    descriptors = {
        item.findtext("d:type", "", space): item
        for item in root.iterfind(".//d:transport_descriptor", space)
    }
    assert set(descriptors) == {"SHM", "UDPv4"}
    message = int(descriptors["SHM"].findtext("d:maxMessageSize", "0", space))
    segment = int(descriptors["SHM"].findtext("d:segment_size", "0", space))
    assert message >= 1920 * 1080 * 4
    assert segment >= 3 * message
    used = {item.text for item in root.iterfind(".//d:userTransports/d:transport_id", space)}
    named = {item.findtext("d:transport_id", "", space) for item in descriptors.values()}
    assert used == named
    participant = root.find(".//d:participant", space)
    assert participant is not None
    assert participant.get("is_default_profile") == "true"


def shown_topics() -> set[str]:
    """Topics that RViz and Foxglove subscribe to."""
    views = yaml.safe_load((LAUNCH / "g2vlm.rviz").read_text(encoding="utf-8"))
    displays = views["Visualization Manager"]["Displays"]
    rviz = {display["Topic"]["Value"] for display in displays if "Topic" in display}
    layout = (LAUNCH / "foxglove.json").read_text(encoding="utf-8")
    json.loads(layout)
    foxglove = set(re.findall(r'"(/g2vlm/[a-z_/]+|/diagnostics)"', layout)) - {"/g2vlm/query"}
    assert len(rviz) >= 4
    assert len(foxglove) >= 5
    # Nobody publishes topics of types that are not installed.
    missing = {f"/g2vlm/{topic}" for package, _, topic, _ in OPTIONAL if not installed(package)}
    return (rviz | foxglove) - missing


def installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@pytest.fixture
def observer(ros: None) -> Iterator[Any]:
    import rclpy

    node = rclpy.create_node("observer")
    yield node
    node.destroy_node()


def node_process(tmp_path: Path, *words: str, **changes: str) -> subprocess.Popen[str]:
    """The node as the launch file starts it: parameter file, overrides, profile, allocator."""
    override = tmp_path / "overrides.yaml"
    given = {"runtime": INSTANT, "image_topic": "/cam/image", **changes}
    values = arguments.node_parameters(defaults(**given))
    override.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
    environment = {
        **os.environ,
        **arguments.malloc_environment(os.environ),
        arguments.PROFILE_VARIABLE: str(LAUNCH / "fastdds_shm.xml"),
    }
    files = ["--params-file", str(LAUNCH / "g2vlm.yaml"), "--params-file", str(override)]
    command = [sys.executable, "-m", "g2vlm_ros.node", "--ros-args", *files, *words]
    return subprocess.Popen(
        command, cwd=REPO, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def change(observer: Any, transition: int) -> bool:
    """Ask for a lifecycle transition, as the launch file's events do."""
    import rclpy
    from lifecycle_msgs.srv import ChangeState

    client = observer.create_client(ChangeState, "/g2vlm/change_state")
    assert client.wait_for_service(timeout_sec=60.0), "the node did not come up in 60 s"
    request = ChangeState.Request()
    request.transition.id = transition
    future = client.call_async(request)
    rclpy.spin_until_future_complete(observer, future, timeout_sec=60.0)
    assert future.done(), "no answer to change_state in 60 s"
    observer.destroy_client(client)
    success: bool = future.result().success
    return success


def transitions(observer: Any) -> list[tuple[str, str]]:
    """Start and goal of each transition of the node from now on."""
    from lifecycle_msgs.msg import TransitionEvent

    seen: list[tuple[str, str]] = []
    observer.create_subscription(
        TransitionEvent,
        "/g2vlm/transition_event",
        lambda msg: seen.append((msg.start_state.label, msg.goal_state.label)),
        10,
    )
    return seen


def test_the_node_runs_with_the_shipped_files_as_the_launch_file_expects(
    observer: Any, tmp_path: Path
) -> None:
    import rclpy
    from lifecycle_msgs.msg import Transition
    from rcl_interfaces.srv import GetParameters

    seen = transitions(observer)
    process = node_process(tmp_path)
    try:
        assert change(observer, Transition.TRANSITION_CONFIGURE)
        assert change(observer, Transition.TRANSITION_ACTIVATE)
        expected = {("configuring", "inactive"), ("activating", "active")}

        def all_seen() -> bool:
            rclpy.spin_once(observer, timeout_sec=0.1)
            return expected <= set(seen)

        wait_for(all_seen, 60.0, what=f"{expected} on transition_event")

        client = observer.create_client(GetParameters, "/g2vlm/get_parameters")
        request = GetParameters.Request(names=["camera.image_topic", "window.size"])
        future = client.call_async(request)
        rclpy.spin_until_future_complete(observer, future, timeout_sec=10.0)
        values = future.result().values
        assert values[0].string_value == "/cam/image"
        assert values[1].integer_value == yaml_parameters()["window.size"]

        def missing() -> set[str]:
            return {topic for topic in shown_topics() if not observer.count_publishers(topic)}

        wait_for(lambda: not missing(), 10.0, what="a publisher of each shown topic")
        process.send_signal(signal.SIGINT)
        assert process.wait(15.0) == 0
    finally:
        process.kill()
        output, _ = process.communicate()
        print(output)


def test_a_configure_that_fails_shows_as_the_launch_file_expects(
    observer: Any, tmp_path: Path
) -> None:
    import rclpy
    from lifecycle_msgs.msg import Transition

    seen = transitions(observer)
    process = node_process(tmp_path, model="/no/such/folder", runtime="torch")
    try:
        assert not change(observer, Transition.TRANSITION_CONFIGURE)

        def failed() -> set[tuple[str, str]]:
            rclpy.spin_once(observer, timeout_sec=0.1)
            return set(seen) & arguments.BRING_UP_FAILURES

        wait_for(failed, 10.0, what="a failure on transition_event")
    finally:
        process.kill()
        process.communicate()
