"""Exporter of the model to other runtimes; installed as `g2vlm_export`."""
