"""The ONNX runtime: an exported model, run by ONNX Runtime, with or without torch."""
