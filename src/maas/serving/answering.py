"""A call of a language model, from the ingress: find its host, pass on what it writes.

A call whose host dies before anything of the answer has been passed on is made once more on its
successor; after that it fails, since what was passed on cannot be taken back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Protocol

from maas.core.errors import ErrorKind, MaasError
from maas.core.generation import Delta
from maas.core.identity import ServableId
from maas.core.messages import GenerateCall, InferCall
from maas.serving.replica import HasGone, HostReplica
from maas.serving.streams import ReplicaLostError
from maas.settings import GenerationSettings

ASK_S = 0.1
"""After how long a caller that waits is looked for first; then ever more rarely."""
LONGEST_ASK_S = 0.5
"""A look costs some 50 µs. A stream's client is missed by its next send, whatever this says."""
AGAIN_S = 0.02
RETRY_AFTER_S = 1.0
"""For callers whose answer was cut short."""


class Hosts(Protocol):
    """What is needed of the router."""

    async def find(self, call: InferCall | GenerateCall) -> HostReplica:
        """The host of a version, once there is one."""
        ...

    def forget(self, servable: ServableId) -> None:
        """The host that was found is none: look anew."""
        ...

    def deadly(self, call: InferCall | GenerateCall) -> MaasError:
        """The error of a call under which its host died twice."""
        ...

    def hangs(self, replica: HostReplica, servable: ServableId) -> None:
        """A host does not answer."""
        ...


async def answer(
    hosts: Hosts, call: GenerateCall, settings: GenerationSettings, has_gone: HasGone | None
) -> AsyncGenerator[Delta]:
    """Passes on what a language model writes. Close it to cancel the call.

    Args:
        hosts: the router.
        call: what is asked; its deadline is that of the first delta.
        settings: how long an answer may take to go on.
        has_gone: says whether a caller has; None where that cannot be known.

    Raises:
        MaasError: DEADLINE_EXCEEDED, CANCELLED, UNAVAILABLE, or the model's own.
    """
    died: set[str] = set()
    caller = _Caller(has_gone, call.context.caller)
    while True:
        replica = await hosts.find(call)
        stream = replica.generate(call)
        begun = False
        deadline = call.context.deadline
        try:
            while True:
                delta = stream.ready()
                if delta is not None:
                    begun = True
                    yield delta
                    if delta.usage is not None:
                        return
                    deadline = time.monotonic() + settings.token_s
                elif not await stream.wait(ASK_S) and time.monotonic() >= deadline:
                    if replica.streams.heard < deadline - settings.token_s:
                        hosts.hangs(replica, call.servable)
                    raise _late(call, begun)
                caller.look(time.monotonic())
        except ReplicaLostError:
            hosts.forget(call.servable)
            if begun:
                raise MaasError(
                    ErrorKind.UNAVAILABLE,
                    f"the process of {call.servable} ended while it wrote this answer; ask again",
                    retry_after_s=RETRY_AFTER_S,
                ) from None
            if not replica.connected:
                died.add(replica.life)
            if len(died) > 1:
                raise hosts.deadly(call) from None
            # Either the host is gone or it lacks the version: the plan is about to change.
            await asyncio.sleep(AGAIN_S)
        finally:
            stream.close()


class _Caller:
    """Whether the caller of one call is still there, looked for now and then."""

    __slots__ = ("_asked", "_asking", "_caller", "_every_s", "_has_gone")

    def __init__(self, has_gone: HasGone | None, caller: object):
        self._has_gone = has_gone if caller is not None else None
        self._caller = caller
        self._asking: asyncio.Future[bool] | None = None
        self._asked = time.monotonic()
        self._every_s = ASK_S

    def look(self, now: float) -> None:
        """Asks, where the last time was a while ago, and hears what has been answered.

        Raises:
            MaasError: CANCELLED where the caller has gone.
        """
        if self._has_gone is None or now - self._asked < self._every_s:
            return
        self._asked = now
        self._every_s = min(2 * self._every_s, LONGEST_ASK_S)
        if self._asking is not None and self._asking.done():
            if not self._asking.cancelled() and self._asking.result():
                raise MaasError(ErrorKind.CANCELLED, "the client went away")
            self._asking = None
        if self._asking is None:
            self._asking = asyncio.ensure_future(self._has_gone(self._caller))


def _late(call: GenerateCall, begun: bool) -> MaasError:
    what = "did not go on in time" if begun else "did not begin its answer before the deadline"
    return MaasError(ErrorKind.DEADLINE_EXCEEDED, f"{call.servable} {what}")
