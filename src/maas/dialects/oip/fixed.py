"""What Triton lets be changed at run time and this server does not: log and trace settings."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import orjson

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.tensorjson.document import read

LOGGING = {
    "log_file": "",
    "log_info": True,
    "log_warning": True,
    "log_error": True,
    "log_verbose_level": 0,
    "log_format": "default",
}
"""What is logged, in the terms of Triton's logging extension: to stderr, all but details."""
TRACING = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
"""No request is traced, in the terms of Triton's trace extension."""


def encode_logging() -> bytes:
    """Writes `GET /v2/logging`."""
    return orjson.dumps(LOGGING)


def encode_tracing() -> bytes:
    """Writes `GET /v2/trace/setting` and `/v2/models/M/trace/setting`."""
    return orjson.dumps(TRACING)


def check_unchanged(body: bytes, what: str) -> None:
    """Reads a request to change such settings: one that changes nothing is well.

    Args:
        body: the request's.
        what: the settings: `log`.

    Raises:
        MaasError: UNIMPLEMENTED where it asks for a change; INVALID_ARGUMENT.
    """
    if not body.strip():
        return
    check_settings(read(body).root, what)


def check_settings(names: Iterable[str], what: str) -> None:
    """Refuses a request to change settings, where it names any.

    Raises:
        MaasError: UNIMPLEMENTED.
    """
    asked = ", ".join([name[:40] for name in islice(names, 8)])
    if asked:
        raise MaasError(
            ErrorKind.UNIMPLEMENTED,
            f"{what} settings are fixed while the server runs, and so {asked} cannot be changed; "
            "GET shows them as they are",
        )
