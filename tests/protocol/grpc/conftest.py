"""A server behind Envoy: gRPC needs HTTP/2."""

from __future__ import annotations

import pytest
from tests.server import Server


@pytest.fixture
def rpc(usual: Server) -> str:
    """Host and port of a server that answers gRPC."""
    from maas.wire.envoy import why_not

    missing = why_not()
    if missing:
        pytest.skip(f"gRPC needs the Envoy front: {missing}")
    return f"127.0.0.1:{usual.port}"
