from __future__ import annotations

from pathlib import Path

import pytest

from maas.settings import (
    MIB,
    ServerSettings,
    Settings,
    SettingsError,
    is_loopback,
    load_settings,
    local_url,
    needs_key,
)


def write(path: Path, text: str | bytes) -> Path:
    file = path / "maas.toml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


def test_the_defaults_are_the_trees(tmp_path: Path) -> None:
    settings = load_settings({}, {"MAAS_HOME": str(tmp_path)})
    assert settings.server == ServerSettings()
    assert settings.limits.body_bytes == 64 * MIB
    assert settings.paths.home == str(tmp_path)


def test_engines_are_timed_with_the_threads_that_serve(tmp_path: Path) -> None:
    environ = {"MAAS_HOME": str(tmp_path), "MAAS_SERVING_THREADS": "3"}
    assert load_settings({}, environ).publish.threads == 3
    assert load_settings({"publish": {"threads": 2}}, environ).publish.threads == 2


def test_flags_beat_variables_beat_the_file_beats_the_defaults(tmp_path: Path) -> None:
    file = write(
        tmp_path, '[server]\nport = 1001\nhost = "127.0.0.2"\ndrain_s = 3\n[limits]\ncall_s = 5\n'
    )
    environ = {"MAAS_SERVER_PORT": "1002", "MAAS_SERVER_HOST": "127.0.0.3"}
    settings = load_settings({"server": {"port": 1003, "host": None}}, environ, file)
    assert settings.server.port == 1003
    assert settings.server.host == "127.0.0.3"
    assert settings.server.drain_s == 3
    assert settings.limits.call_s == 5
    assert settings.limits.waiting_rows == Settings().limits.waiting_rows


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({"PORT": "2001"}, 2001),
        ({"PORT": "2001", "MAAS_PORT": "2002"}, 2002),
        ({"PORT": "2001", "MAAS_PORT": "2002", "MAAS_SERVER_PORT": "2003"}, 2003),
        ({"PORT": ""}, 8080),
        ({"PORT": "", "MAAS_PORT": ""}, 8080),
    ],
)
def test_the_port_has_several_variables(environ: dict[str, str], port: int) -> None:
    assert load_settings({}, environ).server.port == port


@pytest.mark.parametrize(
    ("variable", "value", "section", "field", "expected"),
    [
        ("MAAS_HOST", "0.0.0.0", "server", "host", "0.0.0.0"),
        ("MAAS_AUTH", "required", "server", "auth", "required"),
        ("MAAS_FRONT", "uvicorn", "server", "front", "uvicorn"),
        ("MAAS_OWNER_KEY", "k", "keys", "owner", "k"),
        ("MAAS_LIMITS_BODY_BYTES", "5", "limits", "body_bytes", 5),
        ("MAAS_SERVING_GRACE_S", "0.5", "serving", "grace_s", 0.5),
        ("MAAS_DEFAULTS_CLASSIFY", "情感", "defaults", "classify", "情感"),
    ],
)
def test_every_field_has_a_variable(
    variable: str, value: str, section: str, field: str, expected: object
) -> None:
    settings = load_settings({}, {variable: value})
    assert getattr(getattr(settings, section), field) == expected


