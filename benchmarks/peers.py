"""The servers compared.

Every peer loads the same files and runs them with ONNX Runtime on one thread per call; each is
set up as its own documentation says, and as fast as it was found to go on one core.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from benchmarks import environments
from benchmarks.environments import HERE
from benchmarks.models import CLASSES, SIDE
from benchmarks.peer import Launch, Peer, Place, Target
from benchmarks.processes import HOST

SERVERS = HERE / "servers"
PUBLISH_TIMEOUT_S = 120.0


def _onnx_variables(place: Place) -> dict[str, str]:
    models = {"IRIS_MODEL": "iris.onnx", "IMAGE_MODEL": "image.onnx"}
    return {name: str(place.models / file) for name, file in models.items()}


def _flask(peer: Peer, place: Place) -> Launch:
    gunicorn = str(peer.environment.program("gunicorn"))
    options = ("--workers", "1", "--threads", "8", "--bind", f"{HOST}:{place.port}")
    where = ("--chdir", str(SERVERS), "--no-control-socket")
    return Launch((gunicorn, *options, *where, "flask_app:app"), _onnx_variables(place))


def _fastapi(peer: Peer, place: Place) -> Launch:
    uvicorn = str(peer.environment.program("uvicorn"))
    options = ("--loop", "uvloop", "--http", "httptools", "--workers", "1", "--no-access-log")
    where = ("--host", HOST, "--port", str(place.port), "--app-dir", str(SERVERS))
    return Launch((uvicorn, *options, *where, "fastapi_app:app"), _onnx_variables(place))


def _mlserver(peer: Peer, place: Place) -> Launch:
    settings = {
        "debug": False,
        "host": HOST,
        "http_port": place.port,
        "grpc_port": place.port + 1,
        "metrics_port": place.port + 2,
        "parallel_workers": 0,
    }
    (place.folder / "settings.json").write_text(json.dumps(settings))
    shutil.copy(SERVERS / "mlserver_model.py", place.folder)
    for name in ("iris", "image"):
        model = {
            "name": name,
            "implementation": "mlserver_model.OnnxModel",
            "parameters": {"uri": str(place.models / f"{name}.onnx")},
        }
        (place.folder / name).mkdir(exist_ok=True)
        (place.folder / name / "model-settings.json").write_text(json.dumps(model))
    program = str(peer.environment.program("mlserver"))
    return Launch((program, "start", str(place.folder)), {"PYTHONPATH": str(place.folder)})


# Preferred sizes and delay: the fastest of a dozen tried, on one core and on two.
TRITON_CONFIG = """
name: "{name}"
backend: "python"
max_batch_size: {batch}
input [ {{ name: "{input}" data_type: TYPE_FP32 dims: {dims} }} ]
output [ {outputs} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
dynamic_batching {{ preferred_batch_size: [ {preferred} ] max_queue_delay_microseconds: 300 }}
parameters {{ key: "onnx" value: {{ string_value: "{path}" }} }}
"""
TRITON_IRIS_OUTPUTS = (
    '{ name: "label" data_type: TYPE_INT64 dims: [ 1 ] reshape { shape: [ ] } },'
    '{ name: "probabilities" data_type: TYPE_FP32 dims: [ 3 ] }'
)
TRITON_IMAGE_OUTPUTS = f'{{ name: "scores" data_type: TYPE_FP32 dims: [ {CLASSES} ] }}'


TRITON_IRIS = {
    "input": "x",
    "dims": [4],
    "outputs": TRITON_IRIS_OUTPUTS,
    "batch": 64,
    "preferred": "16, 32",
}
TRITON_IMAGE = {
    "input": "images",
    "dims": [SIDE, SIDE, 3],
    "outputs": TRITON_IMAGE_OUTPUTS,
    "batch": 8,
    "preferred": "4, 8",
}


def _triton_repository(place: Place, configs: Mapping[str, Mapping[str, object]]) -> Path:
    repository = place.folder / "repository"
    for name, config in configs.items():
        version = repository / name / "1"
        version.mkdir(parents=True, exist_ok=True)
        shutil.copy(SERVERS / "triton_model.py", version / "model.py")
        text = TRITON_CONFIG.format(name=name, path=place.models / f"{name}.onnx", **config)
        (repository / name / "config.pbtxt").write_text(text)
    return repository


def triton_launch(
    peer: Peer, place: Place, configs: Mapping[str, Mapping[str, object]], *options: str
) -> Launch:
    """`tritonserver` of the peer's environment, with a Python backend for each model.

    Args:
        peer: Its environment.
        place: Where it may write and listen.
        configs: What goes into each model's configuration.
        options: Further ones of the command line.
    """
    packages = peer.environment.folder / "lib" / _python_folder() / "site-packages"
    carried = packages / "pytriton" / "tritonserver"
    backends = place.folder / "backends"
    if not backends.exists():
        shutil.copytree(carried / "backends", backends)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        stub = carried / "python_backend_stubs" / version / "triton_python_backend_stub"
        shutil.copy(stub, backends / "python")
    libraries = (
        str(packages / "nvidia_pytriton.libs"),
        str(sysconfig.get_config_var("LIBDIR")),
        os.environ.get("LD_LIBRARY_PATH", ""),
    )
    command = (
        str(carried / "bin" / "tritonserver"),
        f"--model-repository={_triton_repository(place, configs)}",
        f"--backend-directory={backends}",
        f"--http-address={HOST}",
        f"--http-port={place.port}",
        f"--metrics-address={HOST}",
        f"--metrics-port={place.port + 1}",
        *options,
    )
    # The Python backend's stub takes the environment of the first python3 it finds.
    variables = {
        "LD_LIBRARY_PATH": ":".join(folder for folder in libraries if folder),
        "PATH": f"{peer.environment.folder / 'bin'}:{os.environ['PATH']}",
    }
    return Launch(command, variables)


def _triton(peer: Peer, place: Place) -> Launch:
    configs = {"iris": TRITON_IRIS, "image": TRITON_IMAGE}
    return triton_launch(peer, place, configs, "--allow-grpc=false")


def _python_folder() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}"


def maas_variables(place: Place) -> dict[str, str]:
    """What points `maas` at its data folder and its server."""
    return {"MAAS_HOME": str(place.folder / "home"), "MAAS_URL": f"http://{HOST}:{place.port}"}


def maas_launch(peer: Peer, place: Place) -> Launch:
    """`maas serve` of the peer's environment, with an empty registry."""
    command = (str(peer.environment.python), "-m", "maas", "serve", "--port", str(place.port))
    return Launch(command, maas_variables(place))


def publish(peer: Peer, place: Place) -> None:
    """Publish the ONNX file of each of the peer's targets."""
    for name in peer.targets:
        python, file = str(peer.environment.python), str(place.models / f"{name}.onnx")
        done = subprocess.run(
            [python, "-m", "maas", "publish", file, "--name", name],
            capture_output=True,
            text=True,
            timeout=PUBLISH_TIMEOUT_S,
            check=False,
            cwd=place.folder,
            env={**os.environ, **maas_variables(place)},
        )
        if done.returncode != 0:
            raise RuntimeError(f"publishing {name} failed: {(done.stdout + done.stderr)[-2000:]}")


def _oip(model: str) -> Target:
    return Target(f"/v2/models/{model}/infer", f"{model}-oip")


_OIP = {model: _oip(model) for model in ("iris", "image")}

MAAS = Peer(
    name="maas",
    label="maas",
    environment=environments.MAAS,
    ready_path="/readyz",
    targets={**_OIP, "image": Target("/image/predict", "image-plain")},
    launch=maas_launch,
    publish=publish,
)
THREE_SMALL = replace(MAAS, targets={name: _oip(name) for name in ("iris", "wine", "digits")})
TRITON = Peer(
    name="triton",
    label="Triton",
    environment=environments.TRITON,
    ready_path="/v2/health/ready",
    targets=_OIP,
    launch=_triton,
)
FASTAPI = Peer(
    name="fastapi",
    label="FastAPI",
    environment=environments.FASTAPI,
    ready_path="/ready",
    targets={
        "iris": Target("/predict", "iris-plain"),
        "image": Target("/image/predict", "image-plain"),
    },
    launch=_fastapi,
)
FLASK = Peer(
    name="flask",
    label="Flask",
    environment=environments.FLASK,
    ready_path="/ready",
    targets={"iris": Target("/predict", "iris-plain")},
    launch=_flask,
)
MLSERVER = Peer(
    name="mlserver",
    label="MLServer",
    environment=environments.MLSERVER,
    ready_path="/v2/health/ready",
    targets=_OIP,
    launch=_mlserver,
)

PEERS = {peer.name: peer for peer in (MAAS, TRITON, FASTAPI, FLASK, MLSERVER)}
