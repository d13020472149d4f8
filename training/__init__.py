"""Training of the model: configuration, losses, synthetic rooms; installed as `g2vlm_training`."""
