"""What a `TritonPythonModel` imports: tensors, requests, responses, configurations."""

from __future__ import annotations

import numpy as np
import pytest

from maas.runtimes import triton_python_utils as utils

CONFIG = {
    "max_batch_size": 0,
    "input": [{"name": "a", "data_type": "TYPE_INVALID", "dims": []}],
    "output": [],
}


def test_tensors():
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    tensor = utils.Tensor("x", array)
    assert (tensor.name(), tensor.shape(), tensor.triton_dtype()) == ("x", [2, 3], 11)
    assert tensor.as_numpy() is array
    assert tensor.is_cpu()
    again = utils.Tensor.from_dlpack("y", tensor)
    assert np.array_equal(again.as_numpy(), array)
    with pytest.raises(utils.TritonModelException, match="expected an array of"):
        utils.Tensor("x", np.array(["a"]))
    with pytest.raises(utils.TritonModelException, match="was made of a list"):
        utils.Tensor("x", [1])  # type: ignore[arg-type]


def test_torch_reads_them():
    torch = pytest.importorskip("torch")
    tensor = utils.Tensor("x", np.arange(3, dtype=np.float32))
    assert torch.from_dlpack(tensor.to_dlpack()).tolist() == [0, 1, 2]
    assert torch.from_dlpack(tensor).tolist() == [0, 1, 2]
    assert utils.Tensor.from_dlpack("y", torch.ones(2)).as_numpy().tolist() == [1, 1]


def test_types_by_name_and_number():
    for number, (name, kind) in enumerate(utils.TRITON_STRING_TO_NUMPY.items(), 1):
        assert utils.triton_string_to_numpy(name) is kind
        assert utils.triton_to_numpy_type(number) is kind
        assert utils.numpy_to_triton_type(kind) == number
    assert utils.numpy_to_triton_type(np.bytes_) == 13
    assert utils.triton_to_numpy_type(99) is None
    assert utils.numpy_to_triton_type(np.complex64) is None


def test_byte_tensors_travel():
    array = np.array([[b"a", "茶"], [b"", b"\x00\xff"]], object)
    said = utils.serialize_byte_tensor(array)
    assert utils.deserialize_bytes_tensor(said).tolist() == [b"a", "茶".encode(), b"", b"\x00\xff"]
    assert utils.serialize_byte_tensor(np.array([], object)) is None


def test_a_configuration_is_completed_and_not_contradicted():
    config = utils.ModelConfig({**CONFIG, "input": [dict(CONFIG["input"][0])], "output": []})
    config.add_input({"name": "a", "data_type": "TYPE_FP32", "dims": [4], "optional": True})
    config.add_output({"name": "b", "data_type": "TYPE_FP32", "dims": [4]})
    config.set_max_batch_size(8)
    config.set_dynamic_batching()
    config.set_model_transaction_policy({"decoupled": False})
    said = config.as_dict()
    assert said["input"] == [{"name": "a", "data_type": "TYPE_FP32", "dims": [4]}]
    assert said["max_batch_size"] == 8
    assert utils.get_output_config_by_name(said, "b")["dims"] == [4]
    assert utils.get_input_config_by_name(said, "nobody") is None
    assert not utils.using_decoupled_model_transaction_policy(said)
    with pytest.raises(ValueError, match="dims of input 'a' is"):
        config.add_input({"name": "a", "data_type": "TYPE_FP32", "dims": [5]})
    with pytest.raises(ValueError, match="needs name, data_type and dims"):
        config.add_output({"name": "c"})
    with pytest.raises(ValueError, match="max_batch_size is 8"):
        config.set_max_batch_size(2)


def test_requests_and_responses(capsys):
    tensor = utils.Tensor("x", np.zeros(1))
    request = utils.InferenceRequest([tensor], ["y"], "m", 3)
    assert utils.get_input_tensor_by_name(request, "x") is tensor
    assert utils.get_input_tensor_by_name(request, "y") is None
    assert request.requested_output_names() == ["y"]
    assert (request.model_name(), request.model_version()) == ("m", 3)
    assert (request.request_id(), request.correlation_id(), request.parameters()) == ("", 0, "{}")
    assert (request.flags(), request.timeout(), request.is_cancelled()) == (0, 0, False)
    for refused in (request.exec, request.async_exec, request.get_response_sender):
        with pytest.raises(utils.TritonModelException):
            refused()
    response = utils.InferenceResponse([tensor])
    assert not response.has_error()
    assert utils.get_output_tensor_by_name(response, "x") is tensor
    error = utils.TritonError("no", utils.TritonError.NOT_FOUND)
    response = utils.InferenceResponse(error=error)
    assert response.has_error()
    assert (error.message(), error.code(), str(error)) == ("no", 2, "no")
    assert utils.TritonModelException("why").message() == "why"
    utils.Logger.log_info("a")
    utils.Logger.log_warn("b")
    utils.Logger.log_error("c")
    utils.Logger.log_verbose("d")
    assert capsys.readouterr().err == "INFO: a\nWARNING: b\nERROR: c\n"


def test_what_is_not_here_says_so():
    with pytest.raises(AttributeError, match="has no 'Metric' here"):
        _ = utils.Metric
