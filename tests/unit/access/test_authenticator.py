from __future__ import annotations

import pytest

from maas.access import ANONYMOUS, Authenticator, KeyEntry, Keyring, digest
from maas.access.authenticator import NO_KEY, UNKNOWN_KEY
from maas.core.errors import ErrorKind, MaasError
from maas.core.messages import Principal

Headers = list[tuple[bytes, bytes]]

KEY = "maas_" + "a" * 43
OTHER = "maas_" + "a" * 42 + "b"
ANN = Principal("key_1", "ann", "caller")
BOB = Principal("key_2", "bob", "publisher")


def entry(key: str, principal: Principal) -> KeyEntry:
    return KeyEntry(digest(key), principal.key_id, principal.name, principal.role)


RING = Keyring(1, (entry(KEY, ANN), entry(OTHER, BOB)))


@pytest.fixture
def required() -> Authenticator:
    return Authenticator(RING, required=True)


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer " + KEY.encode()),
        (b"authorization", b"bearer " + KEY.encode()),
        (b"authorization", b"Bearer   " + KEY.encode() + b" "),
        (b"x-api-key", KEY.encode()),
        (b"api-key", KEY.encode()),
    ],
)
def test_a_key_is_found_in_each_header(
    required: Authenticator, header: tuple[bytes, bytes]
) -> None:
    assert required.authenticate([(b"host", b"localhost"), header]) == ANN


def test_keys_that_share_a_prefix_are_told_apart(required: Authenticator) -> None:
    assert required.authenticate([(b"x-api-key", OTHER.encode())]) == BOB


def refused(authenticator: Authenticator, headers: Headers) -> MaasError:
    with pytest.raises(MaasError) as caught:
        authenticator.authenticate(headers)
    assert caught.value.kind is ErrorKind.UNAUTHENTICATED
    return caught.value


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"")],
        [(b"authorization", b"Basic " + KEY.encode())],
        [(b"x-api-key", b"   ")],
        [(b"cookie", KEY.encode())],
    ],
)
def test_without_a_key_the_refusal_says_how_to_send_one(
    required: Authenticator, headers: Headers
) -> None:
    assert refused(required, headers).message == NO_KEY


@pytest.mark.parametrize(
    "value",
    [
        KEY[:-1],
        KEY + "x",
        KEY.upper(),
        "' OR 1=1 --",
        digest(KEY).hex(),
        "\u00e9\u4e2d",
        "x" * 30_000,
    ],
)
def test_an_unknown_key_is_refused_in_other_words(required: Authenticator, value: str) -> None:
    error = refused(required, [(b"x-api-key", value.encode())])
    assert error.message == UNKNOWN_KEY
    assert value[:20] not in error.message


def test_bytes_that_are_no_text_are_refused(required: Authenticator) -> None:
    refused(required, [(b"authorization", b"Bearer \xff\xfe\x00")])


def test_the_first_known_key_counts(required: Authenticator) -> None:
    headers = [
        (b"authorization", b"Bearer placeholder"),
        (b"api-key", OTHER.encode()),
        (b"x-api-key", KEY.encode()),
    ]
    assert required.authenticate(headers) == BOB


def test_an_open_plane_is_anonymous_unless_the_key_is_known() -> None:
    plane = Authenticator(RING, required=False)
    assert plane.authenticate([]) == ANONYMOUS
    assert plane.authenticate([(b"x-api-key", b"sk-placeholder")]) == ANONYMOUS
    assert plane.authenticate([(b"x-api-key", KEY.encode())]) == ANN


def test_replacing_the_ring_revokes_and_admits_at_once(required: Authenticator) -> None:
    required.replace(Keyring(2, (entry(OTHER, BOB),)))
    refused(required, [(b"x-api-key", KEY.encode())])
    assert required.authenticate([(b"x-api-key", OTHER.encode())]) == BOB


def test_digests_that_begin_alike_are_compared_to_the_end() -> None:
    wanted = digest(KEY)
    forged = wanted[:8] + bytes(24)
    ring = Keyring(1, (KeyEntry(forged, "key_9", "eve", "owner"), entry(KEY, ANN)))
    assert Authenticator(ring, required=True).authenticate([(b"x-api-key", KEY.encode())]) == ANN


def test_a_short_digest_in_the_ring_opens_nothing() -> None:
    ring = Keyring(1, (KeyEntry(digest(KEY)[:8], "key_9", "eve", "owner"),))
    refused(Authenticator(ring, required=True), [(b"x-api-key", KEY.encode())])


def test_an_empty_ring_refuses_everybody() -> None:
    refused(Authenticator(Keyring(0), required=True), [(b"x-api-key", KEY.encode())])
