# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command `g2vlm replay`.

Exit codes: 0 fine; 1 a --fail-if condition holds; 2 the input, the command line or the disk is at
fault, or no scene came of them; 3 the node died or did not become active; 130 interrupted, by
SIGINT, SIGTERM or SIGHUP.
"""

from __future__ import annotations

import argparse
import logging
import math
import sys
from pathlib import Path
from typing import Any

from g2vlm_map.recordings import (
    Recording,
    RecordingError,
    TopicChoice,
    open_recording,
    open_rig,
)
from g2vlm_model.interface.command_line import BAD_INPUT, CommandParser, at_least, told, within
from g2vlm_model.interface.words import log_plainly, plain, plain_lines
from g2vlm_model.processes import INTERRUPTED, ended_by_signals, ros_missing

from .errors import NodeFailedError, ReplayInputError
from .metrics import METRICS, parse_condition

LOGGER = logging.getLogger(__name__)
# What an installation without the optional packages lacks.
LIBRARIES = {"rosbags", "evo", "jinja2", "matplotlib", "psutil", "scipy", "yaml", "cv2"}
# Options of earlier versions, and what they are called now.
RENAMED = {"backend": "runtime", "engines": "export"}
OK, FAILED, NODE_FAILED = 0, 1, 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = CommandParser(
        prog="g2vlm replay",
        description="Run the node, or its pipeline without ROS, on a bag or a folder of frames, "
        "and write a report: DIR/report.html, metrics.json, cloud.ply, trajectory.tum; from the "
        "node also recorded/ (MCAP) and node.log.",
        epilog="`g2vlm replay compare A B`: two replays of one recording side by side. Metrics for "
        "--fail-if: " + ", ".join(METRICS),
    )
    made.add_argument(
        "source",
        type=Path,
        metavar="BAG|FOLDER",
        help="rosbag2 (MCAP or sqlite3) or a folder of frames, 7-Scenes layout included",
    )
    made.add_argument("--out", type=Path, required=True, metavar="DIR", help="where to write")
    made.add_argument("--questions", type=Path, metavar="FILE.json", help="questions to ask")
    made.add_argument(
        "--rate",
        type=float,
        default=1.0,
        metavar="R",
        help="speed of playing; 0: the next frame goes when the one before is done, so that the "
        "result does not depend on the machine's speed",
    )
    made.add_argument(
        "--fail-if",
        action="append",
        default=[],
        metavar="CONDITION",
        help="e.g. 'abs_rel>0.3': exit with 1 where it holds; may be repeated",
    )
    made.add_argument(
        "--limit", type=at_least(0), default=0, metavar="N", help="only the first N frames"
    )
    made.add_argument(
        "--cloud-confidence",
        type=float,
        default=0.3,
        metavar="C",
        help="points below are left out of cloud.ply (default 0.3)",
    )
    made.add_argument("--title", default="", help="heading of the report")
    _add_model_options(made.add_argument_group("what runs"))
    _add_recording_options(made)
    return made


def _add_model_options(group: Any) -> None:
    group.add_argument(
        "--in-process",
        action="store_true",
        help="drive the pipeline in this process, without ROS, in place of the node",
    )
    group.add_argument("--model", default="", help="embedded model or model folder")
    group.add_argument(
        "--runtime",
        default="",
        help="auto, torch, onnx, tensorrt or package.module:function; default: what --params says, "
        "else torch",
    )
    group.add_argument(
        "--export", default="", metavar="DIR", help="export folder of onnx, tensorrt"
    )
    for old in RENAMED:
        group.add_argument(f"--{old}", help=argparse.SUPPRESS)
    group.add_argument("--device", default="", help="auto, cpu, cuda ...")
    group.add_argument("--params", type=Path, metavar="FILE", help="ROS parameter file")
    group.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="one parameter of the node; may be repeated",
    )
    group.add_argument(
        "--start-timeout",
        type=float,
        default=180.0,
        metavar="S",
        help="seconds until the node must be active, while it does nothing (default 180)",
    )
    group.add_argument(
        "--question-timeout",
        type=float,
        default=0.0,
        metavar="S",
        help="seconds per question; 0: the parameter query.timeout_s",
    )


def _add_recording_options(made: argparse.ArgumentParser) -> None:
    topics = made.add_argument_group("topics of the bag, where they cannot be told by themselves")
    for name, what in (
        ("image", "frames"),
        ("camera-info", "their CameraInfo"),
        ("truth-pose", "true poses (PoseStamped, Odometry or /tf)"),
        ("truth-depth", "true depth"),
    ):
        topics.add_argument(f"--{name}-topic", default="", metavar="TOPIC", help=what)
    made.add_argument(
        "--cameras",
        default="",
        metavar="all|A,B,...",
        help="play several cameras as a rig, the first leads: all that there are, image topics of "
        "a bag, or names of a folder's cameras; where they sit comes from the bag's TF",
    )
    folder = made.add_argument_group("a folder of frames")
    folder.add_argument(
        "--fps",
        type=within(0.01, 1000.0),
        metavar="FPS",
        help="frames a second where the file names carry no capture time (default 10; 7-Scenes: "
        "30 for its frame numbers)",
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: arguments without the program's name; None takes the process's own.

    Returns:
        The exit code; see the module.
    """
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["compare"]:
        from .compare import main as compare

        return compare(words[1:])
    arguments = parser().parse_args(words)
    log_plainly(logging.WARNING, "%(levelname)s: %(message)s")
    try:
        with ended_by_signals():
            return _run(arguments)
    except (RecordingError, ReplayInputError) as error:
        print(f"g2vlm replay: {plain(str(error))}", file=sys.stderr)
        return BAD_INPUT
    except (OSError, MemoryError) as error:
        return told("g2vlm replay", error)
    except NodeFailedError as error:
        print(f"g2vlm replay: {plain_lines(str(error))}", file=sys.stderr)
        return NODE_FAILED
    except ImportError as error:
        if not (said := _remedy(error)):
            raise
        print(f"g2vlm replay: {said}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("g2vlm replay: interrupted", file=sys.stderr)
        return INTERRUPTED


def _remedy(error: ImportError) -> str:
    """What to do where a module is missing; "" where it is none of a replay's."""
    if (error.name or "").split(".")[0] in LIBRARIES:
        return plain(f"{error}. Install the replay's libraries: pip install 'g2vlm_ros[replay]'")
    said = ros_missing(error)
    return said and f"{said}, or give --in-process, which needs no ROS"


def _recording(arguments: argparse.Namespace) -> Recording:
    """What the arguments name: one camera, or a rig.

    Raises:
        RecordingError: It cannot be opened.
        ReplayInputError: Options that do not go together.
    """
    topics = TopicChoice(
        image=arguments.image_topic,
        camera_info=arguments.camera_info_topic,
        pose=arguments.truth_pose_topic,
        depth=arguments.truth_depth_topic,
    )
    how = {"fps": arguments.fps, "limit": arguments.limit}
    if not arguments.cameras:
        return open_recording(arguments.source, topics, **how)
    if topics.image or topics.camera_info:
        raise ReplayInputError(
            "--cameras names the cameras of a rig, --image-topic and --camera-info-topic are of "
            "one camera; leave them out"
        )
    named = arguments.cameras if arguments.cameras != "all" else ""
    cameras = [name for part in named.split(",") if (name := part.strip())]
    return open_rig(arguments.source, cameras, topics, **how)


def _run(arguments: argparse.Namespace) -> int:
    from .run import replay
    from .run_options import ModelOptions, RunOptions, parse_parameter

    for old, new in RENAMED.items():
        if (given := getattr(arguments, old)) is not None:
            raise ReplayInputError(f"--{old} is called --{new} now; give --{new} {given}")
    conditions = [parse_condition(text) for text in arguments.fail_if]
    parameters = dict(parse_parameter(text) for text in arguments.param)
    for name in ("rate", "question_timeout", "start_timeout"):
        if not 0 <= (value := getattr(arguments, name)) < math.inf:
            option = name.replace("_", "-")
            raise ReplayInputError(f"--{option} is {value}, expected a finite number, 0 or more")
    if not 0 <= arguments.cloud_confidence <= 1:
        raise ReplayInputError(f"--cloud-confidence is {arguments.cloud_confidence}, expected 0..1")
    result = replay(
        _recording(arguments),
        RunOptions(
            out=arguments.out,
            model=ModelOptions(
                model=arguments.model,
                runtime=arguments.runtime,
                export=arguments.export,
                device=arguments.device,
                params_file=arguments.params,
                parameters=parameters,
                lockstep=arguments.rate == 0,
            ),
            in_process=arguments.in_process,
            questions=arguments.questions,
            rate=arguments.rate,
            start_timeout_s=arguments.start_timeout,
            question_timeout_s=arguments.question_timeout,
            cloud_confidence=arguments.cloud_confidence,
            title=arguments.title,
            conditions=tuple(conditions),
        ),
    )
    print(result.summary)
    for line in result.failed:
        print(line, file=sys.stderr)
    if not result.values.get("scenes"):
        print(f"g2vlm replay: no scene was made: {result.why_none}", file=sys.stderr)
        return BAD_INPUT
    return FAILED if result.failed else OK
