"""Whether the client of a request that takes long is still there."""

from __future__ import annotations

from typing import cast

from maas.wire.http import Receive


async def has_gone(caller: object) -> bool:
    """Waits for what is next to come from a client whose request has been read to its end.

    Envoy's front answers an empty part of the body within a millisecond where the client is still
    there, uvicorn nothing until it has gone. The future that Envoy's gives must not be cancelled
    (it would be set all the same, and that logged), so let this come to its end.

    Args:
        caller: the request's `receive`, as `CallContext.caller` holds it.
    """
    message = await cast("Receive", caller)()
    return bool(message["type"] == "http.disconnect")
