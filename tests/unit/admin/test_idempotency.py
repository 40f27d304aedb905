from __future__ import annotations

import pytest

from maas.admin.idempotency import IdempotencyKeys
from maas.core.errors import ErrorKind, MaasError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(clock: Clock) -> IdempotencyKeys:
    return IdempotencyKeys(clock, kept=3, kept_s=100)


def refused(keys: IdempotencyKeys, owner: str, key: str, request: str) -> MaasError:
    with pytest.raises(MaasError) as caught:
        keys.claim(owner, key, request)
    return caught.value


def test_a_repetition_gets_the_same_operation(keys: IdempotencyKeys) -> None:
    assert keys.claim("ann", "k", "request") is None
    keys.bind("ann", "k", "operation-1")
    assert keys.claim("ann", "k", "request") == "operation-1"


def test_another_request_under_the_same_key_is_refused(keys: IdempotencyKeys) -> None:
    keys.claim("ann", "k", "request")
    keys.bind("ann", "k", "operation-1")
    assert refused(keys, "ann", "k", "other").kind is ErrorKind.ALREADY_EXISTS


def test_a_repetition_during_the_upload_is_refused(keys: IdempotencyKeys) -> None:
    keys.claim("ann", "k", "request")
    assert "still being received" in refused(keys, "ann", "k", "request").message


def test_a_released_key_is_free_again(keys: IdempotencyKeys) -> None:
    keys.claim("ann", "k", "request")
    keys.release("ann", "k")
    assert keys.claim("ann", "k", "other") is None


def test_principals_do_not_see_each_others_keys(keys: IdempotencyKeys) -> None:
    keys.claim("ann", "k", "request")
    keys.bind("ann", "k", "operation-1")
    assert keys.claim("bob", "k", "request") is None


def test_keys_are_forgotten_with_time(keys: IdempotencyKeys, clock: Clock) -> None:
    keys.claim("ann", "k", "request")
    clock.now = 99
    assert refused(keys, "ann", "k", "other")
    clock.now = 100
    assert keys.claim("ann", "k", "other") is None


def test_only_so_many_are_remembered(keys: IdempotencyKeys) -> None:
    for number in range(4):
        keys.claim("ann", str(number), "request")
    assert keys.claim("ann", "0", "other") is None
    assert refused(keys, "ann", "3", "other")


@pytest.mark.parametrize("key", ["", "x" * 256, "a\nb", "\0"])
def test_what_is_no_key(keys: IdempotencyKeys, key: str) -> None:
    assert refused(keys, "ann", key, "request").kind is ErrorKind.INVALID_ARGUMENT
