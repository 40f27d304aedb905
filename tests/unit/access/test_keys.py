from __future__ import annotations

import re

import msgspec
import pytest

from maas.access import KeyEntry, Keyring, digest, new_key


def test_new_key_has_prefix_and_43_url_safe_characters() -> None:
    assert re.fullmatch(r"maas_[A-Za-z0-9_-]{43}", new_key())


def test_new_keys_differ() -> None:
    assert len({new_key() for _ in range(100)}) == 100


def test_digest_is_the_whole_sha256() -> None:
    # The value is FIPS 180's own example.
    assert digest("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digest_of_text_is_that_of_its_utf8() -> None:
    assert digest("ключ") == digest("ключ".encode())


def test_keyring_survives_msgpack() -> None:
    ring = Keyring(7, (KeyEntry(digest("a"), "key_1", "张三", "caller"),))
    assert Keyring.decode(ring.encode()) == ring


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x93\x01\x02\x03", b"not msgpack"])
def test_keyring_refuses_anything_else(data: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        Keyring.decode(data)
