# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""Models by repository id: from the cache, from a hub on the loopback address, and neither."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from g2vlm_model import hub
from g2vlm_model.checkpoint import calibration_text, load_model, model_id, save_model
from g2vlm_model.hub import Repository, check_hashes
from g2vlm_model.model_folder import INDEX_FILE, WEIGHTS_FILE, resolve_folder
from g2vlm_model.tokenizer import Tokenizer
from tests.helpers import REPO, own_mounts
from tests.model.fake_hub import COMMIT, FakeHub
from tests.model.tiny import tiny_model
from tests.model.tiny_tokenizer import train_tokenizer

ID = "InternRobotics/G2VLM-2B-MoT"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository: a model folder with what else stands in one."""
    folder = tmp_path_factory.mktemp("published")
    save_model(folder, tiny_model(), Tokenizer(train_tokenizer(280)))
    (folder / "README.md").write_text("a card")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04never")
    (folder / "generation_config.json").write_text("{}")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "cache"
    monkeypatch.setenv("HF_HUB_CACHE", str(root))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    return root


@pytest.fixture
def site(published: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with FakeHub({ID: published}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (ID, Repository(ID)),
        (f"{ID}@v1", Repository(ID, "v1")),
        (f"{ID}@refs/pr/3", Repository(ID, "refs/pr/3")),
        ("nano", None),
        ("/opt/models/nano", None),
        ("a/b/c", None),
        ("../b", None),
        (f"{ID}@../../x", None),
        ("a/b@", None),
    ],
)
def test_ids(text: str, want: Repository | None) -> None:
    assert Repository.parse(text) == want


def test_a_repository_is_fetched_once_and_without_its_pickles(site: FakeHub, cache: Path) -> None:
    folder = resolve_folder(ID)
    assert folder == cache / f"models--{ID.replace('/', '--')}" / "snapshots" / COMMIT
    names = {path.name for path in folder.iterdir()}
    assert {WEIGHTS_FILE, "text_config.json", "tokenizer.json"} <= names
    assert not names & {"pytorch_model.bin", "README.md", "generation_config.json"}
    assert model_id(ID).startswith("G2VLM-2B-MoT@")
    load_model(ID)
    asked = len(site.got)
    site.shutdown()  # from now on there is no network
    assert resolve_folder(ID) == folder
    assert resolve_folder(f"{ID}@{COMMIT}") == folder
    assert resolve_folder(cache / f"models--{ID.replace('/', '--')}") == folder
    assert len(site.got) == asked


def test_a_tag_is_a_revision(site: FakeHub) -> None:
    assert resolve_folder(f"{ID}@v1").name == COMMIT
    with pytest.raises(FileNotFoundError, match=f"{ID} has no revision 'v2'"):
        resolve_folder(f"{ID}@v2")
    with pytest.raises(FileNotFoundError, match="the hub has no repository nobody/nothing"):
        resolve_folder("nobody/nothing")


def test_a_download_that_broke_off_goes_on(
    site: FakeHub, published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunk = 1 << 16  # of 10 MB: what came of a chunk is lost
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", chunk)
    site.breaks = 2
    folder = resolve_folder(ID)
    content = (published / WEIGHTS_FILE).read_bytes()
    assert (folder / WEIGHTS_FILE).read_bytes() == content
    begins = [int(asked.removeprefix("bytes=").partition("-")[0]) for asked in site.ranges]
    assert len(begins) == 2
    assert 0 < begins[0] < begins[1]


def test_a_download_that_was_given_up_fetches_the_rest_later(
    site: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the library's tries
    site.breaks = 100
    with pytest.raises(OSError, match=rf"{ID} was not fetched: .*again goes on"):
        resolve_folder(ID)
    site.breaks, site.got[:] = 0, []
    resolve_folder(ID)
    assert {name for method, name in site.got if method == "GET"} == {WEIGHTS_FILE}


def test_what_is_not_what_its_name_says_is_removed(site: FakeHub) -> None:
    site.wrong = True
    with pytest.raises(ValueError, match=rf"{WEIGHTS_FILE} is not what the hub holds"):
        resolve_folder(ID)
    site.wrong = False
    folder = resolve_folder(ID)
    assert check_hashes(folder) == len(list(folder.iterdir()))


def test_no_network(cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"no folder {ID}.*run `hf download {ID}` where"):
        resolve_folder(ID)


def test_no_package(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(FileNotFoundError, match=r"pip install 'g2vlm_ros\[hub\]'.*hf download"):
        resolve_folder(f"{ID}@v1")


def test_a_whole_snapshot_needs_no_package(site: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = resolve_folder(ID)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert resolve_folder(ID) == folder
    (folder / "tokenizer.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"the cache lacks vocab\.json"):
        resolve_folder(ID)


RESOLVE = """
import sys
from g2vlm_model.model_folder import resolve_folder
try:
    print(resolve_folder(sys.argv[1]))
except OSError as error:
    print(error)
