# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The engine cache: what it vouches for, two processes, kills and full disks."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from g2vlm_model.runtimes.store import EngineKey, ExportKey, Store, cache_root
from g2vlm_model.runtimes.store_entry import EntryDamagedError, verified_entry

from ..helpers import REPO, own_mounts, wait_for

KEY = EngineKey(
    source="a" * 64,
    builder="tensorrt",
    builder_version="10.15.1.29",
    gpu="Orin (nvgpu)",
    compute_capability="8.7",
    driver="540.4.0",
    precision="fp16",
    profile="1x224x224..8x518x518",
    flags=("decomposable_attention",),
)
PLAN = bytes(range(256)) * 64

# A process that builds KEY: says that it holds the lock, writes half, waits for a line, goes on.
BUILDER = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(REPO)!r})
from tests.runtimes.test_store import KEY, PLAN
from g2vlm_model.runtimes.store import Store
cache = Store.open(Path(sys.argv[1]))
with cache.building(KEY) as building:
    print("found" if building.entry else "building", flush=True)
    if building.entry is None:
        path = building.folder / "geometry.engine"
        path.write_bytes(PLAN[:99])
        sys.stdin.readline()
        path.write_bytes(PLAN)
        building.commit()
"""


@pytest.fixture
def cache(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "cache")


def build(cache: Store, key: EngineKey = KEY) -> Path:
    """Build an entry of one file and return its folder."""
    with cache.building(key) as building:
        assert building.entry is None
        (building.folder / "geometry.engine").write_bytes(PLAN)
        return building.commit().folder


def start_builder(cache: Store) -> subprocess.Popen[str]:
    """Start a process that builds KEY."""
    command = [sys.executable, "-c", BUILDER, str(cache.root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_was_built_is_found_until_a_fact_of_its_key_changes(cache: Store) -> None:
    assert cache.lookup(KEY) is None
    build(cache)
    entry = cache.lookup(KEY)
    assert entry is not None
    assert entry.path("geometry.engine").read_bytes() == PLAN
    for field in dataclasses.fields(KEY):
        changed: Any = ("other",) if field.name == "flags" else "other"
        assert cache.lookup(dataclasses.replace(KEY, **{field.name: changed})) is None, field.name
    assert cache.lookup(KEY) is not None, "the entries of other keys are independent"
    assert cache.damaged == 0


def test_keys_of_exports_and_engines_differ() -> None:
    export = ExportKey("a", "1", "fp16", "18", ("geometry", "kv"))
    digests = {KEY.digest, export.digest, dataclasses.replace(export, parts=("geometry",)).digest}
    assert len(digests) == 3
    with pytest.raises(ValueError, match="opset of a cache key is 18, expected text"):
        dataclasses.replace(export, opset=18)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("truncated", "has 100 bytes, entry.json says 16384"),
        ("edited", "it was changed since"),
        ("missing", "is missing"),
        ("manifest edited", "is not valid JSON"),
        ("manifest missing", "has no entry.json"),
        ("other key", "gpu: built with 'Orin (nvgpu)', here is 'NVIDIA L4'"),
        ("other format", "has format 99, this version reads 2"),
        ("file in its place", "is no folder"),
        ("link in its place", "is no folder"),
        ("long name", "is no plain file name"),
        ("infinite size", "is no finite number"),
    ],
)
def test_a_damaged_entry_is_never_loaded_but_set_aside_and_built_anew(
    cache: Store, caplog: pytest.LogCaptureFixture, damage: str, reason: str
) -> None:
    folder = build(cache)
    plan, manifest, key = folder / "geometry.engine", folder / "entry.json", KEY
    if damage == "truncated":
        plan.write_bytes(PLAN[:100])
    elif damage == "edited":
        plan.write_bytes(PLAN[:-1] + b"x")
    elif damage == "missing":
        plan.unlink()
    elif damage == "manifest edited":
        manifest.write_text(manifest.read_text()[:-5])
    elif damage == "manifest missing":
        manifest.unlink()
    elif damage in ("file in its place", "link in its place"):
        shutil.rmtree(folder)
        folder.touch() if damage.startswith("file") else folder.symlink_to(cache.root)
    elif damage == "long name":
        manifest.write_text(manifest.read_text().replace("geometry.engine", "n" * 5000))
    elif damage == "infinite size":
        manifest.write_text(manifest.read_text().replace("16384", "1e999"))
    elif damage == "other format":
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    else:  # copied by hand from another machine's cache
        key = dataclasses.replace(KEY, gpu="NVIDIA L4")
        folder = folder.rename(folder.with_name(key.digest))
    with pytest.raises(EntryDamagedError, match=re.escape(reason)):
        verified_entry(folder, key)
    assert cache.lookup(key) is None
    assert cache.damaged == 1
    assert reason in caplog.text
    assert not os.path.lexists(folder)
    build(cache, key)
    assert cache.lookup(key) is not None


@pytest.mark.parametrize("in_the_way", ["locks", "damaged"])
def test_a_damaged_entry_that_has_to_stay_is_a_miss_that_is_told_once(
    cache: Store, caplog: pytest.LogCaptureFixture, in_the_way: str
) -> None:
    folder = build(cache)
    (folder / "geometry.engine").write_bytes(PLAN[:100])
    shutil.rmtree(cache.root / in_the_way)
    (cache.root / in_the_way).touch()
    assert cache.lookup(KEY) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "has 100 bytes, entry.json says 16384" in record.message
    assert "it stays where it is" in record.message
    cache.set_aside(KEY, "fails its golden check")
    assert "cannot be set aside" in caplog.records[-1].message
    assert (folder.exists(), cache.damaged) == (True, 0)


READ = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(REPO)!r})
from tests.runtimes.test_store import KEY
from g2vlm_model.runtimes.store import Store
cache = Store.open(Path(sys.argv[1]))
assert cache.lookup(KEY) is None
assert cache.find("engine") == ()
cache.set_aside(KEY, "fails its golden check")
try:
    cache.building(KEY).__enter__()
except OSError as error:
    print(error)
"""


