# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Who made what: the credits that the licences ask for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from .sh3f import ModelEntry

__all__ = ["credits_text"]

_TEXTS = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-3.0-US": "https://creativecommons.org/licenses/by/3.0/us/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
}


def credits_text(
    entries: Sequence[ModelEntry], panoramas: Sequence[str], surfaces: Sequence[str]
) -> str:
    """Markdown: models by licence and creator, then panoramas and textures."""
    lines = [
        "# Credits",
        "",
        "Models of Sweet Home 3D's furniture libraries, as Debian packages them. All were",
        "modified: scaled to their listed size, textures shrunk, numbers rounded; scenes and",
        "pictures made from them are modified works too.",
    ]
    groups: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for entry in entries:
        groups[entry.licence][f"{entry.creator} ({entry.archive})"].append(entry.name)
    for licence in sorted(groups):
        lines += ["", f"## {licence}", "", _TEXTS[licence], ""]
        for creator in sorted(groups[licence]):
            names = groups[licence][creator]
            lines.append(f"- {creator}: {', '.join(sorted(names))}")
    if panoramas:
        lines += [
            "", "## Panoramas", "",
            "Greg Zaal, Poly Haven (https://polyhaven.com), CC0-1.0, as shipped with Blender: "
            + ", ".join(panoramas),
        ]  # fmt: skip
    if surfaces:
        lines += [
            "", "## Textures of walls and floors", "",
            "robosuite (https://robosuite.ai), MIT, as in its wheel: " + ", ".join(surfaces),
        ]  # fmt: skip
    return "\n".join(lines) + "\n"
