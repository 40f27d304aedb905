"""Latencies counted in buckets of one relative width, so that every percentile is as exact.

As HdrHistogram has it (https://github.com/HdrHistogram/HdrHistogram): each power of two is split
into equal parts, here 64, so that a bucket is at most 1.6% wide.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Struct, field

PARTS_BITS = 6
PARTS = 1 << PARTS_BITS


class Histogram(Struct):
    """Counts of durations in whole nanoseconds; grows as it is used.

    Args:
        buckets: how many fell into each bucket.
        count: how many in all.
        total: their sum, ns.
        lowest: the shortest, ns.
        highest: the longest, ns.
    """

    buckets: dict[int, int] = field(default_factory=dict)
    count: int = 0
    total: int = 0
    lowest: int = 0
    highest: int = 0

    def add(self, value: int) -> None:
        """Counts one duration; a negative one (a clock's jitter) as 0."""
        value = max(value, 0)
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1
        self.lowest = min(self.lowest, value) if self.count else value
        self.highest = max(self.highest, value)
        self.count += 1
        self.total += value

    def merge(self, other: Histogram) -> None:
        """Adds everything another one counted."""
        if not other.count:
            return
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count
        self.lowest = min(self.lowest, other.lowest) if self.count else other.lowest
        self.highest = max(self.highest, other.highest)
        self.count += other.count
        self.total += other.total

    @property
    def mean(self) -> float:
        """Their mean, ns; 0 of none."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The duration, ns, that `percent` of all did not exceed; 0 of none.

        It is the upper end of its bucket, and so never flatters; the longest is exact.
        """
        wanted = percent / 100 * self.count
        seen = 0
        for bucket in sorted(self.buckets):
            seen += self.buckets[bucket]
            if seen >= wanted:
                return min(bounds_of(bucket)[1], self.highest)
        return self.highest

    def bars(self) -> Iterator[tuple[int, int, int]]:
        """Yields lower end, upper end (ns) and count of each bucket that has any, in order."""
        for bucket in sorted(self.buckets):
            lower, upper = bounds_of(bucket)
            yield lower, upper, self.buckets[bucket]


def bucket_of(value: int) -> int:
    """The number of the bucket that a value from 0 on falls into."""
    if value < PARTS:
        return value
    shift = value.bit_length() - 1 - PARTS_BITS
    return (shift + 1) * PARTS + (value >> shift) - PARTS


def bounds_of(bucket: int) -> tuple[int, int]:
    """The smallest and the largest value of a bucket."""
    if bucket < PARTS:
        return bucket, bucket
    shift = bucket // PARTS - 1
    lower = (bucket % PARTS + PARTS) << shift
    return lower, lower + (1 << shift) - 1
