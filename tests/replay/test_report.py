# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The report: one file without a network, all sections, honest where something is missing."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from evo.tools.file_interface import read_tum_trajectory_file
from g2vlm_replay.asking import Answer
from g2vlm_replay.charts import cloud_chart, latency_chart, timeline_chart
from g2vlm_replay.files import PLY_DTYPE, map_cloud, write_ply, write_tum
from g2vlm_replay.machine import describe_machine
from g2vlm_replay.metrics import METRICS
from g2vlm_replay.node.bag_writer import BagWriter
from g2vlm_replay.node.published import Published
from g2vlm_replay.outcome import Played, RanWith, SceneTimes, StatusSample, Timeline
from g2vlm_replay.panels import colour_depth, nearest_with
from g2vlm_replay.pose_metrics import PoseSegment
from g2vlm_replay.question_file import Expected, Mark, Question
from g2vlm_replay.report import ReportInput, write_report
from g2vlm_replay.report_rows import GROUPS, show
from g2vlm_replay.scoring import Judged, constant_answer_accuracy, score

from g2vlm_map.mapping.keyframe import Keyframe, PlacedKeyframe, View
from g2vlm_map.recordings.bag import BagRecording
from g2vlm_map.scale.estimate import ScaleEstimate
from g2vlm_map.world import World
from tests.map.mapping.worlds import random_world
from tests.replay.bags import NS, OPTICAL, Scribe, translation, write_plain_bag

_UPPER = ("summary", "scenes", "cloud", "trajectory", "questions")
SECTIONS = (*_UPPER, "latency", "metrics", "node", "setting")


def test_a_panel_is_of_a_scene_with_a_true_depth_where_one_is_near() -> None:
    near = range(96, 105)
    assert nearest_with({90, 99, 102}, 100, near) == 99
    assert nearest_with({100, 101}, 100, near) == 100
    assert nearest_with({90, 110}, 100, near) == 100


def write_outputs(path: Path, stamps: tuple[int, ...]) -> None:
    """What a node would publish: depth, cloud and pose at each stamp."""
    with BagWriter(path) as writer:
        scribe = Scribe(writer)
        for i, ns in enumerate(stamps):
            depth = np.full((12, 16), 0.5, np.float32)
            depth[:, 8:] = np.nan
            scribe.image("/g2vlm/depth/image", ns, depth, "32FC1")
            write_cloud(scribe, ns)
            scribe.pose_with_covariance("/g2vlm/pose", ns, translation(0.05 * i, 0.01 * i * i))


def write_cloud(scribe: Scribe, ns: int) -> None:
    points = np.zeros((40, 5), np.float32)
    points[:, 0] = np.linspace(-1, 1, 40)
    points[:, 2] = 2.0
    points[:, 3] = np.full(40, 0x00FF8000, np.uint32).view(np.float32)
    points[:, 4] = np.linspace(0, 1, 40)
    field = scribe.types["sensor_msgs/msg/PointField"]
    names = ("x", "y", "z", "rgb", "confidence")
    message = scribe.types["sensor_msgs/msg/PointCloud2"](
        header=scribe.header(ns),
        height=1,
        width=40,
        fields=[field(name=n, offset=4 * i, datatype=7, count=1) for i, n in enumerate(names)],
        is_bigendian=False,
        point_step=20,
        row_step=800,
        data=np.frombuffer(points.tobytes(), np.uint8),
        is_dense=True,
    )
    scribe.writer.write_message("/g2vlm/points", "sensor_msgs/msg/PointCloud2", ns, message)


def sample(wall_s: float, scenes: int, segment: int = 1) -> StatusSample:
    reasons = ("SCALE_UNKNOWN",)
    drops = {"not_keyframe": 1}
    return StatusSample(wall_s, scenes + 1, scenes, 1, scenes, segment, reasons, drops)


def full_run(tmp_path: Path) -> tuple[ReportInput, Path]:
    write_plain_bag(tmp_path / "in", mcap=True, count=8)
    recording = BagRecording(tmp_path / "in")
    stamps = recording.info.stamps_ns
    write_outputs(tmp_path / "recorded", stamps)
    timeline = Timeline(
        sent_s={stamp: 0.1 * i for i, stamp in enumerate(stamps)},
        scene_s={stamp: 0.1 * i + 0.04 for i, stamp in enumerate(stamps)},
        # Two segments of four scenes; the node renumbers ahead of the scene that begins the next.
        statuses=[sample(0.1 * i, i, 1 + (i > 4)) for i in range(9)] + [sample(1.0, 8, 3)],
        scene_times=[SceneTimes(i, 40.0, 30.0, 2.0) for i in range(1, 9)],
        ran_with=RanWith("test-1", "torch", "cpu", "fp32", "none", is_metric=False),
        reason_texts={"SCALE_UNKNOWN": "no scale <source>"},
    )
    asked = Question("How far is <A>?", 2, (Mark("A", 3, 4),), Expected(1.0, "m"))
    answers = [
        Answer(
            asked, stamps[2], "OK", text="0.5", value=0.5, unit="scene_unit", total_ms=12.0,
            cross_check="AGREES", measured_value=0.48,
        ),
        Answer(Question("Never?"), 0, "NOT_ASKED", "no scene"),
    ]  # fmt: skip
    played = Played(1.0, 8, 0, (), 100.0, 0.5)
    outputs = Published(tmp_path / "recorded", timeline.statuses)
    scores = score(recording, outputs, timeline, played, answers)
    report = ReportInput(
        title="A <run>\x1b[31m\u202e",
        created="now",
        recording=recording,
        outputs=outputs,
        scores=scores,
        timeline=timeline,
        played=played,
        cloud=map_cloud(random_world(3), 0.3, in_metres=False),
        cloud_confidence=0.3,
        rate=0.0,
        in_process=False,
        conditions=("abs_rel>0.3",),
        failed=("FAILED abs_rel>0.3: abs_rel is 0.4",),
        system=describe_machine(),
    )
    return report, tmp_path / "report.html"


