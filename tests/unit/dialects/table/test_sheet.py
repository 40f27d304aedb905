"""CSV, with and without a header."""

from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature
from maas.core.tensor import DType, TensorSpec
from maas.dialects.table.sheet import decode_text, read_csv
from maas.dialects.tensorjson.document import MAX_OBJECTS


def signature(dtype: DType = DType.FP32, width: int = 3) -> Signature:
    spec = TensorSpec("x", dtype, (None, width))
    return Signature("serving_default", (spec,), (spec,), True)


NUMBERS, TEXTS = signature(), signature(DType.BYTES)


def refusal(text: str, **how: bool) -> str:
    with pytest.raises(MaasError) as caught:
        read_csv(text, NUMBERS, **how)
    return caught.value.message


def test_names_and_cells():
    table = read_csv('a,"b,c",d\r\n1,2,3\r\n\r\n4,5,6\r\n', NUMBERS)
    assert table.names == ("a", "b,c", "d")
    assert table.columns == [["1", "4"], ["2", "5"], ["3", "6"]]
    assert table.texts


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("5.1,3.5,1.4\n", None),
        ("1,2,nan\n1,2,3\n", None),
        ("0,1,2\n5,6,7\n", ("0", "1", "2")),
        ("x,1,2\n5,6,7\n", ("x", "1", "2")),
        ("1,2,\n5,6,7\n", ("1", "2", "")),
    ],
)
def test_a_first_row_of_numbers_is_a_row_except_where_pandas_wrote_it(text, names):
    assert read_csv(text, NUMBERS).names == names


def test_a_model_of_texts_always_has_a_header():
    assert read_csv("1,2,3\n4,5,6\n", TEXTS).names == ("1", "2", "3")


def test_the_caller_can_say():
    assert read_csv("0,1,2\n", NUMBERS, header=False).names is None
    assert read_csv("5,6,7\n1,2,3\n", NUMBERS, header=True).names == ("5", "6", "7")


def test_what_may_be_either_is_refused():
    assert "header=present" in refusal("0\n5\n")
    assert "header=absent" in refusal("0,1\n5,6\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("a,b\n1\n", "row 2 of the CSV has 1 cells"),
        ("a,a\n1,2\n", "'a' twice"),
        ("a,b\n", "no rows"),
        ('a,"b\n', "is not CSV"),
        ('a,"b"c\n', "is not CSV"),
        ("a," * 70_000 + "\n", "columns"),
    ],
)
def test_what_is_no_table(text, said):
    assert said in refusal(text)


def test_cells_are_counted_before_they_are_made():
    with pytest.raises(MaasError) as caught:
        read_csv("1\n" * (MAX_OBJECTS + 1), NUMBERS)
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_encodings():
    assert decode_text("\ufeff城市".encode(), utf8=True) == "城市"
    assert decode_text("城市".encode("gb18030"), utf8=False) == "城市"
    for body, utf8 in (
        ("城市".encode("gb18030"), True),
        (b"\xff\xff", False),
        (b"\xb3\x00", False),
    ):
        with pytest.raises(MaasError, match="not UTF-8"):
            decode_text(body, utf8=utf8)
