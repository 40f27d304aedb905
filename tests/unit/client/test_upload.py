from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from maas_stub_server import untar

from maas.admin.tar import FileData, FileStart, TarReader
from maas.client.upload import Upload, prepare
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions

NO_OPTIONS = PublishOptions()


def make(source: Any, name: str = "m", options: PublishOptions = NO_OPTIONS, **more: Any) -> Upload:
    return prepare(source, name, options, **{"sample": None, "card": None, **more})


def body(upload: Upload) -> bytes:
    content = b"".join(upload.chunks())
    assert len(content) == upload.size
    return content


def test_one_file_goes_raw(tmp_path: Path) -> None:
    file = tmp_path / "模型.onnx"
    file.write_bytes(b"x" * 600_000)
    upload = make(file)
    assert upload.content_type == "application/octet-stream"
    assert upload.params == (("filename", "模型.onnx"), ("promote", "true"))
    assert body(upload) == file.read_bytes()


def test_a_url_goes_as_a_small_file(tmp_path: Path) -> None:
    url = "triton+grpc://models.example:8001/iris"
    upload = make("triton+grpc://Models.Example/iris")
    assert upload.content_type == "application/octet-stream"
    assert upload.params[0] == ("filename", "upstream.json")
    assert body(upload) == b'{"upstream":"%s"}' % url.encode()
    tar = make(url, sample=np.ones((2, 4)))
    assert tar.content_type == "application/x-tar"
    assert set(untar(body(tar))) == {"model/upstream.json", "sample/sample.npy"}


@pytest.mark.parametrize("url", ["http://host/m", "triton+http://user:secret@host/m", "x://"])
def test_a_url_that_cannot_be_read_is_not_sent(url: str) -> None:
    with pytest.raises(MaasError) as caught:
        make(url)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    assert "secret" not in caught.value.message


def test_options_become_the_query(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.touch()
    options = PublishOptions(
        alias=("prod", "best"),
        description="花 & co",
        accuracy=0.97,
        metrics={"rmse": 3.1, "n": 1e-7},
        tags={"team": "a=b"},
        promote=False,
    )
    assert make(file, "鸢尾花", options).params[1:] == (
        ("description", "花 & co"),
        ("accuracy", "0.97"),
        ("metric", "rmse=3.1"),
        ("metric", "n=1e-07"),
        ("tag", "team=a=b"),
        ("alias", "prod"),
        ("alias", "best"),
        ("promote", "false"),
    )


def test_a_folder_goes_as_a_tar_that_the_server_reads(tmp_path: Path) -> None:
    model = tmp_path / "digits"
    deep = model / "variables" / ("long-" * 30)
    deep.mkdir(parents=True)
    (model / "empty").touch()
    (model / "saved.pb").write_bytes(b"p" * 512)
    (deep / "数据.bin").write_bytes(os.urandom(700_001))
    card = tmp_path / "card.md"
    card.write_text("# card")
    upload = make(model, sample=np.eye(2), card=card)
    assert upload.content_type == "application/x-tar"
    content = body(upload)
    files = untar(content)
    assert files["model/digits/empty"] == b""
    assert files["model/digits/saved.pb"] == b"p" * 512
    assert files[f"model/digits/variables/{deep.name}/数据.bin"] == (deep / "数据.bin").read_bytes()
    assert files["card/README.md"] == b"# card"
    assert np.load(io.BytesIO(files["sample/sample.npy"])).tolist() == [[1, 0], [0, 1]]

    events = list((reader := TarReader(1 << 30)).feed(content))
    reader.finish()
    starts = ["/".join(event.parts) for event in events if isinstance(event, FileStart)]
    assert starts == list(files)
    read = sum(len(event.data) for event in events if isinstance(event, FileData))
    assert read == sum(len(each) for each in files.values())


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "m").mkdir(parents=True)
        for file in ("b", "a"):
            (tmp_path / name / "m" / file).write_text(file)
    os.utime(tmp_path / "two" / "m" / "a", (1, 1))
    (tmp_path / "two" / "m" / "a").chmod(0o600)
    sample = {"x": [[1.0]], "file": ["a"]}
    assert body(make(tmp_path / "one" / "m", sample=sample)) == body(
        make(tmp_path / "two" / "m", sample=sample)
    )


def test_a_folder_with_one_file_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "m" / "deep").mkdir(parents=True)
    (tmp_path / "m" / "model.onnx").write_bytes(b"onnx")
    assert set(untar(body(make(tmp_path / "m")))) == {"model/model.onnx"}
    (tmp_path / "m" / "deep" / "weights").write_bytes(b"w")
    assert set(untar(body(make(tmp_path / "m")))) == {"model/m/model.onnx", "model/m/deep/weights"}


