# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What somebody may hand to a door: fields of messages, files, documents."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any, TypeVar

from hypothesis import strategies as st

from g2vlm_map.decode import ENCODINGS
from tests.fuzz import seeds
from tests.fuzz.mutate import change_document, change_picture

T = TypeVar("T")
SIDES = st.sampled_from([0, 1, 2, 3, 7, 8, 16, 160, 65535, 65537, 2**31, 2**32 - 1])
# Hypothesis' own `randoms` prefers small numbers: the first key, a chance that always comes true.
RANDOMS = st.integers(0, 2**64 - 1).map(random.Random)
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
    """Fields of an Image, most of them with sizes that multiply out."""
    encoding = draw(mostly(st.sampled_from(sorted(ENCODINGS)), st.sampled_from(["32FC1", "h264"]),
                           st.text(max_size=8)))  # fmt: skip
    spec = ENCODINGS.get(encoding)
    if spec is not None and draw(st.integers(0, 4)):
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


def mostly(usual: st.SearchStrategy[T], *seldom: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    """`usual` three times for each other one (`one_of` takes what is named twice once)."""
    kinds = [*[usual] * 3 * len(seldom), *seldom]
    return RANDOMS.flatmap(lambda rng: rng.choice(kinds))


def changed(seeds: Callable[[], tuple[bytes, ...]]) -> st.SearchStrategy[bytes]:
    """Good files with some bytes changed; the files are made when the first is drawn."""
    return st.deferred(lambda: st.sampled_from(seeds()).flatmap(mutated))


def kept(
    seeds: Callable[[], tuple[bytes, ...]], change: Callable[[bytes, random.Random], bytes]
) -> st.SearchStrategy[bytes]:
    """Good files changed inside of their structure, and now and then anywhere."""
    inside = RANDOMS.map(lambda rng: change(rng.choice(seeds()), rng))
    return mostly(inside, changed(seeds))


pictures = mostly(kept(seeds.pictures, change_picture), st.binary(max_size=100))

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
    fields = (
        "question",
        "at",
        "marks",
        "expected",
        "unit",
        "tolerance",
        "kind",
        "max_tokens",
        "reason",
    )
    entry = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, values))
    document = draw(mostly(st.lists(entry, min_size=1, max_size=3), values))
    return json.dumps(document).encode("utf-8", "surrogatepass")


documents = mostly(
    kept(seeds.documents, change_document),
    values.map(lambda tree: json.dumps(tree).encode("utf-8", "surrogatepass")),
    st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
)
annotation_rows = mostly(kept(seeds.questions, change_document), question_entries(), documents)
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


@st.composite
def _named_by_time(draw: Any) -> list[str]:
    """Names as cameras and phones write them, one after the other; one in three is spoilt."""
    start, step = draw(st.integers(10**9, 2 * 10**9)), draw(st.integers(1, 10**5))
    times = [start + step * number for number in range(draw(st.integers(1, 5)))]
    write = draw(st.sampled_from([
        lambda t: f"{t % 10**6}.{t % 1000:06d}", lambda t: f"frame_{t}.5", lambda t: f"{t}000",
        lambda t: f"{t}000000000", lambda t: f"cam {t}000000",
        lambda t: datetime.fromtimestamp(t, timezone.utc).strftime("IMG_%Y%m%d_%H%M%S"),
        lambda t: datetime.fromtimestamp(t, timezone.utc).strftime("%Y-%m-%d at %H.%M.%S"),
    ]))  # fmt: skip
    names = [write(time) for time in times]
    if draw(st.integers(0, 2)) == 0:
        names[draw(st.integers(0, len(names) - 1))] = draw(st.one_of(*_TOLD))
    return names


file_names = mostly(_named_by_time(), st.lists(st.one_of(*_TOLD), min_size=1, max_size=5))
frames = st.lists(st.tuples(STAMPS, NAMES, st.integers(-(2**40), 2**40)), max_size=12)

NUMBERS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e300, 30.0, 320.0]),
    st.floats(-2, 2),
)
LENSES = ("", "plumb_bob", "rational_polynomial", "equidistant", "fisheye", "omni", "\x1b[31m")


_COEFFICIENTS = {"plumb_bob": 5, "rational_polynomial": 8, "equidistant": 4, "fisheye": 4}


