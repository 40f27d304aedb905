"""Servers that a test must leave as they were."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.server import Server, wait_until


def watched(server: Server) -> Iterator[Server]:
    """A server, which must be afterwards as it was before."""
    before = server.models()
    yield server
    assert server.models() == before
    wait_until(lambda: server.staged() == [], 10, "an empty staging folder")
    assert server.post("/counts/predict", {"input_data": [[1, 2, 3]]}).json() == {
        "prediction": [[6]]
    }


@pytest.fixture
def unharmed(usual: Server) -> Iterator[Server]:
    """For what the pipeline refuses, whatever front it came through."""
    yield from watched(usual)


@pytest.fixture
def either(server: Server) -> Iterator[Server]:
    """For what is refused on its way in, through each front."""
    yield from watched(server)
