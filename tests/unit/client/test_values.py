from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import sparse

from maas.client.values import fit_inputs, to_array
from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec

X = (TensorSpec("x", DType.FP32, (None, 4)),)
TEXT = (TensorSpec("text", DType.BYTES, (None,)),)
TEXT_COLUMN = (TensorSpec("text", DType.BYTES, (None, 1)),)
TWO = (TensorSpec("age", DType.INT64, (None, 1)), TensorSpec("city", DType.BYTES, (None, 1)))
FLAT = (TensorSpec("age", DType.INT64, (None,)), TensorSpec("city", DType.BYTES, (None,)))
ROW = [5.1, 3.5, 1.4, 0.2]
NEXT = {"a": 6, "b": 7, "c": 8}


def fit(specs: tuple[TensorSpec, ...], data: Any) -> dict[str, Any]:
    arrays, _ = fit_inputs(specs, data)
    return {name: array.tolist() for name, array in arrays.items()}


@pytest.mark.parametrize(
    "data",
    [
        [ROW],
        (tuple(ROW),),
        np.array([ROW]),
        {"x": [ROW]},
        {"x": np.array([ROW])},
        {"a": [5.1], "b": [3.5], "c": [1.4], "d": [0.2]},
        {"x": [5.1], "b": [3.5], "c": [1.4], "d": [0.2]},
        pd.DataFrame([ROW]),
        pd.DataFrame([ROW], columns=["x", "y", "z", "w"]),
        pd.DataFrame({"a": [5.1], "b": [3.5], "c": [1.4], "d": [0.2]}),
    ],
)
def test_forms_of_one_row(data: Any) -> None:
    arrays, added = fit_inputs(X, data)
    assert arrays["x"].tolist() == [ROW]
    assert not added


@pytest.mark.parametrize("data", [ROW, np.array(ROW), {"x": ROW}, pd.Series(ROW)])
def test_one_rank_short_gets_a_batch_axis(data: Any) -> None:
    arrays, added = fit_inputs(X, data)
    assert arrays["x"].tolist() == [ROW]
    assert added


def test_float32_arrays_keep_their_type_and_integers_become_floats() -> None:
    assert fit_inputs(X, np.zeros((2, 4), np.float32))[0]["x"].dtype == np.float32
    assert fit(X, [[1, 2, 3, 4]]) == {"x": [[1.0, 2.0, 3.0, 4.0]]}
    assert fit(X, np.asfortranarray(np.arange(8).reshape(2, 4)))["x"][1] == [4.0, 5.0, 6.0, 7.0]


def test_texts() -> None:
    assert fit(TEXT, ["很好", b"\xe5\xb7\xae"]) == {"text": ["很好", "差"]}
    assert fit(TEXT, np.array(["a", "bc"])) == {"text": ["a", "bc"]}
    assert fit_inputs(TEXT, "one")[1]
    assert fit(TEXT, "one") == {"text": ["one"]}
    assert fit(TEXT_COLUMN, ["a", "b"]) == {"text": [["a"], ["b"]]}
    assert fit(TEXT_COLUMN, pd.DataFrame({"text": ["a", "b"]})) == {"text": [["a"], ["b"]]}


def test_a_frame_whose_columns_are_the_inputs() -> None:
    frame = pd.DataFrame({"city": ["北京", "Ulm"], "age": [30, 40]})
    assert fit(TWO, frame) == {"age": [[30], [40]], "city": [["北京"], ["Ulm"]]}
    assert fit(TWO, {"age": [[30]], "city": [["Ulm"]]}) == {"age": [[30]], "city": [["Ulm"]]}


