"""What must not be published: one sentence, nothing half-published, and service goes on."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import joblib
import numpy as np
import onnx
import pytest
from tests import zoo
from tests.answers import check_sentence
from tests.server import Server, serving, wait_until

from maas.core.errors import ErrorKind, MaasError


class Canary:
    """Opening a pickle of it makes a folder."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    path = tmp_path / "canary"
    yield Canary(path)
    assert not path.exists(), "somebody opened the pickle"


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


def external(location: str, **place: str) -> bytes:
    """An ONNX model whose weights lie in a file of their own."""
    model = onnx.load_from_string(zoo.affine_bytes(2))
    weights = model.graph.initializer[0]
    weights.ClearField("raw_data")
    weights.data_location = onnx.TensorProto.EXTERNAL
    for key, value in {"location": location, **place}.items():
        entry = weights.external_data.add()
        entry.key, entry.value = key, value
    return model.SerializeToString()


def unknown_operator() -> bytes:
    model = onnx.load_from_string(zoo.affine_bytes(2))
    model.graph.node[0].op_type = "Frobnicate"
    return model.SerializeToString()


def unknown_type(folder: Path) -> bytes:
    import skops.io
    from sklearn.preprocessing import FunctionTransformer

    return skops.io.dumps(FunctionTransformer(Canary(folder).__reduce__))


BAD: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "an empty file": ("m.onnx", lambda _: b"", "no body"),
    "half an ONNX model": ("m.onnx", lambda _: zoo.affine_bytes(2)[:-30], "cut off"),
    "half a skops file": (
        "m.skops",
        lambda folder: zoo.iris(folder / "whole").read_bytes()[:-200],
        "cut off",
    ),
    "a picture called ONNX": ("m.onnx", lambda _: b"\x89PNG\r\n\x1a\n" + bytes(99), "picture"),
    "text called ONNX": ("m.onnx", lambda _: b"just words\n", "plain text"),
    "JSON called skops": ("m.skops", lambda _: b'{"a": 1}', "JSON"),
    "HDF5 called keras": ("m.keras", lambda _: b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
    "random bytes": ("m.bin", lambda _: np.random.default_rng(0).bytes(4096), "known"),
    "an unknown operator": ("m.onnx", lambda _: unknown_operator(), "Frobnicate"),
    "skops with an unknown type": ("m.skops", unknown_type, "types"),
    "a zip of something": ("m.zip", lambda _: zipped(readme__txt=b"hello"), "skops"),
    "a checkpoint of PyTorch": (
        "m.pt",
        lambda _: zipped(**{"m/data__pkl": b"\x80\x02."}),
        "PyTorch",
    ),
    "external data without its folder": ("m.onnx", lambda _: external("w.bin"), "folder"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_through_the_command_line(unharmed, tmp_path, case):
    name, make, word = BAD[case]
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    done = unharmed.cli("publish", str(path), "--name", "bad")
    assert done.code == 1, done
    [line] = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert word in check_sentence(line)
    assert done.out == ""


def secret(folder: Path) -> Path:
    path = folder.parent / "secret"
    path.write_bytes(bytes(4))
    return path


EXTERNAL: dict[str, tuple[dict[str, str], Callable[[Path], object]]] = {
    "above the folder": ({"location": "../secret"}, secret),
    "at an absolute path": ({"location": "/etc/hostname"}, lambda _: None),
    "not there": ({"location": "w.bin"}, lambda _: None),
    "a symbolic link": (
        {"location": "w.bin"},
        lambda folder: (folder / "w.bin").symlink_to(secret(folder)),
    ),
    "a hard link": (
        {"location": "w.bin"},
        lambda folder: (folder / "w.bin").hardlink_to(secret(folder)),
    ),
    "in a linked folder": (
        {"location": "sub/secret"},
        lambda folder: (folder / "sub").symlink_to(secret(folder).parent),
    ),
    "before its beginning": (
        {"location": "w.bin", "offset": "-4"},
        lambda folder: (folder / "w.bin").write_bytes(bytes(4)),
    ),
    "beyond its end": (
        {"location": "w.bin", "offset": "4096", "length": "4"},
        lambda folder: (folder / "w.bin").write_bytes(bytes(4)),
    ),
    "longer than it is": (
        {"location": "w.bin", "length": "99999999999"},
        lambda folder: (folder / "w.bin").write_bytes(bytes(4)),
    ),
}


def refusal(server: Server, path: Path, local: str = "…") -> str:
    """Publishes what must be refused; gives the sentence, without the publisher's own folder."""
    with pytest.raises(MaasError) as refused:
        server.publish(path, "bad")
    assert refused.value.kind is ErrorKind.INVALID_ARGUMENT
    return check_sentence(refused.value.message.replace(local, ""))


@pytest.mark.parametrize("case", EXTERNAL)
def test_external_data(unharmed, tmp_path, case):
    place, prepare = EXTERNAL[case]
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "m.onnx").write_bytes(external(**place))
    prepare(folder)
    if case in ("a symbolic link", "a hard link"):
        # The publisher's own links are followed where they lie: what arrives is a file.
        unharmed.publish(folder, "bad")
        assert unharmed.api("DELETE", "/models/bad").status_code == 204
        return
    refusal(unharmed, folder, str(tmp_path))


@pytest.mark.parametrize(
    ("name", "protocol"),
    [("m.skops", 0), ("m.skops", 2), ("m.skops", 5), ("m.onnx", 4), ("m.keras", 4), ("m.pkl", 4),
     ("m.joblib", 4), ("m", 4)],
)  # fmt: skip
def test_pickles_in_disguise(unharmed, tmp_path, canary, name, protocol):
    path = tmp_path / name
    path.write_bytes(pickle.dumps(canary, protocol))
    assert "pickle" in refusal(unharmed, path)


def test_a_compressed_pickle_of_joblib(unharmed, tmp_path, canary):
    path = tmp_path / "m.skops"
    joblib.dump(canary, path, compress=3)
    assert "joblib" in refusal(unharmed, path)


@pytest.mark.parametrize("member", ["schema__json", "1__npy", "x__pkl"])
def test_a_pickle_inside_a_skops_file(unharmed, tmp_path, canary, member):
    whole = zoo.iris(tmp_path / "whole.skops")
    with zipfile.ZipFile(whole) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member.replace("__", ".")] = pickle.dumps(canary)
    path = tmp_path / "m.skops"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    refusal(unharmed, path)


