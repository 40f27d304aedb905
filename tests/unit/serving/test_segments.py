from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maas.core.tensor import DType
from maas.serving.frames import Place, unpack_tensors
from maas.serving.segments import (
    MOST_SEGMENTS,
    SMALLEST,
    Budget,
    Mappings,
    SegmentPool,
    peer_pid,
    share_tensors,
)

MIB = 1 << 20


@pytest.fixture
def pool() -> Iterator[SegmentPool]:
    found = SegmentPool(Budget(64 * MIB))
    yield found
    found.abandon()


@pytest.fixture
def pair() -> Iterator[socket.socket]:
    """A socket whose other end this process has, too."""
    ours, theirs = socket.socketpair()
    yield ours
    ours.close()
    theirs.close()


def held() -> set[int]:
    """Segments that this process has open, by their inodes."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            if "memfd:maas" in str(path.readlink()):
                found.add(path.stat().st_ino)
    return found


@pytest.fixture
def before() -> set[int]:
    """What other tests in this process have left open."""
    return held()


def taken(pool: SegmentPool, nbytes: int) -> int:
    """The number of a segment that is out."""
    segment = pool.take(nbytes)
    assert segment is not None
    return segment.number


# The pool


def test_a_segment_is_used_again(pool: SegmentPool) -> None:
    first = pool.take(300_000)
    assert first is not None
    assert first.size == 1 << 19
    pool.give(first.number)
    assert pool.take(500_000) is first
    other = pool.take(400_000)
    assert other is not None
    assert other.number != first.number
    assert len(pool) == 2


def test_a_segment_that_is_out_is_nobody_elses(pool: SegmentPool) -> None:
    segments = [pool.take(MIB) for _ in range(5)]
    assert len({segment.number for segment in segments if segment is not None}) == 5


def test_sizes_are_powers_of_two(pool: SegmentPool) -> None:
    sizes = [pool.take(n).size for n in (1, SMALLEST, SMALLEST + 1, MIB, MIB + 1)]
    assert sizes == [SMALLEST, SMALLEST, 2 * SMALLEST, MIB, 2 * MIB]


def test_the_budget_is_for_all_pools_of_a_process(before: set[int]) -> None:
    budget = Budget(3 * MIB)
    one, other = SegmentPool(budget), SegmentPool(budget)
    taken(one, 2 * MIB)
    assert other.take(2 * MIB) is None
    taken(other, MIB)
    assert other.take(SMALLEST) is None
    one.abandon()
    taken(other, 2 * MIB)
    other.abandon()
    assert held() <= before


def test_what_is_free_makes_room_for_another_size() -> None:
    pool = SegmentPool(Budget(4 * MIB))
    small = [pool.take(MIB) for _ in range(4)]
    for segment in small:
        pool.give(segment.number)
    kept = pool.take(MIB)
    assert kept is small[-1]
    assert pool.take(2 * MIB) is not None
    assert pool.gone() == (small[0].number, small[1].number)
    assert pool.gone() == ()
    pool.abandon()


def test_nothing_is_shared_without_a_budget() -> None:
    assert SegmentPool(Budget(0)).take(1) is None


def test_there_are_at_most_so_many(pool: SegmentPool) -> None:
    assert all(pool.take(1) is not None for _ in range(MOST_SEGMENTS))
    assert pool.take(1) is None


def test_without_descriptors_there_is_none(pool: SegmentPool, monkeypatch) -> None:
    def full(name: str, flags: int) -> int:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(os, "memfd_create", full)
        assert pool.take(1) is None
        patch.delattr(os, "memfd_create")
        assert pool.take(1) is None
    assert pool.take(64 * MIB) is not None  # nothing of the budget was lost


def test_what_nobody_wants_is_let_go_of(before: set[int], pool: SegmentPool) -> None:
    out, free = taken(pool, MIB), taken(pool, MIB)
    pool.give(free)
    pool.trim(60)
    assert pool.gone() == ()
    pool.trim(0)
    assert pool.gone() == (free,)
    assert len(pool) == 1
    pool.give(free)  # it is not known any more
    pool.give(out)
    pool.trim(0)
    assert len(pool) == 0
    assert held() <= before


def test_a_closed_pool_waits_for_what_is_out(before: set[int], pool: SegmentPool) -> None:
    out, free = taken(pool, MIB), taken(pool, MIB)
    pool.give(free)
    pool.close()
    assert pool.take(1) is None
    assert len(pool) == 1
    pool.give(out)
    assert len(pool) == 0
    assert held() <= before


def test_a_segment_cannot_change_its_size_and_is_the_owners(pool: SegmentPool) -> None:
    segment = pool.take(MIB)
    for size in (0, 2 * MIB):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.descriptor, size)
    status = os.fstat(segment.descriptor)
    assert (status.st_mode & 0o777, status.st_nlink) == (0o600, 0)


# The other end


def test_it_sees_what_was_written(pool: SegmentPool, pair: socket.socket) -> None:
    segment = pool.take(MIB)
    mappings = Mappings(pair)
    segment.memory[:5] = b"hello"
    place = Place(segment.number, segment.descriptor, segment.size, 5)
    found = mappings.bytes_of(place)
    assert found.tobytes() == b"hello"
    segment.memory[:5] = b"again"
    assert found.tobytes() == b"again"
    assert not found.flags.writeable
    assert mappings.bytes_of(place).tobytes() == b"again"
    assert len(mappings) == 1


def test_what_it_sees_outlives_the_sender(
    before: set[int], pool: SegmentPool, pair: socket.socket
) -> None:
    segment = pool.take(MIB)
    segment.memory[:5] = b"hello"
    mappings = Mappings(pair)
    found = mappings.bytes_of(Place(segment.number, segment.descriptor, segment.size, 5))
    pool.abandon()
    mappings.drop([segment.number])
    del segment
    assert len(mappings) == 0
    assert found.tobytes() == b"hello"
    del found
    assert held() <= before


def test_what_is_no_segment_is_refused(
    pool: SegmentPool, pair: socket.socket, tmp_path: Path
) -> None:
    mappings = Mappings(pair)
    segment = pool.take(MIB)
    plain = os.memfd_create("plain", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(plain, MIB)
    with (tmp_path / "file").open("wb") as file, (tmp_path / "file").open("rb") as _:
        file.truncate(MIB)
        file.flush()
        for descriptor, size, used in [
            (segment.descriptor, MIB, MIB + 1),
            (segment.descriptor, MIB, -1),
            (segment.descriptor, 2 * MIB, MIB),
            (segment.descriptor, SMALLEST, 1),
            (plain, MIB, MIB),
            (file.fileno(), MIB, MIB),
            (pair.fileno(), MIB, MIB),
            (9999, MIB, MIB),
            (-1, MIB, MIB),
        ]:
            with pytest.raises((OSError, ValueError)):
                Mappings(pair).bytes_of(Place(1, descriptor, size, used))
    os.close(plain)
    assert len(mappings) == 0


def test_it_maps_no_more_than_a_sender_has(pool: SegmentPool, pair: socket.socket) -> None:
    segment = pool.take(1)
    mappings = Mappings(pair)
    for number in range(2 * MOST_SEGMENTS):
        mappings.bytes_of(Place(number, segment.descriptor, segment.size, 1))
    with pytest.raises(ValueError, match="too many"):
        mappings.bytes_of(Place(-1, segment.descriptor, segment.size, 1))


def test_the_kernel_names_the_other_end(pair: socket.socket) -> None:
    assert peer_pid(pair) == os.getpid()


def test_nothing_is_left_of_a_process_that_was_killed(pair: socket.socket) -> None:
    """A segment of another process is readable here after its end, and then gone."""
    code = (
        "import sys\n"
        "from maas.serving.segments import Budget, SegmentPool\n"
        "segment = SegmentPool(Budget(1 << 20)).take(1 << 20)\n"
        "segment.memory[:5] = b'hello'\n"
        "print(segment.descriptor, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        descriptor = int(child.stdout.readline())
        mappings = Mappings(pair)
        mappings._folder = f"/proc/{child.pid}/fd"
        found = mappings.bytes_of(Place(1, descriptor, MIB, 5))
        child.kill()
        child.wait()
        assert found.tobytes() == b"hello"
        with pytest.raises(FileNotFoundError):
            mappings.bytes_of(Place(2, descriptor, MIB, 5))


# What is written

NUMERIC = [dtype for dtype in DType if dtype is not DType.BYTES]


@st.composite
def in_parts(draw: st.DrawFn) -> list[np.ndarray]:
    """One tensor in a few parts, of different lengths."""
    dtype = draw(st.sampled_from(list(DType)))
    trailing = draw(st.lists(st.integers(0, 3), max_size=2).map(tuple))
    parts = []
    for rows in draw(st.lists(st.integers(0, 4), min_size=1, max_size=3)):
        shape = (rows, *trailing)
        size = int(np.prod(shape, dtype=int))
        if dtype is DType.BYTES:
            array = np.empty(size, object)
            array[:] = [draw(st.binary(max_size=5)) for _ in range(size)]
        else:
            array = np.arange(size).astype(dtype.numpy)
        parts.append(array.reshape(shape))
    return parts


@given(st.dictionaries(st.text(max_size=3), in_parts(), max_size=4))
def test_parts_are_joined_in_their_place(tensors: dict[str, list[np.ndarray]]) -> None:
    pool = SegmentPool(Budget(MIB))
    ours, theirs = socket.socketpair()
    try:
        shared = share_tensors(tensors, pool)
        assert shared is not None
        metas, place = shared
        back = unpack_tensors(metas, Mappings(ours).bytes_of(place).data)
        assert list(back) == list(tensors)
        for name, parts in tensors.items():
            whole = np.concatenate(parts)
            assert back[name].dtype == whole.dtype
            assert back[name].shape == whole.shape
            assert back[name].tolist() == whole.tolist()
    finally:
        pool.abandon()
        ours.close()
        theirs.close()


@pytest.mark.parametrize(
    "array",
    [
        np.float64(2.5)[...],
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.broadcast_to(np.int8(3), (2, 3)),
        np.array([1.0, 2.0], ">f4"),
        np.array([b"a", b"bc"], "S2"),
    ],
    ids=["a number", "transposed", "broadcast", "big-endian", "fixed-length"],
)
def test_the_layout_in_memory_does_not_matter(
    pool: SegmentPool, pair: socket.socket, array: np.ndarray
) -> None:
    shared = share_tensors({"x": (array,)}, pool)
    assert shared is not None
    back = unpack_tensors(shared[0], Mappings(pair).bytes_of(shared[1]).data)["x"]
    assert back.tolist() == array.tolist()
    assert back.shape == array.shape


def test_what_cannot_be_written_keeps_no_segment(pool: SegmentPool) -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        share_tensors({"x": (np.zeros(3, "c8"),)}, pool)
    with pytest.raises(ValueError, match="must match"):
        share_tensors({"x": (np.zeros((1, 2)), np.zeros((1, 3)))}, pool)
    pool.trim(0)
    assert len(pool) == 0


def test_a_seal_that_is_there_is_what_counts(pair: socket.socket) -> None:
    """A memfd of the right size that could still shrink is refused."""
    descriptor = os.memfd_create("maas", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    with pytest.raises(ValueError, match="not what is there"):
        Mappings(pair).bytes_of(Place(1, descriptor, mmap.PAGESIZE, 1))
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    assert len(Mappings(pair).bytes_of(Place(1, descriptor, mmap.PAGESIZE, 1))) == 1
    os.close(descriptor)
