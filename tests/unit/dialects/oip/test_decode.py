"""Inference requests of the Open Inference Protocol, rule by rule."""

from __future__ import annotations

import numpy as np
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.decode import decode_infer

DATA = [5.1, 3.5, 1.4, 0.2]


def tensor(**changes):
    sent = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": DATA, **changes}
    return {key: value for key, value in sent.items() if value is not ...}


def request_of(*tensors, **members):
    return {"inputs": list(tensors), **members}


def refused(text, view, kind=ErrorKind.INVALID_ARGUMENT):
    with pytest.raises(MaasError) as caught:
        decode_infer(text, view)
    assert caught.value.kind is kind
    return caught.value.message


@pytest.mark.parametrize("data", [DATA, [DATA]])
def test_data_is_flat_or_nested(body, iris, data):
    request = decode_infer(body(request_of(tensor(data=data))), iris)
    np.testing.assert_array_equal(request.inputs["x"], np.array([DATA], np.float32))
    assert request.signature is iris.signatures["serving_default"]
    assert request.rows == 1
    assert request.outputs is None
    assert request.classes == ()
    assert request.id is None
    assert request.timeout_s is None


def test_everything_a_request_may_carry(body, iris):
    request = decode_infer(
        body(
            request_of(
                tensor(shape=[2, 4], data=DATA * 2, parameters={"own": 1}),
                id="42",
                outputs=[
                    {"name": "probabilities", "parameters": {"classification": 2}},
                    {"name": "label", "parameters": {"binary_data": False}},
                ],
                parameters={
                    "timeout": 1_500_000,
                    "priority": 1,
                    "sequence_id": 0,
                    "sequence_start": False,
                    "binary_data_output": False,
                    "headers": {"a": "b"},
                    "triton_enable_empty_final_response": True,
                },
                unknown={"ignored": True},
            )
        ),
        iris,
    )
    assert request.rows == 2
    assert request.id == "42"
    assert request.outputs == ("probabilities", "label")
    assert request.classes == (2, 0)
    assert request.timeout_s == 1.5
    assert request.priority == 1
    assert request.binary == ()
    assert not request.all_binary


@pytest.mark.parametrize("outputs", [[], None])
def test_no_outputs_named_means_all(body, iris, outputs):
    assert decode_infer(body(request_of(tensor(), outputs=outputs)), iris).outputs is None


def test_several_inputs_in_any_order(body, make_view):
    view = make_view(
        [TensorSpec("a", DType.INT64, (None, 2)), TensorSpec("b", DType.BYTES, (None, 1))]
    )
    a = {"name": "a", "shape": [1, 2], "datatype": "INT64", "data": [1, 2]}
    b = {"name": "b", "shape": [1, 1], "datatype": "BYTES", "data": [["中"]]}
    request = decode_infer(body(request_of(b, a)), view)
    assert request.inputs["a"].tolist() == [[1, 2]]
    assert request.inputs["b"].tolist() == [["中".encode()]]
    assert "input 'b' is missing" in refused(body(request_of(a)), view)
    assert "'a' is sent twice" in refused(body(request_of(a, a)), view)
    assert "'a' is sent twice" in refused(body(request_of(a, a, b)), view)
    assert "no input 'c'" in refused(body(request_of(a, b, {**a, "name": "c"})), view)
    assert "there are 3 inputs" in refused(body(request_of(a, b, 5)), view)
    b["shape"] = [2, 1]
    b["data"] = ["a", "b"]
    assert "has 2 rows where 'a' has 1" in refused(body(request_of(a, b)), view)


