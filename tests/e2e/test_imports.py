"""Folders made for Triton and TensorFlow Serving, watched by a real server."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import requests
from tests import zoo
from tests.load import Load
from tests.server import Server, run_cli, wait_until

ROW = {"input_data": [[1, 2]]}
POLL = ("--repository-poll-secs", "0.3")
PATIENCE_S = 60
OLD = 1_600_000_000


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


def put(folder: Path, factor: int, name: str = "model.onnx") -> Path:
    """A version that multiplies by a factor, made beside and renamed into place."""
    beside = folder.with_name(f"tmp-{folder.name}")
    beside.mkdir(parents=True)
    zoo.affine(beside / name, factor)
    os.utime(beside / name, (OLD, OLD))
    return beside.rename(folder)


def answer(server: Server, name: str) -> Any:
    found = server.post(f"/{name}/predict", ROW)
    if found.status_code != 200:
        return found.status_code
    factor = found.json()["prediction"][0][0]
    return found.headers["maas-model"], int(factor)


def imports(server: Server) -> dict[str, tuple[str, str]]:
    found = server.api("GET", "/imports").json()["imports"]
    return {f"{one['model']}/{one['folder']}": (one["state"], one["reason"]) for one in found}


def becomes(server: Server, name: str, expected: object) -> None:
    wait_until(lambda: answer(server, name) == expected, PATIENCE_S, f"{expected} from {name}")


def messages(server: Server) -> list[str]:
    lines = [line for line in server.err.read_text().splitlines() if line.startswith("{")]
    found = [json.loads(line) for line in lines]
    return [line["message"] for line in found if line.get("logger") == "maas.imports"]


def test_a_base_path_is_served_and_its_next_version_takes_over_without_a_failed_call(
    start_any, models: Path
) -> None:
    put(models / "1", 1)
    put(models / "2", 2)
    server = start_any("--model-base-path", str(models), "--model-name", "m", *POLL)
    # The banner comes when what was there serves, the latest version of it alone.
    assert "models   m\n" in server.banner
    assert answer(server, "m") == ("m:2", 2)
    assert [one["version"] for one in server.models()[0]["versions"]] == [2]
    assert imports(server)["m/2"] == ("imported", "")
    with Load(server, "/m/predict", ROW) as load:
        put(models / "3", 3)
        becomes(server, "m", ("m:3", 3))
        load.more(50)
    assert load.failures == []
    # As in TensorFlow Serving, the old one leaves the memory once the new one serves.
    wait_until(lambda: state(server, 2) == "END", PATIENCE_S, "the end of version 2")
    assert state(server, 3) == "AVAILABLE"
    with Load(server, "/m/predict", ROW) as load:
        shutil.rmtree(models / "3")
        becomes(server, "m", ("m:2", 2))
        wait_until(lambda: versions(server) == [2], PATIENCE_S, "the end of version 3")
    assert load.failures == []
    gone = "m:3 is retired: its folder is gone"
    wait_until(lambda: gone in messages(server), PATIENCE_S, "the line that says so")
    said = messages(server)
    assert said[0] == "m:2 found; importing it"
    assert any(line.startswith("m:3 imported in ") for line in said)
    # The whole folder goes, as when a disk is unmounted.
    models.rename(models.with_name("away"))
    wait_until(lambda: "m/models" in imports(server), PATIENCE_S, "the problem to be seen")
    assert answer(server, "m") == ("m:2", 2)


def state(server: Server, version: int) -> str:
    found = server.get(f"/v1/models/m/versions/{version}").json()
    return str(found["model_version_status"][0]["state"])


def versions(server: Server) -> list[int]:
    return [one["version"] for one in server.models()[0]["versions"]]


def test_what_is_bad_in_a_repository_stops_nothing_else(start_any, models: Path) -> None:
    put(models / "good" / "1", 1)
    put(models / "花" / "3", 3)
    put(models / "api" / "1", 1)
    (models / "linked" / "1").mkdir(parents=True)
    (models / "linked" / "1" / "model.onnx").symlink_to(models / "good" / "1" / "model.onnx")
    (models / "hard" / "1").mkdir(parents=True)
    os.link(models / "花" / "3" / "model.onnx", models / "hard" / "1" / "model.onnx")
    (models / "half" / "1").mkdir(parents=True)
    (models / "half" / "1" / "model.onnx").write_bytes(zoo.affine_bytes(2)[:-20])
    os.utime(models / "half" / "1" / "model.onnx", (OLD, OLD))
    server = start_any("--model-repository", str(models), "--repository-poll-secs", "1")
    wait_until(lambda: imports(server)["half/1"][0] == "refused", PATIENCE_S, "the refusal")
    found = imports(server)
    assert answer(server, "good") == ("good:1", 1)
    assert "a symbolic link" in found["linked/1"][1]
    assert "a hard link" in found["hard/1"][1]
    assert "cut off" in found["half/1"][1]
    assert "route" in found["/api"][1]
    # A file with two names is refused under both.
    assert "a hard link" in found["花/3"][1]
    (models / "hard" / "1" / "model.onnx").unlink()
    becomes(server, "花", ("%E8%8A%B1:3", 3))
    doctor = server.cli("doctor").out
    assert "half:1" in doctor
    assert "cut off" in doctor
    # What was half is whole now.
    (models / "half" / "1" / "model.onnx").write_bytes(zoo.affine_bytes(2))
    becomes(server, "half", ("half:1", 2))
    refusals = [line for line in messages(server) if line.startswith("linked:1 refused")]
    assert len(refusals) == 1
    shutil.rmtree(models / "good")
    wait_until(lambda: answer(server, "good") == 404, PATIENCE_S, "the end of good")
    wait_until(lambda: server.staged() == [], PATIENCE_S, "an empty staging folder")


def test_a_folder_that_is_being_copied_is_not_imported(start_any, models: Path) -> None:
    server = start_any("--model-base-path", str(models), "--model-name", "m", *POLL)
    assert "none yet" in server.banner
    data = zoo.affine_bytes(2)
    (models / "1").mkdir()
    with (models / "1" / "model.onnx").open("wb") as file:
        for at in range(0, len(data), len(data) // 12):
            file.write(data[at : at + len(data) // 12])
            file.flush()
            wait_until(lambda: imports(server).get("m/1"), PATIENCE_S, "the folder to be seen")
            assert imports(server)["m/1"][0] == "waiting"
    becomes(server, "m", ("m:1", 2))
    assert not any("refused" in line for line in messages(server))


def test_a_restart_examines_nothing_again(start_any, models: Path) -> None:
    put(models / "m" / "4", 4)
    server = start_any("--model-repository", str(models), *POLL)
    before = server.models()
    server.stop()
    put(models / "n" / "1", 1)
    server.start()
    assert server.models()[0] == before[0]
    assert answer(server, "m") == ("m:4", 4)
    assert answer(server, "n") == ("n:1", 1)
    assert [line for line in messages(server) if line.startswith("m:4 found")] == [
        "m:4 found; importing it"
    ]
    # Without the ledger the folder is read again, and recognised.
    server.stop()
    (server.home / "imports.json").unlink()
    server.start()
    assert server.models()[0] == before[0]
    assert any(line.startswith("m:4 recognised in") for line in messages(server))
    # What was taken away meanwhile is gone; what another origin imported stays.
    server.stop()
    shutil.rmtree(models / "m")
    server.start()
    assert [model["name"] for model in server.models()] == ["n"]


def test_a_server_that_is_stopped_while_it_imports(start_any, models: Path) -> None:
    put(models / "1", 1)
    arguments = ("--model-base-path", str(models), "--model-name", "m", *POLL)
    server = start_any(*arguments, wait=False)
    wait_until(
        lambda: server.err.exists() and "m:1 found" in server.err.read_text(), PATIENCE_S, "m:1"
    )
    # It answers, and is not ready before the folder's first round is over.
    wait_until(lambda: _status(server, "/livez") == 200, PATIENCE_S, "the port")
    assert _status(server, "/readyz") == 503
    server.stop()
    server.start()
    wait_until(lambda: _status(server, "/v2/health/ready") == 200, PATIENCE_S, "ready")
    assert answer(server, "m") == ("m:1", 1)
    assert server.staged() == []


def _status(server, path: str) -> int:
    try:
        return int(server.get(path).status_code)
    except requests.ConnectionError:
        return 0


def test_a_models_config_is_followed(start_any, models: Path, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        put(models / "iris" / f"{number}", number)
    put(models / "other" / "1", 7)
    config = tmp_path / "models.config"

    def write(policy: str, more: str = "") -> None:
        beside = config.with_suffix(".new")
        beside.write_text(
            "model_config_list {\n"
            f"  config {{ name: 'iris' base_path: '{models}/iris' model_platform: 'tensorflow'\n"
            f"    model_version_policy {{ {policy} }}\n{more} }}\n"
            "  config { name: 'other' base_path: 'models/other' }\n}\n"
        )
        beside.rename(config)

    write("specific { versions: 1 versions: 2 }", "version_labels { key: 'stable' value: 1 }")
    server = start_any("--model_config_file", str(config), *POLL)
    assert answer(server, "iris") == ("iris:2", 2)
    assert answer(server, "iris@stable") == ("iris:1", 1)
    assert server.post("/v1/models/iris/labels/stable:predict", {"instances": [[1, 2]]}).json() == {
        "predictions": [[1.0, 2.0]]
    }
    assert answer(server, "other") == ("other:1", 7)
    write("latest { num_versions: 2 }", "version_labels { key: 'stable' value: 2 }")
    becomes(server, "iris", ("iris:3", 3))
    becomes(server, "iris@stable", ("iris:2", 2))
    config.write_text("model_config_list {\n  config { nam: 'iris' }\n}")
    wait_until(lambda: "/models.config" in imports(server), PATIENCE_S, "the problem to be seen")
    assert "line 2" in imports(server)["/models.config"][1]
    assert answer(server, "other") == ("other:1", 7)


def test_a_version_that_changes_in_place_is_not_taken_for_the_same(start_any, models: Path) -> None:
    put(models / "1", 1)
    server = start_any("--model-base-path", str(models), "--model-name", "m", *POLL)
    shutil.rmtree(models / "1")
    put(models / "1", 5)
    wait_until(lambda: imports(server)["m/1"][0] == "refused", PATIENCE_S, "the refusal")
    assert "exists with other content" in imports(server)["m/1"][1]
    assert answer(server, "m") == ("m:1", 1)
    # A publish by hand takes the next number after the folder's.
    put(models / "9", 9)
    becomes(server, "m", ("m:9", 9))
    path = zoo.affine(models.parent / "m.onnx", 8)
    assert server.publish(path, "m", promote=False).version.version == 10


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--model-repository", "missing"), "no such folder"),
        (("--model-repository", "file"), "is a file"),
        (("--model-repository", "folder", "--model-base-path", "folder"), "exclude each other"),
        (("--model-base-path", "folder"), "--model-name"),
        (("--model-name", "m"), "--model-base-path"),
        (("--model-base-path", "folder", "--model-name", "../m"), "not a model name"),
        (("--model-base-path", "folder", "--model-name", "api"), "a route"),
        (("--model-config-file", "missing"), "No such file"),
        (("--model-config-file", "folder"), "is a folder"),
        (("--model-config-file", "file"), "line 2"),
        (("--model-repository", "folder", "--repository-poll-secs", "-1"), "poll-secs"),
        (("--model-repository", "folder", "--repository-poll-secs", "nan"), "poll-secs"),
        (("--model-repository", "folder", "--repository-poll-secs", "inf"), "poll-secs"),
    ],
)
def test_wrong_command_lines(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("model_config_list {\n config [")
    done = run_cli("serve", "--home", str(tmp_path / "home"), *arguments, cwd=tmp_path)
    assert done.code == 2, done
    assert word in done.err
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 3


CONFIG = """
name: "{name}"
backend: "{backend}"
max_batch_size: 8
version_policy: {{ all {{ }} }}
input [ {{ name: "x" data_type: TYPE_FP32 dims: [ 2 ] }} ]
output [ {{ name: "y" data_type: TYPE_FP32 dims: [ 2 ] }} ]
"""
PYTHON = """
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            x = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
            y = pb_utils.Tensor("y", (5 * x).astype(np.float32))
            answers.append(pb_utils.InferenceResponse(output_tensors=[y]))
        return answers
