# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Answers and the scale as the page gets them, from the pipeline or from the node."""

from __future__ import annotations

from typing import Any

from g2vlm_model.interface import AnswerSource, AnswerStatus, SpatialAnswer

__all__ = ["answer_fields", "scale_state"]


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
