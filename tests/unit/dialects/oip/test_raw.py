"""Bodies that are nothing but a tensor."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.decode import decode_infer

FLOATS = np.arange(24, dtype=np.float32)


@pytest.mark.parametrize(
    ("shape", "batched", "found"),
    [
        ((None, 4), True, (6, 4)),
        ((None, 4), False, (6, 4)),
        ((2, None, 3), False, (2, 4, 3)),
        ((4, 6), False, (4, 6)),
        ((None, None), True, (1, 24)),
        ((None, 2, None), True, (1, 2, 12)),
        ((None,), True, (24,)),
    ],
)
def test_the_shape_follows_from_the_size(
    make_view: Any, shape: tuple[int | None, ...], batched: bool, found: tuple[int, ...]
) -> None:
    view = make_view([TensorSpec("x", DType.FP32, shape)], batched=batched)
    request = decode_infer(FLOATS.tobytes(), view, 0)
    assert request.inputs["x"].shape == found
    assert request.inputs["x"].ravel().tolist() == FLOATS.tolist()
    assert request.rows == (found[0] if batched else 1)
    assert request.all_binary


@pytest.mark.parametrize("shape", [(None,), (None, 1), (), (1, None)])
def test_a_text_is_the_whole_body(make_view: Any, shape: tuple[int | None, ...]) -> None:
    view = make_view([TensorSpec("x", DType.BYTES, shape)], batched=shape[:1] == (None,))
    array = decode_infer(b"\x01\0\0\0a", view, 0).inputs["x"]
    assert array.shape == (1,) * len(shape)
    assert array.item() == b"\x01\0\0\0a"


@pytest.mark.parametrize(
    ("specs", "size", "sentence"),
    [
        ([("x", DType.FP32, (None, 5))], 24, "no whole number of 20 bytes"),
        ([("x", DType.FP32, (5,))], 24, "has 96 bytes where its shape [5] of FP32 needs 20"),
        ([("x", DType.FP32, (None, None))], 24, "cannot be told from the size"),
        ([("x", DType.FP32, (None, 0))], 24, "no whole number of 0 bytes"),
        ([("x", DType.BYTES, (None, 2))], 24, "sends one element, and the model takes more"),
        ([("x", DType.FP32, (None,)), ("z", DType.FP32, (None,))], 24, "takes 2 inputs; expected"),
    ],
)
def test_what_cannot_be_told_is_said(make_view: Any, specs: Any, size: int, sentence: str) -> None:
    view = make_view([TensorSpec(*spec) for spec in specs], batched=False)
    with pytest.raises(MaasError) as caught:
        decode_infer(FLOATS[:size].tobytes(), view, 0)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert sentence in caught.value.message


def test_an_empty_body_has_no_rows(make_view: Any) -> None:
    view = make_view([TensorSpec("x", DType.FP32, (None, 4))])
    with pytest.raises(MaasError, match="no rows"):
        decode_infer(b"", view, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.binary(max_size=40),
    st.sampled_from(DType),
    st.lists(st.none() | st.integers(0, 3), min_size=1, max_size=3),
    st.booleans(),
)
def test_any_body_is_a_tensor_or_an_error_of_ours(
    make_view: Any, body: bytes, dtype: DType, shape: list[int | None], batched: bool
) -> None:
    sizes = (None, *shape[1:]) if batched else tuple(shape)
    view = make_view([TensorSpec("x", dtype, sizes)], batched=batched)
    with contextlib.suppress(MaasError):
        array = decode_infer(body, view, 0).inputs["x"]
        assert array.nbytes == len(body) or dtype is DType.BYTES
