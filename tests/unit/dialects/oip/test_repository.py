"""Configuration, statistics, the repository's calls and fixed settings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.states import ServableState
from maas.core.statistics import BatchStat, DurationStat, RepositoryEntry, VersionStatistics
from maas.core.tensor import DType, TensorSpec
from maas.dialects.oip.config import encode_config, model_config, type_name
from maas.dialects.oip.fixed import check_unchanged, encode_logging, encode_tracing
from maas.dialects.oip.repository import (
    check_parameters,
    encode_index,
    encode_statistics,
    read_index,
    read_parameter_names,
)

ID = ServableId("m", 3)


def test_the_configuration_has_no_batch_axis(iris: Any) -> None:
    found = json.loads(encode_config(model_config(iris, [1, 3], 256)))
    assert (found["name"], found["platform"], found["backend"]) == (
        "m",
        "onnxruntime_onnx",
        "onnxruntime",
    )
    assert found["max_batch_size"] == 256
    assert found["version_policy"] == {"specific": {"versions": [1, 3]}}
    assert found["dynamic_batching"] == {"max_queue_delay_microseconds": 0}
    [x] = found["input"]
    assert (x["name"], x["data_type"], x["dims"]) == ("x", "TYPE_FP32", [4])
    label, probabilities = found["output"]
    # Triton has no tensor without dimensions: one of size 1 is reshaped to none.
    assert (label["data_type"], label["dims"], label["reshape"]) == (
        "TYPE_INT64",
        [1],
        {"shape": []},
    )
    assert probabilities["dims"] == [3]
    assert "reshape" not in probabilities


def test_a_model_without_a_batch_axis_keeps_its_shapes(make_view: Any) -> None:
    view = make_view([TensorSpec("x", DType.BYTES, (None, 2))], batched=False)
    found = json.loads(encode_config(model_config(view, [3], 256)))
    assert found["max_batch_size"] == 0
    assert "dynamic_batching" not in found
    assert found["input"][0]["dims"] == [-1, 2]
    assert found["input"][0]["data_type"] == "TYPE_STRING"


@pytest.mark.parametrize("dtype", DType)
def test_every_element_type_has_a_name(dtype: DType) -> None:
    assert type_name(dtype) == f"TYPE_{'STRING' if dtype is DType.BYTES else dtype.value}"


def test_the_index_is_a_bare_list() -> None:
    entries = [
        RepositoryEntry(ID, ServableState.AVAILABLE, ""),
        RepositoryEntry(ServableId("花", 1), ServableState.END, "it is corrupt"),
    ]
    assert json.loads(encode_index(entries)) == [
        {"name": "m", "version": "3", "state": "READY", "reason": ""},
        {"name": "花", "version": "1", "state": "UNAVAILABLE", "reason": "it is corrupt"},
    ]


def test_statistics_are_in_nanoseconds() -> None:
    one = VersionStatistics(
        ID, 5, 9, 2, DurationStat(4, 400), DurationStat(1, 10), DurationStat(3, 30),
        DurationStat(2, 20), (BatchStat(8, DurationStat(2, 20)),),
    )  # fmt: skip
    [found] = json.loads(encode_statistics([one]))["model_stats"]
    assert (found["name"], found["version"], found["last_inference"]) == ("m", "3", 5)
    assert (found["inference_count"], found["execution_count"]) == (9, 2)
    durations = found["inference_stats"]
    assert durations["success"] == {"count": 4, "ns": 400}
    assert durations["fail"] == {"count": 1, "ns": 10}
    assert durations["queue"] == {"count": 3, "ns": 30}
    assert durations["compute_infer"] == {"count": 2, "ns": 20}
    for name in ("compute_input", "compute_output", "cache_hit", "cache_miss"):
        assert durations[name] == {"count": 0, "ns": 0}
    [batch] = found["batch_stats"]
    assert (batch["batch_size"], batch["compute_infer"]) == (8, {"count": 2, "ns": 20})


@pytest.mark.parametrize(
    ("body", "ready"),
    [(b"", False), (b" ", False), (b"{}", False), (b'{"ready":true}', True), (b'{"a":1}', False)],
)
def test_what_the_index_is_to_list(body: bytes, ready: bool) -> None:
    assert read_index(body) is ready


@pytest.mark.parametrize("body", [b"[]", b"x", b'{"ready":1}', b'{"ready":null}', b"\xff"])
def test_what_is_no_request_for_the_index(body: bytes) -> None:
    with pytest.raises(MaasError) as caught:
        read_index(body)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_parameters_of_a_load() -> None:
    assert read_parameter_names(b"") == read_parameter_names(b"{}") == ()
    assert read_parameter_names(b'{"parameters":{"unload_dependents":false}}') == (
        "unload_dependents",
    )
    with pytest.raises(MaasError, match="must be an object"):
        read_parameter_names(b'{"parameters":[]}')
    check_parameters(["unload_dependents"])
    for name in ("config", "file:1/model.onnx"):
        with pytest.raises(MaasError, match="publish a new version") as caught:
            check_parameters([name])
        assert caught.value.kind is ErrorKind.UNIMPLEMENTED
    with pytest.raises(MaasError, match="'other' is not a parameter"):
        check_parameters(["other"])


def test_fixed_settings_are_shown_and_stay() -> None:
    assert json.loads(encode_logging())["log_info"] is True
    assert json.loads(encode_tracing())["trace_level"] == ["OFF"]
    for nothing in (b"", b"{}"):
        check_unchanged(nothing, "log")
    with pytest.raises(MaasError, match="log_info, log_file cannot be changed") as caught:
        check_unchanged(b'{"log_info":false,"log_file":"/tmp/x"}', "log")
    assert caught.value.kind is ErrorKind.UNIMPLEMENTED


@given(st.binary(max_size=60))
def test_any_body_is_read_or_an_error_of_ours(body: bytes) -> None:
    for read in (read_index, read_parameter_names, lambda body: check_unchanged(body, "log")):
        try:
            read(body)
        except MaasError:
            continue
