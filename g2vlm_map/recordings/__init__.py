"""Bags and folders as one kind of source: frames, calibration, ground truth. No rclpy."""
