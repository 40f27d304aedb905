"""What is refused before Keras sees the file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import stat
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from tests import tf_zoo

from maas.core.errors import ErrorKind, MaasError
from maas.publish.hdf5_scan import scan_hdf5
from maas.publish.keras_config import classes_of
from maas.publish.keras_scan import scan_keras

pytestmark = pytest.mark.xdist_group("tensorflow")


@pytest.fixture(scope="module")
def mlp(tmp_path_factory) -> Path:
    return tf_zoo.save(tf_zoo.build("mlp"), tmp_path_factory.mktemp("scan") / "mlp.keras")


@pytest.fixture
def scanned(tmp_path):
    def run(path: Path, trust: bool = False):
        format_ = "keras-h5" if path.suffix == ".h5" else "keras"
        return scan_keras(tf_zoo.job_for(tmp_path / "job", path, format_, trust=trust))

    return run


@pytest.fixture
def archive(mlp, tmp_path):
    """Copies the sound file, with one member more; returns its path."""

    def make(name: str | zipfile.ZipInfo, data: bytes = b"x", method: int = zipfile.ZIP_STORED):
        path = tmp_path / "more.keras"
        path.write_bytes(mlp.read_bytes())
        with zipfile.ZipFile(path, "a") as file:
            file.writestr(name, data, compress_type=method)
        return path

    return make


def layer(module, kind, config=None, **more):
    inner = {"name": "l"} if config is None else config
    return {"module": module, "class_name": kind, "config": inner, **more}


def model_of(*layers):
    return layer("keras", "Sequential", {"name": "s", "layers": list(layers)})


def test_a_sound_file_passes_and_says_its_version(mlp, scanned):
    scan = scanned(mlp)
    assert scan.custom == ()
    assert scan.written_with["keras"].startswith("3.")


@pytest.mark.parametrize("name", sorted(set(tf_zoo.MODELS) - {"lambda"}))
def test_what_keras_saves_is_told_from_own_classes(name, scanned, tmp_path):
    own = tf_zoo.own_layers(tmp_path)
    path = tf_zoo.save(tf_zoo.build(name, own), tmp_path / "m.keras")
    custom = {
        "own layer": ("Twice",),
        "noise": ("mine>Noise",),
        "in numpy": ("mine>InNumPy",),
        "subclass": ("mine>Net",),
    }
    assert scanned(path, trust=True).custom == custom.get(name, ())


@pytest.mark.parametrize(
    "name",
    ["../escape", "/etc/cron.d/x", "assets/../../x", "assets\\x", "x.py", "assets/./x", "assets"],
)
def test_members_of_other_names(archive, scanned, name):
    with pytest.raises(MaasError, match="holds a member"):
        scanned(archive(name))


def test_a_link_as_member(archive, scanned):
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(MaasError, match="link or device"):
        scanned(archive(info, b"/etc/passwd"))


def test_a_bomb(archive, scanned):
    with pytest.raises(MaasError, match="unpacks to more than 200 times") as caught:
        scanned(archive("assets/zeros", bytes(8 << 20), zipfile.ZIP_DEFLATED))
    assert caught.value.kind is ErrorKind.TOO_LARGE


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_members_of_one_name(archive, scanned):
    with pytest.raises(MaasError, match="two of one name"):
        scanned(archive("config.json"))


@pytest.mark.parametrize("member", ["config", "metadata", "weights"])
def test_a_member_that_is_missing(mlp, scanned, tmp_path, member):
    with pytest.raises(MaasError, match="lacks "):
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", **{member: None}))


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[1]", b"7"])
def test_a_configuration_that_is_none(mlp, scanned, tmp_path, data):
    with pytest.raises(MaasError, match="is not"):
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", config=data))


@pytest.mark.parametrize("depth", [300, 200_000])
def test_a_configuration_nested_deeply(mlp, scanned, tmp_path, depth):
    data = b'{"a":' * depth + b"1" + b"}" * depth
    with pytest.raises(MaasError, match="nested"):
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", config=data))


class Canary:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_for_weights(mlp, scanned, tmp_path):
    data = pickle.dumps(Canary(tmp_path / "canary"))
    with pytest.raises(MaasError, match=r"model\.weights\.h5 in the \.keras file is a pickle"):
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", weights=data), trust=True)
    assert not (tmp_path / "canary").exists()


UNSAFE = {
    "lambda layer": layer("keras.layers", "Lambda", {"name": "f", "function": {}}),
    "python lambda": layer("builtins", "__lambda__", {"value": "aGk="}),
    "TFSMLayer": layer("keras.layers", "TFSMLayer", {"name": "t", "filepath": "/srv/other"}),
    "TorchModuleWrapper": layer("keras.layers", "TorchModuleWrapper", {"module": "x"}),
    "vocabulary read from a file": layer(
        "keras.layers", "StringLookup", {"name": "v", "vocabulary": "/etc/passwd"}
    ),
    "any module": layer("os", "system", {"command": "true"}, registered_name="system"),
    "builtins": layer("builtins", "exec", {}, registered_name=None),
    "subprocess": layer("subprocess", "Popen", {"args": "true"}),
    "downloads": layer("builtins", "function", "get_file", registered_name="function"),
    "keras.utils.get_file": layer("keras.utils", "function", "get_file"),
    "keras.utils.get_file as class": layer("keras.utils", "get_file", {"origin": "http://x"}),
    "enable_unsafe_deserialization": layer(
        "keras.config", "function", "enable_unsafe_deserialization"
    ),
    "load_model": layer("keras.models", "function", "load_model"),
    "load_model as class": layer("keras.models", "load_model", {"filepath": "x"}),
    "private function": layer("keras.src.utils.python_utils", "function", "func_load"),
    "private class": layer("keras.src.utils.file_utils", "Extractor", {}),
    "module not yet imported": layer("keras.src.nowhere", "Thing", {}),
    "other package of keras": layer("keras_hub.models", "Preset", {}),
    "type specification": layer("os", "__typespec__", [], spec_name="system"),
    "own class": layer(None, "Mine", {}, registered_name="pkg>Mine"),
}


@pytest.mark.parametrize("kind", UNSAFE)
@pytest.mark.parametrize("place", ["layer", "argument"])
def test_what_may_run_code_is_refused_before_it_is_loaded(mlp, scanned, tmp_path, kind, place):
    inner = UNSAFE[kind]
    if place == "argument":
        inner = layer("keras.layers", "Dense", {"name": "d", "units": 1, "activation": inner})
    config = json.dumps(model_of(inner)).encode()
    with pytest.raises(MaasError, match="publish it with --trust") as caught:
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", config=config))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_losses_of_the_training_are_never_looked_at():
    config = {**model_of(), "compile_config": layer("os", "system", {})}
    loaded = {key: value for key, value in config.items() if key != "compile_config"}
    assert classes_of(loaded).custom == ()
    # In a model within the model Keras does look at them.
    assert classes_of(model_of(config)).custom == ("system",)


@pytest.mark.parametrize(
    "function", ["relu", "tanh", "softmax", "gelu", "linear", "mean_squared_error"]
)
def test_activations_are_keras_own(function):
    inner = layer("builtins", "function", function, registered_name="function")
    assert classes_of(model_of(inner)).custom == ()


def test_h5_needs_trust(scanned, tmp_path):
    tf_zoo.keras_2(tmp_path / "m.h5")
    with pytest.raises(MaasError, match=r"can carry code.*--trust"):
        scanned(tmp_path / "m.h5")


def hdf5(tmp_path: Path, write) -> Path:
    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        write(file)
    return path


def external_link(file):
    file["layers"] = h5py.ExternalLink("/etc/passwd", "/x")


def soft_link(file):
    file.create_group("a")["b"] = h5py.SoftLink("/elsewhere")


def external_data(file):
    file.create_dataset("k", (4,), "u1", external=[("/etc/passwd", 0, 4)])


def virtual_data(file):
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4,))
    file.create_virtual_dataset("k", layout)


def reference(file):
    file.create_dataset("k", (1,), h5py.ref_dtype)


def huge(file):
    file.create_dataset("k", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")


HOSTILE = [external_link, soft_link, external_data, virtual_data, reference, huge]


@pytest.mark.parametrize("write", HOSTILE, ids=lambda f: f.__name__)
@pytest.mark.parametrize("deep", [False, True])
def test_hdf5_that_leads_out_of_itself_or_is_a_bomb(tmp_path, write, deep):
    path = hdf5(tmp_path, lambda file: write(file.create_group("a/b") if deep else file))
    with pytest.raises(MaasError) as caught:
        scan_hdf5(path, path.stat().st_size, "the file")
    want = ErrorKind.TOO_LARGE if write is huge else ErrorKind.INVALID_ARGUMENT
    assert caught.value.kind is want
    assert "damaged" not in caught.value.message


@pytest.mark.parametrize("write", HOSTILE, ids=lambda f: f.__name__)
def test_the_weights_within_a_keras_file_are_looked_through(mlp, scanned, tmp_path, write):
    data = hdf5(tmp_path, write).read_bytes()
    with pytest.raises(MaasError, match=r"model\.weights\.h5 in the \.keras file"):
        scanned(tf_zoo.rewrite(mlp, tmp_path / "m.keras", weights=data), trust=True)
    assert list((tmp_path / "job" / "work").iterdir()) == []


def test_a_group_within_itself_ends(tmp_path):
    def write(file):
        group = file.create_group("a")
        group["again"] = group

    path = hdf5(tmp_path, write)
    with pytest.raises(MaasError, match="too deeply nested"):
        scan_hdf5(path, path.stat().st_size, "the file")


@pytest.mark.parametrize("position", [9, 40, 100, 600])
def test_hdf5_with_a_flipped_byte_never_crashes(mlp, tmp_path, position):
    with zipfile.ZipFile(mlp) as file:
        data = bytearray(file.read("model.weights.h5"))
    data[position] ^= 0xFF
    path = tmp_path / "w.h5"
    path.write_bytes(bytes(data))
    with contextlib.suppress(MaasError):
        scan_hdf5(path, len(data), "the file")


def test_texts_and_numbers_pass(tmp_path):
    def write(file):
        file.attrs["keras_version"] = "3.9"
        file.create_dataset("words", data=np.array([b"a", b"b"]))
        file.create_dataset("texts", data="服务", dtype=h5py.string_dtype())

    path = hdf5(tmp_path, write)
    assert scan_hdf5(path, path.stat().st_size, "the file") == {"keras_version": "3.9"}


def test_an_encrypted_archive(mlp, scanned, tmp_path):
    data = bytearray(mlp.read_bytes())
    place = data.find(b"PK\x01\x02")
    while place >= 0:  # the flag of each member in the archive's directory
        data[place + 8] |= 1
        place = data.find(b"PK\x01\x02", place + 4)
    path = tmp_path / "m.keras"
    path.write_bytes(bytes(data))
    assert zipfile.ZipFile(io.BytesIO(bytes(data))).infolist()[0].flag_bits & 1
    with pytest.raises(MaasError, match="encrypted"):
        scanned(path)
