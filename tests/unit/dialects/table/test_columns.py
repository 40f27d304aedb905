"""Tables as inputs: by name, by order, and what MLflow and pandas make of odd cells."""

from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.dialects.table.columns import Table, read_table, with_batch_axis

OUTPUT = (TensorSpec("y", DType.FP32, (None,)),)
MATRIX = TensorSpec("x", DType.FP32, (None, 2))
LABELLED = TensorSpec("x", DType.FP32, (None, 2), ("width", "height"))


def signature(*specs: TensorSpec) -> Signature:
    return Signature("serving_default", specs, OUTPUT, True)


def read(table: Table, *specs: TensorSpec) -> dict[str, list[object]]:
    return {name: array.tolist() for name, array in read_table(table, signature(*specs)).items()}


def refusal(table: Table, *specs: TensorSpec) -> str:
    with pytest.raises(MaasError) as caught:
        read_table(table, signature(*specs))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def test_a_matrix_takes_columns_in_their_order():
    assert read(Table(("a", "b"), [[1, 2], [3, 4]]), MATRIX) == {"x": [[1, 3], [2, 4]]}
    assert read(Table(None, [[1, 2], [3, 4]]), MATRIX) == {"x": [[1, 3], [2, 4]]}


def test_a_matrix_with_known_columns_takes_them_by_name():
    table = Table(("other", "height", "width"), [["a"], [3], [1]])
    assert read(table, LABELLED) == {"x": [[1, 3]]}
    assert "no column 'width'" in refusal(Table(("height", "depth"), [[3], [1]]), LABELLED)
    assert read(Table(None, [[1], [3]]), LABELLED) == {"x": [[1, 3]]}


def test_a_column_of_the_inputs_name_holds_its_rows():
    assert read(Table(("id", "x"), [[7], [[1, 3]]]), MATRIX) == {"x": [[1, 3]]}


def test_too_many_or_too_few_columns():
    assert "has 3 columns and the model takes 2" in refusal(Table(None, [[1], [2], [3]]), MATRIX)
    text = TensorSpec("text", DType.BYTES, (None,))
    assert "has 2 columns and the model takes 1" in refusal(Table(("a", "b"), [[1], [2]]), text)


def test_several_inputs_are_columns_by_name():
    specs = (
        TensorSpec("age", DType.INT64, (None, 1)),
        TensorSpec("city", DType.BYTES, (None,)),
    )
    table = Table(("city", "extra", "age"), [["北京", "b"], [0, 0], [3, 4]])
    assert read(table, *specs) == {"age": [[3], [4]], "city": ["北京".encode(), b"b"]}
    assert "no column 'age'" in refusal(Table(("city",), [["a"]]), *specs)
    assert read(Table(None, [[3], ["a"]]), *specs) == {"age": [[3]], "city": [b"a"]}
    assert "has 1 columns and the model takes 2" in refusal(Table(None, [[3]]), *specs)


def test_an_only_text_input_takes_the_only_column():
    text = TensorSpec("text", DType.BYTES, (None, 1))
    assert read(Table(("anything",), [["a", None]]), text) == {"text": [[b"a"], [b""]]}


def test_missing_cells_and_truth_values_are_as_in_pandas():
    array = read_table(Table(None, [[None, True], [1, 2]]), signature(MATRIX))["x"]
    np.testing.assert_array_equal(array, [[np.nan, 1], [1, 2]])
    whole = TensorSpec("k", DType.INT64, (None, 2))
    assert read(Table(None, [[False, 3], [1, 2]]), whole) == {"k": [[0, 1], [3, 2]]}
    assert "null" in refusal(Table(None, [[None], [1]]), whole)
    assert "lists" in refusal(Table(None, [[[1]], [[2]]]), MATRIX)


def test_the_texts_of_a_file_are_read_as_the_input_wants_them():
    table = Table(None, [[" 1.5", "", "nan"], ["True", "1e3", "-Infinity"]], texts=True)
    array = read_table(table, signature(MATRIX))["x"]
    np.testing.assert_array_equal(array, [[1.5, 1], [np.nan, 1e3], [np.nan, -np.inf]])
    whole = TensorSpec("k", DType.INT8, (None, 1))
    assert read(Table(None, [["3", " -4", "true"]], texts=True), whole) == {"k": [[3], [-4], [1]]}
    for cell in ("1.0", "", "x", "1_0"):
        assert "in row 1" in refusal(Table(None, [[cell]], texts=True), whole)
    assert "outside the range" in refusal(Table(None, [["200"]], texts=True), whole)
    assert "in row 1" in refusal(Table(None, [["1_0"], ["2"]], texts=True), MATRIX)
    truth = TensorSpec("b", DType.BOOL, (None,))
    assert read(Table(None, [["True", "0"]], texts=True), truth) == {"b": [True, False]}
    assert "in row 1" in refusal(Table(None, [["yes"]], texts=True), truth)


@pytest.mark.parametrize(
    ("given", "shape", "found"),
    [
        ((2,), (None, 2), (1, 2)),
        ((), (None,), (1,)),
        ((3,), (None, 1), (3, 1)),
        ((), (None, 1), (1, 1)),
        ((3, 2), (None, 2), (3, 2)),
        ((2,), (4, 2), (2,)),
    ],
)
def test_the_batch_axis(given, shape, found):
    array = with_batch_axis(np.zeros(given), TensorSpec("x", DType.FP64, shape))
    assert array.shape == found
