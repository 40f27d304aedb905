"""The control API's calls, one function each: arguments in, `Call` out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct

from maas.client.call import Call, Flow, nothing, opaque, reader, segment
from maas.core.errors import invalid
from maas.core.records import (
    AliasRequest,
    DeploymentRequest,
    ImportRecord,
    KeyRecord,
    KeyRequest,
    ModelRecord,
    NewKey,
    Operation,
    Page,
    ProcessRecord,
    Role,
    ServerInfo,
    VersionPatch,
    VersionRecord,
)

PAGE_MODELS = "200"


class _Processes(Struct):
    processes: list[ProcessRecord]


class _Imports(Struct):
    imports: list[ImportRecord]


class _Keys(Struct):
    keys: list[KeyRecord]


def info() -> Call[ServerInfo]:
    """`GET /api`."""
    return Call("GET", "/api", reader(ServerInfo))


def models() -> Flow[list[ModelRecord]]:
    """`GET /api/models`, page after page."""
    found: list[ModelRecord] = []
    cursor: str | None = None
    while True:
        params = (("limit", PAGE_MODELS),) + ((("cursor", cursor),) if cursor else ())
        page: Page = yield Call("GET", "/api/models", reader(Page), params)
        found.extend(page.models)
        if not page.cursor or page.cursor == cursor:
            return found
        cursor = page.cursor


def model(name: str) -> Call[ModelRecord]:
    """`GET /api/models/NAME`."""
    return Call("GET", f"/api/models/{segment(name)}", reader(ModelRecord))


def version(name: str, number: int) -> Call[VersionRecord]:
    """`GET /api/models/NAME/versions/N`."""
    return Call("GET", _version_path(name, number), reader(VersionRecord))


def patch(name: str, number: int, change: VersionPatch) -> Call[VersionRecord]:
    """`PATCH /api/models/NAME/versions/N`."""
    body = msgspec.json.encode(change)
    return Call("PATCH", _version_path(name, number), reader(VersionRecord), body=body)


def delete(name: str, number: int | None) -> Call[None]:
    """`DELETE` of a model, or of one version."""
    path = f"/api/models/{segment(name)}" if number is None else _version_path(name, number)
    return Call("DELETE", path, nothing)


def alias(name: str, alias: str, number: int) -> Call[ModelRecord]:
    """`PUT /api/models/NAME/aliases/ALIAS`."""
    body = msgspec.json.encode(AliasRequest(_number(number)))
    return Call("PUT", _alias_path(name, alias), reader(ModelRecord), body=body)


def delete_alias(name: str, alias: str) -> Call[ModelRecord]:
    """`DELETE /api/models/NAME/aliases/ALIAS`."""
    return Call("DELETE", _alias_path(name, alias), reader(ModelRecord))


def rollback(name: str) -> Call[ModelRecord]:
    """`POST /api/models/NAME/rollback`."""
    return Call("POST", f"/api/models/{segment(name)}/rollback", reader(ModelRecord))


def deploy(name: str, traffic: Mapping[int, int]) -> Call[ModelRecord]:
    """`PUT /api/deployments/NAME`."""
    weights = {str(_number(number)): weight for number, weight in traffic.items()}
    body = msgspec.json.encode(DeploymentRequest(weights))
    return Call("PUT", f"/api/deployments/{segment(name)}", reader(ModelRecord), body=body)


def operation(operation_id: str) -> Call[Operation]:
    """`GET /api/operations/ID`."""
    path = f"/api/operations/{opaque(operation_id, 'operation id')}"
    return Call("GET", path, reader(Operation))


def processes() -> Call[list[ProcessRecord]]:
    """`GET /api/processes`."""
    read = reader(_Processes)
    return Call("GET", "/api/processes", lambda body: read(body).processes)


def imports() -> Call[list[ImportRecord]]:
    """`GET /api/imports`."""
    read = reader(_Imports)
    return Call("GET", "/api/imports", lambda body: read(body).imports)


def create_key(name: str, role: str) -> Call[NewKey]:
    """`POST /api/keys`.

    Raises:
        MaasError: INVALID_ARGUMENT for a role there is not.
    """
    roles = [str(each) for each in Role]
    if role not in roles:
        raise invalid(f"{role!r} is not a role; expected one of {', '.join(roles)}")
    body = msgspec.json.encode(KeyRequest(name, Role(role)))
    return Call("POST", "/api/keys", reader(NewKey), body=body)


def keys() -> Call[list[KeyRecord]]:
    """`GET /api/keys`."""
    read = reader(_Keys)
    return Call("GET", "/api/keys", lambda body: read(body).keys)


def revoke_key(key_id: str) -> Call[KeyRecord]:
    """`DELETE /api/keys/ID`."""
    return Call("DELETE", f"/api/keys/{opaque(key_id, 'key id')}", reader(KeyRecord))


def _version_path(name: str, number: int) -> str:
    return f"/api/models/{segment(name)}/versions/{_number(number)}"


def _alias_path(name: str, alias: str) -> str:
    return f"/api/models/{segment(name)}/aliases/{segment(alias, 'alias')}"


def _number(number: int) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise invalid(f"{number!r} is not a version; expected a number such as 3")
    return number
