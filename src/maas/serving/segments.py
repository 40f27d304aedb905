"""Shared memory: how large tensors cross between an ingress and a host.

```
sender:   pool.take ─▶ tensors are written into the segment ─▶ its Place, in the frame's header
receiver:                          arrays that share its memory ◀─ Mappings.bytes_of
sender:   pool.give ◀─ the reply (inputs), or a ReleaseFrame (outputs)
```

**Copies of a tensor's bytes**, from the pieces of a request to the engine: into the body (1), into
the segment (2). From the engine to the answer: into the segment (1), into the body (2). Where a
frame holds the rows of several calls they are joined by that same copy: each is written to its
place in the segment. The host runs what came in a segment by itself, so nothing is joined there. A
worker in the sandbox is beyond this: its tensors are written to its socket from where they lie, and
read from it to where they stay, so that the kernel copies them twice more each way.

**Nothing is left behind and nothing is torn.** A segment is a memfd: it has no name, so it is gone
when the processes that hold it are, however they ended. It is sealed at its size, so that no reader
meets its end too early. The receiver opens it through `/proc/PID/fd`, the PID being the one that
the kernel names for the socket's other end: only the same user can. The sender writes to it again
only when its receiver has said that it is done with it, not when a caller has given up; where the
connection ends first, never.

Segments are used again: fresh pages and their return cost more than the copy. Those that nobody has
wanted for a while are given back (`IdleFrame`).
"""

from __future__ import annotations

import fcntl
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from math import prod

import numpy as np

from maas.core.tensor import DType
from maas.serving.frames import ALIGN, Place, TensorMeta, pack_bytes

SHARED_FROM = 64 << 10
"""Bytes of tensors from which a frame's are put into a segment."""
MOST_PACKED = 16 << 20
"""Bytes up to which the rows of several calls are put into one frame; one call may have more."""
SMALLEST = 128 << 10
MOST_SEGMENTS = 32
"""That one connection holds: each takes two file descriptors here and one at the other end."""
IDLE_S = 10.0
"""Seconds after which a segment that nobody wanted is given back."""


class Budget:
    """Bytes of shared memory that one process may hold for what it sends, over all connections."""

    def __init__(self, most_bytes: int):
        self._left = most_bytes
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """Whether there was still as much; then it is taken."""
        with self._lock:
            if size > self._left:
                return False
            self._left -= size
            return True

    def give(self, size: int) -> None:
        """Gives back."""
        with self._lock:
            self._left += size


