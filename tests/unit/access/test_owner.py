from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from maas.access import owner_key
from maas.access.owner import FILE_NAME
from maas.settings import KeySettings, SettingsError

KEY = "an-owners-own-key"


def test_the_setting_comes_first_and_nothing_is_written(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("another-key-of-the-owner")
    assert owner_key(tmp_path / "home", KeySettings(KEY, str(file))) == (KEY, False)
    assert not (tmp_path / "home").exists()


def test_then_the_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text(f"  {KEY}\n")
    assert owner_key(tmp_path, KeySettings(owner_file=str(file))) == (KEY, False)


def test_else_one_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    home = tmp_path / "a" / "home"
    key, made = owner_key(home, KeySettings())
    assert made
    assert key.startswith("maas_")
    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert owner_key(home, KeySettings()) == (key, False)
    assert [path.name for path in home.iterdir()] == [FILE_NAME]


def test_processes_that_start_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: owner_key(tmp_path, KeySettings()), range(64)))
    assert len({key for key, _ in found}) == 1
    assert sum(made for _, made in found) == 1
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    owner_key(tmp_path, KeySettings())
    (tmp_path / FILE_NAME).chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        owner_key(tmp_path, KeySettings())


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="nowhere"):
        owner_key(tmp_path, KeySettings(owner_file=str(tmp_path / "nowhere")))


@pytest.mark.parametrize("key", ["short", "with a space in the middle", "ключ-владельца-сервера"])
def test_a_key_that_cannot_be_one_is_refused(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="16 printable"):
        owner_key(tmp_path, KeySettings(key))


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe\x00"])
def test_a_damaged_file_is_refused_not_replaced(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / FILE_NAME
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(SettingsError):
        owner_key(tmp_path, KeySettings())
    assert file.read_bytes() == content
