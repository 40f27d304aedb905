"""A disk that fills up while publishing."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.registry import Registry, VersionDraft, clear_disk_errors
from maas.sandbox.tree import remove_tree

Publish = Callable[..., Any]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(file: Path) -> None:
    with file.open("wb", buffering=0) as writer, contextlib.suppress(OSError):
        while True:
            writer.write(bytes(4096))


def test_a_full_disk_while_publishing(small_disk: Path, publish: Publish) -> None:
    with Registry.open(small_disk / "home", lambda: datetime.now(UTC)) as registry:
        first = publish(into=registry, content=b"1" * 1000)
        staged = registry.stage()
        with pytest.raises(MaasError, match="full") as caught, clear_disk_errors():
            (staged / "artifact").write_bytes(b"2" * (2 << 20))
        assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
        registry.discard(staged)
        assert registry.snapshot()[0].versions == (first,)
        assert publish(into=registry, content=b"3").version == 2


def test_no_room_for_the_row(
    small_disk: Path, make_draft: Callable[..., VersionDraft], publish: Publish
) -> None:
    home = small_disk / "home"
    with Registry.open(home, lambda: datetime.now(UTC)) as registry:
        first = publish(into=registry)
        staged = registry.stage()
        (staged / "artifact").mkdir()
        (staged / "artifact" / "model.onnx").write_bytes(b"x")
        filler = small_disk / "filler"
        fill(filler)
        big = make_draft(fingerprint="f" * 100_000)
        with pytest.raises(MaasError, match="full") as caught:
            registry.commit(staged, big)
        assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
        assert str(small_disk) not in caught.value.message
        assert list((home / "staging").iterdir()) == []
        assert len(list((home / "artifacts").glob("*/*"))) == 1
        assert registry.snapshot()[0].versions == (first,)
        filler.unlink()
        assert publish(into=registry, content=b"next").version == 2


def test_a_limit_on_file_sizes_reads_as_a_full_disk(tmp_path: Path) -> None:
    script = textwrap.dedent(
        """
        import resource, signal, sys
        from datetime import UTC, datetime
        from pathlib import Path
        from maas.core.errors import MaasError
        from maas.registry import Registry, clear_disk_errors

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with Registry.open(Path(sys.argv[1]), lambda: datetime.now(UTC)) as registry:
            staged = registry.stage()
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            try:
                with clear_disk_errors():
                    (staged / "model.onnx").write_bytes(bytes(10_000))
            except MaasError as error:
                print(error.kind, error.message)
            registry.discard(staged)
            print(registry.snapshot())
        """
    )
    answer = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    )
    first, second = answer.stdout.splitlines()
    assert first.startswith("resource_exhausted the disk that holds the data folder is full")
    assert second == "()"


def test_other_errors_pass_as_they_are() -> None:
    with pytest.raises(FileNotFoundError), clear_disk_errors():
        Path("/nowhere/at/all").read_bytes()
    with pytest.raises(MaasError, match="cannot be written") as caught, clear_disk_errors():
        raise OSError(errno.EROFS, "Read-only file system")
    assert caught.value.kind is ErrorKind.FAILED_PRECONDITION


def test_a_folder_is_removed_however_deep_and_closed_it_is(tmp_path: Path) -> None:
    folder, kept = tmp_path / "folder", tmp_path / "kept"
    folder.mkdir()
    kept.write_text("kept")
    inner = os.open(folder, os.O_RDONLY)
    for _ in range(3000):  # deeper than a path and than Python's stack
        Path(f"/proc/self/fd/{inner}/link").symlink_to(kept)
        os.mkdir("d", dir_fd=inner)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inner)
        os.fchmod(inner, 0)
        os.close(inner)
        inner = deeper
    os.close(inner)
    remove_tree(folder)
    assert not folder.exists()
    assert kept.read_text() == "kept"
    remove_tree(folder)  # there is nothing to do
