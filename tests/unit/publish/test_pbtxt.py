"""`config.pbtxt`: what is read, what is refused."""

from __future__ import annotations

import pytest

from maas.core.errors import MaasError
from maas.core.tensor import DType
from maas.publish.pbtxt import DTYPES, as_json, dtype_of, from_json, read_config

TEXT = """
# what a person writes
name: "m" max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 4 ] reshape: { shape: [ 4 ] } } ]
output { name: "y" data_type: TYPE_BF16 dims: 1 }
parameters: { key: "k" value: { string_value: "v" } }
dynamic_batching { }
"""


@pytest.fixture
def read(tmp_path):
    def run(text: str | bytes):
        file = tmp_path / "config.pbtxt"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_config(file)

    return run


def test_what_is_read(read):
    config = read(TEXT)
    assert (config.name, config.max_batch_size) == ("m", 8)
    assert config.parameters["k"].string_value == "v"
    assert config.HasField("dynamic_batching")
    assert dtype_of(config, config.input[0]) is DType.FP32
    assert dtype_of(config, config.output[0]) is DType.BF16


def test_json_has_numbers_for_sizes_and_comes_back(read):
    config = read(TEXT)
    said = as_json(config)
    assert said["input"][0]["dims"] == [-1, 4]
    assert said["input"][0]["reshape"]["shape"] == [4]
    assert said["output"][0]["label_filename"] == ""
    assert said["parameters"] == {"k": {"string_value": "v"}}
    assert from_json(said) == config


def test_every_type_has_its_own(read):
    config = read("")
    names = set(config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name)
    assert names - {"TYPE_INVALID"} == DTYPES.keys()
    assert set(DTYPES.values()) == set(DType)


def test_none_is_empty(tmp_path):
    assert not read_config(tmp_path / "config.pbtxt").input


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("input {", "cannot be read"),
        ("max_batch_size: 99999999999999", "Value out of range"),
        ("input { data_type: TYPE_FOO }", "no value named TYPE_FOO"),
        ("max_batch_sise: 8", 'no field named "max_batch_sise"'),
        ("a {" * 5000 + "}" * 5000, "cannot be read"),
        ("a: <" * 5000, "cannot be read"),
        ("#" * (101 << 20), "larger than 1 MiB"),
        (b"\xff\xfe", "is not UTF-8 text"),
        ("\x00", "cannot be read"),
    ],
)
def test_what_is_refused(read, text, words):
    with pytest.raises(MaasError) as caught:
        read(text)
    assert words in caught.value.message
    assert "\n" not in caught.value.message


def test_links_are_not_followed(tmp_path):
    (tmp_path / "config.pbtxt").symlink_to("/etc/hostname")
    with pytest.raises(MaasError, match="expected a file"):
        read_config(tmp_path / "config.pbtxt")


def test_what_code_completes_must_be_a_configuration():
    with pytest.raises(MaasError, match="auto_complete_config made a configuration that cannot"):
        from_json({"input": 7})
