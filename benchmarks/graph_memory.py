# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What ONNX Runtime holds of an exported graph on a CPU, beside the pages of its file.

Three forms of a session: half precision widened to float32 for good, widened whenever a product
comes, and that in the order of priority (as sessions are here). Each in a process of its own.

    python -m benchmarks.graph_memory EXPORT [--graph geometry] [--size 2,378,518] --threads 1
"""

from __future__ import annotations

import argparse
import multiprocessing
import threading
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.common import (
    add_common_arguments,
    describe_machine,
    print_table,
    set_threads,
    write_report,
)
from g2vlm_model.runtimes.export_folder import ExportFolder
from g2vlm_model.runtimes.onnx.sessions import MAPPED, SHRINKING, SPINNING, onnxruntime_module

OPTIMIZERS = "optimization.disable_specified_optimizers"
# Optimizers that are left out, and the order of execution.
FORMS = {
    "widened for good": ("ConstantFolding", "DEFAULT"),
    "widened for a product": (MAPPED[OPTIMIZERS], "DEFAULT"),
    "the same, by priority": (MAPPED[OPTIMIZERS], "PRIORITY_BASED"),
}
SAMPLE_S = 0.01


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("export", type=Path, help="folder of `g2vlm export onnx`")
    parser.add_argument("--graph", default="geometry", help="of the folder")
    parser.add_argument(
        "--size", type=_size, default=None, metavar="N,H,W",
        help="of random pictures beside the goldens' own inputs, in pixels",
    )  # fmt: skip
    add_common_arguments(parser, "graph_memory")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    threads = torch.get_num_threads()
    results = {}
    for form in FORMS:
        given = (str(arguments.export), arguments.graph, arguments.size, form, threads)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            results[form] = pool.apply(measured, given)
    columns = list(next(iter(results.values())))
    rows = [["weights", *columns]]
    rows += [[form, *(f"{row[name]:.4g}" for name in columns)] for form, row in results.items()]
    print(f"{arguments.export}, {arguments.graph}; {describe_machine(device)['cpu']}")
    print_table(rows)
    write_report(arguments.out, "graph_memory", device, results)


def measured(
    export: str, graph: str, size_nhw: tuple[int, int, int] | None, form: str, threads: int
) -> dict[str, float]:
    """Load a graph, run its smallest golden and pictures.

    Args:
        export, graph: Folder, and which of its graphs.
        size_nhw: Of the pictures; None: no more than the golden.
        form: A key of `FORMS`.
        threads: Of the CPU.

    Returns:
        MiB that the process holds in memory of its own (RssAnon) more than before the session:
        loaded, at most in the golden, at most with the pictures; and CPU seconds of the runs.
    """
    folder, ort = ExportFolder.open(Path(export)), onnxruntime_module()
    goldens = folder.goldens(graph)
    least = min(goldens, key=lambda one: sum(array.size for array in one.inputs.values()))
    options, (left_out, order) = ort.SessionOptions(), FORMS[form]
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_mem_pattern = False
    options.execution_order = getattr(ort.ExecutionOrder, order)
    for name, value in {**SPINNING, **MAPPED, OPTIMIZERS: left_out}.items():
        options.add_session_config_entry(name, value)
    watch = _Watch()
    provider = ["CPUExecutionProvider"]
    session = ort.InferenceSession(str(folder.graph(graph)), options, providers=provider)
    found = {"loaded, MiB": watch.most(now=True)}
    feeds = {"golden": dict(least.inputs)}
    if size_nhw is not None:
        random = np.random.default_rng(0)
        pictures = random.integers(0, 256, (*size_nhw, 3), dtype=np.uint8)
        feeds[f"{'x'.join(map(str, size_nhw))}"] = {**least.inputs, "pictures": pictures}
    for name, inputs in feeds.items():
        run = ort.RunOptions()
        run.add_run_config_entry(*SHRINKING)
        began = time.process_time()
        session.run(None, inputs, run)
        spent = time.process_time() - began
        found |= {f"{name}, MiB": watch.most(), f"{name}, CPU s": spent}
    return found


class _Watch:
    """Looks at this process's own memory from a thread."""

    def __init__(self) -> None:
        self._before = self._most = _own_mib()
        threading.Thread(target=self._look, daemon=True).start()

    def most(self, now: bool = False) -> float:
        """MiB more than at first: at most since the last call, or now."""
        most, self._most = max(self._most, _own_mib()), 0.0
        return (_own_mib() if now else most) - self._before

    def _look(self) -> None:
        while True:
            self._most = max(self._most, _own_mib())
            time.sleep(SAMPLE_S)


def _own_mib() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) / 1024.0


def _size(text: str) -> tuple[int, int, int]:
    try:
        frames, height, width = map(int, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"is {text!r}, expected N,H,W") from None
    return frames, height, width


if __name__ == "__main__":
    main()
