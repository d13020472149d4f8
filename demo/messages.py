# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A robot's ROS messages, made alike for bags (rosbags' classes) and for DDS (rclpy's).

Both kinds of classes take their fields by name; they differ in the arrays that they want.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from g2vlm_map.poses import quaternion_xyzw

from .lidar import Lidar

__all__ = ["TYPES", "MessageMaker", "encode_jpeg"]

Floats = NDArray[np.float64]
NS = 1_000_000_000

TIME, HEADER = "builtin_interfaces/msg/Time", "std_msgs/msg/Header"
VECTOR, POINT = "geometry_msgs/msg/Vector3", "geometry_msgs/msg/Point"
QUATERNION, POSE = "geometry_msgs/msg/Quaternion", "geometry_msgs/msg/Pose"
TRANSFORM, STAMPED = "geometry_msgs/msg/Transform", "geometry_msgs/msg/TransformStamped"
POSE_COV, TWIST_COV = (
    "geometry_msgs/msg/PoseWithCovariance",
    "geometry_msgs/msg/TwistWithCovariance",
)
TWIST, TF, ODOMETRY = "geometry_msgs/msg/Twist", "tf2_msgs/msg/TFMessage", "nav_msgs/msg/Odometry"
SCAN, INFO = "sensor_msgs/msg/LaserScan", "sensor_msgs/msg/CameraInfo"
ROI, IMAGE = "sensor_msgs/msg/RegionOfInterest", "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
TYPES = (
    TIME, HEADER, VECTOR, POINT, QUATERNION, POSE, TRANSFORM, STAMPED, POSE_COV, TWIST_COV, TWIST,
    TF, ODOMETRY, SCAN, INFO, ROI, IMAGE, COMPRESSED,
)  # fmt: skip
JPEG_QUALITY = 90
_MILLIMETRES = 1000.0


