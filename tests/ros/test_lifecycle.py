# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Every transition, twice round; what each may do; failures of configure."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger

from g2vlm_interfaces.msg import SceneStatus, SpatialAnswer
from g2vlm_interfaces.srv import SpatialQuery
from tests.ros.graph import image_message, picture

Make = Callable[..., Any]


def test_every_transition_twice_round(make_graph: Make) -> None:
    graph = make_graph()
    graph.listen()
    for _ in range(2):
        assert graph.state == "unconfigured"
        assert graph.configure()
        runtime = graph.runtime
        assert graph.status().state == SceneStatus.STATE_INACTIVE
        for _ in range(2):
            assert graph.activate()
            assert graph.state == "active"
            graph.scene()
            status = graph.status(lambda s: s.scenes == 1)
            assert status.state == SceneStatus.STATE_DEGRADED or status.reason_codes == [
                "SCALE_UNKNOWN"
            ]
            assert graph.deactivate()
            assert graph.state == "inactive"
            assert not runtime.closed
            assert all(scene.closed for scene in runtime.scenes)
            assert graph.node.count_subscribers("/camera/image_raw") == 0
            assert not [t for t in threading.enumerate() if t.name.startswith("g2vlm-")]
        assert graph.cleanup()
        assert runtime.closed
        gc.collect()
        graph.wait(lambda: graph.client.count_publishers("/g2vlm/points") == 0, "no publisher")


def test_wrong_transition_is_refused(make_graph: Make) -> None:
    graph = make_graph()
    assert not graph.activate()
    assert graph.state == "unconfigured"


def test_an_activation_that_fails_leaves_nothing_subscribed(
    make_graph: Make, capfd: pytest.CaptureFixture[str]
) -> None:
    graph = make_graph()
    assert graph.configure()
    # One participant cannot hold two types under one name: the second subscription fails.
    other = graph.client.create_publisher(Image, "/camera/camera_info", 1)
    for _ in range(2):
        assert not graph.activate()
        assert graph.state == "inactive"
        assert "cannot activate: " in capfd.readouterr().err
        assert graph.node.count_subscribers("/camera/image_raw") == 0
    graph.client.destroy_publisher(other)
    assert graph.activate()
    graph.scene()


def in_work(graph: Any) -> None:
    """Begin a pass that does not end."""
    before = len(graph.runtime.windows)
    graph.runtime.observe_gate.clear()
    graph.good_image()
    graph.wait(lambda: len(graph.runtime.windows) > before, "a pass")


@pytest.mark.alone
@pytest.mark.parametrize("deaf", [False, True])
def test_deactivate_does_not_wait_for_a_pass(graph: Any, deaf: bool) -> None:
    """A pass that hears of it is broken off; one that does not goes on behind, alone."""
    graph.scene()
    runtime = graph.runtime
    runtime.deaf = deaf
    in_work(graph)
    started = time.monotonic()
    assert graph.deactivate()
    assert time.monotonic() - started < 2.0
    assert graph.state == "inactive"
    assert runtime.passes == deaf
    assert graph.activate()
    graph.codes("RUNTIME_BUSY", present=deaf)
    for _ in range(3):
        graph.good_image()
    runtime.observe_gate.set()
    graph.codes("RUNTIME_BUSY", present=False)
    graph.scene()
    assert runtime.most_passes == 1
    assert all(scene.closed for scene in runtime.scenes[:-3])


@pytest.mark.alone
def test_deactivate_does_not_wait_for_an_answer(graph: Any) -> None:
    graph.scene()
    graph.runtime.deaf = True
    graph.runtime.ask_gate.clear()
    request = SpatialQuery.Request(question="How far is the wall?")
    future = graph.send(SpatialQuery, "/g2vlm/query", request)
    graph.wait(lambda: graph.runtime.queries, "the question")
    started = time.monotonic()
    assert graph.deactivate()
    assert time.monotonic() - started < 2.0
    graph.runtime.ask_gate.set()
    graph.wait(future.done, "its answer")


def test_the_runtime_is_freed_behind_a_pass_that_was_given_up(graph: Any) -> None:
    graph.scene()
    runtime = graph.runtime
    runtime.deaf = True
    in_work(graph)
    assert graph.deactivate()
    assert graph.cleanup()
    assert not runtime.closed
    assert graph.configure()
    assert graph.runtime is not runtime
    runtime.observe_gate.set()
    graph.wait(lambda: runtime.closed, "the end of the runtime")
    assert graph.activate()
    graph.scene()


