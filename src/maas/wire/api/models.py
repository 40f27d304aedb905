"""`/api/models`: models, versions, aliases, roll-back, and `/api/deployments`."""

from __future__ import annotations

from typing import Annotated

from litestar import delete, get, patch, post, put
from litestar.params import FromPath, QueryParameter, RequestBody
from msgspec import Struct

from maas.access import Action
from maas.admin import models, rollout
from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import parse_version
from maas.core.records import (
    AliasRequest,
    DeploymentRequest,
    ModelRecord,
    Page,
    VersionPatch,
    VersionRecord,
)
from maas.wire.api.errors import error_responses
from maas.wire.api.security import ACTION
from maas.wire.api.services import Services

READ = {ACTION: Action.READ}
PUBLISH = {ACTION: Action.PUBLISH}
TAGS = ["models"]
ERRORS = error_responses(404)
ROLLOUT_ERRORS = error_responses(404, 503, 504)


class Versions(Struct, frozen=True):
    """Versions of one model, newest first."""

    versions: tuple[VersionRecord, ...]


class DeploymentBody(DeploymentRequest, frozen=True):
    """`DeploymentRequest`, and `shadow`, the part of the traffic to copy to another version."""

    shadow: float = 0.0


@get("/models", opt=READ, tags=TAGS, responses=error_responses(), summary="List models")
async def list_models(
    services: Services,
    limit: Annotated[int, QueryParameter(description="How many, 1 to 1000.")] = 100,
    cursor: Annotated[
        str | None, QueryParameter(description="`cursor` of the page before.")
    ] = None,
) -> Page:
    """A page of models, in the order of their names."""
    return await models.list_models(services.registry, services.deployments, limit, cursor)


@get("/models/{name:str}", opt=READ, tags=TAGS, responses=ERRORS, summary="See a model")
async def get_model(services: Services, name: FromPath[str]) -> ModelRecord:
    """One model with its versions, aliases and what serves now."""
    return await models.get_model(services.registry, services.deployments, name)


@delete("/models/{name:str}", opt=PUBLISH, tags=TAGS, responses=ERRORS, summary="Delete a model")
async def delete_model(services: Services, name: FromPath[str]) -> None:
    """Deletes a model with all its versions; its files are gone when this returns."""
    await models.delete_model(services.registry, services.deployments, name, services.unload_s)


@get("/models/{name:str}/versions", opt=READ, tags=TAGS, responses=ERRORS, summary="List versions")
async def list_versions(services: Services, name: FromPath[str]) -> Versions:
    """All versions of a model, newest first."""
    record = await models.get_model(services.registry, services.deployments, name)
    return Versions(record.versions)


@get(
    "/models/{name:str}/versions/{number:str}",
    opt=READ,
    tags=TAGS,
    responses=ERRORS,
    summary="See a version",
)
async def get_version(
    services: Services, name: FromPath[str], number: FromPath[str]
) -> VersionRecord:
    """One version with its signatures, its report and whether it is loaded."""
    version = parse_version(number)
    return await models.get_version(services.registry, services.deployments, name, version)


@patch(
    "/models/{name:str}/versions/{number:str}",
    opt=PUBLISH,
    tags=TAGS,
    responses=ERRORS,
    summary="Describe a version",
)
async def patch_version(
    services: Services,
    name: FromPath[str],
    number: FromPath[str],
    data: RequestBody[VersionPatch],
) -> VersionRecord:
    """Changes a version's description, accuracy, metrics or tags; what is absent stays."""
    version = parse_version(number)
    return await models.patch_version(services.registry, services.deployments, name, version, data)


@delete(
    "/models/{name:str}/versions/{number:str}",
    opt=PUBLISH,
    tags=TAGS,
    responses=ERRORS,
    summary="Delete a version",
)
async def delete_version(services: Services, name: FromPath[str], number: FromPath[str]) -> None:
    """Deletes a version that no alias names; its number is never used again."""
    version = parse_version(number)
    await models.delete_version(
        services.registry, services.deployments, name, version, services.unload_s
    )


@put(
    "/models/{name:str}/aliases/{alias:str}",
    opt=PUBLISH,
    tags=TAGS,
    responses=ROLLOUT_ERRORS,
    summary="Set an alias",
)
async def set_alias(
    services: Services,
    name: FromPath[str],
    alias: FromPath[str],
    data: RequestBody[AliasRequest],
) -> ModelRecord:
    """Points an alias at a version once that is loaded; returns when calls follow it."""
    return await rollout.set_alias(
        services.registry, services.deployments, name, alias, data.version, services.load_s
    )


@delete(
    "/models/{name:str}/aliases/{alias:str}",
    opt=PUBLISH,
    tags=TAGS,
    status_code=200,
    responses=ERRORS,
    summary="Delete an alias",
)
async def delete_alias(
    services: Services, name: FromPath[str], alias: FromPath[str]
) -> ModelRecord:
    """Removes an alias; the version stays."""
    return await rollout.delete_alias(
        services.registry, services.deployments, name, alias, services.load_s
    )


@post(
    "/models/{name:str}/rollback",
    opt=PUBLISH,
    tags=TAGS,
    status_code=200,
    responses=ROLLOUT_ERRORS,
    summary="Roll back",
)
async def rollback(services: Services, name: FromPath[str]) -> ModelRecord:
    """Restores the version that served before; returns when unversioned calls reach it."""
    return await rollout.rollback(services.registry, services.deployments, name, services.load_s)


@put(
    "/deployments/{name:str}",
    opt=PUBLISH,
    tags=TAGS,
    responses=error_responses(404, 501, 503, 504),
    summary="Send traffic to a version",
)
async def deploy(
    services: Services, name: FromPath[str], data: RequestBody[DeploymentBody]
) -> ModelRecord:
    """Sends unversioned calls to one version; returns when they reach it."""
    if data.shadow:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED, "traffic cannot be shadowed yet; leave 'shadow' out"
        )
    return await rollout.deploy(
        services.registry, services.deployments, name, data, services.load_s
    )


HANDLERS = (
    list_models,
    get_model,
    delete_model,
    list_versions,
    get_version,
    patch_version,
    delete_version,
    set_alias,
    delete_alias,
    rollback,
    deploy,
)
"""The routes of this module."""
