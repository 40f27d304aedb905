"""Arrays → JSON text."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from maas.core.tensor import DType
from maas.dialects.tensorjson.text import array_text, object_text


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1, 2.5, 0.1, 1e20, 16777216], np.float32), b"[1.0,2.5,0.1,1e+20,16777216.0]"),
        (np.array([0.1], np.float64), b"[0.1]"),
        (np.array([[1, -2]], np.int8), b"[[1,-2]]"),
        (np.array([2**64 - 1], np.uint64), b"[18446744073709551615]"),
        (np.array([True, False]), b"[true,false]"),
        (np.array(0.1, np.float32), b"0.1"),
        (np.array(3, np.int64), b"3"),
        (np.array(True), b"true"),
        (np.zeros((2, 0), np.float32), b"[[],[]]"),
        (np.array([np.nan, 1, np.inf, -np.inf], np.float32), b"[NaN,1.0,Infinity,-Infinity]"),
        (np.array([[np.nan], [-np.inf]]), b"[[NaN],[-Infinity]]"),
        (np.array(np.inf, np.float16), b"Infinity"),
        (np.array([1, 2], ">f4"), b"[1.0,2.0]"),
        (np.arange(6, dtype=np.int32).reshape(2, 3).T, b"[[0,3],[1,4],[2,5]]"),
        (np.array([[np.nan, 1], [2, np.inf]]).T, b"[[NaN,2.0],[1.0,Infinity]]"),
        (np.array([b"a", "中".encode(), b"null"], object), '["a","中","null"]'.encode()),
        (np.array([[b"\xff"], [b"a"]], object), b'[[{"b64":"/w=="}],["a"]]'),
        (np.array(b"x", object), b'"x"'),
        (np.array([], object), b"[]"),
    ],
)
def test_text_of_an_array(array, text):
    assert array_text(array) == text


def test_base64_can_be_asked_for():
    array = np.array([b"a", b"\xff"], object)
    values = json.loads(array_text(array, as_base64=True))
    assert [base64.b64decode(value["b64"]) for value in values] == [b"a", b"\xff"]


def test_names_of_an_object_are_escaped():
    text = object_text([('a"b', b"1"), ("中", b"[2]")])
    assert json.loads(text) == {'a"b': 1, "中": [2]}
    assert "中".encode() in text
    assert object_text([]) == b"{}"


@pytest.mark.parametrize("dtype", [dtype for dtype in DType if dtype is not DType.BYTES])
@given(data=st.data())
def test_any_array_reads_back_as_the_same_numbers(dtype, data):
    # Hypothesis does not know BF16: any sixteen bits are one.
    drawn = np.dtype(np.uint16) if dtype is DType.BF16 else dtype.numpy
    array = data.draw(hnp.arrays(drawn, hnp.array_shapes(min_dims=0, max_dims=3, max_side=5)))
    if dtype is DType.BF16:
        array = array.view(dtype.numpy)
    text = array_text(array)
    wide = np.dtype(np.float32) if dtype is DType.BF16 else dtype.numpy
    np.testing.assert_array_equal(np.array(json.loads(text), wide), array.astype(wide))
    assert b"null" not in text
