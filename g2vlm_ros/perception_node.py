# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The lifecycle node: parameters, subscriptions, services and what each transition may do.

configure   checks the parameters, loads the runtime, creates publishers
activate    starts the pipeline, subscribes
deactivate  unsubscribes, answers open questions, stops the pipeline; the weights stay loaded
cleanup     frees everything

The executor's thread only hands frames and questions in. Passes and answers run in threads of
the pipeline (`g2vlm_map.pipeline`); scenes are published in that of the passes.

The services and the action live as long as the node (`asking.py`, `map_services.py`). While the
node is not active they answer that it is not.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import SetBool

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_map.events import Event, PassFinished
from g2vlm_map.pipeline import Pipeline
from g2vlm_map.status import Snapshot
from g2vlm_model.interface import RuntimeInfo, SpatialRuntime
from g2vlm_model.interface.words import plain
from g2vlm_model.runtimes import load_runtime
from g2vlm_ros import messages
from g2vlm_ros.active import Active
from g2vlm_ros.asking import Asking
from g2vlm_ros.bond import Bond, make_bond
from g2vlm_ros.diagnostics import Diagnostics
from g2vlm_ros.lifecycle import SteadyLifecycleNode
from g2vlm_ros.logs import LibraryLogs
from g2vlm_ros.map_services import MapServices
from g2vlm_ros.outputs import Outputs
from g2vlm_ros.params import NodeParams
from g2vlm_ros.ros_params import ParameterDesk

__all__ = ["PerceptionNode"]

# Who subscribes with this durability too learns the state at once, not a period later; of
# several kept messages it would learn the past.
_STATUS_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)

