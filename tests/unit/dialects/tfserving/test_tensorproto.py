"""TensorProto, rule by rule. What TensorFlow itself makes of each is in `test_real.py`."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.tensorproto import FORMS, MOST_FILLED, read_tensor, write_tensor
from maas.protos import message, parse

TensorProto = message("tensorflow.TensorProto")


def tensor(dtype, shape, **fields):
    proto = TensorProto(dtype=FORMS[dtype].number if isinstance(dtype, DType) else dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add().size = size
    return proto


def spec_of(dtype, shape=(None,)):
    return TensorSpec("x", dtype, shape)


def read(proto, dtype):
    return read_tensor(proto, spec_of(dtype), "input 'x'")


def error_of(proto, dtype):
    with pytest.raises(MaasError) as caught:
        read(proto, dtype)
    return caught.value


def refused(proto, dtype):
    error = error_of(proto, dtype)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    return error.message


VALUES = {
    DType.BOOL: [[True, False]],
    DType.UINT8: [[0, 255]],
    DType.UINT16: [[0, 65535]],
    DType.UINT32: [[0, 2**32 - 1]],
    DType.UINT64: [[0, 2**64 - 1]],
    DType.INT8: [[-128, 127]],
    DType.INT16: [[-(2**15), 2**15 - 1]],
    DType.INT32: [[-(2**31), 2**31 - 1]],
    DType.INT64: [[-(2**63), 2**63 - 1]],
    DType.FP16: [[0.5, np.inf]],
    DType.BF16: [[-0.5, 3.0]],
    DType.FP32: [[0.1, -np.inf]],
    DType.FP64: [[0.1, 1e300]],
    DType.BYTES: [[b"a\x00", b"\xff"]],
}


@pytest.mark.parametrize("dtype", list(DType))
def test_every_type_goes_both_ways(dtype):
    array = np.array(VALUES[dtype], dtype.numpy)
    if dtype is DType.BYTES:
        array = np.empty((1, 2), object)
        array[0, :] = VALUES[dtype][0]
    for sent in (array, np.asfortranarray(array), array[:, ::-1], array[0, 0:1].reshape(())):
        proto = TensorProto()
        write_tensor(proto, sent)
        found = read(TensorProto.FromString(proto.SerializeToString()), dtype)
        assert (found.dtype, found.shape) == (sent.dtype, sent.shape)
        assert found.tolist() == sent.tolist()
        assert not proto.tensor_content
        assert len(getattr(proto, FORMS[dtype].field)) == sent.size


@pytest.mark.parametrize("dtype", [one for one in DType if one is not DType.BYTES])
def test_every_number_in_tensor_content(dtype):
    array = np.array(VALUES[dtype], dtype.numpy)
    proto = tensor(dtype, (1, 2), tensor_content=array.tobytes())
    found = read(proto, dtype)
    assert found.dtype == array.dtype
    assert found.tolist() == array.tolist()
    for content in (array.tobytes()[:-1], array.tobytes() + b"\0"):
        assert "bytes of tensor_content; its shape and type need" in refused(
            tensor(dtype, (1, 2), tensor_content=content), dtype
        )


def test_strings_in_tensor_content():
    long = b"x" * 300
    content = b"\x01\x00\xac\x02a" + long
    found = read(tensor(DType.BYTES, (3,), tensor_content=content), DType.BYTES)
    assert found.tolist() == [b"a", b"", long]
    assert all(type(one) is bytes for one in found)
    for torn in (content[:-1], content + b"x", b"\x01", b"\xff\xff\xff\xff\xff\xff\x01", b"\xff"):
        assert "do not fill it" in refused(
            tensor(DType.BYTES, (3,), tensor_content=torn), DType.BYTES
        )
    assert "do not fill it" in refused(
        tensor(DType.BYTES, (1 << 40,), tensor_content=content), DType.BYTES
    )


@pytest.mark.parametrize(
    ("dtype", "fields", "expected"),
    [
        (DType.FP32, {"float_val": [3]}, [[3, 3], [3, 3]]),
        (DType.FP32, {"float_val": [1, 2]}, [[1, 2], [2, 2]]),
        (DType.FP32, {}, [[0, 0], [0, 0]]),
        (DType.INT8, {"int_val": [-3]}, [[-3, -3], [-3, -3]]),
        (DType.BOOL, {"bool_val": [True]}, [[True, True], [True, True]]),
        (DType.FP16, {"half_val": [0x3C00]}, [[1, 1], [1, 1]]),
        (DType.BF16, {"half_val": [0x3F80]}, [[1, 1], [1, 1]]),
        (DType.BYTES, {"string_val": [b"a\x00"]}, [[b"a\x00", b"a\x00"]] * 2),
        (DType.BYTES, {}, [[b"", b""], [b"", b""]]),
    ],
)
def test_the_last_value_stands_for_those_left_out(dtype, fields, expected):
    assert read(tensor(dtype, (2, 2), **fields), dtype).tolist() == expected


def test_scalars_and_empty_tensors():
    assert read(tensor(DType.INT32, (), int_val=[4]), DType.INT32).tolist() == 4
    assert read(tensor(DType.INT32, ()), DType.INT32).tolist() == 0
    assert read(tensor(DType.INT32, (0, 3)), DType.INT32).shape == (0, 3)
    assert read(tensor(DType.BYTES, (0,)), DType.BYTES).shape == (0,)


@pytest.mark.parametrize(
    ("proto", "dtype", "sentence"),
    [
        (tensor(DType.FP32, (1,), int_val=[1]), DType.FP32, "values in int_val; those of DT_FLOAT"),
        (tensor(DType.FP32, (2,), float_val=[1, 2, 3]), DType.FP32, "3 values and a shape that"),
        (tensor(DType.FP32, (0,), float_val=[1]), DType.FP32, "1 values and a shape that holds 0"),
        (
            tensor(DType.FP32, (1,), float_val=[1], tensor_content=b"\0\0\0\0"),
            DType.FP32,
            "both tensor_content and float_val",
        ),
        (
            tensor(DType.FP32, (1,), float_val=[1], double_val=[1]),
            DType.FP32,
            "values in double_val",
        ),
        (tensor(DType.FP64, (1,), double_val=[1]), DType.FP32, "is DT_DOUBLE; expected DT_FLOAT"),
        (tensor(DType.INT32, (1,), int_val=[1]), DType.INT64, "is DT_INT32; expected DT_INT64"),
        (tensor(8, (1,)), DType.FP32, "is of the type number 8; expected DT_FLOAT for x FP32 [n]"),
        (tensor(101, (1,)), DType.FP32, "is of the type number 101"),
        (TensorProto(float_val=[1]), DType.FP32, "is of the type number 0"),
        (tensor(DType.UINT8, (1,), int_val=[256]), DType.UINT8, "outside of 0 to 255"),
        (tensor(DType.UINT8, (1,), int_val=[-1]), DType.UINT8, "outside of 0 to 255"),
        (tensor(DType.INT16, (1,), int_val=[32768]), DType.INT16, "the range of DT_INT16"),
        (tensor(DType.FP16, (1,), half_val=[65536]), DType.FP16, "the range of 16 bits"),
        (tensor(DType.BF16, (1,), half_val=[-1]), DType.BF16, "the range of 16 bits"),
        (tensor(DType.BOOL, (2,), tensor_content=b"\x01\x02"), DType.BOOL, "other than 0 and 1"),
        (tensor(DType.FP32, (-1,), float_val=[1]), DType.FP32, "no dimension of a tensor may be"),
        (tensor(DType.FP32, (-1, -1), float_val=[1]), DType.FP32, "no dimension of a tensor may"),
        (tensor(DType.FP32, (1,) * 33, float_val=[1]), DType.FP32, "33 dimensions"),
        (tensor(DType.FP32, (0, 2**62, 2**62)), DType.FP32, "may not be that large"),
    ],
)
def test_what_is_wrong_is_said(proto, dtype, sentence):
    assert sentence in refused(proto, dtype)


def test_a_shape_of_unknown_rank():
    proto = TensorProto(dtype=1, float_val=[1], tensor_shape={"unknown_rank": True})
    assert "unknown rank" in refused(proto, DType.FP32)


@pytest.mark.parametrize("dtype", [DType.FP32, DType.BYTES, DType.UINT8])
@pytest.mark.parametrize("shape", [(1 << 40,), (1 << 20, 1 << 20), (1 << 62, 1 << 62)])
def test_a_few_bytes_cannot_ask_for_much_memory(dtype, shape):
    tracemalloc.start()
    try:
        for fields in ({}, {FORMS[dtype].field: [b"x" if dtype is DType.BYTES else 1]}):
            error = error_of(tensor(dtype, shape, **fields), dtype)
            assert error.kind is ErrorKind.TOO_LARGE
            assert "larger than 64 MiB" in error.message
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_strings_are_not_multiplied():
    long = tensor(DType.BYTES, (1000,), string_val=[b"x" * (1 << 20)])
    assert error_of(long, DType.BYTES).kind is ErrorKind.TOO_LARGE
    assert error_of(tensor(DType.BYTES, (1 << 20,)), DType.BYTES).kind is ErrorKind.TOO_LARGE
    many = (1 << 21) + 1
    for fields in ({"string_val": [b""] * many}, {"tensor_content": bytes(many)}):
        assert (
            "at most 2097152"
            in error_of(tensor(DType.BYTES, (many,), **fields), DType.BYTES).message
        )


def test_filling_up_to_the_limit():
    found = read(tensor(DType.UINT8, (MOST_FILLED,), int_val=[7]), DType.UINT8)
    assert found.nbytes == MOST_FILLED
    assert found[-1] == 7


SPECS = [spec_of(dtype) for dtype in DType]
SIZES = st.integers(-2, 5) | st.sampled_from([2**31, 2**40, 2**63 - 1, -(2**63)])


def attempt(work, *arguments):
    try:
        return work(*arguments)
    except MaasError as error:
        return error


def try_all(proto):
    for spec in SPECS:
        array = attempt(read_tensor, proto, spec, "input 'x'")
        if isinstance(array, MaasError):
            assert array.kind in (ErrorKind.INVALID_ARGUMENT, ErrorKind.TOO_LARGE)
            assert "\n" not in array.message
        elif proto.tensor_shape.unknown_rank:
            raise AssertionError("a tensor of unknown rank was read")
        else:
            assert array.dtype == spec.dtype.numpy
            assert list(array.shape) == [dim.size for dim in proto.tensor_shape.dim]
            assert array.nbytes <= MOST_FILLED


@given(
    dtype=st.integers(-1, 25),
    shape=st.lists(SIZES, max_size=4),
    unknown=st.booleans(),
    content=st.binary(max_size=24),
    field=st.sampled_from(sorted({form.field for form in FORMS.values()})),
    values=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=6),
)
def test_any_tensor_is_an_array_or_an_error_of_ours(dtype, shape, unknown, content, field, values):
    if field == "string_val":
        values = [str(value).encode() for value in values]
    elif field.startswith("u"):
        values = [abs(value) for value in values]
    elif field == "bool_val":
        values = [bool(value) for value in values]
    proto = tensor(dtype, shape, tensor_content=content, **{field: values})
    proto.tensor_shape.unknown_rank = unknown
    try_all(proto)


@given(
    data=st.binary(max_size=60),
    dtype=st.sampled_from(list(DType)),
    edits=st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=3)), max_size=4),
)
def test_random_and_mutated_bytes(data, dtype, edits):
    array = np.empty((1, 2), dtype.numpy)
    array[0, :] = VALUES[dtype][0]
    proto = TensorProto()
    write_tensor(proto, array)
    valid = proto.SerializeToString()
    for place, new in edits:
        place %= len(valid) + 1
        valid = valid[:place] + new + valid[place + len(new) :]
    for text in (data, valid):
        proto = attempt(parse, TensorProto, text)
        if isinstance(proto, MaasError):
            assert proto.kind is ErrorKind.INVALID_ARGUMENT
        else:
            try_all(proto)
