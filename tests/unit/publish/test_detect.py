from __future__ import annotations

import gzip
import io
import json
import pickle
import struct
import zipfile

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from maas.core.errors import ErrorKind, MaasError
from maas.publish.detect import detect
from maas.publish.pickles import looks_like_pickle


@pytest.fixture
def refusal(tmp_path):
    """Detects bytes under a name and returns the sentence that refuses them."""

    def run(data: bytes, name: str) -> str:
        file = tmp_path / "upload"
        file.write_bytes(data)
        with pytest.raises(MaasError) as caught:
            detect(file, name)
        assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
        assert str(tmp_path) not in caught.value.message
        return caught.value.message

    return run


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), data)
    return buffer.getvalue()


def skops_bytes() -> bytes:
    return skops.io.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]))


def test_content_decides_and_not_the_name(tmp_path, linear):
    file = tmp_path / "a.skops"
    file.write_bytes(linear().SerializeToString())
    assert detect(file, "a.skops").format == "onnx"
    file.write_bytes(skops_bytes())
    assert detect(file, "b.onnx").format == "skops"


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("name", ["m.skops", "m.onnx", "m.keras", "m.pkl"])
def test_a_pickle_in_any_disguise(refusal, canary, protocol, name):
    message = refusal(pickle.dumps(canary, protocol), name)
    assert f"{name!r} is a pickle, which can run any code when it is opened" in message
    assert "save it with skops (skops.io.dump) and publish that" in message


@pytest.mark.parametrize("value", [{"a": 1}, [1, 2, 3], "text", 1.5, LinearRegression()])
@pytest.mark.parametrize("protocol", range(2, 6))
def test_harmless_pickles_are_pickles(value, protocol):
    assert looks_like_pickle(pickle.dumps(value, protocol))


@pytest.mark.parametrize("text", [b"hello world", b"cat\ndog\n", b"choose me\nplease do\n", b"{}"])
def test_prose_is_no_pickle(text):
    assert not looks_like_pickle(text)


def test_pickles_inside_zips(refusal, canary):
    data = pickle.dumps(canary)
    assert "is a pickle" in refusal(zipped(model=data), "m.skops")
    assert "PyTorch checkpoint" in refusal(zipped(archive__data_dot_pkl=data), "m.pt")
    buffer = io.BytesIO()
    np.savez(buffer, weights=np.array([canary], dtype=object))
    assert "is a pickle" in refusal(buffer.getvalue(), "m.npz")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is empty"),
        (gzip.compress(b"x", mtime=0), "gzip-compressed"),
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras .h5"),
        (b"GGUF" + bytes(64), "GGUF"),
        (struct.pack("<Q", 16) + json.dumps({"a": 1}).encode().ljust(16), "safetensors"),
        (b"\x93NUMPY" + bytes(64), "NumPy array"),
        (b"x\x9c" + bytes(64), "zlib-compressed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'{"learner": {}}', "looks like JSON"),
        (b"<html></html>", "web page"),
        (b"tree\nversion=v4\n", "plain text"),
        (bytes(range(128, 256)), "not a format that is known here"),
        (b"\x08\x01\x12\x03\xff\xfe\xfd", "saved_model.pb"),
        (b"\x08\x09\x12\x05tests", "saved_model.pb"),
        (b"\x08\x09\x12\x05tests\x42\x00", "has no graph"),
        (zipped(config_dot_json=b"{}", model_dot_weights_dot_h5=b"x"), "Keras model"),
        (zipped(a_dot_txt=b"hello"), "without skops's schema.json"),
        (b"PK\x03\x04" + bytes(20), "cut off or damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "bytes",
)
def test_what_is_refused_says_what_it_looks_like(refusal, data, said):
    message = refusal(data, "model.onnx")
    assert said in message
    assert message.startswith("'model.onnx' ")


def test_a_name_cannot_break_the_message(refusal):
    message = refusal(b"", "../../etc/pass\x1b[31mwd\n")
    assert message.startswith("'pass?[31mwd?' is empty")


def test_every_truncation_is_refused_or_recognised_without_a_crash(tmp_path, linear):
    file = tmp_path / "upload"
    for data in (linear().SerializeToString(), skops_bytes()):
        for length in range(0, len(data), max(1, len(data) // 200)):
            file.write_bytes(data[:length])
            with pytest.raises(MaasError) as caught:
                detect(file, "m")
            assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_random_bytes_never_crash(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "upload"
    for head in (b"", b"\x08\x09", b"PK\x03\x04", b"\x80\x04"):
        for _ in range(100):
            file.write_bytes(head + rng.bytes(int(rng.integers(1, 300))))
            try:
                detect(file, "m")
            except MaasError as error:
                assert error.kind is ErrorKind.INVALID_ARGUMENT  # noqa: PT017  (most are refused)


def test_folders(tmp_path, linear, canary):
    folder = tmp_path / "folder"
    folder.mkdir()

    def said() -> str:
        with pytest.raises(MaasError) as caught:
            detect(folder, "folder")
        return caught.value.message

    assert "without an ONNX model" in said()
    (folder / "weights.bin").write_bytes(pickle.dumps(canary))
    assert "is a pickle" in said()
    (folder / "saved_model.pb").write_bytes(b"")
    assert "TensorFlow SavedModel" in said()
    (folder / "saved_model.pb").unlink()
    (folder / "a.onnx").write_bytes(linear().SerializeToString())
    assert detect(folder, "folder").entry == "a.onnx"
    (folder / "b.onnx").write_bytes(b"")
    assert "several ONNX models" in said()
    (folder / "b.onnx").unlink()
    (folder / "a.onnx").unlink()
    (folder / "a.onnx").symlink_to("/etc/hostname")
    assert "not a regular file" in said()