NAMED = (TensorSpec("x", DType.FP32, (None, 3), ("a", "b", "c")),)


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_columns_of_a_matrix_go_where_their_names_say(library: Any) -> None:
    frame = library.DataFrame({"c": [3.0, 30], "a": [1, 10], "b": [2.5, 25]})
    assert fit(NAMED, frame) == {"x": [[1.0, 2.5, 3.0], [10.0, 25.0, 30.0]]}
    assert fit(NAMED, {"b": [2], "c": [3], "a": [1]}) == {"x": [[1.0, 2.0, 3.0]]}
    # Without names of its own, a table is taken as it stands.
    assert fit(NAMED, pd.DataFrame([[1, 2, 3]])) == {"x": [[1.0, 2.0, 3.0]]}
    with pytest.raises(MaasError, match="column 'a' is missing; expected a, b, c"):
        fit(NAMED, library.DataFrame({"b": [1], "c": [2], "d": [3]}))
    with pytest.raises(MaasError, match="no column 'd'; expected a, b, c"):
        fit(NAMED, library.DataFrame({"b": [1], "c": [2], "d": [3], "a": [4]}))


@pytest.mark.parametrize("specs", [NAMED, FLAT], ids=["features", "inputs"])
def test_rows_that_name_their_values(specs: tuple[TensorSpec, ...]) -> None:
    names = specs[0].labels or tuple(spec.name for spec in specs)
    rows = [{"a": 1, "b": 2, "c": 3, "age": 4, "city": "京"}, {"city": "x", "age": 5} | NEXT]
    rows = [{name: row[name] for name in reversed(names)} for row in rows]
    want = fit(specs, pd.DataFrame(rows))
    assert fit(specs, rows) == want
    assert fit(specs, [rows[1]]) == {name: values[1:] for name, values in want.items()}
    arrays, added = fit_inputs(specs, rows[1])
    assert added
    assert {name: array.tolist() for name, array in arrays.items()} == fit(specs, [rows[1]])


def test_rows_with_other_names_are_refused() -> None:
    with pytest.raises(MaasError, match="row 1 and row 0 do not have the same columns: 'b'"):
        fit(NAMED, [{"a": 1, "b": 2, "c": 3}, {"a": 1, "c": 3}])
    with pytest.raises(MaasError, match="column 'c' is missing; expected a, b, c"):
        fit(NAMED, {"a": 1, "b": 2})


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA], ids=["None", "NaN", "NA"])
def test_a_missing_text_is_called_so(missing: Any) -> None:
    with pytest.raises(MaasError, match="'text' holds a missing value, and no text can be missing"):
        fit(TEXT, ["a", missing])


def test_a_row_of_a_frame_is_one_row() -> None:
    row = pd.DataFrame({"age": [30, 31], "city": ["Ulm", "Bonn"]}).iloc[1]
    arrays, added = fit_inputs(FLAT, row)
    assert added
    assert arrays["age"].tolist() == [31]


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_series_and_frames_of_either_library(library: Any) -> None:
    frame = library.DataFrame({"city": ["北京", "Ulm"], "age": [30, 40]})
    assert fit(FLAT, frame) == {"age": [30, 40], "city": ["北京", "Ulm"]}
    assert fit(TEXT, library.Series(["a", "b"])) == {"text": ["a", "b"]}
    assert fit(TEXT, frame["city"]) == {"text": ["北京", "Ulm"]}
    missing = library.DataFrame({"a": [1, None], "b": [1.0, 2.0], "c": [True, False]})
    assert np.isnan(fit(NAMED, missing)["x"][1][0])


def test_a_sparse_matrix() -> None:
    assert fit(X, sparse.csr_matrix([ROW])) == {"x": [ROW]}


def test_missing_values_are_nan_for_floats() -> None:
    frame = pd.DataFrame({"a": [None], "b": pd.array([pd.NA], "Int64"), "c": [1], "d": [0.5]})
    assert np.isnan(fit(X, frame)["x"][0][:2]).all()
    assert np.isnan(fit(X, [[None, 1, 2, 3]])["x"][0][0])


