"""Reads the YAML of MLflow's folders: plain values only, bounded in size, depth and aliases."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.runtimes.wording import one_sentence

MOST_BYTES = 4 << 20
"""A signature of ten thousand columns has some 600 kB."""
MOST_ALIASES = 16
"""With these few, no nest of aliases unfolds to more than some four hundred times its text."""
MOST_NODES = 200_000


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # has no stubs
    """Makes dictionaries, lists, texts and numbers, and nothing else.

    Written in Python, as the C one runs out of its stack where this one raises.
    """

    def __init__(self, text: str):
        super().__init__(text)
        self._aliases = 0
        self._nodes = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Composes a node, and counts it.

        Raises:
            ConstructorError: there are too many.
        """
        self._nodes += 1
        self._aliases += self.check_event(yaml.AliasEvent)
        if self._aliases > MOST_ALIASES or self._nodes > MOST_NODES:
            raise yaml.constructor.ConstructorError(None, None, "it has too many values or aliases")
        return super().compose_node(parent, index)


def read_text(file: Path) -> str:
    """Reads a text file of a published folder.

    Raises:
        MaasError: INVALID_ARGUMENT where it is no text, TOO_LARGE.
    """
    try:
        with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
            data = stream.read(MOST_BYTES + 1)
    except OSError as error:
        raise invalid(f"{file.name} cannot be read ({error.strerror}); expected a file") from error
    if len(data) > MOST_BYTES:
        raise MaasError(ErrorKind.TOO_LARGE, f"{file.name} is larger than 4 MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise invalid(f"{file.name} is not UTF-8 text; save the model again") from None


def read_yaml(file: Path) -> dict[str, Any]:
    """Reads a YAML file whose outermost value is a mapping.

    Raises:
        MaasError: INVALID_ARGUMENT with the line, TOO_LARGE.
    """
    try:
        loader = _Loader(read_text(file))
        try:
            found: object = loader.get_single_data()
        finally:
            loader.dispose()
    # LookupError and AttributeError are how PyYAML meets `!!bool x`, `!!int ""`, `!!timestamp x`.
    except (
        yaml.YAMLError,
        ValueError,
        RecursionError,
        OverflowError,
        LookupError,
        AttributeError,
    ) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise invalid(
            f"{file.name} cannot be read as YAML ({one_sentence(why, 160)}); save the model again"
        ) from error
    if not isinstance(found, dict):
        raise invalid(f"{file.name} holds no mapping; expected what MLflow writes")
    return {str(key): value for key, value in found.items()}
