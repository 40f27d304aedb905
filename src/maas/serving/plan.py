"""The plan: the immutable snapshot of what every process must hold and where calls go.

Control writes it beside its place and renames; everybody else only reads. Keys travel in a
second file, so that revoking one does not touch the plan.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from maas.core.generation import GenerativeSpec
from maas.core.signature import Signature
from maas.core.states import ServableState

SCHEMA = 1
PLAN_FILE = "plan.msgpack"
KEYS_FILE = "keys.msgpack"


class VersionPlan(Struct, frozen=True):
    """One version.

    Args:
        state: where it is.
        reason: why it is not AVAILABLE, where there is something to say.
        host: id of the host that holds or will hold it; empty where none does.
        runtime: who loads it.
        platform: as Triton's `platform`.
        path: folder of the artifact.
        entry: file within it.
        format: the runtime's format.
        signatures: by name.
        attempt: how often it has been given to a host; one that failed there is tried again when
            this is another number.
        generative: what is known of a language model; None for any other.
    """

    state: ServableState
    reason: str
    host: str
    runtime: str
    platform: str
    path: str
    entry: str
    format: str
    signatures: dict[str, Signature]
    attempt: int = 0
    generative: GenerativeSpec | None = None


class ModelPlan(Struct, frozen=True):
    """One model: its versions by number, where unversioned calls go, and its aliases.

    `default` and `aliases` only name versions that have been AVAILABLE and are meant to stay so;
    one whose host is being restarted keeps them, and its calls wait. The aliases of a model that
    was unloaded stay too, so that their calls are told.
    """

    versions: dict[int, VersionPlan]
    default: int | None
    aliases: dict[str, int]


class HostPlan(Struct, frozen=True):
    """One host process: its socket, how often it has been started, and what it must hold."""

    socket: str
    incarnation: int
    dedicated: bool
    holds: tuple[tuple[str, int], ...]


class Plan(Struct, frozen=True):
    """Everything, replaced whole. `epoch` is one life of control, `number` counts within it.

    While `importing` the first round of watched folders is not over: no process is ready yet.
    """

    schema: int
    epoch: str
    number: int
    models: dict[str, ModelPlan]
    hosts: dict[str, HostPlan]
    importing: bool = False


EMPTY = Plan(SCHEMA, "", 0, {}, {})

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Plan)


def write_plan(run: Path, plan: Plan) -> None:
    """Replaces the plan file in the run folder."""
    replace_file(run / PLAN_FILE, _encoder.encode(plan))


def read_plan(run: Path) -> Plan:
    """Reads the plan.

    Raises:
        FileNotFoundError: control has not written one yet.
        RuntimeError: it is of another schema than this code's.
    """
    plan = _decoder.decode((run / PLAN_FILE).read_bytes())
    if plan.schema != SCHEMA:
        raise RuntimeError(f"the plan has schema {plan.schema}, this process reads {SCHEMA}")
    return plan


def replace_file(path: Path, data: bytes) -> None:
    """Writes beside the file and renames, so that a reader sees the old or the new, never half."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    beside.replace(path)
