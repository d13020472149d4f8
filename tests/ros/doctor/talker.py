# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""A camera of large frames as a process of its own: /large/image_raw, 640 x 480 rgb8 at 10 Hz."""

from __future__ import annotations

import array
import time

import rclpy
from sensor_msgs.msg import Image


def main() -> None:
    """Send until it is killed; a line says that it sends."""
    rclpy.init()
    node = rclpy.create_node("large_camera")
    publisher = node.create_publisher(Image, "/large/image_raw", 2)
    data = array.array("B", bytes(640 * 480 * 3))
    message = Image(height=480, width=640, encoding="rgb8", step=640 * 3, data=data)
    message.header.frame_id = "large_optical"
    print("sends", flush=True)
    while True:
        message.header.stamp = node.get_clock().now().to_msg()
        publisher.publish(message)
        time.sleep(0.1)


if __name__ == "__main__":
    main()