@pytest.mark.parametrize(
    ("sent", "sentence"),
    [
        ({}, "inputs must be a list"),
        ({"inputs": []}, "inputs must be a list"),
        ({"inputs": {"x": DATA}}, "inputs must be a list"),
        ({"inputs": None}, "inputs must be a list"),
        ({"inputs": [DATA]}, "inputs[0] must be an object with a name"),
        ({"inputs": [tensor(name=...)]}, "inputs[0] must be an object with a name"),
        ({"inputs": [tensor(name=3)]}, "inputs[0] must be an object with a name"),
        ({"inputs": [tensor(name="z")]}, "no input 'z'; expected x FP32 [n, 4]"),
        ({"inputs": [tensor(data=...)]}, "'x' has no data"),
        ({"inputs": [tensor(data=None)]}, "data of input 'x' must be a list"),
        ({"inputs": [tensor(data=5)]}, "data of input 'x' must be a list"),
        ({"inputs": [tensor(data={"b64": ""})]}, "data of input 'x' must be a list"),
        ({"inputs": [tensor(data=DATA[:3])]}, "holds 3 values where its shape [1, 4] needs 4"),
        ({"inputs": [tensor(data=[*DATA, 1])]}, "holds 5 values where its shape [1, 4] needs 4"),
        ({"inputs": [tensor(data=[])]}, "holds 0 values where its shape [1, 4] needs 4"),
        ({"inputs": [tensor(data=[[1, 2], [3, 4]])]}, "data of shape [2, 2] where it says [1, 4]"),
        ({"inputs": [tensor(data=[[1, 2], [3]])]}, "'x' is ragged"),
        ({"inputs": [tensor(data=[1, 2, 3, "4"])]}, 'holds "4" at [3]'),
        ({"inputs": [tensor(data=[1, 2, 3, None])]}, "holds null at [3]"),
        ({"inputs": [tensor(data=[1, 2, 3, 1e39])]}, "beyond what FP32 can hold"),
        ({"inputs": [tensor(shape=...)]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=4)]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=[1.0, 4])]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=[True, 4])]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=[-1, 4])]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=["1", 4])]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=[1] * 33)]}, "shape of input 'x' must be a list"),
        ({"inputs": [tensor(shape=[4])]}, "has shape [4]; expected x FP32 [n, 4]"),
        ({"inputs": [tensor(shape=[2, 2])]}, "has shape [2, 2]; expected x FP32 [n, 4]"),
        ({"inputs": [tensor(shape=[0, 4], data=[])]}, "has no rows"),
        ({"inputs": [tensor(shape=[0, 2**62, 2**62], data=[])]}, "holds 0 values"),
        ({"inputs": [tensor(shape=[0, 2**63], data=[])]}, "holds 0 values"),
        ({"inputs": [tensor(datatype=...)]}, "'x' has no datatype; expected x FP32"),
        ({"inputs": [tensor(datatype=32)]}, "'x' has no datatype; expected x FP32"),
        ({"inputs": [tensor(datatype="FP64")]}, "'x' is FP64; expected x FP32 [n, 4]"),
        ({"inputs": [tensor(datatype="fp32")]}, "'x' is fp32; expected x FP32 [n, 4]"),
        ({"inputs": [tensor(datatype="FP16")]}, "FP16, which has no JSON form"),
        ({"inputs": [tensor(datatype="BF16")]}, "BF16, which has no JSON form"),
        ({"inputs": [tensor(parameters=[])]}, "parameters of input 'x' must be an object"),
        ({"inputs": [tensor()], "parameters": 1}, "parameters of the request must be an object"),
        ({"inputs": [tensor()], "id": 3}, "id must be a string"),
        ({"inputs": [tensor()], "outputs": {}}, "outputs must be a list"),
        ({"inputs": [tensor()], "outputs": ["label"]}, "outputs[0] must be an object"),
        ({"inputs": [tensor()], "outputs": [{}]}, "outputs[0] must be an object"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "z"}]},
            "no output 'z'; expected some of label, probabilities",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "label"}, {"name": "label"}]},
            "'label' is asked for twice",
        ),
        ({"inputs": [tensor()], "parameters": {"timeout": -1}}, "timeout must be a whole number"),
        ({"inputs": [tensor()], "parameters": {"timeout": 1.5}}, "timeout must be a whole number"),
        ({"inputs": [tensor()], "parameters": {"timeout": True}}, "timeout must be a whole number"),
        ({"inputs": [tensor()], "parameters": {"timeout": 2**63}}, "timeout must be a whole"),
        ({"inputs": [tensor()], "parameters": {"priority": -1}}, "priority must be a whole number"),
        ({"inputs": [tensor()], "parameters": {"priority": "1"}}, "priority must be a whole"),
        ({"inputs": [tensor()], "parameters": {"priority": 2**32}}, "priority must be a whole"),
        ({"inputs": [tensor()], "parameters": {"sequence_id": 7}}, "keep no state between calls"),
        ({"inputs": [tensor()], "parameters": {"sequence_id": "a"}}, "sequence_id is set"),
        ({"inputs": [tensor()], "parameters": {"sequence_end": True}}, "sequence_end is set"),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": 1}},
            "binary_data_output must be true or false",
        ),
        (
            {
                "inputs": [tensor()],
                "outputs": [{"name": "label", "parameters": {"binary_data": "yes"}}],
            },
            "binary_data of output 'label' must be true or false",
        ),
        (
            {
                "inputs": [tensor()],
                "outputs": [{"name": "label", "parameters": {"classification": 0}}],
            },
            "classification of output 'label' must be a whole number",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "label", "parameters": "no"}]},
            "parameters of output 'label' must be an object",
        ),
    ],
)
def test_what_is_wrong_is_said(body, iris, sent, sentence):
    assert sentence in refused(body(sent), iris)


