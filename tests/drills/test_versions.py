"""Rollouts, loads that fail, loading and unloading without end, and too many calls."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import zoo
from tests.answers import check_sentence, error
from tests.load import Load
from tests.server import Server, wait_until

from maas.core.errors import MaasError

MIB = 1 << 20
FLOWER = {"input_data": [zoo.FLOWER]}
ROW = {"input_data": [[1, 2, 3, 4]]}
ONE_SECOND = 40_000


def test_rolling_back_and_forth_under_load(start, small_home):
    server = start(like=small_home)
    row = {"input_data": [[1, 2]]}
    with Load(server, "/m/predict", row, callers=8) as load:
        for turn in range(20):
            body = {"traffic": {str(2 - turn % 2): 100}}
            assert server.api("PUT", "/deployments/m", body).status_code == 200
            factor = 2 - turn % 2
            assert server.post("/m/predict", row).json()["prediction"] == [[factor, 2 * factor]]
        load.more(50)
    assert load.failures == []


def test_rolling_a_version_between_processes_under_load(start_any, zoo_home, tmp_path):
    """From a lowered version in the shared host to one that scikit-learn serves, and back."""
    server = start_any(like=zoo_home)
    native = zoo.centroid(tmp_path / "centroid.skops")
    with Load(server, "/iris/predict", FLOWER, callers=4) as load:
        assert server.publish(native, "iris").version.report.engine == "sklearn"
        assert server.post("/iris/predict", FLOWER).headers["maas-model"] == "iris:3"
        assert server.api("POST", "/models/iris/rollback").status_code == 200
        assert server.post("/iris/predict", FLOWER).headers["maas-model"] == "iris:1"
        assert server.api("DELETE", "/models/iris/versions/3").status_code == 204
        load.more(50)
    assert load.failures == []
    assert not [row for row in server.processes().values() if "iris:3" in row["models"]]


def test_a_version_whose_process_dies_while_it_loads(start_any, zoo_home, tmp_path):
    server = start_any(like=zoo_home)
    native = zoo.centroid(tmp_path / "centroid.skops")
    known = {row["pid"] for row in server.processes().values()}
    stopping = threading.Event()
    killed: set[int] = set()

    def kill_new_hosts() -> None:
        while not stopping.is_set():
            for row in server.processes().values():
                if row["kind"] == "host" and row["pid"] not in known | killed:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(row["pid"], signal.SIGKILL)
                    killed.add(row["pid"])

    with Load(server, "/iris/predict", FLOWER, callers=2) as load:
        killer = threading.Thread(target=kill_new_hosts)
        killer.start()
        try:
            with pytest.raises(MaasError) as refused:
                server.publish(native, "iris")
        finally:
            stopping.set()
            killer.join()
        load.more(50)
    assert load.failures == []
    message = check_sentence(refused.value.message)
    assert "killed by SIGKILL" in message
    assert "iris:1 still answers" in message
    assert len(killed) >= 2  # it was tried again before it was given up
    assert server.post("/iris/predict", FLOWER).headers["maas-model"] == "iris:1"
    [line] = [line for line in server.cli("models").out.splitlines() if line.startswith("iris ")]
    assert "killed by SIGKILL" in line
    assert server.post("/iris:3/predict", FLOWER).status_code == 503
    status = server.get("/v1/models/iris/versions/3").json()["model_version_status"][0]
    assert status["state"] == "END"
    assert "SIGKILL" in status["status"]["error_message"]


def test_a_version_whose_files_are_damaged(start_any, small_home):
    server = start_any(like=small_home)
    body = {"traffic": {"2": 100}}
    assert server.api("PUT", "/deployments/m", body).status_code == 200
    server.stop()
    damage(server, "m", 2)
    server.start()
    # The one before it stands in, and why is there to be seen.
    answer = server.post("/m/predict", {"input_data": [[1, 2]]})
    assert answer.headers["maas-model"] == "m:1"
    [model] = [model for model in server.models() if model["name"] == "m"]
    assert (model["default_version"], model["serving_version"]) == (2, 1)
    assert check_sentence(model["reason"])
    assert server.post("/counts/predict", {"input_data": [[1, 2, 3]]}).status_code == 200
    message = error("/", server.post("/m:2/predict", {"input_data": [[1, 2]]}), 503)
    assert "not loaded" in message
    assert server.get("/readyz").status_code == 200


def damage(server: Server, name: str, version: int) -> None:
    """Overwrites the beginning of a version's file, as a failing disk would."""
    for path in server.home.glob("artifacts/**/*.onnx"):
        data = path.read_bytes()
        if is_version(path, name, version):
            path.chmod(0o600)
            path.parent.chmod(0o700)
            path.write_bytes(b"\xff" * 16 + data[16:])


