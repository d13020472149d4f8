# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""`g2vlm model verify`: whether a model is sound, as one report that can be sent.

A model is loaded as a node loads it, its weights are looked at, frames that are the same everywhere
are seen, a question is answered. Where the published code is at hand its outputs are compared.
"""

from __future__ import annotations

import importlib
import math
import platform
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .foreign import foreign
from .interface import AnswerStatus, PixelMark, SpatialQuery
from .interface.progress import Progress, progress
from .model_cli import describe, part_of
from .model_folder import resolve_folder, weight_files
from .runtimes.machine import cpu_facts, package_version
from .runtimes.trial_frames import trial_window

if TYPE_CHECKING:
    from .interface import GeometryPrediction, Scene, SpatialRuntime

__all__ = ["verify"]

_SAMPLE = 1_000_000  # numbers of a tensor that are looked at
_EMPTY = 1e-6  # a matrix whose numbers differ by less was never trained
_NAMED = 10  # tensors of a kind that a report names
_HEIGHT, _WIDTH = 112, 224  # of the test frames, in pixels
_QUESTION = "How far is A from the camera?"
_TOKENS = 4
_STEPS = 7  # weights read, loaded, three windows, two answers
# Of points to their depth, in the mean, and of rotations: the published code computes in bf16, with
# angles of its heads' positions in bf16 too.
_PUBLISHED_POINTS, _PUBLISHED_DEG = 0.03, 1.0

Published = Callable[[Path, list[NDArray[np.uint8]]], Mapping[str, Any]]


def verify(
    model: str, device: str = "auto", precision: str = "auto", published: str = ""
) -> dict[str, Any]:
    """Load a model as a node does, look at its weights, run test frames and a question.

    Args:
        model: As `resolve_folder`.
        device, precision: As `load_runtime`.
        published: "package.module:function" that runs the published code: called with the folder
            and a list of pictures, (H, W, 3) uint8, it returns what the published `recon` does,
            "local_points" (1, N, H, W, 3) and "camera_poses" (1, N, 4, 4), as arrays or tensors.
            The geometry then stands behind the published prompt here too.

    Returns:
        What was found, for a file: machine, versions, model, norms by part, outputs, times, and
        `checks`: "ok", "skipped: ..." or what is wrong; `sound` where nothing is.

    Raises:
        OSError, ValueError: There is no such model, device or precision, or no such function.
    """
    from .runtimes.torch.placement import choose_placement

    folder, run = resolve_folder(model), _function(published)
    choose_placement(device, precision)  # a word that is wrong says nothing of the model
    with progress(_STEPS, "verifying", "steps") as shown:
        return _verified(model, folder, device, precision, run, shown)


def _verified(
    model: str, folder: Path, device: str, precision: str, run: Published | None, shown: Progress
) -> dict[str, Any]:
    """The report of `verify`."""
    report: dict[str, Any] = {"model": str(model), "machine": _machine()}
    times = _Times(report, shown)
    checks: dict[str, str] = {}
    report["checks"] = checks
    try:
        report["model"] = describe(str(folder))
        shown.stage("reading the weights")
        report["norms"] = norms = _norms(folder)
        shown.advance()
    except (OSError, ValueError) as error:
        checks["files"] = str(error)
        return report | {"sound": False}
    checks["weights"] = _problem_of(norms)
    mode = "published" if run else "shared"
    try:
        runtime = _loaded(folder, device, precision, mode, times)
    except (OSError, ValueError, RuntimeError) as error:
        checks["loads"] = str(error)
        return report | {"sound": False}
    checks["loads"] = "ok"
    try:
        report["rss_bytes"] = {"loading": _most_resident(), "loaded": _resident()}
        info = runtime.info
        report["runs"] = {"device": info.device, "precision": info.precision, "prompt": mode}
        report["runs"]["fallback"] = info.fallback_reason
        report["outputs"], geometry = _run(runtime, times)
    finally:
        runtime.close()
    shown.stage("comparing")
    report["rss_bytes"]["peak"] = _most_resident()
    checks |= _checks(report["outputs"])
    checks["the published code agrees"] = _held_against(run, folder, geometry, report)
    passed = (outcome == "ok" or outcome.startswith("skipped: ") for outcome in checks.values())
    return report | {"sound": all(passed)}


def _held_against(
    run: Published | None, folder: Path, geometry: GeometryPrediction, report: dict[str, Any]
) -> str:
    """The outcome of the comparison with the published code; what was found goes to `report`."""
    if run is None:
        return (
            "skipped: no --published MODULE:FUNCTION; the published code is no package that can be "
            "found"
        )
    found = _apart(geometry, run(folder, [frame.image for frame in _window().frames]))
    report["published_code"] = found
    return _problem_apart(found)


def _function(name: str) -> Published | None:
    """The function of a name; None where that is empty.

    Raises:
        ValueError: There is none.
    """
    if not name:
        return None
    module, _, function = name.partition(":")
    with foreign(f"--published {name!r}"):
        try:
            found = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            raise ValueError(f"--published {name!r}: cannot import {module}: {error}") from error
    if not callable(found):
        raise ValueError(f"--published is {name!r}, expected package.module:function")
    made: Published = found
    return made


class _Times:
    """Shows steps, and notes what they take.

    In "seconds" of the wall and "cpu_seconds" of this process; the second hardly depends on what
    else a machine does.
    """

    def __init__(self, report: dict[str, Any], shown: Progress) -> None:
        self._shown = shown
        self._wall: dict[str, float] = {}
        self._cpu: dict[str, float] = {}
        report["seconds"], report["cpu_seconds"] = self._wall, self._cpu

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Note a step, where it succeeds."""
        self._shown.stage(name)
        wall, cpu = time.monotonic(), time.process_time()
        yield
        self._wall[name] = round(time.monotonic() - wall, 3)
        self._cpu[name] = round(time.process_time() - cpu, 3)
        self._shown.advance()


