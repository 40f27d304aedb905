"""What a publisher hands over, and what may be said about a version."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.generation import QUANTIZATIONS
from maas.core.records import PublishOptions, Report, VersionPatch
from maas.core.signature import Signature
from maas.registry.names import alias_name
from maas.registry.served import check_served_name

MAX_DESCRIPTION = 10_000
"""Characters of a description."""
MAX_ENTRIES = 100
"""Tags, and metrics, of one version; aliases of one publish."""
MAX_TEXT = 256
"""Characters of a tag's name or value, or of a metric's name."""
MAX_CONTEXT = 1 << 24
"""Tokens of a context that can be asked for; no model has as many."""
MAX_NUMBER = 10**17
"""The largest number that a version can be given; those after it can still be written."""


class VersionDraft(Struct, frozen=True):
    """A version that is about to be committed.

    Args:
        name: the model's name.
        digest: `sha256:<hex>` of what was published.
        fingerprint: the digest and the options that matter, as publish writes them: the same
            fingerprint is the same publish again.
        entry: the file (or folder) within the artifact that the runtime opens, relative.
        format: one of the runtime's formats.
        signatures: by name.
        report: what publishing found, chose and proved.
        options: what the publisher said.
        created_by: the publisher's name.
    """

    name: str
    digest: str
    fingerprint: str
    entry: str
    format: str
    signatures: dict[str, Signature]
    report: Report
    options: PublishOptions
    created_by: str


def check_options(options: PublishOptions) -> None:
    """Checks what a publisher says about a version.

    Raises:
        MaasError: INVALID_ARGUMENT: a description above 10,000 characters, an accuracy outside
            0 to 1, a metric that is not finite, more than 100 tags, metrics or aliases, a name
            or tag that is empty or above 256 characters, something that is not an alias or not
            a served name, an unknown quantisation, or a version number or context out of range.
    """
    if options.version is not None and not 1 <= options.version <= MAX_NUMBER:
        raise invalid(f"version {options.version} is out of range; use 1 to {MAX_NUMBER}")
    _check(options.description, options.accuracy, options.metrics, options.tags)
    if len(options.alias) > MAX_ENTRIES:
        raise invalid(f"{len(options.alias)} aliases; at most {MAX_ENTRIES} can be set at once")
    for alias in options.alias:
        alias_name(alias)
    _check_language(options)


def _check_language(options: PublishOptions) -> None:
    if options.quantize and options.quantize not in QUANTIZATIONS:
        raise invalid(
            f"{options.quantize[:40]!r} is no quantisation; expected {', '.join(QUANTIZATIONS)}"
        )
    if not 0 <= options.context_tokens <= MAX_CONTEXT:
        raise invalid(
            f"a context of {options.context_tokens} tokens is out of range; expected up to "
            f"{MAX_CONTEXT}, or 0 for the model's own"
        )
    if len(options.served_names) > MAX_ENTRIES:
        raise invalid(
            f"{len(options.served_names)} served names; at most {MAX_ENTRIES} can be given"
        )
    for name in options.served_names:
        check_served_name(name)


def check_patch(patch: VersionPatch) -> None:
    """Checks a change to a version's description and figures.

    Raises:
        MaasError: INVALID_ARGUMENT, as `check_options`.
    """
    _check(patch.description or "", patch.accuracy, patch.metrics or {}, patch.tags or {})


def check_draft(draft: VersionDraft) -> None:
    """Checks that a draft, written as JSON, reads back as it is.

    JSON has no NaN: a report that held one could be stored and never be read again.

    Raises:
        MaasError: INTERNAL: these values are made by publishing, not said by a caller.
    """
    entry = PurePosixPath(draft.entry)
    if entry.is_absolute() or ".." in entry.parts:
        raise MaasError(
            ErrorKind.INTERNAL, "the published entry lies outside its folder; nothing was stored"
        )
    for what, value, type_ in (
        ("signature", draft.signatures, dict[str, Signature]),
        ("report", draft.report, Report),
    ):
        try:
            msgspec.json.decode(msgspec.json.encode(value), type=type_)
        except (msgspec.MsgspecError, UnicodeError) as error:
            raise MaasError(
                ErrorKind.INTERNAL,
                f"the {what} of {draft.name} holds a value that cannot be stored as JSON "
                f"({error}); nothing was stored",
            ) from error


def _check(
    description: str,
    accuracy: float | None,
    metrics: Mapping[str, float],
    tags: Mapping[str, str],
) -> None:
    _check_text(description, "the description")
    if len(description) > MAX_DESCRIPTION:
        raise invalid(
            f"the description has {len(description)} characters; at most {MAX_DESCRIPTION} fit"
        )
    if accuracy is not None and not 0.0 <= accuracy <= 1.0:
        raise invalid(f"accuracy is {accuracy}; expected a share from 0 to 1, such as 0.97")
    for what, entries in (("metric", metrics), ("tag", tags)):
        if len(entries) > MAX_ENTRIES:
            raise invalid(f"{len(entries)} {what}s; at most {MAX_ENTRIES} fit")
        for name in entries:
            _check_short(name, f"the name of a {what}")
            if not name:
                raise invalid(f"a {what} has an empty name; give it one")
    for name, value in metrics.items():
        if not math.isfinite(value):
            raise invalid(f"metric {name!r} is {value}; expected a finite number")
    for name, text in tags.items():
        _check_short(text, f"tag {name!r}")


def _check_short(text: str, what: str) -> None:
    _check_text(text, what)
    if len(text) > MAX_TEXT:
        raise invalid(f"{what} has {len(text)} characters; at most {MAX_TEXT} fit")


def _check_text(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise invalid(f"{what} holds half of a surrogate pair; send valid Unicode") from None
