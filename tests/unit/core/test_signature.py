from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import (
    Signature,
    check_inputs,
    describe_inputs,
    describe_shape,
    describe_spec,
)
from maas.core.tensor import DType, Tensors, TensorSpec

X = TensorSpec("x", DType.FP32, (None, 2))
MASK = TensorSpec("mask", DType.INT64, (None,))
Y = TensorSpec("y", DType.FP32, (None,))
ONE = Signature("serving_default", (X,), (Y,), batched=True)
TWO = Signature("serving_default", (X, MASK), (Y,), batched=True)
SINGLE = Signature("serving_default", (TensorSpec("x", DType.FP32, (None, 2)),), (Y,), False)
SCALAR = Signature("serving_default", (TensorSpec("x", DType.FP64, ()),), (Y,), False)


def x(rows: int = 1, columns: int = 2) -> np.ndarray:
    return np.zeros((rows, columns), np.float32)


def mask(rows: int = 1) -> np.ndarray:
    return np.zeros(rows, np.int64)


def refusal(signature: Signature, inputs: Tensors) -> str:
    with pytest.raises(MaasError) as caught:
        check_inputs(signature, inputs)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


def test_rows_are_counted_on_the_batch_axis() -> None:
    assert check_inputs(ONE, {"x": x(3)}) == 3
    assert check_inputs(TWO, {"mask": mask(4), "x": x(4)}) == 4


def test_without_a_batch_axis_there_is_one_row() -> None:
    assert check_inputs(SINGLE, {"x": x(7)}) == 1
    assert check_inputs(SINGLE, {"x": x(0)}) == 1
    assert check_inputs(SCALAR, {"x": np.array(1.0)}) == 1


@pytest.mark.parametrize(
    ("signature", "inputs", "sentence"),
    [
        (ONE, {}, "input 'x' is missing; expected x FP32 [n, 2]"),
        (TWO, {"x": x()}, "input 'mask' is missing; expected x FP32 [n, 2], mask INT64 [n]"),
        (ONE, {"z": x()}, "input 'x' is missing; expected x FP32 [n, 2]"),
        (ONE, {"x": x(), "z": x()}, "there is no input 'z'; expected x FP32 [n, 2]"),
        (TWO, {"z": x()}, "there is no input 'z'; expected x FP32 [n, 2], mask INT64 [n]"),
        (ONE, {"x": x().astype(np.int32)}, "input 'x' is INT32; expected x FP32 [n, 2]"),
        (ONE, {"x": x().astype("c8")}, "input 'x' is complex64; expected x FP32 [n, 2]"),
        (ONE, {"x": x(1, 3)}, "input 'x' has shape [1, 3]; expected x FP32 [n, 2]"),
        (ONE, {"x": x()[0]}, "input 'x' has shape [2]; expected x FP32 [n, 2]"),
        (SCALAR, {"x": np.zeros(1)}, "input 'x' has shape [1]; expected x FP64 []"),
        (ONE, {"x": x(0)}, "input 'x' has no rows; send at least one"),
        (
            TWO,
            {"x": x(2), "mask": mask(3)},
            "input 'mask' has 3 rows where 'x' has 2; every input needs the same number",
        ),
    ],
)
def test_a_refusal_says_what_was_wrong_and_what_was_expected(
    signature: Signature, inputs: Tensors, sentence: str
) -> None:
    assert refusal(signature, inputs) == sentence


def test_bytes_are_object_arrays() -> None:
    text = Signature("s", (TensorSpec("t", DType.BYTES, (None,)),), (Y,), batched=True)
    assert check_inputs(text, {"t": np.array([b"a", "中".encode()], object)}) == 2
    assert refusal(text, {"t": np.zeros(1, np.float32)}).startswith("input 't' is FP32")


def test_shapes_and_specs_read_as_people_write_them() -> None:
    assert describe_shape(()) == "[]"
    assert describe_shape((None, 299, 299, 3)) == "[n, 299, 299, 3]"
    assert describe_spec(X) == "x FP32 [n, 2]"
    assert describe_inputs(TWO) == "expected x FP32 [n, 2], mask INT64 [n]"


def test_an_input_is_found_by_name() -> None:
    assert TWO.input("mask") is MASK
