# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What a page shows until its source is there, or has failed to be."""

from __future__ import annotations

from typing import Any

import viser

from .chunks import Floats, MapPicture
from .replies import scale_state
from .session import RefusedError, Session

__all__ = ["Waiting"]


class Waiting(Session):
    """See `Session`: nothing is there yet, and nothing can be done.

    Args:
        server: viser's.
        title: Names the source.
        text: What is waited for, as "loading the model".
    """

    def __init__(self, server: viser.ViserServer, title: str, text: str) -> None:
        super().__init__(server, title)
        self._text, self._failure = text, ""

    def fail(self, text: str) -> None:
        """Say why there will be nothing."""
        self._failure = text

    def do(self, name: str, values: dict[str, Any]) -> str:
        """Refuse everything."""
        raise RefusedError(self._failure or f"{self._text}: it can be used after that")

    def own_state(self) -> dict[str, Any]:
        """See `Session.own_state`."""
        reason = {"code": "WAITING", "title": f"{self._text} …", "text": "The map comes after it."}
        if self._failure:
            reason = {"code": "FAILED", "title": "It has failed.", "text": self._failure}
        still = {"paused": False, "speed": 1.0, "ended": False, "pass_ms": 0}
        return {
            "scale": scale_state(False, 0.0, ()),
            "status": {"degraded": bool(self._failure), "reasons": [reason]},
            "playing": {**still, "frames": 0, "total": 0, "scenes": 0},
            "pictures": {"keyframe": "", "current": "0", "why": ""},
            "occupancy": "",
            "maps": [],
        }

    def newest(self) -> MapPicture:
        """Nothing."""
        return self._picture

    def picture(self, name: str) -> bytes | None:
        """None."""
        return None

    def mark_at(self, x: float, y: float) -> str:
        """Refuse; see `do`."""
        return self.do("mark", {})

    def mark_in_space(self, place_3: Floats) -> str:
        """Refuse; see `do`."""
        return self.do("mark", {})

    def ask(self, question: str, of_map: bool) -> str:
        """Refuse; see `do`."""
        return self.do("ask", {})
