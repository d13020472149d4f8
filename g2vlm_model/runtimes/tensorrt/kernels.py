"""Kernels that TensorRT-RTX compiles on the device at first use, kept in a file.

TensorRT-RTX itself checks that a cache is of its version, of this GPU and driver, and refuses
others. The other TensorRTs (10.x, 11.x) have no such thing: nothing is configured, nothing written.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from ..cache_entry import require_own
from ..nvidia import TensorRT

__all__ = ["KernelCache"]

_LOG = logging.getLogger(__name__)


class KernelCache:
    """The cache of one engine.

    Args:
        trt: The TensorRT.
        file: Where it is kept; None: not beyond the process.
    """

    def __init__(self, trt: TensorRT, file: Path | None) -> None:
        self._api = trt.api
        self._file = file
        self._cache: Any = None
        self._saved = b""  # hash of what the file holds

    def configured(self, engine: Any, static: bool) -> Any:
        """A runtime configuration with the cache in it; None where the TensorRT is not RTX.

        Newer TensorRTs have configurations too, but neither a cache nor graphs in them.

        Args:
            engine: That it is for.
            static: Every run has the same shapes, and is captured as a CUDA graph.
        """
        if not hasattr(self._api, "CudaGraphStrategy"):
            return None
        config = engine.create_runtime_config()
        if static:
            config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if self._file is not None:
            self._cache = config.create_runtime_cache()
            self._load(self._file)
            config.set_runtime_cache(self._cache)
        return config

    def save(self) -> None:
        """Write what has been compiled since; a disk that is full costs the next start only."""
        if self._cache is None or self._file is None:
            return
        content = bytes(self._cache.serialize())
        digest = hashlib.sha256(content).digest()
        if digest == self._saved:
            return
        self._saved = digest
        new = self._file.with_name(f".{self._file.name}.{os.getpid()}")
        try:
            new.write_bytes(content)
            new.replace(self._file)
        except OSError as error:
            # As text: a log that keeps its records would keep the error's frames, and buffers.
            _LOG.warning("the compiled kernels are not kept in %s: %s", self._file, str(error))
            new.unlink(missing_ok=True)

    def _load(self, file: Path) -> None:
        if not file.is_file():
            return
        require_own(file.parent)
        content = file.read_bytes()
        if self._cache.deserialize(content):
            self._saved = hashlib.sha256(content).digest()
        else:
            _LOG.info("%s is of another TensorRT, GPU or driver; kernels are compiled anew", file)
