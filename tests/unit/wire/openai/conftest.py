from __future__ import annotations

import importlib.util
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest


def load_beside(name: str, file: str) -> None:
    """Imports a helper beside this file; tests are no package under importlib mode."""
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(file))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


load_beside("maas_test_openai", "talker.py")

from maas_test_openai import Talker, opened  # noqa: E402 - it is known from here on


@pytest.fixture(params=[True, False], ids=["envoy", "uvicorn"])
async def talker(request: pytest.FixtureRequest) -> AsyncIterator[Talker]:
    """Behind either front; at its end nothing is being written any more."""
    async for one in opened(Talker(envoy=request.param)):
        yield one


@pytest.fixture(params=[True, False], ids=["envoy", "uvicorn"])
async def hasty(request: pytest.FixtureRequest) -> AsyncIterator[Talker]:
    """One that waits for nothing long."""
    async for one in opened(Talker(envoy=request.param, token_s=0.05)):
        yield one


@pytest.fixture
async def guarded() -> AsyncIterator[Talker]:
    """One that wants a key."""
    async for one in opened(Talker(required=True)):
        yield one


@pytest.fixture
async def chatty() -> AsyncIterator[Talker]:
    """One with a default model."""
    async for one in opened(Talker(chat="simple")):
        yield one
