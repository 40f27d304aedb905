"""One server's models published by URL on another, over every transport."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import zoo
from tests.server import Server, serving, wait_until

from maas.wire.envoy import why_not

REST = ("oip+http", "triton+http", "tfserving+http")
GRPC = ("oip+grpc", "triton+grpc", "tfserving+grpc")
NETWORKS = "MAAS_UPSTREAM_NETWORKS"
FLOWERS = {"input_data": [zoo.FLOWER, [6.0, 3.0, 5.0, 2.0]]}


@pytest.fixture(scope="module")
def front_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that may call this machine's own addresses."""
    home = tmp_path_factory.mktemp("upstreams") / "home"
    with serving(home, "auto", **{NETWORKS: "127.0.0.0/8", "MAAS_UPSTREAM_CALL_S": "10"}) as server:
        yield server


def url_of(scheme: str, server: Server, model: str) -> str:
    return f"{scheme}://127.0.0.1:{server.port}/{model}"


@pytest.mark.parametrize("scheme", [*REST, *GRPC])
def test_a_model_of_another_server(scheme: str, front_server: Server, usual: Server) -> None:
    if scheme in GRPC and why_not():
        pytest.skip(f"the upstream has no gRPC: {why_not()}")
    here = scheme.replace("+", "-")
    for model, body in (
        ("iris", FLOWERS),
        ("words", {"input_text": zoo.TEXT}),
        ("centred", {"input_data": [[1, 2], [3, 5]]}),
    ):
        name = f"{here}-{model}"
        url = url_of(scheme, usual, model)
        done = front_server.cli("publish", url, "--name", name, "--json")
        assert done.code == 0, done
        assert url in done.out
        mine = front_server.post(f"/{name}/predict", body)
        theirs = usual.post(f"/{model}/predict", body)
        assert mine.status_code == theirs.status_code == 200
        assert mine.json() == theirs.json()
        assert mine.headers["maas-model"] == f"{name}:1"
    with front_server.client as client:
        found = {model.name: model.versions[0] for model in client.models()}
        assert client.publish(url_of(scheme, usual, "iris"), f"{here}-iris").version == 1
    record = found[f"{here}-iris"]
    assert record.report.engine == record.report.format == "upstream"
    assert record.signatures["serving_default"].batched
    assert "32 rows run together equal" in record.report.batch_note
    # A model that subtracts the batch's mean is found out over any transport.
    assert not found[f"{here}-centred"].signatures["serving_default"].batched


def test_a_version_there(front_server: Server, usual: Server) -> None:
    url = url_of("oip+http", usual, "iris/versions/2")
    assert front_server.cli("publish", url, "--name", "second").code == 0
    columns = {"inputs": {"x": FLOWERS["input_data"]}}
    theirs = usual.post("/v1/models/iris/versions/2:predict", columns).json()["outputs"]
    assert front_server.post("/second/predict", FLOWERS).json() == theirs


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("{oip}/nosuch", "the upstream has no model 'nosuch'"),
        ("{oip}/iris/versions/77", "the upstream has no model 'iris' of version 77"),
        ("tfserving+http://{host}/iris#nosuch", "no signature 'nosuch'"),
        ("oip+http://user:secret@{host}/iris", "give the host alone"),
        ("oip+http://2130706433/iris", "write an address as four numbers"),
        ("oip+http://ok\\@{host}/iris", "give the host alone"),
        ("openai+https://{host}/v1#iris", "come with language models"),
        ("http://{host}/iris", "is no upstream's URL"),
        ("oip+http://169.254.169.254:80/iris", "upstream.networks"),
        ("oip+http://[::1]:80/iris", "upstream.networks"),
        ("oip+http://[::ffff:169.254.169.254]:80/iris", "upstream.networks"),
        ("oip+grpc://10.0.0.1:80/iris", "upstream.networks"),
        ("oip+http://nosuch.invalid:80/iris", "has no address"),
    ],
)
def test_what_cannot_be_published(url: str, said: str, front_server: Server, usual: Server) -> None:
    host = f"127.0.0.1:{usual.port}"
    done = front_server.cli(
        "publish", url.format(host=host, oip=f"oip+http://{host}"), "--name", "bad"
    )
    # 2 where the URL is wrong whatever the server thinks of it.
    assert done.code in (1, 2), done
    assert said in done.err
    assert "secret" not in done.err
    assert "bad" not in {model["name"] for model in front_server.models()}


