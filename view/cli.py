# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The command `g2vlm view`.

Exit codes: 0 it was closed with --until-end; 2 the input, the command line or the port is at fault;
3 the model cannot be loaded, or the node does not answer; 130 told to end, by SIGINT, SIGTERM or
SIGHUP.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import secrets
import sys
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from g2vlm_model.interface.command_line import BAD_INPUT, CommandParser, at_least, told, within
from g2vlm_model.interface.words import log_plainly, plain, plain_lines
from g2vlm_model.processes import INTERRUPTED, ended_by_signals, ros_missing

if TYPE_CHECKING:
    import viser

    from .session import Session

__all__ = ["main", "parser"]

OK, FAILED = 0, 3
LIBRARIES = {"viser", "aiohttp", "rosbags", "scipy", "yaml", "cv2", "websockets", "msgspec"}
POLL_S = 0.2


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = CommandParser(
        prog="g2vlm view",
        description="Show the growing map in a browser, mark places in it and ask about them. "
        "Needs neither ROS nor a network, but for --ros.",
    )
    made.add_argument(
        "source",
        type=Path,
        nargs="?",
        metavar="FOLDER|VIDEO|BAG",
        help="a folder of frames, a film, or a bag",
    )
    made.add_argument(
        "--camera", type=at_least(0), metavar="N", help="a camera of this machine; 0 the first"
    )
    made.add_argument(
        "--ros", nargs="?", const="/g2vlm", metavar="NODE", help="a running node, /g2vlm by default"
    )
    page = made.add_argument_group("the page")
    page.add_argument("--port", type=int, default=8080, help="0 takes a free one (default 8080)")
    page.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on (default 127.0.0.1, this machine alone); others read along "
        "unencrypted",
    )
    page.add_argument("--token", default="", help="of the address; default: another every time")
    page.add_argument("--no-browser", action="store_true", help="open no browser")
    playing = made.add_argument_group("playing and drawing")
    playing.add_argument(
        "--speed",
        type=within(0.0, 1000.0),
        default=1.0,
        metavar="X",
        help="times the recording's own; 0: as fast as the model is (default 1)",
    )
    playing.add_argument("--paused", action="store_true", help="begin paused")
    playing.add_argument(
        "--fps",
        type=within(0.01, 1000.0),
        metavar="FPS",
        help="frames a second of a folder or a film",
    )
    playing.add_argument(
        "--limit", type=at_least(0), default=0, metavar="N", help="only the first N frames"
    )
    playing.add_argument("--image-topic", default="", metavar="TOPIC", help="of a bag")
    playing.add_argument(
        "--maps", type=Path, default=Path("maps"), metavar="DIR", help="saved maps (default maps)"
    )
    playing.add_argument(
        "--points", type=at_least(1000), default=600_000, metavar="N", help="points drawn at most"
    )
    playing.add_argument(
        "--until-end", action="store_true", help="end when the recording has ended"
    )
    _add_model_options(made.add_argument_group("what runs"))
    return made


def _add_model_options(runs: Any) -> None:
    runs.add_argument("--model", default="", help="embedded model or model folder")
    runs.add_argument(
        "--runtime", default="", help="auto, torch, onnx, tensorrt or module:function"
    )
    runs.add_argument("--export", default="", metavar="DIR", help="export of onnx, tensorrt")
    runs.add_argument("--device", default="", help="auto, cpu, cuda ...")
    runs.add_argument("--params", type=Path, metavar="FILE", help="ROS parameter file")
    runs.add_argument(
        "--param", action="append", default=[], metavar="NAME=VALUE", help="of the node; repeatable"
    )