_STOP_S = 0.9  # that a deactivation waits for all threads together

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(SteadyLifecycleNode):
    """Cameras in; clouds, depth, poses and answers out. Topics: docs/node.md.

    Args:
        name: Of the node, where nothing remaps it.
        shared: Parameters that were given to all nodes alike, see `ParameterDesk`.
        options: Those of rclpy's node.
    """

    def __init__(
        self, name: str = "g2vlm", *, shared: Collection[str] = (), **options: Any
    ) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self._desk = ParameterDesk(self, self._on_parameters, shared)
        self._logs = LibraryLogs(self.get_logger())
        self.configuring = False
        self.misconfigured = False  # the last configure failed for what it was told
        self._runtime: SpatialRuntime | None = None
        self._pipeline: Pipeline | None = None
        self._outputs: Outputs | None = None
        self._bond: Bond | None = None
        self._active: Active | None = None
        self._diagnostics = Diagnostics(self.get_name())
        self._running = ""  # what the runtime last said that it is
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._status_timer: Any = None
        self._node_publishers: list[Any] = []  # not `_publishers`: rclpy's own
        self._asking = Asking(self, self._running_pipeline, self._map_frame)
        self.create_service(SetBool, "~/pause", self._on_pause)
        self._map_services = MapServices(
            self, self._running_pipeline, self._map_frame, self._map_folder
        )

    @property
    def wants_autostart(self) -> bool:
        """The parameter `autostart`."""
        return bool(self.get_parameter("autostart").value)

    @property
    def runtime(self) -> SpatialRuntime | None:
        """What executes the model; None before configure."""
        return self._runtime

    @property
    def pipeline(self) -> Pipeline | None:
        """What makes scenes and answers; None before configure."""
        return self._pipeline

    @property
    def open_questions(self) -> int:
        """Questions whose response has not been sent; only the executor sends it."""
        return self._asking.open

    def start(self) -> bool:
        """Configure and activate without a lifecycle manager; False where that fails."""
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    # Transitions.

    def on_configure(self, state: Any) -> TransitionCallbackReturn:
        """Check the parameters, load the runtime, create publishers."""
        self.configuring = True
        try:
            self._configure()
        except Exception as error:  # whatever a model folder or a runtime raises: say it, stay up
            self.get_logger().error(f"cannot configure: {_one_line(error)}")
            self.misconfigured = isinstance(error, ValueError | FileNotFoundError)
            self._free()
            return FAILURE
        finally:
            self.configuring = False
        return super().on_configure(state)

    def on_activate(self, state: Any) -> TransitionCallbackReturn:
        """Start the pipeline and subscribe."""
        result = super().on_activate(state)  # the publishers first: the pipeline uses them
        if result != SUCCESS:
            return result
        try:
            self._activate()
        except Exception as error:  # e.g. a topic of another type in this process: stay inactive
            self.get_logger().error(f"cannot activate: {_one_line(error)}")
            self._stop("the node could not be activated")
            super().on_deactivate(state)
            return FAILURE
        return SUCCESS

    def on_deactivate(self, state: Any) -> TransitionCallbackReturn:
        """Unsubscribe, answer open questions with CANCELLED, stop the pipeline: within a second."""
        self._stop("the node was deactivated")
        self.publish_status()
        return super().on_deactivate(state)

    def on_cleanup(self, state: Any) -> TransitionCallbackReturn:
        """Free everything."""
        result = super().on_cleanup(state)
        self._free()
        return result

    def on_shutdown(self, state: Any) -> TransitionCallbackReturn:
        """Free everything from whatever state."""
        self._free()
        return SUCCESS

    def on_error(self, state: Any) -> TransitionCallbackReturn:
        """A transition raised: free everything; the node can be configured again."""
        self.get_logger().error("a transition failed; everything is freed, configure again")
        self._free()
        return SUCCESS

    def finish(self) -> None:
        """Take no more frames and answer open questions; the executor sends the responses."""
        self._stop("the node ends")

    def close(self) -> None:
        """End the threads and free everything, outside of the lifecycle: the process ends."""
        self._free()
        self._logs.close()
        self._asking.destroy()
        self.destroy_node()

    def publish_status(self) -> None:
        """Publish `~/status`, `/diagnostics`, path and graph; log reasons that are new or over."""
        if self._pipeline is None:
            return
        if self._active is not None and self._desk.params is not None:
            self._active.check(self._desk.params, self._asking.open)
        snapshot = self._pipeline.snapshot()
        self._note_runtime(snapshot.runtime)
        for line in self._pipeline.board.messages(snapshot.reasons, time.monotonic()):
            self.get_logger().warning(line)
        if self._outputs is not None and snapshot.running:
            self._outputs.publish_past()
        status = self._publish_status(snapshot)
        hardware = messages.hardware_id(snapshot.runtime)
        dense = {} if self._outputs is None else self._outputs.dense.values()
        counted = (snapshot.cameras, snapshot.errors, snapshot.map_counts)
        self._diagnostics_publisher.publish(
            self._diagnostics.message(status, hardware, snapshot.reasons, dense, *counted)
        )

    def _publish_status(self, snapshot: Snapshot) -> Any:
        assert self._pipeline is not None
        frame = "" if self._outputs is None else self._outputs.map_frame
        status = messages.status_message(snapshot, self._pipeline.world, frame)
        status.header.stamp = self.get_clock().now().to_msg()
        self._status_publisher.publish(status)
        return status

    def _note_runtime(self, info: RuntimeInfo) -> None:
        """Log once that another runtime serves."""
        running = messages.hardware_id(info)
        if running != self._running:
            if self._running:
                self.get_logger().info(f"runs {running} from now on, it was {self._running}")
            self._running = running

    # What the transitions are made of.

    def _configure(self) -> None:
        params = self._desk.load()
        started = time.monotonic()
        self.get_logger().info(plain(f"loading {params.model} ({params.runtime})"))
        self._runtime = load_runtime(
            params.runtime,
            model=params.model,
            device=params.device,
            precision=params.precision,
            prompt_mode=params.prompt_mode,
            export=params.export,
            warm_up=True,
        )
        info = self._runtime.info
        self.get_logger().info(
            f"loaded {messages.hardware_id(info)}: {info.parameters / 1e6:.1f} M weights in "
            f"{time.monotonic() - started:.1f} s"
            + (f", a pass over one wide picture takes {info.trial_s:.2g} s" if info.trial_s else "")
            + (f", a token of an answer {info.token_s * 1e3:.3g} ms" if info.token_s else "")
        )
        self._running = ""
        self._pipeline = Pipeline(self._runtime, params)
        self._outputs = Outputs(self, params, self._pipeline)
        self._pipeline.listen(self._outputs.on_event)  # first: the status follows its scene
        self._pipeline.listen(self._on_event)
        self._status_publisher = self.create_publisher(SceneStatus, "~/status", _STATUS_QOS)
        self._diagnostics_publisher = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._node_publishers = [self._status_publisher, self._diagnostics_publisher]
        self._status_timer = self.create_timer(
            params.status.period_s, self.publish_status, clock=self._steady
        )
        self.publish_status()

    def _activate(self) -> None:
        params, pipeline, outputs = self._desk.params, self._pipeline, self._outputs
        assert params is not None and pipeline is not None and outputs is not None  # noqa: PT018
        pipeline.start()
        self._active = Active(self, params, pipeline, outputs, self._steady)
        self._drop_bond()
        self._bond = make_bond(self, params.bond_timeout)
        self.get_logger().info(f"active: {self._active.text}")
        self.publish_status()

    def _stop(self, why: str) -> None:
        """Tell all threads to end, then wait for them until one common deadline."""
        deadline = time.monotonic() + _STOP_S
        if self._bond is not None:
            self._bond.leave()
        if self._active is not None:
            self._active.unsubscribe()
        if self._pipeline is not None:
            self._pipeline.stop(why)
        if self._active is not None:
            self._active.destroy(max(0.0, deadline - time.monotonic()))
            self._active = None

    def _drop_bond(self) -> None:
        """Free the bond of the last activation, which may still say that it leaves."""
        if self._bond is not None:
            self._bond.destroy()
            self._bond = None

    def _free(self) -> None:
        """Free whatever there is; may be called in any state, any number of times."""
        self._stop("the node was cleaned up")
        self._drop_bond()
        if self._status_timer is not None:
            self.destroy_timer(self._status_timer)
            self._status_timer = None
        for publisher in self._node_publishers:
            self.destroy_publisher(publisher)
        self._node_publishers = []
        if self._outputs is not None:
            self._outputs.destroy()
            self._outputs = None
        if self._runtime is not None:
            self._free_runtime(self._runtime)
        self._pipeline = self._runtime = None
        self._desk.release()
        self.forget_destroyed()

    def _free_runtime(self, runtime: SpatialRuntime) -> None:
        """Close the runtime, behind the last pass: where that goes on, in a thread that waits."""
        pipeline = self._pipeline
        if pipeline is None or pipeline.ended(0.0):
            runtime.close()
            return

        def close_behind() -> None:
            pipeline.ended(None)
            runtime.close()

        self.get_logger().warning("a pass still runs; the runtime is freed when that ends")
        threading.Thread(target=close_behind, name="g2vlm-free", daemon=True).start()

    # Callbacks.

    def _on_event(self, event: Event) -> None:
        """Publish how things stand after a pass; in the thread of the passes."""
        if isinstance(event, PassFinished) and self._pipeline is not None:
            self._publish_status(self._pipeline.snapshot())

    def _on_parameters(self, params: NodeParams) -> None:
        """Apply what may change while configured."""
        if self._outputs is not None:
            self._outputs.params = params
        if self._pipeline is not None:
            self._pipeline.apply(params)

    def _running_pipeline(self) -> Pipeline | None:
        return self._pipeline if self._pipeline is not None and self._pipeline.running else None

    def _map_frame(self) -> str:
        """Frame of poses in metres."""
        params = self._desk.params
        return "" if params is None else params.frames.map

    def _map_folder(self) -> str:
        """Folder that map files stay in; "" where they may lie anywhere."""
        params = self._desk.params
        return "" if params is None else params.map_folder

    def _on_pause(self, request: Any, response: Any) -> Any:
        if self._pipeline is None or not self._pipeline.running:
            response.success, response.message = False, "the node is inactive; activate it"
            return response
        self._pipeline.pause(request.data, "~/pause was called; call it with false to go on")
        response.success = True
        response.message = "frames are dropped" if request.data else "frames are used"
        return response


def _one_line(error: BaseException) -> str:
    return plain(" ".join(str(error).split())) or type(error).__name__
