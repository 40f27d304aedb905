from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from maas.admin.imports import discovery
from maas.admin.imports.discovery import (
    look_at,
    said,
    scan_repository,
    scanner,
    take,
    version_folders,
)
from maas.admin.imports.sources import All, Latest, Scan, Source, Specific
from maas.core.errors import MaasError
from maas.registry.drafts import MAX_NUMBER
from maas.settings import ImportSettings

LIMIT = 1 << 20
GO_ON = threading.Event()


def put(path: Path, content: bytes = b"model") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_repository_has_a_folder_for_each_model(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    put(root / "iris" / "1" / "model.onnx")
    put(root / "iris" / "config.pbtxt", b"version_policy: { all {} }")
    put(root / "plain" / "1" / "model.onnx")
    put(root / "花" / "1" / "model.onnx")
    put(root / "README.md")
    put(root / ".git" / "config")
    put(root / "bad name" / "1" / "model.onnx")
    put(root / "api" / "1" / "model.onnx")
    put(root / os.fsdecode(b"\xff\x1b[2J") / "1" / "model.onnx")
    (root / "link").symlink_to("iris")
    (root / "linked" / "1").mkdir(parents=True)
    (root / "linked" / "config.pbtxt").symlink_to("/etc/passwd")
    scan = scan_repository(root)
    assert scan.sources == (
        Source("iris", str(root), "iris", All(), triton=True),
        Source("linked", str(root), "linked", triton=True),
        Source("plain", str(root), "plain"),
        Source("花", str(root), "花"),
    )
    assert scan.complete
    assert set(scan.problems) == {"bad name", "api", "link", "??[2J"}
    assert "not a model name" in scan.problems["bad name"]
    assert "route" in scan.problems["api"]
    assert "link" in scan.problems["link"]


def test_names_that_are_one_in_unicode(tmp_path: Path) -> None:
    for name in ("\u00e9", "e\u0301"):
        put(tmp_path / name / "1" / "m")
    scan = scan_repository(tmp_path)
    assert len(scan.sources) == 1
    assert "the same name" in next(iter(scan.problems.values()))


def test_a_repository_without_models_says_nothing_about_those_there_were(tmp_path: Path) -> None:
    assert scan_repository(tmp_path) == Scan((), {}, complete=False)
    with pytest.raises(OSError, match="No such file"):
        scan_repository(tmp_path / "missing")


def test_versions_are_folders_with_numbers(tmp_path: Path) -> None:
    for name in ("1", "0007", "10", "tmp-3", "v4", "-5", "1.5", "², "):
        (tmp_path / name).mkdir()
    (tmp_path / "7").mkdir()
    (tmp_path / "0").mkdir()
    (tmp_path / str(MAX_NUMBER * 9)).mkdir()
    (tmp_path / "20").touch()
    (tmp_path / "30").symlink_to("1")
    folders, problems = version_folders(Source("m", str(tmp_path)))
    assert folders == {1: "1", 7: "0007", 10: "10"}
    assert set(problems) == {"7", "0", str(MAX_NUMBER * 9), "20", "30"}
    folders, problems = version_folders(Source("m", str(tmp_path), triton=True))
    assert folders == {1: "1", 7: "7", 10: "10"}
    assert set(problems) == {str(MAX_NUMBER * 9), "20", "30"}


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["model.onnx"], "model.onnx"),
        (["m.skops"], "m.skops"),
        (["saved_model.pb"], "3"),
        (["MLmodel"], "3"),
        (["saved_model.pb", "variables/variables.index"], "3"),
        (["sub/model.onnx"], "3"),
        (["model.onnx", "model.onnx.data"], "3"),
    ],
)
def test_what_is_taken_of_a_version(tmp_path: Path, files: list[str], taken: str) -> None:
    for file in files:
        put(tmp_path / "models" / "3" / file)
    source = Source("m", str(tmp_path / "models"))
    received = take(source, {3: "3"}, 3, tmp_path / "upload", LIMIT, GO_ON)
    assert received.filename == taken
    assert received.path.is_dir() is (taken == "3")
    assert received.path.is_relative_to(tmp_path / "upload")


@pytest.mark.parametrize(
    ("file", "taken"),
    [
        ("model.onnx", "model.onnx"),
        ("model.py", "m"),
        ("model.savedmodel/saved_model.pb", "m"),
        ("saved_model.pb", "3"),
    ],
)
def test_a_repository_may_lack_configurations(tmp_path: Path, file: str, taken: str) -> None:
    put(tmp_path / "m" / "3" / file)
    put(tmp_path / "m" / "2" / file)
    source = Source("m", str(tmp_path), "m")
    received = take(source, {2: "2", 3: "3"}, 3, tmp_path / "upload", LIMIT, GO_ON)
    assert received.filename == taken
    if taken == "m":
        assert [path.name for path in received.path.iterdir()] == ["3"]


def test_a_triton_version_brings_what_it_shares_and_no_other_version(tmp_path: Path) -> None:
    root = tmp_path / "repository"
    for name in ("config.pbtxt", "labels.txt", "1/model.onnx", "2/model.onnx", "extra/data"):
        put(root / "iris" / name)
    source = Source("iris", str(root), "iris", triton=True)
    folders, _ = version_folders(source)
    received = take(source, folders, 2, tmp_path / "upload", LIMIT, GO_ON)
    assert received.path == tmp_path / "upload" / "iris"
    found = {
        path.relative_to(received.path).as_posix()
        for path in received.path.rglob("*")
        if path.is_file()
    }
    assert found == {"config.pbtxt", "labels.txt", "2/model.onnx", "extra/data"}
    before = look_at(source, folders, 2)
    put(root / "iris" / "1" / "more")
    assert look_at(source, folders, 2) == before
    put(root / "iris" / "labels.txt", b"others")
    assert look_at(source, folders, 2).stamp != before.stamp


def test_a_config_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "models.config"

    def write(*names: str) -> None:
        inner = " ".join(f"config {{ name: '{n}' base_path: '{n}' }}" for n in names)
        path.write_text(f"model_config_list {{ {inner} }}")

    write("a", "b")
    scan = scanner(ImportSettings(config_file=str(path)))
    both = (Source("a", str(tmp_path / "a")), Source("b", str(tmp_path / "b")))
    assert scan() == Scan(both)
    assert scan() is scan()
    path.write_text("model_config_list {\n config {{")
    broken = scan()
    assert (broken.sources, broken.complete) == (both, False)
    assert "line 2" in broken.problems["models.config"]
    assert "stay as they were" in broken.problems["models.config"]
    path.write_text("")
    assert scan().sources == both
    write("b")
    assert scan() == Scan(both[1:])
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        scan()


def test_a_base_path_is_one_model(tmp_path: Path) -> None:
    scan = scanner(ImportSettings(base_path=str(tmp_path), model_name="m"))
    assert scan() == Scan((Source("m", str(tmp_path), "", Latest()),))


def test_a_folder_has_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "123":
        (tmp_path / name).mkdir()
    monkeypatch.setattr(discovery, "MAX_LISTED", 2)
    with pytest.raises(MaasError, match="more than 2 entries"):
        version_folders(Source("m", str(tmp_path), policy=Specific((1,))))


def test_what_stood_in_the_way_is_said_without_paths(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, words in ((tmp_path / "no", "cannot be read"), (tmp_path / "file", "a file")):
        with pytest.raises(OSError, match=r".") as caught:
            list(path.iterdir())
        assert words in said(caught.value)
        assert str(tmp_path) not in said(caught.value)
