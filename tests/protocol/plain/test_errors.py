"""Bad input to the plain calls: one clear sentence, the right status, and service goes on."""

from __future__ import annotations

import gzip

import pytest
from tests import zoo
from tests.answers import plain_error

COUNTS = "/counts/predict"
CASES = {
    "empty": (COUNTS, b"", "empty"),
    "white space": (COUNTS, b"  \n", "empty"),
    "not JSON": (COUNTS, b"counts=1", "JSON"),
    "cut off": (COUNTS, b'{"input_data": [[1, 2', "JSON"),
    "a list": (COUNTS, b"[[1, 2, 3]]", "list"),
    "a string": (COUNTS, b'"text"', "string"),
    "not UTF-8": (COUNTS, b'{"input_data": "\xff\xfe"}', "UTF-8"),
    "half a surrogate pair": ("/words/predict", rb'{"text": "\ud800"}', "JSON"),
    "ragged": (COUNTS, b'{"input_data": [[1, 2, 3], [4, 5]]}', "ragged"),
    "ragged in depth": (COUNTS, b'{"input_data": [[1, 2, 3], [4, [5], 6]]}', "ragged"),
    "text for numbers": (COUNTS, b'{"input_data": [["a", "b", "c"]]}', '"a"'),
    "numbers for text": ("/words/predict", b'{"text": 5}', "5"),
    "null": (COUNTS, b'{"input_data": [[1, null, 3]]}', "null"),
    "true for a number": (COUNTS, b'{"input_data": [[1, true, 3]]}', "true"),
    "NaN for an integer": (COUNTS, b'{"input_data": [[1, NaN, 3]]}', "NaN"),
    "a fraction for an integer": (COUNTS, b'{"input_data": [[1, 2.5, 3]]}', "2.5"),
    "1.0 for an integer": (COUNTS, b'{"input_data": [[1, 1.0, 3]]}', "1.0"),
    "beyond 64 bits": (COUNTS, b'{"input_data": [[1, 99999999999999999999, 3]]}', "whole"),
    "beyond a float": ("/iris/predict", b'{"input_data": [[1, 2, 3, 1e300]]}', "1e+300"),
    "beyond any float": ("/iris/predict", b'{"input_data": [[1, 2, 3, 1e999]]}', "JSON"),
    "too few columns": (COUNTS, b'{"input_data": [[1, 2]]}', "[n, 3]"),
    "too many axes": (COUNTS, b'{"input_data": [[[1, 2, 3]]]}', "[n, 3]"),
    "no rows": (COUNTS, b'{"input_data": []}', "expected"),
    "no rows of three": ("/pair/predict", b'{"a": [[1, 2]], "b": []}', "'b'"),
    "no input": (COUNTS, b"{}", "'counts'"),
    "a missing input": ("/pair/predict", b'{"a": [[1, 2]]}', "'b' is missing"),
    "an unknown input": ("/pair/predict", b'{"a": [[1, 2]], "b": [[1, 2]], "c": 3}', "'c'"),
    "one value for two inputs": ("/pair/predict", b'{"input_data": [[1, 2]]}', "2 inputs"),
    "rows that differ": ("/pair/predict", b'{"a": [[1, 2]], "b": [[1, 2], [3, 4]]}', "rows"),
    "deep": (COUNTS, b'{"input_data": ' + b"[" * 101 + b"1" + b"]" * 101 + b"}", "100"),
    "very deep": (COUNTS, b'{"input_data": ' + b"[" * 250_000 + b"]" * 250_000 + b"}", "100"),
    "very deep and cut off": (COUNTS, b'{"input_data": ' + b"[" * 250_000, "100"),
    "deep objects": (COUNTS, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, "100"),
    "a digit too long": (COUNTS, b'{"input_data": [[1, 2, ' + b"9" * 100_000 + b"]]}", "JSON"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_bodies(server, case):
    path, body, word = CASES[case]
    assert word in plain_error(server.post(path, body), 400)
    assert server.post(COUNTS, {"counts": [[1, 2, 3]]}).json() == {"total": [[6]]}


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/nobody/predict", 404, "nobody"),
        ("/iris:99/predict", 404, "99"),
        ("/iris@nobody/predict", 404, "nobody"),
        ("/iris:0/predict", 404, "0"),
        ("/iris:latest/predict", 400, "latest"),
        ("/iris:-1/predict", 400, "-1"),
        ("/iris:1e3/predict", 400, "1e3"),
        ("/iris:99999999999999999999/predict", 400, "9999"),
        ("/iris@/predict", 400, "alias"),
        ("/iris/explain", 404, "route"),
        ("/iris", 404, "route"),
    ],
)
def test_what_is_not_there(server, path, status, word):
    assert word in plain_error(server.post(path, {"input_data": [zoo.FLOWER]}), status)


def test_an_unknown_model_names_those_there_are(server):
    assert "iris" in plain_error(server.post("/Iris/predict", {"input_data": [zoo.FLOWER]}), 404)


def test_an_encoding_that_is_not_read(server):
    answer = server.post(COUNTS, b"...", headers={"content-encoding": "br"})
    assert "'br'" in plain_error(answer, 415)


@pytest.mark.parametrize(
    "body", [b"not gzip", gzip.compress(b'{"input_data": [[1]]}', mtime=0)[:-9]]
)
def test_a_body_that_is_not_what_its_header_says(server, body):
    plain_error(server.post(COUNTS, body, headers={"content-encoding": "gzip"}), 400)


def test_one_bad_call_among_good_ones_fails_alone(server):
    from concurrent.futures import ThreadPoolExecutor

    def call(index: int) -> int:
        body = {"input_data": [[1, 2, 3] if index % 3 else [1, 2]]}
        return server.post(COUNTS, body).status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(call, range(60)))
    assert found == [200 if index % 3 else 400 for index in range(60)]
