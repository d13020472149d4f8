"""The ROS 2 perception node around the model; imports no torch."""
