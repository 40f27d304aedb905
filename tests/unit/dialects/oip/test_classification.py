"""Scores → classes, as Triton writes them."""

from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.classification import top_classes


def classes(values, dtype=DType.FP32, count=2, labels=None, batched=True):
    array = np.array(values, dtype.numpy)
    spec = TensorSpec("s", dtype, (None,) * array.ndim, labels)
    return top_classes(array, spec, count, batched=batched).tolist()


def test_best_first_with_labels_where_there_are_any():
    assert classes([[0.1, 0.7, 0.2]]) == [[b"0.700000:1", b"0.200000:2"]]
    assert classes([[0.1, 0.7, 0.2]], labels=("a", "狗")) == [
        ["0.700000:1:狗".encode(), b"0.200000:2"]
    ]


def test_integers_rows_and_bounds():
    assert classes([[3, 9], [9, 3]], DType.UINT8, 1) == [[b"9:1"], [b"9:0"]]
    assert classes([[3, 9]], DType.INT64, 50) == [[b"9:1", b"3:0"]]
    assert classes([[-3, 2**62]], DType.INT64, 1) == [[b"4611686018427387904:1"]]


def test_equal_scores_come_in_order_and_nan_last():
    assert classes([[1, 1, 1]], count=3) == [[b"1.000000:0", b"1.000000:1", b"1.000000:2"]]
    assert classes([[np.nan, -1, np.inf]], count=3) == [[b"inf:2", b"-1.000000:1", b"nan:0"]]


def test_without_a_batch_axis_and_with_further_axes():
    assert classes([0.5, 0.75], batched=False) == [b"0.750000:1", b"0.500000:0"]
    assert classes([[[1, 2], [4, 3]]], count=1) == [[b"4.000000:2"]]
    assert classes([5, 6], count=3) == [[b"5.000000:0"], [b"6.000000:0"]]


@pytest.mark.parametrize("dtype", [DType.BYTES, DType.BOOL])
def test_what_is_no_number_has_no_classes(dtype):
    with pytest.raises(MaasError, match="classification needs numbers"):
        classes([[1, 0]], dtype)


def test_texts_without_number_are_refused():
    scores = np.zeros((2, (1 << 19) + 1), np.float32)
    with pytest.raises(MaasError, match="fewer classes"):
        top_classes(scores, TensorSpec("y", DType.FP32, (None, None)), 1 << 20, batched=True)
    few = top_classes(scores, TensorSpec("y", DType.FP32, (None, None)), 1, batched=True)
    assert few.tolist() == [[b"0.000000:0"]] * 2
