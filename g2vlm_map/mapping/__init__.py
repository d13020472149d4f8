"""The map: keyframes, verified edges between them, poses that agree with all edges."""
