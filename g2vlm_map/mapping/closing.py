# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The thread that looks for places seen before, solves for all poses, and bounds the map.

New keyframes are handed in by the thread of the passes (`hear`), which is not held up: they wait
in a bounded queue; where it overflows the oldest are not looked for, but known and counted as any
other. Global solves run here on a snapshot of the graph (`MapGraph.solve_global`). Several loops in
a row share one solve.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..options import StatusOptions
from ..scale.estimate import ScaleEstimate
from ..status import StatusBoard
from .culling import Culler
from .keyframe import Edge, PlacedKeyframe
from .loops import Found, Hit, LoopSearch
from .map_graph import MapGraph
from .merge import Agreement, Similarity, agreed
from .options import MapOptions

__all__ = ["Closed", "LoopCloser"]

_POLL_S = 0.5
_SHARED = 4  # keyframes with loops that wait for one solve while others wait to be looked for
_QUERIES = 12  # newest keyframes whose hits in another segment may agree
_RIVALS = 4  # keyframes of an agreement that are looked for elsewhere too
_FEW = 256  # words of a refusal
_NAMED = 8  # culled keyframes that are told by number


@dataclass(frozen=True, eq=False)
class Closed:
    """What the thread tells.

    Args:
        cause: "loop", "merged", "culled" or "alike"; with the last nothing has changed.
        text: What happened, with the numbers.
        segment: That the younger one became part of; 0 without.
        absorbed: Number of the younger one.
        similarity: From the absorbed one's axes and units to those of `segment`.
    """

    cause: str
    text: str
    segment: int = 0
    absorbed: int = 0
    similarity: Similarity | None = None


