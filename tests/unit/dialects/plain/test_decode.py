"""Plain calls: under which keys values may stand, and when the batch axis is added."""

from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.plain.decode import decode, parse

ROW = [5.1, 3.5, 1.4, 0.2]


def decoded(text, view):
    return decode(parse(text), view.signatures["serving_default"])


def refusal(text, view):
    with pytest.raises(MaasError) as caught:
        decoded(text, view)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("key", ["input_data", "input_text", "text", "x"])
def test_a_value_stands_under_a_general_key_or_the_input_s_name(body, iris, key):
    request = decoded(body({key: [ROW, ROW]}), iris)
    np.testing.assert_array_equal(request.inputs["x"], np.array([ROW, ROW], np.float32))
    assert request.rows == 2
    assert not request.unbatch
    assert request.named is (key == "x")


@pytest.mark.parametrize("key", ["input_data", "x"])
def test_a_value_one_rank_short_gets_its_batch_axis(body, iris, key):
    request = decoded(body({key: ROW}), iris)
    assert request.inputs["x"].shape == (1, 4)
    assert request.unbatch
    assert request.rows == 1


def test_a_fixed_batch_axis_of_one_is_added_too(body, make_view):
    view = make_view([TensorSpec("x", DType.FP32, (1, 2, 2))], batched=False)
    assert decoded(body({"input_data": [[1, 2], [3, 4]]}), view).unbatch
    view = make_view([TensorSpec("x", DType.FP32, (2, 2))], batched=False)
    assert "has shape [2]; expected x FP32 [2, 2]" in refusal(body({"input_data": [1, 2]}), view)


def test_a_value_two_ranks_short_or_one_too_long_is_refused(body, iris):
    assert "has shape []; expected x FP32 [n, 4]" in refusal(body({"input_data": 1}), iris)
    assert "has shape [1, 1, 4]" in refusal(body({"input_data": [[ROW]]}), iris)


@pytest.mark.parametrize("shape", [(None,), (None, 1)])
def test_texts(body, make_view, shape):
    view = make_view([TensorSpec("document", DType.BYTES, shape)])
    one = decoded(body({"text": "好电影"}), view)
    assert one.inputs["document"].reshape(-1).tolist() == ["好电影".encode()]
    assert one.unbatch
    two = decoded(body({"input_text": ["a", "b"]}), view)
    assert two.inputs["document"].shape == (2, *shape[1:])
    assert (two.rows, two.unbatch) == (2, False)
    assert not decoded(body({"text": ["a"]}), view).unbatch
    assert decoded(body({"text": {"b64": "AA=="}}), view).inputs["document"].item() == b"\x00"


def test_columns_of_a_table(body, make_view):
    view = make_view(
        [TensorSpec("age", DType.INT64, (None, 1)), TensorSpec("city", DType.BYTES, (None, 1))]
    )
    one = decoded(body({"age": 42, "city": "北京", "model": "m"}), view)
    assert (one.rows, one.unbatch, one.named) == (1, True, True)
    two = decoded(body({"age": [42, 43], "city": [["a"], ["b"]]}), view)
    assert (two.rows, two.unbatch) == (2, False)
    mixed = decoded(body({"age": 42, "city": ["a"]}), view)
    assert (mixed.rows, mixed.unbatch) == (1, False)
    named = decoded(body({"input_data": {"age": 42, "city": "a"}}), view)
    assert (named.rows, named.unbatch, named.named) == (1, True, False)
    message = refusal(body({"age": [1, 2, 3], "city": ["a"]}), view)
    assert "has 1 rows where 'age' has 3" in message
    assert "the model has 2 inputs" in refusal(body({"input_data": [1, 2]}), view)
    assert "input 'city' is missing" in refusal(body({"age": 1}), view)
    assert "input 'city' is missing" in refusal(body({"input_data": {"age": 1}}), view)
    assert "no input 'zip'" in refusal(body({"age": 1, "city": "a", "zip": 1}), view)


def test_an_input_may_be_called_model_or_text(body, make_view):
    view = make_view(
        [TensorSpec("model", DType.FP32, (None,)), TensorSpec("text", DType.BYTES, (None,))]
    )
    request = decoded(body({"model": [1], "text": ["a"]}), view)
    assert request.inputs["model"].tolist() == [1]
    assert request.named


def test_unknown_missing_and_doubled_inputs(body, iris):
    assert "no input 'images'" in refusal(body({"images": [ROW]}), iris)
    assert "expected x FP32 [n, 4]" in refusal(body({"images": [ROW]}), iris)
    assert "input 'x' is missing" in refusal(body({}), iris)
    assert "input 'x' is missing" in refusal(body({"model": "iris"}), iris)
    assert "no input 'input_data'" in refusal(body({"input_data": [ROW], "x": [ROW]}), iris)
    assert "no input" in refusal(body({"input_data": [ROW], "text": [ROW]}), iris)
    assert "no input 'y'" in refusal(body({"input_data": {"x": [ROW], "y": 1}}), iris)


def test_a_key_with_a_nul_is_no_input(body, iris):
    assert r"no input 'x\x00y'" in refusal(body({"x\x00y": [ROW]}), iris)
    assert r"no input '\x00'" in refusal(body({"\x00": [ROW]}), iris)
    assert r"no input 'x\x00'" in refusal(body({"input_data": {"x\x00": [ROW]}}), iris)


def test_empty_batches_and_wrong_widths(body, iris, make_view):
    assert "has shape [1, 0]; expected x FP32 [n, 4]" in refusal(body({"x": []}), iris)
    assert "has shape [1, 3]; expected x FP32 [n, 4]" in refusal(body({"x": [[1, 2, 3]]}), iris)
    scalars = make_view([TensorSpec("x", DType.FP32, (None,))])
    assert "has no rows" in refusal(body({"x": []}), scalars)


def test_errors_name_the_key_that_was_written(body, iris):
    assert refusal(body({"input_data": [[1, 2, 3, "4"]]}), iris).startswith(
        'input_data holds "4" at [0, 3]; expected numbers'
    )
    assert refusal(body({"x": [[1, 2, 3, None]]}), iris).startswith("input 'x' holds null")
    assert "input_data is ragged" in refusal(body({"input_data": [[1, 2, 3, 4], [1]]}), iris)


@pytest.mark.parametrize(
    ("content", "model", "texts"),
    [
        ({"model": "iris:3", "input_data": 1}, "iris:3", False),
        ({"input_data": 1}, None, False),
        ({"model": 3, "text": ""}, None, True),
        ({"model": ["iris"], "input_text": ""}, None, True),
    ],
)
def test_the_model_can_be_read_before_its_signature_is_known(body, content, model, texts):
    plain = parse(body(content))
    assert (plain.model, plain.texts) == (model, texts)


def test_the_image_of_the_third_document(body, make_view):
    view = make_view([TensorSpec("images", DType.FP32, (None, 29, 29, 3))])
    image = np.random.default_rng(0).random((1, 29, 29, 3), np.float32)
    for content in ({"images": image.tolist()}, {"input_data": image[0].tolist()}):
        np.testing.assert_array_equal(decoded(body(content), view).inputs["images"], image)
    ragged = image.tolist()
    ragged[0][7][8], ragged[0][7][9] = [0.5, 0.5], [0.5] * 4
    message = refusal(body({"images": ragged}), view)
    assert "a list of 2 at [0, 7, 8] and a list of 3 at [0, 0, 0]" in message
