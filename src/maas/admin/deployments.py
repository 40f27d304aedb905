"""The port to what is loaded: what the operations here ask of the manager.

The registry says what should be; an implementation of `Deployments` says what is, and can be
waited for. Everything runs on control's event loop; only `registry_changed` may be called from
other threads too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

from msgspec import Struct

from maas.core.identity import ServableId
from maas.core.records import ProcessRecord, ServerInfo
from maas.core.states import ServableState
from maas.telemetry.logfiles import LogLine


class LiveStatus(Struct, frozen=True):
    """How one version stands now.

    Args:
        state: where it is.
        reason: why it is not loaded, or empty.
        process: the id of the host that holds it, or empty.
    """

    state: ServableState = ServableState.END
    reason: str = ""
    process: str = ""


class Deployments(Protocol):
    """What is loaded, by whom, and how to wait until that follows the registry."""

    def serving(self, name: str) -> int | None:
        """The version that unversioned calls of a model reach now, if any."""
        ...

    def status(self, servable: ServableId) -> LiveStatus:
        """How a version stands; END without a reason for one that nobody wants."""
        ...

    def registry_changed(self) -> None:
        """Says that the registry has changed. Thread-safe; returns at once."""
        ...

    def retry(self, name: str) -> None:
        """Lets the versions of a model that failed to load be tried again."""
        ...

    async def settled(self, servable: ServableId, timeout_s: float) -> None:
        """Waits until a version is AVAILABLE and every ingress has acknowledged it.

        Raises:
            MaasError: with the reason, if it fails to load; DEADLINE_EXCEEDED after `timeout_s`.
        """
        ...

    async def switched(self, name: str, version: int, timeout_s: float) -> None:
        """Waits until unversioned calls reach that version at every ingress.

        Raises:
            MaasError: with the reason, if it fails to load; DEADLINE_EXCEEDED after `timeout_s`.
        """
        ...

    async def applied(self, timeout_s: float) -> None:
        """Waits until every ingress has acknowledged the registry as it is at this call.

        A version that is not loaded yet is not waited for: `settled` and `switched` do that.

        Raises:
            MaasError: DEADLINE_EXCEEDED after `timeout_s`.
        """
        ...

    async def gone(self, servables: Sequence[ServableId], timeout_s: float) -> None:
        """Waits until versions that were deleted are unloaded and their files in no one's hands.

        Raises:
            MaasError: DEADLINE_EXCEEDED after `timeout_s`.
        """
        ...

    async def keys_changed(self) -> None:
        """Makes the registry's keys the valid ones; returns when all have acknowledged them.

        That is every ingress, and the control API's own authenticator.
        """
        ...

    def processes(self) -> tuple[ProcessRecord, ...]:
        """The server's processes."""
        ...

    def logs(self, model: str | None, lines: int) -> Sequence[LogLine]:
        """The last lines of a model's log, or of everything's, oldest first."""
        ...

    def follow_logs(self, model: str | None) -> AsyncIterator[LogLine]:
        """Lines written after this call, as they come; ends when it is closed."""
        ...

    def info(self) -> ServerInfo:
        """What runs, and how to reach it."""
        ...