class LoopCloser:
    """Looks for loops in a thread of its own; start and stop it as often as you like.

    Args:
        graph: The map.
        options: Of the map.
        tell: Told of what changed, in this object's thread.
        denies: Why other sensors deny a loop, "" where they do not.
        board: Told of errors that nobody foresaw.
        scale: Metres in a map unit, as far as they are known now.
        log_ratio: Log of units of a segment in one unit of another as odometry has it, None where
            it does not.
        join: Told that a segment is a part of another one, with the log of units as in
            `MapGraph.lay`; while nobody else sees the map, so that nobody sees half of it.
    """

    def __init__(
        self,
        graph: MapGraph,
        options: MapOptions,
        tell: Callable[[Closed], object],
        denies: Callable[[Edge], str] = lambda loop: "",
        board: StatusBoard | None = None,
        scale: Callable[[], ScaleEstimate] = ScaleEstimate,
        log_ratio: Callable[[int, int], float | None] = lambda places, queries: None,
        join: Callable[[int, int, float], object] = lambda absorbed, onto, log_scale: None,
    ) -> None:
        self.graph = graph
        self._join = join
        self._log_ratio = log_ratio
        self.options = options
        how = (options.features, options.edges, options.loops, denies, scale)
        self.search = LoopSearch(graph, *how)
        self.culler = Culler(graph, float(options.memory.max_memory_mb))
        self._tell = tell
        self._board = board or StatusBoard(StatusOptions())
        self._hits: deque[Hit] = deque(maxlen=16 * _QUERIES)
        self._waiting: deque[int] = deque(maxlen=options.loops.queue)
        self._owed = 0  # keyframes with loops since the last solve
        self._turn = threading.RLock()  # whoever searches: the thread, or `localise`
        self._wake = threading.Condition()
        self._busy = False
        self._missed: list[int] = []  # fell out of the queue; to be known all the same
        self._stopping = threading.Event()  # one for each start
        self._stopping.set()
        self._thread: threading.Thread | None = None
        self.overflowed = 0

    def start(self) -> None:
        """Start the thread, which begins with what the map holds.

        Where the one before still solves, it ends first: there is never more than one.
        """
        with self._wake:
            self._waiting.clear()
            self._missed.clear()
            self._stopping, self._busy, self.overflowed = threading.Event(), True, 0
        self._thread = threading.Thread(
            target=self._run, args=(self._stopping, self._thread), name="g2vlm-loops", daemon=True
        )
        self._thread.start()

    def cancel(self) -> None:
        """Nothing more is looked for."""
        with self._wake:
            self._stopping.set()
            self._waiting.clear()
            self._missed.clear()
            self._busy = False
            self._wake.notify_all()

    def stop(self, timeout_s: float) -> None:
        """End the thread; a solve that takes longer than the time is given up."""
        self.cancel()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def clear(self) -> None:
        """The map is another one: know the places that it holds now."""
        with self._turn:
            with self._wake:
                self._waiting.clear()
                self._missed.clear()
            self._know_anew()

    def _know_anew(self) -> None:
        with self._turn:
            self.search.clear()
            self.culler.clear()
            self._hits.clear()
            self._owed = 0
            for placed in self.graph.placed:
                self.search.know(placed.keyframe)
                for number in self.culler.grown(placed):
                    self.search.forget(number)

    def hear(self, placed: PlacedKeyframe) -> None:
        """A keyframe is new; from the thread of the passes, returns at once."""
        with self._wake:
            if self._stopping.is_set():
                return
            if len(self._waiting) == self._waiting.maxlen:
                self.overflowed += 1
                self._missed.append(self._waiting[0])
            self._waiting.append(placed.keyframe.number)
            self._wake.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Wait until every keyframe so far was looked for and solved with; False after the time."""
        with self._wake:
            return self._wake.wait_for(
                lambda: not (self._waiting or self._missed or self._busy), timeout_s
            )

    def step(self, number: int) -> Found:
        """Look for one keyframe's place, and do what follows from it but the solve."""
        with self._turn:
            placed = self.graph.get(number)
            if placed is None:
                return Found()
            found = self.search.find(number) if self.options.loops.enabled else Found()
            if found.loops:
                self.graph.add_edges(found.loops, loops=1)
                self._owed += 1
            if found.refused:
                self._tell_alike(found)
            if found.hits:
                self._hits.extend(found.hits)
                self.meet(number)
            self._cull(placed)
            return found

    def note(self, number: int) -> None:
        """Know a keyframe that is not looked for, and keep the map within its bound."""
        with self._turn:
            placed = self.graph.get(number)
            if placed is not None:
                self.search.know(placed.keyframe)
                self._cull(placed)

    def _cull(self, newest: PlacedKeyframe) -> None:
        """Keep the map within its bound, and tell which keyframes that cost."""
        gone = self.culler.grown(newest)
        for number in gone:
            self.search.forget(number)
        if gone:
            numbers = ", ".join(map(str, gone[:_NAMED])) + (", ..." if gone[_NAMED:] else "")
            self._tell(
                Closed(
                    "culled",
                    f"{len(gone)} redundant keyframes went ({numbers}), {len(self.graph)} are "
                    f"kept in {self.culler.megabytes:.1f} of {self.culler.max_megabytes:g} MB",
                )
            )

    def look(self, number: int, allowed: Sequence[int] | None) -> str:
        """Look for a keyframe's place in other segments, in the thread of whoever asks.

        Args:
            number: Of a keyframe.
            allowed: Keyframes that are looked at; None: all.

        Returns:
            What was found, or why it is not believed; "" where nothing looks alike.
        """
        with self._turn:
            hits = self.search.find(number, allowed).hits
            known = {(hit.place, hit.query) for hit in self._hits}
            self._hits.extend(hit for hit in hits if (hit.place, hit.query) not in known)
            return self.meet(number) if hits else ""

    def settle(self) -> None:
        """Solve for all poses where loops ask for it."""
        with self._turn:
            owed, self._owed = self._owed, 0
        if not owed:
            return
        moved = self.graph.solve_global()
        if moved is not None:
            text = f"{owed} keyframes closed loops; poses moved by up to {moved:.3f} map units"
            self._tell(Closed("loop", text))

    def meet(self, number: int) -> str:
        """Make segments one where the newest hits agree on how they lie.

        Args:
            number: Of the newest keyframe.

        Returns:
            What was found, or why it is not believed.
        """
        newest = self.graph.get(number)
        if newest is None:
            return "the keyframe is gone"
        groups: dict[int, list[Hit]] = {}
        for hit in self._hits:
            place, query = self.graph.get(hit.place), self.graph.get(hit.query)
            if place is None or query is None or query.segment != newest.segment:
                continue
            if place.segment != newest.segment and number - hit.query < _QUERIES:
                groups.setdefault(place.segment, []).append(hit)
        said = ""
        for segment, hits in groups.items():
            answer = self._unrivalled(hits, segment, newest.segment)
            said = answer.text
            if answer.similarity is not None:
                self._merge(segment, newest.segment, answer.similarity, answer.hits, said)
                break
            if answer.alike:
                self._tell(Closed("alike", said))
        return said

    def _unrivalled(self, hits: Sequence[Hit], segment: int, queries: int) -> Agreement:
        """What hits agree on, once the same keyframes were looked for everywhere else too."""
        options = self.options.loops
        ratio = self._log_ratio(segment, queries)
        answer = agreed(hits, self.graph.get, options, ratio)
        if answer.similarity is None:
            return answer
        rivals: list[Hit] = []
        for hit in answer.hits[-_RIVALS:]:
            query = self.graph.get(hit.query)
            if query is not None:
                T = answer.similarity.pose(query.T_map_body)
                rivals += self.search.elsewhere(hit.query, T, segment)
        return agreed([*hits, *rivals], self.graph.get, options, ratio) if rivals else answer

    def _merge(
        self, places: int, queries: int, onto: Similarity, hits: Sequence[Hit], said: str
    ) -> None:
        """The younger segment becomes a part of the older one."""
        older, younger = min(places, queries), max(places, queries)
        similarity = onto if places == older else onto.inverse()
        with self.graph.lock:
            self.graph.lay(younger, older, similarity.log_scale, similarity.R, similarity.t)
            self._join(younger, older, similarity.log_scale)
            edges = [edge for hit in hits if (edge := self._in_map_units(hit.edge)) is not None]
            self.graph.add_edges(edges, loops=1)
        self._hits.clear()
        self.graph.solve_global()
        text = f"segment {younger} is a part of segment {older}: {said}"
        self._tell(Closed("merged", text, older, younger, similarity))

    def _in_map_units(self, edge: Edge) -> Edge | None:
        """A hit's edge once both ends lie in one segment: as long as they now lie apart."""
        i, j = self.graph.get(edge.i), self.graph.get(edge.j)
        if i is None or j is None:
            return None
        length = float(np.linalg.norm(i.T_map_body[:3, 3] - j.T_map_body[:3, 3]))
        T = edge.T_i_j.copy()
        size = float(np.linalg.norm(T[:3, 3]))
        if size > 0:
            T[:3, 3] *= max(length, 1e-6) / size
        return replace(edge, T_i_j=T)

    def _tell_alike(self, found: Found) -> None:
        worst = [text for text in found.refused if "looks alike" in text]
        if worst:
            self._tell(Closed("alike", worst[0][:_FEW]))

    def _run(self, stopping: threading.Event, before: threading.Thread | None) -> None:
        if before is not None:
            before.join()
        with self._board.guard("loops", "taking note of the map"):
            self._know_anew()
        while True:
            with self._wake:
                if stopping.is_set():
                    return
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._waiting or stopping.is_set(), _POLL_S)
                if stopping.is_set():
                    return
                number = self._waiting.popleft() if self._waiting else None
                missed, self._missed = self._missed, []
                self._busy = number is not None
                pressed = bool(self._waiting)
            if number is None:
                continue
            with self._board.guard("loops", f"looking for keyframe {number}"):
                for other in missed:
                    self.note(other)
                self.step(number)
                if not stopping.is_set() and (not pressed or self._owed >= _SHARED):
                    self.settle()
