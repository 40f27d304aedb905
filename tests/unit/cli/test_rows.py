from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest

from maas.cli.rows import read_input
from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec

X = (TensorSpec("x", DType.FP32, (None, 2)),)
TEXT = (TensorSpec("text", DType.BYTES, (None,)),)
TEXT_COLUMN = (TensorSpec("text", DType.BYTES, (None, 1)),)
MIXED = (TensorSpec("age", DType.INT64, (None, 1)), TensorSpec("城市", DType.BYTES, (None, 1)))


def npy(array: np.ndarray, **more: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **more)
    return buffer.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "specs", "expected"),
    [
        (b"1,2\n3.5,4\n", X, [[1, 2], [3.5, 4]]),
        (b"True,false\n0,true\n", X, [[1, 0], [0, 1]]),
        (b"1,2\r\n\r\n3,4", X, [[1, 2], [3, 4]]),
        (b"\xef\xbb\xbf1,2", X, [[1, 2]]),
        (b"a,b\n1,2\n3,4\n", X, {"a": [1, 3], "b": [2, 4]}),
        ("年龄,收入\n1,2\n".encode("gb18030"), X, {"年龄": [1], "收入": [2]}),
        ("text\n很好\n".encode("gb18030"), TEXT, {"text": ["很好"]}),
        ("很好\n差\n".encode(), TEXT, ["很好", "差"]),
        ("很好\n差\n".encode(), TEXT_COLUMN, [["很好"], ["差"]]),
        (b'"a,b\nc"\n007\n', TEXT, ["a,b\nc", "007"]),
        ("城市,age\n北京,3\n".encode(), MIXED, {"城市": ["北京"], "age": [3]}),
        (b" [[1, 2]]", X, [[1, 2]]),
        (b'\xef\xbb\xbf{"x": [[1, 2]]}', X, {"x": [[1, 2]]}),
        (b'[{"a": 1, "b": 2}, {"b": 4, "a": 3}]', X, {"a": [1, 3], "b": [2, 4]}),
    ],
)
def test_texts(content: bytes, specs: Any, expected: Any) -> None:
    assert read_input(content, specs, "rows") == expected


def test_an_empty_cell_is_nan() -> None:
    (row,) = read_input(b"1,\n", X, "rows")
    assert row[0] == 1
    assert np.isnan(row[1])


def test_numpy_files() -> None:
    array = np.eye(2, dtype=np.float32)
    assert read_input(npy(array), X, "x.npy").tolist() == array.tolist()
    assert read_input(npz(x=array), X, "x.npz")["x"].tolist() == array.tolist()


class Canary:
    fired = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Canary, "fired", True)


def test_no_pickle_is_loaded_from_a_numpy_file() -> None:
    hostile = npy(np.array([Canary()], dtype=object), allow_pickle=True)
    assert pickle.dumps(Canary()) in hostile or b"setattr" in hostile
    for content in (hostile, npz(x=np.array([Canary()], dtype=object))):
        with pytest.raises(MaasError, match="without Python objects"):
            read_input(content, X, "x.npy")
    assert not Canary.fired


@pytest.mark.parametrize(
    ("content", "specs", "sentence"),
    [
        (b"", X, "empty"),
        (b"\n\n", X, "empty"),
        (b"1,2\n3\n", X, "row 2 has 1 cells"),
        (b"1,2\n3,four\n", X, "row 2: 'four' is not a number"),
        (b"a,b\n1,x\n", X, "column b: 'x' is not a number"),
        (b"a,b\n", X, "no rows"),
        (b"a,a\n1,2\n", X, "twice"),
        (b"1,2\n", MIXED, "no header; expected the columns age, 城市"),
        (b'"1,2\n', X, "not CSV"),
        (b"[1, 2", X, "not JSON.*line 1"),
        (b"[" * 100_000, X, "too deep"),
        (b'[{"a": 1}, {"b": 1}]', X, "row 2 has other keys"),
        (b"\xff\xfe\xff\x00\x01", X, "not text"),
        (b"\x00\x01\x02", X, "not text"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", X, "not text"),
        (b"\x93NUMPY\x01\x00v\x00{'descr'", X, "not a readable"),
        (b"PK\x03\x04broken", X, "not a readable"),
    ],
)
def test_broken_files_are_one_sentence(content: bytes, specs: Any, sentence: str) -> None:
    with pytest.raises(MaasError, match=sentence) as caught:
        read_input(content, specs, "rows")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
