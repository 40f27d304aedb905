"""`inference.GRPCInferenceService`: the Open Inference Protocol with Triton's extensions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from maas import __version__
from maas.core.errors import ErrorKind, MaasError, not_found
from maas.core.states import ServableState
from maas.dialects.oip.encode import EXTENSIONS, SERVER_NAME
from maas.dialects.oip.fixed import check_settings
from maas.dialects.oip.request import shared_memory_unimplemented
from maas.dialects.oip_grpc.decode import read_ref
from maas.dialects.oip_grpc.describe import (
    config_response,
    index_response,
    log_settings_response,
    statistics_response,
    trace_settings_response,
)
from maas.dialects.oip_grpc.describe import model_metadata as describe_model
from maas.protos import message
from maas.wire.exchange import Exchange
from maas.wire.grpc.infer import ModelInfer
from maas.wire.grpc.rpc import Rpc, Rpcs, typed
from maas.wire.grpc.stream_infer import ModelStreamInfer
from maas.wire.oip import repository

DIALECT = "oip-grpc"
SERVICE = "inference.GRPCInferenceService"


async def server_live(exchange: Exchange, request: Any) -> Any:
    """ServerLive."""
    return message("inference.ServerLiveResponse")(live=True)


async def server_ready(exchange: Exchange, request: Any) -> Any:
    """ServerReady."""
    return message("inference.ServerReadyResponse")(ready=exchange.server.ready())


async def model_ready(exchange: Exchange, request: Any) -> Any:
    """ModelReady: whether the version answers calls now.

    What there is not, or is not loaded, is not ready: that is no error, as Triton has it.
    """
    ref = read_ref(request.name, request.version)
    try:
        servable = exchange.resolve(ref).servable
    except MaasError as error:
        if error.kind not in (ErrorKind.NOT_FOUND, ErrorKind.UNAVAILABLE):
            raise
        ready = False
    else:
        ready = any(
            status.servable == servable and status.state is ServableState.AVAILABLE
            for status in exchange.server.router.statuses(servable.name)
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


async def model_config(exchange: Exchange, request: Any) -> Any:
    """ModelConfig."""
    ref = read_ref(request.name, request.version)
    return config_response(repository.config_of(exchange.server, ref, exchange.context))


async def model_statistics(exchange: Exchange, request: Any) -> Any:
    """ModelStatistics, of one version, one model, or all there is."""
    ref = read_ref(request.name, request.version) if request.name else None
    found = await repository.statistics_of(exchange.server, ref, exchange.context)
    return statistics_response(found)


async def repository_index(exchange: Exchange, request: Any) -> Any:
    """RepositoryIndex."""
    router = exchange.server.router
    return index_response(repository.repository_index(router, ready=request.ready))


async def load(exchange: Exchange, request: Any) -> Any:
    """RepositoryModelLoad."""
    await repository.load_model(
        exchange.server, request.model_name, exchange.context, tuple(request.parameters)
    )
    return message("inference.RepositoryModelLoadResponse")()


async def unload(exchange: Exchange, request: Any) -> Any:
    """RepositoryModelUnload."""
    await repository.unload_model(
        exchange.server, request.model_name, exchange.context, tuple(request.parameters)
    )
    return message("inference.RepositoryModelUnloadResponse")()


async def log_settings(exchange: Exchange, request: Any) -> Any:
    """LogSettings: shows them; a change is refused."""
    check_settings(request.settings, "log")
    return log_settings_response()


async def trace_setting(exchange: Exchange, request: Any) -> Any:
    """TraceSetting: shows them; a change is refused."""
    if request.model_name:
        exchange.resolve(read_ref(request.model_name, ""))
    check_settings(request.settings, "trace")
    return trace_settings_response()


async def register(exchange: Exchange, request: Any) -> Any:
    """Registering a region of the caller's memory."""
    raise shared_memory_unimplemented("a region")


def _region_status(kind: str) -> Callable[[Exchange, Any], Awaitable[Any]]:
    async def status(exchange: Exchange, request: Any) -> Any:
        if request.name:
            raise not_found(
                "there is no such shared-memory region: this server maps no memory of its callers"
            )
        return message(f"inference.{kind}SharedMemoryStatusResponse")()

    return status


def _unregister(kind: str) -> Callable[[Exchange, Any], Awaitable[Any]]:
    async def unregister(exchange: Exchange, request: Any) -> Any:
        return message(f"inference.{kind}SharedMemoryUnregisterResponse")()

    return unregister


_METHODS: Mapping[str, tuple[str, Callable[[Exchange, Any], Awaitable[Any]]]] = {
    "ServerLive": ("live", server_live),
    "ServerReady": ("ready", server_ready),
    "ModelReady": ("model_ready", model_ready),
    "ServerMetadata": ("server_metadata", server_metadata),
    "ModelMetadata": ("model_metadata", model_metadata),
    "ModelConfig": ("config", model_config),
    "ModelStatistics": ("statistics", model_statistics),
    "RepositoryIndex": ("repository_index", repository_index),
    "RepositoryModelLoad": ("load", load),
    "RepositoryModelUnload": ("unload", unload),
    "LogSettings": ("log_settings", log_settings),
    "TraceSetting": ("trace_setting", trace_setting),
    "SystemSharedMemoryStatus": ("shared_memory", _region_status("System")),
    "SystemSharedMemoryRegister": ("shared_memory", register),
    "SystemSharedMemoryUnregister": ("shared_memory", _unregister("System")),
    "CudaSharedMemoryStatus": ("shared_memory", _region_status("Cuda")),
    "CudaSharedMemoryRegister": ("shared_memory", register),
    "CudaSharedMemoryUnregister": ("shared_memory", _unregister("Cuda")),
}
"""The methods of one message each way: the metrics' verb, and the handler."""
_PROBES = ("ServerLive", "ServerReady")


def rpcs() -> Rpcs:
    """The service's methods."""
    infer = ModelInfer()
    methods = {
        name: Rpc(DIALECT, verb, typed(f"inference.{name}Request", handler), open=name in _PROBES)
        for name, (verb, handler) in _METHODS.items()
    }
    methods["ModelInfer"] = Rpc(DIALECT, "predict", infer)
    methods["ModelStreamInfer"] = Rpc(DIALECT, "predict_stream", streaming=ModelStreamInfer(infer))
    return {f"/{SERVICE}/{name}".encode("ascii"): rpc for name, rpc in methods.items()}
