# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the map holds: keyframes, the edges between them, and where each keyframe is.

A keyframe is a rigid body: its axes are the optical axes of the rig's reference camera, and
every camera that saw the moment is a view of it. The map's lengths are in *map units*, in which
the trajectory is consistent; `g2vlm_map.scale` says how many metres one of them is. A keyframe's
depth is kept in the units of the pass that predicted it, and multiplied by exp(log_depth_scale)
it is in map units.

Shape letters: H W pixels of the model's picture, F features, E bytes of a descriptor, K matches
that agree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Edge", "Keyframe", "PlacedKeyframe", "Tracks", "View"]

Floats = NDArray[np.float64]

# Of a covariance; by the mean squared error over it on a kitchen (74 for 6) and a synthetic drive
# (78), which are no test of it: see docs/map.md.
SHARED_ERRORS = 9.0


@dataclass(frozen=True, eq=False)
class View:
    """What one camera gave a keyframe.

    Args:
        camera: Its name in the rig.
        frame_id: TF name of its optical frame.
        stamp_ns: Of its frame.
        T_body_cam: (4, 4) float64, the translation in metres; the identity for the reference
            camera.
        K: (3, 3) float64 intrinsics in pixels of the model's picture.
        image_hw: (H0, W0) of the frame as it was matched (rectified, before the model's resize).
        depth_HW: float16 z-depth in units of its pass; 0 where there is none.
        confidence_HW: uint8, 255 is 1.
        color_HW3: uint8 RGB, the model's picture.
        feature_F2: float32 (u, v) of its features in pixels of the matched frame.
        descriptor_FE: uint8 descriptors of them; int8 where they were learned (`features.py`).
        metres: Metres per unit of `depth_HW` where a depth sensor measured it; 0 where none did.
    """

    camera: str
    frame_id: str
    stamp_ns: int
    T_body_cam: Floats
    K: Floats
    image_hw: tuple[int, int]
    depth_HW: NDArray[np.float16]
    confidence_HW: NDArray[np.uint8]
    color_HW3: NDArray[np.uint8]
    feature_F2: NDArray[np.float32]
    descriptor_FE: NDArray[np.uint8 | np.int8]
    metres: float = 0.0

    @property
    def K_image(self) -> Floats:
        """(3, 3) intrinsics in pixels of the matched frame (pixel centres at whole numbers)."""
        height, width = self.depth_HW.shape
        stretch = np.array([self.image_hw[1] / width, self.image_hw[0] / height])
        K: Floats = self.K.copy()
        K[:2, :2] *= stretch[:, None]
        K[:2, 2] = (K[:2, 2] + 0.5) * stretch - 0.5
        return K


@dataclass(frozen=True, eq=False)
class Keyframe:
    """What a moment leaves in the map; never changed once it is in there.

    Args:
        number: Running number in the map, from 1 on, never used twice.
        stamp_ns: Of the reference camera's frame.
        key: Of that frame, as runtimes know it.
        views: The reference camera's first.
        places: Descriptors of the place by name ("words", "tokens"), float16 of unit length.
    """

    number: int
    stamp_ns: int
    key: str
    views: tuple[View, ...]
    places: dict[str, NDArray[np.float16]]

    @property
    def nbytes(self) -> int:
        """Bytes of all its arrays."""
        arrays = [value for view in self.views for value in vars(view).values()]
        arrays += self.places.values()
        return sum(value.nbytes for value in arrays if isinstance(value, np.ndarray))


@dataclass(frozen=True, eq=False)
class Tracks:
    """What a visual edge leaves for the search for lengths (`lengths.py`).

    Args:
        feature_K2: uint16 indices of the matches into the features of view `view` of i and j.
        log_depth_K2: float32 natural log of their z-depth in the cameras of i and j where the
            edge's translation has length 1; NaN where the parallax is too small.
        sigma_K: float32 standard deviation of these logs by the noise of the matches.
        log_ratio_2: Natural log of the edge's length over exp(log_depth_scale), as the depths
            of i and of j say; NaN where they say nothing.
        ratio_sigma_2: Standard deviation of that by its scatter, the bias of a depth not
            included.
        view: Index of the view.
    """

    feature_K2: NDArray[np.uint16]
    log_depth_K2: NDArray[np.float32]
    sigma_K: NDArray[np.float32]
    log_ratio_2: tuple[float, float]
    ratio_sigma_2: tuple[float, float]
    view: int = 0


@dataclass(frozen=True, eq=False)
class Edge:
    """How two keyframes lie to each other, as one source measured it.

    Args:
        i, j: Numbers of the keyframes.
        kind: "visual" (verified two-view geometry), "model" (the model's own poses), "odometry",
            "prior" (known poses), "loop" (visual, between keyframes that are far apart in time),
            "merged" (what culled keyframes left).
        T_i_j: (4, 4) float64, coordinates of j to coordinates of i; the translation in map units
            (an odometry edge is made with the scale of its time).
        sigma_rotation: Standard deviation of the rotation, rad.
        sigma_direction: Of the translation's direction, rad; infinite where nothing moved.
        sigma_log_length: Of the log of the translation's length; infinite where unknown.
        inliers: Matches that agree; 0 where none were needed.
        parallax_deg: Median angle between the rays of the inliers.
        sigma_still: Standard deviation of the translation where nothing moved (its direction is
            unknown), map units; infinite where nothing is known of it.
        tracks: Of a visual edge with parallax.
        off_plane: Of a loop: matches that do not lie on the one plane that holds most of them.
    """

    i: int
    j: int
    kind: str
    T_i_j: Floats
    sigma_rotation: float
    sigma_direction: float
    sigma_log_length: float
    inliers: int = 0
    parallax_deg: float = 0.0
    sigma_still: float = np.inf
    tracks: Tracks | None = None
    off_plane: int = 0


@dataclass(frozen=True, eq=False)
class PlacedKeyframe:
    """A keyframe and where it is at present.

    Args:
        keyframe: What it holds.
        T_map_body: (4, 4) float64 pose in map units.
        log_depth_scale: Natural log of map units per unit of its depth.
        covariance: (6, 6) of the pose: translation in map units, then rotation in rad, in the
            map's axes, relative to the segment's first keyframe; as if edges were independent.
        segment: Number of the connected part of the map that it belongs to.
        log_depth_centre: What `log_depth_scale` is expected around: 0 in the units that the segment
            began in; where that was laid upon another one, the log of the latter's units in one.
    """

    keyframe: Keyframe
    T_map_body: Floats
    log_depth_scale: float
    covariance: Floats
    segment: int
    log_depth_centre: float = 0.0

    @property
    def pose_covariance(self) -> Floats:
        """(6, 6) `covariance`, widened by what edges share.

        Edges of neighbours see the same pictures through the same K, so their errors go the same
        way and do not average out as the graph takes them to.
        """
        return SHARED_ERRORS * self.covariance

    def depth(self, view: int = 0) -> NDArray[np.float32]:
        """(H, W) float32 z-depth of a view in map units; 0 where there is none."""
        scale = np.float32(np.exp(self.log_depth_scale))
        depth_HW: NDArray[np.float32] = self.keyframe.views[view].depth_HW * scale
        return depth_HW
