# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What somebody may hand to a door: fields of messages, files, documents."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from g2vlm_map.decode import ENCODINGS

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


def coded(kind: str) -> bytes:
    """A small picture as a file."""
    file = io.BytesIO()
    pixels = np.random.default_rng(3).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


GOOD = {kind: coded(kind) for kind in ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF", "PPM")}


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


pictures = st.sampled_from(sorted(GOOD)).flatmap(lambda kind: mutated(GOOD[kind]))

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
