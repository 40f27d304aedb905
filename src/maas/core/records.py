"""What the control API says and takes: one schema for the server, the SDK and the CLI."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct, field

from maas.core.generation import GenerativeSpec
from maas.core.signature import Signature
from maas.core.states import ServableState


class Role(StrEnum):
    """What a key may do; each role may do what those after it may."""

    OWNER = "owner"
    """Everything, keys included."""
    OPERATOR = "operator"
    """Everything but keys: publish models that carry code, besides what a publisher may."""
    PUBLISHER = "publisher"
    """Publish (data, not code), change and delete models; see logs and processes."""
    CALLER = "caller"
    """Call models and see which there are."""


class PublishOptions(Struct, frozen=True, omit_defaults=True):
    """What a publisher says about a version.

    Args:
        alias: aliases to set on the new version once it is loaded.
        description: free text, at most 10,000 characters.
        accuracy: measured on held-out data, 0 to 1.
        metrics: further measured figures by name.
        tags: short labels by name.
        promote: move unversioned traffic to the version once it is loaded and warm.
        trust: open a format that can carry code, in the sandbox.
        engine: the runtime that is to serve it; empty for the fastest that agrees.
        version: the number it is to have, for a folder that is imported with its own; None for
            the next one.
        quantize: of a language model's weights: `f16`, `q8_0` or `q4_0`; empty for the default.
        context_tokens: a smaller context than a language model's own; 0 for its own.
        served_names: further names by which bodies may ask for a language model.
        drop_params: leave out what its engine cannot do and say so, instead of refusing.
    """

    alias: tuple[str, ...] = ()
    description: str = ""
    accuracy: float | None = None
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    promote: bool = True
    trust: bool = False
    engine: str = ""
    version: int | None = None
    quantize: str = ""
    context_tokens: int = 0
    served_names: tuple[str, ...] = ()
    drop_params: bool = False


class EngineTiming(Struct, frozen=True):
    """One engine that could run the model, as measured at publish.

    Of a language model the rows are tokens of answers: µs a token with one caller, and with `batch`
    callers at once, all their tokens counted.

    Args:
        engine: the runtime's name.
        us_per_row_1: µs for a call of one row, with the threads that the host will have; 0 where it
            could not run, which the note explains.
        us_per_row_batch: µs a row in a call of `batch` rows.
        batch: rows of that call; of a language model, callers.
        agrees: whether its answers to the samples are the original's, within tolerance.
        note: why it was not chosen, one clause, where there is something to say.
    """

    engine: str
    us_per_row_1: float
    us_per_row_batch: float
    batch: int
    agrees: bool = True
    note: str = ""


class Parity(Struct, frozen=True):
    """How the served form compares with the original.

    Args:
        samples: rows compared.
        source: where they came from: `given`, `model` (its own thresholds, vocabulary, scaler).
        max_abs: largest absolute difference of any numeric output.
        max_rel: largest relative difference.
        distinct_answers: how many different answers the original gave; 1 proves nothing.
        agrees: within tolerance and on varied answers.
        note: what to know about it, one sentence, or empty.
    """

    samples: int
    source: str
    max_abs: float
    max_rel: float
    distinct_answers: int
    agrees: bool
    note: str = ""


class Report(Struct, frozen=True):
    """What publishing found, chose and proved.

    Args:
        format: recognised from content: `onnx`, `skops`, `pickle`, `keras`, `savedmodel`, …
        engine: the runtime that will serve it (`onnx`, `openvino`, `sklearn`, `python`, …).
        platform: as Triton's `platform`: `onnxruntime_onnx`, `sklearn`.
        host: `shared` or `dedicated`.
        lowered: whether it is served in a form other than the published one.
        reason: why this engine, one sentence.
        written_with: versions the file says it was made with (`{"scikit-learn": "1.7.2"}`).
        read_with: versions here.
        parity: the proof; None where there is no other form to compare with.
        batch_note: how the batch axis was proven, or why there is none.
        timings: engines compared.
        warnings: what a careful publisher would want to know.
        size_bytes: of the files served.
        memory_bytes: the runtime's upper bound.
        trusted: whether it was published with `--trust`.
        sandbox: what bound the process that opened it, a sentence each; what was lacking, too.
        confined: whether it is served in the sandbox as well.
        generative: what is known of a language model; None for any other.
    """

    format: str
    engine: str
    platform: str
    host: str
    lowered: bool
    reason: str
    written_with: dict[str, str]
    read_with: dict[str, str]
    parity: Parity | None
    batch_note: str
    timings: tuple[EngineTiming, ...]
    warnings: tuple[str, ...]
    size_bytes: int
    memory_bytes: int
    trusted: bool = False
    sandbox: tuple[str, ...] = ()
    confined: bool = False
    generative: GenerativeSpec | None = None


class VersionRecord(Struct, frozen=True):
    """One version as `GET /api/models/NAME/versions/N` shows it.

    Args:
        state: whether it is loaded; the registry alone says END.
        reason: why it is not loaded, or what happened last; empty when all is well.
        digest: `sha256:…` of what was published.
        created_at: RFC 3339, UTC.
    """

    name: str
    version: int
    digest: str
    created_at: str
    created_by: str
    signatures: dict[str, Signature]
    report: Report
    description: str = ""
    accuracy: float | None = None
    metrics: dict[str, float] = {}
    tags: dict[str, str] = {}
    aliases: tuple[str, ...] = ()
    state: ServableState = ServableState.END
    reason: str = ""
    process: str = ""


class ModelRecord(Struct, frozen=True):
    """One model as `GET /api/models/NAME` shows it.

    Args:
        default_version: what unversioned calls should reach; None where nothing was promoted.
        serving_version: what they reach now; differs while a rollout is under way or failed.
        previous_version: what `rollback` restores; None where there is nothing to go back to.
        aliases: alias → version.
        versions: newest first.
        state: of the version that serves, else of the one that should.
        unloaded: it was taken off the memory by hand, and stays so until it is loaded again.
    """

    name: str
    created_at: str
    default_version: int | None
    serving_version: int | None
    previous_version: int | None
    aliases: dict[str, int]
    versions: tuple[VersionRecord, ...]
    state: ServableState = ServableState.END
    reason: str = ""
    unloaded: bool = False


class Page(Struct, frozen=True):
    """A page of models; `cursor` continues after it, None at the end."""

    models: tuple[ModelRecord, ...]
    cursor: str | None = None


class OperationState(StrEnum):
    """How a job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class OperationEvent(Struct, frozen=True):
    """One step of a job.

    Args:
        sequence: counts from 1 within its job.
        stage: detect, scan, inspect, lower, prove, time, commit, load, done or failed.
        message: what is being done, or what came of it.
        fraction: 0 to 1 over the whole job.
    """

    sequence: int
    stage: str
    message: str
    fraction: float


