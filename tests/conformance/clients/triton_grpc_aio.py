"""NVIDIA's tritonclient over gRPC, its asyncio form."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import tritonclient.grpc.aio as triton
from harness import FLOWER, run_async

from tensors import MODELS, of_iris, same, sent


async def check_health(client: Any) -> None:
    """OIP-GRPC: health and readiness of server and model"""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("iris", "1")


async def check_metadata(client: Any) -> None:
    """OIP-GRPC: metadata, config, statistics and the repository's index"""
    assert (await client.get_model_metadata("iris")).name == "iris"
    assert (await client.get_model_config("iris")).config.name == "iris"
    assert (await client.get_inference_statistics("iris")).model_stats
    assert (await client.get_model_repository_index()).models


async def check_every_datatype(client: Any) -> None:
    """OIP-GRPC: raw tensors of every datatype"""
    for model, tensors in MODELS.items():
        inputs = [sent(triton, kind, array) for kind, array in tensors.items()]
        result = await client.infer(model, inputs)
        for kind, array in tensors.items():
            same(result.as_numpy(f"out_{kind.lower()}"), array, kind)


async def check_many(client: Any) -> None:
    """OIP-GRPC: many requests at once"""
    calls = [client.infer("iris", [of_iris(triton, FLOWER)]) for _ in range(32)]
    for result in await asyncio.gather(*calls):
        assert result.as_numpy("label").tolist() == [0]


async def check_stream(client: Any) -> None:
    """OIP-GRPC: ModelStreamInfer (`stream_infer`)"""

    async def requests() -> AsyncIterator[dict[str, Any]]:
        for request_id in ("1", "2"):
            inputs = [of_iris(triton, FLOWER)]
            yield {"model_name": "iris", "inputs": inputs, "request_id": request_id}

    found = set()
    async for result, error in client.stream_infer(requests()):
        assert error is None, error
        found.add(result.get_response().id)
        if len(found) == 2:
            break
    assert found == {"1", "2"}


if __name__ == "__main__":
    run_async(globals(), triton.InferenceServerClient)