@pytest.mark.parametrize(
    ("specs", "data", "sentence"),
    [
        (X, [[1, 2, 3, 4], [1, 2]], "ragged"),
        (X, [[1, 2, 3]], r"shape \[1, 3\]; expected x FP32 \[n, 4\]"),
        (X, [[ROW]], r"shape \[1, 1, 4\]"),
        (X, [["a", "b", "c", "d"]], "holds text"),
        (X, [[1, "b", 3, None]], "holds text"),
        (X, [[1j, 0, 0, 0]], "complex128"),
        (X, [[{}, 0, 0, 0]], "values of type dict"),
        (X, [[1e300, 0, 0, 0]], "numbers beyond"),
        (X, {}, "input 'x' is missing|0 columns"),
        (X, {"y": [ROW]}, "no input 'y'"),
        (X, {"a": [1], "b": [2]}, "2 columns"),
        (X, {"a": [1], "b": [2], "c": [3], "d": [4, 5]}, "different lengths"),
        (X, pd.DataFrame({"a": [1], "b": [2]}), "2 columns"),
        (X, pd.DataFrame(), "0 columns"),
        (X, pd.DataFrame({k: pd.to_datetime(["2026-01-01"]) for k in "abcd"}), "datetime64"),
        (TEXT, [1], "holds a int"),
        (TEXT, [b"\xff"], "not UTF-8"),
        (TWO, [[1]], "2 inputs"),
        (TWO, {"age": [[1]]}, "'city' is missing"),
        (TWO, {"age": [[1]], "city": [["a"]], "zip": [[1]]}, "no input 'zip'"),
        (TWO, pd.DataFrame({"age": [1], "town": ["a"]}), "no input 'town'"),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    specs: tuple[TensorSpec, ...], data: Any, sentence: str
) -> None:
    with pytest.raises(MaasError, match=sentence) as caught:
        fit_inputs(specs, data)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def spec(dtype: DType) -> TensorSpec:
    return TensorSpec("x", dtype, (None,))


@pytest.mark.parametrize(
    ("dtype", "values", "sentence"),
    [
        (DType.INT64, [float("nan")], "NaN"),
        (DType.INT64, [1.5], "fractions"),
        (DType.INT64, [None], "NaN"),
        (DType.INT64, [2**63], "outside"),
        (DType.INT64, [9.3e18], "outside"),
        (DType.INT64, [2**70], "more than 64 bits"),
        (DType.UINT8, [256], "outside 0 to 255"),
        (DType.UINT8, [-1], "outside"),
        (DType.UINT64, np.array([-1]), "outside"),
        (DType.INT64, ["1"], "text"),
        (DType.BOOL, [2], "other than 0 and 1"),
        (DType.BOOL, [float("nan")], "other than 0 and 1"),
    ],
)
def test_integers_and_booleans_hold_their_values_exactly(
    dtype: DType, values: Any, sentence: str
) -> None:
    with pytest.raises(MaasError, match=sentence):
        to_array(spec(dtype), values)


def test_values_at_the_edges_pass() -> None:
    assert to_array(spec(DType.INT64), [-(2**63), 2**63 - 1]).tolist() == [-(2**63), 2**63 - 1]
    assert to_array(spec(DType.UINT64), [2**64 - 1]).tolist() == [2**64 - 1]
    assert to_array(spec(DType.INT32), [3.0, -0.0]).tolist() == [3, 0]
    assert to_array(spec(DType.BOOL), [1, 0.0, True]).tolist() == [True, False, True]
    assert to_array(spec(DType.FP64), [2**70, None]).tolist()[0] == float(2**70)
    floats = to_array(spec(DType.FP32), [np.inf, -np.inf, np.nan, 1e-50])
    assert floats.tolist()[:2] == [np.inf, -np.inf]


def test_polars_like_frames_need_no_pandas() -> None:
    class Column:
        def __init__(self, values: list[float]) -> None:
            self._values = values

        def to_numpy(self) -> np.ndarray:
            return np.array(self._values)

    class Frame:
        columns = ("a", "b", "c", "d")

        def __getitem__(self, name: str) -> Column:
            return Column([float(ord(name))])

    assert fit(X, Frame()) == {"x": [[97.0, 98.0, 99.0, 100.0]]}
