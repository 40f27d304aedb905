from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError, invalid, not_found


def test_an_error_carries_its_kind_and_sentence() -> None:
    error = MaasError(ErrorKind.RESOURCE_EXHAUSTED, "try again", retry_after_s=2.0)
    assert (error.kind, error.message, error.retry_after_s) == (
        "resource_exhausted",
        "try again",
        2,
    )
    assert str(error) == "try again"


def test_the_commonest_have_short_makers() -> None:
    assert (invalid("a").kind, not_found("b").kind) == (
        ErrorKind.INVALID_ARGUMENT,
        ErrorKind.NOT_FOUND,
    )
    assert invalid("a").retry_after_s is None
    with pytest.raises(MaasError, match="no such thing"):
        raise not_found("no such thing")
