# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A `MapPicture` in viser's scene: what changed is sent, nothing else. For one thread.

Every chunk is a node with its camera's pose, so that a loop sends poses and no points; of a long
map chunks are joined (`Joints`), and a joint is sent again where a loop has bent it. Positions
are float32: viser's default of float16 is good to centimetres only in tens of metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import viser
from numpy.typing import NDArray

from g2vlm_map.dense.occupancy import FREE, OCCUPIED, Grid
from g2vlm_map.poses import quaternion_xyzw

from .chunks import (
    Floats,
    Heights,
    Key,
    MapPicture,
    Node,
    frusta,
    heights_of,
    median_depth,
    spacing,
)
from .joints import Joints

__all__ = ["MODES", "PAGE", "Drawing", "Evidence", "Look", "colors"]

PAGE = "X-G2VLM-Page"  # header of a connection to viser: the page that it belongs to
MODES = ("picture", "confidence", "consistency", "height")
_TURBO = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], cv2.COLORMAP_TURBO)[:, 0, ::-1]
_GREY = (110, 110, 120)  # nobody can say
_PATH, _FRUSTA, _LOOPS, _MARKS = (255, 255, 255), (120, 160, 210), (255, 140, 30), (255, 80, 160)
_ANSWER = (80, 230, 120)
_FOOTPRINT = 0.9  # sizes of a point, in distances of neighbouring points at the median depth


