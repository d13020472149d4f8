"""The node's way of a replay: the real node as a child process, driven over ROS."""
