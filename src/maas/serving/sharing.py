"""An ingress's end of shared memory: which segments are out, and what is given back when."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from maas.serving.frames import (
    Header,
    IdleFrame,
    Place,
    ReleaseFrame,
    TensorMeta,
    encode_frame,
)
from maas.serving.segments import IDLE_S, Budget, Mappings, SegmentPool, share_tensors


class Sharing:
    """The segments of one connection to a host, in both directions. Lives on the event loop.

    Args:
        budget: what this process may hold for inputs.
        loop: where it lives.
    """

    def __init__(self, budget: Budget, loop: asyncio.AbstractEventLoop):
        self._pool = SegmentPool(budget)
        self._loop = loop
        self._transport: asyncio.WriteTransport | None = None
        self._tidying = False
        self.lent: dict[int, int] = {}
        """Segments by the frame whose inputs they hold: theirs until its reply, whoever waits."""

    def connect(self, transport: asyncio.WriteTransport) -> None:
        """The host is there."""
        self._transport = transport
        self._mappings = Mappings(transport.get_extra_info("socket"))

    def disconnect(self) -> None:
        """The host is gone: what it had of ours is nobody's, what we have of its stays readable."""
        self._transport = None
        self._pool.abandon()

    def put(
        self, frame_id: int, tensors: Mapping[str, Sequence[np.ndarray]]
    ) -> tuple[tuple[TensorMeta, ...], Place] | None:
        """Puts a frame's inputs into shared memory.

        Args:
            frame_id: the frame's.
            tensors: each in parts, which are joined along the first axis.

        Returns:
            What the frame's header says of them; None where there is no such memory (left).
        """
        shared = share_tensors(tensors, self._pool)
        gone = self._pool.gone()
        if gone:
            self._write(IdleFrame(gone))
        if shared is not None:
            self.lent[frame_id] = shared[1].segment
            self._tidy_later()
        return shared

    def take_back(self, frame_id: int) -> None:
        """The host has read the inputs of that frame, if they were in shared memory."""
        number = self.lent.pop(frame_id, None)
        if number is not None:
            self._pool.give(number)

    def refuse(self, frame_id: int) -> None:
        """The host cannot reach our memory: nothing is put there any more."""
        self._pool.close()
        self.take_back(frame_id)

    def outputs(self, place: Place) -> memoryview | None:
        """The bytes at a place of the host's; None where they cannot be reached.

        The host gets the segment back when the last array that shares them is gone.
        """
        try:
            found = self._mappings.bytes_of(place)
        except (OSError, ValueError):
            self._write(ReleaseFrame(place.segment, seen=False))
            return None
        self._tidy_later()
        # Called on whichever thread lets go of it: a large answer is encoded on one of its own.
        release = weakref.finalize(found, _call_on, self._loop, self._release, place.segment)
        release.atexit = False
        return found.data

    def drop(self, segments: Sequence[int]) -> None:
        """Those segments of the host's are no more."""
        self._mappings.drop(segments)

    def _release(self, segment: int) -> None:
        self._write(ReleaseFrame(segment, seen=True))

    def _tidy_later(self) -> None:
        if not self._tidying:
            self._tidying = True
            self._loop.call_later(IDLE_S, self._tidy)

    def _tidy(self) -> None:
        """Gives back what nobody has wanted for a while, and has the host do so, too."""
        self._pool.trim()
        self._write(IdleFrame(self._pool.gone()))
        self._tidying = False
        if self._transport is not None and (len(self._pool) or len(self._mappings)):
            self._tidy_later()

    def _write(self, header: Header) -> None:
        if self._transport is not None:
            self._transport.write(encode_frame(header))


def _call_on(loop: asyncio.AbstractEventLoop, work: Callable[[int], None], argument: int) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(work, argument)
