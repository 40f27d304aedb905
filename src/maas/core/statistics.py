"""What a server says of its models beside predictions: counts, and how each of them stands."""

from __future__ import annotations

from msgspec import Struct

from maas.core.identity import ServableId
from maas.core.states import ServableState


class DurationStat(Struct, frozen=True):
    """How often something was done, and how long it took in all, in nanoseconds."""

    count: int = 0
    ns: int = 0


class BatchStat(Struct, frozen=True):
    """Runs of the engine with about so many rows.

    Args:
        batch_size: the most rows of these runs: a power of two, so that the runs of 5 to 8 rows
            are counted under 8.
        compute_infer: the runs.
    """

    batch_size: int
    compute_infer: DurationStat


class VersionStatistics(Struct, frozen=True):
    """What one version has done since control started, in Triton's terms.

    Calls are counted where they come in, runs of the engine where they happen. An engine reads its
    inputs where they lie and its outputs are sent as they are: there is no time of copying them.

    Args:
        servable: which.
        last_inference_ms: wall-clock milliseconds since 1970 at which its last run was heard of,
            within a second after it; 0 where there was none.
        inference_count: rows that were answered.
        execution_count: runs of the engine.
        success: calls answered, from decoded to answered.
        fail: calls that failed, measured alike.
        queue: waits of the frames that calls of one ingress are packed into.
        compute_infer: runs of the engine.
        batches: the same by rows.
    """

    servable: ServableId
    last_inference_ms: int = 0
    inference_count: int = 0
    execution_count: int = 0
    success: DurationStat = DurationStat()
    fail: DurationStat = DurationStat()
    queue: DurationStat = DurationStat()
    compute_infer: DurationStat = DurationStat()
    batches: tuple[BatchStat, ...] = ()


class RepositoryEntry(Struct, frozen=True):
    """One version as an index of the repository lists it.

    Args:
        servable: which.
        state: where it is.
        reason: why it is not AVAILABLE, where there is something to say.
    """

    servable: ServableId
    state: ServableState
    reason: str
