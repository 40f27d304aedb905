"""The command line against a real server: what it prints runs, and says what is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest
from tests import zoo
from tests.server import free_port, run_cli

NAMES = ["iris", "iris:2", "iris@next", "flowers", "words", "centroid", "my_model", "counts",
         "centred", "pair", "花"]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_curl_line_runs(usual, name):
    shown = usual.cli("show", name, "--code", "curl")
    assert shown.code == 0, shown
    done = subprocess.run(["bash", "-c", shown.out], capture_output=True, timeout=60, check=True)
    assert "error" not in orjson.loads(done.stdout)


@pytest.mark.parametrize("code", ["curl", "python", "triton", "triton-grpc"])
def test_the_snippets_run_where_keys_are_needed(guarded, code):
    if code.startswith("triton"):
        pytest.importorskip("tritonclient")
    shown = guarded.cli("show", "iris", "--code", code)
    if code == "triton-grpc" and "answers no gRPC" in shown.err:
        pytest.skip("gRPC wants the Envoy front, which is not here")
    assert guarded.key not in shown.out
    argv = ["bash", "-c", shown.out] if code == "curl" else [sys.executable, "-c", shown.out]
    env = {**os.environ, "MAAS_API_KEY": guarded.key}
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert b"label" in done.stdout


@pytest.mark.parametrize("code", ["python", "triton"])
@pytest.mark.parametrize("name", ["words", "my_model", "pair", "counts"])
def test_the_other_snippets_run(usual, name, code):
    if code == "triton":
        pytest.importorskip("tritonclient.http")
    shown = usual.cli("show", name, "--code", code)
    done = subprocess.run(
        [sys.executable, "-c", shown.out], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_no_snippet_for_what_has_no_chat(usual):
    done = usual.cli("show", "iris", "--code", "openai")
    assert done.code == 1
    assert "no chat" in done.err


def test_models(usual):
    done = usual.cli("models")
    assert done.code == 0
    head, *rows = done.out.splitlines()
    assert "STATE" in head.split()
    assert "REASON" in head.split()
    [row] = [row for row in rows if row.startswith("iris ")]
    assert "AVAILABLE" in row
    assert "prod=1" in row
    assert len(orjson.loads(usual.cli("models", "--json").out)) == len(rows)


def test_ps(usual):
    done = usual.cli("ps")
    assert done.code == 0
    kinds = [row.split()[1] for row in done.out.splitlines()[1:]]
    assert sorted(set(kinds)) == ["control", "host", "ingress", "supervisor"]
    rows = orjson.loads(usual.cli("ps", "--json").out)
    for row in rows:
        os.kill(row["pid"], 0)
        assert row["memory_bytes"] > 1 << 20
        assert row["restarts"] == 0
    held = [model for row in rows for model in row["models"]]
    assert {"iris:1", "iris:2", "centroid:1"} <= set(held)


def test_logs(usual):
    done = usual.cli("logs")
    assert done.code == 0
    assert "control" in done.out
    done = usual.cli("logs", "iris", "--json")
    lines = [orjson.loads(line) for line in done.out.splitlines()]
    assert lines
    assert all(line["model"].startswith("iris:") for line in lines)
    assert any("ready" in line["message"] for line in lines)
    done = usual.cli("logs", "nobody")
    assert done.code == 1
    assert "nobody" in done.err


def test_logs_go_on(usual):
    following = subprocess.Popen(
        [sys.executable, "-m", "maas", "logs", "-f", "-n", "1"],
        env=usual.client_env,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert following.stdout is not None
        assert following.stdout.readline()
        usual.api("PUT", "/models/iris/aliases/logged", {"version": 1})
        usual.api("DELETE", "/models/iris/aliases/logged")
        assert following.poll() is None
    finally:
        following.terminate()
        following.communicate()


def test_doctor(usual):
    done = usual.cli("doctor")
    assert done.code == 0, done
    assert usual.url in done.out
    checks = {check["name"]: check["status"] for check in orjson.loads(
        usual.cli("doctor", "--json").out
    )}  # fmt: skip
    assert checks["server"] == "ok"
    assert checks["owner key"] == "ok"


def test_doctor_without_a_server(tmp_path, usual):
    url = f"http://127.0.0.1:{free_port()}"
    env = {**usual.client_env, "MAAS_URL": url, "MAAS_HOME": str(tmp_path)}
    done = run_cli("doctor", env=env)
    assert "none runs" in done.out
    assert run_cli("models", env=env).code == 3


def test_predict(usual, tmp_path):
    done = usual.cli("predict", "iris", "-i", str([zoo.FLOWER]), "--json")
    assert orjson.loads(done.out)["label"] == [0]
    assert "label: 0" in usual.cli("predict", "iris@prod", "-i", str(zoo.FLOWER)).out
    table = tmp_path / "rows.csv"
    table.write_text("a,b,c,d\n5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3\n")
    done = usual.cli("predict", "iris", "-f", str(table), "--json")
    assert orjson.loads(done.out)["label"] == [0, 2]
    np.save(tmp_path / "rows.npy", np.array([zoo.FLOWER]))
    done = usual.cli("predict", "iris", "-f", str(tmp_path / "rows.npy"), "--json")
    assert orjson.loads(done.out)["label"] == [0]
    done = usual.cli("predict", "words", "-i", f'["{zoo.TEXT}"]')
    assert "体育" in done.out
    for bad in ("[[1, 2]]", "[[1, 2"):
        done = usual.cli("predict", "iris", "-i", bad)
        assert done.code == 2, done
        assert done.err.startswith("error: ")


def test_show(usual):
    done = usual.cli("show", "iris")
    for word in ("scikit-learn", "parity", "x FP32 [n, 4]", "sha256:", "prod = 1"):
        assert word in done.out
    assert "cannot convert it" in usual.cli("show", "centroid").out
    for name in ("nobody", "iris:9", "iris@nobody"):
        done = usual.cli("show", name)
        assert done.code == 1, done
        assert "nobody" in done.err or "9" in done.err


COMMANDS = ["serve", "publish", "models", "show", "delete", "alias", "rollback", "predict"]
COMMANDS += ["ps", "logs", "doctor", "keys"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    done = run_cli(command, "--help")
    assert done.code == 0
    assert "Example: maas" in done.out


def test_a_console_that_prints_ascii_alone(usual):
    done = usual.cli("models", PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert done.code == 0, done
    assert "?" in done.out


def test_an_example_runs(usual):
    # The zoo has an iris of its own; digits trains, publishes twice and sets an alias.
    example = Path(__file__).parents[2] / "examples" / "digits.py"
    done = subprocess.run(
        [sys.executable, str(example)], env=usual.client_env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"accuracy" in done.stdout
    assert len(usual.api("GET", "/models/digits").json()["versions"]) == 2
    assert usual.cli("delete", "digits", "--yes").code == 0
