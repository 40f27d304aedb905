"""KServe's InferenceGRPCClient."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import FLOWER, run_async
from kserve import InferenceGRPCClient, InferInput, InferRequest

import grpc


def _request(name: str, *, binary: bool) -> InferRequest:
    tensor = InferInput("x", [1, 4], "FP32")
    tensor.set_data_from_numpy(np.array([FLOWER], np.float32), binary_data=binary)
    return InferRequest(name, [tensor], request_id="7")


async def check_live(client: Any) -> None:
    """OIP-GRPC: ServerLive, ServerReady, ModelReady"""
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("iris")


async def check_contents(client: Any) -> None:
    """OIP-GRPC: ModelInfer with typed `contents`"""
    answer = await client.infer(_request("iris", binary=False))
    assert answer.outputs[0].as_numpy().tolist() == [0]
    assert answer.id == "7"


async def check_raw(client: Any) -> None:
    """OIP-GRPC: ModelInfer with raw tensors"""
    answer = await client.infer(_request("iris", binary=True))
    assert answer.outputs[0].as_numpy().tolist() == [0]


async def check_unknown(client: Any) -> None:
    """OIP-GRPC: an unknown model is NOT_FOUND"""
    code = grpc.StatusCode.OK
    try:
        await client.infer(_request("nobody", binary=True))
    except grpc.RpcError as error:
        code = error.code()
    assert code is grpc.StatusCode.NOT_FOUND


if __name__ == "__main__":
    run_async(globals(), lambda address: InferenceGRPCClient(address))
