from __future__ import annotations

import os

import msgspec
import numpy as np
import pytest

from maas.core.errors import MaasError
from maas.runtimes.tensorfile import read_tensors, write_tensors


def test_every_dtype_comes_back_as_it_was(tmp_path):
    texts = np.empty((2, 1), object)
    texts[:, 0] = ["猫".encode(), b"\xff\x00"]
    tensors = {
        "serving_default": {
            "x": np.arange(6, dtype=np.float32).reshape(2, 3)[:, ::-1],
            "n": np.array([np.nan, np.inf, -0.0]),
            "t": texts,
            "none": np.zeros((0, 4), np.int64),
            "scalar": np.array(True),
        },
        "other": {"x": np.array([1], np.uint8)},
    }
    write_tensors(tmp_path / "a", tensors)
    back = read_tensors(tmp_path / "a")
    assert {s: set(t) for s, t in back.items()} == {s: set(t) for s, t in tensors.items()}
    for signature, arrays in tensors.items():
        for name, array in arrays.items():
            got = back[signature][name]
            assert got.dtype == array.dtype
            assert got.shape == array.shape
            np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x80\x04nonsense",
        msgspec.msgpack.encode({"s": {"x": {"dtype": "FP32", "shape": [4], "data": b"123"}}}),
        msgspec.msgpack.encode({"s": {"x": {"dtype": "FP32", "shape": [-1], "data": [b"1"]}}}),
        msgspec.msgpack.encode({"s": {"x": {"dtype": "BYTES", "shape": [3], "data": [b"1"]}}}),
        msgspec.msgpack.encode({"s": {"x": {"dtype": "BYTES", "shape": [1], "data": b"1"}}}),
        msgspec.msgpack.encode({"s": {"x": {"dtype": "OBJECT", "shape": [1], "data": b"1"}}}),
    ],
    ids=["empty", "pickle", "short", "texts-as-numbers", "too-few", "one-piece", "unknown-dtype"],
)
def test_anything_else_is_refused(tmp_path, stored):
    (tmp_path / "a").write_bytes(stored)
    with pytest.raises(MaasError, match="could not be read back"):
        read_tensors(tmp_path / "a")


def test_a_link_or_a_pipe_is_not_followed(tmp_path):
    write_tensors(tmp_path / "a", {"s": {"x": np.zeros(1)}})
    (tmp_path / "link").symlink_to(tmp_path / "a")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing"):
        with pytest.raises(MaasError, match="could not be read back"):
            read_tensors(tmp_path / name)
