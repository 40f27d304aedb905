"""ModelInferRequest → arrays: every rule of the protocol and its negative twin."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ModelRef, ServableId
from maas.core.messages import InferReply, ModelView
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.request import InferRequest
from maas.dialects.oip_grpc.decode import RAW_ONLY, decode_infer, read_ref
from maas.dialects.oip_grpc.encode import encode_infer
from maas.dialects.oip_grpc.split import split
from maas.protos import message, parse

REQUEST = message("inference.ModelInferRequest")
RESPONSE = message("inference.ModelInferResponse")


def view_of(*inputs: TensorSpec, batched: bool = True) -> ModelView:
    outputs = (
        TensorSpec("y", DType.FP32, (None, 3), ("a", "b", "c")),
        TensorSpec("n", DType.INT64, (None,)),
    )
    signature = Signature("serving_default", inputs, outputs, batched)
    return ModelView(ServableId("iris", 3), {"serving_default": signature}, "onnx", True)


X = TensorSpec("x", DType.FP32, (None, 2))
IRIS = view_of(X)


def decode(request: Any, view: ModelView = IRIS) -> InferRequest:
    pieces = split(request.SerializeToString())
    return decode_infer(parse(REQUEST, pieces.head), pieces.raws, view)


def refused(request: Any, view: ModelView = IRIS) -> str:
    with pytest.raises(MaasError) as caught:
        decode(request, view)
    kind = ErrorKind.INVALID_ARGUMENT
    if "shared memory" in caught.value.message:
        kind = ErrorKind.UNIMPLEMENTED
    assert caught.value.kind is kind
    return caught.value.message


def raw(array: np.ndarray, name: str = "x", **more: Any) -> Any:
    request = REQUEST(model_name="iris", **more)
    datatype = DType.of(array.dtype).text
    request.inputs.add(name=name, datatype=datatype, shape=array.shape)
    if array.dtype.kind == "O":
        blob = b"".join(struct.pack("<I", len(one)) + one for one in array.ravel().tolist())
    else:
        blob = array.tobytes()
    request.raw_input_contents.append(blob)
    return request


ROWS = np.array([[1, 2], [3, 4]], np.float32)


@pytest.mark.parametrize("dtype", DType)
def test_every_element_type_travels_raw(dtype: DType) -> None:
    view = view_of(TensorSpec("x", dtype, (None, 2)))
    if dtype is DType.BYTES:
        array = np.array([[b"a", b""], ["模型".encode(), b"\0\xff"]], object)
    else:
        array = np.array([[0, 1], [1, 0]]).astype(dtype.numpy)
    found = decode(raw(array), view).inputs["x"]
    assert found.dtype == dtype.numpy
    np.testing.assert_array_equal(found, array)


TYPED = {
    DType.BOOL: ("bool_contents", [True, False]),
    DType.INT8: ("int_contents", [-128, 127]),
    DType.INT16: ("int_contents", [-32768, 32767]),
    DType.INT32: ("int_contents", [-(2**31), 2**31 - 1]),
    DType.INT64: ("int64_contents", [-(2**63), 2**63 - 1]),
    DType.UINT8: ("uint_contents", [0, 255]),
    DType.UINT16: ("uint_contents", [0, 65535]),
    DType.UINT32: ("uint_contents", [0, 2**32 - 1]),
    DType.UINT64: ("uint64_contents", [0, 2**64 - 1]),
    DType.FP32: ("fp32_contents", [1.5, float("inf")]),
    DType.FP64: ("fp64_contents", [1e300, -0.0]),
    DType.BYTES: ("bytes_contents", [b"a", "模型".encode()]),
}


def typed(dtype: DType, field: str, values: list[Any], shape: tuple[int, ...] = (1, 2)) -> Any:
    request = REQUEST(model_name="iris")
    tensor = request.inputs.add(name="x", datatype=dtype.text, shape=shape)
    getattr(tensor.contents, field).extend(values)
    return request


@pytest.mark.parametrize("dtype", TYPED)
def test_every_element_type_travels_typed(dtype: DType) -> None:
    field, values = TYPED[dtype]
    view = view_of(TensorSpec("x", dtype, (None, 2)))
    found = decode(typed(dtype, field, values), view).inputs["x"]
    assert (found.dtype, found.tolist()) == (dtype.numpy, [values])


@pytest.mark.parametrize("dtype", sorted(RAW_ONLY))
def test_half_floats_travel_raw_only(dtype: DType) -> None:
    view = view_of(TensorSpec("x", dtype, (None, 2)))
    request = typed(dtype, "fp32_contents", [1, 2])
    assert "raw_input_contents only" in refused(request, view)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [(DType.INT8, [128, 0]), (DType.INT16, [0, -32769]), (DType.UINT8, [256, 0]),
     (DType.UINT16, [0, 65536])],
)  # fmt: skip
def test_typed_values_beyond_their_type_are_refused(dtype: DType, values: list[int]) -> None:
    field = TYPED[dtype][0]
    view = view_of(TensorSpec("x", dtype, (None, 2)))
    assert "do not fit" in refused(typed(dtype, field, values), view)


def test_values_in_another_field_are_refused() -> None:
    assert "expected fp32_contents" in refused(typed(DType.FP32, "fp64_contents", [1, 2]))


def test_too_few_and_too_many_typed_values_are_refused() -> None:
    for values in ([1.0], [1.0, 2.0, 3.0]):
        assert "needs 2" in refused(typed(DType.FP32, "fp32_contents", values))


def test_many_texts_and_sizes_are_refused_before_they_become_objects() -> None:
    many = (1 << 21) + 1
    request = REQUEST(model_name="iris")
    tensor = request.inputs.add(name="x", datatype="BYTES", shape=[many])
    tensor.contents.bytes_contents.extend([b""] * many)
    with pytest.raises(MaasError) as caught:
        decode(request, view_of(TensorSpec("x", DType.BYTES, (None,))))
    assert caught.value.kind is ErrorKind.TOO_LARGE
    request = REQUEST(model_name="iris")
    request.inputs.add(name="x", datatype="FP32", shape=[1] * 1000)
    assert "at most 32 whole numbers" in refused(request)


def test_raw_and_typed_at_once_are_refused() -> None:
    request = raw(ROWS)
    request.inputs[0].contents.fp32_contents.extend([1, 2, 3, 4])
    assert "one of the two" in refused(request)


def test_a_short_and_a_long_blob_are_refused() -> None:
    for blob in (ROWS.tobytes()[:-1], ROWS.tobytes() + b"\0", b""):
        request = raw(ROWS)
        request.raw_input_contents[0] = blob
        assert "needs 16" in refused(request)


def test_as_many_blobs_as_inputs() -> None:
    request = raw(ROWS)
    request.raw_input_contents.append(b"")
    assert "2 entries for 1 inputs" in refused(request)


WRONG = [
    (lambda r: r.inputs[0].ClearField("name"), "there is no input ''"),
    (lambda r: setattr(r.inputs[0], "name", "z"), "there is no input 'z'"),
    (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "is FP64; expected x FP32"),
    (lambda r: r.inputs[0].ClearField("datatype"), "without a datatype"),
    (lambda r: r.inputs[0].shape.__setitem__(0, -2), "0 or more"),
    (lambda r: r.inputs[0].shape.extend([1] * 40), "at most 32"),
    (lambda r: r.inputs[0].shape.__setitem__(0, 2**62), "needs"),
    (lambda r: r.inputs[0].shape.__setitem__(0, 3), "needs 24"),
    (lambda r: r.ClearField("inputs"), "has no inputs"),
    (lambda r: r.outputs.add(name="q"), "there is no output 'q'"),
    (lambda r: (r.outputs.add(name="y"), r.outputs.add(name="y")), "asked for twice"),
    (lambda r: r.parameters["timeout"].__setattr__("string_param", "1"), "whole number"),
    (lambda r: r.parameters["timeout"].__setattr__("int64_param", -1), "whole number"),
    (lambda r: r.parameters["priority"].__setattr__("bool_param", True), "whole number"),
    (lambda r: r.parameters["sequence_id"].__setattr__("int64_param", 7), "no state"),
    (lambda r: r.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "a"),
     "shared memory"),
    (lambda r: r.outputs.add(name="y").parameters["shared_memory_region"].__setattr__(
        "string_param", "a"), "shared memory"),
    (lambda r: r.outputs.add(name="y").parameters["classification"].__setattr__("int64_param", 0),
     "1 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), WRONG)
def test_what_is_wrong_is_named(change: Any, words: str) -> None:
    request = raw(ROWS)
    change(request)
    if words == "has no inputs":
        request.ClearField("raw_input_contents")
    assert words in refused(request)


def test_parameters_and_outputs() -> None:
    request = raw(ROWS, id="seven")
    request.parameters["timeout"].int64_param = 1_500_000
    request.parameters["priority"].uint64_param = 2
    request.parameters["triton_anything"].string_param = "ignored"
    request.outputs.add(name="n")
    request.outputs.add(name="y").parameters["classification"].int64_param = 2
    found = decode(request)
    assert (found.id, found.timeout_s, found.priority) == ("seven", 1.5, 2)
    assert (found.outputs, found.classes, found.rows) == (("n", "y"), (0, 2), 2)


def test_names_of_versions() -> None:
    assert read_ref("iris", "") == ModelRef("iris")
    assert read_ref("iris", "3") == ModelRef("iris", version=3)
    assert read_ref("iris@prod", "") == ModelRef("iris", alias="prod")
    for name, version in (("", ""), ("../x", ""), ("iris", "x"), ("iris:3", "3"), ("iris", "-1")):
        with pytest.raises(MaasError):
            read_ref(name, version)


def reply(rows: int = 2) -> InferReply:
    y = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
    return InferReply(
        ServableId("iris", 3),
        IRIS.signatures["serving_default"],
        {"y": y, "n": np.arange(rows)},
    )


def test_an_answer_is_the_message_that_protobuf_would_write() -> None:
    asked = decode(raw(ROWS, id="7"))
    answer = parse(RESPONSE, encode_infer(reply(), asked, None))
    assert (answer.model_name, answer.model_version, answer.id) == ("iris", "3", "7")
    assert [(o.name, o.datatype, list(o.shape)) for o in answer.outputs] == [
        ("y", "FP32", [2, 3]), ("n", "INT64", [2])
    ]  # fmt: skip
    assert answer.raw_output_contents[0] == np.arange(6, dtype=np.float32).tobytes()
    assert answer.raw_output_contents[1] == np.arange(2).tobytes()


def test_heads_are_kept_by_shape() -> None:
    asked = decode(raw(ROWS))
    heads: dict[Any, bytes] = {}
    for rows in (2, 300, 2):
        answer = parse(RESPONSE, encode_infer(reply(rows), asked, heads))
        assert list(answer.outputs[0].shape) == [rows, 3]
        assert len(answer.raw_output_contents[0]) == 12 * rows
    assert len(heads) == 2


def test_classes_are_answered_as_texts() -> None:
    request = raw(ROWS)
    request.outputs.add(name="y").parameters["classification"].int64_param = 1
    answer = parse(RESPONSE, encode_infer(reply(), decode(request), None))
    assert (answer.outputs[0].datatype, list(answer.outputs[0].shape)) == ("BYTES", [2, 1])
    first = b"2.000000:2:c"
    assert answer.raw_output_contents[0].startswith(struct.pack("<I", len(first)) + first)


def test_raw_tensors_are_cut_out_without_a_copy() -> None:
    data = raw(ROWS).SerializeToString()
    pieces = split(data)
    assert pieces.raws[0].obj is data
    assert pieces.tail == len(data) - ROWS.nbytes
    assert parse(REQUEST, pieces.head).raw_input_contents == []
    both = raw(ROWS)
    both.raw_input_contents.append(b"abc")
    assert [bytes(one) for one in split(both.SerializeToString()).raws] == [ROWS.tobytes(), b"abc"]


def test_values_that_are_not_raw_are_bounded() -> None:
    request = REQUEST(model_name="iris")
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1 << 22, 2])
    tensor.contents.fp32_contents.extend([0.0] * (1 << 23))
    with pytest.raises(MaasError) as caught:
        split(request.SerializeToString())
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert "raw_input_contents" in caught.value.message


@given(st.binary(max_size=80))
def test_split_agrees_with_protobuf_on_any_bytes(data: bytes) -> None:
    try:
        whole = REQUEST.FromString(data)
    except DecodeError:
        whole = None
    try:
        pieces = split(data)
        head = parse(REQUEST, pieces.head)
    except MaasError:
        return  # an unknown group is the one thing protobuf reads and split does not
    if whole is not None:
        assert [bytes(one) for one in pieces.raws] == list(whole.raw_input_contents)
        whole.ClearField("raw_input_contents")
        assert head == whole


@settings(max_examples=300)
@given(st.data())
def test_mutated_requests_are_answered_or_refused(data: st.DataObject) -> None:
    request = bytearray(raw(ROWS, id="seven").SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(request) - 1))
        request[at] = data.draw(st.integers(0, 255))
    try:
        pieces = split(bytes(request))
        decode_infer(parse(REQUEST, pieces.head), pieces.raws, IRIS)
    except MaasError as error:
        kind = error.kind
    else:
        kind = ErrorKind.INVALID_ARGUMENT
    assert kind is ErrorKind.INVALID_ARGUMENT
