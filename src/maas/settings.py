"""One frozen tree of settings, parsed once, in a composition root.

Order: command-line flags, then `MAAS_SECTION_FIELD` variables (and the short ones of `SHORT`),
then `maas.toml`, then the defaults below. A component receives only its own slice.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

MIB = 1 << 20
_ORIGIN = re.compile(r"https?://[^/?#@=\s]+:[0-9]{1,5}")


class ServerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Where and how the data plane listens."""

    host: str = "127.0.0.1"
    """Address of the main listener."""
    port: int = 8080
    """Port of the main listener."""
    listen: tuple[str, ...] = ()
    """Further listeners, each `HOST:PORT`, with every protocol on each."""
    front: Literal["auto", "envoy", "uvicorn"] = "auto"
    """What holds the port; `auto` is Envoy where it can be embedded, else uvicorn."""
    auth: Literal["auto", "open", "required"] = "auto"
    """Whether predictions want a key; `auto` is open on loopback, required anywhere else."""
    batch_scheduling: bool = True
    """Run under Linux's SCHED_BATCH: a third more requests on a busy core. Turn it off where other
    programs keep every core busy: those are given precedence when our threads wake."""
    drain_s: float = 25.0
    """How long calls in flight may take to end after the first SIGTERM."""


class PathSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Folders. Empty means the default, which `resolve_paths` fills in."""

    home: str = ""
    """Data folder: database, artifacts, keys; `$XDG_DATA_HOME/maas` by default."""
    run: str = ""
    """Sockets of one running server; short, since socket paths end at 108 bytes."""


class KeySettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The owner's key."""

    owner: str = ""
    """The owner's key itself (`MAAS_OWNER_KEY`); made at first start when empty."""
    owner_file: str = ""
    """A file that holds the owner's key."""


class LimitSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What every prediction and upload meets."""

    body_bytes: int = 64 * MIB
    """Largest body of a prediction, after decompression."""
    bodies_bytes: int = 1024 * MIB
    """Request bodies that one ingress holds at a time, half-read ones included; past it large
    requests are answered 429."""
    upload_bytes: int = 16 * 1024 * MIB
    """Largest upload of a model."""
    call_s: float = 60.0
    """Deadline of a prediction that names none."""
    waiting_rows: int = 16_384
    """Rows that may wait for one version in one ingress; past it calls are answered 429."""


class ServingSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """How models are loaded and run."""

    batch_rows: int = 256
    """Most rows run as one batch."""
    frames: int = 2
    """Frames one ingress may have under way to one version of a batched model."""
    single_frames: int = 16
    """The same for a model without a batch axis."""
    threads: int = 1
    """Threads one call of an engine may use."""
    load_s: float = 300.0
    """How long a version may take to load before that counts as failure."""
    unload_s: float = 120.0
    """How long a version that is replaced may take to finish what it is writing."""
    grace_s: float = 10.0
    """A dedicated host this long past a call's deadline is killed."""
    segment_bytes: int = 256 * MIB
    """Shared memory that one process may hold to hand large tensors to another; past it they
    travel through sockets. 0 turns it off."""
    worker_bytes: int = 4 * 1024 * MIB
    """Resident memory at which the sandboxed process of a model that carries code is killed."""
    worker_threads: int = 256
    """Threads that such a process may have."""


class PublishSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Bounds of the publish pipeline."""

    samples: int = 512
    """Rows that a proof is made on."""
    inspect_s: float = 600.0
    """Wall-clock limit of the child that inspects, lowers and proves."""
    inspect_bytes: int = 8 * 1024 * MIB
    """Resident memory at which that child is killed."""
    concurrent: int = 2
    """Publish jobs that run at once; further ones wait."""
    threads: int = 0
    """Threads an engine is timed with; 0 for those of `serving.threads`."""


class ImportSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of models that is watched, as other servers watch theirs; at most one of the three.

    What carries code in it is opened only with `trust`, in the sandbox.
    """

    repository: str = ""
    """A Triton model repository: a folder for each model, with `1/`, `2/` … in each."""
    base_path: str = ""
    """A folder with the versions of one model, `1/`, `2/` …; `model_name` says which model."""
    model_name: str = ""
    """The name of the model in `base_path`."""
    config_file: str = ""
    """A TensorFlow Serving `models.config`, which names models and their folders."""
    poll_s: float = 2.0
    """How often to look, and how long a folder must stay unchanged to count as complete; 0 looks
    once, at the start."""
    trust: bool = False
    """Import what can carry code (Python backends, pickles) as well."""


class GenerationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Language models."""

    threads: int = 0
    """Threads of one model's engine; 0 for one for each core."""
    kv_bytes: int = 0
    """Memory of one model's KV cache; 0 for what its sequences can use, and at most a quarter of
    what is free when it is loaded."""
    sequences: int = 32
    """Answers that one model writes at once; further ones wait."""
    waiting: int = 256
    """Answers that may wait for one model; past it calls are answered 429."""
    batch_tokens: int = 256
    """Tokens of prompts and answers that one step of an engine works on."""
    max_tokens: int = 0
    """Tokens of an answer where the caller sets no limit; 0 for what the context leaves."""
    infer_tokens: int = 256
    """The same for calls that have no way to set one, such as `/NAME/predict`."""
    first_token_s: float = 600.0
    """How long an answer may take to begin."""
    token_s: float = 60.0
    """How long it may take to go on, and a client to take what has been written."""
    template_s: float = 2.0
    """How long a chat template may take."""
    template_bytes: int = 4 * MIB
    """How long a text it may make."""
    yielding: bool = True
    """Engines of language models leave the processor to everything else that wants it, unless they
    starve, so that small models beside them stay quick (Linux's SCHED_IDLE)."""


class DefaultSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Models that `/predict` and `/classify` go to when the body names none."""

    predict: str = ""
    classify: str = ""
    chat: str = ""
    """The language model of chats that name none."""


class UpstreamSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Models that another server serves, published by their URL."""

    networks: tuple[str, ...] = ()
    """Networks that may be called beside public addresses, such as `10.1.0.0/16`; loopback, private
    and link-local addresses are refused unless they lie in one of these."""
    keys: tuple[str, ...] = ()
    """Keys of those servers, each `ORIGIN=VARIABLE`: to `https://models.example:443` the value of
    that environment variable is sent as `Authorization: Bearer`, and to no other server."""
    call_s: float = 30.0
    """How long another server may take to answer a call."""
    connect_s: float = 5.0
    """How long connecting to it may take."""
    answer_bytes: int = 64 * MIB
    """The longest answer that is taken from it."""
    calls: int = 8
    """Calls of one version that may be under way to it at once."""


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole tree."""

    server: ServerSettings = ServerSettings()
    paths: PathSettings = PathSettings()
    keys: KeySettings = KeySettings()
    limits: LimitSettings = LimitSettings()
    serving: ServingSettings = ServingSettings()
    publish: PublishSettings = PublishSettings()
    imports: ImportSettings = ImportSettings()
    generation: GenerationSettings = GenerationSettings()
    defaults: DefaultSettings = DefaultSettings()
    upstream: UpstreamSettings = UpstreamSettings()


SHORT = {
    "MAAS_HOME": ("paths", "home"),
    "MAAS_HOST": ("server", "host"),
    "MAAS_PORT": ("server", "port"),
    "PORT": ("server", "port"),
    "MAAS_AUTH": ("server", "auth"),
    "MAAS_FRONT": ("server", "front"),
    "MAAS_OWNER_KEY": ("keys", "owner"),
}
"""Variables with names of their own; an earlier one of the same field wins."""


class SettingsError(ValueError):
    """A setting that cannot be read: which one, from where, and what was expected."""


def load_settings(
    flags: Mapping[str, Mapping[str, Any]], environ: Mapping[str, str], file: Path | None = None
) -> Settings:
    """Reads the tree.

    Args:
        flags: `{section: {field: value}}` from the command line; None values are ignored.
        environ: the process's environment.
        file: a TOML file with the sections as tables, or None.

    Raises:
        SettingsError: an unknown field or a value of the wrong type.
    """
    tree: dict[str, dict[str, Any]] = {}
    if file is not None:
        try:
            tree = tomllib.loads(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise SettingsError(f"{file}: {error.strerror or error}") from None
        except ValueError as error:  # not TOML, or not UTF-8
            raise SettingsError(f"{file}: {error}") from None
        for section, table in tree.items():
            if not isinstance(table, dict):
                raise SettingsError(f"{file}: {section} is {table!r}; expected a table")
    for section, name, value in _from_environ(environ):
        tree.setdefault(section, {})[name] = value
    for section, fields in flags.items():
        for name, value in fields.items():
            if value is not None:
                tree.setdefault(section, {})[name] = value
    try:
        settings = msgspec.convert(tree, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from None
    if not 0 < settings.server.port < 1 << 16:
        raise SettingsError(f"server.port is {settings.server.port}; expected 1 to 65535")
    _check_upstream(settings.upstream)
    if not settings.publish.threads:
        publish = msgspec.structs.replace(settings.publish, threads=settings.serving.threads)
        settings = msgspec.structs.replace(settings, publish=publish)
    return resolve_paths(settings, environ)


def _check_upstream(upstream: UpstreamSettings) -> None:
    for text in upstream.networks:
        try:
            ipaddress.ip_network(text)
        except ValueError as error:
            raise SettingsError(
                f"upstream.networks: {error}; expected a network such as 10.1.0.0/16"
            ) from None
    for text in upstream.keys:
        origin, equals, variable = text.partition("=")
        if not (equals and variable and _ORIGIN.fullmatch(origin)):
            # The text may be a key that somebody has put here by mistake.
            raise SettingsError(
                "upstream.keys: an entry is not ORIGIN=VARIABLE; expected one such as "
                "https://models.example:443=MODELS_KEY"
            )
    if min(upstream.call_s, upstream.connect_s, upstream.answer_bytes, upstream.calls) <= 0:
        raise SettingsError(
            "upstream: call_s, connect_s, answer_bytes and calls are numbers above 0"
        )


def _from_environ(environ: Mapping[str, str]) -> list[tuple[str, str, Any]]:
    found: list[tuple[str, str, Any]] = []
    for section in Settings.__struct_fields__:
        for name in type(getattr(Settings(), section)).__struct_fields__:
            value = environ.get(f"MAAS_{section}_{name}".upper())
            if value is not None:
                listed = isinstance(getattr(getattr(Settings(), section), name), tuple)
                found.append((section, name, value.split(",") if listed else value))
    taken = {(section, name) for section, name, _ in found}
    for variable, (section, name) in SHORT.items():
        if variable in environ and environ[variable] != "" and (section, name) not in taken:
            found.append((section, name, environ[variable]))
            taken.add((section, name))
    return found


def resolve_paths(settings: Settings, environ: Mapping[str, str]) -> Settings:
    """Fills in the folders that were left empty."""
    home = settings.paths.home
    if not home:
        data = environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        home = str(Path(data) / "maas")
    home = str(Path(home).expanduser().resolve())
    run = settings.paths.run
    if not run:
        base = environ.get("XDG_RUNTIME_DIR")
        if not base or len(base) > 40 or not Path(base).is_dir():
            base = tempfile.gettempdir()
        digest = _short_digest(home)
        run = str(Path(base) / f"maas-{os.getuid()}-{digest}")
    paths = PathSettings(home=home, run=run)
    return msgspec.structs.replace(settings, paths=paths)


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def needs_key(server: ServerSettings) -> bool:
    """Whether predictions want a key: the setting, else whether any listener is not loopback."""
    if server.auth != "auto":
        return server.auth == "required"
    hosts = [server.host, *(text.rpartition(":")[0] for text in server.listen)]
    return any(not is_loopback(host) for host in hosts)


def local_address(server: ServerSettings) -> str:
    """The address at which this machine itself reaches the main listener, without brackets."""
    host = server.host.strip("[]")
    # Every address of the machine is also its loopback one.
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104


def local_url(server: ServerSettings) -> str:
    """The URL at which this machine itself reaches the server."""
    host = local_address(server)
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own (`127.0.0.0/8`, `::1`, `localhost`)."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
