from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import pickle
import resource
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import skops.io
from sklearn.linear_model import LinearRegression

from maas.core.errors import ErrorKind, MaasError
from maas.publish.detect import detect
from maas.publish.detect_file import Detected
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
        (b"\x89HDF\r\n\x1a\n" + bytes(64), "Keras .h5), which can carry code; save it as .keras"),
        (struct.pack("<Q", 16) + json.dumps({"a": 1}).encode().ljust(16), "safetensors"),
        (b"\x93NUMPY" + bytes(64), "NumPy array"),
        (b"x\x9c" + bytes(64), "zlib-compressed"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b'{"learner": {}}', "looks like JSON"),
        (b'{"learners": {"a": 1}}', "looks like JSON"),
        (b"<html></html>", "web page"),
        (b"tree\nof life\n", "plain text"),
        (bytes(136) + b"\x0f" + bytes(7) + b"binary:logistic" + bytes(200), "before 3.1"),
        (b"binf" + bytes(136) + b"\x0f" + bytes(7) + b"binary:logistic", "before 3.1"),
        (bytes(range(128, 256)), "not a format that is known here"),
        (b"\x08\x01\x12\x03\xff\xfe\xfd", "saved_model.pb"),
        (b"\x08\x09\x12\x05tests", "saved_model.pb"),
        (b"\x08\x09\x12\x05tests\x42\x00", "has no graph"),
        (zipped(a_dot_txt=b"hello"), "without skops's schema.json"),
        (zipped(m__saved_model_dot_pb=b"\x08\x01"), "unpack it and publish the folder"),
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


def test_half_of_a_hugging_face_folder_is_told_what_it_lacks(tmp_path):
    def said() -> str:
        with pytest.raises(MaasError) as caught:
            detect(tmp_path, "folder")
        return caught.value.message

    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    assert "'model-00001-of-00002.safetensors' and no config.json" in said()
    (tmp_path / "model-00001-of-00002.safetensors").unlink()
    (tmp_path / "config.json").write_text("{}")
    assert "is a folder without a model at its top" in said()
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    assert "without its weights; publish the folder with its .safetensors files" in said()


def test_folders(tmp_path, linear, canary):
    folder = tmp_path / "folder"
    folder.mkdir()

    def said() -> str:
        with pytest.raises(MaasError) as caught:
            detect(folder, "folder")
        return caught.value.message

    assert "is a folder without a model at its top" in said()
    (folder / "weights.bin").write_bytes(pickle.dumps(canary))
    assert "is a pickle" in said()
    (folder / "saved_model.pb").write_bytes(b"")
    assert detect(folder, "folder") == Detected("savedmodel", "")
    (folder / "saved_model.pb").unlink()
    (folder / "a.onnx").write_bytes(linear().SerializeToString())
    assert detect(folder, "folder").entry == "a.onnx"
    (folder / "b.onnx").write_bytes(b"")
    assert "several ONNX models" in said()
    (folder / "b.onnx").unlink()
    (folder / "a.onnx").unlink()
    (folder / "a.onnx").symlink_to("/etc/hostname")
    assert "not a regular file" in said()


MODEL = b"from maas import PythonModel\n\n\nclass Doubler(PythonModel):\n    pass\n"
H5 = b"\x89HDF\r\n\x1a\n" + bytes(64)
PICKLED = pickle.dumps(LinearRegression().fit([[0.0], [1.0]], [0.0, 1.0]))
KERAS = zipped(metadata_dot_json=b"{}", config_dot_json=b"{}", model_dot_weights_dot_h5=b"x")


def lz4(data: bytes) -> bytes:
    """Only the mark: the standard library does not write lz4."""
    return b"\x04\x22\x4d\x18" + data


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (PICKLED, "pickle"),
        (gzip.compress(PICKLED), "pickle"),
        (zlib.compress(PICKLED, 1), "pickle"),
        (zlib.compress(PICKLED, 9), "pickle"),
        (bz2.compress(PICKLED), "pickle"),
        (lzma.compress(PICKLED), "pickle"),
        (lzma.compress(PICKLED, lzma.FORMAT_ALONE), "pickle"),
        (lz4(PICKLED), "pickle"),
        (H5, "keras-h5"),
        (MODEL, "python"),
        (b"\xef\xbb\xbf# -*- coding: utf-8 -*-\n" + MODEL, "python"),
        (b"# " + b"x" * 70_000 + b"\n" + MODEL, "python"),
    ],
    ids=[
        "pickle",
        "gzip",
        "zlib",
        "zlib 9",
        "bzip2",
        "xz",
        "lzma",
        "lz4",
        "h5",
        "python",
        "bom",
        "long",
    ],
)
def test_what_carries_code_needs_trust(tmp_path, refusal, data, format_):
    message = refusal(data, "m.onnx")
    assert "with --trust" in message
    assert detect(tmp_path / "upload", "m.onnx", trust=True) == Detected(format_, "upload")