class Segment:
    """A piece of shared memory, written by this process.

    Args:
        number: by which the other end knows it.
        size: bytes.

    Raises:
        OSError: there is no memory, no descriptor, or no such thing on this system.
    """

    __slots__ = ("descriptor", "freed", "memory", "number", "size")

    def __init__(self, number: int, size: int):
        if not hasattr(os, "memfd_create"):
            raise OSError(0, "this system has no memfd")
        self.number = number
        self.size = size
        self.freed = 0.0
        self.descriptor = os.memfd_create("maas", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.fchmod(self.descriptor, 0o600)
            os.ftruncate(self.descriptor, size)
            fcntl.fcntl(
                self.descriptor,
                fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
            )
            self.memory = mmap.mmap(self.descriptor, size)
        except BaseException:
            os.close(self.descriptor)
            raise

    def close(self) -> None:
        """Lets go of it. The memory goes with the last array that shares it, at either end."""
        os.close(self.descriptor)


class SegmentPool:
    """The segments of one connection, as their sender has them. Used from several threads.

    Args:
        budget: what all connections of this process may hold.
    """

    def __init__(self, budget: Budget):
        self._budget = budget
        self._lock = threading.Lock()
        self._free: dict[int, list[Segment]] = {}
        self._lent: dict[int, Segment] = {}
        self._gone: list[int] = []
        self._count = 0
        self._number = 0
        self._closed = False

    def __len__(self) -> int:
        """How many segments it holds."""
        return self._count

    def take(self, nbytes: int) -> Segment | None:
        """Lends a segment; it is to be given back.

        Args:
            nbytes: that it must hold.

        Returns:
            None where nothing may be shared: the budget is spent, or the pool is closed.
        """
        size = max(SMALLEST, 1 << (nbytes - 1).bit_length())
        with self._lock:
            if self._closed:
                return None
            free = self._free.get(size)
            segment = free.pop() if free else self._make(size)
            if segment is not None:
                self._lent[segment.number] = segment
            return segment

    def _make(self, size: int) -> Segment | None:
        while self._count >= MOST_SEGMENTS or not self._budget.take(size):
            # Room is made of what is free in other sizes, the longest unwanted first.
            oldest = min(
                (segment for free in self._free.values() for segment in free),
                key=lambda segment: segment.freed,
                default=None,
            )
            if oldest is None:
                return None
            self._discard(oldest)
        try:
            segment = Segment(self._number + 1, size)
        except OSError:
            self._budget.give(size)
            return None
        self._number += 1
        self._count += 1
        return segment

    def _discard(self, segment: Segment) -> None:
        self._free[segment.size].remove(segment)
        self._gone.append(segment.number)
        self._drop(segment)

    def _drop(self, segment: Segment) -> None:
        segment.close()
        self._count -= 1
        self._budget.give(segment.size)

    def give(self, number: int) -> None:
        """Takes a segment back: nobody reads it any more."""
        with self._lock:
            segment = self._lent.pop(number, None)
            if segment is None:
                return
            if self._closed:
                self._drop(segment)
                return
            segment.freed = time.monotonic()
            self._free.setdefault(segment.size, []).append(segment)

    def trim(self, idle_s: float = IDLE_S) -> None:
        """Lets go of what nobody has wanted for so long; `gone` names it."""
        before = time.monotonic() - idle_s
        with self._lock:
            for free in list(self._free.values()):
                for segment in [segment for segment in free if segment.freed <= before]:
                    self._discard(segment)

    def gone(self) -> tuple[int, ...]:
        """The numbers of segments that are no more, each said once: for an `IdleFrame`."""
        if not self._gone:
            return ()
        with self._lock:
            gone, self._gone = tuple(self._gone), []
        return gone

    def close(self) -> None:
        """Lets go of all that is free, and of what is lent as it comes back."""
        with self._lock:
            self._closed = True
            for free in list(self._free.values()):
                for segment in list(free):
                    self._discard(segment)

    def abandon(self) -> None:
        """Closes it, and lets go of what is lent, too: the other end is gone."""
        self.close()
        with self._lock:
            for segment in self._lent.values():
                self._drop(segment)
            self._lent.clear()


class Mappings:
    """The segments of the process at the other end of a connection. Read only, on one thread.

    Args:
        connection: a Unix socket, or what answers `getsockopt` as one does.
    """

    def __init__(self, connection: socket.socket):
        self._folder = f"/proc/{peer_pid(connection)}/fd"
        self._maps: dict[int, mmap.mmap] = {}

    def __len__(self) -> int:
        """How many segments are mapped."""
        return len(self._maps)

    def bytes_of(self, place: Place) -> np.ndarray:
        """The bytes there, uint8 [used]: shared, and readable as long as any array shares them.

        Raises:
            OSError: it cannot be reached from this process.
            ValueError: it is no segment, or not as large as is said.
        """
        memory = self._maps.get(place.segment)
        if memory is None:
            if len(self._maps) >= 2 * MOST_SEGMENTS:
                raise ValueError("the other end shares too many segments")
            memory = self._maps[place.segment] = self._map(place)
        if not 0 <= place.used <= len(memory):
            raise ValueError(f"{place.used} bytes in a segment of {len(memory)}")
        return np.frombuffer(memory, np.uint8, place.used)

    def _map(self, place: Place) -> mmap.mmap:
        path = f"{self._folder}/{place.descriptor:d}"
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            # Of anything but a memfd there are no seals to be had.
            seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
            if not seals & fcntl.F_SEAL_SHRINK or os.fstat(descriptor).st_size != place.size:
                raise ValueError(f"{place} is not what is there")
            return mmap.mmap(descriptor, place.size, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(descriptor)

    def drop(self, numbers: Iterable[int]) -> None:
        """Forgets segments that are no more."""
        for number in numbers:
            self._maps.pop(number, None)


def peer_pid(connection: socket.socket) -> int:
    """The process at the other end, as the kernel says; 0 where it does not."""
    if not hasattr(socket, "SO_PEERCRED"):
        return 0
    size = struct.calcsize("3i")
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid: int = struct.unpack("3i", found)[0]
    return pid


def share_tensors(
    tensors: Mapping[str, Sequence[np.ndarray]], pool: SegmentPool
) -> tuple[tuple[TensorMeta, ...], Place] | None:
    """Writes tensors into a segment: the one copy of their bytes that this crossing makes.

    Args:
        tensors: each in parts, which are joined along the first axis; one part may have none.
        pool: where the segment is taken from.

    Returns:
        What a frame's header says of them, or None where they have to travel in the frame.

    Raises:
        ValueError: for a dtype that frames cannot carry.
    """
    metas = []
    texts: dict[str, bytes] = {}
    used = 0
    for name, parts in tensors.items():
        first = parts[0]
        shape = first.shape
        if len(parts) > 1:
            shape = (sum(len(part) for part in parts), *shape[1:])
        dtype = DType.of(first.dtype)
        if dtype is DType.BYTES:
            texts[name] = b"".join(map(pack_bytes, parts))
            nbytes = len(texts[name])
        else:
            nbytes = prod(shape) * dtype.numpy.itemsize
        metas.append(TensorMeta(name, dtype, shape, nbytes))
        used += nbytes + -nbytes % ALIGN
    segment = pool.take(used)
    if segment is None:
        return None
    try:
        _write(metas, tensors, texts, segment)
    except BaseException:
        pool.give(segment.number)
        raise
    return tuple(metas), Place(segment.number, segment.descriptor, segment.size, used)


def _write(
    metas: Sequence[TensorMeta],
    tensors: Mapping[str, Sequence[np.ndarray]],
    texts: Mapping[str, bytes],
    segment: Segment,
) -> None:
    at = 0
    for meta in metas:
        if meta.dtype is DType.BYTES:
            segment.memory[at : at + meta.nbytes] = texts[meta.name]
        else:
            room = np.ndarray(meta.shape, meta.dtype.numpy, segment.memory, at)
            parts = tensors[meta.name]
            if len(parts) > 1:
                np.concatenate(parts, out=room)
            else:
                np.copyto(room, parts[0])
        at += meta.nbytes + -meta.nbytes % ALIGN