@pytest.mark.parametrize(
    "text",
    [
        "[server]\nprot = 1\n",
        "[sever]\nport = 1\n",
        '[server]\nport = "many"\n',
        "[server]\nport = 1.5\n",
        '[server]\nauth = "maybe"\n',
        "server = 5\n",
        "[server\n",
        b"[server]\nhost = \"\xb1\xb1\"\n",
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_error(tmp_path: Path, text: str | bytes) -> None:
    with pytest.raises(SettingsError):
        load_settings({}, {}, write(tmp_path, text))


def test_a_section_that_is_no_table_is_an_error_beside_a_flag_too(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        load_settings({"server": {"port": 1}}, {}, write(tmp_path, "server = 5\n"))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"maas\.toml"):
        load_settings({}, {}, tmp_path / "maas.toml")


@pytest.mark.parametrize("environ", [{"PORT": "http"}, {"MAAS_SERVER_DRAIN_S": "long"}])
def test_a_variable_of_the_wrong_type_is_an_error(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="Expected"):
        load_settings({}, environ)


@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
def test_a_port_is_one(port: int) -> None:
    with pytest.raises(SettingsError):
        load_settings({"server": {"port": port}}, {})


def test_home_is_in_the_users_data_folder_unless_said(tmp_path: Path) -> None:
    settings = load_settings({}, {"XDG_DATA_HOME": str(tmp_path)})
    assert settings.paths.home == str(tmp_path / "maas")


def test_home_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({"paths": {"home": "data"}}, {}).paths.home == str(tmp_path / "data")


def test_two_homes_have_two_short_run_folders(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100)
    runs = {
        load_settings({"paths": {"home": str(home)}}, {}).paths.run
        for home in (deep, deep / "other", deep)
    }
    assert len(runs) == 2
    assert all(len(run) < 80 for run in runs)


def test_the_users_run_folder_is_taken_where_it_is_short(tmp_path: Path) -> None:
    long = tmp_path / ("r" * 60)
    long.mkdir()
    environ = {"XDG_RUNTIME_DIR": str(long), "MAAS_HOME": str(tmp_path)}
    assert not load_settings({}, environ).paths.run.startswith(str(long))
    assert load_settings({"paths": {"run": "/r"}}, environ).paths.run == "/r"


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("example.com", False),
        ("", False),
        ("127.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
    ],
)
def test_loopback_is_this_machine_only(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("server", "needed"),
    [
        (ServerSettings(), False),
        (ServerSettings(host="0.0.0.0"), True),
        (ServerSettings(listen=("0.0.0.0:8501",)), True),
        (ServerSettings(listen=("127.0.0.1:8501", "[::1]:8500")), False),
        (ServerSettings(listen=(":8501",)), True),
        (ServerSettings(host="0.0.0.0", auth="open"), False),
        (ServerSettings(auth="required"), True),
    ],
)
def test_a_key_is_needed_off_loopback_unless_said(server: ServerSettings, needed: bool) -> None:
    assert needs_key(server) is needed


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:8080"),
        ("", "http://127.0.0.1:8080"),
        ("::", "http://[::1]:8080"),
        ("[::]", "http://[::1]:8080"),
        ("10.0.0.7", "http://10.0.0.7:8080"),
        ("fd00::7", "http://[fd00::7]:8080"),
    ],
)
def test_this_machine_reaches_every_listener_under_one_url(host: str, url: str) -> None:
    assert local_url(ServerSettings(host=host)) == url


def test_upstreams_are_networks_and_keys(tmp_path: Path) -> None:
    environ = {
        "MAAS_HOME": str(tmp_path),
        "MAAS_UPSTREAM_NETWORKS": "10.0.0.0/8,::1/128",
        "MAAS_UPSTREAM_KEYS": "https://models.example:443=MODELS_KEY",
        "MAAS_UPSTREAM_CALL_S": "5",
    }
    upstream = load_settings({}, environ).upstream
    assert upstream.networks == ("10.0.0.0/8", "::1/128")
    assert upstream.keys == ("https://models.example:443=MODELS_KEY",)
    assert upstream.call_s == 5
    assert load_settings({}, {"MAAS_HOME": str(tmp_path)}).upstream.networks == ()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("NETWORKS", "10.0.0.1/8", "expected a network such as"),
        ("NETWORKS", "everything", "expected a network such as"),
        ("KEYS", "sk-secret", "expected one such as"),
        ("KEYS", "https://models.example=KEY", "expected one such as"),
        ("KEYS", "https://models.example:443=", "expected one such as"),
        ("CALL_S", "0", "above 0"),
        ("CALLS", "-1", "above 0"),
    ],
)
def test_upstreams_that_are_refused(tmp_path: Path, name: str, value: str, said: str) -> None:
    environ = {"MAAS_HOME": str(tmp_path), f"MAAS_UPSTREAM_{name}": value}
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings({}, environ)
    assert "secret" not in str(caught.value)
