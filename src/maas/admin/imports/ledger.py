"""What was imported from where: a file beside the database, so that a restart reads nothing twice.

    home/imports.json: {origin: {model: {versions: {number: Known}, promoted, labels}}}

Losing it costs reading every folder once more: versions are recognised by their content.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.admin.imports.steps import Known
from maas.serving.plan import replace_file

log = logging.getLogger("maas.imports")

FILE_NAME = "imports.json"


class ModelLedger(Struct, frozen=True):
    """One model's.

    Args:
        versions: what came of its folders.
        promoted: where unversioned calls were sent last from here.
        labels: aliases set from here.
    """

    versions: dict[int, Known] = {}
    promoted: int | None = None
    labels: dict[str, int] = {}


_FILE = dict[str, dict[str, ModelLedger]]
"""The whole file: by origin, then by model."""


class Ledger:
    """The file, of one origin at a time. Not thread-safe.

    Args:
        home: the data folder.
        origin: which folder or file is watched; what came from others is kept and left alone.
    """

    def __init__(self, home: Path, origin: str):
        self._path = home / FILE_NAME
        self._origin = origin
        self._all: dict[str, dict[str, ModelLedger]] = {}
        try:
            self._all = msgspec.json.decode(self._path.read_bytes(), type=_FILE)
        except FileNotFoundError:
            pass
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            log.warning("%s cannot be read (%s); folders are looked at anew", FILE_NAME, error)

    def models(self) -> dict[str, ModelLedger]:
        """What was imported from this origin, by name."""
        return dict(self._all.get(self._origin, {}))

    def write(self, models: dict[str, ModelLedger]) -> None:
        """Replaces what is known of this origin.

        Raises:
            OSError: the file cannot be written; the old one stays.
        """
        self._all[self._origin] = {name: _kept(model) for name, model in models.items()}
        replace_file(self._path, msgspec.json.encode(self._all))


def _kept(model: ModelLedger) -> ModelLedger:
    """Without what was refused: after a restart it is tried again, perhaps with more installed."""
    stored = {number: known for number, known in model.versions.items() if known.stored}
    return msgspec.structs.replace(model, versions=stored)
