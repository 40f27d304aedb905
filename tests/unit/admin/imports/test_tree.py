from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from maas.admin.imports import tree
from maas.core.errors import ErrorKind, MaasError

LIMIT = 1 << 20
GO_ON = threading.Event()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    version = tmp_path / "models" / "1"
    (version / "variables" / "deep").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(b"graph")
    (version / "variables" / "deep" / "数据").write_bytes(b"x" * 5000)
    (version / "empty").mkdir()
    return tmp_path / "models"


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_copy_is_what_was_there(folder: Path, tmp_path: Path) -> None:
    tree.copy(folder, ["1"], tmp_path / "copy", LIMIT, GO_ON)
    assert contents(tmp_path / "copy") == contents(folder / "1")
    assert stat.S_IMODE((tmp_path / "copy").stat().st_mode) == 0o700


def test_what_is_left_out_is_neither_copied_nor_looked_at(folder: Path, tmp_path: Path) -> None:
    (folder / "config.pbtxt").write_bytes(b"c")
    (folder / "2").mkdir()
    (folder / "2" / "link").symlink_to("/etc/passwd")
    before = tree.look(folder, [], {"2"})
    tree.copy(folder, [], tmp_path / "copy", LIMIT, GO_ON, {"2"})
    assert sorted(path.name for path in (tmp_path / "copy").iterdir()) == ["1", "config.pbtxt"]
    (folder / "2" / "more").touch()
    assert tree.look(folder, [], {"2"}) == before


def test_a_stamp_changes_with_anything_in_the_folder(folder: Path) -> None:
    def stamp() -> str:
        return tree.look(folder, ["1"]).stamp

    file = folder / "1" / "saved_model.pb"
    seen = [stamp()]
    assert stamp() == seen[0]
    changes: tuple[Callable[[], object], ...] = (
        lambda: file.write_bytes(b"other"),
        lambda: os.utime(file, ns=(1, 1)),
        lambda: (folder / "1" / "new").touch(),
        lambda: (folder / "1" / "new").rename(folder / "1" / "newer"),
        lambda: (folder / "1" / "newer").unlink(),
        lambda: (folder / "1" / "more").mkdir(),
        lambda: os.link(file, folder / "hard"),
        lambda: file.rename(folder / "1" / "moved"),
    )
    for change in changes:
        change()
        seen.append(stamp())
    assert all(one != other for one, other in pairwise(seen))


def test_a_file_in_the_place_of_another_is_another(tmp_path: Path) -> None:
    file = tmp_path / "1" / "model"
    file.parent.mkdir()
    stamps = set()
    for content in (b"one", b"two", b"six"):
        file.write_bytes(content)
        os.utime(file, (1, 1))
        stamps.add(tree.look(tmp_path, ["1"]).stamp)
        file.unlink()
        time.sleep(0.02)  # the kernel's clock of files ticks every few milliseconds
    assert len(stamps) == 3


def test_an_empty_folder_has_no_files_and_a_rename_keeps_its_age(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert tree.look(tmp_path, ["a"]).files == 0
    (tmp_path / "a" / "f").touch()
    before = tree.look(tmp_path, ["a"])
    (tmp_path / "a").rename(tmp_path / "b")
    after = tree.look(tmp_path, ["b"])
    assert after == before


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(path.parent)  # the path of a socket ends at 108 bytes
        server.bind(path.name)
        os.chdir(here)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "a symbolic link"),
        (lambda path: path.symlink_to("saved_model.pb"), "a symbolic link"),
        (lambda path: path.symlink_to("variables"), "a symbolic link"),
        (lambda path: os.link(path.parent / "saved_model.pb", path), "a hard link"),
        (lambda path: os.mkfifo(path), "a named pipe"),
        (make_socket, "a socket"),
    ],
    ids=["absolute", "relative", "folder", "hard", "pipe", "socket"],
)
def test_what_is_no_file_is_refused(
    folder: Path, tmp_path: Path, make: Callable[[Path], None], word: str
) -> None:
    make(folder / "1" / "zz")
    with pytest.raises(MaasError, match=word) as caught:
        tree.copy(folder, ["1"], tmp_path / "copy", LIMIT, GO_ON)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert str(tmp_path) not in caught.value.message


def test_no_name_on_the_way_may_be_a_link(folder: Path, tmp_path: Path) -> None:
    (folder / "2").symlink_to("1")
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        tree.look(folder, ["2"])
    with pytest.raises(OSError, match=r"Not a directory|symbolic"):
        tree.copy(folder, ["2", "variables"], tmp_path / "copy", LIMIT, GO_ON)
    (tmp_path / "current").symlink_to(folder)
    assert tree.look(tmp_path / "current", ["1"]) == tree.look(folder, ["1"])


def test_a_folder_has_bounds(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MaasError, match="larger than the 100 bytes") as caught:
        tree.copy(folder, ["1"], tmp_path / "copy", 100, GO_ON)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    monkeypatch.setattr(tree, "MAX_FILES", 3)
    with pytest.raises(MaasError, match="more than 3 files"):
        tree.look(folder, ["1"])
    deep = tmp_path / "deep"
    deep.joinpath(*"d" * (tree.MAX_DEPTH + 1)).mkdir(parents=True)
    monkeypatch.setattr(tree, "MAX_FILES", 100)
    with pytest.raises(MaasError, match="nested more than 32 deep"):
        tree.look(tmp_path, ["deep"])


@pytest.mark.parametrize("name", [b"a\\b", b"a\nb", b"\xff", b"a\x1bb"])
def test_names_that_cannot_be_kept_are_refused(folder: Path, tmp_path: Path, name: bytes) -> None:
    (folder / "1" / os.fsdecode(name)).touch()
    with pytest.raises(MaasError, match="rename it"):
        tree.copy(folder, ["1"], tmp_path / "copy", LIMIT, GO_ON)


def test_a_file_that_grows_while_it_is_read_is_not_taken(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walk = tree.walk

    def growing(*arguments: object) -> object:
        for member in walk(*arguments):
            if member.parts == ("saved_model.pb",):
                with (folder / "1" / "saved_model.pb").open("ab") as file:
                    file.write(b"more")
            yield member

    monkeypatch.setattr(tree, "walk", growing)
    with pytest.raises(MaasError, match="changed while it was read") as caught:
        tree.copy(folder, ["1"], tmp_path / "copy", LIMIT, GO_ON)
    assert caught.value.kind is ErrorKind.UNAVAILABLE


def test_a_copy_that_nobody_waits_for_ends(folder: Path, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(MaasError, match="stopped") as caught:
        tree.copy(folder, ["1"], tmp_path / "copy", LIMIT, stop)
    assert caught.value.kind is ErrorKind.CANCELLED
