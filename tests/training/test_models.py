# Copyright 2026 G2VLM ROS maintainers
# SPDX-License-Identifier: Apache-2.0

"""The model library: what is taken, how it is stored, and every way in which it is refused."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from g2vlm_training.dataset_cli import main
from g2vlm_training.synthetic.models import (
    ModelLibrary,
    ModelsError,
    Sources,
    build_library,
    fetch_sources,
    local_sources,
    read_archive,
)
from g2vlm_training.synthetic.models.panoramas import HEIGHT, draw_sky

from tests.training.furniture import box_obj, model_row, write_archive


@pytest.fixture(scope="module")
def rays() -> None:
    """Converting casts rays on the models' tops."""
    pytest.importorskip("embreex", reason="needs the extra scenes: pip install '.[scenes]'")
    pytest.importorskip("trimesh", reason="needs the extra scenes: pip install '.[scenes]'")


def _archive(folder: Path) -> Path:
    rows = [
        model_row(1, "Chair", (50, 40, 90), dropOnTopElevation=45),
        model_row(2, "Picture box", (30, 20, 60), elevation=100, dropOnTopElevation=-1),
        model_row(3, "Window", (100, 10, 120), doorOrWindow="true", creator="B. Glazier"),
    ]
    return write_archive(
        folder / "Test.sh3f", rows,
        files={"test/m2/model.obj": box_obj("print"), "test/m3/model.obj": box_obj("pane")},
    )  # fmt: skip


def test_what_an_archive_says(tmp_path: Path) -> None:
    (chair, box, window), left = read_archive(_archive(tmp_path))
    assert left == {}
    assert chair.size == (0.5, 0.4, 0.9)
    assert (chair.top, box.top) == (0.45, None)
    assert window.top == 1.2  # where nothing is said things stand on its top
    assert (box.elevation, window.opening, window.creator) == (1.0, True, "B. Glazier")
    assert chair.licence == "CC-BY-3.0"
    assert len({chair.key, box.key, window.key}) == 3


@pytest.mark.parametrize(
    ("licence", "taken"),
    [
        ("Public domain", "CC0-1.0"),
        ("Creative Commons Attribution 3.0 United States license", "CC-BY-3.0-US"),
        ("Creative Commons Attribution-ShareAlike 3.0", None),
        ("GNU GPL / CC-BY 3.0", None),
        ("Creative Commons Attribution-NonCommercial 3.0", None),
        ("Free for members", None),
        ("", None),
    ],
)
def test_only_free_licences_are_taken(tmp_path: Path, licence: str, taken: str | None) -> None:
    path = write_archive(tmp_path / "L.sh3f", [model_row(1, "Chair", (50, 40, 90))], licence)
    kept, left = read_archive(path)
    assert [entry.licence for entry in kept] == ([taken] if taken else [])
    assert len(left) == (0 if taken else 1)


def test_a_model_with_a_notice_of_its_own_is_left_out(tmp_path: Path) -> None:
    rows = [model_row(1, "Chair", (50, 40, 90)), model_row(2, "Table", (50, 40, 90))]
    notice = {"test/m2/BLENDSWAP_LICENSE.txt": "released under Attribution-ShareAlike 3.0"}
    kept, left = read_archive(write_archive(tmp_path / "N.sh3f", rows, files=notice))
    assert [entry.name for entry in kept] == ["Chair"]
    assert "ShareAlike" in next(iter(left.values()))


def test_rows_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    rows = [model_row(1, "Chair", ("wide", 40, 90)), model_row(2, "Table", (50, 40, 90))]  # type: ignore[arg-type]
    kept, left = read_archive(write_archive(tmp_path / "R.sh3f", rows))
    assert [entry.name for entry in kept] == ["Table"]
    assert "wide" in next(iter(left.values()))


@pytest.mark.parametrize("content", [b"", b"no zip file", None])
def test_a_file_that_is_no_archive_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.sh3f"
    if content is None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("else.txt", "x")
    else:
        path.write_bytes(content)
    with pytest.raises(ModelsError, match=r"bad\.sh3f is no furniture archive"):
        read_archive(path)


