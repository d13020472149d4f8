# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Seconds and share of the machine's matrix speed of one geometric pass, encoder to points.

    python -m benchmarks.forward                     # hidden 384, 12 + 12 layers, 8 x 224 px
    python -m benchmarks.forward --shape 2b --device cuda --dtype bf16

Measured in turns within one run: a square matrix product (the yardstick), the pass as the
runtime runs it, and the pass with the work that the published code does beside it (the global
decoder and a reconstruct prefix that is prefilled anew). On a CPU that others use as well,
--threads 1 and the share by CPU time are the numbers to trust: threads that wait for each
other lose far more than their share.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import (
    add_common_arguments,
    interleaved,
    matmul_job,
    print_table,
    set_threads,
    write_report,
)
from benchmarks.shapes import SHAPES, Shape, random_model
from g2vlm_model.cache import KeyValueCache
from g2vlm_model.model import G2VLM

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PREFIX_TOKENS = 14  # the chat prefix of the published tokenizer


def main() -> None:
    """Measure, print a table, write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="mid")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="fp32")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--matmul-side", type=int, default=2048)
    add_common_arguments(parser, "forward")
    arguments = parser.parse_args()
    device, dtype = set_threads(arguments), DTYPES[arguments.dtype]
    shape = SHAPES[arguments.shape]
    with torch.inference_mode():
        model = random_model(shape, device, dtype)
        jobs = {
            "matmul": matmul_job(device, dtype, arguments.matmul_side),
            "runtime": runtime_pass(model, shape),
            "published work": published_pass(model, shape),
        }
        gflop = {name: count_gflop(job) for name, job in jobs.items()}
        timings = interleaved(jobs, arguments.rounds, device)
    rows = [["", "GFLOP", "median s", "share of matmul", "CPU s", "share by CPU time"]]
    results: dict[str, object] = {"shape": arguments.shape, "dtype": arguments.dtype}
    peak = gflop["matmul"] / timings["matmul"].median
    cpu_peak = gflop["matmul"] / timings["matmul"].cpu_median
    for name, timing in timings.items():
        share = gflop[name] / timing.median / peak
        cpu_share = gflop[name] / timing.cpu_median / cpu_peak
        rows.append(
            [
                name,
                f"{gflop[name]:.1f}",
                f"{timing.median:.3f}",
                f"{100 * share:.0f} %",
                f"{timing.cpu_median:.3f}",
                f"{100 * cpu_share:.0f} %",
            ]
        )
        results[name] = {
            **timing.as_json(),
            "gflop": gflop[name],
            "gflop_per_s": gflop[name] / timing.median,
            "share_of_matmul": share,
            "share_of_matmul_by_cpu_time": cpu_share,
        }
    print(f"{arguments.shape}: {shape.frames} frames, {shape.width} x {shape.height} px")
    print_table(rows)
    write_report(arguments.out, "forward", device, results)


def runtime_pass(model: G2VLM, shape: Shape) -> Callable[[], object]:
    """Encoder, both experts behind a cached prefix, heads: what `observe` gives the device."""
    pixels = shape.pixels(model.device, model.dtype)
    cache = _cache_with_prefix(model, shape)
    prefix = cache.mark()

    def job() -> object:
        cache.truncate(prefix.length, prefix.position)
        tokens = model.encode_geometry(pixels)
        hidden = model.geometry_pass(tokens, shape.grid_hw, cache=cache)
        return model.decode_geometry(hidden.hidden_BNPD, shape.grid_hw, pixels_BN3HW=pixels)

    return job


def published_pass(model: G2VLM, shape: Shape) -> Callable[[], object]:
    """The same answer with the global decoder and a new prefix and cache each time."""
    pixels = shape.pixels(model.device, model.dtype)

    def job() -> object:
        cache = _cache_with_prefix(model, shape)
        tokens = model.encode_geometry(pixels)
        hidden = model.geometry_pass(tokens, shape.grid_hw, cache=cache)
        return model.decode_geometry(
            hidden.hidden_BNPD, shape.grid_hw, pixels_BN3HW=pixels, with_global=True
        )

    return job


def _cache_with_prefix(model: G2VLM, shape: Shape) -> KeyValueCache:
    rows, columns = shape.grid_hw
    capacity = PREFIX_TOKENS + shape.frames * (rows * columns + 2)
    cache = KeyValueCache(model.config, capacity, device=model.device, dtype=model.dtype)
    ids = torch.arange(5, 5 + PREFIX_TOKENS, device=model.device)
    model.prefill_text(ids[None], cache)
    return cache


def count_gflop(job: Callable[[], object]) -> float:
    """Floating-point operations of matrix products, convolutions and attention."""
    # torch knows the attention kernels of GPUs; the one of CPUs has to be told.
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    counter = FlopCounterMode(display=False, custom_mapping={attention: attention_flops})
    with counter:
        job()
    return counter.get_total_flops() / 1e9


def attention_flops(
    query: tuple[int, ...], key: tuple[int, ...], value: tuple[int, ...], *_: object, **__: object
) -> int:
    """Operations of both matrix products of attention; shapes (batch, heads, tokens, width)."""
    batch, heads, queries, width = query
    return 2 * batch * heads * queries * key[2] * (width + value[3])


if __name__ == "__main__":
    main()