"""


def configured(models: Path, name: str, backend: str) -> Path:
    (models / name).mkdir(exist_ok=True)
    config = models / name / "config.pbtxt"
    config.write_text(CONFIG.format(name=name, backend=backend))
    os.utime(config, (OLD, OLD))
    return models / name


def test_a_repository_with_configurations(start_any, models: Path) -> None:
    folder = configured(models, "affine", "onnxruntime")
    for number in (1, 3):
        put(folder / f"{number}", number)
    python = configured(models, "five", "python")
    (python / "1").mkdir()
    (python / "1" / "model.py").write_text(PYTHON)
    arguments = ("--model-repository", str(models), "--repository-poll-secs", "0.3")
    server = start_any(*arguments)
    wait_until(lambda: imports(server)["five/1"][0] == "refused", PATIENCE_S, "the refusal")
    assert "--trust" in imports(server)["five/1"][1]
    # Both versions are loaded, as the model's own policy has it.
    for number in (1, 3):
        found = server.get(f"/v1/models/affine/versions/{number}").json()
        assert found["model_version_status"][0]["state"] == "AVAILABLE"
    assert answer(server, "affine") == ("affine:3", 3)
    assert answer(server, "affine:1") == ("affine:1", 1)
    server.stop()
    trusting = start_any(*arguments, "--trust", home=server.home)
    becomes(trusting, "five", ("five:1", 5))
    assert answer(trusting, "affine") == ("affine:3", 3)
