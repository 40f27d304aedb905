"""Large tensors in shared memory while processes die, and clients that leave before the answer."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import requests
from tests import zoo
from tests.load import Load
from tests.server import Server, wait_until

WIDTH = 30_000
WIDE = {"input_data": [[0.5] * WIDTH]}


def segments(pid: int) -> int:
    """How often a process has shared memory of ours mapped."""
    return Path(f"/proc/{pid}/maps").read_text().count("memfd:maas")


@pytest.fixture(scope="module")
def wide_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide")
    server = Server(folder / "home", "auto")
    try:
        server.start().publish(zoo.affine(folder / "wide.onnx", 2, WIDTH), "wide")
        server.stop()
    finally:
        server.close()
    return folder / "home"


def test_a_large_tensor_crosses_in_shared_memory(start, wide_home):
    server = start(like=wide_home)
    ingress = server.processes()["ingress-1"]["pid"]
    host = server.host_of("wide", 1)["pid"]
    assert (segments(ingress), segments(host)) == (0, 0)
    row = np.random.default_rng(0).random((1, WIDTH), np.float32)
    for _ in range(5):
        answer = server.post("/wide/predict", {"input_data": row.tolist()}).json()
        np.testing.assert_array_equal(np.array(answer["prediction"], np.float32), 2 * row)
    # One in each direction, or one more where an answer was still being sent when the next came.
    assert 2 <= segments(ingress) <= 4
    assert 2 <= segments(host) <= 4


def test_it_can_be_turned_off(start_any, wide_home):
    server = start_any(like=wide_home, MAAS_SERVING_SEGMENT_BYTES="0")
    assert server.post("/wide/predict", WIDE).json()["prediction"][0][-1] == 1.0
    assert segments(server.host_of("wide", 1)["pid"]) == 0


def test_hosts_and_ingresses_die_under_large_calls(start_any, wide_home):
    server = start_any(like=wide_home)
    with Load(server, "/wide/predict", WIDE, callers=4) as load:
        for _ in range(3):
            host = server.host_of("wide", 1)["pid"]
            os.kill(host, signal.SIGKILL)
            wait_until(lambda host=host: _holder(server) not in (None, host), 10, "the host")
            load.more(20)
    assert load.failures == []
    os.kill(server.processes()["ingress-1"]["pid"], signal.SIGKILL)
    wait_until(lambda: _answers(server), 20, "an answer")
    # Whoever is left holds what is in use, and nothing of those who died.
    for pid in (server.processes()["ingress-1"]["pid"], _holder(server)):
        wait_until(lambda pid=pid: segments(pid) <= 4, 5, "the end of old segments")


def _holder(server: Server) -> int | None:
    for row in server.processes().values():
        if "wide:1" in row["models"]:
            pid: int = row["pid"]
            return pid
    return None


def _answers(server: Server) -> bool:
    try:
        return server.post("/wide/predict", WIDE, timeout=30).ok
    except requests.RequestException:
        return False


def test_calls_of_clients_that_left_are_not_run(start, tmp_path):
    server = start()
    server.publish(zoo.slow(tmp_path / "slow.onnx"), "slow")

    def seconds(steps: int) -> float:
        started = time.perf_counter()
        assert server.post("/slow/predict", {"input_data": [[steps]]}).ok
        return time.perf_counter() - started

    # A call that takes three seconds and more, and others of the kind behind it that give up.
    long = int(3 * 2000 / min(seconds(2000) for _ in range(3)))
    answers: list[int] = []
    body = {"input_data": [[long]]}
    first = threading.Thread(
        target=lambda: answers.append(server.post("/slow/predict", body).status_code)
    )
    first.start()
    time.sleep(0.2)
    left = [threading.Thread(target=_leave, args=(server, body)) for _ in range(4)]
    for thread in left:
        thread.start()
    for thread in (first, *left):
        thread.join()
    assert answers == [200]

    def cancelled() -> bool:
        return 'model="slow",outcome="cancelled",version="1"} 4.0' in server.get("/metrics").text

    wait_until(cancelled, 10, "the count of those who left")
    batches = 'maas_batches_total{model="slow",version="1"} 4.0'
    wait_until(lambda: batches in server.get("/metrics").text, 5, "four runs and no more")


def _leave(server: Server, body: dict[str, object]) -> None:
    with pytest.raises(requests.RequestException):
        requests.post(f"{server.url}/slow/predict", json=body, timeout=0.4)
