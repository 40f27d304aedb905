from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions, VersionPatch
from maas.registry import VersionDraft, check_options
from maas.registry.drafts import check_draft, check_patch

BOUNDS: list[dict[str, Any]] = [
    {},
    {"description": "好" * 10_000},
    {"accuracy": 0.0},
    {"accuracy": 1.0},
    {"metrics": {str(n): -1e300 for n in range(100)}},
    {"tags": {"k" * 256: "v" * 256, "empty": ""}},
    {"alias": ("prod", "stable-2")},
    {"quantize": "f16"},
    {"quantize": "q4_0", "context_tokens": 1 << 24, "drop_params": True},
    {"served_names": ("gpt-4o-mini", "meta-llama/Llama-3.2-1B", "助手")},
]
BEYOND: list[tuple[dict[str, Any], str]] = [
    ({"description": "x" * 10_001}, "10001 characters; at most 10000"),
    ({"description": "\ud800"}, "surrogate"),
    ({"accuracy": 1.0001}, "accuracy is 1.0001"),
    ({"accuracy": -0.1}, "accuracy is -0.1"),
    ({"accuracy": float("nan")}, "accuracy is nan"),
    ({"metrics": {"rmse": float("inf")}}, "metric 'rmse' is inf"),
    ({"metrics": {"rmse": float("nan")}}, "metric 'rmse' is nan"),
    ({"metrics": {"": 1.0}}, "empty name"),
    ({"metrics": {str(n): 1.0 for n in range(101)}}, "101 metrics"),
    ({"tags": {str(n): "" for n in range(101)}}, "101 tags"),
    ({"tags": {"k" * 257: ""}}, "257 characters"),
    ({"tags": {"k": "v" * 257}}, "257 characters"),
    ({"tags": {"k": "\udfff"}}, "surrogate"),
    ({"alias": ("3",)}, "digits alone are a version number"),
    ({"alias": ("../prod",)}, "is not an alias"),
    ({"alias": ("a",) * 101}, "101 aliases"),
]


OF_LANGUAGE_MODELS: list[tuple[dict[str, Any], str]] = [
    ({"quantize": "q5_k"}, "'q5_k' is no quantisation; expected f16, q8_0, q4_0"),
    ({"context_tokens": -1}, "a context of -1 tokens"),
    ({"context_tokens": (1 << 24) + 1}, "out of range"),
    ({"served_names": ("a",) * 101}, "101 served names"),
    ({"served_names": ("",)}, "'' is not a served name"),
    ({"served_names": ("a//b",)}, "'a//b' is not a served name"),
    ({"served_names": ("../a",)}, r"'\.\./a' is not a served name"),
    ({"served_names": ("iris:2",)}, "'iris:2' is not a served name"),
    ({"served_names": ("iris@prod",)}, "'iris@prod' is not a served name"),
    ({"served_names": ("a\n",)}, "is not a served name"),
    ({"served_names": ("a" * 129,)}, "has 129 characters"),
    ({"served_names": ("a/" * 64 + "a",)}, "has 129 characters"),
    ({"served_names": ("cafe\u0301",)}, "write it in NFC"),
]


@pytest.mark.parametrize(("options", "message"), OF_LANGUAGE_MODELS)
def test_what_may_not_be_said_of_language_models(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MaasError, match=message) as caught:
        check_options(PublishOptions(**options))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("options", BOUNDS)
def test_what_may_be_said(options: dict[str, Any]) -> None:
    check_options(PublishOptions(**options))


@pytest.mark.parametrize(("options", "message"), BEYOND)
def test_what_may_not(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MaasError, match=message) as caught:
        check_options(PublishOptions(**options))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    if "alias" not in options:
        with pytest.raises(MaasError, match=message):
            check_patch(VersionPatch(**options))


def test_a_report_that_json_cannot_carry(make_draft: Callable[..., VersionDraft]) -> None:
    draft = make_draft()
    assert draft.report.parity is not None
    parity = msgspec.structs.replace(draft.report.parity, max_abs=float("nan"))
    report = msgspec.structs.replace(draft.report, parity=parity)
    with pytest.raises(MaasError, match=r"the report of iris holds a value") as caught:
        check_draft(make_draft(report=report))
    assert caught.value.kind is ErrorKind.INTERNAL


@pytest.mark.parametrize("entry", ["/etc/passwd", "../model.onnx", "a/../../b"])
def test_an_entry_outside_its_folder(make_draft: Callable[..., VersionDraft], entry: str) -> None:
    with pytest.raises(MaasError, match="outside its folder"):
        check_draft(make_draft(entry=entry))
