"""The cases: each runs its peers round by round and gives one `Row` per peer.

Only one server runs at a time. The rounds are interleaved (every peer's first round, then every
peer's second, …), so that a machine that gets slower meanwhile is slower for all; each figure is
the median of its rounds.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.load import open_loop, open_loop_started, wrk
from benchmarks.peer import Peer, Place
from benchmarks.peers import MAAS, THREE_SMALL
from benchmarks.processes import SHARED, SPLIT, Layout, Server, memory

CONNECTIONS = 32
IMAGE_CONNECTIONS = 2
WARM_S = 1.0
BESIDE_RATE = 200.0
MB = 1e6
SERVER_PACKAGES = (
    "litestar",
    "uvicorn",
    "uvloop",
    "pyvoy",
    "sqlalchemy",
    "alembic",
    "onnx",
    "onnxruntime",
    "prometheus_client",
    "simdjson",
    "typer",
    "rich",
    "sklearn",
)

Measure = Callable[[Peer, Server], Mapping[str, float]]


@dataclass(frozen=True)
class Plan:
    """What a run is given.

    Attributes:
        peers: Those to compare, ours first.
        models: The folder of models and bodies.
        folder: Where servers write.
        port: The first of the ports used; each peer has ten.
        seconds: How long each measurement lasts.
        rounds: How often each is repeated.
    """

    peers: tuple[Peer, ...]
    models: Path
    folder: Path
    port: int
    seconds: float
    rounds: int

    def place(self, peer: Peer, home: str = "") -> Place:
        """Where a peer runs; another `home` is another empty folder."""
        index = [each.name for each in self.peers].index(peer.name)
        return Place(self.port + 10 * index, self.folder / (home or peer.name), self.models)


@dataclass
class Row:
    """What one case found out about one peer.

    Attributes:
        figures: Medians over the rounds, by name; the unit is in the name.
        rounds: The figures of each round.
        problem: Why there are no figures, or fewer rounds.
    """

    figures: dict[str, float] = field(default_factory=dict)
    rounds: list[dict[str, float]] = field(default_factory=list)
    problem: str = ""

    def settle(self) -> None:
        """Take the medians."""
        names = dict.fromkeys(name for each in self.rounds for name in each)
        self.figures = {
            name: statistics.median(each[name] for each in self.rounds if name in each)
            for name in names
        }


Rows = dict[str, Row]


def _say(*words: object) -> None:
    print(" ", *words, flush=True)


def _interleaved(
    plan: Plan, peers: Iterable[Peer], layout: Layout, measure: Measure, home: str = ""
) -> Rows:
    rows = {peer.name: Row() for peer in peers}
    members = list(peers)
    for number in range(plan.rounds):
        for peer in members:
            row = rows[peer.name]
            if row.problem:
                continue
            try:
                with peer.running(plan.place(peer, home), layout.server) as server:
                    found = dict(measure(peer, server))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                row.problem = str(error)
                _say(f"{peer.label}: {error}")
                continue
            row.rounds.append(found)
            shown = ", ".join(f"{name} {value:,.1f}" for name, value in found.items())
            _say(f"round {number + 1}, {peer.label}: {shown}")
    for row in rows.values():
        row.settle()
    return rows


def throughput(plan: Plan, layout: Layout) -> Rows:
    """Iris under 32 busy connections: peak requests per second, and memory afterwards."""

    def measure(peer: Peer, server: Server) -> Mapping[str, float]:
        target = peer.targets["iris"]
        url, body = server.url + target.path, plan.models / f"{target.body}.json"
        wrk(url, body, cores=layout.load, connections=CONNECTIONS, seconds=WARM_S)
        load = wrk(url, body, cores=layout.load, connections=CONNECTIONS, seconds=plan.seconds)
        return {
            "requests_s": load.requests_s,
            "p50_ms": load.p50_us / 1e3,
            "p99_ms": load.p99_us / 1e3,
            "errors": load.errors,
            "pss_mb": memory(server.pid).pss / MB,
        }

    return _interleaved(plan, plan.peers, layout, measure)


def latency(plan: Plan) -> Rows:
    """Iris at half of each peer's own peak, in an open loop, evenly spaced and Poisson."""

    def measure(peer: Peer, server: Server) -> Mapping[str, float]:
        target = peer.targets["iris"]
        url, body = server.url + target.path, plan.models / f"{target.body}.json"
        wrk(url, body, cores=SPLIT.load, connections=CONNECTIONS, seconds=WARM_S)
        peak = wrk(url, body, cores=SPLIT.load, connections=CONNECTIONS, seconds=plan.seconds)
        rate = peak.requests_s / 2
        found = {"requests_s": rate}
        for arrivals in ("constant", "poisson"):
            open_ = open_loop(
                url, body, cores=SPLIT.load, rate=rate, seconds=plan.seconds, arrivals=arrivals
            )
            found |= {
                f"{arrivals}_p50_ms": open_.p50_us / 1e3,
                f"{arrivals}_p99_ms": open_.p99_us / 1e3,
                f"{arrivals}_p99_to_p50": open_.p99_us / open_.p50_us,
                f"{arrivals}_errors": open_.errors,
                f"{arrivals}_late_p99_ms": open_.late_p99_us / 1e3,
            }
        return found

    return _interleaved(plan, plan.peers, SPLIT, measure)


