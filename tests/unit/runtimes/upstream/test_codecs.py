"""What other servers answer, right and wrong, in each protocol."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.core.upstreams import parse_upstream
from maas.protos import message
from maas.runtimes.upstream import oip_grpc, oip_rest, tf_grpc, tf_rest
from maas.runtimes.upstream.document import Document, bare, decode_document, spec_of
from maas.runtimes.upstream.oip_rest import described
from maas.runtimes.upstream.rest import Answer
from maas.runtimes.upstream.tf_types import NUMBERS
from maas.runtimes.upstream.values import from_bytes, from_lists, to_bytes

TARGET = parse_upstream("tfserving+http://host/m")
BOTH = Signature(
    "serving_default",
    (TensorSpec("x", DType.FP32, (None, 2)),),
    (TensorSpec("y", DType.FP32, (None, 2)), TensorSpec("t", DType.BYTES, (None,))),
    True,
)
ONE = Signature("serving_default", BOTH.inputs, BOTH.outputs[:1], True)
TEXT = Signature("serving_default", BOTH.inputs, BOTH.outputs[1:], True)
NUMERIC = [dtype for dtype in DType if dtype is not DType.BYTES]


def array_of(dtype: DType) -> np.ndarray:
    if dtype is DType.BYTES:
        return np.array([[b"a", b""], ["é".encode(), b"\xff"]], dtype=object)
    return np.array([[0, 1], [1, 0]]).astype(dtype.numpy)


@pytest.mark.parametrize("dtype", list(DType))
def test_bytes_there_and_back(dtype):
    array = array_of(dtype)
    again = from_bytes("y", dtype, array.shape, to_bytes(array, dtype))
    assert again.dtype == array.dtype
    assert (again == array).all()


@pytest.mark.parametrize("dtype", NUMERIC)
def test_lists(dtype):
    array = array_of(dtype)
    for values, shape in ((array.tolist(), None), (array.ravel().tolist(), (2, 2))):
        again = from_lists("y", dtype, shape, values)
        assert again.dtype == array.dtype
        assert (again == array).all()


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (DType.INT64, [1.5]),
        (DType.INT64, [True]),
        (DType.INT8, [300]),
        (DType.UINT8, [-1]),
        (DType.UINT64, [-1]),
        (DType.UINT64, [1 << 70]),
        (DType.BOOL, [1]),
        (DType.FP32, ["1"]),
        (DType.FP32, [[1], [1, 2]]),
        (DType.FP32, [None]),
        (DType.FP32, {"a": 1}),
        (DType.FP32, None),
        (DType.BYTES, [1]),
        (DType.BYTES, [["a"], "b"]),
    ],
)
def test_lists_of_something_else(dtype, values):
    with pytest.raises(MaasError, match="does not hold") as caught:
        from_lists("y", dtype, None, values)
    assert caught.value.kind is ErrorKind.INTERNAL


def test_very_large_whole_numbers():
    values = [1, (1 << 64) - 1]
    assert from_lists("y", DType.UINT64, None, values).tolist() == values


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [
        (DType.FP32, [2], b"\0" * 7),
        (DType.FP32, [2], b"\0" * 9),
        (DType.FP32, [-1], b""),
        (DType.FP32, [1 << 62, 1 << 62], b""),
        (DType.FP32, [1] * 40, b"\0" * 4),
        (DType.BYTES, [1], b"\5\0\0\0abc"),
        (DType.BYTES, [2], b"\1\0\0\0a"),
        (DType.BYTES, [1], b"\1\0\0\0ab"),
        (DType.BYTES, [1], b"\1\0"),
        (DType.BYTES, [1 << 40], b""),
    ],
)
def test_bytes_of_another_shape(dtype, shape, data):
    with pytest.raises(MaasError) as caught:
        from_bytes("y", dtype, shape, data)
    assert caught.value.kind is ErrorKind.INTERNAL


def oip(outputs: list[dict], blobs: bytes = b"", length: str | None = None) -> Answer:
    head = json.dumps({"model_name": "m", "outputs": outputs}).encode()
    said = str(len(head)) if length is None else length
    return Answer(
        {"inference-header-content-length": said} if blobs or length else {}, head + blobs
    )


def test_oip_in_json_and_in_bytes():
    y = {"name": "y", "datatype": "FP32", "shape": [1, 2]}
    found = oip_rest.read_outputs(oip([{**y, "data": [1, 2.5]}]))
    assert found["y"].tolist() == [[1, 2.5]]
    blob = np.array([1, 2.5], np.float32).tobytes()
    found = oip_rest.read_outputs(oip([{**y, "parameters": {"binary_data_size": 8}}], blob))
    assert found["y"].tolist() == [[1, 2.5]]


@pytest.mark.parametrize(
    "answer",
    [
        Answer({}, b""),
        Answer({}, b"[]"),
        Answer({}, b"{}"),
        Answer({}, b'{"outputs": 1}'),
        Answer({}, b"[" * 100_000),
        Answer({}, b'{"outputs": ' + b"[" * 100_000),
        oip([{"name": "y", "datatype": "FP33", "shape": [1], "data": [1]}]),
        oip([{"name": "y", "datatype": "numpy", "shape": [1], "data": [1]}]),
        oip([{"name": "y", "datatype": "FP32", "shape": [2], "data": [1]}]),
        oip([{"name": "y", "datatype": "FP32", "shape": [1]}]),
        oip([{"name": "y", "datatype": "FP32", "shape": [1 << 40, 1 << 40], "data": [1]}]),
        oip([{"name": "y", "datatype": "FP32", "shape": [1 << 70], "data": [1]}]),
        oip([{"name": "y", "datatype": "FP32", "shape": [-1], "data": [1]}]),
        oip([], b"left over"),
        oip([], b"", "10000"),
        oip([], b"", "-1"),
        oip([], b"", "²"),
        oip(
            [{"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 9}}]
        ),
        oip(
            [
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": [1],
                    "parameters": {"binary_data_size": "4"},
                }
            ],
            b"\0\0\0\0",
        ),
        oip(
            [
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": [1],
                    "parameters": {"binary_data_size": -4},
                }
            ],
            b"\0\0\0\0",
        ),
    ],
)
def test_oip_that_is_wrong(answer):
    with pytest.raises(MaasError) as caught:
        oip_rest.read_outputs(answer)
    assert caught.value.kind is ErrorKind.INTERNAL
    assert "the upstream's answer cannot be used" in caught.value.message


def test_oip_over_grpc_raw_and_typed():
    answer = message("inference.ModelInferResponse")()
    answer.outputs.add(name="y", datatype="FP32", shape=[1, 2])
    raw = type(answer).FromString(answer.SerializeToString())
    raw.raw_output_contents.append(np.array([1, 2], np.float32).tobytes())
    assert oip_grpc.read_outputs(raw.SerializeToString())["y"].tolist() == [[1, 2]]
    answer.outputs[0].contents.fp32_contents.extend([1, 2])
    assert oip_grpc.read_outputs(answer.SerializeToString())["y"].tolist() == [[1, 2]]
    raw.raw_output_contents.append(b"")
    with pytest.raises(MaasError, match="2 raw tensors"):
        oip_grpc.read_outputs(raw.SerializeToString())


@pytest.mark.parametrize(
    ("dtype", "field"), [("INT8", "int"), ("UINT16", "uint"), ("INT64", "int64"), ("BOOL", "bool")]
)
def test_typed_fields(dtype, field):
    answer = message("inference.ModelInferResponse")()
    answer.outputs.add(name="y", datatype=dtype, shape=[1])
    getattr(answer.outputs[0].contents, f"{field}_contents").append(1)
    assert oip_grpc.read_outputs(answer.SerializeToString())["y"].tolist() == [1]


def test_tensorflow_in_columns():
    body = b'{"outputs": {"y": [[1.0, NaN]], "t": [{"b64": "AP8="}]}}'
    found = tf_rest.read_outputs(BOTH, body)
    assert np.isnan(found["y"][0, 1])
    assert found["t"].tolist() == [b"\0\xff"]
    assert tf_rest.read_outputs(ONE, b'{"outputs": [[1, 2]]}')["y"].tolist() == [[1, 2]]
    assert tf_rest.read_outputs(TEXT, '{"outputs": ["é"]}'.encode())["t"].tolist() == ["é".encode()]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"1",
        b"{}",
        b'{"outputs": null}',
        b'{"outputs": [[1, 2]]}',
        b'{"outputs": {"y": [[1, 2]]}}',
        b'{"outputs": {"y": [[1, 2, 3]], "t": ["a"]}}',
        b'{"outputs": {"y": [1, 2], "t": ["a"]}}',
        b'{"outputs": {"y": [[1, "2"]], "t": ["a"]}}',
        b'{"outputs": {"y": [[1, 2]], "t": [1]}}',
        b'{"outputs": {"y": [[1, 2]], "t": [{"b64": "?"}]}}',
        b'{"outputs": {"y": [[1, 2]], "t": [{"b64": 1}]}}',
        b'{"outputs": {"y": ' + b"[" * 100_000,
        b'{"outputs": {"y": [[1, 2]], "t": ' + b"[" * 900 + b"]" * 900 + b"}}",
    ],
)
def test_tensorflow_that_is_wrong(body):
    with pytest.raises(MaasError) as caught:
        tf_rest.read_outputs(BOTH, body)
    assert caught.value.kind is ErrorKind.INTERNAL


def predicted(dtype: DType, shape: list[int], **fields) -> bytes:
    answer = message("tensorflow.serving.PredictResponse")()
    tensor = answer.outputs["y"]
    tensor.dtype = NUMBERS[dtype]
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    for name, value in fields.items():
        if isinstance(value, list):
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return answer.SerializeToString()


def called(dtype: DType, rank: int = 1) -> Signature:
    return Signature("s", BOTH.inputs, (TensorSpec("y", dtype, (None,) * rank),), False)


@pytest.mark.parametrize(
    ("dtype", "fields", "values"),
    [
        (DType.FP32, {"float_val": [1, 2]}, [1, 2]),
        (DType.FP32, {"tensor_content": np.array([1, 2], np.float32).tobytes()}, [1, 2]),
        (DType.FP32, {"float_val": [7]}, [7, 7]),
        (DType.FP64, {"double_val": [1, 2]}, [1, 2]),
        (DType.INT8, {"int_val": [1, -2]}, [1, -2]),
        (DType.INT64, {"int64_val": [1, 2]}, [1, 2]),
        (DType.UINT32, {"uint32_val": [1, 2]}, [1, 2]),
        (DType.UINT64, {"uint64_val": [1, (1 << 64) - 1]}, [1, (1 << 64) - 1]),
        (DType.BOOL, {"bool_val": [True, False]}, [True, False]),
        (DType.BYTES, {"string_val": [b"a", b"\xff"]}, [b"a", b"\xff"]),
        (DType.FP16, {"half_val": [0x3C00, 0x4000]}, [1, 2]),
        (DType.BF16, {"half_val": [0x3F80, 0x4000]}, [1, 2]),
    ],
)
def test_tensor_protos(dtype, fields, values):
    found = tf_grpc.read_outputs(called(dtype), predicted(dtype, [2], **fields))
    assert found["y"].dtype == dtype.numpy
    assert found["y"].tolist() == values


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        predicted(DType.FP32, [1 << 40], float_val=[1]),
        predicted(DType.FP32, [1 << 62, 1 << 62], float_val=[1]),
        predicted(DType.FP32, [-1], float_val=[1]),
        predicted(DType.FP32, [2]),
        predicted(DType.FP32, [1], float_val=[1, 2]),
        predicted(DType.FP32, [2], tensor_content=b"\0" * 5),
        predicted(DType.FP32, [2, 1], float_val=[1, 2]),
        predicted(DType.INT64, [1], int64_val=[1]),
        message("tensorflow.serving.PredictResponse")().SerializeToString(),
    ],
)
def test_tensor_protos_that_are_wrong(data):
    with pytest.raises(MaasError) as caught:
        tf_grpc.read_outputs(called(DType.FP32), data)
    assert caught.value.kind is ErrorKind.INTERNAL


def metadata(**signatures) -> bytes:
    return json.dumps({"metadata": {"signature_def": {"signature_def": signatures}}}).encode()


def info(dtype: str, *sizes: int, unknown: bool = False) -> dict:
    dims = [{"size": str(size), "name": ""} for size in sizes]
    return {"dtype": dtype, "tensor_shape": {"dim": dims, "unknown_rank": unknown}, "name": "x:0"}


GOOD = {"inputs": {"x": info("DT_FLOAT", -1, 2)}, "outputs": {"y": info("DT_STRING", -1)}}


def test_metadata_of_tensorflow():
    odd = {"inputs": {"x": info("DT_FLOAT", unknown=True)}, "outputs": {"y": info("DT_FLOAT", -1)}}
    said = metadata(a=GOOD, init={"inputs": {}, "outputs": {}}, odd=odd)
    document = tf_rest.read_metadata(TARGET, said)
    assert list(document.signatures) == ["a"]
    assert document.signatures["a"].inputs == (TensorSpec("x", DType.FP32, (None, 2)),)
    assert document.signatures["a"].outputs == (TensorSpec("y", DType.BYTES, (None,)),)
    only = parse_upstream("tfserving+http://host/m#b")
    assert list(tf_rest.read_metadata(only, metadata(a=GOOD, b=GOOD)).signatures) == ["b"]
    with pytest.raises(MaasError, match="no signature 'b'; it has a"):
        tf_rest.read_metadata(only, metadata(a=GOOD))
    for nothing in (metadata(odd=odd), metadata()):
        with pytest.raises(MaasError, match="no signature with inputs and outputs"):
            tf_rest.read_metadata(TARGET, nothing)
    complex_ = {"inputs": {"x": info("DT_COMPLEX64", 1)}, "outputs": GOOD["outputs"]}
    with pytest.raises(MaasError, match="'DT_COMPLEX64', which is not known here"):
        tf_rest.read_metadata(TARGET, metadata(a=complex_))


def test_what_oip_describes():
    document = described(
        "oip+http://h/m", [("x", "FP32", [-1, 2])], [("y", "BYTES", [])],
        rows=8, binary=True, platform="p" * 100,
    )  # fmt: skip
    assert document.signatures["serving_default"].inputs[0].shape == (None, 2)
    assert len(document.platform) == 60
    with pytest.raises(MaasError, match="takes no binary tensors"):
        described(
            "u", [("x", "BF16", [1])], [("y", "FP32", [1])], rows=0, binary=False, platform=""
        )
    for name, dtype, shape in (("x", "FP33", [1]), ("x", "FP32", [-2]), ("x", "FP32", [1] * 33)):
        with pytest.raises(MaasError, match="the upstream says that its tensor"):
            spec_of(name, dtype, shape)


def test_documents():
    full = Document("triton+grpc://Host/m", {"serving_default": BOTH}, True, 8, "tensorrt_plan")
    assert decode_document(full.encode()) == full
    assert bare(full) == Document("triton+grpc://host:8001/m")
    for bad in (b"", b"{}", b'{"upstream": 1}', b'{"upstream": "x", "key": "s"}', b"[" * 100_000):
        with pytest.raises(MaasError) as caught:
            decode_document(bad)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


SEEDS = [
    predicted(DType.FP32, [2], float_val=[1, 2]),
    predicted(DType.BYTES, [1], string_val=[b"a"]),
    metadata(a=GOOD),
    b'{"outputs": {"y": [[1, 2]], "t": ["a"]}}',
    oip([{"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]).body,
]
READERS = [
    lambda data: oip_rest.read_outputs(Answer({}, data)),
    lambda data: oip_rest.read_outputs(
        Answer({"inference-header-content-length": str(len(data) // 2)}, data)
    ),
    oip_grpc.read_outputs,
    lambda data: tf_rest.read_outputs(BOTH, data),
    lambda data: tf_rest.read_metadata(TARGET, data),
    lambda data: tf_grpc.read_outputs(called(DType.FP32), data),
    lambda data: tf_grpc.read_metadata(TARGET, data),
    decode_document,
]


@st.composite
def mutated(draw) -> bytes:
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data) - 1))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
        data = data or bytearray(b"x")
    return bytes(data)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200) | mutated())
def test_any_bytes_are_read_or_refused(data):
    for read in READERS:
        try:
            read(data)
        except MaasError:
            continue
