from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.registry import Registry
from maas.registry.artifacts import ArtifactStore, tree_digest

Publish = Callable[..., Any]


def stored(home: Path) -> list[str]:
    return sorted(path.name for path in (home / "artifacts").glob("*/*"))


def test_the_same_content_is_stored_once(registry: Registry, publish: Publish, home: Path) -> None:
    publish("a", b"same")
    publish("b", b"same")
    publish("b", b"other")
    assert len(stored(home)) == 2
    assert registry.artifact("a", 1).path == registry.artifact("b", 1).path
    for address in stored(home):
        folder = home / "artifacts" / address[:2] / address
        assert tree_digest(folder) == address
    assert list((home / "staging").iterdir()) == []


def test_stored_files_cannot_be_written(registry: Registry, publish: Publish) -> None:
    publish()
    assert registry.artifact("iris", 1).file.stat().st_mode & 0o777 == 0o400


def test_a_sweep_takes_what_no_version_refers_to(
    registry: Registry, publish: Publish, home: Path
) -> None:
    publish("a", b"shared")
    publish("b", b"shared")
    publish("b", b"alone")
    registry.delete_version("b", 2)
    assert len(stored(home)) == 2
    assert registry.sweep() == 1
    registry.delete_model("b")
    assert registry.sweep() == 0
    assert registry.artifact("a", 1).file.read_bytes() == b"shared"
    registry.delete_model("a")
    assert registry.sweep() == 1
    assert stored(home) == []
    assert list((home / "staging").iterdir()) == []


def test_opening_sweeps_what_a_crash_left(registry: Registry, publish: Publish, home: Path) -> None:
    publish()
    registry.close()
    orphan = home / "artifacts" / "ab" / ("ab" + "0" * 62)
    (orphan / "artifact").mkdir(parents=True)
    (orphan / "artifact" / "x").write_bytes(b"x")
    half = home / "staging" / "publish-old"
    (half / "artifact").mkdir(parents=True)
    (half / "artifact").chmod(0o500)
    (home / "staging" / "stray").write_bytes(b"x")
    with Registry.open(home, lambda: datetime.now(UTC)) as again:
        assert list((home / "staging").iterdir()) == []
        assert len(stored(home)) == 1
        assert again.artifact("iris", 1).file.read_bytes() == b"weights"


def test_a_sweep_leaves_what_is_not_an_address(registry: Registry, home: Path) -> None:
    note = home / "artifacts" / "ab" / "note.txt"
    note.parent.mkdir()
    note.write_text("mine")
    assert registry.sweep() == 0
    assert note.exists()


def test_a_discarded_folder_is_gone(registry: Registry, home: Path) -> None:
    staged = registry.stage()
    (staged / "artifact" / "deep").mkdir(parents=True)
    (staged / "artifact" / "deep" / "x").write_bytes(b"x")
    registry.discard(staged)
    registry.discard(staged)
    assert list((home / "staging").iterdir()) == []


def test_only_staged_folders_are_taken(registry: Registry, home: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a staged folder"):
        registry.discard(home)
    store = ArtifactStore(tmp_path / "other")
    (tmp_path / "artifact").mkdir()
    (tmp_path / "artifact" / "x").write_bytes(b"")
    with pytest.raises(ValueError, match="not a staged folder"):
        store.seal(tmp_path, "x")


def test_the_digest_follows_names_and_contents(tmp_path: Path) -> None:
    def digest(files: dict[str, bytes]) -> str:
        folder = tmp_path / f"t{len(list(tmp_path.iterdir()))}"
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return tree_digest(folder)

    plain = digest({"a": b"1", "b/c": b"2"})
    assert digest({"b/c": b"2", "a": b"1"}) == plain
    others = [
        {"a": b"12"},
        {"a": b"1", "b": b"2"},
        {"a": b"1", "b/c": b"3"},
        {"a": b"1", "c": b"2"},
    ]
    digests = {digest(files) for files in others}
    assert len(digests | {plain}) == 5


@pytest.mark.parametrize("kind", ["pipe", "link", "folder link", "dangling"])
def test_only_files_and_folders_are_hashed(tmp_path: Path, kind: str) -> None:
    odd = tmp_path / "odd"
    match kind:
        case "pipe":
            os.mkfifo(odd)
        case "link":
            odd.symlink_to("/etc/passwd")
        case "folder link":
            odd.symlink_to("/etc")
        case _:
            odd.symlink_to("nowhere")
    with pytest.raises(MaasError) as caught:
        tree_digest(tmp_path)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
