"""Names of models and versions, and what people may write for them."""

from __future__ import annotations

import re
import unicodedata

from msgspec import Struct

from maas.core.errors import invalid

MAX_NAME = 128
_NAME = re.compile(r"[^\W_][\w.\-]{0,127}", re.UNICODE)
_DIGITS = re.compile(r"[0-9]{1,18}")

RESERVED_NAMES = frozenset(
    [
        "api",
        "v1",
        "v2",
        "docs",
        "console",
        "metrics",
        "livez",
        "readyz",
        "healthz",
        "health",
        "ping",
        "version",
        "invocations",
        "predictions",
        "predict",
        "classify",
        "models",
        "static",
        "favicon.ico",
        "robots.txt",
    ]
)
"""First path segments that are routes; a model of such a name could not be called."""


class ServableId(Struct, frozen=True, order=True):
    """One version of one model: what is loaded, unloaded and called."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}:{self.version}"


class ModelRef(Struct, frozen=True):
    """What a caller names: a model, one of its versions, or one of its aliases.

    Args:
        name: the model's name.
        version: a version number, or None.
        alias: an alias (TensorFlow Serving's label), or None. Never both.
    """

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.version is not None:
            return f"{self.name}:{self.version}"
        return self.name if self.alias is None else f"{self.name}@{self.alias}"


def check_name(name: str, what: str = "model name") -> str:
    """Returns the name, in Unicode NFC, if it may be one: as it is stored and compared.

    Raises:
        MaasError: INVALID_ARGUMENT: 1 to 128 letters, digits, `.`, `_`, `-`, beginning with a
            letter or digit, in any script.
    """
    if not name.isascii():
        name = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(name) and not _is_name(name):
        article = "an" if what[0] in "aeiou" else "a"
        raise invalid(
            f"{name[:40]!r} is not {article} {what}: use 1 to {MAX_NAME} letters, digits, '.', "
            "'_' or '-', beginning with a letter or a digit"
        )
    return name


def _is_name(name: str) -> bool:
    r"""The rule once more for scripts whose vowels are marks, which `\w` leaves out."""
    return (
        0 < len(name) <= MAX_NAME
        and name[0].isalnum()
        and all(
            one.isalnum() or one in "._-" or unicodedata.category(one) in ("Mn", "Mc")
            for one in name
        )
    )


def check_publish_name(name: str) -> str:
    """Returns the name if a model may be published under it: `check_name` and not a route.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    name = check_name(name)
    if name in RESERVED_NAMES:
        raise invalid(f"{name!r} is a route of this server; choose another model name")
    return name


def parse_version(text: str) -> int:
    """Reads a version number, digits only.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if not _DIGITS.fullmatch(text):
        raise invalid(f"{text[:40]!r} is not a version; expected digits only, such as 3")
    return int(text)


def parse_ref(text: str) -> ModelRef:
    """Reads `name`, `name:3` or `name@prod`.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if "@" in text:
        name, _, alias = text.partition("@")
        return ModelRef(check_name(name), alias=check_name(alias, "alias"))
    if ":" in text:
        name, _, digits = text.rpartition(":")
        return ModelRef(check_name(name), version=parse_version(digits))
    return ModelRef(check_name(text))
