from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from maas_stub_server import Stub, make_model

from maas import __version__

COMMANDS = [
    ("serve",), ("publish",), ("models",), ("show",), ("delete",), ("alias",), ("rollback",),
    ("predict",), ("chat",), ("ps",), ("logs",), ("doctor",), ("keys",), ("keys", "create"),
    ("keys", "list"), ("keys", "revoke"),
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(maas: Any, command: tuple[str, ...]) -> None:
    result = maas(*command, "--help")
    assert result.code == 0
    assert "Example: maas" in result.out
    assert result.err == ""


def test_without_arguments_there_is_help(maas: Any) -> None:
    result = maas()
    assert result.code == 0
    assert "publish" in result.out
    for unbuilt in ("top ", "usage ", "audit"):
        assert unbuilt not in result.out


def test_version(maas: Any) -> None:
    assert maas("--version").out == f"maas {__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("models", "--frob"),
        ("show",),
        ("show", "../etc"),
        ("alias", "iris", "prod"),
        ("alias", "iris", "prod", "two"),
        ("alias", "iris", "prod", "2", "--delete"),
        ("delete", "iris@prod"),
        ("delete", "iris:x"),
        ("predict", "iris"),
        ("predict", "iris", "-i", "[1]", "-f", "x"),
        ("predict", "iris", "-i", "{"),
        ("keys",),
        ("keys", "create"),
        ("keys", "create", "--name", "a", "--role", "root"),
        ("publish", "/no/such/file"),
        ("publish", ".", "--name", "api"),
        ("publish", ".", "--name", "m", "--metric", "rmse"),
        ("publish", ".", "--name", "m", "--metric", "rmse=x"),
        ("publish", ".", "--name", "m", "--tag", "=x"),
        ("publish", ".", "--name", "m", "--tag", "a=1", "--tag", "a=2"),
        ("publish", ".", "..", "--name", "m"),
        ("publish", ".", "--name", "m", "--accuracy", "97"),
        ("logs", "-n", "-1"),
        ("models", "--url", "nonsense"),
        ("models", "--key", "two words"),
    ],
    ids=" ".join,
)
def test_usage_is_exit_2_and_at_most_two_lines(stub: Stub, maas: Any, arguments: Any) -> None:
    result = maas(*arguments)
    assert result.code == 2, result
    assert result.out == ""
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) <= 2
    assert "Traceback" not in result.err


def test_failure_is_exit_1(stub: Stub, maas: Any) -> None:
    result = maas("show", "nothing")
    assert (result.code, result.out, result.err) == (1, "", "error: there is no such thing\n")


def test_a_server_that_says_invalid_is_a_failure_and_no_usage(stub: Stub, maas: Any) -> None:
    stub.fail("GET /api/models", 400, "invalid_argument", "bad cursor")
    assert maas("models").code == 1


def test_unreachable_is_exit_3(stub: Stub, maas: Any) -> None:
    stub.close()
    result = maas("models")
    assert result.code == 3
    assert "maas serve" in result.err


@pytest.mark.parametrize(("status", "kind"), [(401, "unauthenticated"), (403, "permission_denied")])
def test_a_key_refused_is_exit_4(stub: Stub, maas: Any, status: int, kind: str) -> None:
    stub.fail("GET /api/models", status, kind, "not with this key")
    result = maas("models")
    assert result.code == 4
    assert result.err.splitlines() == [
        "error: not with this key",
        "give a key that may do this: --key or MAAS_API_KEY; on the server's own machine MAAS_HOME "
        "says where its data folder is, if it was started with --home",
    ]


def test_ctrl_c_is_exit_130(stub: Stub, maas: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from maas.client import Client

    def interrupt(_client: Client) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "models", interrupt)
    result = maas("models")
    assert result.code == 130
    assert "Traceback" not in result.err


def test_escape_sequences_of_a_server_do_not_reach_the_terminal(stub: Stub, maas: Any) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\u202eabc\r\nsecond [bold]line[/bold]"
    stub.on("GET /api/models", 200, {"models": [make_model("iris", reason=evil)], "cursor": None})
    stub.fail("GET /api/models/iris", 404, "not_found", evil)
    for result in (maas("models"), maas("models", "--json"), maas("show", "iris"), maas("logs")):
        for text in (result.out, result.err):
            assert not any(c in text for c in "\x1b\x07\x9b\r"), repr(text)
    assert "[bold]line[/bold]" in maas("models").out
    assert len(maas("show", "iris").err.splitlines()) == 1


def maas_process(stub: Stub, *arguments: str, **more: Any) -> subprocess.CompletedProcess[Any]:
    env = {**os.environ, **more.pop("env", {})}
    command = [sys.executable, "-m", "maas", *arguments]
    return subprocess.run(command, env=env, timeout=60, check=False, **more)


def test_a_console_that_cannot_print_a_character(stub: Stub) -> None:
    model = make_model("鸢尾花", reason="损坏 é")
    stub.on("GET /api/models", 200, {"models": [model], "cursor": None})
    stub.fail("GET /api/models/iris", 404, "not_found", "没有")
    env = {"PYTHONIOENCODING": "ascii:strict"}
    for arguments, code in ((("models",), 0), (("models", "--json"), 0), (("show", "iris"), 1)):
        done = maas_process(stub, *arguments, env=env, capture_output=True)
        assert done.returncode == code, done
        assert b"?" in done.stdout + done.stderr
        assert b"Traceback" not in done.stderr


def test_a_reader_that_goes_away_is_no_traceback(stub: Stub) -> None:
    models = [make_model(f"model-{number}") for number in range(500)]
    stub.on("GET /api/models", 200, {"models": models, "cursor": None})
    read, write = os.pipe()
    os.close(read)
    try:
        done = maas_process(stub, "models", "--json", stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def on_a_terminal(stub: Stub, arguments: list[str], env: dict[str, str]) -> tuple[int, str]:
    """Runs a command with a pseudo-terminal as its output."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "maas", *arguments]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "60", **env},
    ) as process:
        os.close(follower)
        output = b""
        while True:
            try:
                chunk = os.read(leader, 65_536)
            except OSError:  # the other end is closed: Linux answers EIO
                break
            if not chunk:
                break
            output += chunk
    os.close(leader)
    return process.returncode, output.decode()


def test_on_a_terminal_there_is_a_bar_and_colour_unless_refused(stub: Stub, tmp_path: Path) -> None:
    file = tmp_path / "iris.onnx"
    file.write_bytes(b"x")
    code, output = on_a_terminal(stub, ["publish", str(file)], {})
    assert code == 0
    assert "\x1b[" in output
    assert "iris:2 published" in output
    code, output = on_a_terminal(stub, ["models"], {"NO_COLOR": "1"})
    assert code == 0
    assert "\x1b[3" not in output
    plain = re.sub(r"\x1b\[[0-9;]*m", "", output)
    assert all(len(line) <= 60 for line in plain.splitlines())


def test_help_is_light(stub: Stub) -> None:
    code = (
        "import sys\nfrom maas.cli.app import run\nrun(['--help'])\n"
        "heavy = {'httpx', 'numpy', 'litestar', 'sqlalchemy', 'onnxruntime', 'uvicorn'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr.replace("'", '"')) == ["numpy"]
