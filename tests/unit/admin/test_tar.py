"""The reader against archives that Python's own tarfile writes, and against hostile ones."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest

from maas.admin.tar import (
    BLOCK,
    MAX_EXTENSION_BYTES,
    MAX_FILES,
    FileData,
    FileEnd,
    FileStart,
    TarReader,
)
from maas.core.errors import ErrorKind, MaasError

LIMIT = 1 << 20
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
Change = Callable[[tarfile.TarInfo], None]


def member(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def archive(
    *members: tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT, end: bool = True
) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content) if content else None)
        if not end:
            return buffer.getvalue()
    return buffer.getvalue()


def read(data: bytes, *, limit: int = LIMIT, step: int = 1 << 16) -> dict[str, bytes]:
    """All files of an archive, fed in pieces of `step` bytes."""
    reader = TarReader(limit)
    files: dict[str, bytes] = {}
    name = ""
    for start in range(0, len(data), step):
        for event in reader.feed(data[start : start + step]):
            if isinstance(event, FileStart):
                name = "/".join(event.parts)
                assert name not in files
                files[name] = b""
                size = event.size
            elif isinstance(event, FileData):
                files[name] += event.data
            else:
                assert isinstance(event, FileEnd)
                assert len(files[name]) == size
    reader.finish()
    return files


def refused(data: bytes, *, limit: int = LIMIT) -> MaasError:
    with pytest.raises(MaasError) as caught:
        read(data, limit=limit)
    return caught.value


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("step", [1, 7, 511, 512, 513, 1 << 20])
def test_every_format_in_pieces_of_any_size(form: int, step: int) -> None:
    files = {
        "model/a.onnx": b"\x00" * 1500,
        "model/sub/empty": b"",
        "model/block": b"b" * BLOCK,
        "card/README.md": "说明".encode(),
    }
    data = archive(*(member(name, content) for name, content in files.items()), form=form)
    assert read(data, step=step) == files


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_chinese_names(form: int) -> None:
    name = "model/" + "很长的名字" * 12 + "/" + "x" * 150 + ".bin"
    assert read(archive(member(name), form=form)) == {name: b"x"}


def test_ustar_prefix() -> None:
    name = "model/" + "d" * 90 + "/" + "f" * 90
    assert read(archive(member(name), form=tarfile.USTAR_FORMAT)) == {name: b"x"}


def test_folders_and_a_leading_dot_mean_nothing() -> None:
    folder = member("./", b"", type=tarfile.DIRTYPE)
    sub = member("./model/", b"", type=tarfile.DIRTYPE)
    assert read(archive(folder, sub, member("./model/a"))) == {"model/a": b"x"}


def test_harmless_pax_headers_are_ignored() -> None:
    info, content = member("model/a")
    info.pax_headers = {"mtime": "1.5", "LIBARCHIVE.xattr.x": "\u00ff\u4e2d", "comment": "=" * 99}
    assert read(archive((info, content))) == {"model/a": b"x"}


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//etc/passwd",
        "../evil",
        "model/../../evil",
        "model/..",
        "model\\..\\evil",
        "model/a\nb",
        "model/\x7f/../a",
        "model/" + "a" * 256,
        "model/" + "a/" * 40 + "b",
        "model/" + "abcdefghi/" * 110 + "b",
    ],
)
@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_that_lead_out_or_are_too_long(name: str, form: int) -> None:
    assert refused(archive(member(name), form=form)).kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "kind",
    [
        tarfile.SYMTYPE,
        tarfile.LNKTYPE,
        tarfile.CHRTYPE,
        tarfile.BLKTYPE,
        tarfile.FIFOTYPE,
        tarfile.GNUTYPE_SPARSE,
        tarfile.CONTTYPE,
        b"Z",
    ],
)
def test_only_regular_files(kind: bytes) -> None:
    info, _ = member("model/a", b"", type=kind, linkname="/etc/passwd")
    data = info.tobuf(tarfile.USTAR_FORMAT) + bytes(2 * BLOCK)
    assert "regular files only" in refused(data).message


def test_a_link_with_a_long_target() -> None:
    info, _ = member("model/a", b"", type=tarfile.SYMTYPE, linkname="x" * 200)
    assert refused(archive((info, b""), form=tarfile.GNU_FORMAT))


def test_a_pax_sparse_file() -> None:
    info, content = member("model/a")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(1 << 40)}
    assert "sparse" in refused(archive((info, content))).message


@pytest.mark.parametrize("key", ["path", "size"])
def test_a_global_header_that_renames_everything(key: str) -> None:
    buffer = io.BytesIO()
    with tarfile.open(
        fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={key: "1"}
    ) as tar:
        info, content = member("model/a")
        tar.addfile(info, io.BytesIO(content))
    assert "global" in refused(buffer.getvalue()).message


def test_too_much_is_refused_before_it_arrives() -> None:
    info, _ = member("model/a", b"")
    info.size = LIMIT + 1
    reader = TarReader(LIMIT)
    with pytest.raises(MaasError) as caught:
        list(reader.feed(info.tobuf(tarfile.PAX_FORMAT)))
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_the_sum_counts() -> None:
    data = archive(member("model/a", b"x" * 600), member("model/b", b"x" * 600))
    assert len(read(data, limit=1200)) == 2
    assert refused(data, limit=1199).kind is ErrorKind.TOO_LARGE


@pytest.mark.parametrize("size", [1 << 40, (1 << 88) - 1])
def test_sizes_in_base_256(size: int) -> None:
    info, _ = member("model/a", b"")
    info.size = 0
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    assert refused(seal(header)).kind is ErrorKind.TOO_LARGE


def test_a_negative_size() -> None:
    header = bytearray(member("model/a")[0].tobuf(tarfile.GNU_FORMAT))
    header[124:136] = b"\xff" * 12
    assert refused(seal(header)).kind is ErrorKind.INVALID_ARGUMENT


def seal(header: bytearray) -> bytes:
    """Writes the right sum into a header that was changed."""
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + bytes(2 * BLOCK)


def test_too_many_files() -> None:
    header = member("model/a", b"")[0].tobuf(tarfile.USTAR_FORMAT)
    reader = TarReader(LIMIT)
    assert len(list(reader.feed(header * MAX_FILES))) == 2 * MAX_FILES
    with pytest.raises(MaasError) as caught:
        list(reader.feed(header))
    assert caught.value.kind is ErrorKind.TOO_LARGE


@pytest.mark.parametrize("kind", [b"x", b"g", b"L"])
def test_an_extended_header_is_not_held_without_bound(kind: bytes) -> None:
    info, _ = member("model/a", b"", type=kind)
    info.size = MAX_EXTENSION_BYTES + 1
    assert "extended header" in refused(info.tobuf(tarfile.USTAR_FORMAT)).message


@pytest.mark.parametrize(
    "record",
    [
        b"path=model/a\n",
        b"x path=a\n",
        b"0 \n",
        b"99 path=a\n",
        b"9 path=a ",
        b"8 pathxa\n",
        b"99999999999 path=a\n",
        b"\xff\xff",
        b"10 path=\xff\n",
        b"9 size=-1\n" + b"16 path=model/a\n",
        "11 size=９\n".encode(),
    ],
)
def test_damaged_pax_records(record: bytes) -> None:
    info, _ = member("pax", b"", type=b"x")
    info.size = len(record)
    data = info.tobuf(tarfile.USTAR_FORMAT) + record + bytes(-len(record) % BLOCK)
    follow = member("model/a", b"")[0].tobuf(tarfile.USTAR_FORMAT)
    assert refused(data + follow + bytes(2 * BLOCK)).kind is ErrorKind.INVALID_ARGUMENT


def test_a_name_that_is_not_utf8() -> None:
    header = bytearray(member("model/a", b"")[0].tobuf(tarfile.USTAR_FORMAT))
    header[6:7] = b"\xff"
    assert "UTF-8" in refused(seal(header)).message


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x",
        b"PK\x03\x04" + bytes(1000),
        b"\x1f\x8b" + b"\x01" * 1000,
        b"\x80\x04" * 512,
        bytes(BLOCK - 1),
    ],
)
def test_what_is_no_tar_stream(data: bytes) -> None:
    assert refused(data).kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("keep", [1, 511, 512, 700, 1023, 1024 + 511])
def test_a_stream_that_is_cut_off(keep: int) -> None:
    data = archive(member("model/a", b"x" * 600))
    assert refused(data[:keep])


def test_a_stream_without_its_end_mark() -> None:
    assert "end mark" in refused(archive(member("model/a"), end=False)).message


def test_a_folder_with_contents() -> None:
    info, _ = member("model/", b"", type=tarfile.DIRTYPE)
    info.size = 10
    assert refused(info.tobuf(tarfile.USTAR_FORMAT) + bytes(BLOCK * 3))
