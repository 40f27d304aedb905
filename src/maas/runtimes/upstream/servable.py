"""A loaded upstream: calls are passed on, in pieces that the other server takes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from maas.core.errors import ErrorKind, MaasError
from maas.core.signature import Signature
from maas.core.tensor import Tensors

if TYPE_CHECKING:
    from maas.runtimes.upstream.runtime import Upstream

log = logging.getLogger("maas.upstream")

PAUSE_S = 0.5
"""How long an upstream is left alone that is down, slow or overloaded: calls that had been batched
would otherwise be tried one by one, each with a wait of its own."""
TIRED = frozenset(
    {ErrorKind.UNAVAILABLE, ErrorKind.DEADLINE_EXCEEDED, ErrorKind.RESOURCE_EXHAUSTED}
)


class UpstreamServable:
    """One model of another server.

    It may be called from `concurrency` threads at once, and is loaded whether the other server
    answers or not: calls say UNAVAILABLE until it does.

    Args:
        upstream: its client.
        signatures: as published.
        rows: most rows of a call there; 0 for any number.
        concurrency: calls that may be under way at once.
        clock: monotonic seconds.
        url: its own, for the log: callers are not told where it is.
    """

    remote = True
    """The work is done elsewhere: it is loaded without being called."""

    def __init__(
        self,
        upstream: Upstream,
        signatures: Mapping[str, Signature],
        rows: int = 0,
        concurrency: int = 1,
        clock: Callable[[], float] = time.monotonic,
        url: str = "",
    ):
        self._upstream = upstream
        self._signatures = dict(signatures)
        self._rows = rows
        self._clock = clock
        self._url = url
        self._tired: tuple[float, MaasError] | None = None
        self.concurrency = concurrency

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Asks for one call's or one batch's answer.

        Raises:
            MaasError: INVALID_ARGUMENT where the upstream refuses the values, UNAVAILABLE where it
                cannot be reached, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED; INTERNAL for an answer
                that is not what the signature says.
        """
        tired = self._tired
        if tired is not None and self._clock() < tired[0]:
            raise MaasError(tired[1].kind, tired[1].message)
        called = self._signatures[signature]
        try:
            answer = self._in_pieces(called, inputs)
        except MaasError as error:
            if error.kind is ErrorKind.FAILED_PRECONDITION:
                # Nothing about the call: the upstream has moved to where it may not be called.
                error = MaasError(ErrorKind.UNAVAILABLE, error.message)
            if error.kind in TIRED:
                if tired is None:
                    log.warning("calls to %s fail: %s", self._url, error.message)
                self._tired = (self._clock() + PAUSE_S, error)
            raise error
        if tired is not None:
            log.info("calls to %s are answered again", self._url)
        self._tired = None
        return answer

    def close(self) -> None:
        """Closes the connections."""
        self._upstream.close()

    def _in_pieces(self, signature: Signature, inputs: Tensors) -> Tensors:
        """Calls with no more rows than the other server takes."""
        count = len(inputs[signature.inputs[0].name]) if signature.batched else 0
        if not self._rows or count <= self._rows:
            return self._upstream.infer(signature, inputs)
        parts = [
            self._upstream.infer(
                signature,
                {name: array[at : at + self._rows] for name, array in inputs.items()},
            )
            for at in range(0, count, self._rows)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
