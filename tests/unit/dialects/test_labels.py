"""Where a classifier's labels are read from."""

from __future__ import annotations

import pytest

from maas.core.errors import MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.labels import predicted_labels

NAMES = ("cat", "dog", "鸟")
X = TensorSpec("x", DType.FP32, (None, 2))


@pytest.mark.parametrize(
    ("spec", "values", "labels"),
    [
        (TensorSpec("label", DType.BYTES, (None,)), [b"cat", b"dog"], [b"cat", b"dog"]),
        (TensorSpec("label", DType.INT64, (None,)), [7, -1], [7, -1]),
        (TensorSpec("label", DType.INT64, (None,), NAMES), [2, 0], ["鸟".encode(), b"cat"]),
        (TensorSpec("label", DType.INT64, (None,), ("1", "2", "3")), [1, 3], [1, 3]),
        (TensorSpec("label", DType.INT64, (None,), NAMES), [3, 0], [3, 0]),
        (TensorSpec("label", DType.INT64, (None,), NAMES), [-1], [-1]),
        (TensorSpec("label", DType.BOOL, (None,)), [True], [True]),
        (TensorSpec("s", DType.FP32, (None, 3), NAMES), [[0, 2, 1]], [b"dog"]),
        (TensorSpec("s", DType.FP32, (None, 3)), [[0, 2, 1], [0, 0, 1]], [1, 2]),
        (TensorSpec("s", DType.UINT8, (None,)), [4], [4]),
        (TensorSpec("s", DType.BYTES, (None,)), [b"a"], [b"a"]),
    ],
)
def test_an_only_output(make_view, reply, spec, values, labels):
    view = make_view([X], [spec])
    name, found = predicted_labels(reply(view, **{spec.name: values}))
    assert name == spec.name
    assert found.tolist() == labels


@pytest.mark.parametrize(
    "outputs",
    [
        {TensorSpec("s", DType.FP32, (None,)): [0.5]},
        {TensorSpec("s", DType.FP32, (None, 1)): [[0.5]]},
        {TensorSpec("s", DType.FP32, (None, 2), NAMES): [[0.5, 0.5]]},
        {TensorSpec("a", DType.INT64, (None,)): [1], TensorSpec("b", DType.INT64, (None,)): [1]},
    ],
)
def test_what_is_no_classifier(make_view, reply, outputs):
    view = make_view([X], list(outputs))
    with pytest.raises(MaasError):
        predicted_labels(reply(view, **{spec.name: values for spec, values in outputs.items()}))


def test_among_several_outputs_the_label_comes_first_then_names(make_view, reply):
    label = TensorSpec("label", DType.INT64, (None,))
    scores = TensorSpec("scores", DType.FP32, (None, 3), NAMES)
    other = TensorSpec("other", DType.FP32, (None, 3))
    view = make_view([X], [other, scores, label])
    values = {"other": [[1, 0, 0]], "scores": [[0, 1, 0]], "label": [9]}
    assert predicted_labels(reply(view, **values))[0] == "label"
    view = make_view([X], [other, scores])
    assert predicted_labels(reply(view, **values))[1].tolist() == [b"dog"]