class ErrorBody(Struct, frozen=True):
    """An error of the control API: `{"error": {"kind", "message", "request_id"}}`."""

    kind: str
    message: str
    request_id: str = ""


class Operation(Struct, frozen=True):
    """A publish job. `created` is False where the same bytes and options were there already."""

    id: str
    state: OperationState
    model: str
    events: tuple[OperationEvent, ...] = ()
    version: VersionRecord | None = None
    created: bool = False
    error: ErrorBody | None = None


class ImportRecord(Struct, frozen=True):
    """One thing found in a watched folder of models.

    Args:
        model: the model; empty for what could not be told to belong to one.
        folder: the name of the folder or file, without where it lies.
        version: its number; None where it has none.
        state: `waiting`, `importing`, `imported` or `refused`.
        reason: why it waits or was refused; empty when all is well.
    """

    model: str
    folder: str
    version: int | None
    state: str
    reason: str = ""


class ProcessRecord(Struct, frozen=True):
    """One process of the server.

    Args:
        kind: supervisor, control, ingress or host.
        models: servables it holds, as `name:version`.
        memory_bytes: resident now.
        cpu_s: processor seconds since it started.
        restarts: how often one of this name has been started again.
    """

    id: str
    kind: str
    pid: int
    state: str
    models: tuple[str, ...]
    memory_bytes: int
    cpu_s: float
    started_at: str
    restarts: int
    reason: str = ""


class KeyRecord(Struct, frozen=True):
    """A key as it is listed: never the key itself, which is shown once, at its making."""

    id: str
    name: str
    role: Role
    created_at: str
    revoked_at: str | None = None


class NewKey(Struct, frozen=True):
    """The one answer that holds the key."""

    record: KeyRecord
    key: str


class KeyRequest(Struct, frozen=True):
    """`POST /api/keys`."""

    name: str
    role: Role = Role.CALLER


class VersionPatch(Struct, frozen=True):
    """`PATCH /api/models/NAME/versions/N`; what is absent stays as it is."""

    description: str | None = None
    accuracy: float | None = None
    metrics: dict[str, float] | None = None
    tags: dict[str, str] | None = None


class AliasRequest(Struct, frozen=True):
    """`PUT /api/models/NAME/aliases/ALIAS`."""

    version: int


class DeploymentRequest(Struct, frozen=True):
    """`PUT /api/deployments/NAME`: `{"traffic": {"3": 100}}`.

    One version with weight 100 until weighted routes are built; anything else is answered 501.
    """

    traffic: dict[str, int] = field(default_factory=dict)


class ServerInfo(Struct, frozen=True):
    """`GET /api`: what runs, and how to reach it."""

    version: str
    url: str
    front: str
    grpc: bool
    auth: str
    home: str
    ready: bool
    started_at: str
    note: str = ""
