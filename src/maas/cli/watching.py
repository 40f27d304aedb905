"""What `maas serve` is told to watch: checked before anything is started."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from maas.core.errors import MaasError, invalid
from maas.settings import ImportSettings, Settings

FLAGS = {
    "repository": "--model-repository",
    "base_path": "--model-base-path",
    "config_file": "--model-config-file",
}
LEAST_S = 0.05
"""The shortest interval; a folder that is watched more often keeps a core busy."""
MOST_S = 86_400.0


def check_watched(settings: Settings) -> Settings:
    """Checks which folder is watched, and makes its path absolute.

    A path is not resolved: a link that is pointed elsewhere later is followed there.

    Raises:
        MaasError: INVALID_ARGUMENT for flags that exclude or lack each other, and for what is
            not there, cannot be read, or is no such file.
    """
    imports = settings.imports
    given = {name: str(getattr(imports, name)) for name in FLAGS if getattr(imports, name)}
    if len(given) > 1:
        raise invalid(f"{' and '.join(FLAGS[name] for name in given)} exclude each other; use one")
    if bool(imports.base_path) != bool(imports.model_name):
        raise invalid(
            "--model-base-path and --model-name go together: "
            "maas serve --model-base-path /models/iris --model-name iris"
        )
    if imports.poll_s != 0 and not LEAST_S <= imports.poll_s <= MOST_S:
        raise invalid(
            f"--repository-poll-secs is {imports.poll_s:g}; use {LEAST_S:g} to {MOST_S:g}, or 0 to "
            "look once"
        )
    for name, text in given.items():
        path = Path(os.path.abspath(Path(text).expanduser()))  # noqa: PTH100  # links stay
        if name == "config_file":
            _check_config(path)
        else:
            _check_folder(FLAGS[name], path)
        imports = msgspec.structs.replace(imports, **{name: str(path)})
    _check_name(imports)
    return msgspec.structs.replace(settings, imports=imports)


def _check_folder(flag: str, path: Path) -> None:
    if not path.exists():
        raise invalid(f"{flag} {path}: there is no such folder")
    if not path.is_dir():
        raise invalid(f"{flag} {path} is a file; expected the folder that holds the models")
    if not os.access(path, os.R_OK | os.X_OK):
        raise invalid(f"{flag} {path} cannot be read by this user; give it the right to")


def _check_config(path: Path) -> None:
    from maas.admin.imports.modelsconfig import MAX_CONFIG_BYTES, read_models_config

    if path.is_dir():
        raise invalid(f"--model-config-file {path} is a folder; expected a models.config")
    try:
        with path.open("rb") as file:
            read_models_config(file.read(MAX_CONFIG_BYTES + 1), path.parent)
    except OSError as error:
        raise invalid(f"--model-config-file {path}: {error.strerror or error}") from None
    except MaasError as error:
        raise invalid(f"--model-config-file {path}: {error.message}") from None


def _check_name(imports: ImportSettings) -> None:
    from maas.core.identity import check_publish_name

    if imports.model_name:
        check_publish_name(imports.model_name)
