# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A map in a file: everything that its keyframes, edges and scale consist of.

One file per map (see `array_file`), written at once or not at all. What is read is checked before
it is believed: the file is whole, of a known version, of sane sizes, of the model that runs and
of the cameras that look. A refusal says which of these, and leaves the present map as it is.

Shape letters: N keyframes, V views, E edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scale.estimate import ScaleEstimate
from ..world import World
from .array_file import ArrayFileError, ArrayReader, ArrayWriter, reading, writing
from .keyframe import Keyframe, PlacedKeyframe, View
from .store_edges import read_edges, rigid_poses, write_edges
from .store_views import MAX_VIEWS, StoredView, read_views, stored_views, write_views

__all__ = ["FORMAT", "VERSION", "MapContent", "MapFileError", "load_map", "save_map"]

FORMAT = "g2vlm map"
VERSION = 3  # 1 had no `View.metres`, 2 no `PlacedKeyframe.log_depth_centre`
MAX_KEYFRAMES = 200_000
MAX_EDGES = 4_000_000
_MAX_K_DIFFERENCE = 0.03  # of the focal length: a calibration made anew, not another lens
_IMPOSSIBLE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)

MapFileError = ArrayFileError


@dataclass(frozen=True, eq=False)
class MapContent:
    """What a map file holds.

    Args:
        model_id: Of the model that predicted depths and tokens, as `RuntimeInfo.model_id`.
        detector: Of the features: "sift", "orb", or a graph's `LearnedMatcher.identity`.
        words_id: Of the vocabulary that made the places' "words".
        world: Keyframes, edges, scale and axes.
    """

    model_id: str
    detector: str
    words_id: str
    world: World

    @property
    def cameras(self) -> dict[str, View]:
        """Of each camera its newest view."""
        placed = self.world.keyframes
        return {view.camera: view for one in placed for view in one.keyframe.views}


def save_map(path: Path, content: MapContent) -> int:
    """Write a map; the bytes of the file.

    Args:
        path: Of the file; one that is there is replaced when the new one is whole.
        content: The map.

    Raises:
        MapFileError: No folder, no room, no right to write. What was there is unharmed.
    """
    world = content.world
    with writing(path) as file:
        views = [view for one in world.keyframes for view in one.keyframe.views]
        table = stored_views(views)
        file.header(_header(content, table))
        _write_keyframes(file, world.keyframes)
        write_views(file, views, table)
        _write_places(file, world.keyframes)
        write_edges(file, world.edges)
    return path.stat().st_size


def is_map(path: Path) -> bool:
    """Whether a file begins as a map, of whatever version and model."""
    try:
        with reading(path) as file:
            return file.header().get("format") == FORMAT
    except (MapFileError, OSError):
        return False


def load_map(
    path: Path, *, model_id: str = "", detector: str = "", cameras: Mapping[str, View] | None = None
) -> MapContent:
    """Read a map.

    Args:
        path: Of the file.
        model_id: Of the model that runs; "" where none does.
        detector: That runs; "" where none does.
        cameras: A view of each camera that is known already.

    Raises:
        MapFileError: The file is cut off, damaged, of a later version, of another model, of
            another camera, or says impossible things.
    """
    with reading(path) as file:
        header = file.header()
        _check_origin(path, header, model_id, detector)
        try:
            content = _read(file, header)
        except _IMPOSSIBLE as error:
            if isinstance(error, MapFileError):
                raise
            what = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            raise MapFileError(f"{path} says impossible things: {what:.300}") from error
    for name, live in (cameras or {}).items():
        if refusal := camera_refusal(content, name, live):
            raise MapFileError(f"{path}: {refusal}")
    return content


def camera_refusal(content: MapContent, name: str, live: View) -> str:
    """Why a camera cannot look at a map; "" where it can.

    Args:
        content: The map.
        name: Of the camera.
        live: A view that it made just now.
    """
    stored = content.cameras.get(name)
    if stored is None:
        known = ", ".join(sorted(content.cameras)) or "none"
        return f"the map was made with the cameras {known}, none of them is {name!r}"
    old, new = (view.K_image / view.image_hw[1] for view in (stored, live))
    aspects = [view.image_hw[0] / view.image_hw[1] for view in (stored, live)]
    focal = max(abs(math.log(new[k, k] / old[k, k])) for k in (0, 1))
    centre = float(np.abs(new[:2, 2] - old[:2, 2]).max())
    if focal > _MAX_K_DIFFERENCE or centre > _MAX_K_DIFFERENCE:
        return (
            f"the map was made with another camera {name!r}: focal lengths "
            f"{old[0, 0]:.3f}, {old[1, 1]:.3f} and centre {old[0, 2]:.3f}, {old[1, 2]:.3f} frame "
            f"widths, now {new[0, 0]:.3f}, {new[1, 1]:.3f} and {new[0, 2]:.3f}, {new[1, 2]:.3f}; "
            "map the place anew with this one"
        )
    if abs(math.log(aspects[1] / aspects[0])) > _MAX_K_DIFFERENCE:
        (h0, w0), (h1, w1) = stored.image_hw, live.image_hw
        return f"the map was made with frames of {w0}x{h0} of {name!r}, now they are {w1}x{h1}"
    return ""


