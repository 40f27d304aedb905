from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.upstreams import UpstreamTarget, looks_like_upstream, parse_upstream


@pytest.mark.parametrize(
    ("url", "target"),
    [
        (
            "triton+grpc://host:8001/iris",
            UpstreamTarget("oip", True, True, False, "host", 8001, "iris"),
        ),
        ("triton+http://h/m", UpstreamTarget("oip", True, False, False, "h", 8000, "m")),
        ("oip+http://h/m", UpstreamTarget("oip", False, False, False, "h", 8080, "m")),
        ("oip+grpc://h/m", UpstreamTarget("oip", False, True, False, "h", 8081, "m")),
        ("oip+https://h/m", UpstreamTarget("oip", False, False, True, "h", 443, "m")),
        (
            "OIP+HTTP://Models.Example:80/v2/models/iris/versions/3",
            UpstreamTarget("oip", False, False, False, "models.example", 80, "iris", "3"),
        ),
        (
            "tfserving+grpcs://h/m/versions/12#classify",
            UpstreamTarget("tfserving", False, True, True, "h", 443, "m", "12", "classify"),
        ),
        (
            "tfserving+http://h/v1/models/m/",
            UpstreamTarget("tfserving", False, False, False, "h", 8501, "m"),
        ),
        (
            "tfserving+grpc://[2001:DB8::1]/%E8%8A%B1%20x",
            UpstreamTarget("tfserving", False, True, False, "2001:db8::1", 8500, "花 x"),
        ),
        (
            "oip+http://10.0.0.1/m",
            UpstreamTarget("oip", False, False, False, "10.0.0.1", 8080, "m"),
        ),
    ],
)
def test_urls(url, target):
    assert parse_upstream(url) == target
    assert parse_upstream(target.url) == target


@pytest.mark.parametrize(
    "url",
    [
        "iris.onnx",
        "http://host/m",
        "triton://host/m",
        "triton+ftp://host/m",
        "grpc+triton://host/m",
        "triton+http:///m",
        "triton+http://host",
        "triton+http://host/",
        "triton+http://host/a/b",
        "triton+http://host/m/versions/latest",
        "triton+http://host/m/versions/03",
        "triton+http://host/m/versions/99999999999999999999",
        "triton+http://host/m?x=1",
        "triton+http://host/m#signature",
        "triton+http://host/%2e%2e",
        "triton+http://host/a%2fb",
        "triton+http://host/a%5cb",
        "triton+http://host/%ff",
        "triton+http://host/%zz",
        "triton+http://host/%00",
        "triton+http://user:secret@host/m",
        "triton+http://ok\\@bad/m",
        "triton+http://ok%40bad/m",
        "triton+http://host:0/m",
        "triton+http://host:65536/m",
        "triton+http://host:port/m",
        "triton+http://host./m",
        "triton+http://.host/m",
        "triton+http://ho st/m",
        "triton+http://ho\tst/m",
        "triton+http://höst/m",
        "triton+http://１２７.0.0.1/m",
        "triton+http://2130706433/m",
        "triton+http://0x7f000001/m",
        "triton+http://0x7f.0.0.0x1/m",
        "triton+http://017700000001/m",
        "triton+http://127.1/m",
        "triton+http://0177.0.0.1/m",
        "triton+http://127.0.0.1./m",
        "triton+http://[::1/m",
        "triton+http://[fe80::1%25eth0]/m",
        "triton+http://[::ffff:127.0.0.1.5]/m",
        "tfserving+http://host/m#%zz",
        "triton+http://host/" + "x" * 300,
        "triton+http://" + "x" * 3000 + "/m",
    ],
)
def test_what_is_refused(url):
    with pytest.raises(MaasError) as caught:
        parse_upstream(url)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "secret" not in caught.value.message


def test_language_models_come_later():
    with pytest.raises(MaasError, match="come with language models") as caught:
        parse_upstream("openai+https://host/v1#gpt")
    assert caught.value.kind is ErrorKind.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("triton+grpc://h/m", True),
        ("http://h/m", True),
        ("iris.onnx", False),
        ("./a/b", False),
        ("C:\\models\\m.onnx", False),
    ],
)
def test_a_url_or_a_path(text, url):
    assert looks_like_upstream(text) is url


@given(st.text() | st.text().map(lambda rest: f"triton+http://{rest}"))
def test_any_text_is_read_or_refused(text):
    try:
        target = parse_upstream(text)
    except MaasError:
        return
    assert parse_upstream(target.url) == target
