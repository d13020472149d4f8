# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Furniture models, panoramas and textures: fetched once, kept small, credited.

    build_library(folder, fetch_sources(work))
    library = ModelLibrary(folder)
    mesh = library.mesh(0)

Model axes: x to the right of who faces the thing's front, y to its back, z up, metres; the middle
of its footprint stands at the origin.
"""

from .library import FORMAT, ModelLibrary, build_library, default_folder
from .packages import Sources, fetch_sources, local_sources
from .sh3f import ModelEntry, ModelsError, read_archive

__all__ = [
    "FORMAT",
    "ModelEntry",
    "ModelLibrary",
    "ModelsError",
    "Sources",
    "build_library",
    "default_folder",
    "fetch_sources",
    "local_sources",
    "read_archive",
]