@dataclass(frozen=True, eq=False)
class MessageMaker:
    """Makes messages of one kind of classes.

    Args:
        classes: By full name; at least `TYPES`.
        floats: An array for a field of float32 values, e.g. `LaserScan.ranges`.
        octets: One for a field of bytes, e.g. `Image.data`.
        offset_ns: Added to all stamps.
    """

    classes: Mapping[str, Any]
    floats: Callable[[NDArray[np.float32]], Any]
    octets: Callable[[bytes], Any]
    offset_ns: int = 0

    def transform(self, stamp_ns: int, parent: str, child: str, T: Floats) -> Any:
        """TransformStamped of T_parent_child."""
        x, y, z = (float(value) for value in T[:3, 3])
        moved = self.classes[TRANSFORM](
            translation=self.classes[VECTOR](x=x, y=y, z=z), rotation=self._quaternion(T)
        )
        header = self._header(stamp_ns, parent)
        return self.classes[STAMPED](header=header, child_frame_id=child, transform=moved)

    def tf(self, transforms: list[Any]) -> Any:
        """TFMessage of some transforms."""
        return self.classes[TF](transforms=transforms)

    def odometry(
        self, stamp_ns: int, parent: str, child: str, T: Floats, twist_2: Floats, share: float
    ) -> Any:
        """Odometry.

        Args:
            stamp_ns: When.
            parent, child: Frames of pose and twist.
            T: (4, 4) T_parent_child.
            twist_2: Metres and radians per second, in the child's axes.
            share: Standard deviation of the twist as a share of it; 0 leaves covariances 0, which
                means that they are not told.
        """
        make = self.classes
        x, y, z = (float(value) for value in T[:3, 3])
        pose = make[POSE](position=make[POINT](x=x, y=y, z=z), orientation=self._quaternion(T))
        linear = make[VECTOR](x=float(twist_2[0]), y=0.0, z=0.0)
        angular = make[VECTOR](x=0.0, y=0.0, z=float(twist_2[1]))
        variance = np.zeros((6, 6))
        if share > 0.0:
            variance[0, 0] = (share * twist_2[0]) ** 2 + 1e-6
            variance[5, 5] = (share * twist_2[1]) ** 2 + 1e-6
        return make[ODOMETRY](
            header=self._header(stamp_ns, parent),
            child_frame_id=child,
            pose=make[POSE_COV](pose=pose, covariance=np.zeros(36)),
            twist=make[TWIST_COV](
                twist=make[TWIST](linear=linear, angular=angular), covariance=variance.ravel()
            ),
        )

    def scan(self, stamp_ns: int, frame_id: str, ranges_A: Floats, lidar: Lidar) -> Any:
        """LaserScan of one round."""
        angles = lidar.angles
        return self.classes[SCAN](
            header=self._header(stamp_ns, frame_id),
            angle_min=float(angles[0]),
            angle_max=float(angles[-1]),
            angle_increment=float(lidar.step),
            time_increment=0.0,
            scan_time=0.1,
            range_min=lidar.range_min,
            range_max=lidar.range_max,
            ranges=self.floats(ranges_A.astype(np.float32)),
            intensities=self.floats(np.zeros(0, np.float32)),
        )

    def camera_info(
        self, stamp_ns: int, frame_id: str, K: Floats, size_hw: tuple[int, int],
        model: str = "plumb_bob", baseline_m: float = 0.0,
    ) -> Any:  # fmt: skip
        """CameraInfo of a camera without distortion.

        Args:
            stamp_ns: When.
            frame_id: Of its optical axes.
            K: (3, 3) pixels.
            size_hw: Height and width.
            model: Name of the distortion model.
            baseline_m: Of the right camera of a pair: metres to the left one.
        """
        P = np.hstack([K, np.zeros((3, 1))])
        P[0, 3] = -K[0, 0] * baseline_m
        empty = self.classes[ROI](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        # rclpy spells the matrices' names as rosbags does: d k r p.
        return self.classes[INFO](
            header=self._header(stamp_ns, frame_id),
            height=size_hw[0], width=size_hw[1], distortion_model=model,
            d=np.zeros(5), k=K.reshape(-1), r=np.eye(3).reshape(-1), p=P.reshape(-1),
            binning_x=0, binning_y=0, roi=empty,
        )  # fmt: skip

    def image(self, stamp_ns: int, frame_id: str, rgb_HW3: NDArray[np.uint8]) -> Any:
        """Image of encoding rgb8."""
        return self._image(stamp_ns, frame_id, "rgb8", rgb_HW3, 3 * rgb_HW3.shape[1])

    def depth(self, stamp_ns: int, frame_id: str, depth_HW: NDArray[np.float32]) -> Any:
        """Image of encoding 32FC1."""
        return self._image(stamp_ns, frame_id, "32FC1", depth_HW, 4 * depth_HW.shape[1])

    def jpeg(self, stamp_ns: int, frame_id: str, rgb_HW3: NDArray[np.uint8]) -> Any:
        """CompressedImage, JPEG."""
        return self._compressed(stamp_ns, frame_id, "jpeg", encode_jpeg(rgb_HW3))

    def depth_png(self, stamp_ns: int, frame_id: str, depth_HW: NDArray[np.float32]) -> Any:
        """CompressedImage of 16 bits: millimetres, 0 where there is none."""
        depth_mm = np.rint(depth_HW * _MILLIMETRES).clip(0, 65535)
        depth_mm[depth_mm == 65535] = 0
        code = cv2.imencode(".png", depth_mm.astype(np.uint16), [cv2.IMWRITE_PNG_COMPRESSION, 9])[1]
        return self._compressed(stamp_ns, frame_id, "16UC1; png", code.tobytes())

    def _image(
        self, stamp_ns: int, frame_id: str, encoding: str, pixels: NDArray[Any], step: int
    ) -> Any:
        return self.classes[IMAGE](
            header=self._header(stamp_ns, frame_id),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=step,
            data=self.octets(pixels.tobytes()),
        )

    def _compressed(self, stamp_ns: int, frame_id: str, form: str, data: bytes) -> Any:
        header = self._header(stamp_ns, frame_id)
        return self.classes[COMPRESSED](header=header, format=form, data=self.octets(data))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        seconds, rest = divmod(stamp_ns + self.offset_ns, NS)
        stamp = self.classes[TIME](sec=int(seconds), nanosec=int(rest))
        return self.classes[HEADER](stamp=stamp, frame_id=frame_id)

    def _quaternion(self, T: Floats) -> Any:
        x, y, z, w = (float(value) for value in quaternion_xyzw(T[:3, :3]))
        return self.classes[QUATERNION](x=x, y=y, z=z, w=w)


def encode_jpeg(rgb_HW3: NDArray[np.uint8]) -> bytes:
    """A picture as the camera's driver compresses it."""
    bgr = np.ascontiguousarray(rgb_HW3[..., ::-1])
    return cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
