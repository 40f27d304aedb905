"""What both clients do with the arguments of `publish` and `patch`, and with a job's end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from maas.client.errors import job_error
from maas.client.upload import Upload, upload_step
from maas.core.errors import ErrorKind, MaasError
from maas.core.records import (
    Operation,
    OperationEvent,
    PublishOptions,
    VersionPatch,
    VersionRecord,
)

STEP_BYTES = 16 << 20
"""Bytes between two progress events of an upload."""


def publish_options(
    alias: str | Sequence[str],
    description: str,
    accuracy: float | None,
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str] | None,
    promote: bool,
    trust: bool = False,
    engine: str = "",
    quantize: str = "",
    context_tokens: int = 0,
    served_names: str | Sequence[str] = (),
    drop_params: bool = False,
) -> PublishOptions:
    """Gathers what a publisher says about a version."""
    return PublishOptions(
        alias=_texts(alias),
        description=description,
        accuracy=None if accuracy is None else float(accuracy),
        metrics={key: float(value) for key, value in (metrics or {}).items()},
        tags=dict(tags or {}),
        promote=promote,
        trust=trust,
        engine=engine,
        quantize=quantize,
        context_tokens=context_tokens,
        served_names=_texts(served_names),
        drop_params=drop_params,
    )


def code_paths(
    code: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
) -> tuple[str | os.PathLike[str], ...]:
    """The files and folders given as `code`, be it one or several."""
    return (code,) if isinstance(code, (str, os.PathLike)) else tuple(code)


def version_patch(
    description: str | None,
    accuracy: float | None,
    metrics: Mapping[str, float] | None,
    tags: Mapping[str, str] | None,
) -> VersionPatch:
    """Gathers what changes about a version; None leaves a field as it is."""
    return VersionPatch(
        description=description,
        accuracy=None if accuracy is None else float(accuracy),
        metrics=None if metrics is None else {key: float(v) for key, v in metrics.items()},
        tags=None if tags is None else dict(tags),
    )


def published(operation: Operation) -> VersionRecord:
    """The version that a job ended in.

    Raises:
        ApiError: the job failed; the server's kind and sentence.
    """
    if operation.error is not None:
        raise job_error(operation.error)
    if operation.version is None:
        raise MaasError(ErrorKind.INTERNAL, f"the publish job ended {operation.state} without one")
    return operation.version


class UploadMeter:
    """Says when the next progress event of an upload is due."""

    def __init__(self, upload: Upload) -> None:
        self._size = upload.size
        self._sent = 0
        self._told = 0

    def add(self, count: int) -> OperationEvent | None:
        """Counts bytes handed to the connection; returns the event that is due, if one is."""
        self._sent += count
        if self._sent - self._told < STEP_BYTES and self._sent < self._size:
            return None
        if self._told == self._size:
            return None
        self._told = self._sent
        return upload_step(self._sent, self._size)


def _texts(one_or_several: str | Sequence[str]) -> tuple[str, ...]:
    return (one_or_several,) if isinstance(one_or_several, str) else tuple(one_or_several)


def silent(_event: OperationEvent) -> None:
    """Reports progress to nobody."""