def test_more_frames_than_the_runtime_takes(make_graph: Make) -> None:
    """A rig with the default window: shortened and told, or refused where nothing fits."""
    cameras = ["a", "b", "c", "d"]
    graph = make_graph(cameras=cameras, model="24 frames")
    graph.listen("status")
    graph.start()
    status = graph.codes("WINDOW_SHORTENED")
    text = status.reason_texts[list(status.reason_codes).index("WINDOW_SHORTENED")]
    assert "window.size is 8 moments of 4 cameras, the runtime takes 24 frames" in text
    for _ in range(9):
        graph.stamp_ns += 100_000_000
        graph.shift += 12
        for name in cameras:
            message = image_message(picture(graph.shift), graph.stamp_ns, name)
            graph.publish(message, f"/{name}/image_raw")
    graph.wait(lambda: max(map(len, graph.runtime.windows), default=0) == 24, "a whole window")
    assert "RUNTIME_FAILED" not in graph.status().reason_codes


def test_services_answer_in_every_state(make_graph: Make) -> None:
    graph = make_graph()
    for state in ("unconfigured", "inactive"):
        assert graph.state == state
        answer = graph.ask()
        assert answer.status == SpatialAnswer.NO_SCENE
        assert "inactive" in answer.message
        assert not graph.reset().success
        graph.configure()


def test_a_late_subscriber_learns_the_newest_status_only(graph: Any) -> None:
    seen = graph.received["status"]
    graph.wait(lambda: len(seen) > 4, "some statuses")
    late: list[Any] = []
    qos = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    newest = seen[-1].header.stamp
    graph.client.create_subscription(SceneStatus, "/g2vlm/status", late.append, qos)
    graph.wait(lambda: late, "a status at once")
    first = late[0].header.stamp
    assert (first.sec, first.nanosec) >= (newest.sec, newest.nanosec)


def test_what_the_libraries_log_reaches_rosout(graph: Any) -> None:
    lines: list[Any] = []
    graph.client.create_subscription(Log, "/rosout", lines.append, 100)
    library = logging.getLogger("g2vlm_model.runtimes.torch")

    def said(level: int, text: str) -> Any:
        library.log(level, "%s: %d MB", text, 7)
        wanted = f"g2vlm_model.runtimes.torch: {text}: 7 MB"
        return next((line for line in lines if line.msg == wanted), None)

    for level in (logging.INFO, logging.WARNING, logging.ERROR):
        line = graph.wait(lambda level=level: said(level, f"at {level}"), f"level {level}")
        assert (line.name, line.level) == ("g2vlm", level)
    assert not said(logging.DEBUG, "unasked")
    graph.close()
    library.error("nobody shows this")  # and nothing breaks: the node is gone


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"window__size": 0}, "window.size is 0, expected 2..64"),
        ({"window__sise": 8}, "window.sise is no parameter"),
        ({"camera__image_topik": "x"}, "camera.image_topik is no parameter"),
        ({"cameras": ["9lives"]}, "'9lives'"),
        ({"cameras": []}, "names 0 cameras"),
        ({"points__decimation": 2.5}, "points.decimation is 2.5, expected a whole number"),
        ({"points__min_range": 3.0, "points__max_range": 2.0}, "points.max_range is 2"),
        ({"points__organized": True, "points__source": "window"}, "points.organized needs"),
        ({"frames__odom": "odom"}, "frames.odom is 'odom' and frames.base is empty"),
        ({"frames__map": ""}, "frames.map is ''"),
        ({"frames__base": "/base"}, "frames.base is '/base'"),
        ({"frames__map": "odom", "frames__odom": "odom", "frames__base": "b"}, "one frame twice"),
        ({"tf__map_frame": "world"}, "tf.map_frame is called frames.map now"),
        ({"tf__odom_frame": "odom"}, "tf.odom_frame is called frames.odom now"),
        ({"tf__invert": True}, "tf.invert is gone: name the robot's frames"),
        ({"sensors__scan_topics": "/scan 2d"}, "sensors.scan_topics names '2d'"),
        ({"camera__extrinsics": "1 2 3"}, "camera.extrinsics is '1 2 3', expected seven numbers"),
        ({"camera__extrinsics": "0 0 0 0 0 0 2"}, "a quaternion of length 2"),
        ({"images__reliability": "sometimes"}, "images.reliability is 'sometimes'"),
        ({"camera__image_topic": "no topic"}, "'no topic'"),
        ({"camera__camera_info_topic": "9"}, "'9'"),
        ({"runtime": "nowhere"}, "nowhere"),
        ({"runtime": "torch", "export": "exports/nano"}, "export is 'exports/nano'"),
        ({"backend": "torch"}, "backend is called runtime now; rename it"),
        ({"engines": "exports/nano"}, "engines is called export now; rename it"),
        ({"runtime": "tests.ros.nowhere:create"}, "nowhere"),
        ({"cameras": list("abcd"), "model": "7 frames"}, "the runtime takes 7 frames"),
    ],
)
def test_configure_says_what_is_wrong(
    make_graph: Make, capfd: pytest.CaptureFixture[str], parameters: dict[str, Any], said: str
) -> None:
    graph = make_graph(**parameters)
    assert not graph.configure()
    assert graph.state == "unconfigured"
    log = capfd.readouterr().err
    assert "cannot configure: " in log
    assert said in log
    assert "Traceback" not in log


