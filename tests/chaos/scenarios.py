# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""What the campaign breaks off: each writes something, and says when that is sound.

`prepare` makes what it reads, once. `work` writes into a folder; it runs in a process of its own
and gives an exit code. `sound` holds after whatever happened to that process; `whole` holds after
a run that ended well. Both raise AssertionError or what the reader raises.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from g2vlm_export.export_onnx import Exporter

    from g2vlm_model.runtimes.export_folder import Manifest

__all__ = ["SCENARIOS", "Scenario"]

FRAMES = 12  # of the bag that is replayed


def _nothing(given: Path) -> None:
    pass


@dataclass(frozen=True)
class Scenario:
    """One kind of work; see the module.

    Args:
        name: For the command line and the report.
        prepare: Gets the folder of what is read.
        work: Gets that, and the folder to write to.
        sound, whole: Get the same two.
        modules: Loaded once, ahead of the processes: what each of them would load anew.
        refusals: Exit codes with which the work may say that it cannot be done.
        share: Gets the folder of what is read; makes, ahead of the processes, what `work` finds
            done then. For what costs time and writes nothing.
        anew: `work` without that, for the moments; None: nothing is shared.
    """

    name: str
    prepare: Callable[[Path], None]
    work: Callable[[Path, Path], int]
    sound: Callable[[Path, Path], None]
    whole: Callable[[Path, Path], None]
    modules: tuple[str, ...] = ()
    refusals: tuple[int, ...] = (2,)
    share: Callable[[Path], None] = _nothing
    anew: Callable[[Path, Path], int] | None = None


def _g2vlm(*words: object) -> int:
    from g2vlm_model.cli import main

    return main([str(word) for word in words])


# Shards.

_SHARDS = 3


def _dataset(given: Path, out: Path) -> int:
    return _g2vlm(
        *("dataset", "synthetic", "--out", out / "shards", "--shards", _SHARDS, "--rooms", 1),
        *("--clips", 1, "--frames", 2, "--width", 32, "--heights", 24),
    )


def _shards_are_sound(given: Path, out: Path) -> None:
    from g2vlm_training.datasets.shards import Shard

    for path in (out / "shards").glob("*.tar"):
        (clip,) = Shard(path).clips
        clip.read([0, 1])


def _shards_are_whole(given: Path, out: Path) -> None:
    _shards_are_sound(given, out)
    names = sorted(path.name for path in (out / "shards").iterdir())
    assert names == [f"train-{number:05d}.tar" for number in range(_SHARDS)], names


# Training, and the model folder at its end.

_STEPS = 3


def _training_data(given: Path) -> None:
    from tests.training.tiny import write_tiny_shards

    folder = write_tiny_shards(given / "shards")
    (folder / "val-00000.tar").write_bytes((folder / "train-00000.tar").read_bytes())


def _train(given: Path, out: Path) -> int:
    from g2vlm_training.run.distribution import Processes
    from g2vlm_training.run.run import RunOptions, train
    from g2vlm_training.run.start import Start

    from tests.training.tiny_run import CONFIG

    config = dataclasses.replace(CONFIG, steps=_STEPS, save_steps=1, log_steps=1, eval_windows=0)
    options = RunOptions(given / "shards", out / "run", Start(config.seed), out / "model")
    return _as_command(lambda: train(config, options, Processes()))


def _as_command(work: Callable[[], object]) -> int:
    """What `g2vlm` makes of an error that is the user's."""
    try:
        work()
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _run_is_sound(given: Path, out: Path) -> None:
    from g2vlm_training.run.checkpoints import load_state

    for path in (out / "run").glob("step-*"):
        load_state(path)
    _model_is_sound(out / "model")


def _model_is_sound(folder: Path) -> None:
    import torch

    from g2vlm_model.checkpoint import load_model
    from g2vlm_model.model_folder import WEIGHTS_FILE

    if (folder / WEIGHTS_FILE).is_file():
        load_model(folder, torch.device("cpu"), torch.float32)


def _run_is_whole(given: Path, out: Path) -> None:
    from g2vlm_training.run.checkpoints import latest_checkpoint, load_state

    newest = latest_checkpoint(out / "run")
    assert newest is not None
    assert load_state(newest).meta["step"] == _STEPS
    assert (out / "model" / "model.safetensors").is_file()
    _run_is_sound(given, out)


# Maps.


def _save_maps(given: Path, out: Path) -> int:
    from tests.map.bench import Bench

    def save() -> None:
        bench = Bench()
        for _ in range(2):
            bench.scenes(3)
            bench.pipeline.save_map(out / "place.g2map")
        bench.pipeline.stop()

    return _as_command(save)


def _map_is_sound(given: Path, out: Path) -> None:
    from g2vlm_map.mapping.store import load_map

    if (out / "place.g2map").exists():
        load_map(out / "place.g2map")


def _map_is_whole(given: Path, out: Path) -> None:
    assert [path.name for path in out.iterdir()] == ["place.g2map"], list(out.iterdir())
    _map_is_sound(given, out)


# Exports, and the store that they are kept in.


def _model(given: Path) -> None:
    from tests.runtimes.model_folders import small_config, write_model

    write_model(given / "model", small_config())


_STATIC_NHW = (2, 28, 28)  # one size traces in a third of the time of all
_exporters: list[Exporter] = []  # of this process and its forks; has traced


def _trace(given: Path) -> None:
    import torch
    from g2vlm_export.export_onnx import Exporter
    from g2vlm_export.to_onnx import ExportOptions

    torch.set_num_threads(1)  # a pool of threads would not live on in a fork
    _exporters[:] = [Exporter(given / "model")]
    with tempfile.TemporaryDirectory(dir=given) as folder:
        _exporters[0].write(Path(folder) / "export", ExportOptions(static_nhw=_STATIC_NHW))


