"""What `frameworks.py` compares: ours, and the same model behind what people write by hand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

from benchmarks.cases import WARM_S
from benchmarks.comparison import CONNECTIONS, Case, Comparison, Contender, Goal, Plan
from benchmarks.environments import MAAS_FRAMEWORKS, TRAINED
from benchmarks.load import wrk
from benchmarks.peer import Launch, Peer, Place, Target
from benchmarks.peers import PUBLISH_TIMEOUT_S, SERVERS, maas_launch, maas_variables
from benchmarks.processes import HOST, SPLIT
from benchmarks.trained import make_trained

BODY = "row"


def _variables(place: Place) -> dict[str, str]:
    return {
        "KERAS_MODEL": str(place.models / "model.h5"),
        "PIPELINE_MODEL": str(place.models / "pipeline.joblib"),
        "BENCHMARK_PORT": str(place.port),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


def _ours(model: str, file: str, *flags: str) -> Contender:
    def publish(peer: Peer, place: Place) -> None:
        python, path = str(peer.environment.python), str(place.models / file)
        done = subprocess.run(
            [python, "-m", "maas", "publish", path, "--name", model, *flags],
            capture_output=True,
            text=True,
            timeout=PUBLISH_TIMEOUT_S,
            check=False,
            cwd=place.folder,
            env={**os.environ, **maas_variables(place)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"publishing {file} failed: {(done.stdout + done.stderr)[-2000:]}")

    return Contender(
        Peer(
            name="maas",
            label="maas",
            environment=MAAS_FRAMEWORKS,
            ready_path="/readyz",
            targets={model: Target(f"/{model}/predict", BODY)},
            launch=maas_launch,
            publish=publish,
        )
    )


def _theirs(
    model: str,
    name: str,
    label: str,
    launch: Callable[[Peer, Place], Launch],
    connections: int = CONNECTIONS,
) -> Contender:
    targets = {model: Target("/predict", BODY)}
    return Contender(Peer(name, label, TRAINED, "/ready", targets, launch), connections)


def _by_hand(module: str) -> Callable[[Peer, Place], Launch]:
    def launch(peer: Peer, place: Place) -> Launch:
        uvicorn = str(peer.environment.program("uvicorn"))
        options = ("--loop", "uvloop", "--http", "httptools", "--workers", "1", "--no-access-log")
        where = ("--host", HOST, "--port", str(place.port), "--app-dir", str(SERVERS))
        return Launch((uvicorn, *options, *where, f"{module}:app"), _variables(place))

    return launch


def _flask(peer: Peer, place: Place) -> Launch:
    gunicorn = str(peer.environment.program("gunicorn"))
    options = ("--workers", "1", "--threads", "8", "--bind", f"{HOST}:{place.port}")
    where = ("--chdir", str(SERVERS), "--no-control-socket", "--timeout", "120")
    return Launch((gunicorn, *options, *where, "keras_flask:app"), _variables(place))


def _seed(peer: Peer, place: Place) -> Launch:
    command = (str(peer.environment.python), str(SERVERS / "keras_seed.py"))
    return Launch(command, _variables(place))


CASES = {
    "keras": Case(
        "Keras network 4-16-3 (model.h5)",
        (
            _ours("keras", "model.h5", "--trust"),
            _theirs("keras", "seed", "Flask as in the document", _seed, connections=1),
            _theirs("keras", "flask", "Flask, loaded once, model.predict", _flask, connections=8),
            _theirs("keras", "fastapi", "FastAPI, tf.function", _by_hand("keras_fastapi")),
        ),
        (Goal(1000, "seed"), Goal(300, "flask")),
    ),
    "pipeline": Case(
        "scikit-learn pipeline (scaler, logistic regression)",
        (
            _ours("pipeline", "pipeline.skops"),
            _theirs("pipeline", "fastapi", "FastAPI, predict_proba", _by_hand("pipeline_fastapi")),
        ),
        (Goal(5, "fastapi"),),
    ),
    "python": Case(
        "Python function of four floats (PythonModel, in its sandbox)",
        (
            _ours("python", "length.py", "--trust"),
            _theirs("python", "fastapi", "FastAPI, no sandbox", _by_hand("python_fastapi")),
        ),
        (Goal(8000),),
    ),
}


def _measure(plan: Plan, case: str, contender: Contender, index: int) -> dict[str, float]:
    peer = contender.peer
    place = plan.place(case, contender, index)
    with peer.running(place, SPLIT.server) as server:
        url = server.url + peer.targets[case].path
        body = plan.models / f"{BODY}.json"
        loads = [
            wrk(
                url,
                body,
                cores=SPLIT.load,
                connections=contender.connections,
                seconds=seconds,
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


COMPARISON = Comparison(
    name="frameworks",
    description="""Compare maas with a framework called from Flask or FastAPI by hand.

Cases:
  keras     a Keras network 4-16-3 in model.h5: the document's Flask handler, the same with the
            model loaded once, FastAPI with tf.function
  pipeline  a scikit-learn pipeline: FastAPI calling predict_proba
  python    a Python function of four floats: FastAPI without a sandbox
""",
    examples="""examples:
  python benchmarks/frameworks.py                                     everything, a few minutes
  python benchmarks/frameworks.py --cases keras --seconds 2 --rounds 1 --output /tmp/trial
""",
    cases=CASES,
    environments=(TRAINED, MAAS_FRAMEWORKS),
    models=make_trained,
    measure=_measure,
    port=18180,
    programs={},
)
