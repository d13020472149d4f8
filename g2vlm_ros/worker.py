"""The thread that reconstructs: takes the newest window, runs the model, hands on the scene.

No rclpy. Nothing waits for it: while the model works, the window builder keeps choosing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from g2vlm_map.window import WindowBuilder, WindowJob
from g2vlm_model.interface import GeometryPrediction, Scene, SpatialRuntime

__all__ = ["SceneWorker", "check_geometry"]

OnTaken = Callable[[WindowJob], None]
OnScene = Callable[[WindowJob, Scene, float], None]
OnFailure = Callable[[WindowJob, str], None]

_POLL_S = 0.5


class SceneWorker:
    """Runs `runtime.observe` on one window after the other.

    Args:
        runtime: The loaded model.
        builder: Where the windows come from.
        on_taken: Called in the worker's thread with every job, whatever becomes of it.
        on_scene: Called in the worker's thread with the job, its scene (ownership passes) and
            the milliseconds of `observe`. Not called for a window of an older segment.
        on_failure: Called in the worker's thread with what went wrong; the next window is
            tried as if nothing had happened.
    """

    def __init__(
        self,
        runtime: SpatialRuntime,
        builder: WindowBuilder,
        on_taken: OnTaken,
        on_scene: OnScene,
        on_failure: OnFailure,
    ) -> None:
        self._runtime = runtime
        self._builder = builder
        self._on_taken = on_taken
        self._on_scene = on_scene
        self._on_failure = on_failure
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="g2vlm-observe", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End after the window in work; returns when the thread has ended."""
        self._stopping.set()
        self._builder.close()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            job = self._builder.take(_POLL_S)
            if job is not None:
                self._on_taken(job)
                self._reconstruct(job)

    def _reconstruct(self, job: WindowJob) -> None:
        started = time.perf_counter()
        scene: Scene | None = None
        try:
            scene = self._runtime.observe(job.window)
            observe_ms = (time.perf_counter() - started) * 1e3
            check_geometry(scene.geometry, len(job.window))
            if self._stopping.is_set() or job.segment != self._builder.segment:
                scene.close()
                return
            passed, scene = scene, None  # from here on it is the receiver's to close
            self._on_scene(job, passed, observe_ms)
        except Exception as error:  # a foreign runtime's: one window must not end the node
            if scene is not None:
                scene.close()
            self._on_failure(job, f"{type(error).__name__}: {error}")


def check_geometry(geometry: GeometryPrediction, frames: int) -> None:
    """Refuse a prediction whose arrays do not fit together.

    Raises:
        RuntimeError: A shape that differs from the one that `GeometryPrediction` promises.
    """
    height, width = geometry.image_size
    grid = (frames, height, width)
    expected = {
        "local_points": (*grid, 3),
        "world_points": (*grid, 3),
        "T_world_cam": (frames, 4, 4),
        "confidence": grid,
        "valid": grid,
        "K": (frames, 3, 3),
        "colors": (*grid, 3),
    }
    for name, shape in expected.items():
        got = getattr(geometry, name).shape
        if got != shape:
            raise RuntimeError(f"the runtime's {name} has shape {got}, expected {shape}")
