"""A model of another server on its way through the pipeline; that server is ours to break."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.unit.runtimes.upstream.peers import http, peer, settings

from maas.core.errors import ErrorKind, MaasError
from maas.core.records import PublishOptions
from maas.publish.detect import detect
from maas.publish.pipeline import publish
from maas.publish.uploads import Upload
from maas.publish.upstream_examine import describe_upstream
from maas.runtimes.plugins import load_runtimes
from maas.runtimes.upstream.runtime import UpstreamRuntime
from maas.settings import PublishSettings


class Oip:
    """An OIP server of one model, `y = 2 x`, which a test changes as it likes."""

    def __init__(self):
        self.metadata = {
            "name": "m",
            "versions": ["1"],
            "platform": "tests",
            "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
        }
        self.function = lambda x: 2 * x
        self.refuse = lambda x: ""
        self.calls: list[tuple[int, ...]] = []

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        path = head.split()[1].decode()
        if path == "/v2":
            connection.sendall(http(b'{"name": "tests", "extensions": []}'))
        elif path == "/v2/models/m":
            connection.sendall(http(json.dumps(self.metadata).encode()))
        elif path == "/v2/models/m/infer":
            connection.sendall(self.infer(json.loads(body)["inputs"][0]))
        else:
            connection.sendall(http(b'{"error": "none"}', "404 Not Found"))

    def infer(self, tensor: dict) -> bytes:
        x = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        self.calls.append(x.shape)
        said = self.refuse(x)
        if said:
            return http(json.dumps({"error": said}).encode(), "400 Bad Request")
        y = np.asarray(self.function(x), np.float32)
        output = {"name": "y", "datatype": "FP32", "shape": y.shape, "data": y.ravel().tolist()}
        return http(json.dumps({"outputs": [output]}).encode())


@pytest.fixture
def oip():
    server = Oip()
    with peer(server) as port:
        server.url = f"oip+http://127.0.0.1:{port}/m"
        yield server


@pytest.fixture
def publish_url(registry, tmp_path):
    heard = []

    def run(url: str, sample: Path | None = None, **about):
        staged = registry.stage()
        path = staged / "upstream.json"
        path.write_text(json.dumps({"upstream": url}))
        if sample is not None:
            (staged / sample.name).write_bytes(sample.read_bytes())
            sample = staged / sample.name
        runtimes = {**load_runtimes(), "upstream": UpstreamRuntime(settings(**about), {})}
        try:
            return publish(
                registry,
                runtimes,
                "m",
                Upload(path, path.name, sample, staged),
                PublishOptions(),
                PublishSettings(inspect_s=30),
                "tester",
                lambda *event: heard.append(event),
            )
        finally:
            assert list((tmp_path / "home" / "staging").iterdir()) == []

    run.heard = heard
    return run


def test_what_is_found(oip, publish_url, registry):
    version, created = publish_url(oip.url)
    assert created
    assert version.report.format == version.report.engine == "upstream"
    assert version.report.host == "shared"
    assert "as m (tests)" in version.report.reason
    assert version.signatures["serving_default"].batched
    assert any("pin one" in warning for warning in version.report.warnings)
    assert any("unencrypted" in warning for warning in version.report.warnings)
    stored = registry.artifact("m", 1).file.read_bytes()
    assert msgspec.json.decode(stored) == {"upstream": oip.url, "platform": "tests"}
    stages = [stage for stage, _, _ in publish_url.heard]
    assert stages == ["detect", "inspect", "prove", "commit"]
    assert all(0 <= fraction <= 1 for _, _, fraction in publish_url.heard)


def test_the_same_url_is_a_new_version_where_the_model_has_changed(oip, publish_url):
    assert publish_url(oip.url)[1]
    version, created = publish_url(oip.url)
    assert (version.version, created) == (1, False)
    oip.metadata["inputs"][0]["shape"] = [-1, 3]
    oip.metadata["outputs"][0]["shape"] = [-1, 3]
    version, created = publish_url(oip.url)
    assert (version.version, created) == (2, True)


def test_a_batch_that_does_not_hold(oip, publish_url):
    oip.function = lambda x: x - x.mean(axis=0)
    version, _ = publish_url(oip.url)
    assert not version.signatures["serving_default"].batched
    assert "differ from rows run apart" in version.report.batch_note


def test_rows_one_at_a_time(oip, publish_url):
    oip.refuse = lambda x: "one row only" if len(x) != 1 else ""
    version, _ = publish_url(oip.url)
    assert not version.signatures["serving_default"].batched


def test_sizes_that_have_to_be_guessed(oip, publish_url):
    oip.metadata["inputs"][0]["shape"] = oip.metadata["outputs"][0]["shape"] = [-1, -1]
    oip.refuse = lambda x: "" if x.shape[1] == 32 else "32 columns"
    version, _ = publish_url(oip.url)
    assert version.signatures["serving_default"].batched


def test_no_made_up_values_are_answered(oip, publish_url, tmp_path):
    oip.refuse = lambda x: "" if (x == [[7, 8]]).all() else "sevens and eights"
    with pytest.raises(MaasError, match=r"sevens and eights.*--sample") as caught:
        publish_url(oip.url)
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT
    np.save(tmp_path / "rows.npy", np.array([[7, 8], [7, 8]], np.float32))
    version, _ = publish_url(oip.url, tmp_path / "rows.npy")
    assert version.report.batch_note.endswith("answered differently")


@pytest.mark.parametrize(
    ("shape", "said"),
    [([-1, 3], "its signature has y FP32"), ([5, 2], "its signature has y FP32")],
)
def test_answers_of_other_shapes_than_it_says(oip, publish_url, shape, said):
    oip.metadata["outputs"][0]["shape"] = shape
    with pytest.raises(MaasError, match=said):
        publish_url(oip.url)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"inputs": [], "outputs": []},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1]}], "outputs": []},
        {"inputs": [{"name": "x\n", "datatype": "FP32", "shape": [1]}] * 2, "outputs": []},
        {"inputs": [{"name": "x", "datatype": "JSON", "shape": [1]}], "outputs": []},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [1 << 62]}], "outputs": []},
    ],
)
def test_descriptions_that_no_model_has(oip, publish_url, metadata):
    oip.metadata = metadata
    with pytest.raises(MaasError):
        publish_url(oip.url)


def test_a_proof_ends(oip, publish_url, monkeypatch):
    """Past its limit nothing more is asked."""
    oip.metadata["inputs"][0]["shape"] = [-1, -1]
    oip.refuse = lambda x: "no"
    clock = iter(range(0, 1000, 7))
    monkeypatch.setattr("maas.publish.upstream_examine.time.monotonic", lambda: next(clock))
    with pytest.raises(MaasError, match="proving the model took longer than 30 s") as caught:
        publish_url(oip.url)
    assert caught.value.kind is ErrorKind.DEADLINE_EXCEEDED
    assert len(oip.calls) < 6


def test_code_goes_nowhere(tmp_path):
    (tmp_path / "upstream.json").write_text('{"upstream": "oip+http://h/m"}')
    upload = Upload(tmp_path / "upstream.json", "upstream.json", None, tmp_path, tmp_path)
    with pytest.raises(MaasError, match="leave --code out"):
        describe_upstream(upload, UpstreamRuntime(settings(), {}), lambda *_: None)


def test_its_own_file_is_recognised(tmp_path):
    for text in ('{"upstream": "x"}', ' {\n "upstream" :1}'):
        (tmp_path / "a.json").write_text(text)
        assert detect(tmp_path / "a.json", "a.json").format == "upstream"
    (tmp_path / "a.json").write_text('{"up": "x"}')
    with pytest.raises(MaasError, match="looks like JSON"):
        detect(tmp_path / "a.json", "a.json")
