"""The Open Inference Protocol's handlers over REST."""

from __future__ import annotations

from maas import __version__
from maas.core.errors import MaasError, not_found
from maas.core.messages import InferReply, ModelView
from maas.core.states import ServableState
from maas.core.tensor import DType
from maas.dialects.oip.body import read_json_length
from maas.dialects.oip.config import encode_config
from maas.dialects.oip.decode import decode_infer
from maas.dialects.oip.encode import (
    encode_error,
    encode_infer,
    encode_live,
    encode_model_metadata,
    encode_ready,
    encode_server_metadata,
)
from maas.dialects.oip.fixed import check_unchanged, encode_logging, encode_tracing
from maas.dialects.oip.repository import (
    encode_index,
    encode_statistics,
    read_index,
    read_parameter_names,
)
from maas.dialects.oip.request import InferRequest, shared_memory_unimplemented
from maas.dialects.signatures import pick_signature
from maas.wire.exchange import LARGE_BYTES, Exchange, is_large
from maas.wire.http import BINARY, Answer
from maas.wire.oip import repository


async def server_metadata(exchange: Exchange) -> Answer:
    """`GET /v2`."""
    return Answer(encode_server_metadata(__version__))


async def live(exchange: Exchange) -> Answer:
    """`GET /v2/health/live`."""
    return Answer(encode_live(True))


async def ready(exchange: Exchange) -> Answer:
    """`GET /v2/health/ready`."""
    good = exchange.server.ready()
    return Answer(encode_ready(good), 200 if good else 503)


async def model_metadata(exchange: Exchange) -> Answer:
    """`GET /v2/models/M[/versions/V]`."""
    view = exchange.resolve()
    statuses = exchange.server.router.statuses(view.servable.name)
    versions = [status.servable.version for status in reversed(statuses)]
    return Answer(encode_model_metadata(view, versions), servable=view.servable)


async def model_ready(exchange: Exchange) -> Answer:
    """`GET /v2/models/M[/versions/V]/ready`: 200 when it answers calls, else 503."""
    view = exchange.resolve()
    statuses = exchange.server.router.statuses(view.servable.name)
    good = any(
        status.servable == view.servable and status.state is ServableState.AVAILABLE
        for status in statuses
    )
    body = encode_ready(good, view.servable.name)
    return Answer(body, 200 if good else 503, servable=view.servable)


async def infer(exchange: Exchange) -> Answer:
    """`POST /v2/models/M[/versions/V]/infer`."""
    view = exchange.resolve()
    body = exchange.body
    length = read_json_length(exchange.json_length, len(body)) if exchange.json_length else None
    request = (
        await exchange.off_loop(decode_infer, body, view, length)
        if exchange.large and _is_heavy(view, length)
        else decode_infer(body, view, length)
    )
    reply = await exchange.infer(
        view,
        request.signature,
        request.inputs,
        request.rows,
        request.outputs,
        request.timeout_s,
        request.priority,
    )
    text, length = (
        await exchange.off_loop(encode_infer, reply, request)
        if is_large(reply) and _is_heavy_to_write(reply, request)
        else encode_infer(reply, request)
    )
    if length is None:
        return Answer(text, servable=reply.servable)
    return Answer(
        text,
        content_type=BINARY,
        servable=reply.servable,
        headers=((b"inference-header-content-length", b"%d" % length),),
    )


def _is_heavy(view: ModelView, json_length: int | None) -> bool:
    """Whether a large body takes long to read: it is JSON, or texts; numbers are only looked at."""
    if json_length is None or json_length >= LARGE_BYTES:
        return True
    inputs = pick_signature(view).inputs
    return json_length > 0 and any(spec.dtype is DType.BYTES for spec in inputs)


def _is_heavy_to_write(reply: InferReply, request: InferRequest) -> bool:
    """Whether a large answer takes long to write: not if it is all numbers in binary."""
    if not (request.all_binary or (request.binary and all(request.binary))):
        return True
    return any(array.dtype.kind == "O" for array in reply.outputs.values()) or any(request.classes)


async def config(exchange: Exchange) -> Answer:
    """`GET /v2/models/M[/versions/V]/config`."""
    assert exchange.ref is not None
    return Answer(
        encode_config(repository.config_of(exchange.server, exchange.ref, exchange.context))
    )


async def statistics(exchange: Exchange) -> Answer:
    """`GET /v2/models/stats` and `/v2/models/M[/versions/V]/stats`."""
    found = await repository.statistics_of(exchange.server, exchange.ref, exchange.context)
    return Answer(encode_statistics(found))


async def index(exchange: Exchange) -> Answer:
    """`POST /v2/repository/index`."""
    ready_only = read_index(exchange.body)
    entries = repository.repository_index(exchange.server.router, ready=ready_only)
    return Answer(encode_index(entries))


async def load(exchange: Exchange) -> Answer:
    """`POST /v2/repository/models/M/load`."""
    assert exchange.ref is not None
    repository.check_manager(exchange.context.principal)
    names = read_parameter_names(exchange.body)
    await repository.load_model(exchange.server, exchange.ref.name, exchange.context, names)
    return Answer(b"")


async def unload(exchange: Exchange) -> Answer:
    """`POST /v2/repository/models/M/unload`."""
    assert exchange.ref is not None
    repository.check_manager(exchange.context.principal)
    names = read_parameter_names(exchange.body)
    await repository.unload_model(exchange.server, exchange.ref.name, exchange.context, names)
    return Answer(b"")


async def log_settings(exchange: Exchange) -> Answer:
    """`GET` and `POST /v2/logging`."""
    check_unchanged(exchange.body, "log")
    return Answer(encode_logging())


async def trace_settings(exchange: Exchange) -> Answer:
    """`GET` and `POST /v2/trace/setting` and `/v2/models/M/trace/setting`."""
    if exchange.ref is not None:
        exchange.resolve()
    check_unchanged(exchange.body, "trace")
    return Answer(encode_tracing())


async def no_regions(exchange: Exchange) -> Answer:
    """`GET /v2/systemsharedmemory/status` and `/v2/cudasharedmemory/status`: there are none."""
    return Answer(b"[]")


async def no_such_region(exchange: Exchange) -> Answer:
    """The status of one region, of which there are none."""
    raise not_found(
        "there is no such shared-memory region: this server maps no memory of its callers"
    )


async def register_region(exchange: Exchange) -> Answer:
    """`POST /v2/systemsharedmemory/region/NAME/register`, and CUDA's."""
    raise shared_memory_unimplemented("a region")


async def unregister_region(exchange: Exchange) -> Answer:
    """`POST …/unregister`, of one region or of all: none is registered, and none stays."""
    return Answer(b"")


def error_body(error: MaasError, request_id: str) -> bytes:
    """An error in the protocol's shape; the request id is in the headers."""
    return encode_error(error)