def _loaded(folder: Path, device: str, precision: str, mode: str, times: _Times) -> SpatialRuntime:
    from .runtimes import load_runtime

    with times.of("load"):
        return load_runtime("torch", folder, device, precision, mode)


def _machine() -> dict[str, str]:
    packages = ("torch", "numpy", "tokenizers", "safetensors", "g2vlm_ros")
    return {
        "cpu": cpu_facts()[0],
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **{name: package_version(name) for name in packages},
    }


def _resident() -> int:
    """Bytes that this process holds in memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _most_resident() -> int:
    """Bytes that this process held in memory at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _norms(folder: Path) -> dict[str, dict[str, Any]]:
    """By part: root mean square and largest number of its matrices, and what looks wrong of them.

    Of a tensor at most a million numbers are read; that all are finite is seen when it is loaded.
    """
    import torch

    from .checkpoint import model_on_meta
    from .checkpoint_keys import published_names
    from .config import ModelConfig, SpecialIds
    from .safetensors_file import SafetensorsFile

    model = model_on_meta(ModelConfig.from_folder(folder), SpecialIds(0, 1, 2, 3, 4))
    ours_of = published_names(dict(model.named_parameters()))
    squares: dict[str, list[float]] = defaultdict(list)  # mean square of each tensor
    largest: dict[str, float] = defaultdict(float)
    wrong: dict[str, dict[str, list[str]]] = defaultdict(lambda: {"empty": [], "not finite": []})
    for path in weight_files(folder):
        with SafetensorsFile(path) as reader:
            for name, entry in reader.entries.items():
                if name not in ours_of:
                    continue
                end = min(entry.end, entry.begin + _SAMPLE * entry.dtype.itemsize)
                raw = bytearray(reader.sample_bytes(entry.begin, end))
                values = torch.frombuffer(raw, dtype=entry.dtype).double().numpy()
                part = part_of(ours_of[name])
                if not np.isfinite(values).all():
                    wrong[part]["not finite"].append(name)
                elif len(entry.shape) > 1:
                    squares[part].append(float(np.mean(values**2)))
                    largest[part] = max(largest[part], float(np.abs(values).max()))
                    if float(values.std()) < _EMPTY:
                        wrong[part]["empty"].append(name)
    return {
        part: {
            "rms": _rounded(math.sqrt(float(np.mean(squares[part] or 0.0)))),
            "largest": _rounded(largest[part]),
            **{kind: names[:_NAMED] for kind, names in wrong[part].items()},
        }
        for part in (*squares, *(part for part in wrong if part not in squares))
    }


def _problem_of(norms: dict[str, dict[str, Any]]) -> str:
    said = []
    for kind, words in (("not finite", "NaN or infinity in"), ("empty", "never trained:")):
        names = [name for part in norms.values() for name in part[kind]]
        said += [f"{words} {', '.join(names)}"] if names else []
    return "; ".join(said) or "ok"


def _window(frames: int = 2, shift: int = 0) -> Any:
    return trial_window(frames, _HEIGHT, _WIDTH, shift)


