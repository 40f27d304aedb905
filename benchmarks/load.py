"""Load: wrk for throughput, the open loop for latency at a given rate.

wrk keeps every connection busy (a closed loop): its requests per second are a server's peak, its
latencies are what a caller sees when everybody pushes as hard as they can. A caller's latency at a
moderate rate needs an open loop, in which a slow answer does not hold the next request back.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import HERE, ROOT
from benchmarks.processes import pinned

SCRIPT = HERE / "post.lua"
SLACK_S = 30


@dataclass(frozen=True)
class Load:
    """What wrk measured.

    Attributes:
        requests_s: Answers per second.
        p50_us: Median latency under full load, in microseconds.
        p99_us: 99th percentile of the same.
        errors: Answers other than 2xx or 3xx, failed connections, reads, writes and time-outs.
    """

    requests_s: float
    p50_us: float
    p99_us: float
    errors: int


@dataclass(frozen=True)
class Latency:
    """What the open loop measured, in microseconds from the moment a request was due.

    Attributes:
        arrivals: "constant" (evenly spaced) or "poisson".
        rate: Requests per second that were due.
        answered: Answers with status 200.
        errors: Any other answer.
        p50_us: Median.
        p90_us: 90th percentile.
        p99_us: 99th percentile.
        p999_us: 99.9th percentile.
        max_us: The longest.
        late_p99_us: How late the generator itself sent, 99th percentile: the measurement's own
            error, or requests that found every connection waiting.
    """

    arrivals: str
    rate: float
    answered: int
    errors: int
    p50_us: float
    p90_us: float
    p99_us: float
    p999_us: float
    max_us: float
    late_p99_us: float


def wrk(
    url: str,
    body: Path,
    *,
    cores: str,
    connections: int,
    seconds: float,
    json_bytes: int | None = None,
) -> Load:
    """Post a body over and over from one thread.

    Args:
        url: Where to.
        body: The file that holds the JSON.
        cores: The cores wrk is held to.
        connections: How many are kept busy.
        seconds: For how long, in whole seconds.
        json_bytes: How much of the body is JSON, where binary tensors follow it.

    Returns:
        The measurement.

    Raises:
        RuntimeError: wrk failed or nothing was answered.
    """
    options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "10s"]
    variables = {"BENCHMARK_BODY": str(body)}
    if json_bytes is not None:
        variables["BENCHMARK_TYPE"] = "application/octet-stream"
        variables["BENCHMARK_JSON_BYTES"] = str(json_bytes)
    done = subprocess.run(
        pinned(cores, ["wrk", *options, "-s", str(SCRIPT), url]),
        capture_output=True,
        text=True,
        timeout=seconds + SLACK_S,
        check=False,
        env={**os.environ, **variables},
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines or not lines[-1].startswith("{"):
        raise RuntimeError(f"wrk failed on {url}: {(done.stdout + done.stderr)[-1000:]}")
    load = Load(**json.loads(lines[-1]))
    if load.requests_s == 0:
        raise RuntimeError(f"nothing was answered by {url}")
    return load


@contextmanager
def open_loop_started(
    url: str, body: Path, *, cores: str, rate: float, seconds: float, arrivals: str = "constant"
) -> Iterator[list[Latency]]:
    """Run the open loop beside the `with` block; its measurement is in the list afterwards.

    Args:
        url: Where to post.
        body: The file that holds the JSON.
        cores: The cores it is held to.
        rate: Requests per second.
        seconds: For how long.
        arrivals: "constant" or "poisson".

    Yields:
        A list, empty until the block has ended.

    Raises:
        RuntimeError: The generator failed.
    """
    command = [sys.executable, "-m", "benchmarks.openloop", url, str(body)]
    options = ["--rate", f"{rate}", "--seconds", f"{seconds}", "--arrivals", arrivals]
    process = subprocess.Popen(
        pinned(cores, command + options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    found: list[Latency] = []
    try:
        yield found
        out, said = process.communicate(timeout=seconds + SLACK_S)
        if process.returncode != 0:
            raise RuntimeError(f"the open loop failed on {url}: {said[-1000:]}")
        found.append(Latency(**json.loads(out)))
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def open_loop(
    url: str, body: Path, *, cores: str, rate: float, seconds: float, arrivals: str = "constant"
) -> Latency:
    """Run the open loop alone; arguments and errors as `open_loop_started` has them."""
    with open_loop_started(
        url, body, cores=cores, rate=rate, seconds=seconds, arrivals=arrivals
    ) as found:
        pass
    return found[0]
