# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the libraries log, in the node's log: so it reaches /rosout and whoever watches that.

And where ROS keeps its log files.
"""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from g2vlm_model.interface.words import plain_lines

__all__ = ["LibraryLogs", "log_arguments"]

_PACKAGES = ("g2vlm_model", "g2vlm_map", "g2vlm_ros")


def log_arguments() -> list[str]:
    """ROS arguments for a process that may write no log files; none where it may.

    A service's user often has no home. rcl ends a process that can make no folder for its log
    files; told not to write any, it goes on with the terminal and /rosout.
    """
    folder = os.environ.get("ROS_LOG_DIR") or os.path.join(
        os.environ.get("ROS_HOME") or os.path.expanduser("~/.ros"), "log"
    )
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return []
    except OSError:
        return ["--ros-args", "--disable-external-lib-logs"]


class LibraryLogs(logging.Handler):
    """Hands records of the project's packages to a node's logger until `close`.

    A record keeps its level; its logger's name stands in front of the text. Two nodes of one
    process both show what the libraries of that process say.

    Args:
        logger: The node's. Its level, at construction, says what the libraries need not form.
    """

    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger
        self._before = {name: logging.getLogger(name).level for name in _PACKAGES}
        for name in _PACKAGES:
            library = logging.getLogger(name)
            library.setLevel(int(logger.get_effective_level()))  # the same numbers in both
            library.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record as the node."""
        try:
            self._log(record.levelno, plain_lines(f"{record.name}: {self.format(record)}"))
        except Exception:  # as every handler: a log line must not end what it tells about
            self.handleError(record)

    def close(self) -> None:
        """Leave the libraries as they were."""
        for name, level in self._before.items():
            library = logging.getLogger(name)
            library.removeHandler(self)
            library.setLevel(level)
        super().close()

    def _log(self, level: int, text: str) -> None:
        # rclpy remembers one level for each line of code that logs.
        if level >= logging.CRITICAL:
            self._logger.fatal(text)
        elif level >= logging.ERROR:
            self._logger.error(text)
        elif level >= logging.WARNING:
            self._logger.warning(text)
        elif level >= logging.INFO:
            self._logger.info(text)
        else:
            self._logger.debug(text)