def main(argv: list[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: Arguments without the program's name; None takes the process's own.

    Returns:
        The exit code; see the module.
    """
    arguments = parser().parse_args(argv)
    log_plainly(logging.WARNING, "%(levelname)s: %(message)s")
    try:
        with ended_by_signals():
            return _run(arguments)
    except KeyboardInterrupt:
        print("g2vlm view: interrupted", file=sys.stderr)
        return INTERRUPTED
    except ImportError as error:
        if not (said := _remedy(error)):
            raise
        print(f"g2vlm view: {said}", file=sys.stderr)
        return BAD_INPUT
    except (ValueError, OSError, MemoryError) as error:
        from g2vlm_replay.errors import ReplayInputError

        from g2vlm_map.recordings import RecordingError

        if not isinstance(error, (RecordingError, ReplayInputError, OSError, MemoryError)):
            raise
        return told("g2vlm view", error)
    except RuntimeError as error:
        from g2vlm_replay.errors import NodeFailedError

        if not isinstance(error, NodeFailedError):
            raise
        print(f"g2vlm view: {plain_lines(str(error))}", file=sys.stderr)
        return FAILED


def _remedy(error: ImportError) -> str:
    """What to do where a module is missing; "" where it is none of a view's."""
    if (error.name or "").split(".")[0] in LIBRARIES:
        return plain(f"{error}. Install what the page needs: pip install 'g2vlm_ros[view]'")
    said = ros_missing(error)
    return said and f"--ros needs ROS 2. {said}; a recording and a camera need none"


def _run(arguments: argparse.Namespace) -> int:
    from g2vlm_replay.errors import ReplayInputError

    given = [arguments.source is not None, arguments.camera is not None, arguments.ros is not None]
    if sum(given) != 1:
        raise ReplayInputError(
            f"got {sum(given)} sources, expected one: a folder, film or bag, --camera 0, or --ros; "
            "`g2vlm view --help` explains"
        )
    if not 0 <= arguments.port <= 65535:
        raise ReplayInputError(f"--port is {arguments.port}, expected 0 to 65535")
    source = _node_of(arguments) if arguments.ros is not None else _local_of(arguments)
    from .front import Front, close_viser, guarded_viser
    from .waiting import Waiting

    secret = secrets.token_urlsafe(32)
    with ExitStack() as stack:
        server = guarded_viser(secret)
        stack.callback(close_viser, server)
        # The page comes first: what makes the map takes many seconds to load.
        waiting = Waiting(server, source.title, source.waits_for)
        scene = server.get_port(), secret
        front = Front(waiting, *scene, arguments.host, arguments.port, arguments.token)
        try:
            front.start()
        except OSError as error:
            raise OSError(
                f"{arguments.host}:{arguments.port} cannot be listened on: {error.strerror}; give "
                "another --port, or 0 for a free one"
            ) from error
        stack.callback(front.close)
        print(f"g2vlm view: {source.title} at {front.url}", flush=True)
        if not arguments.no_browser and not _opened(front.url):
            print("g2vlm view: no browser can be opened here: open that address", file=sys.stderr)
        print(f"g2vlm view: {source.waits_for}", file=sys.stderr, flush=True)
        try:
            session, ended = stack.enter_context(source.made(server))
        except Exception as error:  # the page says it, too
            waiting.fail(plain(str(error)))
            front.settle()
            raise
        stack.callback(front.close)  # ahead of what it serves
        front.session = session
        session.start()
        return _wait(ended if arguments.until_end else lambda: False)


def _opened(url: str) -> bool:
    """Open a browser; not one that would take the terminal of a machine without a screen."""
    screen = sys.platform != "linux" or {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ)
    return bool(screen) and webbrowser.open(url)


def _wait(ended: Callable[[], bool]) -> int:
    import time

    while not ended():
        time.sleep(POLL_S)
    return OK


Made = Iterator[tuple["Session", Callable[[], bool]]]


@dataclass(frozen=True)
class _Source:
    """What a page is about.

    Args:
        title: Names it.
        waits_for: What its session takes time for.
        made: Makes its session, and what says that it has ended, from viser's server.
    """

    title: str
    waits_for: str
    made: Callable[[viser.ViserServer], AbstractContextManager[tuple[Session, Callable[[], bool]]]]


def _local_of(arguments: argparse.Namespace) -> _Source:
    """A recording or a camera, opened: what is wrong with it is said before there is a page."""
    from g2vlm_map.recordings import TopicChoice, open_recording

    opened: Any
    if arguments.source is None:
        from .play import opened_camera

        title, opened = f"camera {arguments.camera}", opened_camera(arguments.camera)
    else:
        topics = TopicChoice(image=arguments.image_topic)
        how = {"fps": arguments.fps, "limit": arguments.limit}
        title = arguments.source.name or str(arguments.source)
        opened = open_recording(arguments.source, topics, **how)
    return _Source(title, "loading the model", partial(_local, arguments, title, opened))


@contextmanager
def _local(
    arguments: argparse.Namespace, title: str, opened: Any, server: viser.ViserServer
) -> Made:
    """A session on a pipeline of this process."""
    from g2vlm_replay.depth_sensor import depth_sensor
    from g2vlm_replay.feed import Feed, await_build, loaded
    from g2vlm_replay.run_options import ModelOptions, parameters_without_node, parse_parameter

    from g2vlm_map.pipeline import Pipeline

    from .chunks import Chunks
    from .local import LocalSession
    from .play import CameraPlayer, RecordingPlayer

    recording = None if arguments.source is None else opened
    model = ModelOptions(
        model=arguments.model,
        runtime=arguments.runtime,
        export=arguments.export,
        device=arguments.device,
        params_file=arguments.params,
        parameters=dict(parse_parameter(text) for text in arguments.param),
        lockstep=recording is not None,
    )
    params = parameters_without_node(model)
    depth = None
    if recording is not None:
        depth = depth_sensor(recording, params.depth.source, params.cameras[0])
    with ExitStack() as stack:
        runtime = loaded(params)
        stack.callback(runtime.close)
        await_build(runtime, lambda text: None)
        pipeline = stack.enter_context(Pipeline(runtime, params))
        player: Any
        if recording is None:
            player = CameraPlayer(arguments.camera, pipeline, opened)
        else:
            feed = Feed(recording, params, pipeline, depth)
            total = len(recording.info.stamps_ns)
            player = RecordingPlayer(feed, pipeline, total, arguments.speed)
        player.paused = arguments.paused
        chunks = Chunks(total=arguments.points)
        session = LocalSession(server, title, pipeline, player, arguments.maps, chunks)
        stack.callback(session.close)
        yield session, lambda: player.ended


def _node_of(arguments: argparse.Namespace) -> _Source:
    """A running node."""
    from g2vlm_replay.errors import ReplayInputError

    name = f"/{arguments.ros.strip('/')}"
    if not re.fullmatch(r"(/[A-Za-z][A-Za-z0-9_]*)+", name):
        raise ReplayInputError(f"--ros is {arguments.ros!r:.60}, expected a node's name, as /g2vlm")
    from .ros import NodeSession  # what is missing for it is said before there is a page

    @contextmanager
    def made(server: viser.ViserServer) -> Made:
        session = NodeSession(server, name, arguments.points)
        try:
            yield session, lambda: False
        finally:
            session.close()

    return _Source(name, "listening to the node", made)
