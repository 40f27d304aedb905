"""`POST /api/models/NAME/versions`: the upload that starts a publish job."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import Annotated

from litestar import Response, post
from litestar.datastructures import ResponseHeader
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.openapi.spec.enums import OpenAPIFormat, OpenAPIType
from litestar.params import FromPath, HeaderParameter, QueryParameter
from litestar.types import Receive

from maas.access import Action
from maas.admin.jobs import PublishRequest
from maas.admin.publishing import UploadBody, start_publish
from maas.admin.uploads import DEFAULT_FILENAME
from maas.core import records
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.records import PublishOptions
from maas.wire.api.errors import ApiRequest, error_responses, request_id_of
from maas.wire.api.security import ACTION
from maas.wire.api.services import Services

TAR = "application/x-tar"
RAW = "application/octet-stream"
_ENGINE = re.compile(r"[a-z][a-z0-9_-]{0,63}")
QUERY = (
    "filename",
    "description",
    "accuracy",
    "metric",
    "tag",
    "alias",
    "promote",
    "trust",
    "engine",
    "quantize",
    "context",
    "served_name",
    "drop_params",
)


@dataclass
class UploadOperation(Operation):
    """The OpenAPI entry, with the body that is streamed and so is no parameter of the handler."""

    def __post_init__(self) -> None:
        """Describes the body."""
        content = OpenAPIMediaType(Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.BINARY))
        self.request_body = RequestBody(
            content={RAW: content, TAR: content},
            required=True,
            description=(
                "The model's file; or a tar stream of model/…, sample/FILE, card/FILE and code/…."
            ),
        )


@post(
    "/models/{name:str}/versions",
    opt={ACTION: Action.PUBLISH},
    tags=["models"],
    status_code=202,
    operation_class=UploadOperation,
    request_max_body_size=None,
    response_headers=[
        ResponseHeader(
            name="Location", description="The operation to follow.", documentation_only=True
        )
    ],
    responses=error_responses(409, 413, 415, 429),
    summary="Publish a version",
)
async def publish_version(
    services: Services,
    request: ApiRequest,
    name: FromPath[str],
    filename: Annotated[str, QueryParameter(description="The raw file's name.")] = DEFAULT_FILENAME,
    description: Annotated[str, QueryParameter(description="Free text.")] = "",
    accuracy: Annotated[
        float | None, QueryParameter(description="Measured on held-out data, 0 to 1.")
    ] = None,
    metric: Annotated[
        list[str] | None, QueryParameter(description="`name=number`; as often as wanted.")
    ] = None,
    tag: Annotated[
        list[str] | None, QueryParameter(description="`name=text`; as often as wanted.")
    ] = None,
    alias: Annotated[
        list[str] | None,
        QueryParameter(description="An alias to set once it is loaded; as often as wanted."),
    ] = None,
    promote: Annotated[
        bool, QueryParameter(description="Whether unversioned calls move to it once it is loaded.")
    ] = True,
    trust: Annotated[
        bool,
        QueryParameter(
            description="Open a format that carries code, in the sandbox; for the owner's and "
            "operators' keys."
        ),
    ] = False,
    engine: Annotated[
        str,
        QueryParameter(description="What is to serve it; the fastest that agrees where absent."),
    ] = "",
    quantize: Annotated[
        str,
        QueryParameter(
            description="How a language model's weights are kept: `f16`, `q8_0` or `q4_0`."
        ),
    ] = "",
    context: Annotated[
        int,
        QueryParameter(description="A smaller context than a language model's own, tokens."),
    ] = 0,
    served_name: Annotated[
        list[str] | None,
        QueryParameter(
            description="A further name that requests may give as `model`; as often as wanted."
        ),
    ] = None,
    drop_params: Annotated[
        bool,
        QueryParameter(
            description="Leave out parameters that its engine lacks, and say so in a header, "
            "instead of refusing."
        ),
    ] = False,
    idempotency_key: Annotated[
        str | None,
        HeaderParameter(name="Idempotency-Key", description="The same key, the same operation."),
    ] = None,
) -> Response[records.Operation]:
    """Takes a model and starts the job that inspects, proves, stores and loads it."""
    unknown = sorted(set(request.query_params) - set(QUERY))
    if unknown:
        raise invalid(
            f"{unknown[0][:40]!r} is not a parameter of this route; expected {', '.join(QUERY)}"
        )
    options = PublishOptions(
        alias=tuple(dict.fromkeys(alias or ())),
        description=description,
        accuracy=accuracy,
        metrics={key: _number(key, text) for key, text in _pairs("metric", metric or ())},
        tags=dict(_pairs("tag", tag or ())),
        promote=promote,
        trust=trust,
        engine=_engine(engine),
        quantize=quantize,
        context_tokens=context,
        served_names=tuple(dict.fromkeys(served_name or ())),
        drop_params=drop_params,
    )
    if request.headers.get("content-encoding", "identity") != "identity":
        raise MaasError(
            ErrorKind.UNSUPPORTED_MEDIA,
            "an upload with a Content-Encoding is not read; send the bytes as they are",
        )
    media, _ = request.content_type
    body = UploadBody(
        chunks=_chunks(request.receive),
        filename=filename,
        tar=media == TAR,
        length=request.content_length,
        limit_bytes=services.limits.upload_bytes,
    )
    job = PublishRequest(name, options, request.user, request_id_of(request))
    operation = await start_publish(services.registry, services.jobs, job, body, idempotency_key)
    return Response(operation, headers={"Location": f"/api/operations/{operation.id}"})


async def _chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yields a request's body.

    Raises:
        MaasError: CANCELLED if the client goes away before its end.
    """
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise MaasError(ErrorKind.CANCELLED, "the upload ended before its end; send it again")
        if message["body"]:
            yield message["body"]
        if not message.get("more_body", False):
            return


def _pairs(what: str, entries: Iterable[str]) -> Iterable[tuple[str, str]]:
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise invalid(f"{what}={entry[:40]!r} is not understood; expected {what}=name=value")
        yield key, value


def _engine(text: str) -> str:
    if text and not _ENGINE.fullmatch(text):
        raise invalid(f"{text[:40]!r} is not the name of an engine; expected one such as onnx")
    return text


def _number(name: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise invalid(f"metric {name[:40]!r} is {text[:40]!r}; expected a number")
    return number


HANDLERS = (publish_version,)
"""The routes of this module."""
