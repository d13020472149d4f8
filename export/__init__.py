# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Exports of a model: ONNX graphs, TensorRT engines, and checks of both. Imports nothing heavy."""