@dataclass(frozen=True)
class Look:
    """How viewers want it to look.

    Args:
        mode: One of `MODES`.
        min_confidence: Points below are left out.
        max_range: Points further from their camera are, in the map's unit; 0 for none.
        size: Of points, as a factor.
        points, frusta, path, loops, occupancy: What is shown.
    """

    mode: str = "picture"
    min_confidence: float = 0.1
    max_range: float = 0.0
    size: float = 1.0
    points: bool = True
    frusta: bool = True
    path: bool = True
    loops: bool = True
    occupancy: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r:.40}, expected one of {MODES}")
        for name, high in (("min_confidence", 1.0), ("max_range", 1e9), ("size", 20.0)):
            if not 0.0 <= (value := getattr(self, name)) <= high:
                raise ValueError(f"{name} is {value}, expected 0..{high:g}")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Places with names, and lines between them, in level axes.

    Args:
        point_M3: float64.
        names: One for each; "" for none.
        words: What stands beside them.
        is_answer: Else they are marks.
    """

    point_M3: Floats
    names: Sequence[str] = ()
    words: str = ""
    is_answer: bool = False


@dataclass
class _Drawn:
    handle: Any = None
    signature: tuple[object, ...] = ()
    T_level_cam: Floats = field(default_factory=lambda: np.zeros((4, 4)))
    scale: float = 0.0
    shown: int = 0


class Drawing:
    """Keeps viser's scene as the newest picture says.

    Args:
        server: Whose scene.
    """

    def __init__(self, server: viser.ViserServer) -> None:
        self._server, self._scene = server, server.scene
        self._joints = Joints()
        self._drawn: dict[Key, _Drawn] = {}
        self._others: dict[str, Any] = {}
        self._level: bool | None = None
        self._placed_view = False
        self._started_with = 0
        self._lines: dict[str, NDArray[np.float32]] = {}
        self._evidence: list[Any] = []
        self._laid: tuple[Grid | None, float] = (None, 0.0)
        server.gui.configure_theme(dark_mode=True, show_logo=False, show_share_button=False)
        server.gui.main_panel.minimize()
        self._scene.add_grid("/floor", visible=False)

    @property
    def shown(self) -> int:
        """Points that are in the scene."""
        return sum(one.shown for one in self._drawn.values())

    def show(self, picture: MapPicture, look: Look) -> None:
        """Bring the scene up to date."""
        if picture.level != self._level and picture.nodes:
            self._scene.set_up_direction("+z" if picture.level else "-y")
            self._level, self._placed_view = picture.level, False
        heights = heights_of(picture) if look.mode == "height" else (0.0, 1.0, True)
        depth = median_depth(picture)
        nodes = self._joints.of(picture.nodes)
        with self._server.atomic():
            for key in [key for key in self._drawn if key not in nodes]:
                if (handle := self._drawn.pop(key).handle) is not None:
                    handle.remove()
            for key, node in nodes.items():
                self._show_node(key, node, look, heights)
            size = 0.06 * depth
            cameras = frusta(picture, size) if look.frusta else np.zeros((0, 2, 3))
            path_N3 = picture.path_N3 if look.path else np.zeros((0, 3))
            self._show_lines("frusta", cameras, _FRUSTA, 1.0)
            self._show_lines("path", np.stack([path_N3[:-1], path_N3[1:]], 1), _PATH, 2.5)
            loops = picture.loop_L23 if look.loops else np.zeros((0, 2, 3))
            self._show_lines("loops", loops, _LOOPS, 3.0)
            self._show_newest(picture, size if look.frusta else 0.0)
        if not picture.nodes:
            return
        if not self._placed_view:
            self.place_view(picture)
        elif len(picture.nodes) >= 1.2 * self._started_with:
            self._start_at(picture)
        else:
            return
        self._started_with = len(picture.nodes)

    def show_occupancy(self, grid: Grid | None, floor: float = 0.0) -> None:
        """Lay a grid on the floor; None takes it away. The same one again is not sent."""
        if grid is self._laid[0] and floor == self._laid[1]:
            return
        self._laid = (grid, floor)
        if grid is None:
            self._take("occupancy")
            return
        height, width = grid.cells_YX.shape
        rgba = np.zeros((height, width, 4), np.uint8)
        rgba[grid.cells_YX == FREE] = (70, 200, 120, 110)
        rgba[grid.cells_YX == OCCUPIED] = (230, 60, 60, 210)
        across, along = width * grid.resolution, height * grid.resolution
        self._others["occupancy"] = self._scene.add_image(
            "/occupancy",
            rgba[::-1],  # its first row is the furthest along y
            across,
            along,
            wxyz=(0.0, 1.0, 0.0, 0.0),  # pictures look along z: face up
            position=(grid.origin[0] + across / 2, grid.origin[1] + along / 2, floor),
            cast_shadow=False,
            receive_shadow=False,
        )

    def show_evidence(self, shown: Sequence[Evidence], size: float) -> None:
        """Draw marks and answers in place of those before.

        Args:
            shown: All of them.
            size: Of a ball, in the map's unit.
        """
        for handle in self._evidence:
            handle.remove()
        self._evidence = []
        for number, one in enumerate(shown):
            color = _ANSWER if one.is_answer else _MARKS
            name = f"/evidence/{number}"
            for index, place in enumerate(one.point_M3):
                at = _triple(place)
                ball = f"{name}/{index}"
                made = self._scene.add_icosphere(ball, size, color, subdivisions=2, position=at)
                self._evidence.append(made)
                if index < len(one.names) and one.names[index]:
                    self._scene.add_label(f"{ball}/name", one.names[index])  # goes with it
            if len(one.point_M3) > 1 and one.is_answer:
                pairs = np.stack([one.point_M3[:-1], one.point_M3[1:]], 1)
                line = self._scene.add_line_segments(
                    f"{name}/line", pairs, color, thickness=3.0, thickness_units="screen"
                )
                self._evidence.append(line)
            if one.words and len(one.point_M3):
                middle = _triple(one.point_M3.mean(0))
                words = self._scene.add_label(f"{name}/words", one.words, position=middle)
                self._evidence.append(words)

    def place_view(self, picture: MapPicture, page: str = "") -> None:
        """Let viewers look at the whole map, from behind and above its first camera.

        Args:
            picture: The map.
            page: Whose view is moved; "" for everybody's.
        """
        position, target = self._start_at(picture)
        inner: Any = self._server._websock_server  # who asked is said nowhere else
        for number, client in self._server.get_clients().items():
            live = inner._live_connections.get(number)
            if page and (live is None or live.request.headers.get(PAGE) != page):
                continue
            client.camera.position, client.camera.look_at = position, target
        self._placed_view = True

    def _start_at(self, picture: MapPicture) -> tuple[Floats, Floats]:
        """Where pages that are opened from now on begin: place and target."""
        nodes = list(picture.nodes.items())
        points = MapPicture(dict(nodes[:: max(1, len(nodes) // 32)])).points()[::7]
        points = points if len(points) else picture.path_N3
        target = np.median(points, axis=0)
        radius = float(np.percentile(np.linalg.norm(points - target, axis=1), 80))
        up = np.array([0.0, 0.0, 1.0]) if picture.level else np.array([0.0, -1.0, 0.0])
        away = up - nodes[0][1].T_level_cam[:3, 2]
        position = target + 2.4 * radius * away / max(float(np.linalg.norm(away)), 1e-6)
        start = self._server.initial_camera
        start.position, start.look_at = _triple(position), _triple(target)
        return position, target

    def _show_node(self, key: Key, node: Node, look: Look, heights: Heights) -> None:
        drawn = self._drawn.setdefault(key, _Drawn())
        signature: tuple[object, ...] = (node.chunk, look.mode, look.min_confidence, look.points)
        if look.max_range > 0:
            signature += (round(math.log(look.max_range / node.scale), 2),)
        if look.mode == "consistency":
            signature += (id(node.agree_P),)
        elif look.mode == "height":
            signature += (heights, *np.round(node.T_level_cam, 2).ravel().tolist())
        if signature != drawn.signature:
            self._send_points(key, drawn, node, look, heights)
            drawn.signature = signature
        if drawn.handle is None:
            return
        if drawn.scale != node.scale:
            drawn.scale = drawn.handle.scale = node.scale
        if not np.array_equal(drawn.T_level_cam, node.T_level_cam):
            drawn.handle.wxyz, drawn.handle.position = _pose(node.T_level_cam)
            drawn.T_level_cam = node.T_level_cam
        size = _point_size(node) * look.size
        if drawn.handle.point_size != size:
            drawn.handle.point_size = size

    def _send_points(
        self, key: Key, drawn: _Drawn, node: Node, look: Look, heights: Heights
    ) -> None:
        keep_P = node.chunk.confidence_P >= look.min_confidence
        if look.max_range > 0:
            keep_P &= node.chunk.range_P * node.scale <= look.max_range
        if not look.points:
            keep_P[:] = False
        drawn.shown = int(np.count_nonzero(keep_P))
        if drawn.handle is not None:
            drawn.handle.remove()
            drawn.handle = None
        if not drawn.shown:
            return
        wxyz, position = _pose(node.T_level_cam)
        drawn.handle = self._scene.add_point_cloud(
            f"/map/{key[0]}_{key[1]}",
            node.chunk.point_P3[keep_P],
            colors(node, look.mode, heights)[keep_P],
            point_size=_point_size(node) * look.size,
            point_shape="circle",
            point_shading="flat",
            precision="float32",
            scale=node.scale,
            wxyz=wxyz,
            position=position,
        )
        drawn.T_level_cam, drawn.scale = node.T_level_cam, node.scale

    def _show_lines(
        self, name: str, pairs_L23: Floats, color: tuple[int, int, int], pixels: float
    ) -> None:
        ends = pairs_L23.astype(np.float32)
        if name in self._lines and np.array_equal(self._lines[name], ends):
            return
        self._lines[name] = ends
        if not len(ends):
            self._take(name)
            return
        self._others[name] = self._scene.add_line_segments(
            f"/{name}", ends, color, thickness=pixels, thickness_units="screen"
        )

    def _show_newest(self, picture: MapPicture, size: float) -> None:
        """The newest camera, with what it sees."""
        key = max((key for key in picture.nodes if key[1] == 0), default=None)
        node = None if key is None else picture.nodes[key]
        if node is None or size <= 0 or node.thumbnail_HW3 is None:
            self._take("newest")
            self._lines.pop("newest", None)
            return
        seen = np.append(node.T_level_cam, size).astype(np.float32)
        if "newest" in self._lines and np.array_equal(self._lines["newest"], seen):
            return
        self._lines["newest"] = seen
        wxyz, position = _pose(node.T_level_cam)
        self._others["newest"] = self._scene.add_camera_frustum(
            "/newest",
            node.fov,
            node.aspect,
            scale=2.0 * size,
            thickness=2.0,
            thickness_units="screen",
            color=(60, 170, 255),
            image=node.thumbnail_HW3,
            format="jpeg",
            wxyz=wxyz,
            position=position,
            cast_shadow=False,
            receive_shadow=False,
        )

    def _take(self, name: str) -> None:
        handle = self._others.pop(name, None)
        if handle is not None:
            handle.remove()


def colors(node: Node, mode: str, heights: Heights = (0.0, 1.0, True)) -> NDArray[np.uint8]:
    """(P, 3) uint8 of a chunk's points.

    Args:
        node: The chunk.
        mode: One of `MODES`; blue is little, red is much.
        heights: For "height": lowest, highest, and whether z is up; else y is down.
    """
    if mode == "picture":
        return node.chunk.color_P3
    if mode == "confidence":
        share_P = node.chunk.confidence_P
    elif mode == "consistency":
        if node.agree_P is None:
            return np.full((len(node.chunk.point_P3), 3), _GREY, np.uint8)
        share_P = node.agree_P
    else:
        low, high, level = heights
        row = node.T_level_cam[2] if level else -node.T_level_cam[1]
        height_P = node.chunk.point_P3 @ (node.scale * row[:3]) + row[3]
        share_P = ((height_P - low) / max(high - low, 1e-9)).astype(np.float32)
    known_P = np.isfinite(share_P)
    level_P = np.clip(np.where(known_P, share_P, 0.0) * 255, 0, 255).astype(np.uint8)
    found: NDArray[np.uint8] = _TURBO[level_P].copy()
    found[~known_P] = _GREY
    return found


def _point_size(node: Node) -> float:
    """Of a chunk's points in its own unit, to two digits: neighbours at the median depth touch."""
    return float(f"{_FOOTPRINT * spacing(node) or 0.01:.2g}")


def _pose(T: Floats) -> tuple[tuple[float, float, float, float], tuple[float, float, float]]:
    x, y, z, w = quaternion_xyzw(T[:3, :3])
    return (w, x, y, z), _triple(T[:3, 3])


def _triple(values: Floats) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
