"""NVIDIA's tritonclient over gRPC."""

from __future__ import annotations

import queue
from contextlib import closing
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from harness import FLOWER, KEY, raises, run
from tritonclient.grpc import service_pb2
from tritonclient.utils import InferenceServerException

import grpc
from tensors import EVERY, MODELS, of_iris, same, sent, wanted


def check_live(client: Any) -> None:
    """OIP-GRPC: ServerLive"""
    assert client.is_server_live()


def check_ready(client: Any) -> None:
    """OIP-GRPC: ServerReady"""
    assert client.is_server_ready()


def check_model_ready(client: Any) -> None:
    """OIP-GRPC: ModelReady"""
    assert client.is_model_ready("iris")
    assert client.is_model_ready("iris", "2")


def check_server_metadata(client: Any) -> None:
    """OIP-GRPC: ServerMetadata"""
    assert client.get_server_metadata().name


def check_model_metadata(client: Any) -> None:
    """OIP-GRPC: ModelMetadata"""
    found = client.get_model_metadata("iris", "2")
    assert found.inputs[0].name == "x"
    assert list(found.inputs[0].shape) == [-1, 4]


def check_model_config(client: Any) -> None:
    """OIP-GRPC: ModelConfig"""
    found = client.get_model_config("iris").config
    assert found.name == "iris"
    assert found.input[0].name == "x"


def check_statistics(client: Any) -> None:
    """OIP-GRPC: ModelStatistics"""
    client.infer("iris", [of_iris(triton, FLOWER)])
    [found] = client.get_inference_statistics("iris", "1").model_stats
    assert found.inference_count >= 1
    assert found.inference_stats.success.count >= 1


def check_repository_index(client: Any) -> None:
    """OIP-GRPC: RepositoryIndex"""
    index = client.get_model_repository_index()
    assert {"iris", "pair"} <= {one.name for one in index.models}


def check_repository_load(client: Any) -> None:
    """OIP-GRPC: RepositoryModelLoad and RepositoryModelUnload, with a key that may publish"""
    key = {"authorization": f"Bearer {KEY}"}
    client.unload_model("centroid", headers=key)
    assert not client.is_model_ready("centroid")
    client.load_model("centroid", headers=key)
    assert client.is_model_ready("centroid")
    call = lambda: client.unload_model("centroid")  # noqa: E731
    raises(InferenceServerException, "UNAUTHENTICATED", call)


def check_infer(client: Any) -> None:
    """OIP-GRPC: ModelInfer with raw tensors, the client's only form"""
    result = client.infer(
        "iris", [of_iris(triton, FLOWER)], outputs=wanted(triton, "label", "probabilities")
    )
    assert result.as_numpy("label").tolist() == [0]
    assert result.as_numpy("probabilities").shape == (1, 3)


def check_every_datatype(client: Any) -> None:
    """OIP-GRPC: BOOL, UINT8–64, INT8–64, FP16/32/64, BF16 and BYTES as raw tensors"""
    for model, tensors in MODELS.items():
        result = client.infer(model, [sent(triton, kind, array) for kind, array in tensors.items()])
        for kind, array in tensors.items():
            same(result.as_numpy(f"out_{kind.lower()}"), array, kind)


def check_versions(client: Any) -> None:
    """OIP-GRPC: a version by its number"""
    for version, label in (("", 0), ("1", 0), ("2", 2)):
        result = client.infer("iris", [of_iris(triton, FLOWER)], model_version=version)
        assert result.as_numpy("label").tolist() == [label]


def check_id(client: Any) -> None:
    """OIP-GRPC: the request's `id` comes back, and the effective version"""
    response = client.infer("iris", [of_iris(triton, FLOWER)], request_id="7").get_response()
    assert (response.id, response.model_name, response.model_version) == ("7", "iris", "1")


def check_classification(client: Any) -> None:
    """OIP-GRPC: `classification`"""
    outputs = [triton.InferRequestedOutput("probabilities", class_count=1)]
    result = client.infer("flowers", [of_iris(triton, FLOWER)], outputs=outputs)
    assert result.as_numpy("probabilities")[0][0].endswith(b":0:setosa")


def check_parameters(client: Any) -> None:
    """OIP-GRPC: `priority`, `timeout`, and a deadline"""
    result = client.infer(
        "iris", [of_iris(triton, FLOWER)], priority=1, timeout=10_000_000, client_timeout=30
    )
    assert result.as_numpy("label").tolist() == [0]


def check_compression(client: Any) -> None:
    """OIP-GRPC: gzip and deflate of messages"""
    for algorithm in ("gzip", "deflate"):
        result = client.infer("iris", [of_iris(triton, FLOWER)], compression_algorithm=algorithm)
        assert result.as_numpy("label").tolist() == [0]


def check_large(client: Any) -> None:
    """OIP-GRPC: a raw tensor of a megabyte"""
    array = np.arange(1 << 18, dtype=np.float32).reshape(-1, 2)
    tensors = [triton.InferInput(name, list(array.shape), "FP32") for name in ("a", "b")]
    for tensor in tensors:
        tensor.set_data_from_numpy(array)
    same(client.infer("pair", tensors).as_numpy("sum"), array + array, "FP32")


def check_stream(client: Any) -> None:
    """OIP-GRPC: ModelStreamInfer answers each request with `infer_response` or `error_message`"""
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for request_id in ("1", "2"):
        client.async_stream_infer("iris", [of_iris(triton, FLOWER)], request_id=request_id)
    client.async_stream_infer("nobody", [of_iris(triton, FLOWER)], request_id="3")
    found = [answers.get(timeout=30) for _ in range(3)]
    client.stop_stream()
    good = [result for result, error in found if error is None]
    assert {result.get_response().id for result in good} == {"1", "2"}
    assert [error for _, error in found if error is not None]


