from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.runtimes.language.openvino_schemas import MOST_BYTES, TOKEN_BYTES, WORN_BYTES, Schemas

VOCABULARY = 1 << 20
EACH = TOKEN_BYTES * VOCABULARY


def test_the_same_schema_is_counted_once() -> None:
    schemas = Schemas(VOCABULARY)
    for _ in range(2 * MOST_BYTES // EACH):
        schemas.add('{"type":"object"}')
    assert not schemas.worn


def test_many_wear_it_out_and_then_are_refused() -> None:
    schemas = Schemas(VOCABULARY)
    for number in range(WORN_BYTES // EACH):
        schemas.add(f'{{"const":{number}}}')
    assert not schemas.worn
    schemas.add('{"const":-1}')
    assert schemas.worn
    for number in range(MOST_BYTES // EACH):
        schemas.add(f'{{"const":{number}}}')
    with pytest.raises(MaasError) as caught:
        schemas.add('{"const":-2}')
    assert caught.value.kind is ErrorKind.RESOURCE_EXHAUSTED
    schemas.add('{"const":-1}')
