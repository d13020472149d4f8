# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The services of the map, of its reset and of the scale, and the hint of a place on /initialpose.

They live as long as the node. What takes longer than a callback may runs in a thread, one thing at
a time; the executor goes on taking frames in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import Trigger

from g2vlm_interfaces.srv import LoadMap, Localize, SaveMap, SetScale
from g2vlm_map.map_keeper import SUFFIX
from g2vlm_map.mapping.store import is_map
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.poses import Floats
from g2vlm_model.interface.words import plain
from g2vlm_ros import messages
from g2vlm_ros.topics import frame_name

__all__ = ["MapServices", "map_path"]

# What a bad request, a bad file or a full disk raises; anything else is a mistake of ours.
_REFUSALS = (ValueError, LookupError, OSError, RuntimeError)


class MapServices:
    """`~/reset`, `~/set_scale`, `~/save_map`, `~/load_map`, `~/localize`, topic `initialpose`.

    Args:
        node: The node.
        pipeline: The running pipeline of now; None while the node is not active.
        map_frame: Frame of poses in metres; that of hints.
        folder: The parameter `map_folder`.
    """

    def __init__(
        self,
        node: Any,
        pipeline: Callable[[], Pipeline | None],
        map_frame: Callable[[], str],
        folder: Callable[[], str],
    ) -> None:
        self._node, self._pipeline, self._map_frame = node, pipeline, map_frame
        self._folder = folder
        self._busy = threading.Lock()
        group = ReentrantCallbackGroup()  # a request that waits holds up no other callback
        for kind, name, serve in (
            (SetScale, "~/set_scale", self._set_scale),
            (SaveMap, "~/save_map", self._save),
            (LoadMap, "~/load_map", self._load),
            (Localize, "~/localize", self._localize),
        ):
            node.create_service(kind, name, self._served(serve), callback_group=group)
        # Whoever resets does not care what the others would still say.
        reset = self._served(self._reset, alone=False)
        node.create_service(Trigger, "~/reset", reset, callback_group=group)
        node.create_subscription(PoseWithCovarianceStamped, "initialpose", self._take_hint, 1)

    # Each fills the response in, or raises what the response says.

    def _reset(self, pipeline: Pipeline, request: Any, response: Any) -> None:
        response.message = f"segment {pipeline.reset('the node was reset')} starts"

    def _set_scale(self, pipeline: Pipeline, request: Any, response: Any) -> None:
        marks = messages.marks(request.marks)
        stamp_ns = messages.nanoseconds(request.stamp)
        scale = pipeline.map_desk.set_length(marks, request.length, request.sigma, stamp_ns)
        known = math.isfinite(scale.sigma)
        response.scale = scale.metres_per_unit if known else math.nan
        response.scale_sigma = scale.sigma if known else math.nan
        response.is_metric = scale.metric
        response.message = (
            f"{scale.metres_per_unit:.4g} m per map unit, sigma {scale.sigma:.3f}"
            if scale.metric
            else f"taken, but nothing is metric yet: {scale.reason}"
        )

    def _save(self, pipeline: Pipeline, request: Any, response: Any) -> None:
        path = map_path(request.path, self._folder())
        path = path if path.suffix else path.with_suffix(SUFFIX)
        if path.exists() and not is_map(path):
            raise ValueError(f"{path} is no map, and only a map is overwritten; name another")
        saved = pipeline.save_map(path, overwrite=request.overwrite)
        response.path, response.bytes = str(saved.path), saved.bytes
        response.keyframes = saved.keyframes
        response.message = f"{saved.keyframes} keyframes, {saved.bytes / 1e6:.1f} MB"

    def _load(self, pipeline: Pipeline, request: Any, response: Any) -> None:
        response.message = pipeline.load_map(map_path(request.path, self._folder()))
        world = pipeline.world
        response.keyframes, response.map_version = len(world.keyframes), world.version

    def _localize(self, pipeline: Pipeline, request: Any, response: Any) -> None:
        hint = self._hint(request.hint) if request.has_hint else None
        found = pipeline.localize(hint)
        response.message = found.text
        if found.T_map_body is None:
            raise LookupError(found.text)
        if found.T_map_base is None or found.covariance_66 is None:
            return  # found, but nobody knows how many metres a map unit has
        response.pose.header = messages.header(found.stamp_ns, self._map_frame())
        response.pose.pose.pose = messages.pose(found.T_map_base)
        response.pose.pose.covariance = messages.covariance(found.covariance_66)

    def _hint(self, message: Any) -> Floats:
        """T_map_base (4, 4) metres of a hint.

        Raises:
            ValueError: It is in another frame than the map's, or no pose.
        """
        frame, expected = frame_name(message.header.frame_id), self._map_frame()
        if frame != expected:
            raise ValueError(f"the hint is in {frame!r:.60}, expected {expected!r}")
        T = messages.matrix(message.pose.pose.position, message.pose.pose.orientation)
        if T is None:
            raise ValueError("the hint is no pose: not finite, or a quaternion without length")
        return np.asarray(T, np.float64)

    def _take_hint(self, message: Any) -> None:
        pipeline, log = self._pipeline(), self._node.get_logger()
        if pipeline is None:
            return
        if not self._busy.acquire(blocking=False):
            log.warning("initialpose: another request of the map is being served; left out")
            return

        def look() -> None:
            try:
                text = pipeline.localize(self._hint(message)).text
            except Exception as error:  # of a bad hint, or a mistake of ours: nobody else says it
                text = f"{type(error).__name__}: {error}"
            finally:
                self._busy.release()
            log.info(f"initialpose: {plain(text)}")

        threading.Thread(target=look, name="g2vlm-initialpose", daemon=True).start()

    # How requests are served.

    def _served(
        self, serve: Callable[[Pipeline, Any, Any], None], alone: bool = True
    ) -> Callable[..., Any]:
        """A callback that runs `serve` in a thread; `alone`, or it is refused."""

        async def answer(request: Any, response: Any) -> Any:
            pipeline = self._pipeline()
            if pipeline is None:
                response.success, response.message = False, "the node is inactive; activate it"
                return response
            if alone and not self._busy.acquire(blocking=False):
                response.success = False
                response.message = "another request of the map is being served; try again"
                return response
            try:
                failure = await self._in_thread(lambda: serve(pipeline, request, response))
            finally:
                if alone:
                    self._busy.release()
            response.success = not failure
            response.message = plain(failure or response.message)
            return response

        return answer

    async def _in_thread(self, work: Callable[[], None]) -> str:
        """Run something beside the executor; why it was refused, "" where it was not."""
        done, executor = Future(), self._node.executor

        def run() -> None:
            failure = ""
            try:
                work()
            except _REFUSALS as error:
                failure = plain(" ".join(str(error).split())) or type(error).__name__
            except Exception as error:  # a mistake of ours: whoever asked must not wait for ever
                failure = plain(f"{type(error).__name__}: {error}")
                self._node.get_logger().error(failure)
            done.set_result(failure)
            executor.wake()

        threading.Thread(target=run, name="g2vlm-map-service", daemon=True).start()
        return str(await done)


def map_path(text: str, folder: str) -> Path:
    """The file that a request names.

    Args:
        text: Of the request: whoever may call the service chooses it.
        folder: What it stays in; "": anywhere.

    Raises:
        ValueError: It names nothing, or leads out of the folder, be it by a link.
    """
    if not text.strip() or "\0" in text:
        raise ValueError(f"path is {text!r:.80}, expected the name of a file")
    if not folder:
        return Path(text).expanduser()
    root = Path(folder).expanduser().resolve()
    path = (root / text).resolve()
    if path == root or not path.is_relative_to(root):
        raise ValueError(
            f"path {text!r:.80} leads out of map_folder = {folder!r:.80}; name a file in it"
        )
    return path