def test_keras_needs_no_trust_to_be_looked_at(tmp_path):
    file = tmp_path / "upload"
    file.write_bytes(KERAS)
    assert detect(file, "m.keras").format == "keras"


@pytest.mark.parametrize("trust", [False, True])
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zlib.compress])
def test_what_is_compressed_and_no_pickle(tmp_path, pack, trust):
    file = tmp_path / "upload"
    file.write_bytes(pack(b"no pickle at all " * 40))
    with pytest.raises(MaasError, match="-compressed; publish the model file inside it"):
        detect(file, "m", trust)


@pytest.mark.parametrize("trust", [False, True])
def test_a_bomb_is_not_unpacked(tmp_path, trust):
    file = tmp_path / "upload"
    file.write_bytes(gzip.compress(bytes(50 << 20)))
    with pytest.raises(MaasError, match="gzip-compressed"):
        detect(file, "m", trust)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for data in (bz2.compress(bytes(200 << 20)), lzma.compress(bytes(200 << 20))):
        file.write_bytes(data)
        with pytest.raises(MaasError, match="-compressed"):
            detect(file, "m", trust)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"import os\n\nos.environ\n", "is Python without a model; expected a class"),
        (b"PythonModel is a class of maas\n", "is plain text, not a model"),
        (b'{"cells": ["class M(PythonModel):"]}', "looks like JSON"),
    ],
)
def test_text_that_is_no_model(tmp_path, data, said):
    file = tmp_path / "upload"
    file.write_bytes(data)
    with pytest.raises(MaasError, match=said):
        detect(file, "model.py", trust=True)


def test_packages(tmp_path):
    folder = tmp_path / "package"
    folder.mkdir()

    def found(trust: bool = True) -> str:
        return detect(folder, "package", trust).entry

    (folder / "churn.py").write_bytes(MODEL)
    (folder / "data.pkl").write_bytes(PICKLED)
    assert found() == "churn.py"
    with pytest.raises(MaasError, match="holds a Python model, which is code; publish it with --"):
        found(trust=False)
    (folder / "other.py").write_bytes(MODEL)
    with pytest.raises(MaasError, match=r"several files with models \(churn.py, other.py\)"):
        found()
    (folder / "model.py").write_bytes(b"from churn import *\n")
    assert found() == "model.py"
    (folder / "__init__.py").write_bytes(b"")
    assert found() == "__init__.py"
    (folder / "linked.py").symlink_to("/etc/passwd")
    with pytest.raises((MaasError, OSError)):
        found()


@pytest.mark.parametrize("how", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA], ids=["bzip2", "lzma"])
def test_a_zip_of_which_one_block_is_gigabytes_is_not_unpacked(refusal, how):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", how) as archive:
        archive.writestr("a", bytes(1 << 26))
    tracemalloc.start()
    try:
        assert "unusual way" in refusal(buffer.getvalue(), "m.skops")
        assert tracemalloc.get_traced_memory()[1] < 1 << 24
    finally:
        tracemalloc.stop()


def test_a_zip_with_an_endless_list_of_members(refusal, monkeypatch):
    monkeypatch.setattr("maas.publish.detect_file.LONGEST_LIST", 1 << 16)
    members = {f"member-{number}": b"" for number in range(2000)}
    assert "damaged" in refusal(zipped(**members), "m.skops")


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (b'{"learner":{"attributes":{}', "xgboost"),
        (b'{\n  "version": [1, 6, 2],\n "learner": {', "xgboost"),
        (b"{L" + bytes(7) + b"\x07learner{L" + bytes(7) + b"\nattributes{}", "xgboost"),
        (b"tree\nversion=v4\nnum_class=1\n", "lightgbm"),
        (b"tree\r\nversion=v3\r\n", "lightgbm"),
    ],
    ids=["json", "older json", "ubjson", "text", "text from Windows"],
)
@pytest.mark.parametrize("name", ["model.json", "model.onnx", "model"])
def test_boosters_by_their_content(tmp_path, data, format_, name):
    (tmp_path / name).write_bytes(data)
    assert detect(tmp_path / name, name).format == format_


def test_archives_of_pytorch(tmp_path, refusal):
    def archive(*names: str) -> bytes:
        return zipped(**{name.replace(".", "_dot_").replace("/", "__"): b"x" for name in names})

    program = archive("m/archive_format", "m/models/model.json", "m/data/sample_inputs/model.pt")
    (tmp_path / "m").write_bytes(program)
    assert detect(tmp_path / "m", "m.pt2").format == "pt2"
    script = archive("m/constants.pkl", "m/data.pkl", "m/code/__torch__.py")
    assert "is TorchScript, which is code; export the model with" in refusal(script, "m.pt")
    (tmp_path / "m").write_bytes(script)
    assert detect(tmp_path / "m", "m.pt", trust=True).format == "torchscript"
    assert "2.7 or older" in refusal(archive("serialized_exported_program.json"), "m.pt2")
    weights = refusal(archive("m/data.pkl", "m/data/0"), "m.pt")
    assert "PyTorch checkpoint" in weights
    assert "torch.export.save" in weights