def test_a_damaged_entry_of_a_read_only_cache_is_a_miss(cache: Store) -> None:
    folder = build(cache)
    (folder / "geometry.engine").write_bytes(PLAN[:100])
    prefix = own_mounts(
        f"mount --bind {cache.root} {cache.root} && mount -o remount,bind,ro {cache.root}"
    )
    if not prefix:  # the test above simulates the same everywhere; here the system refuses
        pytest.skip("this machine lets no test mount a folder read-only (unshare)")
    command = [*prefix, sys.executable, "-c", READ, str(cache.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Read-only file system" in done.stdout, "nothing can be built there"
    assert done.stderr.count("it stays where it is: [Errno 30]") == 1


def test_only_the_newest_damaged_entries_are_kept(cache: Store) -> None:
    for _ in range(4):
        (build(cache) / "geometry.engine").unlink()
        assert cache.lookup(KEY) is None
    assert cache.damaged == 4
    assert len(list((cache.root / "damaged").iterdir())) == 2


def test_a_file_that_the_manifest_does_not_name_is_not_given_out(cache: Store) -> None:
    folder = build(cache)
    (folder / "smuggled.engine").write_bytes(b"x")
    entry = cache.lookup(KEY)
    assert entry is not None
    with pytest.raises(EntryDamagedError, match=r"vouches for geometry\.engine, not for"):
        entry.path("smuggled.engine")


def test_an_entry_is_taken_out_of_use(cache: Store, caplog: pytest.LogCaptureFixture) -> None:
    build(cache)
    cache.set_aside(KEY, "fails its golden check")
    assert cache.lookup(KEY) is None
    assert "fails its golden check" in caplog.text
    cache.set_aside(KEY, "is not there any more")


def test_entries_are_found_by_some_facts_of_their_keys(cache: Store) -> None:
    keys = [dataclasses.replace(KEY, profile=profile) for profile in ("small", "large")]
    for number, key in enumerate(keys):
        os.utime(build(cache, key), ns=(number, number))
    build(cache, dataclasses.replace(KEY, driver="other"))
    with cache.building(ExportKey(KEY.source, "1", "fp16", "18", ())) as building:
        building.commit()
    found = cache.find("engine", source=KEY.source, driver=KEY.driver)
    assert [entry.manifest.key["profile"] for entry in found] == ["large", "small"], (
        "the newest first"
    )
    (found[0].folder / "geometry.engine").write_bytes(PLAN[:-1])
    found = cache.find("engine", source=KEY.source, driver=KEY.driver)
    assert [entry.manifest.key["profile"] for entry in found] == ["small"]


def test_an_entry_that_others_may_write_to_hides_no_other(
    cache: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keys = [dataclasses.replace(KEY, profile=profile) for profile in ("open", "own", "other")]
    folders = [build(cache, key) for key in keys]
    folders[0].chmod(0o777)
    found = cache.find("engine", source=KEY.source)
    assert {entry.manifest.key["profile"] for entry in found} == {"own", "other"}
    (record,) = caplog.records
    assert "others may write to the folder (mode 777)" in record.message
    assert str(folders[0]) in record.message
    assert folders[0].exists(), "it is not ours to move"


def test_a_folder_in_the_place_of_a_lock_makes_way(cache: Store) -> None:
    (cache.root / "locks" / KEY.digest / "x").mkdir(parents=True)
    assert build(cache).is_dir()
    assert (cache.root / "locks" / KEY.digest).is_file()


def test_a_build_that_fails_leaves_nothing(cache: Store) -> None:
    with pytest.raises(RuntimeError, match="parser"), cache.building(KEY) as building:
        (building.folder / "geometry.engine").write_bytes(PLAN)
        (building.folder.parent / f".{building.folder.name}.1-x.partial").mkdir()
        raise RuntimeError("parser")
    assert cache.lookup(KEY) is None
    assert list((cache.root / "building").iterdir()) == []


def test_a_process_killed_half_way_leaves_nothing_that_is_loaded(
    cache: Store, caplog: pytest.LogCaptureFixture
) -> None:
    with start_builder(cache) as process:
        assert said(process) == "building"
        wait_for(lambda: list((cache.root / "building").rglob("*.engine")), 5)
        with (
            pytest.raises(TimeoutError, match=f"process {process.pid} has been building"),
            cache.building(KEY, wait_s=0.2),
        ):
            pass
        process.send_signal(signal.SIGKILL)
    left = list((cache.root / "building").iterdir())
    assert left, "SIGKILL leaves the half-written folder"
    # What an export that is killed leaves beside its own folder.
    (cache.root / "building" / f".{left[0].name}.123-x.partial").mkdir()
    assert cache.lookup(KEY) is None
    build(cache)  # takes the dead process's lock
    assert "interrupted" in caplog.text
    assert list((cache.root / "building").iterdir()) == []
    assert cache.lookup(KEY) is not None


def test_two_processes_build_a_key_once(cache: Store) -> None:
    first = start_builder(cache)
    assert said(first) == "building"
    second = start_builder(cache)
    with pytest.raises(subprocess.TimeoutExpired):
        second.wait(0.5)  # it waits
    first.communicate("go on\n", timeout=10)
    output, _ = second.communicate("go on\n", timeout=10)
    assert output == "found\n"
    assert (first.returncode, second.returncode) == (0, 0)
    assert cache.lookup(KEY) is not None
    assert list((cache.root / "building").iterdir()) == []


FILL = f"""
import resource, sys
from pathlib import Path
sys.path.insert(0, {str(REPO)!r})
from tests.runtimes.test_store import KEY
from g2vlm_model.runtimes.store import Store
if sys.argv[2:]:
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
cache = Store.open(Path(sys.argv[1]) / "cache")
try:
    with cache.building(KEY) as building:
        (building.folder / "geometry.engine").write_bytes(bytes(4_000_000))
        building.commit()
except OSError as error:
    print(error)
assert cache.lookup(KEY) is None
assert list((cache.root / "building").iterdir()) == []
with cache.building(KEY) as building:  # what fits is built afterwards
    (building.folder / "geometry.engine").write_bytes(bytes(400_000))
    building.commit()
assert cache.lookup(KEY) is not None
"""


@pytest.mark.parametrize("limit", ["disk", "file size"])
def test_a_full_disk_is_an_error_that_says_what_to_do(tmp_path: Path, limit: str) -> None:
    disk = f"mount -t tmpfs -o size=1m,mode=700 tmpfs {tmp_path}"
    prefix = own_mounts(disk) if limit == "disk" else []
    if limit == "disk" and not prefix:
        pytest.skip("no disk of its own for a test here: unshare may not mount a tmpfs")
    command = [*prefix, sys.executable, "-c", FILL, str(tmp_path)] + ["1000000"] * (not prefix)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "no space left for the build" in done.stdout
    assert "G2VLM_CACHE" in done.stdout


def test_a_build_that_cannot_fit_is_refused_before_it_starts(cache: Store) -> None:
    with (
        pytest.raises(OSError, match=r"about 1000000000000 MB are needed"),
        cache.building(KEY, needed_bytes=10**18),
    ):
        pytest.fail("the build has begun")


def test_the_folder_is_this_users_alone(
    cache: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {path.stat().st_mode & 0o777 for path in [cache.root, *cache.root.iterdir()]} == {0o700}
    assert build(cache).stat().st_mode & 0o777 == 0o700
    cache.root.chmod(0o770)
    with pytest.raises(PermissionError, match=r"mode 770.*chmod 700"):
        Store.open(cache.root)
    cache.root.chmod(0o700)
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PermissionError, match="this process is user 12345"):
        Store.open(cache.root)


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("G2VLM_CACHE", "/data/engines")
    monkeypatch.setenv("XDG_CACHE_HOME", "/data/cache")
    assert cache_root() == Path("/data/engines")
    monkeypatch.delenv("G2VLM_CACHE")
    assert cache_root() == Path("/data/cache/g2vlm")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root() == Path.home() / ".cache" / "g2vlm"


@pytest.mark.parametrize("below", ["", "cache"])
def test_a_folder_that_cannot_be_made_says_what_to_do(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="set G2VLM_CACHE to a folder that can be written to"):
        Store.open(tmp_path / "file" / below)