# The header.


def _header(content: MapContent, views: Sequence[StoredView]) -> dict[str, Any]:
    world = content.world
    keyframes = [one.keyframe for one in world.keyframes]
    names = sorted({name for one in keyframes for name in one.places})
    sizes = {name: _place_size(keyframes, name) for name in names}
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": content.model_id,
        "detector": content.detector,
        "words": content.words_id,
        "cameras": _camera_facts(content),
        "keyframes": len(keyframes),
        "keys": [one.key for one in keyframes],
        "views": len(views),
        "view_texts": [[one.camera, one.frame_id] for one in views],
        "places": sizes,
        "edges": len(world.edges),
        "map_version": world.version,
        "segment": world.segment,
        "loops": world.loops,
        "up_source": world.up_source,
        "T_level_map": world.T_level_map.tolist(),
        "T_base_body": None if world.T_base_body is None else world.T_base_body.tolist(),
        "scale": _finite(asdict(world.scale)),
    }


def _camera_facts(content: MapContent) -> list[dict[str, Any]]:
    """For whoever looks into a file; what is compared are the views."""
    return [
        {
            "name": name,
            "width": view.image_hw[1],
            "height": view.image_hw[0],
            "K": view.K_image.tolist(),
        }
        for name, view in sorted(content.cameras.items())
    ]


def _place_size(keyframes: Sequence[Keyframe], name: str) -> list[int]:
    """[keyframes that have it, its width]."""
    having = [one.places[name] for one in keyframes if name in one.places]
    return [len(having), len(having[0])]


def _check_origin(path: Path, header: Mapping[str, Any], model_id: str, detector: str) -> None:
    if header.get("format") != FORMAT:
        raise MapFileError(f"{path} is no map: its format is {header.get('format')!r:.60}")
    version = header.get("version")
    if not isinstance(version, int) or version > VERSION or version < 1:
        raise MapFileError(
            f"{path} has version {version!r:.20} of the format, this program reads {VERSION}; "
            "load it with the program that wrote it, or a later one"
        )
    if model_id and header.get("model") != model_id:
        raise MapFileError(
            f"{path} was made with the model {header.get('model')!r:.80}, {model_id!r} runs: "
            "their depths and tokens differ; load that model, or map the place anew"
        )
    if detector and header.get("detector") != detector:
        raise MapFileError(
            f"{path} holds features of {header.get('detector')!r:.40}, {detector!r} is in use; "
            "set features.detector to what the map was made with"
        )


# The body.


def _read(file: ArrayReader, header: Mapping[str, Any]) -> MapContent:
    count = _bounded(header, "keyframes", MAX_KEYFRAMES)
    edge_count = _bounded(header, "edges", MAX_EDGES)
    view_count = _bounded(header, "views", MAX_VIEWS)
    learned = str(header["detector"]).startswith("onnx-")
    views = read_views(file, view_count, header["view_texts"], int(header["version"]), learned)
    keyframes = _read_keyframes(file, count, header, views)
    world = World(
        version=int(header["map_version"]),
        segment=int(header["segment"]),
        keyframes=keyframes,
        scale=_scale(header["scale"]),
        T_level_map=_axes(header, "T_level_map"),
        T_base_body=None if header["T_base_body"] is None else _axes(header, "T_base_body"),
        up_source=str(header["up_source"]),
        loops=int(header["loops"]),
        edges=read_edges(file, edge_count, {one.keyframe.number for one in keyframes}),
    )
    return MapContent(str(header["model"]), str(header["detector"]), str(header["words"]), world)


def _axes(header: Mapping[str, Any], name: str) -> NDArray[np.float64]:
    pose: NDArray[np.float64] = rigid_poses(name, np.array(header[name], np.float64)[None])[0]
    return pose


