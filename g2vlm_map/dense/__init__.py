"""What the map looks like: points, occupancy, obstacles, made from the keyframes' depth."""
