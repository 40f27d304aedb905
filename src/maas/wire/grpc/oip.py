"""`inference.GRPCInferenceService`: the Open Inference Protocol with Triton's extensions."""

from __future__ import annotations

from typing import Any

from maas import __version__
from maas.core.states import ServableState
from maas.dialects.oip.encode import EXTENSIONS, SERVER_NAME
from maas.dialects.oip_grpc.decode import read_ref
from maas.dialects.oip_grpc.describe import model_metadata as describe_model
from maas.protos import message
from maas.wire.exchange import Exchange
from maas.wire.grpc.infer import ModelInfer
from maas.wire.grpc.rpc import Rpc, Rpcs, typed
from maas.wire.grpc.stream_infer import ModelStreamInfer

DIALECT = "oip-grpc"
SERVICE = "inference.GRPCInferenceService"


async def server_live(exchange: Exchange, request: Any) -> Any:
    """ServerLive."""
    return message("inference.ServerLiveResponse")(live=True)


async def server_ready(exchange: Exchange, request: Any) -> Any:
    """ServerReady."""
    return message("inference.ServerReadyResponse")(ready=exchange.server.ready())


async def model_ready(exchange: Exchange, request: Any) -> Any:
    """ModelReady: whether the version answers calls now."""
    view = exchange.resolve(read_ref(request.name, request.version))
    ready = any(
        status.servable == view.servable and status.state is ServableState.AVAILABLE
        for status in exchange.server.router.statuses(view.servable.name)
    )
    return message("inference.ModelReadyResponse")(ready=ready)


async def server_metadata(exchange: Exchange, request: Any) -> Any:
    """ServerMetadata."""
    return message("inference.ServerMetadataResponse")(
        name=SERVER_NAME, version=__version__, extensions=EXTENSIONS
    )


async def model_metadata(exchange: Exchange, request: Any) -> Any:
    """ModelMetadata."""
    view = exchange.resolve(read_ref(request.name, request.version))
    statuses = exchange.server.router.statuses(view.servable.name)
    return describe_model(view, [status.servable.version for status in reversed(statuses)])


def rpcs() -> Rpcs:
    """The service's methods."""
    infer = ModelInfer()
    methods = {
        "ServerLive": Rpc(
            DIALECT, "live", typed("inference.ServerLiveRequest", server_live), open=True
        ),
        "ServerReady": Rpc(
            DIALECT, "ready", typed("inference.ServerReadyRequest", server_ready), open=True
        ),
        "ModelReady": Rpc(
            DIALECT, "model_ready", typed("inference.ModelReadyRequest", model_ready)
        ),
        "ServerMetadata": Rpc(
            DIALECT, "server_metadata", typed("inference.ServerMetadataRequest", server_metadata)
        ),
        "ModelMetadata": Rpc(
            DIALECT, "model_metadata", typed("inference.ModelMetadataRequest", model_metadata)
        ),
        "ModelInfer": Rpc(DIALECT, "predict", infer),
        "ModelStreamInfer": Rpc(DIALECT, "predict_stream", streaming=ModelStreamInfer(infer)),
    }
    return {f"/{SERVICE}/{name}".encode("ascii"): rpc for name, rpc in methods.items()}
