from __future__ import annotations

import io
import os
import resource
import signal
import stat
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from maas.admin.uploads import WRITE_BYTES, Received, receive_file, receive_tar
from maas.core.errors import ErrorKind, MaasError

LIMIT = 8 << 20


async def stream(data: bytes, step: int = 65_536) -> AsyncIterator[bytes]:
    for start in range(0, len(data), step):
        yield data[start : start + step]


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o6777
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "staging"
    folder.mkdir(mode=0o700)
    return folder


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def exists(path: str) -> bool:
    return Path(path).exists()


async def unpack(folder: Path, files: dict[str, bytes], limit: int = LIMIT) -> Received:
    return await receive_tar(stream(tar(files)), folder, limit)


async def test_a_raw_file_arrives_whole(folder: Path) -> None:
    content = os.urandom(3 * WRITE_BYTES + 17)
    received = await receive_file(stream(content), folder, "鸢尾花.onnx", LIMIT)
    assert received == Received(folder / "鸢尾花.onnx", "鸢尾花.onnx")
    assert received.path.read_bytes() == content


async def test_the_limit_is_exact(folder: Path) -> None:
    await receive_file(stream(bytes(1000)), folder, "a", 1000)
    with pytest.raises(MaasError) as caught:
        await receive_file(stream(bytes(1001)), folder, "b", 1000)
    assert caught.value.kind is ErrorKind.TOO_LARGE


async def test_reading_stops_at_the_limit(folder: Path) -> None:
    given = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal given
        while True:
            given += 65_536
            yield bytes(65_536)

    with pytest.raises(MaasError):
        await receive_file(endless(), folder, "a", LIMIT)
    assert given <= LIMIT + 65_536
    assert (folder / "a").stat().st_size <= LIMIT


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "..\\a", "a\0b", "a\nb", "x" * 256]
)
async def test_names_that_are_no_plain_file_name(folder: Path, name: str) -> None:
    with pytest.raises(MaasError) as caught:
        await receive_file(stream(b"x"), folder, name, LIMIT)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert tree(folder) == set()


async def test_an_empty_body(folder: Path) -> None:
    with pytest.raises(MaasError, match="no body"):
        await receive_file(stream(b""), folder, "a", LIMIT)
    with pytest.raises(MaasError, match="no body"):
        await receive_tar(stream(b""), folder, LIMIT)


async def test_a_full_disk(folder: Path) -> None:
    # A file of this process may not grow beyond 64 KiB: EFBIG, which a quota gives too.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, hard))
    try:
        with pytest.raises(MaasError) as caught:
            await receive_file(stream(bytes(2 * WRITE_BYTES)), folder, "a", LIMIT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, previous)
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
    assert str(folder) not in caught.value.message


async def test_one_model_file_with_sample_and_card(folder: Path) -> None:
    received = await unpack(
        folder, {"model/iris.skops": b"m", "sample/x.npy": b"s", "card/README.md": b"c"}
    )
    assert received == Received(
        folder / "model/iris.skops",
        "iris.skops",
        sample=folder / "sample/x.npy",
        card=folder / "card/README.md",
    )


async def test_several_files_are_a_folder(folder: Path) -> None:
    received = await unpack(folder, {"model/a.onnx": b"a", "model/data/w.bin": b"w"})
    assert received == Received(folder / "model", "model")
    assert (folder / "model/data/w.bin").read_bytes() == b"w"


async def test_one_folder_keeps_its_name(folder: Path) -> None:
    received = await unpack(folder, {"model/tea/model.py": b"a", "model/tea/sub/b.py": b"w"})
    assert received == Received(folder / "model/tea", "tea")


@pytest.mark.parametrize("name", ["saved_model.pb", "MLmodel", "config.pbtxt"])
async def test_a_file_that_means_its_folder_stays_in_it(folder: Path, name: str) -> None:
    received = await unpack(folder, {f"model/tea/{name}": b"a"})
    assert received == Received(folder / "model/tea", "tea")
    received = await unpack(folder, {f"model/{name}": b"a"})
    assert received == Received(folder / "model", "model")


async def test_modes_of_the_archive_do_not_count(folder: Path) -> None:
    await unpack(folder, {"model/sub/a": b"a"})
    assert not stat.S_IMODE((folder / "model/sub/a").stat().st_mode) & 0o7111
    assert stat.S_IMODE((folder / "model/sub").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"iris.onnx": b"x"}, "none of the folders"),
        ({"model": b"x"}, "none of the folders"),
        ({"other/a": b"x"}, "none of the folders"),
        ({"card/a": b"x"}, "no model/ folder"),
        ({"model/a": b"x", "model/./a": b"y"}, "twice"),
        ({"model/a": b"x", "model/a/b": b"y"}, "twice"),
        ({"model/a/b": b"x", "model/a": b"y"}, "twice"),
        ({"model/a": b"x", "sample/1": b"y", "sample/2": b"z"}, "one file only"),
        ({"model/a": b"x", "card/sub/1": b"y"}, "one file only"),
    ],
)
async def test_layouts_that_are_refused(folder: Path, files: dict[str, bytes], words: str) -> None:
    with pytest.raises(MaasError, match=words) as caught:
        await unpack(folder, files)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


async def test_code_is_a_folder_of_its_own(folder: Path) -> None:
    files = {"model/a.pkl": b"m", "code/features.py": b"f", "code/pkg/__init__.py": b""}
    received = await unpack(folder, files)
    assert received.path == folder / "model" / "a.pkl"
    assert received.code == folder / "code"
    assert tree(received.code) == tree(folder / "code")
    assert (received.code / "features.py").read_bytes() == b"f"


async def test_no_code_is_none(folder: Path) -> None:
    assert (await unpack(folder, {"model/a": b"x"})).code is None


@pytest.mark.parametrize("name", ["../evil", "/maas-evil", "model/../../evil", "code/../../evil"])
async def test_nothing_lands_outside(folder: Path, name: str) -> None:
    before = tree(folder.parent)
    with pytest.raises(MaasError):
        await unpack(folder, {name: b"x"})
    assert tree(folder.parent) == before
    assert not exists("/maas-evil")


async def test_a_link_and_then_a_file_through_it(folder: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        link = tarfile.TarInfo("model/link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
        info = tarfile.TarInfo("model/link/evil")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    with pytest.raises(MaasError):
        await receive_tar(stream(buffer.getvalue()), folder, LIMIT)
    assert not (tmp_path / "evil").exists()


async def test_a_tar_beyond_the_limit(folder: Path) -> None:
    with pytest.raises(MaasError) as caught:
        await unpack(folder, {"model/a": bytes(2000)}, limit=1999)
    assert caught.value.kind is ErrorKind.TOO_LARGE


async def test_a_tar_of_padding_without_end(folder: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield tar({"model/a": b"x"})
        while True:
            yield bytes(WRITE_BYTES)

    with pytest.raises(MaasError) as caught:
        await receive_tar(endless(), folder, LIMIT)
    assert caught.value.kind is ErrorKind.TOO_LARGE


async def test_a_client_that_goes_away(folder: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield tar({"model/a": b"x" * 1000})[:700]
        raise MaasError(ErrorKind.CANCELLED, "gone")

    with pytest.raises(MaasError) as caught:
        await receive_tar(broken(), folder, LIMIT)
    assert caught.value.kind is ErrorKind.CANCELLED
