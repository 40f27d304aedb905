from __future__ import annotations

import pytest

from maas.client.errors import answer_error
from maas.core.errors import ErrorKind


def test_the_control_apis_shape() -> None:
    body = b'{"error": {"kind": "already_exists", "message": "no", "request_id": "r"}}'
    error = answer_error(409, {"retry-after": "3"}, body)
    assert (error.kind, error.message, error.request_id) == (ErrorKind.ALREADY_EXISTS, "no", "r")
    assert (error.status, error.retry_after_s) == (409, 3.0)


def test_a_dialects_shape_takes_its_kind_from_the_status() -> None:
    error = answer_error(404, {"x-request-id": "r"}, b'{"error": "no model iris"}')
    assert (error.kind, error.message, error.request_id) == (
        ErrorKind.NOT_FOUND,
        "no model iris",
        "r",
    )


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad Gateway</html>", b"[1]", b'{"error": 3}', b"\xff\xfe", b"{" * 9999]
)
def test_a_body_that_is_no_error_still_gives_one_sentence(body: bytes) -> None:
    error = answer_error(502, {}, body)
    assert error.kind is ErrorKind.UNAVAILABLE
    assert error.message == "the server answered 502 without saying why"


def test_an_unknown_kind_falls_back_to_the_status() -> None:
    body = b'{"error": {"kind": "later_invention", "message": "m"}}'
    assert answer_error(429, {}, body).kind is ErrorKind.RESOURCE_EXHAUSTED
    assert answer_error(418, {}, body).kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("text", ["", "soon", "-1", "²", "Wed, 21 Oct 2015 07:28:00 GMT"])
def test_a_retry_after_that_is_no_number_is_left_out(text: str) -> None:
    assert answer_error(503, {"retry-after": text}, b"").retry_after_s is None


def test_a_redirect_says_that_the_address_is_wrong() -> None:
    assert "wants another URL" in answer_error(308, {}, b"").message


def test_a_message_is_cut() -> None:
    body = b'{"error": "' + b"x" * 100_000 + b'"}'
    assert len(answer_error(400, {}, body).message) == 2_000
