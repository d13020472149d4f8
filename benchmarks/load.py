# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Peak memory and seconds of loading a generated checkpoint, in processes of their own.

    python -m benchmarks.load                  # 1 GB, single and sharded, to fp32 and fp16
    python -m benchmarks.load --gigabytes 4 --device cuda

A child process loads the folder and reports its highest resident set. Wanted: what loading
added, over the bytes of the loaded weights, is below 1.15. The resident set counts the pages
of the mapped file too, which the system could take back at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import REPO, add_common_arguments, print_table, set_threads, write_report
from benchmarks.shapes import SHAPES, Shape, write_random_folder

WANTED = 1.15
SHARDS = 4
DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def main() -> None:
    """Generate, measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0, help="of the fp32 file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, metavar=("FOLDER", "DTYPE"), help=argparse.SUPPRESS)
    add_common_arguments(parser, "load")
    arguments = parser.parse_args()
    device = set_threads(arguments)
    if arguments.child:
        load_and_report(Path(arguments.child[0]), arguments.child[1], device)
        return
    results: dict[str, Any] = {"wanted_peak_over_loaded": WANTED}
    rows = [["file", "loaded as", "GB", "peak / loaded", "median s", "GB/s"]]
    with tempfile.TemporaryDirectory() as scratch:
        single = write_random_folder(
            shape_of_size(arguments.gigabytes), Path(scratch) / "single", torch.float32
        )
        sharded = split(single, Path(scratch) / "sharded")
        for kind, folder in (("single", single), ("sharded", sharded)):
            for dtype in ("fp32", "fp16"):
                runs = [run_child(folder, dtype, arguments) for _ in range(arguments.rounds)]
                result = summarise(runs)
                results[f"{kind} to {dtype}"] = result
                rows.append(
                    [
                        f"{kind} fp32",
                        dtype,
                        f"{result['loaded_bytes'] / 1e9:.2f}",
                        f"{result['peak_over_loaded']:.3f}",
                        f"{result['median_s']:.2f}",
                        f"{result['loaded_bytes'] / 1e9 / result['median_s']:.2f}",
                    ]
                )
    print_table(rows)
    write_report(arguments.out, "load", device, results)


def shape_of_size(gigabytes: float) -> Shape:
    """The hidden-384 shape with a vocabulary that fills the file up to the wanted size."""
    shape = SHAPES["mid"]
    wanted = int(gigabytes * 1e9 / 4)
    from g2vlm_model.checkpoint import model_on_meta

    bare = sum(p.numel() for p in model_on_meta(shape.config, shape.special_ids).parameters())
    text = shape.config.text
    # Half of the rest goes into the embeddings, half into wider MLPs of the experts.
    spare = max(0, wanted - bare)
    vocabulary = text.vocab_size + spare // 2 // (2 * text.hidden_size)
    per_unit = text.num_hidden_layers * 2 * 3 * text.hidden_size
    wider = replace(
        text,
        vocab_size=vocabulary,
        intermediate_size=text.intermediate_size + spare // 2 // per_unit,
    )
    return replace(shape, config=replace(shape.config, text=wider))


def split(folder: Path, target: Path) -> Path:
    """The same checkpoint in shards with an index, as large models are published."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    target.mkdir()
    for path in folder.iterdir():
        if path.name != "model.safetensors":
            (target / path.name).write_bytes(path.read_bytes())
    weight_map: dict[str, str] = {}
    with safe_open(str(folder / "model.safetensors"), framework="pt") as file:
        names = list(file.keys())
        for shard in range(SHARDS):
            name = f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
            own = names[shard::SHARDS]
            tensors: dict[str, Tensor] = {key: file.get_tensor(key) for key in own}
            save_file(tensors, str(target / name), metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(own, name))
    index = {"metadata": {}, "weight_map": weight_map}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    return target


def run_child(folder: Path, dtype: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Load in a process of its own; what it reports."""
    command = [sys.executable, "-m", "benchmarks.load", "--device", arguments.device]
    command += ["--child", str(folder), dtype]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=True)
    report: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return report


def load_and_report(folder: Path, dtype: str, device: torch.device) -> None:
    """Load the folder and print bytes, peak and seconds as one line of JSON."""
    from g2vlm_model.checkpoint import load_model

    before = resident_bytes("VmRSS")
    reset_peak()
    started = time.perf_counter()
    model, _ = load_model(folder, device, DTYPES[dtype])
    seconds = time.perf_counter() - started
    loaded = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        host = resident_bytes("VmHWM") - before
    else:
        peak = host = resident_bytes("VmHWM") - before
    print(json.dumps({"loaded": loaded, "peak": peak, "host_peak": host, "seconds": seconds}))


def resident_bytes(field: str) -> int:
    """A line of /proc/self/status in bytes: VmRSS (now) or VmHWM (highest)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    line = next(line for line in status.splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Let VmHWM start anew, so that importing torch does not count."""
    with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def summarise(runs: list[dict[str, float]]) -> dict[str, Any]:
    """Median seconds, worst peak."""
    seconds = sorted(run["seconds"] for run in runs)
    loaded = runs[0]["loaded"]
    return {
        "loaded_bytes": loaded,
        "peak_bytes": max(run["peak"] for run in runs),
        "host_peak_bytes": max(run["host_peak"] for run in runs),
        "peak_over_loaded": max(run["peak"] for run in runs) / loaded,
        "median_s": seconds[len(seconds) // 2],
        "all_s": seconds,
        "page_size": os.sysconf("SC_PAGE_SIZE"),
    }


if __name__ == "__main__":
    main()
