"""Annotations of Python models."""

from __future__ import annotations

import pytest

import maas
from maas.core.pythonmodel import Annotation, Bool, Float32, PythonModel, Text
from maas.core.tensor import DType


def test_an_annotation_is_a_type_and_a_shape():
    assert Float32["n", 4] == Annotation(DType.FP32, ("n", 4))
    assert Text["n"] == Annotation(DType.BYTES, ("n",))
    assert Bool[3] == Annotation(DType.BOOL, (3,))
    assert Float32[()] == Annotation(DType.FP32, ())
    assert Float32[None, 2] == Annotation(DType.FP32, ("", 2))


@pytest.mark.parametrize("size", [-1, 1.5, "two words", True, "4"], ids=str)
def test_a_size_is_a_number_or_a_letter(size):
    with pytest.raises(TypeError, match="expected a number from 0 on, or a letter"):
        Float32["n", size]


def test_every_type_is_in_the_package_itself():
    names = {"Bool", "Text", *(f"{u}Int{b}" for u in ("", "U") for b in (8, 16, 32, 64))}
    names |= {"BFloat16", "Float16", "Float32", "Float64"}
    assert {getattr(maas, name)["n"].dtype for name in names} == set(DType)
    assert maas.PythonModel is PythonModel


def test_a_model_without_infer_says_so():
    class Nothing(PythonModel):
        pass

    with pytest.raises(NotImplementedError, match="Nothing has no infer method"):
        Nothing().infer()
