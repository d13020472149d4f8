# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Questions over ROS: the service `~/query` and the action `~/ask`, one answer each.

Both live as long as the node: a question gets its response even where the node is shut down under
it. A coroutine hands a question in and waits; no executor does. Goals of the action never displace
each other: all questions stand in one line, in the order of their deadlines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rclpy.task import Future

from g2vlm_interfaces.action import Ask
from g2vlm_interfaces.srv import SpatialQuery
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.question_line import Progress, Stage, Watch
from g2vlm_map.questions import Reply
from g2vlm_model.interface import AnswerStatus, SpatialAnswer
from g2vlm_model.interface.words import plain
from g2vlm_ros import messages

__all__ = ["RESULTS_S", "Asking"]

# Questions that come at once wait here until they are admitted or turned away: as many as
# `query.queue` may be, and some. With the default depth of 10 the middleware drops the rest, and
# whoever asked waits for ever.
_QUESTIONS_QOS = QoSProfile(depth=1100)
_FEEDBACK_QOS = QoSProfile(depth=100)
_FEEDBACK_S = 0.05  # between two messages about one answer that grows
_ROUNDS = 3  # of the executor, from the end of a goal until its result is sent
RESULTS_S = 10  # for which the result of a goal is kept for who asks for it late
_ANSWERED = (AnswerStatus.OK, AnswerStatus.TRUNCATED)


class Asking:
    """The node's side of questions.

    Args:
        node: The node.
        pipeline: The running pipeline of now; None while the node is not active.
        map_frame: Frame of answers about the map, in metres.
        results_s: Seconds for which results of goals are kept, by the node's clock.
    """

    def __init__(
        self,
        node: Any,
        pipeline: Callable[[], Pipeline | None],
        map_frame: Callable[[], str],
        results_s: int = RESULTS_S,
    ) -> None:
        self._node, self._pipeline, self._map_frame = node, pipeline, map_frame
        self._open = 0
        self._cancels: dict[bytes, Callable[[], None]] = {}  # of goals in the line, by their id
        # Reentrant: a question that waits for its answer holds up no other callback.
        group = ReentrantCallbackGroup()
        node.create_service(
            *(SpatialQuery, "~/query", self._on_query),
            qos_profile=_QUESTIONS_QOS,
            callback_group=group,
        )
        self._server = ActionServer(
            *(node, Ask, "~/ask", self._on_goal),
            callback_group=group,
            cancel_callback=self._on_cancel,
            goal_service_qos_profile=_QUESTIONS_QOS,
            result_service_qos_profile=_QUESTIONS_QOS,
            cancel_service_qos_profile=_QUESTIONS_QOS,
            feedback_pub_qos_profile=_FEEDBACK_QOS,
            result_timeout=results_s,
        )

    @property
    def open(self) -> int:
        """Questions whose response has not been sent; only the executor sends it."""
        return self._open

    @property
    def kept_goals(self) -> int:
        """Goals that the action's server holds: in work, or with a result to be asked for."""
        return len(self._server._goal_handles)  # rclpy has no public way to ask

    def destroy(self) -> None:
        """Remove the action; what removes the node removes the service."""
        self._server.destroy()

    async def _on_query(self, request: Any, response: Any) -> Any:
        """Serve `~/query`."""
        response.answer = await self._answer(request, None, lambda cancel: None)
        return response

    async def _on_goal(self, goal: Any) -> Any:
        """Serve one goal of `~/ask` to its end."""
        key = bytes(goal.goal_id.uuid)

        def keep(cancel: Callable[[], None]) -> None:
            self._cancels[key] = cancel
            if goal.is_cancel_requested:  # between its acceptance and its turn here
                cancel()

        self._open += 1
        try:
            answer = await self._answer(goal.request, _Feedback(goal), keep)
        finally:
            self._cancels.pop(key, None)
            self._close_behind(_ROUNDS)
        if answer.status in _ANSWERED:
            goal.succeed()
        elif goal.is_cancel_requested:
            goal.canceled()
        else:
            goal.abort()
        return Ask.Result(answer=answer)

    def _close_behind(self, rounds: int) -> None:
        """Count a goal as open until its result is sent.

        The server sends it in a task of the executor, which it makes when the goal's coroutine has
        ended. That one is behind the task made here and, in whatever order an executor takes what
        waits, before the last of those that follow it.
        """
        executor = self._node.executor
        if rounds and executor is not None:
            executor.create_task(self._close_behind, rounds - 1)
        else:
            self._open -= 1

    def _on_cancel(self, goal: Any) -> CancelResponse:
        """Let the line know; the answer says that it was cancelled."""
        cancel = self._cancels.get(bytes(goal.goal_id.uuid))
        if cancel is not None:
            cancel()
        return CancelResponse.ACCEPT

    async def _answer(
        self, asked: Any, watch: Watch | None, keep: Callable[[Callable[[], None]], None]
    ) -> Any:
        """Hand a question to the pipeline and wait for its answer.

        Args:
            asked: A request, or a goal: it has the same fields.
            watch: Told how the question stands.
            keep: Given what cancels it.
        """
        pipeline = self._pipeline()
        if pipeline is None:
            return self._refusal(AnswerStatus.NO_SCENE, "the node is inactive; activate it")
        answered, executor = Future(), self._node.executor

        def respond(reply: Reply) -> None:
            answer = messages.answer_message(reply, self._map_frame())
            serialize_message(answer)  # what cannot be sent raises here, not in the executor
            answered.set_result(answer)
            executor.wake()  # else it looks at waiting coroutines when something else happens

        self._open += 1
        try:
            keep(pipeline.submit(messages.question(asked), respond, watch))
            return await answered
        except Exception as error:  # a mistake of ours: whoever asked must not wait for ever
            text = plain(" ".join(str(error).split()))
            self._node.get_logger().error(f"a question failed: {text or type(error).__name__}")
            return self._refusal(AnswerStatus.FAILED, f"{type(error).__name__}: {error}")
        finally:
            self._open -= 1

    def _refusal(self, status: AnswerStatus, text: str) -> Any:
        return messages.answer_message(Reply(SpatialAnswer(status, text), None, 0.0))


class _Feedback:
    """Publishes how a goal stands, from any thread; text that grows no oftener than need be."""

    def __init__(self, goal: Any) -> None:
        self._goal = goal
        self._stage: Stage | None = None
        self._due = 0.0  # monotonic time before which more text of the same stage waits

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        grows = progress.stage is Stage.ANSWERING and progress.stage is self._stage
        if grows and now < self._due:
            return
        self._stage, self._due = progress.stage, now + _FEEDBACK_S
        with suppress(Exception):  # the goal or the node is gone: nobody to tell
            self._goal.publish_feedback(
                Ask.Feedback(
                    stage=int(progress.stage), position=progress.position, text=progress.text
                )
            )
