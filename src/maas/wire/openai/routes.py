"""OpenAI's paths: `/v1/chat/completions`, `/v1/completions`; `/v1/models` is shared with KServe."""

from __future__ import annotations

from maas.dialects.openai.errors import error_headers
from maas.wire.openai import handlers
from maas.wire.routes import Dialect, Family, Route, no_route

_FIXED = {
    b"/v1/chat/completions": Route(Dialect.OPENAI, "chat", {"POST": handlers.chat}),
    b"/v1/completions": Route(Dialect.OPENAI, "completion", {"POST": handlers.completion}),
}
_PREFIXES = (b"/v1/chat/", b"/v1/completions", b"/v1/embeddings", b"/v1/responses")


def _match(path: bytes) -> Route:
    raise no_route(path)


FAMILY = Family(Dialect.OPENAI, _PREFIXES, _FIXED, _match, handlers.error_body, error_headers)
