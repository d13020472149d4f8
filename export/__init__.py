"""Exports of a model: ONNX graphs, TensorRT engines, and checks of both. Imports nothing heavy."""