def is_version(path: Path, name: str, version: int) -> bool:
    import onnx

    model = onnx.load(path)
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in model.graph.initializer}
    return name == "m" and "factor" in constants and float(constants["factor"][0]) == version


def resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_loading_and_unloading_gives_the_memory_back(start_any, small_home, tmp_path):
    server = start_any(like=small_home)
    files = [
        zoo.affine(tmp_path / f"{factor}.onnx", factor, width=4, ballast=8 * MIB)
        for factor in range(1, 7)
    ]
    pid = server.host_of("counts", 1)["pid"]

    def turn(version: int) -> None:
        """Asks for a version by its number; of six, the four asked for last stay loaded."""
        answer = server.post(f"/heavy:{version}/predict", ROW)
        assert answer.json()["prediction"] == [[version * x for x in (1, 2, 3, 4)]]
        wait_until(lambda: loaded(server) <= 4, 20, "the unloading of another")

    # One engine for all: another's library, loaded for the first time, is no model's memory.
    server.publish(files[0], "warm", engine="onnx")
    assert server.api("DELETE", "/models/warm").status_code == 204
    before = resident(pid)
    for file in files:
        server.publish(file, "heavy", promote=False, engine="onnx")
    for turns in range(30):
        turn(turns % 6 + 1)
    assert resident(pid) - before > 4 * 8 * MIB
    assert server.api("DELETE", "/models/heavy").status_code == 204
    assert server.host_of("counts", 1)["pid"] == pid
    assert resident(pid) - before < 20 * MIB


def loaded(server: Server) -> int:
    """How many versions of `heavy` some process holds."""
    rows = server.processes().values()
    return sum(model.startswith("heavy:") for row in rows for model in row["models"])


def test_deleting_a_dedicated_version_ends_its_process(start_any, zoo_home):
    server = start_any(like=zoo_home)
    pid = server.host_of("centroid", 1)["pid"]
    assert server.api("DELETE", "/models/centroid").status_code == 204
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10, "its end")
    assert server.post("/iris/predict", FLOWER).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/slow/predict", {"input_data": [[ONE_SECOND]]}),
        (
            "/v2/models/slow/infer",
            {"inputs": [{"name": "x", "shape": [1, 1], "datatype": "FP32", "data": [ONE_SECOND]}]},
        ),
        ("/v1/models/slow:predict", {"instances": [[ONE_SECOND]]}),
    ],
)
def test_too_many_calls_are_refused_before_any_work(crowded, path, body):
    with ThreadPoolExecutor(24) as pool:
        found = list(pool.map(lambda _: crowded.post(path, body), range(24)))
        beside = crowded.post("/counts/predict", {"input_data": [[1, 2, 3]]})
    statuses = Counter(answer.status_code for answer in found)
    assert set(statuses) == {200, 429}
    for answer in found:
        if answer.status_code == 429:
            error(path, answer, 429)
            assert int(answer.headers["retry-after"]) >= 1
    assert beside.status_code == 200
    assert crowded.post(path, body).status_code == 200  # and all is well again


@pytest.fixture(scope="module")
def crowded(small_home, tmp_path_factory):
    """A server in which four rows may wait for a model, and two frames may be under way."""
    import shutil

    from tests.server import serving

    folder = tmp_path_factory.mktemp("crowded")
    shutil.copytree(small_home, folder / "home")
    limits = {"MAAS_LIMITS_WAITING_ROWS": "4", "MAAS_SERVING_BATCH_ROWS": "4"}
    with serving(folder / "home", "auto", **limits) as server:
        server.publish(zoo.slow(folder / "slow.onnx"), "slow")
        yield server
