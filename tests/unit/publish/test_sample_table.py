"""Rows that say what they are, for a model that does not."""

from __future__ import annotations

import json

import numpy as np
import pytest

from maas.core.errors import MaasError
from maas.publish.sample_table import layout_from, read_table


@pytest.fixture
def read(tmp_path):
    def run(name: str, data):
        file = tmp_path / "sample"
        if isinstance(data, str | bytes):
            file.write_bytes(data if isinstance(data, bytes) else data.encode())
        elif isinstance(data, dict) and name.endswith("npz"):
            with file.open("wb") as stream:
                np.savez(stream, **data)
        elif isinstance(data, np.ndarray):
            with file.open("wb") as stream:
                np.save(stream, data, allow_pickle=False)
        else:
            file.write_text(json.dumps(data))
        return read_table(file, name)

    return run


def shown(table) -> dict[str, str]:
    return {name: array.dtype.kind for name, array in table.items()}


def test_truth_values_of_a_csv_are_numbers(read):
    table = read("r.csv", "a,b,c\nTrue,true,True\nFalse,false,no\n")
    assert [table[name].tolist() for name in "abc"] == [[1, 0], [1, 0], ["True", "no"]]
    assert shown(table) == {"a": "i", "b": "i", "c": "O"}


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.csv", "age,sex,rooms\n1.5,f,3\n,m,4\n"),
        ("r.csv", "\ufeffage,sex,rooms\n1.5,f,3\nNaN,m,4\n"),
        ("r.json", [{"age": 1.5, "sex": "f", "rooms": 3}, {"age": None, "sex": "m", "rooms": 4}]),
        ("r.json", {"age": [1.5, None], "sex": ["f", "m"], "rooms": [3, 4]}),
        (
            "r.json",
            {"rows": [{"age": 1.5, "sex": "f", "rooms": 3}, {"age": None, "sex": "m", "rooms": 4}]},
        ),
        (
            "r.npz",
            {
                "age": np.array([1.5, np.nan]),
                "sex": np.array(["f", "m"]),
                "rooms": np.array([3, 4], np.int8),
            },
        ),
    ],
    ids=["csv", "csv with bom", "rows", "columns", "named rows", "npz"],
)
def test_columns_and_their_types(read, name, data):
    table = read(name, data)
    assert shown(table) == {"age": "f", "sex": "O", "rooms": "i"}
    np.testing.assert_array_equal(table["age"], [1.5, np.nan])
    assert table["sex"].tolist() == ["f", "m"]
    layout = layout_from(table, ())
    assert layout.kind == "frame"
    assert [(c.name, c.text, c.integer) for c in layout.columns] == [
        ("age", False, False),
        ("sex", True, False),
        ("rooms", False, True),
    ]


@pytest.mark.parametrize(
    ("name", "data", "kind", "width"),
    [
        ("r.npy", np.ones((3, 2)), "numbers", 2),
        ("r.npy", np.array([["a", "b"]]), "words", 2),
        ("r.npy", np.array(["a", "b"]), "text", None),
        ("r.json", ["a", "很好"], "text", None),
        ("r.json", [[1, 2.5], [3, 4]], "numbers", 2),
        ("r.json", [["a", "b"]], "words", 2),
        ("r.json", {"instances": [[1, 2], [3, 4]]}, "numbers", 2),
        ("r.npz", {"x": np.ones((3, 2))}, "numbers", 2),
    ],
    ids=str,
)
def test_arrays(read, name, data, kind, width):
    layout = layout_from(read(name, data), ())
    assert (layout.kind, layout.width) == (kind, width)


def test_columns_come_in_the_order_of_fitting(read):
    table = read("r.csv", "b,unused,a\n1,2,3\n4,5,6\n")
    assert [column.name for column in layout_from(table, ("a", "b")).columns] == ["a", "b"]
    with pytest.raises(MaasError, match="lacks the column 'c'; the model was fitted on a, c"):
        layout_from(table, ("a", "c"))


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("r.csv", "a,b\n"),
        ("r.csv", "a,a\n1,2\n"),
        ("r.csv", "a,b\n1\n"),
        ("r.csv", ""),
        ("r.json", "{"),
        ("r.json", "[]"),
        ("r.json", "3"),
        ("r.json", "{}"),
        ("r.json", '{"a": [1], "b": [1, 2]}'),
        ("r.json", "[[1, 2], [3]]"),
        ("r.json", '[{"a": 1}, {"b": 2}]'),
        ("r.json", "[" * 5000),
        ("r.npy", "no array"),
        ("r.npz", "no archive"),
        ("r.npy", np.zeros((2, 2), dtype=complex)),
        ("r.npz", {"a": np.ones(2), "b": np.ones((2, 2))}),
    ],
    ids=range(16),
)
def test_what_is_no_table(read, name, data):
    with pytest.raises(MaasError, match="does not hold rows; expected a table with the names"):
        read(name, data)


def test_other_endings(read):
    with pytest.raises(MaasError, match=r"'r.parquet' is not read here; expected .npy"):
        read("r.parquet", "x")


def test_an_array_of_too_many_axes():
    with pytest.raises(MaasError, match="an array with 3 axes"):
        layout_from(np.ones((1, 2, 3)), ())
