"""Python models that do what no model should: while they are published, and while they serve.

One server holds them all, and another model that answers throughout.
"""

from __future__ import annotations

import os
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.load import Load
from tests.server import Server, serving, wait_until

from maas.core.errors import MaasError

COUNT = {"input_data": [[1, 2, 3]]}
GOOD = {"input_data": [[1, 2, 3, 4]]}
BAD = {"input_data": [[666, 2, 3, 4]]}
BOUNDS = {
    "MAAS_PUBLISH_INSPECT_S": "60",
    "MAAS_PUBLISH_INSPECT_BYTES": str(400 << 20),
    "MAAS_SERVING_WORKER_BYTES": str(300 << 20),
    "MAAS_LIMITS_CALL_S": "12",
    "MAAS_SERVING_GRACE_S": "0.5",
}
MODEL = """
import os
import maas

{top}

class Hostile(maas.PythonModel):
    def load(self, folder):
        {load}

    def infer(self, x: maas.Float32["n", 4]) -> {{"y": maas.Float32["n", 4]}}:
        if len(x) and x[0, 0] == 666:
            self.turn(x)
        return {{"y": 2 * x}}

    def turn(self, x):
        {turn}
"""


@pytest.fixture(scope="module")
def server(small_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("hostile") / "home"
    shutil.copytree(small_home, home)
    with serving(home, "auto", **BOUNDS) as running:
        yield running


@pytest.fixture
def undisturbed(server: Server) -> Iterator[Server]:
    """The other model answers every call, and nothing is left behind."""
    with Load(server, "/counts/predict", COUNT, callers=1) as load:
        yield server
        load.more(5)
    assert load.failures == []
    wait_until(lambda: server.staged() == [], 10, "an empty staging folder")


def source(folder: Path, *, top: str = "", load: str = "pass", turn: str = "pass") -> Path:
    """A model's file; each part is lines of Python."""
    parts = {
        "top": textwrap.dedent(top),
        "load": textwrap.indent(textwrap.dedent(load), " " * 8).strip(),
        "turn": textwrap.indent(textwrap.dedent(turn), " " * 8).strip(),
    }
    path = folder / "hostile.py"
    path.write_text(MODEL.format(**parts))
    return path


def refused(server: Server, path: Path, name: str) -> str:
    """Publishes what must fail; the one sentence that says why."""
    with pytest.raises(MaasError) as caught:
        server.publish(path, name, trust=True)
    message = caught.value.message
    assert "\n" not in message
    assert str(server.home) not in message
    assert server.api("GET", f"/models/{name}").status_code == 404
    return message


ALLOCATE = "held = []\nwhile True: held.append(bytearray(1 << 22))"
CONNECT = "import socket; socket.create_connection(('127.0.0.1', {port}))"
CONTROL = "import socket; socket.socket(socket.AF_UNIX).connect('{run}/control.sock')"


@pytest.mark.parametrize(
    ("where", "bad", "expected"),
    [
        ("top", "raise ValueError('no weights')", "no weights"),
        ("load", "raise ValueError('no weights')", "no weights"),
        ("top", "print('so long', flush=True); os._exit(3)", "exit code 3 while examining it: so"),
        ("load", "import ctypes; ctypes.string_at(0)", "SIGSEGV"),
        ("top", "while True: os.fork()", "not permitted"),
        ("load", ALLOCATE, "more than 400 MiB"),
        ("top", "open('{home}/canary', 'w')", "ermission denied"),
        ("load", "open('{home}/owner.key').read()", "ermission denied"),
        ("load", "open('{cwd}/canary', 'w')", "ermission denied"),
        ("top", CONNECT, "not permitted"),
        ("load", CONTROL, "not permitted"),
        ("top", "for _ in range(2000): print('x' * 10_000)\nraise ValueError('megabytes')",
         "megabytes"),
    ],
    ids=["raises", "raises when loaded", "exits", "crashes", "forks", "allocates",
         "writes to the home", "reads the owner's key", "writes beside the tests", "connects",
         "connects to control", "prints megabytes"],
)  # fmt: skip
def test_publishing_it_fails_with_one_sentence(undisturbed, tmp_path, where, bad, expected):
    server = undisturbed
    cwd = Path.cwd()
    places = {"home": server.home, "cwd": cwd, "port": server.port, "run": server.runtime}
    for name, place in places.items():
        bad = bad.replace("{" + name + "}", str(place))
    path = source(tmp_path, **{where: bad})
    assert expected in refused(server, path, "hostile")
    assert not (server.home / "canary").exists()
    assert not (cwd / "canary").exists()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["imported", "loaded", "run"])
def test_publishing_one_that_never_ends(undisturbed, tmp_path, where):
    parts = {"imported": "top", "loaded": "load"}
    if where == "run":
        path = source(tmp_path)
        path.write_text(
            path.read_text().replace('return {"y"', 'while True: pass\n        return {"y"')
        )
    else:
        path = source(tmp_path, **{parts[where]: "while True: pass"})
    assert "took longer than 60 s" in refused(undisturbed, path, "endless")


