"""The Python SDK: `Client`, `AsyncClient` and their errors.

    flow (requests in order, sans-I/O) ─▶ Call ─▶ httpx ─▶ bytes ─▶ Call.parse ─▶ core record

It imports `maas.core` alone; httpx is imported when a client is made.
"""

from __future__ import annotations

from maas.client.asynchronous import AsyncClient
from maas.client.chat import ChatReply, ChatUsage, ToolCall
from maas.client.chats import AsyncChatStream, ChatStream
from maas.client.errors import ApiError, ServerUnreachable
from maas.client.sync import Client

__all__ = [
    "ApiError",
    "AsyncChatStream",
    "AsyncClient",
    "ChatReply",
    "ChatStream",
    "ChatUsage",
    "Client",
    "ServerUnreachable",
    "ToolCall",
]