class Page(HTMLParser):
    """Collects ids, sources and targets, and checks that every tag is closed."""

    VOID = frozenset({"meta", "img", "br", "link", "input", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.scripts = 0
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.add(value or "")
            if name in {"src", "href", "srcset", "data", "action", "poster"}:
                self.links.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_report_is_self_contained_and_whole(tmp_path: Path) -> None:
    report, path = full_run(tmp_path)
    write_report(path, report)
    text = path.read_text()
    page = Page(text)
    assert set(SECTIONS) <= page.ids
    assert page.links
    for link in page.links:
        assert link.startswith(("data:image/", "#")), link[:60]
        if link.startswith("#"):
            assert link[1:] in page.ids
    assert not {"iframe", "link", "object"} & page.tags
    assert page.scripts == 2  # data and what moves them; neither has a source, see above
    assert "@import" not in text
    assert not re.search(r"url\(", text)
    assert "A &lt;run&gt;" in text  # what comes from outside is escaped
    assert "\x1b" not in text  # and plain
    assert "\u202e" not in text
    assert "How far is &lt;A&gt;?" in text
    assert "FAILED abs_rel&gt;0.3" in text
    assert "up to scale" in text
    assert "no scale &lt;source&gt;" in text
    assert "0.48 units (agrees)" in text
    for _, names in GROUPS:
        for name in names:
            measured = report.scores.values[name] is not None
            assert (f"<code>{name}</code>" in text) == measured


def test_scores_of_the_run(tmp_path: Path) -> None:
    scores = full_run(tmp_path)[0].scores
    values = scores.values
    assert set(values) == set(METRICS)
    # Depth: flat in truth and prediction, half of the pixels, one row without truth.
    assert values["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert values["depth_coverage"] == pytest.approx(0.5)
    assert values["segments"] == 2.0
    assert values["poses"] == 8.0
    assert scores.poses is not None
    assert [len(segment.stamps_ns) for segment in scores.segments] == [4, 4]
    assert values["latency_p50_ms"] == pytest.approx(40.0)
    assert values["frames_refused"] == 0.0
    # 0.5 units are 1.02 m where the picture's truth is 1.02 m at a prediction of 0.5.
    assert [item.correct for item in scores.answers] == [True, None]
    assert values["answer_accuracy"] == 1.0
    assert scores.baselines["ate_m"].keys() == {"identity", "line"}


def test_constant_answers_by_hand() -> None:
    def judged(kind: str, expected: Expected, correct: bool | None = True) -> Judged:
        return Judged(Answer(Question("q", expected=expected, kind=kind), 1, "OK"), correct)

    answers = [
        judged("depth", Expected(1.0, "m")),
        judged("depth", Expected(1.2, "m")),  # within 25 % of 1.0 and of 1.5
        judged("depth", Expected(1.5, "m")),
        judged("what", Expected(texts=("chair",))),
        judged("what", Expected(texts=("Table",))),
        judged("what", Expected(texts=("table",))),
        judged("count", Expected(2.0)),
        judged("count", Expected(9.0), None),  # not judged, so not counted
    ]
    assert constant_answer_accuracy(answers) == pytest.approx((3 + 2 + 1) / 7)


def test_report_without_truth_scenes_or_status(tmp_path: Path) -> None:
    report, path = full_run(tmp_path)
    with BagWriter(tmp_path / "nothing"):
        pass
    outputs = Published(tmp_path / "nothing", [])
    timeline = Timeline()
    played = Played(0.0, 0, 0, (), 0.0, 0.0)
    scores = score(report.recording, outputs, timeline, played, [])
    empty = ReportInput(
        title="empty", created="now", recording=report.recording, outputs=outputs,
        scores=scores, timeline=timeline, played=played, cloud=None,
        cloud_confidence=0.3, rate=1.0, in_process=True, conditions=(), failed=(), system={},
    )  # fmt: skip
    write_report(path, empty)
    page = Page(path.read_text())
    assert set(SECTIONS) <= page.ids
    assert scores.values["abs_rel"] is None
    assert scores.values["scenes"] == 0.0
    assert "No pose came out." in path.read_text()


def test_charts_bear_degenerate_data() -> None:
    wall = np.zeros((50, 3), np.float32)
    wall[:, 0] = np.linspace(-1, 1, 50)
    assert cloud_chart(wall, np.zeros((50, 3), np.uint8), "units").startswith(b"\x89PNG")
    one = np.ones((20, 3), np.float32)
    assert cloud_chart(one, np.zeros((20, 3), np.uint8), "units").startswith(b"\x89PNG")
    for chart in (
        latency_chart([], []),
        latency_chart([5.0], [5.0]),
        timeline_chart([sample(0, 0)]),
    ):
        assert ET.fromstring(chart).tag.endswith("svg")


def test_depth_colours() -> None:
    depth = np.array([[1.0, 2.0, 4.0, 0.0, np.nan, -1.0]], np.float32)
    colours = colour_depth(depth, 1.0, 4.0)[0].astype(int)
    assert colours[0][0] > colours[0][2]  # near is red
    assert colours[2][2] > colours[2][0]  # far is blue
    assert (colours[3] == colours[4]).all()
    assert (colours[3] == colours[5]).all()
    assert np.ptp(colours[3]) < 10  # none is grey


def test_cloud_file(tmp_path: Path) -> None:
    depth = np.array([[2.0, 2.0, 0.0, 4.0]], np.float16)
    view = View(
        "camera", OPTICAL, 7, np.eye(4), np.array([[2.0, 0, 1], [0, 2.0, 0], [0, 0, 1]]), (1, 4),
        depth, np.array([[255, 128, 255, 20]], np.uint8),
        np.arange(12, dtype=np.uint8).reshape(1, 4, 3),
        np.zeros((0, 2), np.float32), np.zeros((0, 32), np.uint8),
    )  # fmt: skip
    keyframe = Keyframe(1, 7, "7", (view,), {})
    placed = PlacedKeyframe(keyframe, translation(10.0), math.log(0.5), np.eye(6), 1)
    scale = ScaleEstimate(metric=True, log_scale=math.log(3.0), sigma=0.1)
    # In map units the depths are 1 and 2, the second is seen straight ahead; x of rays: -.5, 0, 1.
    merged = map_cloud(World(keyframes=(placed,)), 0.3, in_metres=False)
    np.testing.assert_allclose(merged["xyz"], np.array([[9.5, 0, 1], [10, 0, 1]]), atol=1e-5)
    assert merged["rgb"].tolist() == [[0, 1, 2], [3, 4, 5]]
    in_metres = map_cloud(World(keyframes=(placed,), scale=scale), 0.3, in_metres=True)
    np.testing.assert_allclose(in_metres["xyz"], 3 * merged["xyz"], rtol=1e-5)
    write_ply(tmp_path / "c.ply", merged, "up to scale")
    data = (tmp_path / "c.ply").read_bytes()
    header, body = data.split(b"end_header\n")
    assert b"format binary_little_endian 1.0" in header
    assert b"element vertex 2" in header
    np.testing.assert_array_equal(np.frombuffer(body, PLY_DTYPE), merged)


def test_trajectory_file(tmp_path: Path) -> None:
    T = translation(1.5, -2.0, 0.25)
    write_tum(tmp_path / "t.tum", [PoseSegment(3, (12 * NS + 5,), T[None])], "m")
    trajectory = read_tum_trajectory_file(tmp_path / "t.tum")
    np.testing.assert_allclose(trajectory.positions_xyz, [[1.5, -2.0, 0.25]])
    assert "segment 3" in (tmp_path / "t.tum").read_text()
    assert "12.000000005" in (tmp_path / "t.tum").read_text()


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (float("nan"), "–"), (3.0, "3"), (0.12345, "0.123"), (1234.5, "1,234"), (0, "0")],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert show(value) == text


def test_optical_frame_is_the_source_frame(tmp_path: Path) -> None:
    write_plain_bag(tmp_path / "in", mcap=False)
    assert BagRecording(tmp_path / "in").info.frame_id == OPTICAL


def test_poses_belong_to_the_segment_that_the_status_says(tmp_path: Path) -> None:
    """Also where segments are shorter than a status period, and where a status is missing."""
    stamps = tuple(10 * NS + i * NS // 10 for i in range(6))
    write_outputs(tmp_path / "recorded", stamps)
    told = {1: 1, 2: 2, 3: 3, 5: 4}  # scenes -> segment; nothing about the 4th and the 6th
    statuses = [sample(0.0, 0)]
    for scenes, segment in told.items():
        statuses += [sample(0.1 * scenes, scenes, segment), sample(0.1 * scenes, scenes, 9)]
    found = {
        part.number: part.stamps_ns
        for part in Published(tmp_path / "recorded", statuses).segments()
    }
    assert found == {1: stamps[:1], 2: stamps[1:2], 3: stamps[2:3], 4: stamps[3:]}
    assert [part.stamps_ns for part in Published(tmp_path / "recorded", []).segments()] == [stamps]
