"""kill -9 of every kind of process: what fails, what comes back, what is left."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from tests import zoo
from tests.load import Load
from tests.server import Server, marked, wait_until

from maas.core.errors import MaasError

COUNT = {"input_data": [[1, 2, 3]]}
FLOWER = {"input_data": [zoo.FLOWER]}
ONE_SECOND = 40_000


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def answers(server: Server, path: str = "/counts/predict", body: Any = COUNT) -> bool:
    try:
        return server.post(path, body, timeout=30).status_code == 200
    except requests.RequestException:
        return False


def restarted(server: Server, name: str, version: int, old: int) -> Callable[[], bool]:
    """Whether another process than the old one holds a version."""

    def check() -> bool:
        rows = server.processes().values()
        return any(f"{name}:{version}" in row["models"] and row["pid"] != old for row in rows)

    return check


@pytest.mark.slow
def test_the_shared_host_dies_twenty_times_under_load(start, small_home):
    server = start(like=small_home)
    with Load(server, "/counts/predict", COUNT, callers=8) as load:
        for _ in range(20):
            pid = server.host_of("counts", 1)["pid"]
            kill(pid)
            # Its load time is a few hundredths of a second, and a second is the bar.
            wait_until(restarted(server, "counts", 1, pid), 10, "the host")
            load.more(100)
    assert load.failures == []
    assert set(load.answers) == {200}


def test_the_shared_host_dies_under_load(start, small_home):
    server = start(like=small_home)
    with Load(server, "/counts/predict", COUNT, callers=8) as load:
        for _ in range(3):
            pid = server.host_of("counts", 1)["pid"]
            kill(pid)
            wait_until(restarted(server, "counts", 1, pid), 10, "the host")
            load.more(100)
    assert load.failures == []
    assert "killed by SIGKILL" in server.cli("logs").out


def test_a_dedicated_host_dies_under_load(start_any, zoo_home):
    server = start_any(like=zoo_home)
    shared = server.host_of("iris", 1)["pid"]
    with (
        Load(server, "/centroid/predict", FLOWER, callers=4) as load,
        Load(server, "/iris/predict", FLOWER, callers=2) as beside,
    ):
        for _ in range(2):
            pid = server.host_of("centroid", 1)["pid"]
            kill(pid)
            wait_until(restarted(server, "centroid", 1, pid), 20, "the host")
            load.more(50)
    assert load.failures == beside.failures == []
    assert server.host_of("iris", 1)["pid"] == shared


def test_the_ingress_dies(start, small_home):
    server = start(like=small_home)
    for _ in range(2):
        host = server.host_of("counts", 1)["pid"]
        pid = server.processes()["ingress-1"]["pid"]
        kill(pid)
        wait_until(lambda: answers(server), 20, "an answer")
        row = server.processes()["ingress-1"]
        assert row["pid"] != pid
        assert server.host_of("counts", 1)["pid"] == host
        assert server.get("/readyz").status_code == 200
    # The port was never anybody else's, and the new ingress follows control as the old one did.
    server.api("PUT", "/models/m/aliases/new", {"version": 2})
    assert server.post("/m@new/predict", {"input_data": [[1, 2]]}).json()["prediction"] == [[2, 4]]


def test_control_dies(start, small_home):
    server = start("--auth", "required", like=small_home)
    key = {"authorization": f"Bearer {server.key}"}
    before = server.models()

    def back() -> bool:
        try:
            return (
                server.post("/m/predict", {"input_data": [[1, 2]]}, headers=key).ok
                and server.get("/readyz").ok
                and server.api("GET", "/models").ok
            )
        except requests.RequestException:
            return False

    for _ in range(2):
        pid = server.processes()["control"]["pid"]
        kill(pid)
        wait_until(lambda pid=pid: pid not in marked(server.mark), 5, "its end")
        wait_until(back, 30, "everything")
        assert server.processes()["control"]["pid"] != pid
        wait_until(lambda: server.models() == before, 20, "every model")
        assert server.post("/m/predict", {"input_data": [[1, 2]]}).status_code == 401
        time.sleep(10 / 3)  # three deaths within ten seconds are given up
    assert server.publish(small_home.parent / "counts.onnx", "again").created is True


def test_control_dies_at_every_start(start_any, small_home):
    """What cannot run is given up, said, and leaves nobody behind."""
    server = start_any(like=small_home)
    stopping = threading.Event()

    def kill_control() -> None:
        while not stopping.is_set():
            for pid, line in marked(server.mark).items():
                if "maas.control" in line:
                    with contextlib.suppress(ProcessLookupError):
                        kill(pid)
            time.sleep(0.05)

    killer = threading.Thread(target=kill_control)
    killer.start()
    try:
        assert server.process.wait(30) == 1
    finally:
        stopping.set()
        killer.join()
    assert "again and again" in server.log()
    assert marked(server.mark) == {}


@pytest.mark.parametrize("load", [False, True])
def test_the_supervisor_dies(start, small_home, load):
    server = start(like=small_home)
    assert len(marked(server.mark)) >= 4
    if load:
        with Load(server, "/counts/predict", COUNT, callers=4):
            kill(server.pid)
    else:
        kill(server.pid)
    server.process.wait()
    wait_until(lambda: marked(server.mark) == {}, 10, "the end of its children")
    server.start()
    assert answers(server)
    assert server.staged() == []


@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [0.05, 0.4, 0.8, 1.2, 1.6])
def test_the_server_dies_while_publishing(start_any, small_home, tmp_path, wait_s):
    server = start_any(like=small_home)
    path = zoo.iris(tmp_path / "iris.skops")
    found: list[object] = []

    def publish() -> None:
        try:
            found.append(server.publish(path, "iris").version.digest)
        except MaasError as error:
            found.append(error)

    publisher = threading.Thread(target=publish)
    publisher.start()
    wait_until(lambda: server.staged() != [], 10, "a staged upload")
    time.sleep(wait_s)
    kill(server.pid)
    server.process.wait()
    wait_until(lambda: marked(server.mark) == {}, 20, "the end of its children")
    server.start()
    publisher.join(60)
    versions = [v for m in server.models() if m["name"] == "iris" for v in m["versions"]]
    if isinstance(found[0], str):
        assert [version["digest"] for version in versions] == found
    for version in versions:
        assert version["report"]["parity"]["agrees"]
    wait_until(lambda: server.staged() == [], 10, "an empty staging folder")
    operation = server.publish(path, "iris")
    assert operation.created is (versions == [])
    assert server.post("/iris/predict", FLOWER).json()["label"] == [0]


def test_a_version_that_kills_its_host_gets_one_of_its_own(start_any, small_home, tmp_path):
    server = start_any(like=small_home)
    server.publish(zoo.slow(tmp_path / "slow.onnx"), "slow")
    found: list[requests.Response] = []

    def call() -> None:
        # A session of its own: this one is used by two threads otherwise.
        body = {"input_data": [[5 * ONE_SECOND]]}
        found.append(requests.post(f"{server.url}/slow/predict", json=body, timeout=60))

    caller = threading.Thread(target=call)
    caller.start()
    for _ in range(2):
        row = server.host_of("slow", 1)
        time.sleep(1)
        kill(row["pid"])
        wait_until(restarted(server, "slow", 1, row["pid"]), 20, "the host")
    caller.join(60)
    [answer] = found
    # It was tried once more, not a third time.
    assert answer.status_code == 503
    assert "died twice" in answer.json()["error"]["message"]
    assert answer.headers["retry-after"]
    row = wait_until(
        lambda: [r for r in server.processes().values() if r["models"] == ["slow:1"]],
        20,
        "a host of its own",
    )[0]
    assert row["id"] != server.host_of("counts", 1)["id"]
    assert answers(server, "/slow/predict", {"input_data": [[1]]})


def test_a_host_that_hangs_is_killed(start_any, zoo_home):
    # What a caller asks for is no reason to kill: the server's own limit counts.
    server = start_any(like=zoo_home, MAAS_SERVING_GRACE_S="1", MAAS_LIMITS_CALL_S="3")
    row = server.host_of("centroid", 1)
    os.kill(row["pid"], signal.SIGSTOP)
    body = {
        "inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": zoo.FLOWER}],
        "parameters": {"timeout": 500_000},
    }
    answer = server.post("/v2/models/centroid/infer", body)
    assert answer.status_code == 504
    assert answers(server, "/iris/predict", FLOWER)
    wait_until(restarted(server, "centroid", 1, row["pid"]), 20, "another host")
    # Its library may take longer to import than a call may take here.
    wait_until(lambda: answers(server, "/centroid/predict", FLOWER), 30, "an answer")