@st.composite
def camera_infos(draw: Any) -> Any:
    """Fields of a CameraInfo: those of a lens that there is, in half of them one or two changed."""
    lens = draw(st.sampled_from(["", *_COEFFICIENTS]))
    size = _COEFFICIENTS.get(lens, 0)
    focal = draw(st.floats(5, 200))
    k = [focal, 0.0, 16.0, 0.0, focal, 12.0, 0.0, 0.0, 1.0]
    info = SimpleNamespace(
        height=24, width=32, distortion_model=lens, k=k, binning_x=0, binning_y=0,
        d=draw(st.lists(st.floats(-0.1, 0.1), min_size=size, max_size=size)),
        p=[*k[:3], 0.0, *k[3:6], 0.0, *k[6:], 0.0], roi=SimpleNamespace(),
    )  # fmt: skip
    if draw(st.integers(0, 3)) == 0:
        info.p = [0.0] * 12
    changes: dict[str, st.SearchStrategy[Any]] = {
        "height": SIDES, "width": SIDES, "distortion_model": st.sampled_from(LENSES),
        "binning_x": st.sampled_from([1, 2, 2**32 - 1]), "binning_y": st.sampled_from([1, 2, 7]),
        "d": st.lists(NUMBERS, max_size=14),
        "k": st.one_of(_one_changed(k), st.lists(NUMBERS, min_size=9, max_size=9)),
        "p": st.one_of(_one_changed(info.p), st.lists(NUMBERS, min_size=12, max_size=12)),
        "roi": st.builds(
            lambda x, y, w, h: SimpleNamespace(x_offset=x, y_offset=y, width=w, height=h),
            *[st.one_of(st.integers(0, 40), SIDES)] * 4,
        ),
    }  # fmt: skip
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        name = draw(st.sampled_from(sorted(changes)))
        setattr(info, name, draw(changes[name]))
    return info


def _one_changed(numbers: list[float]) -> st.SearchStrategy[list[float]]:
    places = st.integers(0, len(numbers) - 1)
    return st.builds(
        lambda place, number: [*numbers[:place], number, *numbers[place + 1 :]], places, NUMBERS
    )


def _vector(number: st.SearchStrategy[float] = NUMBERS) -> st.SearchStrategy[Any]:
    return st.builds(lambda x, y, z: SimpleNamespace(x=x, y=y, z=z), number, number, number)


_TURNED = st.floats(-4, 4).map(
    lambda angle: SimpleNamespace(x=0.0, y=math.sin(angle / 2), z=0.0, w=math.cos(angle / 2))
)
quaternions = mostly(
    _TURNED,
    st.builds(lambda *q: SimpleNamespace(**dict(zip("xyzw", q, strict=True))), *[NUMBERS] * 4),
)
poses = st.builds(
    lambda position, orientation: SimpleNamespace(position=position, orientation=orientation),
    mostly(_vector(st.floats(-100, 100)), _vector()), quaternions,
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
    quaternions, mostly(st.just(SimpleNamespace(x=0.0, y=0.1, z=9.81)), _vector()),
    mostly(_vector(st.floats(-0.1, 0.1)), _vector()),
    mostly(st.just([0.01] * 18), st.lists(NUMBERS, min_size=18, max_size=18)),
)  # fmt: skip
_scans = st.builds(
    lambda ranges, low, step, near, far: SimpleNamespace(
        ranges=ranges, angle_min=low, angle_increment=step, range_min=near, range_max=far
    ),
    mostly(st.lists(st.floats(width=32), min_size=1, max_size=12), st.just([])),
    mostly(st.floats(-3, 3, width=32), st.floats(width=32)),
    mostly(st.floats(0.0625, 0.5, width=32), st.floats(width=32)),
    mostly(st.floats(0, 1, width=32), st.floats(width=32)),
    mostly(st.floats(2, 100, width=32), st.floats(width=32)),
)


@st.composite
def _clouds(draw: Any) -> Any:
    """Fields of a PointCloud2, most of them with sizes that multiply out."""
    names = draw(st.sampled_from(["xyz", "xyzi", "zyx", "xyz", "xy"]))
    kind = draw(st.sampled_from([7, 7, 8, 7, 2]))
    size = 8 if kind == 8 else 4
    fields = [
        SimpleNamespace(name=name, offset=draw(st.sampled_from([i * size] * 9 + [2**31])),
                        datatype=kind, count=1)
        for i, name in enumerate(names)
    ]  # fmt: skip
    width, height, step = draw(SIDES), draw(SIDES), draw(SIDES)
    row, data = draw(SIDES), draw(st.binary(max_size=100))
    if draw(st.integers(0, 4)):
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
    image.encoding = draw(st.sampled_from(["32FC1", "16UC1", "mono16", "32FC1", "rgb8"]))
    if draw(st.integers(0, 4)):
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
    lambda text, marks, cameras, stamp, timeout_s, tokens, scope, reason: SimpleNamespace(
        question=text, marks=marks, cameras=cameras, stamp=stamp, timeout_s=timeout_s,
        max_tokens=tokens, scope=scope, reason=reason,
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
    mostly(st.integers(0, 1), st.integers(0, 255)), st.sampled_from(("", "off", "geometry", "x")),
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
