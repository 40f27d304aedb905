"""A GGUF's header, told the truth and lied in every field."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.language import tiny_gguf

from maas.core.errors import ErrorKind, MaasError
from maas.publish.gguf_scan import MOST_ITEMS, flag_of, number_of, scan_gguf, text_of

U8, BOOL, STRING, ARRAY, U32, U64 = 0, 7, 8, 9, 4, 10
F32 = 0
Q4_0 = 2


def text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(raw)) + raw


def key(name: str | bytes, kind: int, body: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + body


def number(name: str, value: int) -> bytes:
    return key(name, U32, struct.pack("<I", value))


def tensor(
    name: str | bytes, shape: tuple[int, ...] = (8,), kind: int = F32, offset: int = 0
) -> bytes:
    axes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + axes + struct.pack("<IQ", kind, offset)


def gguf(
    keys: list[bytes],
    tensors: list[bytes],
    *,
    data: int = 32,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    order: str = "<",
) -> bytes:
    tensor_count, key_count = counts or (len(tensors), len(keys))
    head = b"GGUF" + struct.pack(f"{order}IQQ", version, tensor_count, key_count)
    body = head + b"".join(keys) + b"".join(tensors)
    return body + bytes(-len(body) % 32) + bytes(data)


ARCHITECTURE = key("general.architecture", STRING, text("llama"))
WHOLE = gguf([ARCHITECTURE], [tensor("a")])


@pytest.fixture
def scan(tmp_path):
    def run(data: bytes):
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return scan_gguf(path)

    return run


def test_a_header_is_read(tmp_path):
    path = tiny_gguf(tmp_path / "tiny.gguf", quantization="Q4_0")
    found = scan_gguf(path)
    assert found.size == path.stat().st_size
    assert text_of(found.metadata, "general.architecture") == "qwen2"
    assert number_of(found.metadata, "qwen2.block_count", 1, 10) == 2
    assert len(found.metadata["tokenizer.ggml.tokens"]) == len(
        found.metadata["tokenizer.ggml.token_type"]
    )
    matrix = found.tensors["blk.0.attn_k.weight"]
    assert (matrix.type, matrix.shape) == ("Q4_0", (64, 32))
    assert matrix.size == 64 * 32 // 32 * 18


LIES = [
    (b"GGUF", "is cut off: it has 4 bytes"),
    (b"GGML" + WHOLE[4:], "does not begin with GGUF"),
    (gguf([ARCHITECTURE], [tensor("a")], version=1), "has version 1"),
    (gguf([ARCHITECTURE], [tensor("a")], version=4), "has version 4"),
    (gguf([ARCHITECTURE], [tensor("a")], order=">"), "big-endian"),
    (gguf([ARCHITECTURE], []), "says it has 0 tensors"),
    (gguf([ARCHITECTURE], [tensor("a")], counts=(2**63, 1)), f"says it has {2**63} tensors"),
    (gguf([ARCHITECTURE], [tensor("a")], counts=(100_001, 1)), "says it has 100001 tensors"),
    (gguf([ARCHITECTURE], [tensor("a")], counts=(1, 2**64 - 1)), "keys of metadata"),
    (gguf([], [tensor("a")]), "says it has 0 keys"),
    (gguf([ARCHITECTURE], [tensor("a")], counts=(100_000, 1)), "tensor '' says it has 0 axes"),
    (gguf([ARCHITECTURE] * 2, [tensor("a")]), "'general.architecture' twice"),
    (gguf([key("", U8, b"\0")], [tensor("a")]), "without a name"),
    (gguf([key("k" * 257, U8, b"\0")], [tensor("a")]), "a metadata key has 257 bytes"),
    (gguf([key(b"\xff", U8, b"\0")], [tensor("a")]), "a metadata key is not UTF-8"),
    (gguf([key("k", 13, b"\0")], [tensor("a")]), "'k' has type 13"),
    (gguf([key("k", BOOL, b"\2")], [tensor("a")]), "a truth value of 2"),
    (gguf([key("k", STRING, struct.pack("<Q", 2**64 - 1))], [tensor("a")]), "the value of 'k'"),
    (gguf([key("k", STRING, struct.pack("<Q", 1 << 40))], [tensor("a")]), "the value of 'k'"),
    (
        gguf([key("k", ARRAY, struct.pack("<IQ", U8, MOST_ITEMS + 1))], [tensor("a")]),
        f"says it has {MOST_ITEMS + 1} items",
    ),
    (gguf([key("k", ARRAY, struct.pack("<IQ", U64, 1_000_000))], [tensor("a")]), "the list 'k'"),
    (gguf([key("k", ARRAY, struct.pack("<IQ", STRING, 99))], [tensor("a")]), "of 'k'"),
    (gguf([key("k", ARRAY, struct.pack("<IQ", ARRAY, 1))], [tensor("a")]), "a list of lists"),
    (gguf([key("k", ARRAY, struct.pack("<IQ", 99, 1))], [tensor("a")]), "have type 99"),
    (gguf([number("general.alignment", 0)], [tensor("a")]), "alignment is '0'"),
    (gguf([number("general.alignment", 48)], [tensor("a")]), "alignment is '48'"),
    (gguf([number("general.alignment", 1 << 31)], [tensor("a")]), "alignment is"),
    (gguf([key("general.alignment", STRING, text("x"))], [tensor("a")]), "alignment is 'x'"),
    (gguf([ARCHITECTURE], [tensor("n" * 64)]), "tensor 0 has 64 bytes"),
    (gguf([ARCHITECTURE], [tensor("")]), "without a name"),
    (gguf([ARCHITECTURE], [tensor("a", ())]), "'a' says it has 0 axes"),
    (gguf([ARCHITECTURE], [tensor("a", (1,) * 5)]), "'a' says it has 5 axes"),
    (gguf([ARCHITECTURE], [tensor("a", (0,))]), "shape [0], which is impossible"),
    (gguf([ARCHITECTURE], [tensor("a", (2**63, 2))]), "which is impossible"),
    (gguf([ARCHITECTURE], [tensor("a", (2**32, 2**32, 2))]), "which is impossible"),
    (gguf([ARCHITECTURE], [tensor("a", kind=4)]), "has type 4, which is not known"),
    (gguf([ARCHITECTURE], [tensor("a", kind=2**32 - 1)]), "which is not known"),
    (gguf([ARCHITECTURE], [tensor("a", (33,), Q4_0)]), "rows of 33 numbers"),
    (gguf([ARCHITECTURE], [tensor("a", offset=7)]), "lies at 7"),
    (gguf([ARCHITECTURE], [tensor("a", offset=32)]), "tensor 'a' ends at byte"),
    (gguf([ARCHITECTURE], [tensor("a", offset=2**64 - 32)]), "tensor 'a' ends at byte"),
    (gguf([ARCHITECTURE], [tensor("a", (9,))]), "tensor 'a' ends at byte"),
    (gguf([ARCHITECTURE], [tensor("a"), tensor("a")]), "tensor 'a' twice"),
    (gguf([ARCHITECTURE], [tensor("a"), tensor("b")]), "overlap"),
]


@pytest.mark.parametrize(("data", "said"), LIES, ids=[said for _, said in LIES])
def test_every_lie_has_its_sentence(scan, data, said):
    with pytest.raises(MaasError) as refused:
        scan(data)
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    assert said in refused.value.message


def test_a_cut_file_is_refused_wherever_it_is_cut(scan):
    for length in range(len(WHOLE)):
        with pytest.raises(MaasError):
            scan(WHOLE[:length])
    assert scan(WHOLE).tensors["a"].count == 8


def test_a_cut_model_is_refused(tmp_path):
    path = tiny_gguf(tmp_path / "tiny.gguf")
    os.truncate(path, path.stat().st_size - 33)
    with pytest.raises(MaasError, match="cut off or lies: tensor"):
        scan_gguf(path)


def test_metadata_is_not_read_past_its_limit(scan, tmp_path):
    # 70 MiB of one text, which is there.
    path = tmp_path / "long.gguf"
    head = gguf([key("k", STRING, struct.pack("<Q", 70 << 20))], [], counts=(1, 1), data=0)
    path.write_bytes(head)
    os.truncate(path, 80 << 20)
    with pytest.raises(MaasError, match="goes on past 64 MiB"):
        scan_gguf(path)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> bytes:
    return tiny_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf").read_bytes()


@settings(max_examples=300, deadline=None)
@given(
    places=st.lists(
        st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=8)), min_size=1, max_size=6
    ),
    dense=st.booleans(),
)
def test_a_changed_header_is_read_or_refused(real, tmp_path_factory, places, dense):
    header = bytearray(real)
    end = 600 if dense else 24_000
    for where, what in places:
        at = int(where * (end - 8))
        header[at : at + len(what)] = what
    path = Path(tmp_path_factory.getbasetemp()) / "changed.gguf"
    path.write_bytes(header)
    tracemalloc.start()
    try:
        scan_gguf(path)
    except MaasError as error:
        kind = error.kind
    else:
        kind = ErrorKind.INVALID_ARGUMENT
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert kind is ErrorKind.INVALID_ARGUMENT
    assert peak < 64 << 20


@given(st.binary(max_size=400))
def test_bytes_after_the_magic_are_read_or_refused(tmp_path_factory, data):
    path = Path(tmp_path_factory.getbasetemp()) / "bytes.gguf"
    path.write_bytes(b"GGUF\3\0\0\0" + data)
    with pytest.raises(MaasError):
        scan_gguf(path)


def test_figures_of_the_metadata_are_bounded():
    metadata = {"a": 5, "b": True, "c": "x", "d": 1.5}
    assert number_of(metadata, "a", 1, 5) == 5
    assert number_of(metadata, "absent", 1, 5, 0) == 0
    assert flag_of(metadata, "b", default=False)
    assert text_of(metadata, "c") == "x"
    for broken in (
        lambda: number_of(metadata, "a", 1, 4),
        lambda: number_of(metadata, "b", 0, 5),
        lambda: number_of(metadata, "d", 0, 5),
        lambda: number_of(metadata, "absent", 0, 5),
        lambda: flag_of(metadata, "a", default=True),
        lambda: text_of(metadata, "a"),
    ):
        with pytest.raises(MaasError, match="the GGUF"):
            broken()
