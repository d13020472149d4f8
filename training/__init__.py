"""Training: synthetic rooms, losses, the trainer and the metrics (installed as g2vlm_training)."""
