"""What `grpc.py` compares: small tensors over gRPC, large ones over binary REST."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks import environments
from benchmarks.cases import WARM_S
from benchmarks.comparison import Case, Comparison, Contender, Goal, Plan
from benchmarks.environments import CLIENTS, ROOT
from benchmarks.load import SLACK_S, wrk
from benchmarks.models import make_models
from benchmarks.peer import Launch, Peer, Place, Target
from benchmarks.peers import MAAS, TRITON, TRITON_IRIS, publish, triton_launch
from benchmarks.processes import HOST, SHARED, Layout, pinned
from benchmarks.tensor_bodies import VALUES

METHOD = "/inference.GRPCInferenceService/ModelInfer"
STREAMS = 16
GRPC_CONNECTIONS = 4
TENSOR_CONNECTIONS = 4
CHECK_TIMEOUT_S = 120
_RATE = re.compile(r"finished in [\d.]+m?s, ([\d.]+) req/s")
_DONE = re.compile(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout")
_TRITON_MEAN = {
    "input": "x",
    "dims": [VALUES],
    "outputs": '{ name: "y" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } }',
    "batch": 8,
    "preferred": "4, 8",
}
_TRITON_ECHO = {
    **_TRITON_MEAN,
    "outputs": f'{{ name: "y" data_type: TYPE_FP32 dims: [ {VALUES} ] }}',
}
GRPC_PORT = 5
"""Triton's gRPC port, of the ten that a peer has; ours has one port for all."""


def _triton(peer: Peer, place: Place) -> Launch:
    configs = {"iris": TRITON_IRIS, "mean": _TRITON_MEAN, "echo": _TRITON_ECHO}
    address = (f"--grpc-address={HOST}", f"--grpc-port={place.port + GRPC_PORT}")
    return triton_launch(peer, place, configs, *address)


def _publish(peer: Peer, place: Place) -> None:
    names = ("iris", "mean", "echo")
    publish(replace(peer, targets={name: Target("", "") for name in names}), place)


_MAAS = Contender(replace(MAAS, targets={}, publish=_publish), connections=GRPC_CONNECTIONS)
_TRITON = Contender(replace(TRITON, targets={}, launch=_triton), connections=GRPC_CONNECTIONS)


def _models() -> Path:
    folder = make_models()
    command = [str(CLIENTS.python), "-m", "benchmarks.tensor_bodies", "write", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=CHECK_TIMEOUT_S)
    return folder


def h2load(url: str, body: Path, *, cores: str, seconds: float) -> tuple[float, int]:
    """Send one gRPC message over and over: 4 connections, 16 streams each.

    Args:
        url: Where to.
        body: The file that holds the message, framed.
        cores: The cores h2load is held to.
        seconds: For how long.

    Returns:
        Answers per second, and how many failed.

    Raises:
        RuntimeError: h2load failed or nothing was answered.
    """
    options = ["-c", str(GRPC_CONNECTIONS), "-m", str(STREAMS), "-D", f"{max(1, round(seconds))}"]
    headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
    done = subprocess.run(
        pinned(cores, ["h2load", *options, *headers, "-d", str(body), url]),
        capture_output=True,
        text=True,
        timeout=seconds + SLACK_S,
        check=False,
    )
    rate, counts = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if done.returncode != 0 or rate is None or counts is None or not int(counts[1]):
        raise RuntimeError(f"h2load failed on {url}: {(done.stdout + done.stderr)[-1000:]}")
    return float(rate[1]), int(counts[2]) + int(counts[3]) + int(counts[4])


def _check(plan: Plan, name: str, address: str) -> None:
    done = subprocess.run(
        [
            str(CLIENTS.python),
            *("-m", "benchmarks.tensor_bodies", "check"),
            *(str(plan.models), name, address),
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=CHECK_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr[-1000:])


def _infer(plan: Plan, url: str, grpc_port: int, layout: Layout) -> dict[str, float]:
    address = f"{HOST}:{grpc_port}"
    _check(plan, "iris", address)
    target = f"http://{address}{METHOD}"
    body = plan.models / "iris.grpc"
    h2load(target, body, cores=layout.load, seconds=WARM_S)
    rate, errors = h2load(target, body, cores=layout.load, seconds=plan.seconds)
    _check(plan, "iris", address)
    return {"requests_s": rate, "errors": errors}


def _tensor(name: str) -> Callable[[Plan, str, int, Layout], dict[str, float]]:
    def measure(plan: Plan, url: str, grpc_port: int, layout: Layout) -> dict[str, float]:
        _check(plan, name, url.removeprefix("http://"))
        loads = [
            wrk(
                f"{url}/v2/models/{name}/infer",
                plan.models / f"{name}.bin",
                cores=layout.load,
                connections=TENSOR_CONNECTIONS,
                seconds=seconds,
                json_bytes=int((plan.models / f"{name}.header").read_text()),
            )
            for seconds in (WARM_S, plan.seconds)
        ]
        load = loads[-1]
        return {
            "requests_s": load.requests_s,
            "p50_ms": load.p50_us / 1e3,
            "p99_ms": load.p99_us / 1e3,
            "errors": load.errors,
        }

    return measure


_MEASURES = {
    "infer": _infer,
    "infer-two-cores": _infer,
    "mean": _tensor("mean"),
    "echo": _tensor("echo"),
}
_BOTH = (_MAAS, _TRITON)
CASES = {
    "infer": Case("ModelInfer, iris, server on one core", _BOTH, (Goal(1.3, "triton"),)),
    "infer-two-cores": Case(
        "ModelInfer, iris, server and load on both cores", _BOTH, (), layout=SHARED
    ),
    "mean": Case("1 MB tensor in, a number out, binary REST", _BOTH, (Goal(0.9, "triton"),)),
    "echo": Case("1 MB tensor in and out, binary REST", _BOTH, (Goal(0.9, "triton"),)),
}


def _measure(plan: Plan, case: str, contender: Contender, index: int) -> dict[str, float]:
    peer, place = contender.peer, plan.place(case, contender, index)
    layout = CASES[case].layout
    with peer.running(place, layout.server) as server:
        grpc_port = place.port + (GRPC_PORT if peer.name == "triton" else 0)
        return _MEASURES[case](plan, server.url, grpc_port, layout)


COMPARISON = Comparison(
    name="grpc",
    description="""Compare maas with Triton: small tensors over gRPC, large ones over binary REST.

Cases:
  infer            ModelInfer of iris, 4 connections × 16 streams, server on core 0, load on core 1
  infer-two-cores  the same, server and load on both cores
  mean             1 MB of float32 in, one number out, binary REST, 4 connections
  echo             1 MB of float32 in and out, the same way
""",
    examples="""examples:
  python benchmarks/grpc.py                                      everything, a few minutes
  python benchmarks/grpc.py --cases infer --seconds 2 --rounds 1 --output /tmp/trial
""",
    cases=CASES,
    environments=(CLIENTS, environments.TRITON, environments.MAAS),
    models=_models,
    measure=_measure,
    port=18280,
    programs={"h2load": "nghttp2-client"},
)
