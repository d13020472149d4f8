"""Every transition, twice round; what each may do; failures of configure."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
from rcl_interfaces.msg import Log
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import Image

from g2vlm_interfaces.msg import SceneStatus, SpatialAnswer

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
        ({"tf__odom_frame": "odom"}, "tf.odom_frame is 'odom'"),
        ({"tf__map_frame": ""}, "tf.map_frame is ''"),
        ({"images__reliability": "sometimes"}, "images.reliability is 'sometimes'"),
        ({"camera__image_topic": "no topic"}, "'no topic'"),
        ({"camera__camera_info_topic": "9"}, "'9'"),
        ({"runtime": "nowhere"}, "nowhere"),
        ({"runtime": "torch", "export": "exports/nano"}, "export is 'exports/nano'"),
        ({"backend": "torch"}, "backend is called runtime now; rename it"),
        ({"engines": "exports/nano"}, "engines is called export now; rename it"),
        ({"runtime": "tests.ros.nowhere:create"}, "nowhere"),
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


def test_whole_numbers_are_taken_for_fractions(make_graph: Make) -> None:
    graph = make_graph(status__hold_s=2)
    assert graph.configure()
    assert graph.board.options.hold_s == 2.0


def test_parameters_while_active(graph: Any) -> None:
    from rclpy.parameter import Parameter

    def put(name: str, value: Any) -> Any:
        return graph.node.set_parameters([Parameter(name, value=value)])[0]

    assert put("points.decimation", 2).successful
    assert graph.node._outputs.rules.cloud.decimation == 2
    refused = put("points.decimation", 0)
    assert not refused.successful
    assert "points.decimation" in refused.reason
    assert graph.node._outputs.rules.cloud.decimation == 2
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
    for name in graph.node._parameters:
        if name in ("use_sim_time", "start_type_description_service"):
            continue
        assert graph.node.describe_parameter(name).description, name
