# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Writes rosbag2 recordings: the node's outputs, and synthetic input bags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

BAG_VERSION: Literal[9] = 9
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"


class BagWriter:
    """A recording that is being written; a context manager.

    Args:
        path: the folder to create; it must not exist.
        mcap: MCAP (default) or sqlite3.

    Raises:
        rosbags.rosbag2.WriterError: The folder exists already.
    """

    def __init__(self, path: Path, *, mcap: bool = True) -> None:
        plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
        self._writer = Writer(path, version=BAG_VERSION, storage_plugin=plugin)
        self._typestore = get_typestore(Stores.ROS2_KILTED)
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *raised: object) -> None:
        self._writer.close()

    def define(self, definitions: dict[str, str]) -> None:
        """Add message types that the ROS distribution does not have.

        Args:
            definitions: text of the .msg file by full name, e.g. "a_package/msg/Name".
        """
        found: dict[str, Any] = {}
        for name, text in definitions.items():
            if name not in self._typestore.types:
                found.update(get_types_from_msg(text, name))
        self._typestore.register(found)

    def write(self, topic: str, msgtype: str, time_ns: int, data: bytes) -> None:
        """Append a serialized message."""
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._writer.add_connection(topic, msgtype, typestore=self._typestore)
            self._connections[topic] = connection
        self._writer.write(connection, time_ns, data)

    def write_message(self, topic: str, msgtype: str, time_ns: int, message: Any) -> None:
        """Serialize a rosbags message and append it."""
        self.write(topic, msgtype, time_ns, bytes(self._typestore.serialize_cdr(message, msgtype)))

    def write_camera_info(
        self,
        topic: str,
        time_ns: int,
        header: Any,
        K: NDArray[np.float64],
        size: tuple[int, int],
        distortion: tuple[float, ...] = (0.0,) * 5,
    ) -> None:
        """Append a CameraInfo.

        Args:
            topic, time_ns: where and when.
            header: a std_msgs/Header of `types`.
            K: (3, 3) in pixels.
            size: (height, width).
            distortion: coefficients of the model plumb_bob; none by default.
        """
        types = self._typestore.types
        message = types[CAMERA_INFO](
            header=header,
            height=size[0],
            width=size[1],
            distortion_model="plumb_bob",
            d=np.array(distortion, np.float64),
            k=K.reshape(-1).astype(np.float64),
            r=np.eye(3).reshape(-1),
            p=np.hstack([K, np.zeros((3, 1))]).reshape(-1).astype(np.float64),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](
                x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
            ),
        )
        self.write_message(topic, CAMERA_INFO, time_ns, message)

    def types(self) -> dict[str, Any]:
        """Message classes by full name."""
        return dict(self._typestore.types)
