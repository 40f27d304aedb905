"""ONNX through ONNX Runtime on the CPU.

An artifact's folder holds the model and, where it has them, its external data files. Publishing
has checked that external data stays inside that folder (`maas.publish.external_data`). A model of
several signatures is a file for each, `<signature>.onnx`, beside the entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import DEFAULT_SIGNATURE, Signature
from maas.core.tensor import DType, Tensors
from maas.runtimes.onnx_bfloat import runner_of
from maas.runtimes.text import to_bytes, to_str
from maas.runtimes.wording import one_sentence

MIB = 1 << 20
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class OnnxRuntime:
    """Serves `onnx` artifacts; they are data, so many share one host."""

    name = "onnx"
    platform = "onnxruntime_onnx"
    formats = frozenset({"onnx"})
    host: Literal["shared", "dedicated"] = "shared"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """Four times the files, and 32 MiB for the session itself.

        While loading, weights exist as file contents, as parsed message, as the session's own
        copy and (packed for the matrix kernels) once more.
        """
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=4 * files + 32 * MIB)

    def load(self, artifact: Artifact, device: Device) -> OnnxServable:
        """Opens a session.

        Raises:
            MaasError: FAILED_PRECONDITION where ONNX Runtime cannot open the model.
        """
        try:
            sessions = {
                name: open_session(file, device.threads)
                for name, file in files_of(artifact).items()
            }
        except MaasError as error:
            raise MaasError(ErrorKind.FAILED_PRECONDITION, error.message) from error
        return OnnxServable(sessions, artifact.signatures)


class OnnxServable:
    """A loaded ONNX model.

    Args:
        sessions: an `onnxruntime.InferenceSession` for each signature.
        signatures: what they take and give.
    """

    def __init__(self, sessions: Mapping[str, Any], signatures: Mapping[str, Signature]):
        self._signatures = dict(signatures)
        self._runs = {name: runner_of(s, signatures[name]) for name, s in sessions.items()}
        self._refusals = _refusals()
        # The names are looked up once: infer() is on the path of every call.
        self._outputs = {n: [o.name for o in s.outputs] for n, s in signatures.items()}
        self._text_inputs = {n: _bytes_names(s.inputs) for n, s in signatures.items()}
        self._text_outputs = {n: _bytes_names(s.outputs) for n, s in signatures.items()}

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the model refuses the values, RESOURCE_EXHAUSTED
                where memory ran out.
        """
        text = self._text_inputs[signature]
        if text:
            inputs = {**inputs, **{name: to_str(name, inputs[name]) for name in text}}
        names = self._outputs[signature]
        try:
            outputs = dict(zip(names, self._runs[signature](names, inputs), strict=True))
        except self._refusals as error:
            raise invalid(f"the model refused these values: {one_sentence(error)}") from error
        except MemoryError as error:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running"
            ) from error
        for name in self._text_outputs[signature]:
            outputs[name] = to_bytes(outputs[name])
        return outputs

    def close(self) -> None:
        """Gives the sessions back; they hold no thread of their own when `threads` is 1."""
        self._runs.clear()


def files_of(artifact: Artifact) -> dict[str, Path]:
    """The ONNX file of each signature: the entry where there is one, else `<signature>.onnx`.

    Raises:
        MaasError: FAILED_PRECONDITION for a name that is no plain file name.
    """
    names = list(artifact.signatures) or [DEFAULT_SIGNATURE]
    if len(names) == 1:
        return {names[0]: artifact.file}
    for name in names:
        if not _FILE_NAME.fullmatch(name):
            raise MaasError(
                ErrorKind.FAILED_PRECONDITION,
                f"signature {name[:60]!r} cannot name a file; expected letters, digits, '_', '-' "
                "and '.', a letter, digit or '_' first",
            )
    return {name: artifact.file.parent / f"{name}.onnx" for name in names}


def open_session(
    model: Path | bytes, threads: int = 1, providers: Sequence[Any] = ("CPUExecutionProvider",)
) -> Any:
    """Opens an `onnxruntime.InferenceSession` as this runtime does.

    Args:
        model: the model's file (external data is looked for beside it), or its bytes.
        threads: threads one call may use.
        providers: what computes, the first that can: names, or names with options.

    Raises:
        MaasError: INVALID_ARGUMENT, one sentence with ONNX Runtime's reason.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Threads that spin between calls would take the core from every other model of the host.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # The arena keeps its high-water mark until the session ends; without it a batch's memory goes
    # back to malloc (and weights to the system at unload). Small calls cost the same either way.
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # Never the .ort flatbuffer reader, whatever the bytes look like.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=list(providers),
            enable_fallback=0,
            read_config_from_model=0,
        )
    except _refusals() as error:
        raise invalid(f"ONNX Runtime cannot open the model: {one_sentence(error)}") from error


def _bytes_names(specs: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(spec.name for spec in specs if spec.dtype is DType.BYTES)


def _refusals() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises: exceptions of its own, each straight from `Exception`, and two."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = (getattr(state, name) for name in dir(state))
    own = tuple(e for e in found if isinstance(e, type) and issubclass(e, Exception))
    return (*own, ValueError, RuntimeError)
