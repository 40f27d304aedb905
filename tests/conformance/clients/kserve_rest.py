"""KServe's InferenceRESTClient, of both protocols."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import numpy as np
from harness import FLOWER, run_async
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


class Clients:
    """One client for each version of the protocol, and where they call."""

    def __init__(self, url: str, first: Any, second: Any):
        self.url = url
        self.first = first
        self.second = second


def _request(*, binary: bool) -> InferRequest:
    tensor = InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([FLOWER], np.float32), binary_data=binary)
    return InferRequest("iris", [tensor], request_id="七")


async def check_live(clients: Clients) -> None:
    """OIP-REST: health and readiness of server and model"""
    assert await clients.second.is_server_live(clients.url)
    assert await clients.second.is_server_ready(clients.url)
    assert await clients.second.is_model_ready(clients.url, "iris")


async def check_json(clients: Clients) -> None:
    """OIP-REST: tensors in JSON"""
    answer = await clients.second.infer(clients.url, _request(binary=False), model_name="iris")
    assert answer.outputs[0].as_numpy().tolist() == [0]
    assert answer.id == "七"


async def check_binary(clients: Clients) -> None:
    """OIP-REST: binary tensors"""
    answer = await clients.second.infer(clients.url, _request(binary=True), model_name="iris")
    assert answer.outputs[0].as_numpy().tolist() == [0]


async def check_v1_live(clients: Clients) -> None:
    """KSERVE: `GET /` answers while the server lives"""
    assert (await clients.first._client.get(clients.url + "/")).status_code == 200


async def check_v1_ready(clients: Clients) -> None:
    """KSERVE: `GET /v1/models/M` answers `name` and `ready`"""
    assert await clients.first.is_model_ready(clients.url, "iris")


async def check_v1_predict(clients: Clients) -> None:
    """KSERVE: `POST /v1/models/M:predict` with `instances` or `inputs`"""
    answer = await clients.first.infer(clients.url, {"instances": [FLOWER]}, model_name="iris")
    assert answer["predictions"][0]["label"] == 0


async def check_v1_error(clients: Clients) -> None:
    """KSERVE: an unknown model is 404 with `{"error"}`"""
    answer = None
    try:
        await clients.first.infer(clients.url, {"instances": [FLOWER]}, model_name="nobody")
    except httpx.HTTPStatusError as error:
        answer = error.response
    assert answer is not None
    assert answer.status_code == 404
    assert answer.json()["error"]


@asynccontextmanager
async def connect(address: str) -> AsyncIterator[Clients]:
    """Opens both."""
    first = InferenceRESTClient(RESTConfig(protocol="v1"))
    second = InferenceRESTClient(RESTConfig(protocol="v2"))
    try:
        yield Clients(f"http://{address}", first, second)
    finally:
        await first.close()
        await second.close()


if __name__ == "__main__":
    run_async(globals(), connect)
