"""A robot's world out of windows: what turns frames into scenes, segments and answers.

numpy and OpenCV, no torch, no rclpy; of the model only `interface`.
"""