def _export(given: Path, out: Path) -> int:
    """The command; what was traced ahead of the fork it only has to write."""
    import g2vlm_export.export_onnx as module

    def write(model: Path, *words: Any, **options: Any) -> Manifest:
        return _exporters[0].write(*words, **options)

    vars(module)["export_onnx"] = write
    return _export_anew(given, out)


def _export_anew(given: Path, out: Path) -> int:
    return _g2vlm(
        *("export", "onnx", "--model", given / "model", "--out", out / "export", "--force"),
        *("--static", ",".join(map(str, _STATIC_NHW))),
    )


def _export_is_sound(given: Path, out: Path) -> None:
    from g2vlm_model.runtimes.export_folder import ExportFolder

    if (out / "export").exists():
        ExportFolder.open(out / "export")


def _export_is_whole(given: Path, out: Path) -> None:
    assert [path.name for path in out.iterdir()] == ["export"], list(out.iterdir())
    _export_is_sound(given, out)


def _build_command(given: Path) -> None:
    from tests.runtimes.build_commands import install

    install(given / "installed")


def _build(given: Path, out: Path) -> int:
    from contextlib import nullcontext

    from g2vlm_model.runtimes.build_process import BuildContext
    from g2vlm_model.runtimes.store import Store
    from tests.runtimes.build_commands import words
    from tests.runtimes.test_store import KEY

    os.environ["PYTHONPATH"] = os.pathsep.join(
        (str(given / "installed"), os.environ.get("PYTHONPATH", ""))
    )
    context = BuildContext(lambda *_: None, threading.Event(), cast(Any, None), nullcontext)

    def build() -> None:
        context.entry(Store.open(out / "cache"), KEY, words("build", out / "built"))

    return _as_command(build)


def _store_is_sound(given: Path, out: Path) -> None:
    from g2vlm_model.runtimes.store_entry import verified_entry

    entries = out / "cache" / "entries"
    for folder in entries.iterdir() if entries.is_dir() else ():
        verified_entry(folder)


def _store_is_whole(given: Path, out: Path) -> None:
    from g2vlm_model.runtimes.store import Store
    from tests.runtimes.test_store import KEY

    _store_is_sound(given, out)
    store = Store.open(out / "cache")
    assert store.lookup(KEY) is not None
    assert not list((out / "cache" / "building").iterdir())
    assert not list((out / "cache" / "damaged").iterdir())


# The node and its replay.


def _bag(given: Path) -> None:
    from tests.replay.bags import write_plain_bag

    write_plain_bag(given / "bag", mcap=True, count=FRAMES)


def _replay(given: Path, out: Path, *more: str) -> int:
    return _g2vlm(
        *("replay", given / "bag", "--out", out / "report", "--quiet", "--rate", "0"),
        *("--runtime", "tests.ros.scripted_runtime:create", *more),
    )


def _replay_in_process(given: Path, out: Path) -> int:
    return _replay(given, out, "--in-process")


def _report_is_sound(given: Path, out: Path) -> None:
    import json

    report = out / "report"
    if (report / "metrics.json").exists():
        json.loads((report / "metrics.json").read_text())
    if (report / "report.html").exists():
        assert (report / "report.html").read_text().rstrip().endswith("</html>")


def _report_is_whole(given: Path, out: Path) -> None:
    _report_is_sound(given, out)
    names = {path.name for path in (out / "report").iterdir()}
    assert {"report.html", "metrics.json", "cloud.ply", "trajectory.tum"} <= names, names
    assert not [name for name in names if name.startswith(".")], names


def _node(given: Path, out: Path) -> int:
    """A node that comes up, runs for a moment, and is told to end."""
    from g2vlm_ros.node import main

    def tell() -> None:
        time.sleep(2.0)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=tell, daemon=True).start()
    words = (
        "autostart:=true",
        "runtime:=benchmarks.instant_runtime:create",
        "status.period_s:=0.1",
    )
    return main(["--ros-args", *(word for one in words for word in ("-p", one))])


def _anything(given: Path, out: Path) -> None:
    pass


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            "dataset", _nothing, _dataset, _shards_are_sound, _shards_are_whole,
            ("g2vlm_training.dataset_cli", "webdataset.writer"),
        ),
        Scenario(
            "training", _training_data, _train, _run_is_sound, _run_is_whole,
            ("tests.training.tiny_run", "torch.utils.tensorboard", "webdataset.writer"),
        ),
        Scenario(
            "map", _nothing, _save_maps, _map_is_sound, _map_is_whole,
            ("tests.map.bench", "tests.map.conftest"),
        ),
        Scenario(
            "build", _build_command, _build, _store_is_sound, _store_is_whole,
            ("tests.runtimes.test_store", "tests.runtimes.build_commands"),
        ),
        Scenario(
            "export", _model, _export, _export_is_sound, _export_is_whole,
            ("g2vlm_export.onnx_cli", "g2vlm_export.to_onnx", "onnxscript", "onnxruntime"),
            share=_trace, anew=_export_anew,
        ),
        Scenario(
            "replay", _bag, _replay, _report_is_sound, _report_is_whole,
            ("g2vlm_replay.run", "g2vlm_replay.node.player", "tests.replay.bags"),
        ),
        Scenario(
            "in-process", _bag, _replay_in_process, _report_is_sound, _report_is_whole,
            ("g2vlm_replay.run", "g2vlm_replay.in_process", "tests.replay.bags"),
        ),
        Scenario(
            "node", _nothing, _node, _anything, _anything, ("g2vlm_ros.perception_node",),
            refusals=(0,),  # it writes nothing that it cannot do without
        ),
    )
}  # fmt: skip
