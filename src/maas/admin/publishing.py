"""Publishing: check what can be checked, receive the upload, start the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.access import Action, check_allowed
from maas.admin.jobs import Jobs, PublishRequest
from maas.admin.uploads import Received, check_filename, receive_file, receive_tar
from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.identity import check_publish_name
from maas.core.records import Operation, PublishOptions
from maas.registry import Registry, check_options, clear_disk_errors

UPLOAD = "upload"
"""The folder, within the staged one, that the upload is received in."""


class UploadBody(Struct, frozen=True):
    """A request body that has not been read yet.

    Args:
        chunks: its bytes.
        filename: the file's name; of no use for a tar stream.
        tar: whether it is a tar stream, else it is one raw file.
        length: bytes announced, or None.
        limit_bytes: most bytes it may have.
    """

    chunks: AsyncIterator[bytes]
    filename: str
    tar: bool
    length: int | None
    limit_bytes: int


async def start_publish(
    registry: Registry,
    jobs: Jobs,
    request: PublishRequest,
    body: UploadBody,
    idempotency_key: str | None,
) -> Operation:
    """Receives an upload and starts its job.

    Everything that can be refused is refused before the body is read.

    Args:
        registry: the catalogue.
        jobs: who runs it.
        request: what is published, by whom.
        body: the upload.
        idempotency_key: the client's, or None.

    Returns:
        The operation; that of the first request where the key was used before for the same.

    Raises:
        MaasError: INVALID_ARGUMENT for a name, option or upload that is refused,
            PERMISSION_DENIED for trust asked for by a role that may not publish code, TOO_LARGE,
            ALREADY_EXISTS for an Idempotency-Key used otherwise, RESOURCE_EXHAUSTED for a full
            disk or too many jobs, CANCELLED if the client goes away.
    """
    name = check_publish_name(request.name)
    request = msgspec.structs.replace(request, name=name)
    check_options(request.options)
    if request.options.trust:
        check_allowed(request.principal, Action.PUBLISH_CODE)
    check_filename(body.filename)
    if body.length is not None and body.length > body.limit_bytes:
        raise MaasError(
            ErrorKind.TOO_LARGE,
            f"the upload has {body.length} bytes; at most {body.limit_bytes} are allowed",
        )
    if idempotency_key is None:
        return await _receive(registry, jobs, request, body)
    owner = request.principal.key_id
    operation_id = jobs.idempotency.claim(owner, idempotency_key, _fingerprint(request, body))
    if operation_id is not None:
        known = jobs.operations.get(operation_id)
        if known is not None:
            return known.snapshot()
        # The operation has been forgotten since: the key begins anew.
        jobs.idempotency.bind(owner, idempotency_key, "")
    try:
        operation = await _receive(registry, jobs, request, body)
    except BaseException:
        jobs.idempotency.release(owner, idempotency_key)
        raise
    jobs.idempotency.bind(owner, idempotency_key, operation.id)
    return operation


async def _receive(
    registry: Registry, jobs: Jobs, request: PublishRequest, body: UploadBody
) -> Operation:
    reporter = jobs.operations.begin(request.name)
    try:
        staged = await asyncio.to_thread(registry.stage)
        try:
            received = await _read(body, staged / UPLOAD)
            if received.code is not None and not request.options.trust:
                raise invalid(
                    "the upload holds code (--code) and does not say that it is trusted; add "
                    "--trust (trust=true) if you know where it comes from: it runs in the sandbox"
                )
            options = await asyncio.to_thread(_with_card, request.options, received.card)
        except BaseException:
            await asyncio.to_thread(registry.discard, staged)
            raise
    except BaseException:
        jobs.operations.forget(reporter)
        raise
    request = msgspec.structs.replace(request, options=options)
    jobs.start(reporter, request, received, staged)
    return reporter.snapshot()


async def _read(body: UploadBody, folder: Path) -> Received:
    with clear_disk_errors():
        await asyncio.to_thread(folder.mkdir, 0o700)
    if body.tar:
        return await receive_tar(body.chunks, folder, body.limit_bytes)
    return await receive_file(body.chunks, folder, body.filename, body.limit_bytes)


def _with_card(options: PublishOptions, card: Path | None) -> PublishOptions:
    """Takes a model card for the description, of which there is one place only."""
    if card is None:
        return options
    if options.description:
        raise invalid("the upload has a description and a card; send one of the two")
    try:
        text = card.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise invalid("the card is not UTF-8 text") from None
    options = msgspec.structs.replace(options, description=text)
    check_options(options)
    return options


def _fingerprint(request: PublishRequest, body: UploadBody) -> str:
    parts = (request.name, request.options, body.filename, body.tar, body.length)
    return msgspec.json.encode(parts).decode()
