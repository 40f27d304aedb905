from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.publish.sample_file import read_sample

X = (TensorSpec("x", DType.FP32, (None, 2)),)
TEXT = (TensorSpec("text", DType.BYTES, (None,)),)
TABLE = (TensorSpec("age", DType.FP32, (None,)), TensorSpec("city", DType.BYTES, (None,)))
ROWS = [[1.0, 2.0], [3.0, 4.0]]


@pytest.fixture
def read(tmp_path):
    def run(data, name, specs, most=100):
        file = tmp_path / name
        file.write_bytes(data.encode() if isinstance(data, str) else data)
        return read_sample(file, name, specs, most)

    return run


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (json.dumps(ROWS), "a.json"),
        (json.dumps({"input_data": ROWS}), "a.json"),
        (json.dumps({"instances": ROWS}), "a.json"),
        (json.dumps({"x": ROWS}), "a.JSON"),
        ("1,2\n3,4\n", "a.csv"),
        ("first,second\n1,2\n\n3,4\n", "a.csv"),
    ],
)
def test_numbers(read, data, name):
    rows = read(data, name, X)["x"]
    assert rows.dtype == np.float32
    assert rows.tolist() == ROWS


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.array(ROWS))
    np.savez(tmp_path / "a.npz", anything=np.array(ROWS))
    for name in ("a.npy", "a.npz"):
        assert read_sample(tmp_path / name, name, X, 1)["x"].tolist() == ROWS[:1]


def test_columns_for_a_matrix(tmp_path):
    np.savez(tmp_path / "a.npz", b=np.array([1, 3]), a=np.array([2.0, 4.0]))
    assert read_sample(tmp_path / "a.npz", "a.npz", X, 10)["x"].tolist() == ROWS


def test_rows_of_sorted_data_are_taken_from_all_of_it(tmp_path):
    np.save(tmp_path / "a.npy", np.repeat([[0.0, 0], [1, 1], [2, 2]], 50, axis=0))
    rows = read_sample(tmp_path / "a.npy", "a.npy", X, 10)["x"]
    assert rows.shape == (10, 2)
    assert set(rows[:, 0].tolist()) == {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ('["好", "a"]', "a.json"),
        ("好\na\n", "a.csv"),
        ("\ufeff好\na\n", "a.csv"),
        ("好\na\n".encode("gb18030"), "a.csv"),
        ("id,text\n1,好\n2,a\n", "a.csv"),
    ],
)
def test_texts(read, data, name):
    assert read(data, name, TEXT)["text"].tolist() == ["好".encode(), b"a"]


def test_tables(read):
    for data, name in (
        ("city,age\nx,1\ny,2\n", "a.csv"),
        (json.dumps([{"age": 1, "city": "x"}, {"age": 2, "city": "y"}]), "a.json"),
        (json.dumps({"age": [1, 2], "city": ["x", "y"]}), "a.json"),
    ):
        rows = read(data, name, TABLE)
        assert rows["age"].tolist() == [1.0, 2.0]
        assert rows["city"].tolist() == [b"x", b"y"]


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ("[[1, 2], [3]]", "a.json"),
        ("[]", "a.json"),
        ("{", "a.json"),
        ("[" * 100_000, "a.json"),
        ("[[1, 2, 3]]", "a.json"),
        ('[["a", "b"]]', "a.json"),
        ("", "a.csv"),
        ("1,2,3\n", "a.csv"),
        (b"\x93NUMPY", "a.npy"),
        (b"", "a.npz"),
        ("rows", "a.txt"),
    ],
)
def test_what_does_not_fit(read, data, name):
    with pytest.raises(MaasError) as caught:
        read(data, name, X)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "expected" in caught.value.message


def test_pickled_samples_are_not_opened(read, tmp_path, canary):
    np.save(tmp_path / "b.npy", np.array([canary], dtype=object), allow_pickle=True)
    for data in ((tmp_path / "b.npy").read_bytes(), pickle.dumps(canary)):
        with pytest.raises(MaasError):
            read(data, "a.npy", X)
