"""What every refusal must be, in the shape of whichever dialect was spoken."""

from __future__ import annotations

import re

import requests

_LEAKS = re.compile(
    r"Traceback|site-packages|\.py\b|0x[0-9a-f]{6}|/tmp|/home|/root|/proc|\.sock\b|"
    r"\b127\.0\.0\.1\b|<class|object at 0|\bNone\b|std::|onnxruntime_pybind"
)


def check_sentence(message: str) -> str:
    """A message is one clear line: it says something, and gives nothing of the server away."""
    assert isinstance(message, str)
    assert 15 <= len(message) <= 600, message
    assert "\n" not in message, message
    found = _LEAKS.search(message)
    assert found is None, f"{found} in {message!r}"
    return message


def plain_error(answer: requests.Response, status: int) -> str:
    """Checks an error of the plain calls or the control API; gives its sentence."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"kind", "message", "request_id"}
    assert body["error"]["request_id"] == answer.headers["x-request-id"]
    return check_sentence(body["error"]["message"])


def bare_error(answer: requests.Response, status: int) -> str:
    """Checks an error of the Open Inference Protocol or TensorFlow Serving; gives its sentence."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    return check_sentence(body["error"])


OPENAI = ("/v1/chat/", "/v1/completions", "/v1/embeddings", "/v1/responses")


def openai_error(answer: requests.Response, status: int) -> str:
    """Checks an error of OpenAI's API; gives its sentence."""
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    return check_sentence(body["error"]["message"])


def error(path: str, answer: requests.Response, status: int) -> str:
    """Checks an error in the shape that a path's dialect has."""
    if path.startswith(OPENAI):
        return openai_error(answer, status)
    bare = path in ("/v2", "/v1/models") or path.startswith(("/v2/", "/v1/models/"))
    return (bare_error if bare else plain_error)(answer, status)
