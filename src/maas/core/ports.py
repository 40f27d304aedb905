"""The plugin interface: what a runtime, an engine and a fleet are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

from msgspec import Struct

from maas.core.errors import MaasError
from maas.core.generation import Delta, GenerateRequest, GenerationCounts, GenerativeSpec
from maas.core.identity import ModelRef
from maas.core.messages import CallContext, GenerateCall, InferCall, InferReply, ModelView
from maas.core.signature import Signature
from maas.core.tensor import Tensors


class Artifact(Struct, frozen=True):
    """A published version's files, read-only.

    Args:
        path: the folder that holds them.
        entry: the file within it that the runtime opens.
        format: one of the runtime's `formats`.
        signatures: what publishing found and proved.
        generative: what it found out about a language model; None for any other.
    """

    path: str
    entry: str
    format: str
    signatures: dict[str, Signature]
    generative: GenerativeSpec | None = None

    @property
    def file(self) -> Path:
        """The entry file."""
        return Path(self.path) / self.entry


class Resources(Struct, frozen=True):
    """What loading may take, an upper bound. `memory_bytes` is resident memory."""

    memory_bytes: int


class GenerationBounds(Struct, frozen=True):
    """What one language model may take.

    Args:
        threads: of its engine.
        kv_bytes: of its KV cache.
        sequences: answers written at once; further ones wait.
        waiting: answers that may wait; past it a call is refused.
        batch_tokens: tokens of prompts and answers in one step.
        max_tokens: of an answer where the caller sets no limit; 0 for what the context leaves.
        template_s: how long a chat template may take, seconds.
        template_bytes: how long a text it may make.
        yielding: its threads leave the processor to whatever else wants it.
    """

    threads: int = 1
    kv_bytes: int = 256 << 20
    sequences: int = 32
    waiting: int = 256
    batch_tokens: int = 256
    max_tokens: int = 0
    template_s: float = 2.0
    template_bytes: int = 4 << 20
    yielding: bool = False


class Device(Struct, frozen=True):
    """Where to load: `cpu`, how many threads one call may use, a language model's bounds."""

    kind: str = "cpu"
    threads: int = 1
    generation: GenerationBounds = GenerationBounds()


class Servable(Protocol):
    """A loaded version. Synchronous: the host owns the thread, and calls it from one at a time.

    One that waits for something else than this machine's processor may have an attribute
    `concurrency`: it is called from so many threads at once. One whose work another server does has
    `remote`, which is true: it is loaded without being called, since that server may be away.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        ...

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call (or one batch of a batched signature).

        Raises:
            MaasError: INVALID_ARGUMENT where the model itself refuses the values.
        """
        ...

    def close(self) -> None:
        """Gives memory and threads back; called once."""
        ...


Deliver = Callable[[Sequence[tuple[int, Delta | MaasError]]], None]
"""Takes what one step gave to calls, by the number of each call. Called from an engine's thread; a
`MaasError` ends its call, and so does the delta that carries the usage."""


@runtime_checkable
class Generative(Protocol):
    """A loaded language model. It batches inside, on a thread of its own.

    Tokens are pushed, since a step gives one to many calls at once: all that goes to one `deliver`
    in one step goes in one call of it.

    Attributes:
        on_failure: called, on the engine's thread, once the engine has broken and every call has
            been told: the model is of no more use. Whoever holds it may set another.
    """

    on_failure: Callable[[], object]

    def start(self, number: int, request: GenerateRequest, deliver: Deliver) -> None:
        """Takes a call; returns at once. Called from any thread.

        Args:
            number: the call's, unique among those of this `deliver`.
            request: what is asked. What is wrong with it is delivered as an error:
                INVALID_ARGUMENT for a prompt that is too long or a template that fails,
                RESOURCE_EXHAUSTED where too many wait.
            deliver: where its deltas go.

        Raises:
            MaasError: UNAVAILABLE where it takes no more calls: it is being closed, or has broken.
        """
        ...

    def cancel(self, number: int, deliver: Deliver) -> None:
        """Nobody wants the rest of that call: its place is free after the step under way.

        Nothing is delivered for it from then on (what is on its way may still come). Unknown
        numbers are ignored: the call may have ended meanwhile.
        """
        ...

    def counts(self) -> GenerationCounts:
        """How busy it is."""
        ...

    def close(self) -> None:
        """Ends its thread and gives memory back; called once."""
        ...


class Runtime(Protocol):
    """One framework. Its module imports the framework inside `load`, never at its own import.

    Attributes:
        confined: whether what it loads can carry code, so that it serves in the sandbox for life.
    """

    name: str
    platform: str
    formats: frozenset[str]
    host: Literal["shared", "dedicated"]
    confined: bool

    def estimate(self, artifact: Artifact) -> Resources:
        """An upper bound of what `load` will hold."""
        ...

    def load(self, artifact: Artifact, device: Device) -> Servable | Generative:
        """Loads a version.

        Raises:
            MaasError: FAILED_PRECONDITION with the reason, where it cannot be loaded.
        """
        ...


@runtime_checkable
class Accelerated(Protocol):
    """What a runtime has besides that needs more than its package: a device and its driver.

    Attributes:
        device: what it computes on, such as `cuda`. Its memory is not measured.
    """

    device: str

    def lacking(self) -> str:
        """What is not there, and how to get it; empty where it can serve.

        Asked wherever engines are chosen among, so it opens nothing.
        """
        ...


class Engine(Protocol):
    """What answers calls. Gate and Meter wrap one and are one."""

    def resolve(self, ref: ModelRef, context: CallContext) -> ModelView:
        """Says which version a reference means now.

        Raises:
            MaasError: NOT_FOUND for an unknown model, version or alias, PERMISSION_DENIED,
                UNAVAILABLE where no version serves.
        """
        ...

    async def infer(self, call: InferCall) -> InferReply:
        """Answers one prediction.

        Raises:
            MaasError: DEADLINE_EXCEEDED, UNAVAILABLE, RESOURCE_EXHAUSTED, or the model's own.
        """
        ...

    def generate(self, call: GenerateCall) -> AsyncGenerator[Delta]:
        """Answers a call of a language model, as it is written. Close it to cancel the call.

        Raises:
            MaasError: as `infer`; also after deltas, where the model's process dies.
        """
        ...


def load_servable(runtime: Runtime, artifact: Artifact, device: Device) -> Servable:
    """Loads a version that is no language model.

    Raises:
        MaasError: the runtime's own.
        TypeError: it is one.
    """
    loaded = runtime.load(artifact, device)
    if isinstance(loaded, Generative):
        loaded.close()
        raise TypeError(f"{runtime.name} loads language models")
    return loaded
