#!/bin/sh
# mypy --strict on the project's own packages, under the names that they are installed by, then
# on what stands beside them. Called by make types, in the environment.
set -eu
cd "$(dirname "$0")/.."
MYPYPATH="$VIRTUAL_ENV/build/g2vlm_ros" python -m mypy --no-error-summary \
  -p g2vlm_model -p g2vlm_map -p g2vlm_ros -p g2vlm_replay -p g2vlm_training -p g2vlm_export
python -m mypy setup.py launch/*.py scripts/*.py benchmarks demo/*.py tests
