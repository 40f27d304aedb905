from __future__ import annotations

import json

from maas.dialects.kserve.encode import encode_model_list


def test_the_list_has_both_protocols_fields():
    assert json.loads(encode_model_list(["iris", "花"])) == {
        "models": ["iris", "花"],
        "object": "list",
        "data": [],
    }