"""


def test_a_disk_that_fills_at_nine_tenths(site: FakeHub, cache: Path, published: Path) -> None:
    """One line with what to do; with more room the download goes on."""
    wanted = ("*.safetensors", "*.json", "merges.txt", "vocab.json")
    size = sum(path.stat().st_size for name in wanted for path in published.glob(name))
    cache.mkdir()
    prefix = own_mounts(f"mount -t tmpfs -o size={size * 9 // 10} tmpfs {cache}")
    if not prefix:
        pytest.skip("this machine lets no test mount a disk of its own (unshare)")
    again = f'"$@"; mount -o remount,size={4 * size + (1 << 20)} {cache} && "$@"'
    command = [*prefix, "sh", "-c", again, "sh", sys.executable, "-c", RESOLVE, ID]
    done = subprocess.run(command, cwd=REPO, check=True, stdout=subprocess.PIPE, text=True)
    refused, there = done.stdout.splitlines()
    assert "was not fetched: " in refused
    assert "No space left on device" in refused
    assert refused.endswith("again goes on")
    assert Path(there).name == COMMIT


def test_a_read_only_cache(site: FakeHub, cache: Path) -> None:
    """What is there is taken; what is not says why in one line."""
    folder = resolve_folder(ID)
    prefix = own_mounts(f"mount --bind {cache} {cache} && mount -o remount,bind,ro {cache}")
    if not prefix:
        pytest.skip("this machine lets no test mount a folder read-only (unshare)")

    def resolved() -> str:
        command = [*prefix, sys.executable, "-c", RESOLVE, ID]
        return subprocess.run(
            command, cwd=REPO, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    assert Path(resolved().strip()) == folder
    (folder / "text_config.json").unlink()
    refused = resolved()
    assert refused.count("\n") == 1
    assert "was not fetched: " in refused
    assert "Read-only file system" in refused


def test_two_processes_fetch_at_once(site: FakeHub, published: Path) -> None:
    program = f"from g2vlm_model.model_folder import resolve_folder; print(resolve_folder({ID!r}))"
    both = [
        subprocess.Popen([sys.executable, "-c", program], cwd=REPO, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    said = {process.communicate(timeout=120)[0].decode().strip() for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (folder,) = said
    assert check_hashes(Path(folder)) == len(list(Path(folder).iterdir()))


def test_folders_of_a_cache(cache: Path, tmp_path: Path, published: Path) -> None:
    folder = tmp_path / "models--a--b"
    (folder / "snapshots").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match="holds no snapshot"):
        resolve_folder(folder)
    shutil.copytree(published, folder / "snapshots" / COMMIT)
    assert resolve_folder(folder).name == COMMIT
    assert model_id(folder).startswith("b@")
    (folder / "snapshots" / ("d" * 40)).mkdir()
    with pytest.raises(ValueError, match="holds several snapshots"):
        resolve_folder(folder)


def test_an_unrelated_config_does_not_change_the_id(tmp_path: Path, published: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "copy")
    before = model_id(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    assert model_id(folder) == before


def test_links_that_lead_nowhere_and_pointers(tmp_path: Path, published: Path) -> None:
    folder = shutil.copytree(published, tmp_path / "copy")
    for name in (WEIGHTS_FILE, "tokenizer.json", "vit_config.json"):
        kept = (folder / name).read_bytes()
        (folder / name).unlink()
        os.symlink(tmp_path / "gone", folder / name)
        with pytest.raises(FileNotFoundError, match=rf"{name} is a link to .*gone.*cp -rL"):
            load_model(folder)
        (folder / name).unlink()
        (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
        with pytest.raises(ValueError, match=rf"{name} is a pointer of git-lfs.*git lfs pull"):
            load_model(folder)
        (folder / name).write_bytes(kept)
    load_model(folder)
    may_lack: dict[str, Callable[[Path], object]] = {"calibration.json": calibration_text}
    may_lack |= dict.fromkeys((INDEX_FILE, "g2vlm_config.json"), load_model)
    for name, read in may_lack.items():
        (folder / name).unlink(missing_ok=True)
        os.symlink(tmp_path / "gone", folder / name)
        with pytest.raises(FileNotFoundError, match=rf"{name} is a link to .*gone"):
            read(folder)
        (folder / name).unlink()
    os.symlink(tmp_path / "gone", tmp_path / "link")
    with pytest.raises(FileNotFoundError, match=r"is a link to .*gone, which is not there"):
        resolve_folder(tmp_path / "link")


def test_shards_without_an_index(tmp_path: Path, published: Path) -> None:
    from tests.model.test_checkpoint import shard

    folder = shutil.copytree(published, tmp_path / "copy")
    (folder / "pytorch_model.bin").unlink()
    parts = shard(folder)
    (folder / INDEX_FILE).unlink()
    for i, path in enumerate(parts, 1):
        path.rename(folder / f"model-{i:05d}-of-{len(parts):05d}.safetensors")
    load_model(folder)
    (folder / f"model-00001-of-{len(parts):05d}.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model-00001-of-\d+.safetensors is missing \(one"):
        load_model(folder)
    (folder / "model-00001-of-00009.safetensors").touch()
    with pytest.raises(ValueError, match="shards of several sets and no"):
        load_model(folder)


def test_the_cache_is_where_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub.cache_root() == Path.home() / ".cache/huggingface/hub"
    monkeypatch.setenv("HF_HOME", "/data/hf")
    assert hub.cache_root() == Path("/data/hf/hub")
    monkeypatch.setenv("HF_HUB_CACHE", "~/models")
    assert hub.cache_root() == Path.home() / "models"
