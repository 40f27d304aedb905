"""NVIDIA's tritonclient over HTTP, its asyncio form."""

from __future__ import annotations

import asyncio
from typing import Any

import tritonclient.http.aio as triton
from harness import FLOWER, run_async

from tensors import MODELS, of_iris, same, sent, wanted


async def check_health(client: Any) -> None:
    """OIP-REST: health and readiness of server and model"""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("iris", "1")


async def check_metadata(client: Any) -> None:
    """OIP-REST: metadata, config, statistics and the repository's index"""
    assert (await client.get_model_metadata("iris"))["name"] == "iris"
    assert (await client.get_model_config("iris"))["name"] == "iris"
    assert (await client.get_inference_statistics("iris"))["model_stats"]
    assert await client.get_model_repository_index()


async def check_binary(client: Any) -> None:
    """OIP-REST: binary tensors of every datatype"""
    for model, tensors in MODELS.items():
        inputs = [sent(triton, kind, array) for kind, array in tensors.items()]
        result = await client.infer(model, inputs)
        for kind, array in tensors.items():
            same(result.as_numpy(f"out_{kind.lower()}"), array, kind)


async def check_json(client: Any) -> None:
    """OIP-REST: tensors in JSON"""
    result = await client.infer(
        "iris",
        [of_iris(triton, FLOWER, binary=False)],
        outputs=wanted(triton, "label", binary=False),
    )
    assert result.as_numpy("label").tolist() == [0]


async def check_many(client: Any) -> None:
    """OIP-REST: many requests at once"""
    calls = [client.infer("iris", [of_iris(triton, FLOWER)]) for _ in range(32)]
    for result in await asyncio.gather(*calls):
        assert result.as_numpy("label").tolist() == [0]


if __name__ == "__main__":
    run_async(globals(), triton.InferenceServerClient)
