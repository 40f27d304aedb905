"""`tensorflow.serving.PredictionService` and `ModelService`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.tfserving.describe import check_fields, metadata_response, status_response
from maas.dialects.tfserving.modelspec import read_ref
from maas.dialects.tfserving.predictproto import decode_predict, encode_predict, is_vast
from maas.dialects.tfserving.reload import WantedModel, decode_reload, encode_reload
from maas.dialects.tfserving.taskproto import (
    decode_task,
    decode_tasks,
    encode_task,
    encode_tasks,
    read_tasks_ref,
)
from maas.dialects.tfserving.tasks import Task
from maas.protos import message, parse
from maas.serving.messages import PointModel
from maas.serving.plan import ModelPlan
from maas.wire.exchange import LARGE_BYTES, Exchange, is_large
from maas.wire.grpc.rpc import Rpc, Rpcs, Unary, typed
from maas.wire.oip.repository import SLACK_S, check_manager, unload_model
from maas.wire.tfserving.handlers import EXAMPLES_BYTES

DIALECT = "tfserving-grpc"
PREDICTION = "tensorflow.serving.PredictionService"
MODEL = "tensorflow.serving.ModelService"


async def _read(exchange: Exchange, name: str, data: bytes | memoryview) -> Any:
    kind = message(name)
    if len(data) >= LARGE_BYTES:
        return await exchange.off_loop(parse, kind, data)
    return parse(kind, data)


async def predict(exchange: Exchange, data: bytes | memoryview) -> bytes:
    """Predict."""
    request = await _read(exchange, "tensorflow.serving.PredictRequest", data)
    view = exchange.resolve(read_ref(request.model_spec))
    call = (
        await exchange.off_loop(decode_predict, request, view)
        if len(data) >= LARGE_BYTES or is_vast(request, LARGE_BYTES)
        else decode_predict(request, view)
    )
    reply = await exchange.infer(view, call.signature, call.inputs, call.rows, call.outputs)
    if is_large(reply):
        return await exchange.off_loop(encode_predict, reply)
    return encode_predict(reply)


def _task(task: Task, name: str) -> Unary:
    async def answer(exchange: Exchange, data: bytes | memoryview) -> bytes:
        request = await _read(exchange, name, data)
        view = exchange.resolve(read_ref(request.model_spec))
        call = (
            await exchange.off_loop(decode_task, request, view, task)
            if len(data) >= EXAMPLES_BYTES
            else decode_task(request, view, task)
        )
        reply = await exchange.infer(view, call.signature, call.inputs, call.rows, call.outputs)
        if is_large(reply):
            return await exchange.off_loop(encode_task, reply, call)
        return encode_task(reply, call)

    return answer


async def multi_inference(exchange: Exchange, data: bytes | memoryview) -> bytes:
    """MultiInference: every task of one model, on the same examples, at once."""
    request = await _read(exchange, "tensorflow.serving.MultiInferenceRequest", data)
    view = exchange.resolve(read_tasks_ref(request))
    calls = (
        await exchange.off_loop(decode_tasks, request, view)
        if len(data) >= EXAMPLES_BYTES
        else decode_tasks(request, view)
    )
    replies = await asyncio.gather(
        *(
            exchange.infer(view, call.signature, call.inputs, call.rows, call.outputs)
            for call in calls
        )
    )
    if any(map(is_large, replies)):
        return await exchange.off_loop(encode_tasks, replies, calls)
    return encode_tasks(replies, calls)


async def get_model_metadata(exchange: Exchange, request: Any) -> Any:
    """GetModelMetadata."""
    check_fields(request)
    return metadata_response(exchange.resolve(read_ref(request.model_spec)))


async def get_model_status(exchange: Exchange, request: Any) -> Any:
    """GetModelStatus: every version, or the one that is named."""
    ref = read_ref(request.model_spec)
    statuses = exchange.server.router.statuses(ref.name)
    if ref.version is None and ref.alias is None:
        return status_response(statuses)
    servable = exchange.resolve(ref).servable
    return status_response([one for one in statuses if one.servable == servable])


async def reload_config(exchange: Exchange, request: Any) -> Any:
    """HandleReloadConfigRequest: the models that it names serve from now on, and no others.

    Everything is checked first; then the models are loaded, their labels moved, and the rest is
    unloaded, so that a model that fails to load takes none of the others away.
    """
    server, context = exchange.server, exchange.context
    check_manager(context.principal)
    wanted = decode_reload(request)
    plan = server.router.plan.models
    for model in wanted:
        _check_published(model, plan)
    for model in wanted:
        left = max(context.deadline - time.monotonic(), 0.0)
        # Without a specific version it is the newest, whatever an earlier request had pinned.
        version = model.version or max(plan[model.name].versions)
        await server.ask(PointModel(model.name, version, dict(model.labels), left), left + SLACK_S)
    kept = {model.name for model in wanted}
    for name in sorted(plan.keys() - kept):
        await unload_model(server, name, context)
    return encode_reload()


def _check_published(model: WantedModel, plan: Mapping[str, ModelPlan]) -> None:
    found = plan.get(model.name)
    if found is None or not found.versions:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            f"{model.name!r} is not published here, and this server reads no base_path that comes "
            "with a call; publish the model with 'maas publish', or start the server with "
            "--model-base-path and --model-name",
        )
    for number in (*model.versions, *model.labels.values()):
        if number not in found.versions:
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"{model.name!r} has no version {number}; publish it first",
            )


def rpcs() -> Rpcs:
    """The methods of both services."""
    request = "tensorflow.serving.{}Request".format
    methods = {
        f"{PREDICTION}/Predict": Rpc(DIALECT, "predict", predict),
        f"{PREDICTION}/Classify": Rpc(
            DIALECT, "classify", _task("classify", request("Classification"))
        ),
        f"{PREDICTION}/Regress": Rpc(DIALECT, "regress", _task("regress", request("Regression"))),
        f"{PREDICTION}/MultiInference": Rpc(DIALECT, "multi_inference", multi_inference),
        f"{PREDICTION}/GetModelMetadata": Rpc(
            DIALECT, "model_metadata", typed(request("GetModelMetadata"), get_model_metadata)
        ),
        f"{MODEL}/GetModelStatus": Rpc(
            DIALECT, "model_status", typed(request("GetModelStatus"), get_model_status)
        ),
        f"{MODEL}/HandleReloadConfigRequest": Rpc(
            DIALECT, "reload_config", typed(request("ReloadConfig"), reload_config)
        ),
    }
    return {f"/{path}".encode("ascii"): rpc for path, rpc in methods.items()}
