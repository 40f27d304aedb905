"""`maas serve`: reads the settings and becomes the supervisor."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maas.cli import options
from maas.cli.publish import name_models
from maas.cli.watching import check_watched
from maas.core.errors import invalid
from maas.core.upstreams import looks_like_upstream
from maas.settings import ServerSettings, Settings, SettingsError, load_settings, local_url


class Front(StrEnum):
    """What holds the port."""

    AUTO = "auto"
    ENVOY = "envoy"
    UVICORN = "uvicorn"


class Auth(StrEnum):
    """Whether predictions want a key."""

    AUTO = "auto"
    OPEN = "open"
    REQUIRED = "required"


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command(
        "serve", epilog="Example: maas serve iris.onnx --port 8080, then curl localhost:8080/readyz"
    )(serve)


def serve(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH", help="Files or folders to publish once it is ready."),
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address; 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 8080.")] = None,
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="HOST:PORT", help="A further listener; repeatable."),
    ] = None,
    config: Annotated[
        str | None, typer.Option("--config", help="A maas.toml; flags and MAAS_* come before it.")
    ] = None,
    front: Annotated[Front | None, typer.Option("--front", help="What holds the port.")] = None,
    auth: Annotated[
        Auth | None, typer.Option("--auth", help="Whether predictions want a key.")
    ] = None,
    home: Annotated[str | None, typer.Option("--home", help="The data folder.")] = None,
    owner_key_file: Annotated[
        str | None, typer.Option("--owner-key-file", help="A file that holds the owner's key.")
    ] = None,
    then: Annotated[
        str | None,
        typer.Option(
            "--then", metavar="COMMAND", help="Run once it is ready; if it fails, so does serving."
        ),
    ] = None,
    workers: Annotated[int, typer.Option("--workers", help="Ingress processes; 1.")] = 1,
    model_repository: options.ModelRepository = None,
    model_base_path: options.ModelBasePath = None,
    model_name: options.ModelName = None,
    model_config_file: options.ModelConfigFile = None,
    poll: options.PollSeconds = None,
    name: options.PublishName = None,
    alias: options.Alias = None,
    description: options.Description = "",
    accuracy: options.Accuracy = None,
    metric: options.Metric = None,
    tag: options.Tag = None,
    card: options.Card = None,
    sample: options.Sample = None,
    code: options.Code = None,
    trust: options.Trust = False,
    engine: options.Engine = "",
    quantize: options.Quantize = "",
    context: options.Context = 0,
    served_name: options.ServedName = None,
    drop_params: options.DropParams = False,
    no_promote: options.NoPromote = False,
) -> None:
    """Serve models on one port; publish the PATHs first, if any.

    With --model-repository, --model-base-path or --model-config-file a folder is watched as
    Triton and TensorFlow Serving watch theirs: maas serve --model-repository models/
    """
    if workers != 1:
        raise invalid("--workers: more than one ingress is not built yet; leave it at 1")
    flags: dict[str, dict[str, object]] = {
        "server": {
            "host": host,
            "port": port,
            "listen": tuple(listen) if listen else None,
            "front": front,
            "auth": auth,
        },
        "paths": {"home": home},
        "keys": {"owner_file": _absolute(owner_key_file)},
        "imports": {
            "repository": model_repository,
            "base_path": model_base_path,
            "model_name": model_name,
            "config_file": model_config_file,
            "poll_s": poll,
            "trust": trust or None,
        },
    }
    settings = load_settings(flags, os.environ, Path(config) if config else None)
    settings = check_watched(settings)
    check_listeners(settings.server)
    after: list[str] = shlex.split(then) if then else []
    if paths and after:
        raise invalid("--then and PATHs to publish exclude each other; publish in the command")
    url = local_url(settings.server)
    if paths:
        named = name_models(paths, name)
        about = publish_flags(
            alias,
            description,
            accuracy,
            metric,
            tag,
            card,
            sample,
            code,
            engine,
            quantize,
            context,
            served_name,
            drop_params=drop_params,
            trust=trust,
            no_promote=no_promote,
        )
        if name is not None:
            about = ["--name", name, *about]
        after = publish_command([path for path, _ in named], about, settings)
    elif name is not None:
        raise invalid("--name goes with a PATH to publish")
    command = [sys.executable, "-P", "-m", "maas.supervisor", "--settings", str(write(settings))]
    # -P everywhere: nothing is imported from the folder that this happens to be started in.
    if after:
        command += ["--then", json.dumps(after)]
        # The command finds this server, and its key, where clients look for them.
        os.environ["MAAS_URL"] = url
        os.environ["MAAS_HOME"] = settings.paths.home
        if settings.keys.owner:
            os.environ["MAAS_API_KEY"] = settings.keys.owner
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  # becomes the supervisor: same pid, no shell


def check_listeners(server: ServerSettings) -> None:
    """Checks what a listener can be given.

    Raises:
        SettingsError: a port outside 1 to 65535, or a listener that is not `HOST:PORT`.
    """
    ports = [(str(server.port), "server.port")]
    for text in server.listen:
        host, _, port = text.rpartition(":")
        if not host:
            raise SettingsError(f"listener {text!r} is not HOST:PORT, such as 0.0.0.0:8000")
        ports.append((port, f"listener {text!r}"))
    for text, where in ports:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65_535):
            raise SettingsError(f"{where}: {text!r} is not a port; expected 1 to 65535")


def publish_flags(
    alias: Sequence[str] | None,
    description: str,
    accuracy: float | None,
    metric: Sequence[str] | None,
    tag: Sequence[str] | None,
    card: str | None,
    sample: str | None,
    code: Sequence[str] | None,
    engine: str,
    quantize: str,
    context: int,
    served_name: Sequence[str] | None,
    *,
    drop_params: bool,
    trust: bool,
    no_promote: bool,
) -> list[str]:
    """Writes the publish flags out again, after checking those that have a form.

    Raises:
        MaasError: INVALID_ARGUMENT for a metric or tag that is not `NAME=VALUE`.
    """
    options.parse_metrics(metric)
    options.parse_tags(tag)
    flags: list[str] = []
    modules = [str(Path(path).expanduser().resolve()) for path in code or ()]
    repeated = (
        ("--alias", alias),
        ("--metric", metric),
        ("--tag", tag),
        ("--code", modules),
        ("--served-name", served_name),
    )
    for flag, values in repeated:
        for value in values or ():
            flags += [flag, value]
    single = {
        "--description": description or None,
        "--accuracy": None if accuracy is None else repr(accuracy),
        "--card": _absolute(card),
        "--sample": _absolute(sample),
        "--engine": engine or None,
        "--quantize": quantize or None,
        "--context": str(context) if context else None,
    }
    for flag, text in single.items():
        if text is not None:
            flags += [flag, text]
    switches = {"--drop-params": drop_params, "--trust": trust, "--no-promote": no_promote}
    return [*flags, *(flag for flag, given in switches.items() if given)]


def publish_command(paths: Sequence[str], flags: Sequence[str], settings: Settings) -> list[str]:
    """The `maas publish` that the supervisor starts once the server is ready."""
    command = [sys.executable, "-P", "-m", "maas", "publish", *flags, "--wait-ready"]
    command += ["--url", local_url(settings.server)]
    if not settings.keys.owner:
        file = settings.keys.owner_file or str(Path(settings.paths.home) / "owner.key")
        command += ["--key-file", file]
    whole = (p if looks_like_upstream(p) else str(Path(p).expanduser().resolve()) for p in paths)
    return [*command, "--", *whole]


def write(settings: Settings) -> Path:
    """Writes the settings for the supervisor, readable by this user alone.

    Raises:
        SettingsError: the folder for sockets belongs to somebody else.
    """
    import msgspec

    run = Path(settings.paths.run)
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = run.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o077 or run.is_symlink():
        # In a shared temporary folder another user may have made it first, to read the key.
        raise SettingsError(
            f"{run} is not this user's own 0700 folder; remove it or set MAAS_PATHS_RUN"
        )
    # A file for each supervisor: a second start must not change what the first one's children
    # read when they are restarted, before it learns that the data folder is taken.
    for left in run.glob("settings-*.json"):
        if not _is_alive(left.stem.removeprefix("settings-")):
            left.unlink(missing_ok=True)
    path = run / f"settings-{os.getpid()}.json"
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(settings))
    return path


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ProcessLookupError, ValueError):
        return False
    except PermissionError:
        return True
    return True


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().resolve())