def test_code_goes_below_code(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(b"a")
    package = tmp_path / "features"
    (package / "deep").mkdir(parents=True)
    (package / "__pycache__").mkdir()
    for name in ("__init__.py", "deep/words.txt", "__pycache__/x.pyc", ".hidden", "old.pyc"):
        (package / name).write_text(name)
    (tmp_path / "src" / ".venv").mkdir(parents=True)
    (tmp_path / "src" / ".venv" / "site.py").touch()
    (tmp_path / "src" / "helpers.py").write_text("h")
    (tmp_path / "one.py").write_text("1")
    trusted = PublishOptions(trust=True)
    sources = [tmp_path / "one.py", str(package), tmp_path / "src"]
    upload = make(file, options=trusted, code=sources)
    assert upload.params[-1] == ("trust", "true")
    assert untar(body(upload)) == {
        "model/a.pkl": b"a",
        "code/one.py": b"1",
        "code/features/__init__.py": b"__init__.py",
        "code/features/deep/words.txt": b"deep/words.txt",
        "code/helpers.py": b"h",
    }
    with pytest.raises(MaasError, match="--trust"):
        make(file, code=sources)
    with pytest.raises(MaasError, match=r"both be 'one\.py'"):
        make(file, options=trusted, code=[*sources, tmp_path / "src" / ".." / "one.py"])
    with pytest.raises(MaasError, match="No such file"):
        make(file, options=trusted, code=["nowhere.py"])
    with pytest.raises(MaasError, match="holds no module"):
        make(file, options=trusted, code=[package / "__pycache__"])


def test_an_engine_is_named_in_the_query(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.touch()
    assert make(file, options=PublishOptions(engine="openvino")).params[-1] == (
        "engine",
        "openvino",
    )


def test_samples(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"a")
    rows = tmp_path / "rows.csv"
    rows.write_text("1,2\n")
    assert untar(body(make(file, sample=rows)))["sample/rows.csv"] == b"1,2\n"
    assert set(untar(body(make(file, sample=rows)))) == {"model/a.onnx", "sample/rows.csv"}
    named = untar(body(make(file, sample={"file": [[1.5]], "t": np.array(["a"], dtype=object)})))
    with np.load(io.BytesIO(named["sample/sample.npz"]), allow_pickle=False) as loaded:
        assert {key: loaded[key].tolist() for key in loaded} == {"file": [[1.5]], "t": ["a"]}


@pytest.mark.parametrize(
    ("sample", "sentence"),
    [
        ([[1], [1, 2]], "different lengths"),
        ([{}], "mixes types"),
        ("/no/such/file", "No such file"),
    ],
)
def test_samples_that_cannot_be_sent(tmp_path: Path, sample: Any, sentence: str) -> None:
    file = tmp_path / "a.onnx"
    file.touch()
    with pytest.raises(MaasError, match=sentence) as caught:
        make(file, sample=sample)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_links_to_files_are_followed_and_links_to_folders_refused(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (tmp_path / "blob").write_text("blob")
    (model / "weights").symlink_to(tmp_path / "blob")
    assert untar(body(make(model)))["model/weights"] == b"blob"
    (model / "loop").symlink_to(model)
    with pytest.raises(MaasError, match="link to a folder"):
        make(model)


def test_what_cannot_be_published(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "broken").symlink_to("nowhere")
    for source, sentence in (
        (tmp_path / "gone", "No such file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "empty", "holds no file"),
        (tmp_path / "folder", "No such file"),
        ("a\0b", "cannot be read"),
    ):
        with pytest.raises(MaasError, match=sentence):
            make(source)


@pytest.mark.parametrize("name", ["../a", "api", "v1", "", "a b", "a" * 129, "_a"])
def test_names_that_cannot_be_published(tmp_path: Path, name: str) -> None:
    with pytest.raises(MaasError) as caught:
        make(tmp_path, name)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "options",
    [
        PublishOptions(accuracy=97.0),
        PublishOptions(accuracy=float("nan")),
        PublishOptions(metrics={"rmse": float("inf")}),
        PublishOptions(metrics={"a=b": 1.0}),
        PublishOptions(tags={"": "x"}),
    ],
)
def test_figures_that_cannot_be_published(tmp_path: Path, options: PublishOptions) -> None:
    with pytest.raises(MaasError):
        make(tmp_path, options=options)


@pytest.mark.parametrize("content", [b"short", b"longer than it was before"])
def test_a_file_that_changes_while_it_is_sent(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"ten bytes.")
    upload = make(file)
    file.write_bytes(content)
    with pytest.raises(MaasError, match="changed while"):
        list(upload.chunks())


def test_a_file_that_goes_while_it_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    upload = make(file)
    file.unlink()
    with pytest.raises(MaasError, match="cannot be read"):
        list(upload.chunks())
