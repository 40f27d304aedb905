"""The port to where host processes live."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct


class HostSpec(Struct, frozen=True):
    """A host to run: its id and which start of it this is."""

    id: str
    incarnation: int


class Fleet(Protocol):
    """Starts and stops hosts. Exits are reported to the callback given at its making."""

    async def start(self, host: HostSpec) -> None:
        """Starts a host process; returns before it is ready."""
        ...

    async def stop(self, host_id: str) -> None:
        """Asks a host to end; its exit is reported as asked for."""
        ...

    async def kill(self, host_id: str) -> None:
        """Ends a host that hangs, at once; its exit counts as a crash."""
        ...
