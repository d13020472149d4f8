# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""From frames to keyframes: cameras, their clocks, rig synchronisation, what is worth decoding.

Whatever is wrong with a frame is counted with a reason and told, never raised. Safe for cameras
that deliver in threads of their own; one frame is looked at at a time.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from .calibration import missing_info
from .camera_model import CameraInfoLike
from .cameras import NS, Admission, Arrival, Camera, InputFrame
from .decode import BadInputError
from .events import CalibrationChanged, Emit, FrameRefused
from .keyframes import KeyframeChooser, Moment
from .options import PipelineOptions
from .pixels import ArrayPixels, contrast, why_blind
from .sensing import Extrinsics, Sample
from .status import StatusBoard
from .sync import Synchroniser

__all__ = ["Intake"]

_CALIBRATION_WAIT_S = 0.3
_WAITING_FOR_PARTNERS = 8  # decoded frames per camera beyond those of scenes and windows


@dataclass(frozen=True)
class _RigLeap:
    """A leap of time that the cameras of a rig make one after the other.

    Args:
        to_ns: First stamp behind it.
        received_ns: Monotonic clock of that frame's arrival.
        cameras: That have made it.
    """

    to_ns: int
    received_ns: int
    cameras: frozenset[str]


class Intake:
    """Takes frames in and offers keyframes.

    Args:
        options: Of the pipeline; `apply` replaces what may change.
        board: Counts, and holds the conditions of the cameras.
        emit: Told of refused frames.
        offer: Called with every keyframe.
        restart: Called with a cause and a text when time leapt: a new segment begins.
    """

    def __init__(
        self,
        options: PipelineOptions,
        board: StatusBoard,
        emit: Emit,
        offer: Callable[[Moment], object],
        restart: Callable[[str, str], object],
    ) -> None:
        self.lock = threading.RLock()
        self.explain_silence: Callable[[str], str] | None = None
        self.clock_ns: Callable[[], int] | None = None  # of whoever else reads the stamps
        self._options = options
        self._board = board
        self._emit = emit
        self._offer = offer
        self._restart = restart
        # Alive at once at most: scenes that are kept or held by questions (twice that number),
        # the one in work, the keyframes that wait.
        slots = options.window.size * (3 * options.scenes.keep + 3) + _WAITING_FOR_PARTNERS
        # Without questions: the scenes that are kept, the one in work, what waits.
        least = options.window.size * (options.scenes.keep + 1) + _WAITING_FOR_PARTNERS
        self._cameras = {n: Camera(n, slots, options.images, least) for n in options.cameras}
        self._sync = Synchroniser(options.cameras, options.sync, board.drop)
        self._chooser = KeyframeChooser(options.keyframe)
        self.live = self._chooser.live  # small pictures of late, for marks on them
        self._placed: set[str] = set()  # cameras whose extrinsics are known
        self._uncalibrated: dict[str, deque[Arrival]] = {}  # frames that wait for a calibration
        self._sent: dict[str, Callable[[], bool]] = {}  # camera -> whether somebody calibrates it
        self._sources: dict[str, str] = {}  # camera -> where its calibration comes from
        self._refused: dict[str, str] = {}  # camera -> why its last frame was refused
        self._leap: _RigLeap | None = None
        self._moment_ns = 0
        self._paused = False
        self._in_hand = 0  # frames that are looked at: their fate is not counted yet
        self._damaged = 0  # frames that were used all the same

    @property
    def paused(self) -> bool:
        """Whether frames are checked and dropped."""
        return self._paused

    def pause(self, paused: bool) -> None:
        """Drop every good frame from now on, or no longer; what waits is dropped soon.

        Waits for nobody, so that a node may pause while a frame is looked at.
        """
        self._paused, self._moment_ns = paused, time.monotonic_ns()

    @property
    def pending_frames(self) -> int:
        """Frames that wait for partners, a calibration or the next frame, or are looked at.

        Waits for nobody: listeners ask while a restart that holds the lock waits for them.
        """
        held = sum(len(frames) for frames in list(self._uncalibrated.values()))
        held += sum(camera.holds for camera in self._cameras.values())
        return self._sync.waiting + held + self._in_hand

    def apply(self, options: PipelineOptions) -> None:
        """Take over what may change while frames come in; waits for none that is looked at."""
        self._options = options
        self._chooser.options = options.keyframe
        for camera in self._cameras.values():
            camera.options = options.images

    def want_more(self, more: bool) -> None:
        """Whether keyframes should lie nearer to each other than they do."""
        self._chooser.dense = more

    def start(self) -> None:
        """Forget the cameras' clocks."""
        with self.lock:
            self._moment_ns = time.monotonic_ns()
            self._leap = None
            self._refused.clear()
            for camera in self._cameras.values():
                camera.restart(self._moment_ns)

    def clear(self, reason: str) -> None:
        """Drop what waits; the next moment is the first of a segment."""
        with self.lock:
            self._sync.clear(reason)
            self._board.drop(reason, sum(len(held) for held in self._uncalibrated.values()))
            self._uncalibrated.clear()
            self._chooser.restart()

    def stop(self, reason: str) -> None:
        """Drop all that waits."""
        with self.lock:
            self.clear(reason)
            self._board.drop(reason, sum(camera.holds for camera in self._cameras.values()))
            self.start()

    def add(self, frame: InputFrame) -> None:
        """Take a frame in.

        Raises:
            ValueError: It names a camera that does not exist.
        """
        now_ns = time.monotonic_ns()
        name = frame.camera or self._options.cameras[0]
        if name not in self._cameras:
            raise ValueError(f"frame is of camera {name!r:.60}, expected {self._options.cameras}")
        if len(self._cameras) > 1 and isinstance(frame.pixels, np.ndarray):
            frame = replace(frame, pixels=ArrayPixels(frame.pixels.copy()))  # it may have to wait
        with self.lock:
            self._in_hand = 1
            self._board.count_received()
            try:
                self._look_at(frame, self._cameras[name], now_ns)
            finally:
                self._in_hand = 0

    def calibrate(self, camera: str, info: CameraInfoLike, rectified: bool | None = None) -> bool:
        """Take over a camera's intrinsics; whether its frames so far had others.

        Args:
            camera, info, rectified: As in `Pipeline.calibrate`.
        """
        with self.lock:
            changed = self._cameras[camera].calibration.take(info, rectified)
            now_ns = time.monotonic_ns()
            self._check_calibration(self._cameras[camera], now_ns)
            self._release(camera, now_ns)
        if changed:
            self._board.event("CAMERA_CHANGED", f"{camera}: {changed}", now_ns / NS)
            self._emit(CalibrationChanged(camera, changed))
        return bool(changed)

    def sense(self, sample: Sample) -> None:
        """Take over where a camera sits on the rig; other samples are not of the intake."""
        if isinstance(sample, Extrinsics):
            self._placed.add(sample.camera)
            self._sync.is_rigid = self._placed >= set(self._cameras)

    def expect_calibration(
        self, camera: str, source: str, sent: Callable[[], bool] | None = None
    ) -> None:
        """NO_CAMERA_INFO where this camera delivers frames, but no calibration comes.

        Where somebody sends it, the first frames wait a moment for it: a driver sends both at
        once, and which of them arrives first is chance.

        Args:
            camera: Its name.
            source: Where it should come from, for the text.
            sent: Whether somebody sends it, asked at the first frames.
        """
        self._sources[camera] = source
        if sent is not None:
            self._sent[camera] = sent

    def check(self) -> None:
        """Bring the conditions up to date that follow from time passing."""
        with self.lock:
            now_ns = time.monotonic_ns()
            if self._paused:
                self._sync.clear("paused")
            for camera in self._cameras.values():
                self._check_calibration(camera, now_ns)
                self._board.condition("CLOCK_SKEW", bool(camera.skew), camera.skew, camera.name)
                if not self._awaits_calibration(camera, now_ns):
                    self._release(camera.name, now_ns)
                silent = camera.name in self._silent(now_ns)
                text = self._why_silent(camera, now_ns) if silent else ""
                self._board.condition("NO_IMAGES", silent, text, camera.name)
                alone = len(self._cameras) > 1 and camera.name not in self._placed
                self._board.condition(
                    "NO_EXTRINSICS",
                    alone and camera.first_ns is not None,
                    "where it sits on the rig is not known: where its view shares nothing with the "
                    "others', the model can but guess; give its transform to the base",
                    camera.name,
                )
            text = self._why_no_moment(now_ns)
            self._board.condition("UNSYNCHRONISED", bool(text), text)

    def _look_at(self, frame: InputFrame, camera: Camera, now_ns: int) -> None:
        """Whether it is good, and what follows; the intake is locked."""
        if self.clock_ns is not None and (clock_ns := self.clock_ns()) > 0:
            camera.compare_clock(frame.stamp_ns, clock_ns)
        try:
            admission = camera.admit(frame, now_ns)
        except BadInputError as error:
            self._refuse(camera.name, error)
            return
        except BaseException:
            self._board.drop("failed", 1)
            raise
        if admission.refused is not None:
            self._refuse(camera.name, admission.refused)
        else:
            self._refused.pop(camera.name, None)
        if admission.leap is not None:
            self._on_leap(camera.name, admission)
        if admission.renamed:
            text = f"{camera.name}: {admission.renamed}"
            self._board.event("CAMERA_CHANGED", text, now_ns / NS)
            self._restart("frame_changed", text)
        if self._awaits_calibration(camera, now_ns):
            for arrival in admission.arrivals:
                self._hold(arrival)
        else:
            self._take_all(admission.arrivals, now_ns)

    def _awaits_calibration(self, camera: Camera, now_ns: int) -> bool:
        sent = self._sent.get(camera.name)
        if sent is None or camera.calibration.has_info:
            return False
        waited_ns = 0 if camera.first_ns is None else now_ns - camera.first_ns
        return waited_ns <= _CALIBRATION_WAIT_S * NS and sent()

    def _hold(self, arrival: Arrival) -> None:
        """Keep a frame until its camera's calibration has come, or has not come in time."""
        held = self._uncalibrated.setdefault(arrival.camera, deque())
        held.append(arrival)
        if len(held) > _WAITING_FOR_PARTNERS:
            held.popleft()
            self._board.drop("superseded", 1)

    def _release(self, camera: str, now_ns: int) -> None:
        self._take_all(self._uncalibrated.pop(camera, ()), now_ns)

    def _take_all(self, arrivals: Iterable[Arrival], now_ns: int) -> None:
        """Take one after the other; where one fails, the rest of them is counted."""
        left = deque(arrivals)
        try:
            while left:
                self._take(left.popleft(), now_ns)
        finally:
            self._board.drop("failed", len(left))

    def _take(self, arrival: Arrival, now_ns: int) -> None:
        """Find its partners, decide, decode."""
        if self._paused:
            self._sync.clear("paused")
            self._moment_ns = now_ns
            self._board.drop("paused", 1)
            return
        rig = len(self._cameras) > 1
        found = self._sync.add(arrival, self._silent(now_ns) if rig else frozenset())
        if not found:
            return
        self._moment_ns = now_ns
        at, lead = found[0], found[0]
        try:
            verdict = self._chooser.judge(lead.camera, lead.stamp_ns, lambda: lead.gray)
            if verdict is None:
                self._board.drop("not_keyframe", len(found))
                return
            self._check_contrast(found, now_ns)
            frames = []
            for at in found:
                frames.append(self._cameras[at.camera].decode(at))
                if at.damage:
                    self._note_damage(at, now_ns)
        except BadInputError as error:
            if error.reason != "no_free_slot":
                self._cameras[at.camera].distrust()
            self._refuse(at.camera, error)
            self._board.drop("unsynchronised", len(found) - 1)
            return
        except BaseException:
            self._board.drop("failed", len(found))
            raise
        self._offer(self._chooser.accept(verdict, tuple(frames), now_ns))

    def _check_contrast(self, found: tuple[Arrival, ...], now_ns: int) -> None:
        """Refuse (BadInputError "featureless") what no camera sees; say so where some do."""
        least = self._options.images.min_contrast
        blind = [at for at in found if contrast(at.gray) < least]
        text = why_blind(blind[0].gray, least) if blind else ""
        if len(blind) == len(found):
            raise BadInputError("featureless", text)
        if blind:
            text = f"{blind[0].camera}: used although {text}"
            self._board.event("BAD_IMAGES", text, now_ns / NS)

    def _note_damage(self, arrival: Arrival, now_ns: int) -> None:
        self._damaged += 1
        text = f"{arrival.camera}: used although damaged ({self._damaged} so far): {arrival.damage}"
        self._board.event("BAD_IMAGES", text, now_ns / NS)

    def _on_leap(self, camera: str, admission: Admission) -> None:
        """Begin a new segment, unless this is the leap that another camera has made already."""
        leap, received_ns = admission.leap, admission.arrivals[0].received_ns
        assert leap is not None
        if self._leap is not None and camera not in self._leap.cameras:
            since_ns = received_ns - self._leap.received_ns
            expected_ns = self._leap.to_ns + since_ns
            nearer = abs(leap.to_ns - expected_ns) <= abs(leap.from_ns - expected_ns)
            if nearer and since_ns <= self._options.images.timeout_s * NS:
                cameras = self._leap.cameras | {camera}
                self._leap = replace(self._leap, cameras=cameras)
                self._sync.clear("time_jump", camera)
                return
        self._leap = _RigLeap(leap.to_ns, received_ns, frozenset({camera}))
        text = f"stamp of {camera} leapt by {leap.seconds:+.1f} s"
        self._board.event("TIME_JUMP", f"{text}; a new segment starts", received_ns / NS)
        self._restart("time_jump", text)

    def _refuse(self, camera: str, error: BadInputError) -> None:
        self._refused[camera] = f"{error.reason}: {error}"
        self._board.refuse(error.reason, f"{camera}: {error}", time.monotonic())
        self._emit(FrameRefused(camera, error.reason, str(error)))

    def _silent(self, now_ns: int) -> frozenset[str]:
        """Cameras without a good frame for too long."""
        limit_s = self._options.images.timeout_s
        return frozenset(n for n, c in self._cameras.items() if c.silent_s(now_ns) > limit_s)

    def _why_silent(self, camera: Camera, now_ns: int) -> str:
        if camera.name in self._refused:
            return f"no frame is good; the last one: {self._refused[camera.name]}"
        if self.explain_silence is not None:
            return self.explain_silence(camera.name)
        return f"no frame for {camera.silent_s(now_ns):.1f} s"

    def _why_no_moment(self, now_ns: int) -> str:
        """Why frames of a rig do not come together; "" where they do, or one camera is alone."""
        waited_s = (now_ns - self._moment_ns) / NS
        alive = len(self._cameras) - len(self._silent(now_ns))
        if alive > 1 and self._sync.leaves_out:
            return self._sync.explain()
        if alive < 2 or waited_s <= self._options.images.timeout_s:
            return ""
        why = self._sync.explain()
        return f"no frames belong together for {waited_s:.1f} s: {why}" if why else ""

    def _check_calibration(self, camera: Camera, now_ns: int) -> None:
        source, problem = self._sources.get(camera.name, ""), camera.calibration.problem
        waited_ns = 0 if camera.first_ns is None else now_ns - camera.first_ns
        late = waited_ns > self._options.images.timeout_s * NS
        missing = bool(source) and not camera.calibration.has_info and late
        text = missing_info(camera.name, source)
        self._board.condition("NO_CAMERA_INFO", missing, text, camera.name)
        self._board.condition("BAD_CAMERA_INFO", bool(problem), problem, camera.name)
