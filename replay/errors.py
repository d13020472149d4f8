# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The two ways in which a replay ends early, each with its exit code."""


class ReplayInputError(ValueError):
    """The user's input cannot be replayed; says what, got, expected, what to do. Exit code 2."""


class NodeFailedError(RuntimeError):
    """What ran the model died or never became active; carries its last words. Exit code 3."""