def turned(server: Server, folder: Path, name: str, turn: str) -> requests.Response:
    """Publishes a model that behaves, and calls it so that it does not."""
    server.publish(source(folder, turn=turn), name, trust=True)
    assert server.post(f"/{name}/predict", GOOD).json() == {"prediction": [[2, 4, 6, 8]]}
    return server.post(f"/{name}/predict", BAD)


def holder(server: Server, name: str) -> int:
    """The process that holds the version that serves."""
    version = server.api("GET", f"/models/{name}").json()["serving_version"]
    pid: int = server.host_of(name, version)["pid"]
    return pid


def told(answer: requests.Response) -> str:
    message: str = answer.json()["error"]["message"]
    assert "\n" not in message
    return message


def answers_again(server: Server, name: str) -> None:
    """It serves, or is served again, as if nothing had been."""

    def good() -> Any:
        found = server.post(f"/{name}/predict", GOOD)
        return found.status_code == 200 and found.json() == {"prediction": [[2, 4, 6, 8]]}

    wait_until(good, 30, f"an answer of {name}")


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("raise RuntimeError('I am bad')", "RuntimeError"),
        ("import socket; socket.socket()", "PermissionError"),
    ],
    ids=["raises", "connects"],
)
def test_a_call_that_it_fails_fails_alone(undisturbed, tmp_path, turn, expected):
    server = undisturbed
    answer = turned(server, tmp_path, "turncoat", turn)
    assert answer.status_code in (400, 500)
    assert expected in told(answer)
    before = holder(server, "turncoat")
    answers_again(server, "turncoat")
    assert holder(server, "turncoat") == before
    assert expected in server.cli("logs", "turncoat").out


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        ("print('so long', flush=True); os._exit(3)", "exit status 3; its last line was: so long"),
        (
            """
            for _ in range(1100):
                os.mkdir("d")
                os.chdir("d")
            os._exit(4)
            """,
            "exit status 4",
        ),
        (ALLOCATE, "took more than 300 MiB of memory"),
    ],
    ids=["exits", "exits from deep folders", "allocates"],
)
def test_a_model_that_dies_is_back_and_its_end_is_told(undisturbed, tmp_path, turn, expected):
    server = undisturbed
    answer = turned(server, tmp_path, "mortal", turn)
    assert answer.status_code == 503
    assert expected in told(answer)
    answers_again(server, "mortal")
    assert expected in server.cli("logs", "mortal").out


def test_one_that_blocks_past_the_deadline_is_killed(undisturbed, tmp_path):
    server = undisturbed
    answer = turned(server, tmp_path, "blocker", "print('zzz', flush=True)\nwhile True: pass")
    assert answer.status_code == 504
    assert "did not answer before the call's deadline" in told(answer)
    answers_again(server, "blocker")
    assert "zzz" in server.cli("logs", "blocker").out


def test_one_that_prints_megabytes_answers_and_is_cut(undisturbed, tmp_path):
    server = undisturbed
    turn = "for _ in range(2000): print('x' * 10_000)\nprint('the end')"
    answer = turned(server, tmp_path, "chatterbox", turn)
    assert answer.json() == {"prediction": [[1332, 4, 6, 8]]}

    def cut() -> bool:
        return "prints too much" in server.cli("logs", "chatterbox").out

    wait_until(cut, 10, "a word about it in the log")
    assert sum(path.stat().st_size for path in (server.home / "logs").iterdir()) < 8 << 20


def test_its_worker_ends_with_it(undisturbed, tmp_path):
    server = undisturbed
    server.publish(source(tmp_path), "leaver", trust=True)
    host = server.host_of("leaver", 1)["pid"]
    [worker] = children(host)
    assert b"maas.worker" in Path(f"/proc/{worker}/cmdline").read_bytes()
    os.kill(host, 9)
    wait_until(lambda: not alive(worker), 5, "the end of the worker")
    answers_again(server, "leaver")
    [worker] = children(server.host_of("leaver", 1)["pid"])
    assert server.api("DELETE", "/models/leaver").status_code == 204
    wait_until(lambda: not alive(worker), 10, "the end of the worker")
    scratch = server.home / "scratch"
    assert [path for path in scratch.rglob("*") if path.is_file()] == []


def children(pid: int) -> list[int]:
    """Those that a process has started and that live."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (thread / "children").read_text().split()]
    return [child for child in found if alive(child)]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not yet forgotten does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_one_that_dies_on_every_call_is_not_given_up(undisturbed, tmp_path):
    """It is started ever more rarely; the other model does not feel it."""
    server = undisturbed
    server.publish(source(tmp_path, turn="os._exit(1)"), "zombie", trust=True)
    for _ in range(3):
        answer = server.post("/zombie/predict", BAD)
        assert answer.status_code in (503, 504)
    state = server.api("GET", "/models/zombie").json()["state"]
    assert state in ("LOADING", "AVAILABLE")
    answers_again(server, "zombie")
