"""Options of language models are refused for anything else, before it is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions
from maas.publish.language_options import check_language_options
from maas.publish.uploads import Upload

ALONE = Upload(Path("model"), "model", None, Path("staged"))


@pytest.mark.parametrize(
    ("options", "format_", "words"),
    [
        ({"quantize": "f16"}, "onnx", "--quantize is for language models, and this is onnx"),
        ({"context_tokens": 5}, "skops", "--context is for language models"),
        ({"served_names": ("a",)}, "onnx", "--served-name is for language models"),
        ({"drop_params": True}, "upstream", "--drop-params is for language models"),
        ({"quantize": "f16"}, "gguf", "final form"),
        ({"quantize": "f16"}, "openvino-ir-llm", "final form"),
    ],
)
def test_refused(options: dict[str, Any], format_: str, words: str) -> None:
    with pytest.raises(MaasError, match=words) as caught:
        check_language_options(ALONE, PublishOptions(**options), format_)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_let_through() -> None:
    every = PublishOptions(quantize="q8_0", context_tokens=5, served_names=("a",), drop_params=True)
    check_language_options(ALONE, every, "huggingface")
    check_language_options(ALONE, PublishOptions(context_tokens=5, served_names=("a",)), "gguf")
    check_language_options(ALONE, PublishOptions(), "onnx")


@pytest.mark.parametrize("what", ["sample", "code"])
def test_what_never_comes_with_a_language_model(what: str) -> None:
    upload = structs.replace(ALONE, **{what: Path("rows.csv")})
    with pytest.raises(MaasError, match=f"--{what} is for") as caught:
        check_language_options(upload, PublishOptions(), "gguf")
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    check_language_options(upload, PublishOptions(), "onnx")