def check_async(client: Any) -> None:
    """OIP-GRPC: many requests at once on one connection (`async_infer`)"""
    answers: queue.Queue[Any] = queue.Queue()
    for _ in range(32):
        client.async_infer(
            "iris", [of_iris(triton, FLOWER)], lambda result, error: answers.put((result, error))
        )
    for _ in range(32):
        result, error = answers.get(timeout=30)
        assert error is None, error
        assert result.as_numpy("label").tolist() == [0]


def check_typed_contents(client: Any) -> None:
    """OIP-GRPC: typed `contents`: INT8/16/32 in `int_contents`, UINT8/16/32 in `uint_contents`"""
    fields = {
        "BOOL": "bool", "UINT64": "uint64", "INT64": "int64", "FP32": "fp32", "FP64": "fp64",
        "BYTES": "bytes", **dict.fromkeys(("INT8", "INT16", "INT32"), "int"),
        **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint"),
    }  # fmt: skip
    request = service_pb2.ModelInferRequest(model_name="typed")
    for kind, field in fields.items():
        tensor = request.inputs.add(name=f"in_{kind.lower()}", datatype=kind, shape=[1, 2])
        getattr(tensor.contents, f"{field}_contents").extend(EVERY[kind].ravel().tolist())
    result = triton.InferResult(client._client_stub.ModelInfer(request))
    for kind in fields:
        same(result.as_numpy(f"out_{kind.lower()}"), EVERY[kind], kind)


def check_half_is_raw(client: Any) -> None:
    """OIP-GRPC: FP16 in `contents` is INVALID_ARGUMENT: it must be raw"""
    request = service_pb2.ModelInferRequest(model_name="types")
    tensor = request.inputs.add(name="in_fp16", datatype="FP16", shape=[1, 2])
    tensor.contents.fp32_contents.extend([1, 2])
    _refused(client, request, "INVALID_ARGUMENT")


def check_order(client: Any) -> None:
    """OIP-GRPC: raw entries follow the order of the request's inputs"""
    request = service_pb2.ModelInferRequest(model_name="pair")
    for name, values in (("b", [10, 10]), ("a", [1, 2])):
        request.inputs.add(name=name, datatype="FP32", shape=[1, 2])
        request.raw_input_contents.append(np.array(values, "<f4").tobytes())
    result = triton.InferResult(client._client_stub.ModelInfer(request))
    same(result.as_numpy("product"), np.array([[10, 20]], np.float32), "FP32")


def check_settings(client: Any) -> None:
    """OIP-GRPC: TraceSetting and LogSettings say what is in force"""
    assert client.get_trace_settings(as_json=True)["settings"]
    assert client.get_log_settings(as_json=True)["settings"]


def check_changed_settings(client: Any) -> None:
    """OIP-GRPC: changing log and trace settings

    Reason: this server's log is set in its settings, not by callers of models
    Instead: UNIMPLEMENTED, which says so
    """
    call = lambda: client.update_log_settings({"log_verbose_level": 1})  # noqa: E731
    raises(InferenceServerException, "UNIMPLEMENTED", call)
    call = lambda: client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})  # noqa: E731
    raises(InferenceServerException, "UNIMPLEMENTED", call)


def check_no_regions(client: Any) -> None:
    """OIP-GRPC: SystemSharedMemoryStatus, CudaSharedMemoryStatus: no regions"""
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions


def check_shared_memory(client: Any) -> None:
    """OIP-GRPC: registering system and CUDA shared memory

    Reason: a caller's memory is not mapped: it could change under the model, or be another's
    Instead: UNIMPLEMENTED, which says so; send raw tensors
    """
    call = lambda: client.register_system_shared_memory("r", "/r", 24)  # noqa: E731
    raises(InferenceServerException, "UNIMPLEMENTED", call)


def check_both_forms(client: Any) -> None:
    """OIP-GRPC: `raw_input_contents` beside `contents` is INVALID_ARGUMENT"""
    request = service_pb2.ModelInferRequest(model_name="counts")
    tensor = request.inputs.add(name="counts", datatype="INT64", shape=[1, 3])
    tensor.contents.int64_contents.extend([1, 2, 3])
    request.raw_input_contents.append(b"\0" * 24)
    _refused(client, request, "INVALID_ARGUMENT")


def check_short_raw(client: Any) -> None:
    """OIP-GRPC: a raw tensor too short or too long is INVALID_ARGUMENT"""
    for size in (23, 25):
        request = service_pb2.ModelInferRequest(model_name="counts")
        request.inputs.add(name="counts", datatype="INT64", shape=[1, 3])
        request.raw_input_contents.append(b"\0" * size)
        _refused(client, request, "INVALID_ARGUMENT")


def check_errors(client: Any) -> None:
    """OIP-GRPC: an unknown model is NOT_FOUND, a wrong input INVALID_ARGUMENT, with a sentence"""
    call = lambda: client.infer("nobody", [of_iris(triton, FLOWER)])  # noqa: E731
    raises(InferenceServerException, "NOT_FOUND", call)
    wrong = triton.InferInput("y", [1, 4], "FP32")
    wrong.set_data_from_numpy(np.array([FLOWER], np.float32))
    raises(InferenceServerException, "INVALID_ARGUMENT", lambda: client.infer("iris", [wrong]))


def _refused(client: Any, request: Any, code: str) -> None:
    error = raises(grpc.RpcError, "", lambda: client._client_stub.ModelInfer(request))
    assert error.code().name == code, error
    assert len(error.details()) > 15


if __name__ == "__main__":
    run(globals(), lambda address: closing(triton.InferenceServerClient(address)))
