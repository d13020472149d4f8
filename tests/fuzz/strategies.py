# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What somebody may hand to a door: fields of messages, files, documents."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Any

from hypothesis import strategies as st

from g2vlm_map.decode import ENCODINGS
from tests.fuzz import seeds
from tests.fuzz.mutate import change_document, change_picture

SIDES = st.sampled_from([0, 1, 2, 3, 7, 8, 16, 160, 65535, 65537, 2**31, 2**32 - 1])
NAMES = st.one_of(
    st.sampled_from(["camera", "/camera", "", "a b", "\x1b[31m", "x" * 300, "cam\u00e9ra"]),
    st.text(max_size=20),
)
STAMPS = st.one_of(
    st.integers(-(2**70), 2**70), st.integers(0, 10**10), st.integers(10**18, 2 * 10**18)
)
EXTREME = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.integers(-(2**70), 2**70),
    st.none(),
    st.booleans(),
    st.text(max_size=10),
)


@st.composite
def images(draw: Any) -> Any:
    """Fields of an Image, half of them with sizes that multiply out."""
    encoding = draw(st.one_of(st.sampled_from([*ENCODINGS, "32FC1", "h264"]), st.text(max_size=8)))
    spec = ENCODINGS.get(encoding)
    if draw(st.booleans()) and spec is not None:
        height, width = 2 * draw(st.integers(1, 12)), 2 * draw(st.integers(1, 12))
        step = width * spec.channels * spec.itemsize + draw(st.integers(0, 5))
        rows = height + (height // 2 if spec.half_rows else 0)
        data = draw(st.binary(min_size=step * rows, max_size=step * rows))
    else:
        height, width, step = draw(SIDES), draw(SIDES), draw(SIDES)
        data = draw(st.binary(max_size=200))
    return SimpleNamespace(
        height=height, width=width, encoding=encoding, step=step, data=data,
        is_bigendian=draw(st.integers(0, 255)),
    )  # fmt: skip


@st.composite
def mutated(draw: Any, whole: bytes) -> bytes:
    """A file with some bytes changed, cut, doubled or put in."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        what = draw(st.integers(0, 3))
        piece = draw(st.binary(min_size=1, max_size=8))
        if what == 0:
            data[at : at + len(piece)] = piece
        elif what == 1:
            del data[at : at + draw(st.integers(1, 200))]
        elif what == 2:
            data[at:at] = piece
        else:
            data[at:at] = data[at : at + draw(st.integers(1, 300))]
    return bytes(data)


def changed(seeds: Callable[[], tuple[bytes, ...]]) -> st.SearchStrategy[bytes]:
    """Good files with some bytes changed; the files are made when the first is drawn."""
    return st.deferred(lambda: st.sampled_from(seeds()).flatmap(mutated))


def kept(
    seeds: Callable[[], tuple[bytes, ...]], change: Callable[[bytes, random.Random], bytes]
) -> st.SearchStrategy[bytes]:
    """Good files changed inside of their structure, and now and then anywhere."""
    inside = st.randoms(use_true_random=False).map(lambda rng: change(rng.choice(seeds()), rng))
    return st.one_of(inside, inside, changed(seeds))


pictures = st.one_of(kept(seeds.pictures, change_picture), st.binary(max_size=100))

values = st.recursive(
    EXTREME,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)


@st.composite
def question_entries(draw: Any) -> bytes:
    """A questions file whose fields are of any kind."""
    fields = ("question", "at", "marks", "expected", "unit", "tolerance", "kind", "max_tokens")
    entry = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, values))
    document = draw(st.one_of(values, st.lists(entry, min_size=1, max_size=3)))
    return json.dumps(document).encode("utf-8", "surrogatepass")


documents = st.one_of(
    kept(seeds.documents, change_document),
    values.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
annotation_rows = st.one_of(question_entries(), documents)
manifests = kept(seeds.manifests, change_document)
words = st.text(max_size=300)
_TOLD = (
    NAMES,
    st.integers(0, 10**19).map(str),
    st.integers(10**18, 2 * 10**18).map(str),
    st.floats(0, 1e12).map(lambda number: f"frame_{number:.6f}"),
    st.datetimes(datetime(1999, 1, 1), datetime(2101, 1, 1)).map(
        lambda moment: f"IMG_{moment:%Y%m%d_%H%M%S}"
    ),
)
file_names = st.one_of(
    st.lists(st.one_of(*_TOLD), min_size=1, max_size=5),
    st.sampled_from(_TOLD).flatmap(
        lambda kind: st.lists(kind, min_size=1, max_size=5, unique=True)
    ),
)
frames = st.lists(st.tuples(STAMPS, NAMES, st.integers(-(2**40), 2**40)), max_size=12)

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e300, 30.0, 320.0]),
    st.floats(-2, 2),
)
LENSES = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye", "omni", "\x1b[31m")


@st.composite
def camera_infos(draw: Any) -> Any:
    """Fields of a CameraInfo, half of them near a lens that there is."""
    near = draw(st.booleans())
    number = st.floats(-0.3, 0.3) if near else NUMBERS
    focal = draw(st.floats(5, 200) if near else NUMBERS)
    k = [focal, 0.0, 16.0, 0.0, focal, 12.0, 0.0, 0.0, 1.0]
    if draw(st.integers(0, 3)) == 0:
        k = draw(st.lists(NUMBERS, min_size=9, max_size=9))
    side = st.integers(0, 64) if near else SIDES
    lens = draw(st.sampled_from(LENSES))
    binning = st.sampled_from([0, 0, 1, 2, 2**32 - 1])
    right = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4, "fisheye": 4}.get(lens, 0)
    count = (right, right) if near else (0, 14)
    roi = SimpleNamespace(
        x_offset=draw(side), y_offset=draw(side), width=draw(side), height=draw(side)
    )
    return SimpleNamespace(
        height=24 if near else draw(side), width=32 if near else draw(side),
        distortion_model=lens, d=draw(st.lists(number, min_size=count[0], max_size=count[1])), k=k,
        p=draw(st.lists(NUMBERS, min_size=12, max_size=12)),
        binning_x=draw(binning), binning_y=draw(binning),
        roi=roi if draw(st.integers(0, 2)) == 0 else SimpleNamespace(),
    )  # fmt: skip


def _vector(number: st.SearchStrategy[float] = NUMBERS) -> st.SearchStrategy[Any]:
    return st.builds(lambda x, y, z: SimpleNamespace(x=x, y=y, z=z), number, number, number)


quaternions = st.one_of(
    st.builds(lambda *q: SimpleNamespace(**dict(zip("xyzw", q, strict=True))), *[NUMBERS] * 4),
    st.floats(-4, 4).map(
        lambda angle: SimpleNamespace(x=0.0, y=math.sin(angle / 2), z=0.0, w=math.cos(angle / 2))
    ),
)
poses = st.builds(
    lambda position, orientation: SimpleNamespace(position=position, orientation=orientation),
    _vector(), quaternions,
)  # fmt: skip
links = st.lists(
    st.tuples(
        st.sampled_from(["map", "odom", "base", "/base", "camera", ""]),
        st.sampled_from(["odom", "base", "camera", "lidar", "map"]),
        st.one_of(st.integers(0, 10**10), STAMPS), poses, st.booleans(),
    ),
    max_size=8,
)  # fmt: skip
_imus = st.builds(
    lambda rotation, a, w, told: SimpleNamespace(
        orientation=rotation, linear_acceleration=a, angular_velocity=w,
        orientation_covariance=told[:9], linear_acceleration_covariance=told[9:],
    ),
    quaternions, _vector(), _vector(), st.lists(NUMBERS, min_size=18, max_size=18),
)  # fmt: skip
_scans = st.builds(
    lambda ranges, low, step, near, far: SimpleNamespace(
        ranges=ranges, angle_min=low, angle_increment=step, range_min=near, range_max=far
    ),
    st.lists(st.floats(width=32), max_size=12),
    *[st.floats(width=32)] * 2,
    *[st.one_of(st.floats(0, 100, width=32), st.floats(width=32))] * 2,
)


@st.composite
def _clouds(draw: Any) -> Any:
    """Fields of a PointCloud2, half of them with sizes that multiply out."""
    names = draw(st.sampled_from(["xyz", "xy", "xyzi", "zyx"]))
    kind = draw(st.sampled_from([7, 7, 8, 2]))
    size = 8 if kind == 8 else 4
    fields = [
        SimpleNamespace(name=name, offset=draw(st.sampled_from([i * size, i * size, 2**31])),
                        datatype=kind, count=1)
        for i, name in enumerate(names)
    ]  # fmt: skip
    width, height, step = draw(SIDES), draw(SIDES), draw(SIDES)
    row, data = draw(SIDES), draw(st.binary(max_size=100))
    if draw(st.booleans()):
        width, height, step = draw(st.integers(0, 6)), draw(st.integers(0, 3)), size * len(names)
        row = step * width + draw(st.integers(0, 4))
        data = draw(st.binary(min_size=row * height, max_size=row * height + 3))
    return SimpleNamespace(
        fields=fields, width=width, height=height, point_step=step, row_step=row, data=data,
        is_bigendian=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def _depths(draw: Any) -> Any:
    image = draw(images())
    image.encoding = draw(st.sampled_from(["32FC1", "16UC1", "mono16", "rgb8"]))
    if draw(st.booleans()):
        image.height, image.width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
        image.step = 4 * image.width
        image.data = draw(st.binary(min_size=image.step * image.height, max_size=200))
    return image


sensor_messages = st.one_of(
    st.tuples(st.just("cloud"), _clouds()),
    st.tuples(st.just("scan"), _scans),
    st.tuples(st.just("depth"), _depths()),
    st.tuples(st.just("imu"), _imus),
    st.tuples(st.just("pose"), poses),
)
times = st.builds(
    lambda sec, nanosec: SimpleNamespace(sec=sec, nanosec=nanosec),
    st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1),
)  # fmt: skip
queries = st.builds(
    lambda text, marks, cameras, stamp, timeout_s, tokens: SimpleNamespace(
        question=text, marks=marks, cameras=cameras, stamp=stamp, timeout_s=timeout_s,
        max_tokens=tokens,
    ),
    st.one_of(st.text(max_size=200), NAMES),
    st.lists(
        st.builds(
            lambda u, v, label, camera, stamp: SimpleNamespace(
                u=u, v=v, label=label, camera=camera, stamp=stamp
            ),
            NUMBERS, NUMBERS, NAMES, NAMES, times,
        ),
        max_size=4,
    ),
    st.lists(NAMES, max_size=3), times, NUMBERS, st.integers(-(2**31), 2**31 - 1),
)  # fmt: skip


def _known_parameters() -> st.SearchStrategy[dict[str, Any]]:
    from g2vlm_ros.params import camera_options, node_options

    options = {**node_options(), **camera_options("camera")}
    value = st.one_of(EXTREME, st.lists(st.one_of(NAMES, st.integers(), NUMBERS), max_size=3))

    def one(name: str) -> st.SearchStrategy[tuple[str, Any]]:
        good = st.just(options[name].default)
        choices = st.sampled_from(options[name].choices or ("",))
        return st.tuples(st.just(name), st.one_of(value, good, choices))

    drawn = st.lists(st.sampled_from(sorted(options)).flatmap(one), max_size=5)
    return st.one_of(drawn.map(dict), st.dictionaries(NAMES, value, max_size=2))


parameters = st.deferred(_known_parameters)

_texts = st.one_of(
    st.lists(st.lists(NUMBERS, min_size=1, max_size=16), max_size=5).map(
        lambda rows: "\n".join(" ".join(map(str, row)) for row in rows).encode()
    ),
    st.just(b"30 0 16\n0 30 12\n0 0 1\n"),
    st.just(b"1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1\n"),
    st.binary(max_size=40),
    documents,
)


@st.composite
def _folders(draw: Any) -> dict[str, bytes]:
    """Names and content of files of a folder of frames, in the layouts that there are."""
    ending = draw(
        st.sampled_from([".jpg", ".png", ".color.png", ".color.jpg", ".HEIC", ".mp4", ""])
    )
    root = draw(st.sampled_from(["", "", "images/", "cam0/", "cam0/data/", "mav0/cam0/data/"]))
    stems = draw(st.lists(
        st.one_of(
            st.integers(0, 10**19).map(str),
            st.sampled_from(["a1", "a2", "frame-000001", "x\u00b2"]),
        ), max_size=3, unique=True,
    ))  # fmt: skip
    files = {f"{root}{stem}{ending}": draw(pictures) for stem in stems}
    for stem in stems:
        if draw(st.booleans()):
            files[f"{root}{stem}.depth.png"] = draw(pictures)
            files[f"{root}{stem}.pose.txt"] = draw(_texts)
    beside = ("camera-intrinsics.txt", "K.txt", "poses.txt", "transforms.json", "notes.txt",
              "cam0/sensor.yaml", "mav0/state_groundtruth_estimate0/data.csv")  # fmt: skip
    for name in draw(st.lists(st.sampled_from(beside), max_size=3, unique=True)):
        files[name] = draw(_transforms(stems)) if name == "transforms.json" else draw(_texts)
    if draw(st.integers(0, 3)) == 0:
        files["cam0/sensor.yaml"] = draw(mutated(_SENSOR))
    return files


folders = _folders()
_SENSOR = b"""T_BS:
  data: [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]
resolution: [32, 24]
intrinsics: [30, 30, 16, 12]
distortion_model: radial-tangential
distortion_coefficients: [0, 0, 0, 0]
"""


@st.composite
def _transforms(draw: Any, stems: list[str]) -> bytes:
    names = st.one_of(st.sampled_from([f"{stem}.jpg" for stem in stems] or ["x"]), NAMES)
    entry = st.fixed_dictionaries(
        {"file_path": names},
        optional={
            "transform_matrix": st.one_of(
                values, st.just([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
            ),
            "depth_file_path": names,
        },
    )
    lens = st.one_of(NUMBERS.filter(math.isfinite), EXTREME)
    document = draw(st.fixed_dictionaries(
        {"frames": st.one_of(st.lists(entry, max_size=3), values)},
        optional=dict.fromkeys(("fl_x", "w", "h", "cx", "camera_angle_x", "k1"), lens),
    ))  # fmt: skip
    return json.dumps(document).encode("utf-8", "surrogatepass")


def _model_files() -> st.SearchStrategy[dict[str, bytes]]:
    folder = seeds.model_folder()
    names = sorted(path.name for path in folder.glob("*.json") if "index" not in path.name)

    def change(name: str) -> st.SearchStrategy[dict[str, bytes]]:
        whole = (folder / name).read_bytes()
        values_changed = st.randoms(use_true_random=False).map(
            lambda rng: change_document(whole, rng)
        )
        content = st.one_of(values_changed, values_changed, mutated(whole))
        return content.map(lambda data: {name: data})

    return st.sampled_from(names).flatmap(change)


model_files = st.deferred(_model_files)
