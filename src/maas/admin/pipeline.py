"""The publish pipeline as publish jobs call it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path

from maas.admin.jobs import Emit
from maas.admin.uploads import Received
from maas.core.ports import Runtime
from maas.core.records import PublishOptions, VersionRecord
from maas.publish.pipeline import publish
from maas.publish.uploads import Upload
from maas.registry import Registry
from maas.settings import PublishSettings


class Pipeline:
    """Binds the pipeline to this server's registry, runtimes and limits.

    Args:
        registry: the catalogue.
        runtimes: what can load a version, by name.
        settings: bounds of a publish.
    """

    def __init__(
        self, registry: Registry, runtimes: Mapping[str, Runtime], settings: PublishSettings
    ):
        self._registry = registry
        self._runtimes = runtimes
        self._settings = settings
        self._lock = threading.Lock()
        self._names: dict[str, threading.Lock] = {}

    def __call__(
        self,
        name: str,
        received: Received,
        incoming: Path,
        options: PublishOptions,
        created_by: str,
        emit: Emit,
        /,
    ) -> tuple[VersionRecord, bool]:
        """Publishes what was received.

        Raises:
            MaasError: why it cannot be published.
        """
        upload = Upload(received.path, received.filename, received.sample, incoming, received.code)
        with self._lock:
            one_at_a_time = self._names.setdefault(name, threading.Lock())
        # The same bytes sent twice at once are one version: the second publish finds the first's.
        with one_at_a_time:
            return publish(
                self._registry,
                self._runtimes,
                name,
                upload,
                options,
                self._settings,
                created_by,
                emit,
            )
