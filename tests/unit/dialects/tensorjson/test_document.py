"""Reading bodies: what is JSON, what is not, and how deep."""

from __future__ import annotations

import json
import math
import threading

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.tensorjson import document as module
from maas.dialects.tensorjson.document import LARGE_BYTES, MAX_DEPTH, is_base64, read, read_value


def refused(text: bytes) -> MaasError:
    with pytest.raises(MaasError) as caught:
        read(text)
    return caught.value


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"{", "not valid JSON"),
        (b'{"a": [1, 2}', "not valid JSON"),
        (b'{"a": 1,}', "not valid JSON"),
        (b'{"a": 1} x', "not valid JSON"),
        (b'{"a": 1}{"b": 2}', "not valid JSON"),
        (b'{"a": 01}', "not valid JSON"),
        (b'{"a": +1}', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": "\x01"}', "not valid JSON"),
        (b'{"a": 1e400}', "not valid JSON"),
        (b'{"a": "\\ud800"}', "not valid JSON"),
        (b'{"a": "\\ud800", "b": NaN}', "other half"),
        (b'{"a": 1e400, "b": NaN}', "beyond the largest 64-bit float"),
        (b'{"a": NaN, "b": [}', "not valid JSON"),
        (b'{"a": NaN, "b": ' + b"1" * 5000 + b"}", "not valid JSON"),
        (b'{"a": -NaN}', "not valid JSON"),
        (b'{"a": nan}', "not valid JSON"),
        (b'{"a": "NaN', "not valid JSON"),
        (b'{"a": "\xff"}', "not UTF-8"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8"),
        (b"\x1f\x8b\x08\x00", "not UTF-8"),
        (b"[1]", "the body is a list; expected a JSON object"),
        (b'"a"', "the body is a string; expected a JSON object"),
        (b"null", "the body is null; expected a JSON object"),
        (b"1", "the body is a number; expected a JSON object"),
        (b"true", "the body is true or false; expected a JSON object"),
        (b"NaN", "the body is a number; expected a JSON object"),
    ],
)
def test_what_is_no_json_object_is_refused(body, content, sentence):
    error = refused(body(content))
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert sentence in error.message


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b'{"v": 1, "v": 1}', 1),
        (b'{"v": "\\u4e2d\\ud83d\\ude00"}', "中😀"),
        (b'\xef\xbb\xbf{"v": 1}', 1),
        (b'{"v": 18446744073709551615}', 18446744073709551615),
        (b'{"v": Infinity}', math.inf),
        (b'{"v": -Infinity}', -math.inf),
    ],
)
def test_what_is_read(content, value):
    assert read(content).root["v"] == value


def test_both_ways_accept_nan(body):
    assert math.isnan(read(body(b'{"v": NaN}')).root["v"])


def test_a_large_body_with_a_byte_order_mark_is_read():
    text = b"\xef\xbb\xbf" + b" " * LARGE_BYTES + b'{"v": 1}'
    assert read(text).root["v"] == 1


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_depth_is_bounded(body, opening, closing):
    def nested(depth):
        return body(
            b'{"a":%s1%s}' % (opening.encode() * (depth - 1), closing.encode() * (depth - 1))
        )

    read(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500, 5_000, 250_000):
        error = refused(nested(depth))
        assert error.kind is ErrorKind.INVALID_ARGUMENT
        assert error.message == "the body nests lists and objects more than 100 deep"


def test_openings_alone_are_too_deep(body):
    assert "more than 100 deep" in refused(body(b"[" * 250_000)).message


def test_brackets_in_strings_and_beside_each_other_are_not_depth(body):
    content = {"a": "[" * 500, "b": [[1]] * 500, 'c\\"[[[': '"' * 300 + "{" * 300}
    assert read(body(content)).root["a"] == "[" * 500


def test_brackets_in_strings_do_not_hide_depth(body):
    content = b'{"a": "%s", "b": %s1%s}' % (b"]" * 200, b"[" * 150, b"]" * 150)
    assert "more than 100 deep" in refused(body(content)).message


def test_numbers_of_a_large_body_are_no_python_objects(monkeypatch):
    monkeypatch.setattr(module, "MAX_OBJECTS", 100)
    rows = read(json.dumps({"v": [1.0] * LARGE_BYTES}).encode())
    assert len(rows.root["v"]) == LARGE_BYTES
    with pytest.raises(MaasError) as caught:
        rows.python(rows.root["v"])
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert "regular array of finite numbers; send fewer rows" in caught.value.message
    assert refused(b'{"v": [' + b"1," * 200 + b"NaN]}").kind is ErrorKind.TOO_LARGE


def test_values_are_bounded_before_they_are_parsed(monkeypatch):
    monkeypatch.setattr(module, "MAX_VALUES", LARGE_BYTES)
    assert len(read(json.dumps({"v": [1.0] * (LARGE_BYTES - 3)}).encode()).root["v"])
    error = refused(json.dumps({"v": [1.0] * LARGE_BYTES}).encode())
    assert error.kind is ErrorKind.TOO_LARGE
    assert error.message == (
        f"the body holds more than {LARGE_BYTES} values; send fewer rows in one call"
    )


def test_large_bodies_are_read_on_many_threads_at_once():
    """Each body has its own parser, so documents may live side by side."""
    texts = [json.dumps({"v": [index] * LARGE_BYTES}).encode() for index in range(8)]
    documents = [read(text) for text in texts]
    found: list[bool] = []

    def check(index: int) -> None:
        fresh = read(texts[index]).root["v"].as_list()
        found.append(fresh == documents[index].root["v"].as_list() == [index] * LARGE_BYTES)

    threads = [threading.Thread(target=check, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 8


def test_outlines_are_given_only_where_they_are_certain():
    padding = " " * LARGE_BYTES
    once = read(('{"k": [1, 2]}' + padding).encode())
    assert None not in once.outlines("k", 1)
    assert once.outlines("k", 2) == (None, None)
    twice = read(('{"k": [1], "a": {"k": [2]}}' + padding).encode())
    assert twice.outlines("k", 1) == (None,)
    assert read(b'{"k": [1]}').outlines("k", 1) == (None,)


def test_base64_is_the_sole_key(body):
    values = read(body({"a": {"b64": ""}, "b": {"b64": "", "x": 1}, "c": {"x": 1}, "d": "b64"}))
    assert [is_base64(values.root[key]) for key in "abcd"] == [True, False, False, False]


@pytest.mark.parametrize("padding", [b"", b" " * LARGE_BYTES])
def test_any_value_can_be_a_body_where_it_may(padding):
    found = read_value(b"[[1, 2]]" + padding, "v")
    assert found.python(found.root["v"]) == [[1, 2]]
    assert (None in found.outlines("v", 1)) is not bool(padding)
    assert read_value(b'"a"' + padding, "v").root == {"v": "a"}
    assert list(read_value(b'{"x": 1}' + padding, "v").root) == ["x"]
    for wrong in (b'[1], "v": [2]', b"[1", b"", b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)):
        with pytest.raises(MaasError):
            read_value(wrong + padding, "v")
