"""What a load test found, in the units that people and scripts read, and what to doubt in it."""

from __future__ import annotations

from msgspec import Struct

from maas.client.load.histogram import Histogram
from maas.client.load.messages import SLICE_S, LoadPlan, Tally

BUSY = 0.85
"""Share of its cores from which the generator itself may be what limits."""
BEHIND = 0.95
"""Share of the rate asked for under which the server did not keep up."""
LATE_MS = 1.0
"""Lateness at the 99th percentile from which it is worth a word, unless latencies dwarf it."""


class Latency(Struct, frozen=True):
    """A distribution of durations, milliseconds."""

    mean: float
    min: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


class Summary(Struct, frozen=True):
    """A load test.

    Args:
        model: as it was called.
        url: the server.
        protocol: plain, oip or tfserving.
        loop: closed or open.
        connections: at once.
        processes: of the generator.
        rows: of a request.
        rate: requests a second asked for; 0 for the closed loop.
        arrivals: poisson or constant; empty for the closed loop.
        seconds: how long requests were sent.
        requests: sent, or due in the open loop.
        answered: with a 2xx status.
        errors: by status; `connection`, `timeout` and `unsent` besides.
        throughput: answers with a 2xx status a second, within `seconds`.
        rows_per_s: that times `rows`.
        latency_ms: of answers with a 2xx status; from the time due in the open loop.
        lateness_ms: of the generator itself; None for the closed loop.
        generator_cpu: share of its cores that the generator used.
        interrupted: whether it was ended early.
        notes: what to doubt, a sentence each.
        timeline: answers in each tenth of a second.
        histogram: upper end in ms and count of each bucket of the latencies.
    """

    model: str
    url: str
    protocol: str
    loop: str
    connections: int
    processes: int
    rows: int
    rate: float
    arrivals: str
    seconds: float
    requests: int
    answered: int
    errors: dict[str, int]
    throughput: float
    rows_per_s: float
    latency_ms: Latency
    lateness_ms: Latency | None
    generator_cpu: float
    interrupted: bool
    notes: tuple[str, ...]
    timeline: tuple[int, ...]
    histogram: tuple[tuple[float, int], ...]


def summarise(
    plan: LoadPlan,
    tally: Tally,
    *,
    model: str,
    url: str,
    protocol: str,
    rows: int,
    processes: int,
    shared: bool,
    interrupted: bool,
) -> Summary:
    """Makes the summary of a run.

    Args:
        plan: of all processes together.
        tally: of all processes together.
        model: as it was called.
        url: the server.
        protocol: how it was called.
        rows: of a request.
        processes: of the generator.
        shared: whether the server runs on this machine.
        interrupted: whether it was ended early.
    """
    seconds = tally.seconds or 1e-9
    throughput = tally.in_time / seconds
    latency = _latency(tally.latency)
    lateness = _latency(tally.lateness) if plan.rate else None
    cpu = tally.cpu_s / seconds / processes
    return Summary(
        model=model,
        url=url,
        protocol=protocol,
        loop="open" if plan.rate else "closed",
        connections=plan.connections,
        processes=processes,
        rows=rows,
        rate=plan.rate,
        arrivals=plan.arrivals if plan.rate else "",
        seconds=tally.seconds,
        requests=tally.sent,
        answered=tally.latency.count,
        errors=dict(sorted(tally.errors.items())),
        throughput=throughput,
        rows_per_s=throughput * rows,
        latency_ms=latency,
        lateness_ms=lateness,
        generator_cpu=cpu,
        interrupted=interrupted,
        notes=tuple(_notes(plan, tally, latency, lateness, throughput, cpu, processes, shared)),
        timeline=tuple(_whole(tally.timeline, tally.seconds)),
        histogram=tuple((upper / 1e6, count) for _, upper, count in tally.latency.bars()),
    )


def _notes(
    plan: LoadPlan,
    tally: Tally,
    latency: Latency,
    lateness: Latency | None,
    throughput: float,
    cpu: float,
    processes: int,
    shared: bool,
) -> list[str]:
    notes = []
    if cpu > BUSY:
        notes.append(
            f"the load generator used {cpu:.0%} of its {processes} core(s): the server may be able "
            "to do more; give --processes more, or run it from another machine"
        )
    if lateness is not None and lateness.p99 > max(LATE_MS, latency.p50 / 10):
        notes.append(
            f"the load generator took requests up {lateness.p99:.2f} ms late at the 99th "
            "percentile, which is in the latencies: its own share of them"
        )
    if plan.rate and throughput < BEHIND * plan.rate and not tally.errors.keys() - {"unsent"}:
        notes.append(
            f"{throughput:,.0f} of {plan.rate:,.0f} requests a second were answered in time: the "
            f"server, or {plan.connections} connections, did not keep up"
        )
    if tally.latency.count and tally.latency.count < 1000:
        notes.append(f"{tally.latency.count} answers are too few for the 99.9th percentile")
    if shared:
        notes.append("server and load generator share this machine's cores")
    return notes


def _latency(histogram: Histogram) -> Latency:
    p50, p90, p99, p999 = (histogram.percentile(percent) / 1e6 for percent in (50, 90, 99, 99.9))
    return Latency(
        mean=histogram.mean / 1e6,
        min=histogram.lowest / 1e6,
        p50=p50,
        p90=p90,
        p99=p99,
        p999=p999,
        max=histogram.highest / 1e6,
    )


def _whole(timeline: list[int], seconds: float) -> list[int]:
    """The timeline to its end, quiet slices included; the last one may be a part."""
    slices = int(seconds / SLICE_S) + 1
    return [*timeline, *([0] * (slices - len(timeline)))][:slices]
