"""Triton's repository, statistics, configuration and settings over gRPC."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests import zoo

triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient and grpcio")
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException


@pytest.fixture
def client(rpc: str) -> Iterator[Any]:
    with triton.InferenceServerClient(rpc) as opened:
        yield opened


def refused(work) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        work()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_configuration(client):
    config = client.get_model_config("iris", "2").config
    assert (config.name, config.backend) == ("iris", "onnxruntime")
    assert config.max_batch_size > 0
    [tensor] = config.input
    assert (tensor.name, list(tensor.dims)) == ("x", [4])
    assert tensor.data_type == 11  # TYPE_FP32
    label = next(one for one in config.output if one.name == "label")
    assert (list(label.dims), list(label.reshape.shape)) == ([1], [])


def test_statistics(client):
    tensor = triton.InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([zoo.FLOWER], np.float32))
    client.infer("iris", [tensor], model_version="1")
    [one] = client.get_inference_statistics("iris", "1").model_stats
    assert (one.name, one.version) == ("iris", "1")
    assert one.inference_stats.success.count >= 0
    assert len(client.get_inference_statistics("iris").model_stats) == 2
    assert len(client.get_inference_statistics().model_stats) > 5
    assert refused(lambda: client.get_inference_statistics("nobody"))[0] == "NOT_FOUND"


def test_the_index(client):
    found = {
        (one.name, one.version): one.state for one in client.get_model_repository_index().models
    }
    assert found["iris", "1"] == "READY"
    assert ("iris", "2") in found


def test_loading_wants_a_key(client, usual):
    for work in (client.load_model, client.unload_model):
        code, words = refused(lambda work=work: work("counts"))
        assert (code, "needs a key" in words) == ("UNAUTHENTICATED", True)


def test_unload_and_load(client, usual):
    headers = {"authorization": f"Bearer {usual.key}"}
    client.unload_model("counts", headers=headers)
    assert not client.is_model_ready("counts")
    client.load_model("counts", headers=headers)
    assert client.is_model_ready("counts")
    code, _ = refused(lambda: client.load_model("counts", headers=headers, config="{}"))
    assert code == "UNIMPLEMENTED"
    assert refused(lambda: client.load_model("nobody", headers=headers))[0] == "NOT_FOUND"


def test_settings_are_shown_and_fixed(client):
    assert client.get_log_settings().settings["log_info"].bool_param
    assert client.get_trace_settings().settings["trace_level"].value == ["OFF"]
    assert refused(lambda: client.update_log_settings({"log_verbose_level": 1}))[0] == (
        "UNIMPLEMENTED"
    )


def test_regions_of_memory(client):
    assert not client.get_system_shared_memory_status().regions
    assert not client.get_cuda_shared_memory_status().regions
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory()
    code, words = refused(lambda: client.register_system_shared_memory("a", "/a", 64))
    assert (code, "maps no memory" in words) == ("UNIMPLEMENTED", True)
