"""The owner's key: given by a setting or a file, else made once at the first start."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from maas.access.keys import new_key
from maas.settings import KeySettings, SettingsError

FILE_NAME = "owner.key"
"""The file in the data folder where the CLI on the same machine finds the owner's key."""

MIN_LENGTH = 16
"""A shorter key of one's own could be guessed over the network."""


def owner_key(home: Path, keys: KeySettings) -> tuple[str, bool]:
    """Returns the owner's key: the setting, else the file named there, else `home/owner.key`.

    The last is made, readable by its owner alone, if it is not there. It appears whole or not at
    all, and of two processes that start at once both get the same key.

    Args:
        home: the data folder; made if missing.
        keys: the slice of the settings.

    Returns:
        The key, and whether it was made now.

    Raises:
        SettingsError: a file that cannot be read or that others can read, or a key that is too
            short or cannot stand in a header.
    """
    if keys.owner:
        return _check(keys.owner, "keys.owner (MAAS_OWNER_KEY)"), False
    if keys.owner_file:
        path = Path(keys.owner_file).expanduser()
        return _check(_read(path), f"the key in {path}"), False
    path = home / FILE_NAME
    if not path.exists():
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = new_key()
        if _create(path, key):
            return key, True
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise SettingsError(f"{path} can be read by other users; run: chmod 600 {path}")
    return _check(_read(path), f"the key in {path}"), False


def _create(path: Path, key: str) -> bool:
    """Writes a key where there is none; False if another process was first."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{new_key()[-8:]}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(key + "\n")
            file.flush()
            os.fsync(descriptor)
        # A link, unlike a rename, does not replace what another process has put there.
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the owner's key cannot be read from {path}: {error}") from None


def _check(key: str, what: str) -> str:
    if len(key) < MIN_LENGTH or not all("!" <= character <= "~" for character in key):
        raise SettingsError(
            f"{what} cannot be used; expected at least {MIN_LENGTH} printable ASCII characters "
            "without spaces"
        )
    return key
