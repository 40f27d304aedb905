from __future__ import annotations

import dataclasses

import httpx
import msgspec

from maas.core.records import ImportRecord
from maas.wire.api import ApiServices, create_api

FOUND = (
    ImportRecord("", "bad name", None, "refused", "it is not a model name"),
    ImportRecord("花", "3", 3, "imported"),
)


async def test_what_was_found_is_listed(
    services: ApiServices, owner: httpx.AsyncClient, clients: dict[str, httpx.AsyncClient]
) -> None:
    assert (await owner.get("/api/imports")).json() == {"imports": []}
    assert (await clients["caller"].get("/api/imports")).status_code == 403
    assert (await clients[""].get("/api/imports")).status_code == 401
    watching = create_api(dataclasses.replace(services, imports=lambda: FOUND))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(watching),
        base_url="http://localhost:8080",
        headers=owner.headers,
    ) as client:
        answer = await client.get("/api/imports")
    assert msgspec.convert(answer.json()["imports"], tuple[ImportRecord, ...]) == FOUND
