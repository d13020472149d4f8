# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Benchmarks; run one with `python -m benchmarks.NAME --help`."""
