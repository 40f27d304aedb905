from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind
from maas.wire.status import HTTP_STATUS, kind_of


def test_every_kind_has_a_status_of_an_error() -> None:
    assert set(HTTP_STATUS) == set(ErrorKind)
    assert all(400 <= status < 600 for status in HTTP_STATUS.values())


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ErrorKind.INVALID_ARGUMENT),
        (404, ErrorKind.NOT_FOUND),
        (405, ErrorKind.METHOD_NOT_ALLOWED),
        (418, ErrorKind.INVALID_ARGUMENT),
        (500, ErrorKind.INTERNAL),
        (599, ErrorKind.INTERNAL),
    ],
)
def test_a_librarys_status_has_a_kind(status: int, kind: ErrorKind) -> None:
    assert kind_of(status) is kind
