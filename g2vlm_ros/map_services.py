"""The services of the map and of its scale.

They live as long as the node. What takes longer than a callback may runs in a thread, one thing at
a time; the executor goes on taking frames in.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.task import Future

from g2vlm_interfaces.srv import SetScale
from g2vlm_map.pipeline import Pipeline
from g2vlm_ros import messages

__all__ = ["MapServices"]

# What a bad request, a bad file or a full disk raises; anything else is a mistake of ours.
_REFUSALS = (ValueError, LookupError, OSError, RuntimeError)


class MapServices:
    """`~/set_scale`.

    Args:
        node: The node.
        pipeline: The running pipeline of now; None while the node is not active.
    """

    def __init__(self, node: Any, pipeline: Callable[[], Pipeline | None]) -> None:
        self._node, self._pipeline = node, pipeline
        self._busy = threading.Lock()
        group = ReentrantCallbackGroup()  # a request that waits holds up no other callback
        for kind, name, serve in ((SetScale, "~/set_scale", self._set_scale),):
            node.create_service(kind, name, self._served(serve), callback_group=group)

    # Each fills the response in, or raises what the response says.

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

    # How requests are served.

    def _served(self, serve: Callable[[Pipeline, Any, Any], None]) -> Callable[..., Any]:
        async def answer(request: Any, response: Any) -> Any:
            pipeline = self._pipeline()
            if pipeline is None:
                response.success, response.message = False, "the node is inactive; activate it"
                return response
            if not self._busy.acquire(blocking=False):
                response.success = False
                response.message = "another request of the map is being served; try again"
                return response
            try:
                failure = await self._in_thread(lambda: serve(pipeline, request, response))
            finally:
                self._busy.release()
            response.success = not failure
            if failure:
                response.message = failure
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
                failure = " ".join(str(error).split()) or type(error).__name__
            except Exception as error:  # a mistake of ours: whoever asked must not wait for ever
                failure = f"{type(error).__name__}: {error}"
                self._node.get_logger().error(failure)
            done.set_result(failure)
            executor.wake()

        threading.Thread(target=run, name="g2vlm-map-service", daemon=True).start()
        return str(await done)