def _run(runtime: SpatialRuntime, times: _Times) -> tuple[dict[str, Any], GeometryPrediction]:
    """Two frames, the first of them alone, another one, and a question about that.

    Args:
        runtime: The model.
        times: Of each step.

    Returns:
        What is worth a report, and the geometry of the two frames.
    """

    def seen(name: str, frames: int, shift: int = 0) -> Scene:
        with times.of(name):
            return runtime.observe(_window(frames, shift))

    both = seen("observe", 2)
    both.close()
    alone = seen("observe one, known", 1)
    alone.close()
    other = seen("observe one, new", 1, shift=50)
    geometry = both.geometry
    depth_HW = alone.geometry.local_points[0, ..., 2].astype(np.float64)
    change_HW = np.abs(depth_HW - other.geometry.local_points[0, ..., 2]) / np.abs(depth_HW)
    mark = PixelMark(0, _WIDTH // 2, _HEIGHT // 2, "A")
    for name in ("answer", "answer again"):  # the second finds the picture read
        with times.of(name):
            answer = runtime.ask(other, SpatialQuery(_QUESTION, (mark,), max_tokens=_TOKENS))
    other.close()
    T = geometry.T_world_cam.astype(np.float64)
    depth_NHW = geometry.local_points[..., 2].astype(np.float64)
    orthogonal = np.abs(T[:, :3, :3].transpose(0, 2, 1) @ T[:, :3, :3] - np.eye(3)).max()
    found = {
        "finite": bool(np.isfinite(geometry.world_points).all() and np.isfinite(T).all()),
        "depth_quartiles": [_rounded(q) for q in np.quantile(depth_NHW, (0.25, 0.5, 0.75))],
        "depth_change_by_picture": _rounded(float(np.median(change_HW))),
        "rotation_error": _rounded(float(orthogonal)),
        "pose_of_the_second": [[_rounded(value) for value in row] for row in T[1]],
        "answer": {"status": answer.status.name, "tokens": answer.tokens, "text": answer.text},
    }
    return found, geometry


def _checks(outputs: dict[str, Any]) -> dict[str, str]:
    """Name of a check -> "ok", or what is wrong."""
    median = outputs["depth_quartiles"][1]
    status, tokens = outputs["answer"]["status"], outputs["answer"]["tokens"]
    said = (AnswerStatus.OK.name, AnswerStatus.TRUNCATED.name)
    wrong = {
        "geometry is finite": "" if outputs["finite"] else "NaN or infinity",
        "depth is a length": "" if 1e-3 < median < 1e3 else f"its median is {median}",
        "poses are rigid": "" if outputs["rotation_error"] < 1e-2 else "rotations are none",
        "the picture matters": (
            "" if outputs["depth_change_by_picture"] > 1e-6 else "another one has the same depth"
        ),
        "it answers": "" if status in said and tokens else f"{status}, {tokens} tokens",
    }
    return {name: problem or "ok" for name, problem in wrong.items()}


def _apart(geometry: GeometryPrediction, published: Mapping[str, Any]) -> dict[str, float]:
    """How far our geometry of a window is from the published code's.

    Its world is no camera's: both are brought into the axes of the first camera.
    """
    points = np.asarray(published["local_points"], np.float64)[0]
    T_any_cam = np.asarray(published["camera_poses"], np.float64)[0]
    ours = geometry.local_points.astype(np.float64)
    if points.shape != ours.shape or T_any_cam.shape != geometry.T_world_cam.shape:
        raise ValueError(
            f"the published code's local_points are {list(points.shape)} and its camera_poses "
            f"{list(T_any_cam.shape)}, expected {list(ours.shape)} and "
            f"{list(geometry.T_world_cam.shape)}"
        )
    gap = np.linalg.norm(points - ours, axis=-1) / np.abs(ours[..., 2])
    T = np.linalg.inv(T_any_cam[0]) @ T_any_cam[1]
    T_own = np.linalg.inv(geometry.T_world_cam[0]) @ geometry.T_world_cam[1]
    # The chord of a turn by an angle a is 2 sqrt(2) sin(a / 2); its cosine would lose small ones.
    chord = float(np.linalg.norm(T[:3, :3] - T_own[:3, :3]))
    return {
        "points_relative_mean": _rounded(float(gap.mean())),
        "points_relative_max": _rounded(float(gap.max())),
        "rotation_deg": _rounded(math.degrees(2.0 * math.asin(min(1.0, chord / math.sqrt(8.0))))),
        "translation": _rounded(float(np.linalg.norm(T[:3, 3] - T_own[:3, 3]))),
    }


def _problem_apart(found: dict[str, float]) -> str:
    mean, turned = found["points_relative_mean"], found["rotation_deg"]
    if mean <= _PUBLISHED_POINTS and turned <= _PUBLISHED_DEG:
        return "ok"
    return (
        f"its points are {mean:.2%} of the depth apart in the mean and its rotation {turned:.2f} "
        f"deg, expected at most {_PUBLISHED_POINTS:.0%} and {_PUBLISHED_DEG:g} deg"
    )


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