def test_a_library_gives_back_what_was_put_in(tmp_path: Path, rays: None) -> None:
    folder = tmp_path / "library"
    build_library(folder, Sources((_archive(tmp_path),)), print)
    library = ModelLibrary(folder)
    assert [entry.name for entry in library.entries] == ["Chair", "Picture box", "Window"]
    chair, box, pane = (library.mesh(number) for number in range(3))
    # Scaled to the listed size, standing on the floor, its middle at the origin.
    np.testing.assert_allclose(chair.position_V3.min(axis=0), (-0.25, -0.2, 0), atol=1e-4)
    np.testing.assert_allclose(chair.position_V3.max(axis=0), (0.25, 0.2, 0.9), atol=1e-4)
    assert chair.materials[0].albedo[0] == pytest.approx(0.604, abs=0.01)  # Kd .8 is sRGB
    assert not chair.materials[0].is_glass
    assert pane.materials[0].is_glass
    texture = box.textures[box.materials[0].texture].rgba
    assert texture.shape == (32, 16, 4)  # powers of two at or below 40 x 24
    assert np.abs(texture[..., :3].astype(int) - (20, 60, 200)).max() < 12
    np.testing.assert_allclose(library.tops(0), 0.9, atol=1e-3)
    credit = (folder / "CREDITS.md").read_text(encoding="utf-8")
    assert "B. Glazier" in credit
    assert "CC-BY-3.0" in credit
    assert "modified" in credit


def test_left_out_models_are_counted_and_named(tmp_path: Path, rays: None) -> None:
    rows = [model_row(number, f"Thing {number}", (50, 40, 90)) for number in range(1, 5)]
    path = write_archive(
        tmp_path / "P.sh3f", rows,
        files={
            "test/m2/model.obj": "# nothing\n",
            "test/m3/model.obj": box_obj("print"),
            "test/m3/model.mtl": "newmtl print\nmap_Kd no.png\n",
        },
    )  # fmt: skip
    said: list[str] = []
    folder = build_library(tmp_path / "library", Sources((path,)), said.append)
    assert [entry.name for entry in ModelLibrary(folder).entries] == ["Thing 1", "Thing 4"]
    left = json.loads((folder / "library.json").read_text(encoding="utf-8"))["left_out"]
    assert len(left) == 2
    assert "texture missing 1" in said[-1]


def test_a_failed_conversion_leaves_the_old_library(tmp_path: Path, rays: None) -> None:
    folder = tmp_path / "library"
    build_library(folder, Sources((_archive(tmp_path),)), print)
    refused = write_archive(tmp_path / "G.sh3f", [model_row(1, "Chair", (5, 4, 9))], "GNU GPL")
    with pytest.raises(ModelsError, match="no model can be used: licence 1"):
        build_library(folder, Sources((refused,)), print)
    assert len(ModelLibrary(folder).entries) == 3
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_damaged_libraries_are_refused_with_the_command_that_makes_them(
    tmp_path: Path, rays: None
) -> None:
    folder = tmp_path / "library"
    with pytest.raises(ModelsError, match=r"no model library in .* `g2vlm dataset models"):
        ModelLibrary(folder)
    build_library(folder, Sources((_archive(tmp_path),)), print)
    tensors = folder / "models.safetensors"
    good = tensors.read_bytes()
    tensors.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(ModelsError, match="is damaged"):
        ModelLibrary(folder)
    tensors.write_bytes(good)
    listed = folder / "library.json"
    content = json.loads(listed.read_text(encoding="utf-8"))
    listed.write_text(json.dumps({**content, "format": 99}), encoding="utf-8")
    with pytest.raises(ModelsError, match="of format 99, expected"):
        ModelLibrary(folder)
    listed.write_text("{", encoding="utf-8")
    with pytest.raises(ModelsError, match="no model library"):
        ModelLibrary(folder)


def test_the_command_takes_a_folder(
    tmp_path: Path, rays: None, capsys: pytest.CaptureFixture[str]
) -> None:
    _archive(tmp_path)
    out = tmp_path / "library"
    assert main(["models", "--from", str(tmp_path), "--out", str(out)]) == 0
    assert "3 models, 0 panoramas" in capsys.readouterr().out
    assert main(["models", "--check", "--out", str(out)]) == 0


def test_a_folder_without_archives_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelsError, match=r"holds no \.sh3f file"):
        local_sources(tmp_path)


def test_without_apt_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ModelsError, match=r"apt-get is not here.*--from FOLDER"):
        fetch_sources(tmp_path / "work")


def test_without_network_the_error_has_apts_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, body in (("apt-get", "echo 'E: Could not resolve' >&2; exit 100"), ("dpkg-deb", "")):
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(ModelsError, match="ended with 100: E: Could not resolve; run `apt-get up"):
        fetch_sources(tmp_path / "work")


def test_drawn_skies_are_bright_above_and_never_dark() -> None:
    sky = draw_sky(np.random.default_rng(0))
    assert sky.shape == (HEIGHT, 2 * HEIGHT, 3)
    assert sky[: HEIGHT // 2].mean() > 1.5 * sky[HEIGHT // 2 :].mean()
    assert sky.min() > 0