def _scale(values: Mapping[str, Any]) -> ScaleEstimate:
    """The estimate of a header; every field in its own type."""
    kinds = {item.name: type(getattr(ScaleEstimate(), item.name)) for item in fields(ScaleEstimate)}
    made = {name: kind(_or_infinite(values[name])) for name, kind in kinds.items()}
    if any(isinstance(value, float) and math.isnan(value) for value in made.values()):
        raise ValueError("a scale that is no number")
    return ScaleEstimate(**made)


def _or_infinite(value: Any) -> Any:
    return math.inf if value is None else value


def _write_keyframes(file: ArrayWriter, placed: Sequence[PlacedKeyframe]) -> None:
    integers = [
        (one.keyframe.number, one.keyframe.stamp_ns, one.segment, len(one.keyframe.views))
        for one in placed
    ]
    file.array("keyframe_integers", np.array(integers, np.int64).reshape(-1, 4))
    scales = np.array([one.log_depth_scale for one in placed], np.float64)
    file.array("keyframe_log_depth_scale", scales)
    centres = np.array([one.log_depth_centre for one in placed], np.float64)
    file.array("keyframe_log_depth_centre", centres)
    poses = np.array([one.T_map_body for one in placed], np.float64).reshape(-1, 4, 4)
    file.array("keyframe_T_map_body", poses)
    covariances = np.array([one.covariance for one in placed], np.float64).reshape(-1, 6, 6)
    file.array("keyframe_covariance", covariances)


def _read_keyframes(
    file: ArrayReader, count: int, header: Mapping[str, Any], views: Sequence[View]
) -> tuple[PlacedKeyframe, ...]:
    integers = file.array("keyframe_integers", "<i8", (count, 4))
    scales = file.array("keyframe_log_depth_scale", "<f8", (count,))
    centres = np.zeros(count)
    if header["version"] > 2:
        centres = file.array("keyframe_log_depth_centre", "<f8", (count,))
    poses = rigid_poses("T_map_body", file.array("keyframe_T_map_body", "<f8", (count, 4, 4)))
    covariances = file.array("keyframe_covariance", "<f8", (count, 6, 6))
    keys, places = header["keys"], _read_places(file, count, header["places"])
    numbers = integers[:, 0]
    if len(np.unique(numbers)) != count or (numbers < 1).any() or (np.diff(numbers) < 0).any():
        raise ValueError("numbers of keyframes are not positive, ascending and each there once")
    if integers[:, 3].sum() != len(views) or (integers[:, 3] < 1).any():
        raise ValueError(f"keyframes count {integers[:, 3].sum()} views, there are {len(views)}")
    if not np.isfinite([scales, centres]).all() or len(keys) != count:
        raise ValueError("depth scales that are not finite, or not one key per keyframe")
    ends = np.cumsum(integers[:, 3])
    made = []
    for index, (number, stamp_ns, segment, own) in enumerate(integers.tolist()):
        seen = tuple(views[ends[index] - own : ends[index]])
        keyframe = Keyframe(number, stamp_ns, str(keys[index]), seen, places[index])
        made.append(
            PlacedKeyframe(
                *(keyframe, poses[index], float(scales[index]), covariances[index], segment),
                float(centres[index]),
            )
        )
    return tuple(made)


def _write_places(file: ArrayWriter, placed: Sequence[PlacedKeyframe]) -> None:
    keyframes = [one.keyframe for one in placed]
    for name in sorted({name for one in keyframes for name in one.places}):
        having = [index for index, one in enumerate(keyframes) if name in one.places]
        file.array(f"place_{name}_keyframes", np.array(having, np.int64))
        rows = np.stack([keyframes[index].places[name] for index in having])
        file.array(f"place_{name}", rows.astype(np.float16))


def _read_places(
    file: ArrayReader, count: int, sizes: Mapping[str, Sequence[int]]
) -> list[dict[str, NDArray[np.float16]]]:
    places: list[dict[str, NDArray[np.float16]]] = [{} for _ in range(count)]
    for name, (rows, width) in sizes.items():
        having = file.array(f"place_{name}_keyframes", "<i8", (rows,))
        if ((having < 0) | (having >= count)).any():
            raise ValueError(f"places {name!r:.40} of keyframes that are not there")
        pieces = file.pieces(f"place_{name}", "<f2", (rows, width), [(width,)] * rows)
        for index, row in zip(having.tolist(), pieces, strict=True):
            places[index][str(name)] = row
    return places


def _bounded(header: Mapping[str, Any], name: str, most: int) -> int:
    value = header[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r:.40}, expected 0..{most}")
    return value


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no infinity: null stands for it."""
    return {name: None if value == math.inf else value for name, value in values.items()}
