from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from maas.core.errors import ErrorKind, MaasError
from maas.publish.skops_scan import scan_skops


@pytest.fixture
def members() -> dict[str, bytes]:
    """The members of a sound skops file."""
    model = LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0])
    with zipfile.ZipFile(io.BytesIO(skops.io.dumps(model))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, members: dict[str, bytes], compression=zipfile.ZIP_STORED) -> Path:
    file = path / "m.skops"
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file


def refused(file: Path, kind=ErrorKind.INVALID_ARGUMENT) -> str:
    with pytest.raises(MaasError) as caught:
        scan_skops(file)
    assert caught.value.kind is kind
    return caught.value.message


def array(value: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, **options)
    return buffer.getvalue()


def test_a_sound_file_says_what_it_was_written_with(tmp_path, members):
    scan = scan_skops(written(tmp_path, members))
    assert scan.written_with.keys() == {"skops", "scikit-learn"}


@pytest.mark.parametrize(
    "name", ["../up.npy", "/abs.npy", "a/b.npy", "code.py", "x.pkl", "a\\b.npy"]
)
def test_member_names(tmp_path, members, name):
    assert "flat names" in refused(written(tmp_path, {**members, name: array(np.zeros(2))}))


def test_a_pickle_among_the_members(tmp_path, members, canary):
    data = pickle.dumps(canary)
    assert "is a pickle" in refused(written(tmp_path, {**members, "1.bin": data}))
    assert "is a pickle" in refused(written(tmp_path, {**members, "1.npy": data}))


def test_an_array_of_objects(tmp_path, members, canary):
    data = array(np.array([canary], dtype=object), allow_pickle=True)
    assert "Python objects" in refused(written(tmp_path, {**members, "1.npy": data}))
    buffer = io.BytesIO()
    np.savez(buffer, data=np.array([canary], dtype=object))
    assert "Python objects" in refused(written(tmp_path, {**members, "1.npz": buffer.getvalue()}))


def test_an_array_that_promises_more_than_it_holds(tmp_path, members):
    data = array(np.zeros(100)).replace(b"(100,)", b"(999,)")
    assert "not as long as its header" in refused(written(tmp_path, {**members, "1.npy": data}))
    assert "not a NumPy array" in refused(written(tmp_path, {**members, "1.npy": b"nonsense"}))


def test_links(tmp_path, members):
    file = written(tmp_path, members)
    link = zipfile.ZipInfo("1.bin")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(link, "/etc/passwd")
    assert "link or device" in refused(file)


def test_two_members_of_one_name(tmp_path, members):
    file = written(tmp_path, members)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("schema.json", b"{}")
    assert "two members of one name" in refused(file)


def test_bombs(tmp_path, members):
    zeros = {**members, "1.npy": array(np.zeros(1 << 20))}
    file = written(tmp_path, zeros, zipfile.ZIP_DEFLATED)
    assert "times its size" in refused(file, ErrorKind.TOO_LARGE)


def test_a_bomb_below_the_ratio_is_stopped_by_its_sum(tmp_path, members):
    block = np.tile(np.random.default_rng(0).bytes(1 << 14), 1)
    data = np.frombuffer(block[0] * 2048, dtype=np.uint8)  # 32 MiB that deflate to about 1/150
    many = {**members, **{f"{i}.npy": array(data) for i in range(9)}}
    file = written(tmp_path, many, zipfile.ZIP_DEFLATED)
    assert "256 MiB beyond" in refused(file, ErrorKind.TOO_LARGE)


def test_a_member_read_again_and_again(tmp_path, members):
    schema = json.loads(members["schema.json"])
    big = {**members, "9.npy": array(np.random.default_rng(0).random(1 << 20))}
    node = {
        "__class__": "ndarray",
        "__module__": "numpy",
        "__loader__": "NdArrayNode",
        "type": "numpy",
        "file": "9.npy",
    }
    schema["content"]["content"]["extra"] = {
        "__class__": "list",
        "__module__": "builtins",
        "__loader__": "ListNode",
        "content": [node] * 40,
    }
    big["schema.json"] = json.dumps(schema).encode()
    assert "fill the memory" in refused(written(tmp_path, big), ErrorKind.TOO_LARGE)
    node["file"] = "gone.npy"
    big["schema.json"] = json.dumps(schema).encode()
    assert "does not hold" in refused(written(tmp_path, big))


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_schemas(tmp_path, members, depth):
    deep = b'{"__loader__": "x", "protocol": 2, "content": ' + b"[" * depth + b"]" * depth + b"}"
    assert "nested deeper" in refused(written(tmp_path, {**members, "schema.json": deep}))


@pytest.mark.parametrize("schema", [b"", b"{", b"[]", b"{}", b'"x"', b"\xff"])
def test_schemas_that_are_none(tmp_path, members, schema):
    assert "schema.json" in refused(written(tmp_path, {**members, "schema.json": schema}))


def test_a_member_with_a_wrong_checksum(tmp_path, members):
    file = written(tmp_path, members)
    data = bytearray(file.read_bytes())
    at = data.index(b"\x93NUMPY") + 90
    data[at] ^= 0xFF
    file.write_bytes(bytes(data))
    assert "damaged" in refused(file) or "NumPy" in refused(file)