def test_fp16_models_take_no_json_even_with_the_right_datatype(body, make_view):
    view = make_view([TensorSpec("x", DType.FP16, (None, 4))])
    assert "no JSON form" in refused(body(request_of(tensor(datatype="FP16"))), view)


def test_a_timeout_of_zero_is_none(body, iris):
    sent = request_of(tensor(), parameters={"timeout": 0})
    assert decode_infer(body(sent), iris).timeout_s is None


def test_exactly_one_source_of_data(body, iris):
    there = tensor(parameters={"shared_memory_region": "r"}, data=...)
    message = refused(body(request_of(there)), iris, ErrorKind.UNIMPLEMENTED)
    assert "maps no memory of its callers" in message
    for source in ("binary_data_size", "shared_memory_region"):
        both = tensor(parameters={source: 16})
        message = refused(body(request_of(both)), iris)
        assert f"both {source} and data; send exactly one" in message
    both = tensor(parameters={"binary_data_size": 16, "shared_memory_region": "r"}, data=...)
    assert "send exactly one" in refused(body(request_of(both)), iris)
    neither = tensor(parameters={}, data=...)
    assert "has no data" in refused(body(request_of(neither)), iris)
    binary = tensor(parameters={"binary_data_size": 16}, data=...)
    message = refused(body(request_of(binary)), iris)
    assert "binary_data_size 16 and 0 bytes of the body are left" in message


def test_answers_in_shared_memory_are_not_built(body, iris):
    asked = {"outputs": [{"name": "label", "parameters": {"shared_memory_region": "r"}}]}
    refused(body(request_of(tensor(), **asked)), iris, ErrorKind.UNIMPLEMENTED)


@pytest.mark.parametrize(
    ("members", "binary", "all_binary"),
    [
        ({"parameters": {"binary_data_output": True}}, (), True),
        (
            {"parameters": {"binary_data_output": True}, "outputs": [{"name": "label"}]},
            (True,),
            False,
        ),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [
                    {"name": "label", "parameters": {"binary_data": False}},
                    {"name": "probabilities"},
                ],
            },
            (False, True),
            False,
        ),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "label", "parameters": {"binary_data": False}}],
            },
            (),
            False,
        ),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": True}}]}, (True,), False),
    ],
)
def test_an_outputs_own_form_counts_before_the_requests(body, iris, members, binary, all_binary):
    request = decode_infer(body(request_of(tensor(), **members)), iris)
    assert request.binary == binary
    assert request.all_binary is all_binary


def test_integers_and_booleans_keep_to_their_kind(body, make_view):
    view = make_view([TensorSpec("x", DType.INT64, (None,))])
    sent = tensor(shape=[2], datatype="INT64", data=[1, 1.0])
    assert "holds 1.0 at [1]" in refused(body(request_of(sent)), view)
    view = make_view([TensorSpec("x", DType.BOOL, (None,))])
    sent = tensor(shape=[2], datatype="BOOL", data=[True, 1])
    assert "expected true or false" in refused(body(request_of(sent)), view)


def test_nested_data_of_two_large_inputs_is_told_apart(body, make_view):
    view = make_view(
        [TensorSpec("a", DType.FP32, (None, 3)), TensorSpec("b", DType.FP32, (None, 2))]
    )
    a = np.arange(6000, dtype=np.float32).reshape(2000, 3)
    b = np.arange(4000, dtype=np.float32).reshape(2000, 2)

    def sent(name, array):
        return {
            "name": name,
            "shape": list(array.shape),
            "datatype": "FP32",
            "data": array.tolist(),
        }

    request = decode_infer(body(request_of(sent("b", b), sent("a", a))), view)
    np.testing.assert_array_equal(request.inputs["a"], a)
    np.testing.assert_array_equal(request.inputs["b"], b)
    ragged = sent("a", a)
    ragged["data"][7], ragged["data"][8] = [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]
    message = refused(body(request_of(sent("b", b), ragged)), view)
    assert "a list of 2 at [7] and a list of 3 at [0]" in message
