# The node, the replay and the view on a CPU: ROS 2 Kilted from the package index. Never built where
# this project is tested, for want of an engine; a linter reads it in tests/test_lint.py.
#
#   docker build -t g2vlm_ros .
#   docker run --rm --net=host --shm-size=1g g2vlm_ros \
#     python -m g2vlm_ros.node --ros-args -p autostart:=true -p camera.image_topic:=/camera/image_raw
#   docker run --rm -v "$PWD:/data" g2vlm_ros g2vlm replay /data/my_bag --in-process --out /data/report
FROM python:3.11-slim-bookworm

# Versions are Debian's of the day: a pinned one is gone with the next security update.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential cmake git make ninja-build \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/g2vlm_ros
RUN useradd --create-home --uid 1000 robot && chown 1000 .
COPY --chown=1000 . .
USER 1000

# The CPU build of torch is a fifth of the other one's size.
RUN PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup

# Everything runs in the environment that the set-up made.
ENTRYPOINT ["/bin/sh", "-c", ". .venv/env.sh && exec \"$@\"", "--"]
CMD ["g2vlm", "help"]
