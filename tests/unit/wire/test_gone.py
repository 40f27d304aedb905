from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from maas.wire.gone import has_gone


@pytest.mark.parametrize(
    ("message", "gone"),
    [
        ({"type": "http.disconnect"}, True),
        ({"type": "http.request", "body": b"", "more_body": False}, False),
        ({"type": "http.request"}, False),
    ],
)
async def test_what_comes_next_says_whether_the_client_has_gone(
    message: Mapping[str, Any], gone: bool
) -> None:
    async def as_uvicorn_does() -> Mapping[str, Any]:
        return message

    def as_envoy_does() -> asyncio.Future[Mapping[str, Any]]:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_result, message)
        return future

    assert await has_gone(as_uvicorn_does) is gone
    assert await has_gone(as_envoy_does) is gone
