from __future__ import annotations

from pathlib import Path

import pytest

from maas.client.address import find_address, is_loopback
from maas.core.errors import ErrorKind, MaasError


def test_the_argument_comes_before_the_environment() -> None:
    environ = {"MAAS_URL": "http://a:1", "MAAS_API_KEY": "b"}
    found = find_address("https://c:2/", "d", environ)
    assert (found.url, found.key, found.loopback) == ("https://c:2", "d", False)


def test_the_environment_comes_before_the_default() -> None:
    found = find_address(None, None, {"MAAS_URL": "http://a:1/base/", "MAAS_API_KEY": "b"})
    assert (found.url, found.key) == ("http://a:1/base", "b")


def test_the_default_is_this_machine_with_the_port_of_the_settings(tmp_path: Path) -> None:
    environ = {"MAAS_PORT": "9000", "MAAS_HOME": str(tmp_path)}
    found = find_address(None, None, environ)
    assert (found.url, found.key, found.loopback) == ("http://127.0.0.1:9000", "", True)
    assert find_address(None, None, {"MAAS_HOME": str(tmp_path)}).url == "http://127.0.0.1:8080"


@pytest.mark.parametrize("variable", ["MAAS_HOME", "XDG_DATA_HOME"])
def test_the_local_owners_key_is_read_for_loopback_alone(tmp_path: Path, variable: str) -> None:
    folder = tmp_path if variable == "MAAS_HOME" else tmp_path / "maas"
    folder.mkdir(exist_ok=True)
    (folder / "owner.key").write_text("maas_secret\n")
    environ = {variable: str(tmp_path)}
    assert find_address("http://localhost:1", None, environ).key == "maas_secret"
    assert find_address("http://[::1]:1", None, environ).key == "maas_secret"
    assert find_address("http://10.0.0.1:1", None, environ).key == ""
    # A name that merely begins like the address is somebody else's machine.
    assert find_address("http://127.0.0.1.evil.example:1", None, environ).key == ""
    assert find_address("http://127.evil.example:1", None, environ).key == ""
    assert find_address("http://localhost:1", "", environ).key == ""


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("128.0.0.1", False), ("127.0.0.x", False)],
)
def test_loopback(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://a:b", "http://a/?x=1", "http://[::"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(MaasError, match="not a server's URL") as caught:
        find_address(url, None, {})
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


@pytest.mark.parametrize("key", ["two words", "clé", "a\nX-Evil: 1"])
def test_a_key_that_cannot_stand_in_a_header_is_refused(key: str) -> None:
    with pytest.raises(MaasError, match="key") as caught:
        find_address("http://a", key, {})
    assert key not in caught.value.message
