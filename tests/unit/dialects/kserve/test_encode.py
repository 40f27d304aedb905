from __future__ import annotations

import json

from maas.dialects.kserve.encode import encode_model_list
from maas.dialects.openai.models import ListedModel


def test_the_list_has_both_protocols_fields():
    assert json.loads(encode_model_list(["iris", "花"], [])) == {
        "models": ["iris", "花"],
        "object": "list",
        "data": [],
    }


def test_language_models_stand_in_openais_list():
    found = json.loads(encode_model_list(["chat"], [ListedModel("gpt", 7, 64)]))
    assert found["models"] == ["chat"]
    assert found["data"] == [
        {"id": "gpt", "object": "model", "created": 7, "owned_by": "maas", "max_model_len": 64}
    ]
