"""HandleReloadConfigRequest, read."""

from __future__ import annotations

import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.dialects.tfserving.reload import WantedModel, decode_reload
from maas.protos import message

Request = message("tensorflow.serving.ReloadConfigRequest")


def listing(*configs):
    request = Request()
    request.config.model_config_list.SetInParent()
    for about in configs:
        request.config.model_config_list.config.add(**about)
    return request


def specific(*versions):
    return {"specific": {"versions": versions}}


def test_models_versions_and_labels():
    request = listing(
        {"name": "a", "base_path": "/x", "version_labels": {"stable": 1, "canary": 2}},
        {"name": "b", "model_version_policy": specific(4, 7, 5)},
        {"name": "c", "model_version_policy": {"latest": {"num_versions": 2}}},
        {"name": "d", "model_version_policy": {"all": {}}},
    )
    assert decode_reload(request) == (
        WantedModel("a", 0, (), {"stable": 1, "canary": 2}),
        WantedModel("b", 7, (4, 7, 5), {}),
        WantedModel("c", 0, (), {}),
        WantedModel("d", 0, (), {}),
    )
    assert decode_reload(listing()) == ()


def custom():
    request = Request()
    request.config.custom_model_config.type_url = "x"
    return request


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        (Request(), "holds no model_config_list"),
        (custom(), "holds no model_config_list"),
        (listing({"name": "a"}, {"name": "a"}), "lists 'a' more than once"),
        (listing({"name": ""}), "is not a model name"),
        (listing({"name": "../a"}), "is not a model name"),
        (listing({"name": "a", "version_labels": {"a b": 1}}), "is not a label"),
        (listing({"name": "a", "version_labels": {"x": 0}}), "0 is no version of 'a'"),
        (listing({"name": "a", "model_version_policy": specific()}), "names no version"),
        (listing({"name": "a", "model_version_policy": specific(-1)}), "-1 is no version of 'a'"),
        (
            listing({"name": "a", "version_labels": {f"l{n}": 1 for n in range(257)}}),
            "more than 256 version_labels",
        ),
        (listing(*[{"name": f"m{n}"} for n in range(4097)]), "lists 4097 models"),
    ],
)
def test_what_is_wrong_is_said(request_, sentence):
    with pytest.raises(MaasError) as caught:
        decode_reload(request_)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert sentence in caught.value.message
