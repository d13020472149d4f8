"""The paper in small: its ablations with models that train in minutes (`g2vlm reproduce`)."""
