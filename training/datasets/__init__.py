"""Clips for training: shards on disk, and the reader that turns them into windows."""
