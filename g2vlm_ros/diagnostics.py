# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""/diagnostics: what SceneStatus says, as diagnostic_updater's tasks would.

Names are "node: task", as a diagnostics aggregator expects them; the task of the frames has the
keys of diagnostic_updater's topic status.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from g2vlm_interfaces.msg import SceneStatus
from g2vlm_map.known_rays import FocalEstimate
from g2vlm_map.status import Reason

__all__ = ["Diagnostics"]

_WORDS = {
    SceneStatus.STATE_INACTIVE: "inactive",
    SceneStatus.STATE_WAITING: "waiting for the first scene",
    SceneStatus.STATE_RUNNING: "running",
    SceneStatus.STATE_DEGRADED: "degraded",
}
_ERRORS = ("RUNTIME_FAILED", "NO_IMAGES")  # nothing comes out while one of these holds
_SCALE_CODES = ("SCALE_UNKNOWN", "SCALE_CONFLICT", "SCALE_DRIFT")
_WINDOW_S = 2.0  # over which the frequency is counted at least


class Diagnostics:
    """Makes the messages of one node.

    Args:
        node_name: Without its namespace, as diagnostic_updater has it.
    """

    def __init__(self, node_name: str) -> None:
        self._name = node_name
        self._counted = (time.monotonic(), 0)
        self._frequency = 0.0

    def message(
        self,
        status: Any,
        hardware_id: str,
        reasons: Sequence[Reason],
        dense: Mapping[str, str],
        cameras: Sequence[FocalEstimate] = (),
        errors: Sequence[tuple[str, int]] = (),
        map_counts: Sequence[tuple[str, int]] = (),
    ) -> Any:
        """DiagnosticArray of a SceneStatus; to be called once a period.

        Args:
            status: SceneStatus.
            hardware_id: What runs where.
            reasons: In force.
            dense: What is said of the dense map, by name.
            cameras: Focal lengths of the cameras of the newest scene.
            errors: Unexpected errors by the work that they befell.
            map_counts: Of the map's keyframes, by name.
        """
        tasks = [
            self._scene(status, reasons, errors),
            self._map(status, reasons, map_counts),
            self._frames(status),
        ]
        tasks += [self._dense(reasons, dense), self._cameras(reasons, cameras)]
        for task in tasks:
            task.hardware_id = hardware_id
        return DiagnosticArray(header=status.header, status=tasks)

    def _scene(
        self, status: Any, reasons: Sequence[Reason], errors: Sequence[tuple[str, int]]
    ) -> Any:
        level = DiagnosticStatus.OK
        if status.state == SceneStatus.STATE_DEGRADED:
            level = DiagnosticStatus.WARN
        if any(reason.code in _ERRORS for reason in reasons):
            level = DiagnosticStatus.ERROR
        codes = ", ".join(reason.code for reason in reasons)
        dropped = zip(status.drop_reasons, status.drop_counts, strict=True)
        values = {
            **{reason.code: reason.text for reason in reasons},
            "frames received": status.frames_received,
            "frames used": status.frames_used,
            **{f"frames dropped: {name}": count for name, count in dropped},
            **{f"unexpected errors: {work}": count for work, count in errors},
            "scenes": status.scenes,
            "segment": status.segment,
            "shared view": f"{status.shared_view:.2f}",
            "latency [ms]": f"{status.latency_ms:.1f}",
            "observe [ms]": f"{status.observe_ms:.1f}",
            "pass at work [s]": f"{status.pass_s:.1f}" if status.pass_s >= 0 else "none",
            "publish [ms]": f"{status.publish_ms:.1f}",
            "queries received": status.queries_received,
            "queries answered": status.queries_answered,
            "queries rejected": status.queries_rejected,
        }
        words = _WORDS[status.state] + (f": {codes}" if codes else "")
        return self._task("scene", level, words, values)

    def _map(
        self, status: Any, reasons: Sequence[Reason], counts: Sequence[tuple[str, int]]
    ) -> Any:
        known = {reason.code: reason.text for reason in reasons if reason.code in _SCALE_CODES}
        contradicted = any(code != "SCALE_UNKNOWN" for code in known)
        level = DiagnosticStatus.WARN if contradicted else DiagnosticStatus.OK
        words = "up to scale"
        if status.is_metric:
            words = f"metric by {status.scale_source}, sigma {100 * status.scale_sigma:.1f} %"
        values = {
            **known,
            "version": status.map_version,
            "frame": status.map_frame,
            "keyframes": status.map_keyframes,
            "loops": status.map_loops,
            **dict(counts),
            "up": status.up_source or "the first camera",
            "metric": status.is_metric,
            "scale source": status.scale_source,
            "scale [m per map unit]": _number(status.scale, status.scale_sigma),
            "depth scale [m per map unit]": _number(status.depth_scale, status.depth_scale_sigma),
        }
        return self._task("map", level, words, values)

    def _dense(self, reasons: Sequence[Reason], values: Mapping[str, str]) -> Any:
        texts = [reason.text for reason in reasons if reason.code == "BASE_UNKNOWN"]
        level = DiagnosticStatus.WARN if texts else DiagnosticStatus.OK
        return self._task("dense map", level, texts[0] if texts else "not safety-rated", values)

    def _cameras(self, reasons: Sequence[Reason], cameras: Sequence[FocalEstimate]) -> Any:
        texts = [reason.text for reason in reasons if reason.code == "BAD_CAMERA_INFO"]
        level = DiagnosticStatus.WARN if texts else DiagnosticStatus.OK
        values = {}
        for camera in cameras:
            own = f"{camera.model_focal_px:.1f} px"
            if camera.passes > 1:
                own += f" +- {100 * camera.spread:.1f} % a pass over {camera.passes} passes"
            if camera.source == "model":
                said = f"the model's own: {own}"
            else:
                said = f"given: {camera.focal_px:.1f} px; the model's own: {own}"
            values[f"focal length of {camera.camera}"] = said
        words = texts[0] if texts else ("no scene yet" if not cameras else "rays are known")
        if not texts and any(camera.source == "model" for camera in cameras):
            words = "rays are the model's own, averaged over the run"
        return self._task("cameras", level, words, values)

    def _frames(self, status: Any) -> Any:
        now, (since, before) = time.monotonic(), self._counted
        if status.frames_received < before:  # a new activation counts from zero
            self._counted, self._frequency = (now, status.frames_received), 0.0
        elif now - since >= _WINDOW_S:
            self._frequency = (status.frames_received - before) / (now - since)
            self._counted = (now, status.frames_received)
        values = {
            "Events since startup": status.frames_received,
            "Actual frequency (Hz)": f"{self._frequency:.2f}",
        }
        silent = "NO_IMAGES" in status.reason_codes
        level = DiagnosticStatus.ERROR if silent else DiagnosticStatus.OK
        words = "No events recorded." if silent else "Frames arrive"
        return self._task("image topic status", level, words, values)

    def _task(self, name: str, level: bytes, words: str, values: Mapping[str, object]) -> Any:
        return DiagnosticStatus(
            level=level,
            name=f"{self._name}: {name}",
            message=words,
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()],
        )


def _number(scale: float, sigma: float) -> str:
    return f"{scale:.4g} (sigma {sigma:.3f})" if scale == scale else "unknown"  # NaN
