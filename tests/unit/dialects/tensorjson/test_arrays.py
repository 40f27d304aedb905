"""JSON values → arrays: what each dtype takes, what it refuses, and in which words."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tensorjson.arrays import MAX_RANK, to_array
from maas.dialects.tensorjson.document import LARGE_BYTES, read

NUMBERS = [dtype for dtype in DType if dtype not in (DType.BOOL, DType.BYTES)]
INTEGERS = [dtype for dtype in NUMBERS if dtype.is_integer]
FLOATS = [dtype for dtype in NUMBERS if dtype.is_float]


def decoded(text: bytes, dtype: DType) -> np.ndarray:
    document = read(text)
    spec = TensorSpec("x", dtype, (None,))
    return to_array(document, document.root["v"], spec, "input 'x'", document.outlines("v", 1)[0])


def refusal(text: bytes, dtype: DType) -> str:
    with pytest.raises(MaasError) as caught:
        decoded(text, dtype)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    return caught.value.message


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize("value", [5, [1, 2, 3], [[1, 2], [3, 4]], [[[1]]], [], [[], []]])
def test_numbers_of_every_dtype_and_rank(body, dtype, value):
    array = decoded(body({"v": value}), dtype)
    assert array.dtype == dtype.numpy
    assert array.shape == np.array(value).shape
    assert array.tolist() == value


@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_reach_both_ends_of_their_range_and_no_further(body, dtype):
    bounds = np.iinfo(dtype.numpy)
    low, high = int(bounds.min), int(bounds.max)
    assert decoded(body({"v": [low, high]}), dtype).tolist() == [low, high]
    for value in (low - 1, high + 1):
        message = refusal(body({"v": [[0, 1], [0, value]]}), dtype)
        assert "at [1, 1]" in message
        assert f"{low} to {high}" in message


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize(
    "written", ["1.0", "1.5", "-0.0", "1e2", "NaN", "Infinity", "true", '"1"', "null", "{}"]
)
def test_integers_take_whole_numbers_alone(body, dtype, written):
    message = refusal(body(b'{"v": [1, %s]}' % written.encode()), dtype)
    assert "at [1]" in message
    assert "expected whole numbers from" in message
    assert f"x {dtype} [n]" in message


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "written", ["true", "false", '"1.5"', '"NaN"', "null", "{}", '{"b64": ""}']
)
def test_floats_take_numbers_alone(body, dtype, written):
    message = refusal(body(b'{"v": [[1.5, 2], [3, %s]]}' % written.encode()), dtype)
    assert "at [1, 1]; expected numbers" in message


@pytest.mark.parametrize("dtype", FLOATS)
def test_floats_take_integers_and_what_is_not_finite(body, dtype):
    array = decoded(body(b'{"v": [1, -2.5, NaN, Infinity, -Infinity]}'), dtype)
    np.testing.assert_array_equal(array.astype("f8"), [1, -2.5, np.nan, np.inf, -np.inf])


@pytest.mark.parametrize(
    ("dtype", "last", "beyond"),
    [
        (DType.FP16, "65519.9", "65520"),
        (DType.FP32, "3.4028235677973362e38", "3.4028235677973366e38"),
        (DType.FP32, "-3.4028235677973362e38", "-1e39"),
        (DType.FP64, "1.7976931348623157e308", None),
        (DType.BF16, "3.3961774e38", "3.3961775e38"),
    ],
)
def test_a_finite_number_never_becomes_infinite(body, dtype, last, beyond):
    array = decoded(body(b'{"v": [0, %s]}' % last.encode()), dtype)
    assert abs(array[1]) == ml_dtypes.finfo(dtype.numpy).max
    if beyond is not None:
        message = refusal(body(b'{"v": [0, %s]}' % beyond.encode()), dtype)
        assert f"at [1], beyond what {dtype} can hold" in message
        message = refusal(body(b'{"v": [NaN, Infinity, %s]}' % beyond.encode()), dtype)
        assert "at [2]" in message


def test_integers_beyond_64_bits_are_read_as_floats(body):
    digits = b"1" + b"0" * 25
    assert decoded(body(b'{"v": [1, %s]}' % digits), DType.FP64)[1] == 1e25
    assert "1" in refusal(body(b'{"v": [%s]}' % digits), DType.INT64)
    assert "expected" in refusal(body(b'{"v": [%s, NaN]}' % digits), DType.INT32)


def test_a_huge_integer_beside_nan_is_refused_by_every_float(body):
    for dtype in FLOATS:
        message = refusal(body(b'{"v": [NaN, 1%s]}' % (b"0" * 400)), dtype)
        assert "beyond what" in message


@pytest.mark.parametrize("written", ["1", "0", "1.0", '"true"', "null", "NaN"])
def test_booleans_take_true_and_false_alone(body, written):
    assert decoded(body(b'{"v": [[true], [false]]}'), DType.BOOL).tolist() == [[True], [False]]
    assert "expected true or false" in refusal(
        body(b'{"v": [true, %s]}' % written.encode()), DType.BOOL
    )


def test_strings_become_utf8_and_base64_becomes_bytes(body):
    array = decoded(body({"v": [["中文", ""], [{"b64": "AP8A"}, "a\x00"]]}), DType.BYTES)
    assert array.dtype == object
    assert array.tolist() == [["中文".encode(), b""], [b"\x00\xff\x00", b"a\x00"]]
    assert decoded(body({"v": "one"}), DType.BYTES).item() == b"one"
    assert decoded(body({"v": {"b64": "AA=="}}), DType.BYTES).item() == b"\x00"
    assert decoded(body({"v": []}), DType.BYTES).shape == (0,)


@pytest.mark.parametrize(
    "value", [1, 1.5, True, None, {}, {"b64": 1}, {"b64": "", "x": 1}, {"b65": ""}, {"b64": None}]
)
def test_strings_take_strings_alone(body, value):
    assert "at [1]; expected strings" in refusal(body({"v": ["a", value]}), DType.BYTES)


@pytest.mark.parametrize("value", ["@@", "AAA", "A A=", "中", "AA-_", "AA==AA"])
def test_base64_is_checked(body, value):
    assert "not base64 at [1]" in refusal(body({"v": ["a", {"b64": value}]}), DType.BYTES)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ([[1, 2], [3], [4, 5, 6]], "a list of 1 at [1] and a list of 2 at [0]"),
        ([[1, 2], [3, 4, 5]], "a list of 3 at [1] and a list of 2 at [0]"),
        ([[1, 2], []], "a list of 0 at [1] and a list of 2 at [0]"),
        ([[], [1]], "a list of 1 at [1] and a list of 0 at [0]"),
        ([[1], 2], "a single value at [1] and a list of 1 at [0]"),
        ([1, [2]], "a list at [1] among single values"),
        ([[[1], [2]], [[3], [4, 5]]], "a list of 2 at [1, 1] and a list of 1 at [0, 0]"),
        ([[[1, 2]], [[3], [4]]], "a list of 2 at [1] and a list of 1 at [0]"),
    ],
)
@pytest.mark.parametrize("dtype", [DType.FP32, DType.INT64, DType.UINT64])
def test_ragged_lists_are_refused_with_their_place(body, dtype, value, where):
    message = refusal(body({"v": value}), dtype)
    assert "input 'x' is ragged" in message
    assert where in message


def test_ragged_strings_are_refused(body):
    assert "is ragged" in refusal(body({"v": [["a", "b"], ["c"]]}), DType.BYTES)
    assert "is ragged" in refusal(body({"v": ["a", ["c"]]}), DType.BYTES)


def test_a_ragged_array_is_found_behind_a_regular_one_of_the_same_key(body):
    """The outline of another value must never vouch for this one."""
    content = b'{"a": {"v": [[1, 2], [3, 4]]}, "v": [[1, 2], [3], [4]]}'
    assert "is ragged" in refusal(body(content), DType.FP32)
    content = b'{"a": {"v": [[1, 2], [3]]}, "v": [[1, 2], [3, 4]]}'
    assert decoded(body(content), DType.FP32).tolist() == [[1, 2], [3, 4]]


def test_rank_is_bounded(body):
    def nested(rank):
        return body(b'{"v": %s1%s}' % (b"[" * rank, b"]" * rank))

    assert decoded(nested(MAX_RANK), DType.FP32).ndim == MAX_RANK
    assert "33 deep; expected at most 32 axes" in refusal(nested(33), DType.FP32)
    assert "expected at most 32 axes" in refusal(nested(99), DType.FP32)


def test_a_lying_shape_of_empty_lists_costs_no_memory(body):
    wide = "[[" + "[]," * 1_000 + "[]]" + ",1" * 1_000 + "]"
    assert "is ragged" in refusal(body(b'{"v": %s}' % wide.encode()), DType.FP32)


def arrays_of(dtype: DType) -> st.SearchStrategy[np.ndarray]:
    shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=1, max_side=4)
    if dtype is DType.BYTES:
        text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
        return shapes.flatmap(
            lambda shape: st.lists(
                text, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))
            ).map(lambda texts: np.array([t.encode() for t in texts], object).reshape(shape))
        )
    if dtype is DType.BF16:  # which hypothesis does not know
        return hnp.arrays(np.uint16, shapes).map(lambda bits: bits.view(dtype.numpy))
    return hnp.arrays(dtype.numpy, shapes)


@pytest.mark.parametrize("dtype", list(DType))
@pytest.mark.parametrize("padding", [0, LARGE_BYTES])
@given(data=st.data())
def test_any_array_written_by_json_reads_back(dtype, padding, data):
    array = data.draw(arrays_of(dtype))
    values = array.tolist()
    if dtype is DType.BYTES:
        values = json.loads(json.dumps(values, default=bytes.decode))
    text = json.dumps({"v": values}, ensure_ascii=False).encode() + b" " * padding
    back = decoded(text, dtype)
    assert back.shape == array.shape
    assert back.dtype == array.dtype
    if dtype is DType.BF16:
        back, array = back.astype("f4"), array.astype("f4")
    np.testing.assert_array_equal(back, array)


@given(hnp.arrays(np.float64, 8, elements=st.floats(-1e38, 1e38)), st.integers(0, 2**64))
def test_both_ways_round_alike(numbers, integer):
    values = [*numbers.tolist(), integer]
    text = json.dumps({"v": values}).encode()
    for dtype in FLOATS[1:]:
        small, large = decoded(text, dtype), decoded(text + b" " * LARGE_BYTES, dtype)
        assert small.tobytes() == large.tobytes()
