from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from maas.cli.serve import publish_command, write
from maas.settings import (
    ImportSettings,
    KeySettings,
    ServerSettings,
    Settings,
    SettingsError,
    load_settings,
)


@pytest.fixture
def executed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[str]]:
    """Records the command that would replace this process: a test cannot let itself be replaced."""
    commands: list[list[str]] = []

    def record(_path: str, command: list[str]) -> None:
        commands.append(command)

    monkeypatch.setattr(os, "execv", record)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MAAS_PATHS_RUN", str(tmp_path / "run"))
    return commands


def settings_of(command: list[str]) -> Settings:
    path = Path(command[command.index("--settings") + 1])
    return msgspec.json.decode(path.read_bytes(), type=Settings)


def test_flags_come_before_the_environment_and_the_file(
    executed: list[list[str]], maas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "maas.toml"
    config.write_text('[server]\nhost = "10.0.0.1"\nport = 1\nauth = "open"\ndrain_s = 5\n')
    monkeypatch.setenv("MAAS_HOST", "10.0.0.2")
    monkeypatch.setenv("PORT", "2")
    result = maas(
        "serve", "--port", "9000", "--config", str(config), "--front", "uvicorn",
        "--listen", "0.0.0.0:8000", "--listen", "[::1]:8001", "--home", str(tmp_path / "data"),
        "--owner-key-file", str(tmp_path / "key"),
    )  # fmt: skip
    assert result.code == 0, result
    (command,) = executed
    assert command[:5] == [sys.executable, "-P", "-m", "maas.supervisor", "--settings"]
    assert "--then" not in command
    settings = settings_of(command)
    assert settings.server == ServerSettings(
        host="10.0.0.2", port=9000, listen=("0.0.0.0:8000", "[::1]:8001"), front="uvicorn",
        auth="open", drain_s=5.0,
    )  # fmt: skip
    assert settings.paths.home == str(tmp_path / "data")
    assert settings.keys.owner_file == str(tmp_path / "key")


def test_the_settings_file_is_this_users_alone(executed: list[list[str]], maas: Any) -> None:
    assert maas("serve").code == 0
    path = Path(executed[0][5])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_paths_are_published_once_it_is_ready(
    executed: list[list[str]],
    maas: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.onnx").touch()
    Path("b.skops").touch()
    result = maas("serve", "a.onnx", "b.skops", "--alias", "prod", "--port", "9000")
    assert result.code == 0, result
    then = json.loads(executed[0][executed[0].index("--then") + 1])
    assert then == [
        sys.executable, "-P", "-m", "maas", "publish", "--alias", "prod", "--wait-ready",
        "--url", "http://127.0.0.1:9000", "--key-file", str(home / "owner.key"),
        "--", str(tmp_path / "a.onnx"), str(tmp_path / "b.skops"),
    ]  # fmt: skip


def test_publish_flags_go_on(executed: list[list[str]], maas: Any, tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.touch()
    flags = ["--name", "iris", "--alias", "prod", "--metric", "n=1", "--tag", "a=b",
             "--description", "-d", "--accuracy", "0.9", "--card", "/c", "--sample", "/s",
             "--code", "/m.py", "--code", "/package", "--engine", "sklearn", "--trust",
             "--quantize", "f16", "--context", "512", "--served-name", "a", "--served-name", "b/c",
             "--drop-params", "--no-promote"]  # fmt: skip
    assert maas("serve", str(file), *flags).code == 0
    then = json.loads(executed[0][-1])
    given = then[then.index("publish") + 1 : then.index("--wait-ready")]
    assert sorted(given) == sorted(flags)
    assert given[given.index("--engine") + 1] == "sklearn"
    assert [given[i + 1] for i, each in enumerate(given) if each == "--code"] == [
        "/m.py",
        "/package",
    ]


def test_an_owners_key_of_the_environment_reaches_the_publish_but_no_command_line(
    executed: list[list[str]], maas: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAAS_OWNER_KEY", "maas_given-by-the-operator")
    monkeypatch.setenv("MAAS_API_KEY", "maas_of-another-server")
    file = tmp_path / "a.onnx"
    file.touch()
    assert maas("serve", str(file)).code == 0
    assert os.environ["MAAS_API_KEY"] == "maas_given-by-the-operator"
    assert "given-by-the-operator" not in str(executed)
    assert "--key-file" not in executed[0][-1]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("[::]", "http://[::1]:8080"),
        ("10.1.2.3", "http://10.1.2.3:8080"),
    ],
)
def test_the_publish_reaches_the_server_whatever_it_listens_on(host: str, url: str) -> None:
    settings = Settings(server=ServerSettings(host=host), keys=KeySettings(owner="k"))
    command = publish_command(["triton+http://host/m"], [], settings)
    assert command[-1] == "triton+http://host/m"
    command = publish_command(["a"], [], settings)
    assert command[command.index("--url") + 1] == url


@pytest.mark.parametrize(
    "arguments",
    [
        ("--workers", "2"),
        ("--workers", "0"),
        ("--port", "0"),
        ("--port", "65536"),
        ("--port", "x"),
        ("--listen", "8000"),
        ("--listen", "host:"),
        ("--listen", "host:99999"),
        ("--config", "/no/such/maas.toml"),
        ("--front", "nginx"),
        ("--name", "iris"),
        ("/no/such/model.onnx",),
        (".", "..", "--name", "iris"),
        (".", "--name", "v2"),
        (".", "--name", "m", "--metric", "rmse"),
    ],
    ids=" ".join,
)
def test_usage(executed: list[list[str]], maas: Any, arguments: tuple[str, ...]) -> None:
    result = maas("serve", *arguments)
    assert result.code == 2, result
    assert len(result.err.splitlines()) <= 2
    assert executed == []


def test_a_setting_there_is_not(executed: list[list[str]], maas: Any, tmp_path: Path) -> None:
    config = tmp_path / "maas.toml"
    config.write_text("[server]\nprot = 1\n")
    result = maas("serve", "--config", str(config))
    assert result.code == 2
    assert "prot" in result.err


def test_several_workers_say_that_they_are_not_built(maas: Any) -> None:
    assert "not built yet" in maas("serve", "--workers", "2").err


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    run.chmod(0o755)
    settings = load_settings({"paths": {"run": str(run), "home": str(tmp_path)}}, {})
    with pytest.raises(SettingsError, match="0700"):
        write(settings)
    run.chmod(0o700)
    path = write(settings)
    link = tmp_path / "link"
    link.symlink_to(run)
    with pytest.raises(SettingsError, match="0700"):
        write(load_settings({"paths": {"run": str(link), "home": str(tmp_path)}}, {}))
    assert msgspec.json.decode(path.read_bytes(), type=Settings) == settings


def test_what_dead_supervisors_left_is_removed_and_a_living_ones_is_kept(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir(mode=0o700)
    dead, living = run / "settings-999999999.json", run / f"settings-{os.getppid()}.json"
    for file in (dead, living):
        file.write_text("{}")
    write(load_settings({"paths": {"run": str(run), "home": str(tmp_path)}}, {}))
    assert not dead.exists()
    assert living.read_text() == "{}"


def test_a_folder_to_watch_goes_into_the_settings(
    executed: list[list[str]],
    maas: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release-1").mkdir()
    (tmp_path / "current").symlink_to("release-1")
    result = maas(
        "serve", "--model_base_path", "current/", "--model_name", "花",
        "--file_system_poll_wait_seconds", "0", "--trust",
    )  # fmt: skip
    assert result.code == 0, result
    # The link stays one: where it points later is followed.
    assert settings_of(executed[0]).imports == ImportSettings(
        base_path=str(tmp_path / "current"), model_name="花", poll_s=0, trust=True
    )
    result = maas("serve", "--model-repository", str(tmp_path))
    assert settings_of(executed[1]).imports == ImportSettings(repository=str(tmp_path))
    monkeypatch.setenv("MAAS_IMPORTS_REPOSITORY", "release-1")
    assert maas("serve").code == 0
    assert settings_of(executed[2]).imports.repository == str(tmp_path / "release-1")
    assert maas("serve", "--model-base-path", ".", "--model-name", "m").code == 2