def test_by_default_no_private_address_is_called(usual: Server) -> None:
    for url in (
        url_of("oip+http", usual, "iris"),
        f"oip+http://localhost:{usual.port}/iris",
        f"tfserving+grpc://0.0.0.0:{usual.port}/iris",
    ):
        done = usual.cli("publish", url, "--name", "bad")
        assert done.code == 1, done
        assert "unless the setting upstream.networks allows" in done.err
    assert usual.staged() == []


def test_a_file_with_the_url(front_server: Server, usual: Server, tmp_path: Path) -> None:
    """What `maas publish URL` sends can be published as a file, and claims nothing of its own."""
    file = tmp_path / "upstream.json"
    url = url_of("oip+http", usual, "counts")
    file.write_text(f'{{"upstream": "{url}", "rows": 1, "platform": "mine"}}')
    assert front_server.cli("publish", str(file), "--name", "by-file").code == 0
    body = {"input_data": [[1, 2, 3]]}
    assert front_server.post("/by-file/predict", body).json() == {"prediction": [[6]]}
    file.write_text('{"upstream": "' + "x" * 3000 + '"}')
    done = front_server.cli("publish", str(file), "--name", "bad")
    assert done.code == 1
    assert "too long" in done.err


def test_it_goes_away_and_comes_back(
    front_server: Server, small_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_home, tmp_path / "home")
    body = {"input_data": [[1, 2, 3]]}
    with serving(tmp_path / "home", "auto") as other:
        schemes = ["oip+http"] if why_not() else ["oip+http", "oip+grpc"]
        for scheme in schemes:
            name = scheme.replace("+", "-") + "-away"
            url = url_of(scheme, other, "counts")
            assert front_server.cli("publish", url, "--name", name).code == 0
        other.stop()
        for scheme in schemes:
            path = f"/{scheme.replace('+', '-')}-away/predict"
            answer = front_server.post(path, body)
            assert answer.status_code == 503
            assert "the upstream does not answer" in answer.json()["error"]["message"]
            assert str(other.port) not in answer.text
        other.start()
        for scheme in schemes:
            path = f"/{scheme.replace('+', '-')}-away/predict"
            wait_until(lambda path=path: front_server.post(path, body).ok, 15, "an answer again")


def test_a_server_starts_while_its_upstream_is_away(
    start_any, small_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_home, tmp_path / "other")
    body = {"input_data": [[1, 2, 3]]}
    with serving(tmp_path / "other", "auto") as other:
        server = start_any(**{NETWORKS: "127.0.0.0/8"})
        assert server.cli("publish", url_of("oip+http", other, "counts"), "--name", "up").code == 0
        server.stop()
        other.stop()
        server.start()
        assert server.post("/up/predict", body).status_code == 503
        other.start()
        wait_until(lambda: server.post("/up/predict", body).ok, 15, "an answer")


def test_one_command_from_a_url_to_an_endpoint(start_any, usual: Server) -> None:
    server = start_any(url_of("oip+http", usual, "counts"), **{NETWORKS: "127.0.0.0/8"})
    assert server.post("/counts/predict", {"input_data": [[1, 2, 3]]}).json() == {
        "prediction": [[6]]
    }


def test_keys_are_the_operators(start_any, small_home: Path, tmp_path: Path) -> None:
    shutil.copytree(small_home, tmp_path / "other")
    body = {"input_data": [[1, 2, 3]]}
    with serving(tmp_path / "other", "auto", "--auth", "required") as other:
        url = url_of("oip+http", other, "counts")
        keyless = start_any(**{NETWORKS: "127.0.0.0/8"})
        done = keyless.cli("publish", url, "--name", "up")
        assert done.code == 1
        assert "refuses this server's key (setting upstream.keys)" in done.err
        keyed = start_any(
            **{
                NETWORKS: "127.0.0.0/8",
                "MAAS_UPSTREAM_KEYS": f"http://127.0.0.1:{other.port}=OTHER_KEY",
                "OTHER_KEY": other.key,
            }
        )
        assert keyed.cli("publish", url, "--name", "up").code == 0
        assert keyed.post("/up/predict", body).json() == {"prediction": [[6]]}
        assert other.key not in keyed.cli("show", "up", "--json").out
        assert other.key not in keyed.log()
        # Nothing of it lies on disk beside the model.
        stored = [path for path in keyed.home.rglob("*") if path.is_file()]
        assert not any(other.key.encode() in path.read_bytes() for path in stored)


def test_an_upstream_that_hangs_costs_its_own_callers_alone(front_server: Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"oip+http://127.0.0.1:{silent.getsockname()[1]}/m"
        began = time.monotonic()
        done = front_server.cli("publish", url, "--name", "bad")
        assert done.code == 1
        assert "did not answer within 10 s" in done.err
        assert time.monotonic() - began < 120