def test_a_corrected_parameter_lets_configure_pass(make_graph: Make) -> None:
    from rclpy.parameter import Parameter

    graph = make_graph(window__size=0)
    assert not graph.configure()
    result = graph.node.set_parameters([Parameter("window.size", value=99)])[0]
    assert not result.successful
    assert "window.size" in result.reason
    assert "64" in result.reason
    assert graph.node.set_parameters([Parameter("window.size", value=4)])[0].successful
    assert graph.configure()


def test_code_comes_from_the_start_up_parameters_only(make_graph: Make) -> None:
    from rclpy.parameter import Parameter

    graph = make_graph()
    for name in ("os:system", "tests.ros.scripted_runtime:other"):
        result = graph.node.set_parameters([Parameter("runtime", value=name)])[0]
        assert not result.successful
        assert "start-up parameters only" in result.reason
    own = graph.node.get_parameter("runtime").value
    assert ":" in own
    assert graph.node.set_parameters([Parameter("runtime", value="torch")])[0].successful
    assert graph.node.set_parameters([Parameter("runtime", value=own)])[0].successful


def test_whole_numbers_are_taken_for_fractions(make_graph: Make) -> None:
    graph = make_graph(status__hold_s=2)
    assert graph.configure()
    assert graph.node.pipeline.options.status.hold_s == 2.0


def test_parameters_while_active(graph: Any) -> None:
    from rclpy.parameter import Parameter

    def put(name: str, value: Any) -> Any:
        return graph.node.set_parameters([Parameter(name, value=value)])[0]

    def columns() -> Any:
        graph.received["points"].clear()
        graph.scene()
        return graph.wait(lambda: graph.received["points"], "a cloud")[0].width

    graph.publisher("/camera/image_raw")
    every = columns()
    assert put("points.decimation", 2).successful
    assert columns() == every // 4
    refused = put("points.decimation", 0)
    assert not refused.successful
    assert "points.decimation" in refused.reason
    assert columns() == every // 4
    fixed = put("window.size", 4)
    assert not fixed.successful
    assert "fixed while the node is configured" in fixed.reason
    clash = put("points.min_range", 5.0)
    assert clash.successful
    clash = put("points.max_range", 4.0)
    assert not clash.successful
    assert "points.max_range is 4" in clash.reason


def test_every_parameter_is_described(make_graph: Make) -> None:
    graph = make_graph()
    for name in graph.node.get_parameters_by_prefix(""):
        if name in ("use_sim_time", "start_type_description_service"):
            continue
        assert graph.node.describe_parameter(name).description, name


@pytest.mark.alone
def test_deactivate_waits_for_all_threads_until_one_deadline(
    graph: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass, a frame and the dense map that do not end: not one time after the other."""
    graph.scene()
    go_on, busy = threading.Event(), threading.Event()
    worker = graph.node._outputs.dense.worker

    def slow(*arguments: Any) -> None:
        busy.set()
        go_on.wait(20.0)

    monkeypatch.setattr(worker, "_make", slow)
    worker.offer(graph.node.pipeline.world)
    assert busy.wait(10.0)
    graph.runtime.observe_gate.clear()
    graph.good_image()
    started = time.monotonic()
    graph.node._stop("for the test")
    took = time.monotonic() - started
    go_on.set()
    graph.runtime.observe_gate.set()
    assert took < 1.0, f"{took:.2f} s"


def test_a_reset_that_waits_for_a_scene_holds_no_other_service_up(graph: Any) -> None:
    graph.scene()
    with graph.node.pipeline._passes._committing:
        waits = graph.send(Trigger, "/g2vlm/reset", Trigger.Request())
        answer = graph.call(SetBool, "/g2vlm/pause", SetBool.Request(data=True))
        assert answer.success
        assert not waits.done()
    graph.wait(waits.done, "the reset")
    assert waits.result().message == "segment 2 starts"
