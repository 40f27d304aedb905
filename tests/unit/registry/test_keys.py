from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import Role
from maas.registry import Registry

KEY = "maas-k9Zp2vQ7sX4mR8tB1nL5"


def test_only_the_digest_is_stored(registry: Registry, home: Path) -> None:
    record = registry.create_key("同事", Role.CALLER, KEY)
    assert re.fullmatch(r"key_[0-9a-f]{8}", record.id)
    assert (record.name, record.role, record.revoked_at) == ("同事", Role.CALLER, None)
    assert registry.active_keys() == ((hashlib.sha256(KEY.encode()).digest(), record),)
    registry.close()
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    assert any(hashlib.sha256(KEY.encode()).hexdigest().encode() in content for content in files)
    assert not any(KEY[5:17].encode() in content for content in files)


def test_a_revoked_key_is_listed_and_no_longer_active(registry: Registry) -> None:
    first = registry.create_key("a", Role.OWNER, KEY)
    second = registry.create_key("a", Role.PUBLISHER, KEY + "x")
    revoked = registry.revoke_key(first.id)
    assert revoked.revoked_at is not None
    assert revoked.revoked_at.endswith("Z")
    assert registry.revoke_key(first.id) == revoked
    assert set(registry.keys()) == {revoked, second}
    assert [record for _, record in registry.active_keys()] == [second]


def test_the_same_key_twice(registry: Registry) -> None:
    first = registry.create_key("a", Role.CALLER, KEY)
    with pytest.raises(MaasError, match=first.id) as caught:
        registry.create_key("b", Role.OWNER, KEY)
    assert caught.value.kind is ErrorKind.ALREADY_EXISTS
    assert KEY not in caught.value.message


def test_sql_in_keys_names_and_ids(registry: Registry) -> None:
    sql = "' OR 1=1; DROP TABLE keys; --"
    record = registry.create_key(sql, Role.CALLER, sql)
    assert registry.keys() == (record,)
    for key_id in (sql, "", "key_", record.id[:-1], record.id.upper(), "key_%", "\ud800", "key\0"):
        with pytest.raises(MaasError, match=record.id) as caught:
            registry.revoke_key(key_id)
        assert caught.value.kind is ErrorKind.NOT_FOUND
    assert [found for _, found in registry.active_keys()] == [record]


@pytest.mark.parametrize("name", ["", "  ", "x" * 129, "a\nb", "a\0", "\ud800"])
def test_what_cannot_name_a_key(registry: Registry, name: str) -> None:
    with pytest.raises(MaasError) as caught:
        registry.create_key(name, Role.CALLER, KEY)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert registry.keys() == ()


def test_an_empty_key(registry: Registry) -> None:
    with pytest.raises(MaasError) as caught:
        registry.create_key("a", Role.CALLER, "")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
