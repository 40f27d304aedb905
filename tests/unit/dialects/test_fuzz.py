"""Whatever bytes arrive, a codec answers with arrays that fit the signature or a MaasError."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import ModelView
from maas.core.signature import Signature, check_inputs
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.decode import decode_infer
from maas.dialects.plain.decode import decode, parse
from maas.dialects.tensorjson.document import LARGE_BYTES
from maas.dialects.tfserving.decode import decode_predict
from maas.dialects.tfserving.examplejson import decode_examples

INPUTS = (
    TensorSpec("x", DType.FP32, (None, 2)),
    TensorSpec("k", DType.INT8, (None,)),
    TensorSpec("t", DType.BYTES, (None,)),
    TensorSpec("b", DType.BOOL, (None,)),
)


def signature_of(inputs: tuple[TensorSpec, ...]) -> Signature:
    return Signature("serving_default", inputs, (TensorSpec("y", DType.FP32, (None,)),), True)


SIGNATURES = [signature_of((spec,)) for spec in INPUTS] + [signature_of(INPUTS)]
DECODERS = {
    "plain": lambda text, view: decode(parse(text), view.signatures["serving_default"]),
    "oip": decode_infer,
    "tfserving": decode_predict,
    "tfserving-examples": lambda text, view: decode_examples(text, view, "regress"),
}
LEAF = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["x", "k", "t", "b", "FP32", "INT8", "BYTES", "BOOL", "AA=="])
)
NAMES = """x k t b input_data text model inputs instances outputs name shape datatype data id
parameters signature_name b64 examples context classification timeout binary_data_size"""
KEY = st.text(max_size=3) | st.sampled_from(NAMES.split())
VALUE = st.recursive(
    LEAF,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY, inner, max_size=5),
    max_leaves=25,
)
VALID = [
    {"input_data": [[1.5, 2.5], [3.5, 4.5]]},
    {"x": [[1, 2]], "k": [1], "t": ["a"], "b": [True]},
    {"instances": [{"x": [1, 2], "k": 1, "t": {"b64": "AA=="}, "b": True}]},
    {"examples": [{"x": [1, 2], "k": 1, "t": {"b64": "AA=="}}], "context": {"b": True}},
    {"inputs": {"x": [[1, 2]], "k": [1], "t": ["中"], "b": [False]}},
    {
        "id": "1",
        "inputs": [
            {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
            {"name": "k", "shape": [1], "datatype": "INT8", "data": [1]},
            {"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]},
            {"name": "b", "shape": [1], "datatype": "BOOL", "data": [True]},
        ],
        "outputs": [{"name": "y", "parameters": {"classification": 1}}],
        "parameters": {"timeout": 5},
    },
]
EXPECTED = {ErrorKind.INVALID_ARGUMENT, ErrorKind.UNIMPLEMENTED}


def attempt(decoder: Callable[[bytes, ModelView], Any], text: bytes, view: ModelView) -> Any:
    try:
        return decoder(text, view)
    except MaasError as error:
        return error


def try_all(text: bytes, decoder: str) -> None:
    for signature in SIGNATURES:
        view = ModelView(ServableId("m", 1), {"serving_default": signature}, "p", True)
        outcome = attempt(DECODERS[decoder], text, view)
        if isinstance(outcome, MaasError):
            assert outcome.kind in EXPECTED
            assert outcome.message
            assert "\n" not in outcome.message
        else:
            assert check_inputs(signature, outcome.inputs) == outcome.rows


@pytest.mark.parametrize("padding", [0, LARGE_BYTES])
@pytest.mark.parametrize("decoder", list(DECODERS))
class TestFuzz:
    @given(text=st.binary(max_size=200))
    def test_random_bytes(self, decoder, padding, text):
        try_all(text + b" " * padding, decoder)

    @given(
        value=st.dictionaries(KEY, VALUE, max_size=5),
        ascii_only=st.booleans(),
    )
    def test_any_json(self, decoder, padding, value, ascii_only):
        text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
        try_all(text + b" " * padding, decoder)

    @given(
        valid=st.sampled_from(VALID),
        edits=st.lists(
            st.tuples(
                st.integers(0, 400),
                st.integers(0, 6),
                st.sampled_from(
                    [
                        b"",
                        b"[",
                        b"]",
                        b"{",
                        b"}",
                        b'"',
                        b",",
                        b"1",
                        b"-",
                        b"e9",
                        b".5",
                        b"NaN",
                        b"\\",
                    ]
                )
                | st.binary(max_size=3),
            ),
            max_size=4,
        ),
    )
    def test_mutated_requests(self, decoder, padding, valid, edits):
        text = json.dumps(valid).encode()
        for place, length, new in edits:
            place %= len(text) + 1
            text = text[:place] + new + text[place + length :]
        try_all(text + b" " * padding, decoder)
