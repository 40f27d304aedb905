from __future__ import annotations

import pytest

from maas.access import Authenticator, Keyring, digest
from maas.admin import keys
from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import Principal
from maas.core.records import KeyRequest, Role
from maas.registry import Registry
from maas.testing.deployments import FakeDeployments

OWNER = "the-owner's-key!"


@pytest.fixture
def authenticator(registry: Registry, deployments: FakeDeployments) -> Authenticator:
    """As control has it: its ring follows the registry whenever keys change."""
    authenticator = Authenticator(Keyring(0), required=True)

    def follow() -> None:
        authenticator.replace(keys.make_keyring(registry.active_keys(), OWNER, 1))

    deployments.on_keys_changed = follow
    follow()
    return authenticator


def whose(authenticator: Authenticator, key: str) -> Principal:
    return authenticator.authenticate([(b"x-api-key", key.encode())])


async def test_a_key_opens_until_it_is_revoked(
    registry: Registry, deployments: FakeDeployments, authenticator: Authenticator
) -> None:
    made = await keys.create_key(registry, deployments, KeyRequest("张三", Role.PUBLISHER))
    assert whose(authenticator, made.key) == Principal(made.record.id, "张三", "publisher")
    revoked = await keys.revoke_key(registry, deployments, made.record.id)
    assert revoked.revoked_at is not None
    with pytest.raises(MaasError) as caught:
        whose(authenticator, made.key)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    assert await keys.list_keys(registry) == (revoked,)


async def test_the_owner_is_always_in_the_ring(authenticator: Authenticator) -> None:
    assert whose(authenticator, OWNER) == Principal("owner", "owner", "owner")


async def test_the_registry_never_holds_a_key(
    registry: Registry, deployments: FakeDeployments
) -> None:
    made = await keys.create_key(registry, deployments, KeyRequest("a"))
    assert registry.active_keys() == ((digest(made.key), made.record),)
    assert made.key not in str(registry.keys())


async def test_what_cannot_be_revoked_or_made(
    registry: Registry, deployments: FakeDeployments
) -> None:
    with pytest.raises(MaasError) as caught:
        await keys.revoke_key(registry, deployments, "' OR 1=1 --")
    assert caught.value.kind is ErrorKind.NOT_FOUND
    with pytest.raises(MaasError) as caught:
        await keys.create_key(registry, deployments, KeyRequest(""))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert deployments.calls == []
