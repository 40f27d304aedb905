"""TorchServe's bodies: JSON, raw, and in parts."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, TensorSpec
from maas.dialects.media import Media, parse_media
from maas.dialects.tensorjson.document import LARGE_BYTES
from maas.dialects.torchserve.decode import decode_prediction
from maas.dialects.torchserve.parts import MAX_PARTS

OUTPUT = (TensorSpec("y", DType.FP32, (None,)),)
JSON, NONE = Media("application/json", {}), Media("", {})
RAW, TEXT_PLAIN = Media("application/octet-stream", {}), Media("text/plain", {})
BOUNDARY = "frontier"
PARTS = parse_media(f"multipart/form-data; boundary={BOUNDARY}".encode())


def signature(*specs: TensorSpec) -> Signature:
    return Signature("s", specs, OUTPUT, True)


MATRIX = signature(TensorSpec("x", DType.FP32, (None, 2)))
WORDS = signature(TensorSpec("text", DType.BYTES, (None,)))
PAIR = signature(
    TensorSpec("a", DType.FP32, (None, 2)), TensorSpec("b", DType.BYTES, (None, 1))
)  # fmt: skip
SIGNATURES = [MATRIX, WORDS, PAIR]
ALLOWED = ("invalid_argument", "unsupported_media")


def decode(body: Any, media: Media, wanted: Signature) -> tuple[dict[str, list[Any]], bool]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = decode_prediction(content, media, wanted)
    assert request.rows == check_inputs(wanted, request.inputs)
    return {name: array.tolist() for name, array in request.inputs.items()}, request.unbatch


def refusal(body: Any, media: Media, wanted: Signature) -> MaasError:
    with pytest.raises(MaasError) as caught:
        decode(body, media, wanted)
    return caught.value


def parts(*fields: tuple[str, str, bytes]) -> bytes:
    body = b""
    for disposition, kind, content in fields:
        body += b"--%s\r\nContent-Disposition: form-data; %s\r\n" % (
            BOUNDARY.encode(), disposition.encode()
        )  # fmt: skip
        body += (b"Content-Type: %s\r\n" % kind.encode() if kind else b"") + b"\r\n"
        body += content + b"\r\n"
    return body + b"--%s--\r\n" % BOUNDARY.encode()


ROWS = {"x": [[1.0, 2.0], [3.0, 4.0]]}


@pytest.mark.parametrize(
    "body",
    [
        [[1, 2], [3, 4]],
        {"x": [[1, 2], [3, 4]]},
        {"input_data": [[1, 2], [3, 4]]},
        [{"x": [1, 2]}, {"x": [3, 4]}],
        [{"first": 1, "second": 2}, {"first": 3, "second": 4}],
    ],
)
@pytest.mark.parametrize("media", [JSON, NONE, Media("application/x-www-form-urlencoded", {})])
def test_json_in_every_form(body, media):
    assert decode(body, media, MATRIX) == (ROWS, False)
    assert decode(json.dumps(body).encode() + b" " * LARGE_BYTES, media, MATRIX) == (ROWS, False)


def test_a_value_one_rank_short_gets_its_batch_axis():
    assert decode([1, 2], JSON, MATRIX) == ({"x": [[1.0, 2.0]]}, True)
    assert decode("a", JSON, WORDS) == ({"text": [b"a"]}, True)


def test_large_lists_are_read_without_python_objects():
    data = np.arange(20_000, dtype=np.float32).reshape(-1, 2).tolist()
    assert decode(data, JSON, MATRIX) == ({"x": data}, False)
    data[7] = [1]
    assert "ragged" in refusal(data, JSON, MATRIX).message


def test_raw_tensors():
    raw = np.array([[1, 2], [3, 4]], "<f4").tobytes()
    assert decode(raw, RAW, MATRIX) == (ROWS, False)
    assert decode(raw, NONE, MATRIX) == (ROWS, False)
    assert "a multiple of 8" in refusal(raw[:-1], RAW, MATRIX).message
    assert "has 0 bytes" in refusal(b"", RAW, MATRIX).message
    fixed = signature(TensorSpec("x", DType.INT16, (1, 2)))
    fixed = Signature("s", fixed.inputs, OUTPUT, False)
    assert decode(b"\1\0\2\0", RAW, fixed) == ({"x": [[1, 2]]}, False)
    assert "expected 4" in refusal(b"\1\0\2\0" * 2, RAW, fixed).message
    free = signature(TensorSpec("x", DType.FP32, (None, None)))
    assert "several sizes are free" in refusal(raw, RAW, free).message
    truth = signature(TensorSpec("x", DType.BOOL, (None,)))
    assert decode(b"\1\0", RAW, truth) == ({"x": [True, False]}, False)
    assert "other than 0 and 1" in refusal(b"\2", RAW, truth).message


def test_npy():
    file = io.BytesIO()
    np.save(file, np.array([1, 2]))
    assert decode(file.getvalue(), Media("application/x-npy", {}), MATRIX) == (
        {"x": [[1.0, 2.0]]},
        True,
    )


@pytest.mark.parametrize("media", [NONE, RAW, TEXT_PLAIN, Media("image/jpeg", {})])
def test_a_model_of_bytes_takes_them_as_they_are(media):
    for content in (b"\xff\xd8\xff\xe0", b'{"a": 1}', b"", "文".encode()):
        assert decode(content, media, WORDS) == ({"text": [content]}, True)


def test_several_texts_do_not_fit_one_body():
    wide = signature(TensorSpec("t", DType.BYTES, (None, 3)))
    assert "as JSON" in refusal(b"a", RAW, wide).message


@pytest.mark.parametrize(
    ("body", "media"),
    [
        (b"\xff\xd8\xff\xe0" + b"x" * 100, NONE),
        (b"\x89PNG\r\n\x1a\n", RAW),
        (b"anything", Media("image/png", {})),
        (b"RIFF....WEBPVP8 ", RAW),
        (b"anything", Media("audio/wav", {})),
        (b"hello", TEXT_PLAIN),
    ],
)
def test_pictures_and_texts_are_no_numbers(body, media):
    error = refusal(body, media, MATRIX)
    assert error.kind is ErrorKind.UNSUPPORTED_MEDIA
    assert "JSON" in error.message


def test_parts_of_the_inputs_names():
    body = parts(
        ('name="a"', "application/json", b"[[1, 2]]"),
        ('name="b"; filename="b.txt"', "text/plain", "文".encode()),
    )
    assert decode(body, PARTS, PAIR) == ({"a": [[1.0, 2.0]], "b": [["文".encode()]]}, False)
    body = parts(('name="a"', "", b"[1, 2]"), ('name="b"', "", b"x"))
    assert decode(body, PARTS, PAIR) == ({"a": [[1.0, 2.0]], "b": [[b"x"]]}, True)
    raw = np.array([1, 2], "<f4").tobytes()
    body = parts(('name="a"', "application/octet-stream", raw), ('name="b"', "", b"x"))
    assert decode(body, PARTS, PAIR) == ({"a": [[1.0, 2.0]], "b": [[b"x"]]}, False)


@pytest.mark.parametrize("name", ["data", "body"])
def test_a_general_part_is_the_whole_body(name):
    assert decode(parts((f'name="{name}"', "", b"[[1, 2], [3, 4]]")), PARTS, MATRIX) == (
        ROWS,
        False,
    )
    assert decode(parts((f'name="{name}"', "", b"hello")), PARTS, WORDS) == (
        {"text": [b"hello"]},
        True,
    )
    both = b'{"a": [[1, 2]], "b": [["x"]]}'
    assert decode(parts((f'name="{name}"', "", both)), PARTS, PAIR)[0]["b"] == [[b"x"]]


ONE = ('name="x"', "", b"[[1, 2]]")


@pytest.mark.parametrize(
    ("body", "media", "said"),
    [
        (parts(ONE), Media("multipart/form-data", {}), "boundary"),
        (parts(ONE), Media("multipart/form-data", {"boundary": "ä"}), "boundary"),
        (parts(ONE)[:-12], PARTS, "multipart"),
        (b"", PARTS, "multipart"),
        (parts(), PARTS, "parts"),
        (parts(ONE, ONE), PARTS, "twice"),
        (parts(('name="y"', "", b"1")), PARTS, "no input 'y'"),
        (parts(ONE, ('name="data"', "", b"1")), PARTS, "no input 'data'"),
        (parts(*[(f'name="p{i}"', "", b"") for i in range(MAX_PARTS + 1)]), PARTS, "multipart"),
        (parts(("", "", b"1")), PARTS, "multipart"),
    ],
)
def test_what_is_wrong_with_parts_is_said(body, media, said):
    error = refusal(body, media, MATRIX)
    assert error.kind is ErrorKind.INVALID_ARGUMENT
    assert said in error.message


def test_a_part_is_missing():
    assert "'b' is missing" in refusal(parts(('name="a"', "", b"[1, 2]")), PARTS, PAIR).message


def test_broken_json_is_said_to_be_so():
    assert "not valid JSON" in refusal(b"[1, 2", JSON, MATRIX).message
    assert "not valid JSON" in refusal(b'[1],"x":[2]', JSON, MATRIX).message
    assert "is ragged" in refusal([{"x": [1, 2]}, {"x": [1]}], JSON, MATRIX).message
    assert "no object" in refusal([{"x": [1, 2]}, 1], JSON, MATRIX).message


MEDIA = st.sampled_from(
    [JSON, NONE, RAW, TEXT_PLAIN, PARTS, Media("application/x-npy", {}), Media("image/x", {})]
)
WHOLE = parts(ONE, ('name="b"', "text/plain", b"x"))


@given(
    st.binary(max_size=80) | st.text('[]{}",:01ab ', max_size=40).map(str.encode),
    MEDIA,
    st.integers(0, len(WHOLE)),
)
def test_any_bytes_are_a_request_or_an_error_of_ours(noise, media, at):
    for body in (noise, WHOLE[:at] + noise + WHOLE[at:], WHOLE[:at] + noise + WHOLE[at + 9 :]):
        for wanted in SIGNATURES:
            try:
                request = decode_prediction(body, media, wanted)
            except MaasError as error:
                assert error.kind.value in ALLOWED  # noqa: PT017 - or none
            else:
                assert check_inputs(wanted, request.inputs) == request.rows
