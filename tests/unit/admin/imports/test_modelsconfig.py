from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.admin.imports.modelsconfig import MAX_CONFIG_BYTES, read_models_config, triton_policy
from maas.admin.imports.sources import All, Latest, Policy, Source, Specific
from maas.core.errors import MaasError

HERE = Path("/srv")

FULL = b"""
# as TensorFlow Serving's guide has it
model_config_list {
  config {
    name: 'iris'
    base_path: '/models/iris/'
    model_platform: 'tensorflow'
    model_version_policy { specific { versions: 42 versions: 43 } }
    version_labels { key: 'stable' value: 42 }
    version_labels { key: 'canary' value: 43 }
  }
  config {
    name: "half_plus_two", base_path: "models/half"
    model_version_policy: { latest: { num_versions: 2 } }
  }
  config { name: "every" base_path: "/e" model_version_policy { all {} } }
}
"""


def test_a_models_config() -> None:
    assert read_models_config(FULL, HERE) == (
        Source("iris", "/models/iris", "", Specific((42, 43)), {"stable": 42, "canary": 43}),
        Source("half_plus_two", "/srv/models/half", "", Latest(2)),
        Source("every", "/e", "", All()),
    )


def config(inner: str) -> bytes:
    return f"model_config_list {{\n config {{\n{inner}\n}} }}".encode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", ["no model"]),
        (b"model_config_list {}", ["no model"]),
        (b"custom_model_config {}", ["no model"]),
        (config("name: 'm'\nbase_path: '/m'\nbase_pth: '/x'"), ["line 5", "base_pth"]),
        (config("name: 'm'\nbase_path '/m'"), ["line 4"]),
        (config("name: 'm'\nbase_path: '/m'")[:-3], ["line"]),
        (config("name: 'm'"), ["'m'", "no base_path"]),
        (config("base_path: '/m'"), ["not a model name"]),
        (config("name: '../m' base_path: '/m'"), ["not a model name"]),
        (config("name: 'api' base_path: '/m'"), ["a route of this server"]),
        (config("name: 'm' base_path: 'gs://bucket/m'"), ["gs://bucket/m", "not a folder"]),
        (
            config("name: 'm' base_path: '/m' version_labels { key: '1' value: 1 }"),
            ["'m'", "not an alias"],
        ),
        (
            config("name: 'm' base_path: '/m' } config { name: 'm' base_path: '/n'"),
            ["'m' is there twice"],
        ),
        (b"\xff\xfe", ["not UTF-8"]),
        (b"#" * (MAX_CONFIG_BYTES + 1), ["larger"]),
        (b"model_config_list { config { name: " + b"'" * 99, ["line 1"]),
    ],
)
def test_what_is_wrong_with_a_models_config_is_said(text: bytes, words: list[str]) -> None:
    with pytest.raises(MaasError) as caught:
        read_models_config(text, HERE)
    for word in words:
        assert word in caught.value.message


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        (b'name: "m" backend: "onnxruntime"', Latest()),
        (b"version_policy: { latest { num_versions: 3 } }", Latest(3)),
        (b"version_policy: { all { } }", All()),
        (b"version_policy { specific { versions: [1, 3] } }", Specific((1, 3))),
        (b"", Latest()),
        (b"version_policy: {", Latest()),
        (b"\xff", Latest()),
    ],
)
def test_tritons_version_policy(text: bytes, policy: Policy) -> None:
    assert triton_policy(text) == policy


def outcome(text: bytes) -> str:
    """What is said against a file; nothing where it can be read."""
    try:
        read_models_config(text, HERE)
    except MaasError as error:
        return error.message
    return ""


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_read_or_refused(text: bytes) -> None:
    for whole in (text, b"model_config_list { " + text, FULL[: len(text)] + text):
        assert len(outcome(whole)) < 500
        triton_policy(whole)


@given(st.integers(0, len(FULL)), st.integers(0, 20), st.binary(max_size=5))
def test_a_damaged_config_is_read_or_refused(at: int, length: int, put: bytes) -> None:
    assert len(outcome(FULL[:at] + put + FULL[at + length :])) < 500
