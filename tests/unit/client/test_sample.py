from __future__ import annotations

import io
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from maas.client.sample import MOST_ROWS, sample_file
from maas.core.errors import ErrorKind, MaasError


def read(sample: Any) -> Any:
    member = sample_file(sample)
    loaded = np.load(io.BytesIO(member.data), allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        assert member.name == "sample/sample.npy"
        return loaded
    assert member.name == "sample/sample.npz"
    return {name: loaded[name] for name in loaded.files}


COLUMNS = {"age": [31, 42, 53], "income": [1.5, None, 2.5], "city": ["昆明", "Oslo", None]}


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_mixed_table_keeps_the_type_of_every_column(library: Any) -> None:
    found = read(library.DataFrame({**COLUMNS, "member": [True, False, True]}))
    assert list(found) == ["age", "income", "city", "member"]
    # A row whose text is missing is left out: no tensor carries that.
    assert found["age"].tolist() == [31, 42]
    assert found["age"].dtype == np.int64
    assert found["income"][0] == 1.5
    assert np.isnan(found["income"][1])
    assert found["city"].tolist() == ["昆明", "Oslo"]
    assert found["member"].dtype == bool


def test_pandas_own_types() -> None:
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], dtype="Int64"),
            "kind": pd.Categorical(["a", "b", "a"]),
            "text": pd.array(["x", "y", "z"], dtype="string"),
        }
    )
    found = read(frame)
    assert np.isnan(found["n"][1])
    assert found["n"].tolist()[::2] == [1.0, 3.0]
    assert found["kind"].tolist() == ["a", "b", "a"]
    assert found["text"].tolist() == ["x", "y", "z"]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_a_series_is_one_array(library: Any) -> None:
    assert read(library.Series(["好", "坏"])).tolist() == ["好", "坏"]
    assert read(library.Series([1.5, 2.5])).tolist() == [1.5, 2.5]


def test_a_sparse_matrix() -> None:
    assert read(sparse.csr_matrix([[0, 1.5], [2, 0]])).tolist() == [[0, 1.5], [2, 0]]


def test_a_large_table_is_sent_in_part_and_from_all_of_it() -> None:
    rows = 3 * MOST_ROWS
    found = read(pd.DataFrame({"label": np.repeat([0, 1, 2], MOST_ROWS)}))["label"]
    assert len(found) == MOST_ROWS
    assert set(found.tolist()) == {0, 1, 2}
    assert len(read(np.arange(rows))) == MOST_ROWS
    assert read(np.arange(rows))[-1] == rows - 1


@pytest.mark.parametrize(
    ("sample", "words"),
    [
        (pd.DataFrame({"when": pd.to_datetime(["2026-01-01"])}), "'when' holds datetime64"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "column name twice"),
        (pd.DataFrame({"a": pd.Series([None, None], dtype=object)}), None),
        (pd.DataFrame({"a": [{}]}), "'a' mixes types"),
        (pd.DataFrame({"a": ["x", None], "b": [None, "y"]}), "lacks a text"),
        (np.array(["2026-01-01"], dtype="datetime64[D]"), "datetime64"),
        ([[1, 2], [3]], "different lengths"),
    ],
)
def test_what_no_tensor_carries(sample: Any, words: str | None) -> None:
    if words is None:  # a column of nothing at all is a column of missing numbers
        assert np.isnan(read(sample)["a"]).all()
        return
    with pytest.raises(MaasError, match=words) as caught:
        sample_file(sample)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