def test_a_good_model_under_another_ending_is_recognised(usual, tmp_path):
    path = zoo.iris(tmp_path / "model.onnx")
    operation = usual.publish(path, "renamed")
    try:
        assert operation.version.report.format == "skops"
    finally:
        assert usual.api("DELETE", "/models/renamed").status_code == 204


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("missing.onnx", "--name", "bad"), "no such file"),
        (("GOOD", "--name", "../bad"), "model name"),
        (("GOOD", "--name", "a/b"), "model name"),
        (("GOOD", "--name", ""), "model name"),
        (("GOOD", "--name", "api"), "route"),
        (("GOOD", "--name", "predict"), "route"),
        (("GOOD", "--name", "bad", "--metric", "rmse=low"), "rmse"),
        (("GOOD", "--name", "bad", "--tag", "team"), "team"),
        (("GOOD", "--name", "bad", "--accuracy", "high"), "accuracy"),
        (("GOOD", "--name", "bad", "--sample", "missing.csv"), "missing.csv"),
        (("GOOD", "--name", "bad", "--card", "missing.md"), "missing.md"),
    ],
)
def test_wrong_command_lines(unharmed, tmp_path, arguments, word):
    good = zoo.affine(tmp_path / "good.onnx", 2)
    done = unharmed.cli("publish", *(str(good) if one == "GOOD" else one for one in arguments))
    assert done.code == 2, done
    assert word in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3


@pytest.mark.parametrize("accuracy", ["1.5", "-1", "nan"])
def test_an_accuracy_that_is_none(unharmed, tmp_path, accuracy):
    good = zoo.affine(tmp_path / "good.onnx", 2)
    done = unharmed.cli("publish", str(good), "--name", "bad", "--accuracy", accuracy)
    assert done.code in (1, 2), done
    assert "accuracy" in done.err


@pytest.fixture
def two(start_any) -> Server:
    server: Server = start_any()
    return server


def test_two_publishers_at_once(two, tmp_path):
    files = [zoo.affine(tmp_path / f"{factor}.onnx", factor) for factor in range(1, 5)]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda file: two.publish(file, "m"), files))
    assert sorted(one.version.version for one in done) == [1, 2, 3, 4]
    assert all(one.created for one in done)
    for one, factor in zip(done, range(1, 5), strict=True):
        path = f"/m:{one.version.version}/predict"
        assert two.post(path, {"input_data": [[1, 2]]}).json()["prediction"] == [
            [factor, 2 * factor]
        ]
    [model] = two.models()
    assert len(model["versions"]) == 4
    assert two.staged() == []


def test_the_same_file_from_two_publishers_at_once(two, tmp_path):
    file = zoo.affine(tmp_path / "m.onnx", 3)
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: two.publish(file, "m"), range(4)))
    assert {one.version.version for one in done} == {1}
    assert [one.created for one in done].count(True) == 1
    assert two.staged() == []


def fill(path: Path) -> None:
    """Writes a file until there is no room."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))


def test_a_full_disk(front, tmp_path):
    home = tmp_path / "small"
    home.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m,mode=0700", "tmpfs", str(home)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a small disk")
    try:
        with serving(home, front) as server:
            server.publish(zoo.affine(tmp_path / "small.onnx", 2), "small")
            before = server.models()
            heavy = zoo.affine(tmp_path / "heavy.onnx", 2, width=4, ballast=20 << 20)
            for _ in range(2):
                done = server.cli("publish", str(heavy), "--name", "heavy")
                assert done.code == 1, done
                assert "disk" in check_sentence(done.err.splitlines()[-1])
                assert server.models() == before
                wait_until(lambda: server.staged() == [], 10, "an empty staging folder")
            answer = server.api("POST", "/models/heavy/versions", data=heavy.read_bytes())
            assert answer.status_code == 429
            # Full to the last byte: predictions go on, and room made is room used.
            ballast = home / "ballast"
            fill(ballast)
            assert server.post("/small/predict", {"input_data": [[1, 2]]}).status_code == 200
            done = server.cli("publish", str(zoo.affine(tmp_path / "m.onnx", 3)), "--name", "m")
            assert done.code == 1, done
            assert "disk" in check_sentence(done.err.splitlines()[-1])
            assert server.models() == before
            ballast.unlink()
            assert server.publish(tmp_path / "m.onnx", "m").created
            assert server.post("/m/predict", {"input_data": [[1, 2]]}).json()["prediction"] == [
                [3, 6]
            ]
    finally:
        subprocess.run(["umount", "-l", str(home)], check=False)
