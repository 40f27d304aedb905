from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from litestar.types import ASGIApp

from maas.access import Authenticator, KeyEntry, Keyring, digest
from maas.admin.jobs import Jobs
from maas.admin.keys import make_keyring
from maas.registry import Registry
from maas.settings import LimitSettings
from maas.testing.deployments import FakeDeployments
from maas.testing.pipeline import FakePipeline
from maas.wire.api import ApiServices, create_api

KEYS = {role: f"the-key-of-the-{role}" for role in ("owner", "operator", "publisher", "caller")}
UPLOAD_BYTES = 100_000

Publish = Callable[..., Awaitable[dict[str, object]]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def registry(home: Path) -> Iterator[Registry]:
    with Registry.open(home, lambda: datetime.now(UTC)) as registry:
        yield registry


@pytest.fixture
def pipeline(registry: Registry) -> FakePipeline:
    return FakePipeline(registry)


@pytest.fixture
def authenticator(registry: Registry) -> Authenticator:
    return Authenticator(Keyring(0), required=True)


@pytest.fixture
def deployments(registry: Registry, authenticator: Authenticator) -> FakeDeployments:
    """Deployments that, like control, put the registry's keys into the keyring."""
    fixed = [KeyEntry(digest(key), f"key-{role}", role, role) for role, key in KEYS.items()]

    def follow() -> None:
        ring = make_keyring(registry.active_keys(), KEYS["owner"], 1)
        authenticator.replace(Keyring(1, (*fixed[1:], *ring.entries)))

    follow()
    return FakeDeployments(follow)


@pytest.fixture
async def services(
    registry: Registry,
    deployments: FakeDeployments,
    pipeline: FakePipeline,
    authenticator: Authenticator,
) -> AsyncIterator[ApiServices]:
    jobs = Jobs(pipeline, registry, deployments, concurrent=2, load_s=5)
    limits = LimitSettings(upload_bytes=UPLOAD_BYTES)
    yield ApiServices(registry, deployments, jobs, authenticator, limits, heartbeat_s=0.01)
    pipeline.go.set()
    await jobs.close()


@pytest.fixture
def app(services: ApiServices) -> ASGIApp:
    return create_api(services, allowed_hosts=["maas.example"])


@pytest.fixture
async def clients(app: ASGIApp) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """One client for each role, and one without a key under `""`."""
    made = {
        role: httpx.AsyncClient(
            transport=httpx.ASGITransport(app),
            base_url="http://localhost:8080",
            headers={"Authorization": f"Bearer {key}"} if key else {},
        )
        for role, key in {**KEYS, "": ""}.items()
    }
    yield made
    for client in made.values():
        await client.aclose()


@pytest.fixture
def owner(clients: dict[str, httpx.AsyncClient]) -> httpx.AsyncClient:
    return clients["owner"]


@pytest.fixture
def publish(owner: httpx.AsyncClient) -> Publish:
    """Publishes a file and returns the ended operation; keywords are query parameters."""

    async def publish(name: str = "iris", content: bytes = b"model", **params: object) -> dict:
        answer = await owner.post(f"/api/models/{name}/versions", content=content, params=params)
        assert answer.status_code == 202, answer.text
        location = answer.headers["location"]
        await owner.get(f"{location}/events")
        return (await owner.get(location)).json()

    return publish
