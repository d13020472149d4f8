#!/bin/sh
# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

# mypy --strict on the project's own packages, under the names that they are installed by, and at
# the same time on what stands beside them. Called by make types, in the environment.
set -eu
cd "$(dirname "$0")/.."
said=$(mktemp)
trap 'rm -f "$said"' EXIT
MYPYPATH="$VIRTUAL_ENV/build/g2vlm_ros" python -m mypy --cache-dir .mypy_cache/packages \
  -p g2vlm_model -p g2vlm_map -p g2vlm_ros -p g2vlm_replay -p g2vlm_training -p g2vlm_export \
  -p g2vlm_demo -p g2vlm_view \
  >"$said" 2>&1 &
packages=$!
code=0
python -m mypy --cache-dir .mypy_cache/beside \
  setup.py launch/*.py scripts/*.py benchmarks examples tests || code=$?
wait "$packages" || code=$?
cat "$said"
exit "$code"
