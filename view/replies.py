# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers, the scale and pictures as the page gets them, from the pipeline or from the node."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_model.interface import AnswerSource, AnswerStatus, SpatialAnswer

__all__ = ["answer_fields", "depth_jpeg", "jpeg", "scale_state"]

_MAX_SIDE = 960  # of a picture on the page


def answer_fields(question: str, answer: SpatialAnswer, queue_ms: float) -> dict[str, Any]:
    """An answer for the page: what `~/query` says, field by field.

    Args:
        question: As asked.
        answer: `SpatialAnswer`.
        queue_ms: How long it waited.
    """
    done = answer.status in (AnswerStatus.OK, AnswerStatus.TRUNCATED)
    return {
        "question": question,
        "ok": done,
        "status": AnswerStatus(answer.status).name,
        "message": answer.message,
        "reply": answer.reply or answer.text,
        "value": answer.value,
        "unit": answer.unit,
        "sigma": answer.sigma,
        "is_metric": bool(answer.is_metric),
        "kind": answer.kind,
        "source": AnswerSource(answer.source).name,
        "confidence": float(answer.confidence),
        "is_calibrated": bool(answer.is_calibrated),
        "cross_check": answer.cross_check.name,
        "text": answer.text,
        "text_value": answer.text_value,
        "measured_value": answer.measured_value,
        "measured_sigma": answer.measured_sigma,
        "measured_choice": answer.measured_choice,
        "labels": list(answer.labels),
        "ms": round(queue_ms + answer.prefill_ms + answer.decode_ms),
    }


def scale_state(metric_scale: bool, sigma: float, sources: Any) -> dict[str, Any]:
    """What the page says in large letters."""
    return {
        "metric": bool(metric_scale),
        "sigma": float(sigma) if metric_scale else None,
        "sources": list(sources) if metric_scale else [],
    }


def jpeg(rgb_HW3: NDArray[np.uint8]) -> bytes:
    """A picture as JPEG, no larger than a page shows it."""
    side = max(rgb_HW3.shape[:2])
    if side > _MAX_SIDE:
        factor = _MAX_SIDE / side
        smaller = cv2.resize(rgb_HW3, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        rgb_HW3 = smaller.astype(np.uint8, copy=False)
    done, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb_HW3[..., ::-1]))
    assert done, rgb_HW3.shape
    return data.tobytes()


def depth_jpeg(depth_HW: NDArray[np.float32]) -> bytes:
    """A depth picture in colours, near is red, none is black, as JPEG."""
    known = np.isfinite(depth_HW) & (depth_HW > 0)
    shade = np.zeros(depth_HW.shape, np.uint8)
    if known.any():
        near, far = np.percentile(depth_HW[known], (2, 98))
        share = (far - depth_HW[known]) / max(float(far - near), 1e-9)
        shade[known] = np.clip(share * 255, 0, 255).astype(np.uint8)
    colored = cv2.applyColorMap(shade, cv2.COLORMAP_TURBO)[..., ::-1].copy()
    colored[~known] = 0
    return jpeg(colored)
