"""Which signature a call means."""

from __future__ import annotations

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.signatures import pick_signature


def test_the_main_signature_has_a_name_and_no_name(iris):
    main = iris.signatures["serving_default"]
    assert pick_signature(iris) is pick_signature(iris, "") is main
    assert pick_signature(iris, "serving_default") is main


def test_a_model_without_a_default_is_called_by_its_own_name_and_by_none(iris):
    own = {
        name: msgspec.structs.replace(iris.signatures["serving_default"], name=name)
        for name in ("predict_images", "embed")
    }
    view = msgspec.structs.replace(iris, signatures=own)
    assert pick_signature(view, "predict_images") is own["predict_images"]
    assert pick_signature(view) is pick_signature(view, "") is own["embed"]
    with pytest.raises(MaasError, match="expected one of embed, predict_images"):
        pick_signature(view, "other")


def test_an_unknown_signature_names_those_there_are(iris):
    with pytest.raises(MaasError) as caught:
        pick_signature(iris, "other")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert caught.value.message == ("m:3 has no signature 'other'; expected one of serving_default")