def image(plan: Plan) -> Rows:
    """The image as JSON over 2 connections; then iris calls beside such a load."""

    def measure(peer: Peer, server: Server) -> Mapping[str, float]:
        iris, big = peer.targets["iris"], peer.targets["image"]
        url, body = server.url + big.path, plan.models / f"{big.body}.json"
        wrk(url, body, cores=SPLIT.load, connections=IMAGE_CONNECTIONS, seconds=WARM_S)
        load = wrk(url, body, cores=SPLIT.load, connections=IMAGE_CONNECTIONS, seconds=plan.seconds)
        with open_loop_started(
            server.url + iris.path,
            plan.models / f"{iris.body}.json",
            cores=SPLIT.load,
            rate=BESIDE_RATE,
            seconds=plan.seconds,
        ) as beside:
            wrk(
                url,
                body,
                cores=SPLIT.load,
                connections=IMAGE_CONNECTIONS,
                seconds=plan.seconds + 2,
            )
        return {
            "requests_s": load.requests_s,
            "p50_ms": load.p50_us / 1e3,
            "p99_ms": load.p99_us / 1e3,
            "errors": load.errors,
            "body_mb": body.stat().st_size / 1e6,
            "beside_p50_ms": beside[0].p50_us / 1e3,
            "beside_p99_ms": beside[0].p99_us / 1e3,
            "beside_errors": beside[0].errors,
            "beside_late_p99_ms": beside[0].late_p99_us / 1e3,
        }

    members = [peer for peer in plan.peers if "image" in peer.targets]
    return _interleaved(plan, members, SPLIT, measure)


def _imports(peer: Peer) -> Mapping[str, float]:
    code = (
        "import json, sys, time; start = time.perf_counter(); import maas; maas.Client;"
        "took = time.perf_counter() - start;"
        "print(json.dumps([took, [name for name in sys.argv[1:] if name in sys.modules]]))"
    )
    done = subprocess.run(
        [str(peer.environment.python), "-c", code, *SERVER_PACKAGES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"import maas failed: {done.stderr[-1000:]}")
    took, packages = json.loads(done.stdout)
    if packages:
        _say("import maas brings in", ", ".join(packages))
    return {"import_s": took, "import_server_packages": len(packages)}


def footprint(plan: Plan) -> Rows:
    """Ours alone: memory with three small models, start to ready when empty, `import maas`."""
    if MAAS not in plan.peers:
        return {}
    ours = replace(THREE_SMALL, name=MAAS.name)

    def weigh(peer: Peer, server: Server) -> Mapping[str, float]:
        fresh = memory(server.pid)
        target = peer.targets["iris"]
        url, body = server.url + target.path, plan.models / f"{target.body}.json"
        wrk(url, body, cores=SHARED.load, connections=CONNECTIONS, seconds=plan.seconds)
        loaded = memory(server.pid)
        return {
            "processes": loaded.processes,
            "fresh_pss_mb": fresh.pss / MB,
            "fresh_rss_mb": fresh.rss / MB,
            "loaded_pss_mb": loaded.pss / MB,
            "loaded_rss_mb": loaded.rss / MB,
        }

    rows = _interleaved(plan, [ours], SHARED, weigh, home="three")
    row = rows[MAAS.name]
    for number in range(plan.rounds):
        if number == len(row.rounds):
            row.rounds.append({})
        found = row.rounds[number]
        try:
            found |= _imports(MAAS)
            with MAAS.started(plan.place(MAAS, f"empty-{number}"), SHARED.server) as server:
                found["ready_s"] = server.ready_s
        except RuntimeError as error:
            row.problem = row.problem or str(error)
            _say(f"{MAAS.label}: {error}")
            break
        ready, took = found["ready_s"], found["import_s"]
        _say(f"empty registry ready in {ready:.2f} s, import maas {took:.3f} s")
    row.settle()
    return rows


CASES: dict[str, Callable[[Plan], Rows]] = {
    "one-core": lambda plan: throughput(plan, SPLIT),
    "two-cores": lambda plan: throughput(plan, SHARED),
    "latency": latency,
    "image": image,
    "footprint": footprint,
}
