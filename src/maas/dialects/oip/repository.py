"""Triton's model repository and statistics extensions: request bodies in, JSON out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.states import ServableState
from maas.core.statistics import DurationStat, RepositoryEntry, VersionStatistics
from maas.dialects.oip.request import read_parameters
from maas.dialects.tensorjson.document import read

STATES = {
    ServableState.START: "LOADING",
    ServableState.LOADING: "LOADING",
    ServableState.AVAILABLE: "READY",
    ServableState.UNLOADING: "UNLOADING",
    ServableState.END: "UNAVAILABLE",
}
"""Where a version is, as Triton's repository index names it."""
IGNORED = frozenset({"unload_dependents"})


def read_index(body: bytes) -> bool:
    """Reads `POST /v2/repository/index`: whether only what is ready is to be listed.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if not body.strip():
        return False
    ready = read(body).root.get("ready", False)
    if not isinstance(ready, bool):
        raise invalid("ready must be true or false")
    return ready


def read_parameter_names(body: bytes) -> tuple[str, ...]:
    """Reads `POST /v2/repository/models/M/load|unload`: the names of its parameters.

    Raises:
        MaasError: INVALID_ARGUMENT.
    """
    if not body.strip():
        return ()
    return tuple(read_parameters(read(body).root, "the request"))


def check_parameters(names: Iterable[str]) -> None:
    """Refuses what a load or unload cannot be told here.

    Raises:
        MaasError: UNIMPLEMENTED for another configuration or files; INVALID_ARGUMENT for what is
            not a parameter.
    """
    for name in names:
        if name == "config" or name.startswith("file:"):
            raise MaasError(
                ErrorKind.UNIMPLEMENTED,
                f"{name[:40]!r} cannot be given with a load: what a version is never changes here; "
                "publish a new version (maas publish) and leave the parameter out",
            )
        if name not in IGNORED:
            raise invalid(f"{name[:40]!r} is not a parameter of this request; leave it out")


def encode_index(entries: Iterable[RepositoryEntry]) -> bytes:
    """Writes the index: a bare array."""
    return orjson.dumps(
        [
            {
                "name": entry.servable.name,
                "version": str(entry.servable.version),
                "state": STATES[entry.state],
                "reason": entry.reason,
            }
            for entry in entries
        ]
    )


def encode_statistics(statistics: Iterable[VersionStatistics]) -> bytes:
    """Writes `GET /v2/models[/M[/versions/V]]/stats`; times in nanoseconds.

    An engine here reads its inputs where they lie and its outputs are sent as they are, so that
    `compute_input` and `compute_output` stay 0; there is no cache.
    """
    return orjson.dumps({"model_stats": [_statistics(one) for one in statistics]})


_NOTHING = {"count": 0, "ns": 0}


def _statistics(one: VersionStatistics) -> dict[str, Any]:
    return {
        "name": one.servable.name,
        "version": str(one.servable.version),
        "last_inference": one.last_inference_ms,
        "inference_count": one.inference_count,
        "execution_count": one.execution_count,
        "inference_stats": {
            "success": _duration(one.success),
            "fail": _duration(one.fail),
            "queue": _duration(one.queue),
            "compute_input": _NOTHING,
            "compute_infer": _duration(one.compute_infer),
            "compute_output": _NOTHING,
            "cache_hit": _NOTHING,
            "cache_miss": _NOTHING,
        },
        "batch_stats": [
            {
                "batch_size": batch.batch_size,
                "compute_input": _NOTHING,
                "compute_infer": _duration(batch.compute_infer),
                "compute_output": _NOTHING,
            }
            for batch in one.batches
        ],
        "memory_usage": [],
        "response_stats": {},
    }


def _duration(stat: DurationStat) -> dict[str, int]:
    return {"count": stat.count, "ns": stat.ns}
