# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A view of a small folder in this process: all that the command has, from pipeline to front."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from g2vlm_replay.feed import Feed
from g2vlm_replay.run_options import ModelOptions, parameters_of
from g2vlm_view.chunks import Chunks
from g2vlm_view.front import Front, close_viser, guarded_viser
from g2vlm_view.local import LocalSession
from g2vlm_view.play import RecordingPlayer

from g2vlm_map.pipeline import Pipeline
from g2vlm_map.recordings import open_recording
from g2vlm_map.sensing import Extrinsics
from g2vlm_model.interface import GeometryPrediction
from tests.helpers import wait_for
from tests.map.frames import picture
from tests.map.placed import mounted
from tests.ros.scripted_runtime import ScriptedRuntime

EVERY: dict[str, str | float] = {
    "keyframe.min_motion": 0.0,
    "keyframe.min_interval_s": 0.0,
    "features.detector": "orb",
}


def write_drive(folder: Path, frames: int) -> Path:
    """A folder of frames of a wall that moves by two pixels from one to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), picture(2 * number))
    return folder


class Viewed:
    """Open between `with`.

    Args:
        folder: For the frames and the maps.
        frames: How many.
        paused: Whether it begins so.
        each: Points of a chunk.
        on_base: Whether it is known where the camera sits: half a metre over the base.
    """

    def __init__(
        self,
        folder: Path,
        frames: int = 6,
        *,
        paused: bool = False,
        each: int = 300,
        on_base: bool = False,
    ) -> None:
        self._stack = ExitStack()
        self.runtime = ScriptedRuntime()
        self.runtime.break_geometry = self._tinted
        recording = open_recording(write_drive(folder / "drive", frames))
        params = parameters_of(ModelOptions(runtime="torch", lockstep=True, parameters=EVERY))
        self.pipeline = self._stack.enter_context(Pipeline(self.runtime, params))
        if on_base:
            self.pipeline.sense(Extrinsics("camera", mounted(shift=(0.0, 0.0, 0.5))))
        feed = Feed(recording, params, self.pipeline)
        self.player = RecordingPlayer(feed, self.pipeline, frames, speed=0.0)
        self.player.paused = paused
        self.secret = secrets.token_urlsafe(8)
        self.server = guarded_viser(self.secret)
        self._stack.callback(close_viser, self.server)
        chunks = Chunks(each=each)
        maps = folder / "maps"
        self.session = LocalSession(self.server, "drive", self.pipeline, self.player, maps, chunks)
        self._stack.callback(self.session.close)
        self.front = Front(self.session, self.server.get_port(), self.secret, token="t0ken")
        self.front.start()
        self._stack.callback(self.front.close)

    def __enter__(self) -> Viewed:
        self.session.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._stack.close()

    def _tinted(self, geometry: GeometryPrediction) -> GeometryPrediction:
        """Other colours at every pass, so that chunks can be told apart."""
        rows = np.arange(geometry.colors.shape[1], dtype=np.uint8)[:, None, None]
        frames = np.arange(len(geometry.colors), dtype=np.uint8)[:, None, None, None]
        tint = np.uint8(9 * len(self.runtime.windows) % 256) + np.uint8(40) * frames
        return replace(geometry, colors=geometry.colors + np.uint8(5) * rows + tint)

    def do(self, command: str, /, **values: Any) -> str:
        return self.session.do(command, values)

    def made_metric(self, metres: float = 1.0) -> Viewed:
        """By two marks, so many metres apart, which are taken away again."""
        self.do("mark", x=0.2, y=0.5)
        self.do("mark", x=0.8, y=0.5)
        self.do("scale", metres=metres)
        self.do("unmark")
        wait_for(lambda: self.session.state()["map"]["unit"] == "m", 10.0, what="metres")
        return self

    def _all_is_drawn(self) -> bool:
        drawn = self.session.state()["map"]
        whole = len(self.session.newest().points())
        known = drawn["keyframes"] == len(self.pipeline.world.keyframes)
        return bool(known and 0 < drawn["points"] == whole)

    def played(self) -> Viewed:
        """All frames were handed in, and what they made is drawn."""
        wait_for(lambda: self.player.ended, 30.0, what="the end")
        wait_for(self._all_is_drawn, 10.0, what="every keyframe in the scene")
        return self
