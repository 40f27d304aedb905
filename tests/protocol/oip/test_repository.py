"""Triton's repository, statistics, configuration and settings, with NVIDIA's own client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from tests.answers import bare_error

from maas.core.tensor import DType

triton = pytest.importorskip(
    "tritonclient.http", reason="needs tritonclient: pip install 'tritonclient[http]'"
)
InferenceServerException = pytest.importorskip("tritonclient.utils").InferenceServerException


@pytest.fixture
def client(echoes) -> Iterator[Any]:
    with triton.InferenceServerClient(f"127.0.0.1:{echoes.port}") as opened:
        yield opened


def call(client: Any, **about: Any) -> Any:
    tensor = triton.InferInput("BF16", [3, 2], "BF16")
    return client.infer(
        "half", [tensor.set_data_from_numpy(np.ones((3, 2), DType.BF16.numpy))], **about
    )


def test_the_configuration(client):
    found = client.get_model_config("every")
    assert (found["name"], found["backend"]) == ("every", "onnxruntime")
    assert found["max_batch_size"] > 1
    by_name = {one["name"]: one for one in found["input"]}
    assert by_name["FP32"]["data_type"] == "TYPE_FP32"
    assert by_name["BYTES"]["data_type"] == "TYPE_STRING"
    assert by_name["INT8"]["dims"] == [2]
    assert client.get_model_config("half", "1")["input"][0]["data_type"] == "TYPE_BF16"
    with pytest.raises(InferenceServerException, match=r"\[404\]"):
        client.get_model_config("nobody")


def test_statistics(client):
    def figures() -> dict[str, Any]:
        [found] = client.get_inference_statistics("half")["model_stats"]
        return found

    before = figures()
    call(client)
    with pytest.raises(InferenceServerException):
        call(client, timeout=1)  # microseconds: it fails as a prediction, not as a request
    after = figures()
    durations = after["inference_stats"]
    assert after["inference_count"] == before["inference_count"] + 3
    assert after["execution_count"] > before["execution_count"]
    assert after["last_inference"] > 1_700_000_000_000
    assert durations["success"]["count"] == before["inference_stats"]["success"]["count"] + 1
    assert durations["fail"]["count"] == before["inference_stats"]["fail"]["count"] + 1
    assert durations["success"]["ns"] >= durations["compute_infer"]["ns"] > 0
    assert (
        sum(one["compute_infer"]["count"] for one in after["batch_stats"])
        == (after["execution_count"])
    )
    everything = client.get_inference_statistics()["model_stats"]
    assert [one["name"] for one in everything] == ["every", "half"]
    assert client.get_inference_statistics("half", "1")["model_stats"][0]["version"] == "1"
    with pytest.raises(InferenceServerException, match=r"\[404\]"):
        client.get_inference_statistics("half", "9")


def test_unloading_and_loading(client, echoes):
    key = {"authorization": f"Bearer {echoes.key}"}
    for act in (client.unload_model, client.load_model):
        with pytest.raises(InferenceServerException, match=r"\[401\].*Authorization: Bearer KEY"):
            act("half")
        with pytest.raises(InferenceServerException, match=r"\[404\]"):
            act("nobody", headers=key)
    client.unload_model("half", headers=key)
    states = {one["name"]: one["state"] for one in client.get_model_repository_index()}
    assert states == {"every": "READY", "half": "UNAVAILABLE"}
    assert not client.is_model_ready("half")
    for version in ("", "1"):
        with pytest.raises(InferenceServerException, match=r"\[503\].*was unloaded; load it"):
            call(client, model_version=version)
    with pytest.raises(InferenceServerException, match=r"\[501\].*publish a new version"):
        client.load_model("half", headers=key, config="{}")
    client.load_model("half", headers=key)
    assert client.is_model_ready("half")
    assert call(client).as_numpy("BF16_out").shape == (3, 2)
    ready = echoes.post("/v2/repository/index", {"ready": True}).json()
    assert [one["name"] for one in ready] == ["every", "half"]


def test_settings_are_shown_and_stay(client):
    assert client.get_log_settings()["log_error"] is True
    assert client.get_trace_settings()["trace_level"] == ["OFF"]
    assert client.get_trace_settings("half")["trace_level"] == ["OFF"]
    with pytest.raises(InferenceServerException, match=r"\[501\].*log_verbose_level"):
        client.update_log_settings({"log_verbose_level": 1})
    with pytest.raises(InferenceServerException, match=r"\[501\].*trace_level"):
        client.update_trace_settings(settings={"trace_level": ["TIMESTAMPS"]})


def test_shared_memory_is_not_mapped(client):
    assert client.get_system_shared_memory_status() == []
    assert client.get_cuda_shared_memory_status() == []
    client.unregister_system_shared_memory()
    client.unregister_cuda_shared_memory("a")
    with pytest.raises(InferenceServerException, match=r"\[501\].*maps no memory of its callers"):
        client.register_system_shared_memory("a", "/a", 64)


def test_an_unloaded_model_stays_so_over_a_restart(start, small_home):
    server = start(like=small_home)
    key = {"authorization": f"Bearer {server.key}"}
    path = "/v2/repository/models/counts"
    assert server.post(f"{path}/unload", headers=key).status_code == 200
    assert server.post("/v2/repository/models/m/unload", headers=key).status_code == 200
    sent = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    told = server.post("/v2/models/m@prod/infer", {"inputs": [sent]})
    assert "was unloaded; load it" in bare_error(told, 503)
    assert server.post("/v2/repository/models/m/load", headers=key).status_code == 200
    assert server.api("GET", "/models/counts").json()["unloaded"] is True
    server.stop()
    server.start()
    assert server.get("/v2/models/counts/ready").status_code == 503
    assert server.get("/v2/models/m/ready").status_code == 200
    assert server.post(f"{path}/load", headers=key).status_code == 200
    assert server.get("/v2/models/counts/ready").status_code == 200
