"""ONNX through OpenVINO on the CPU.

    infer ─ NaN, infinity, integers beyond 32 bits? ─ no ─▶ OpenVINO, rows filled up to a known size
                                                    └ yes ▶ ONNX Runtime, opened when first needed

OpenVINO compiles kernels for one shape at a time, counts in float32 and int32, and its ReLU of NaN
is 0. Where that would show, ONNX Runtime answers instead: a model behaves alike on both engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import Struct

from maas.core.errors import ErrorKind, MaasError, invalid
from maas.core.ports import Artifact, Device, Resources
from maas.core.signature import Signature
from maas.core.tensor import DType, Tensors
from maas.runtimes.onnx import OnnxServable, files_of, open_session
from maas.runtimes.openvino_core import core
from maas.runtimes.wording import one_sentence

MIB = 1 << 20

INT32 = np.iinfo(np.int32)
WIDE = frozenset({DType.INT64, DType.UINT32, DType.UINT64})
"""Integers that OpenVINO's CPU plugin holds in 32 bits, whatever the model says."""
AS_THEY_ARE = 8
"""Up to this many rows are run as they are; beyond it, sizes are four an octave."""


class OpenVINORuntime:
    """Serves `onnx` artifacts; they are data, so many share one host."""

    name = "openvino"
    platform = "openvino"
    formats = frozenset({"onnx"})
    host: Literal["shared", "dedicated"] = "shared"
    confined = False

    def estimate(self, artifact: Artifact) -> Resources:
        """Six times the files, and 192 MiB.

        The weights exist as file contents, as the graph's constants, and packed for the kernels of
        both engines; the rest is the library and the kernels compiled for each size of batch.
        """
        files = sum(f.stat().st_size for f in Path(artifact.path).rglob("*") if f.is_file())
        return Resources(memory_bytes=6 * files + 192 * MIB)

    def load(self, artifact: Artifact, device: Device) -> OpenVINOServable:
        """Compiles the model.

        Raises:
            MaasError: FAILED_PRECONDITION where OpenVINO is not installed, or cannot run it.
        """
        for signature in artifact.signatures.values():
            _check_types(signature)
        return OpenVINOServable(artifact, device)


class OpenVINOServable:
    """A loaded model."""

    def __init__(self, artifact: Artifact, device: Device):
        self._artifact, self._device = artifact, device
        self._graphs = {
            name: _compile(file, artifact.signatures[name], device)
            for name, file in files_of(artifact).items()
        }
        self._refusals = _refusals()
        self._careful: OnnxServable | None = None

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Its signatures by name."""
        return self._artifact.signatures

    def infer(self, signature: str, inputs: Tensors) -> Tensors:
        """Runs one call or one batch.

        Raises:
            MaasError: INVALID_ARGUMENT where the model refuses the values, RESOURCE_EXHAUSTED
                where memory ran out.
        """
        graph = self._graphs[signature]
        if any(_is_special(inputs[name], wide) for name, wide in graph.watched):
            return self._carefully().infer(signature, inputs)
        try:
            return graph.run(inputs)
        except self._refusals as error:
            raise invalid(f"the model refused these values: {_reason(error)}") from error
        except MemoryError as error:
            raise MaasError(
                ErrorKind.RESOURCE_EXHAUSTED, "memory ran out while the model was running"
            ) from error

    def close(self) -> None:
        """Gives both engines' memory back."""
        self._graphs.clear()
        if self._careful is not None:
            self._careful.close()
            self._careful = None

    def _carefully(self) -> OnnxServable:
        if self._careful is None:
            sessions = {
                name: open_session(file, self._device.threads)
                for name, file in files_of(self._artifact).items()
            }
            self._careful = OnnxServable(sessions, self._artifact.signatures)
        return self._careful


def _check_types(signature: Signature) -> None:
    """Refuses what OpenVINO would compute in another type.

    Raises:
        MaasError: FAILED_PRECONDITION, naming the tensor.
    """
    for spec in (*signature.inputs, *signature.outputs):
        if spec.dtype is DType.BYTES:  # OpenVINO 2026.4 aborts after it has held any
            raise _cannot(f"{spec.name!r} holds texts, which it does not take")
        if spec.dtype is DType.FP64:
            raise _cannot(f"{spec.name!r} is float64, which it computes in float32")
        if spec.dtype is DType.BF16:
            raise _cannot(f"{spec.name!r} is bfloat16, which its NumPy interface does not know")
    if any(spec.dtype in WIDE for spec in signature.inputs):
        for spec in signature.outputs:
            if spec.dtype in WIDE:
                raise _cannot(f"{spec.name!r} may be a large integer, and it counts in 32 bits")


class _Graph(Struct, frozen=True):
    """One signature, compiled.

    Args:
        request: an `openvino.InferRequest`.
        inputs: (index in the model, name).
        outputs: (name, index in the model).
        batched: whether rows may be added, and taken off the answers.
        watched: inputs that may hold values which OpenVINO takes for others; whether integers.
    """

    request: Any
    inputs: tuple[tuple[int, str], ...]
    outputs: tuple[tuple[str, int], ...]
    batched: bool
    watched: tuple[tuple[str, bool], ...]

    def run(self, inputs: Tensors) -> dict[str, np.ndarray]:
        """Answers in arrays of their own; the inputs are read where they lie."""
        rows = size = 0
        if self.batched:
            rows = len(inputs[self.inputs[0][1]])
            size = padded(rows)
        if size == rows:
            given = {index: inputs[name] for index, name in self.inputs}
        else:
            given = {index: _filled(inputs[name], size) for index, name in self.inputs}
        answers = self.request.infer(given, share_inputs=True)
        if size == rows:
            return {name: answers[index] for name, index in self.outputs}
        return {name: answers[index][:rows] for name, index in self.outputs}


def padded(rows: int) -> int:
    """The size of batch that so many rows are run in.

    1 to 8, then 10, 12, 14, 16, 20, 24, 28, 32, 40 and so on. A size that OpenVINO has not met
    costs it milliseconds and memory, for good: 256 of them are a tenth of a gigabyte for a small
    convolution. 28 waste a tenth of the work on average.
    """
    if rows <= AS_THEY_ARE:
        return rows
    step: int = 1 << ((rows - 1).bit_length() - 3)
    return -(-rows // step) * step


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """That many rows: its own, and its last one again and again."""
    filled = np.empty((size, *array.shape[1:]), array.dtype)
    filled[: len(array)] = array
    filled[len(array) :] = array[-1]
    return filled


def _is_special(array: np.ndarray, wide: bool) -> bool:
    """Whether OpenVINO would take the values for others."""
    if not array.size:
        return False
    low, high = array.min(), array.max()
    if wide:
        return bool(low < INT32.min or high > INT32.max)
    # Both are NaN where any element is, and NaN compares false.
    return not (low > -np.inf and high < np.inf)


def _compile(file: Path, signature: Signature, device: Device) -> _Graph:
    """Reads and compiles one file.

    Raises:
        MaasError: FAILED_PRECONDITION, one sentence with OpenVINO's reason.
    """
    try:
        import openvino.frontend
    except ImportError as error:
        raise MaasError(
            ErrorKind.FAILED_PRECONDITION,
            "OpenVINO is not installed here; install maas-server[openvino]",
        ) from error
    settings = {
        # One call at a time, on threads that are bound to no core: other models share the cores.
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_NUM_THREADS": device.threads,
        "ENABLE_CPU_PINNING": False,
        # Its own choice is bfloat16 where the processor has it.
        "INFERENCE_PRECISION_HINT": "f32",
        "EXECUTION_MODE_HINT": "ACCURACY",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    try:
        # This reader alone: `read_model` would go by what the bytes look like.
        reader = openvino.frontend.FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(file)))
        request = core().compile_model(model, "CPU", settings).create_infer_request()
        names = {name: i for i, port in enumerate(request.model_inputs) for name in port.names}
        found = {name: i for i, port in enumerate(request.model_outputs) for name in port.names}
        inputs = tuple((names[spec.name], spec.name) for spec in signature.inputs)
        outputs = tuple((spec.name, found[spec.name]) for spec in signature.outputs)
    except _refusals() as error:
        raise _cannot(_reason(error)) from error
    except KeyError as error:
        raise _cannot(f"there is no tensor {error} in what it made of the model") from error
    if len(request.model_inputs) != len(inputs):
        raise _cannot("it made other inputs of the model")
    return _Graph(request, inputs, outputs, signature.batched, _watched(signature))


def _watched(signature: Signature) -> tuple[tuple[str, bool], ...]:
    return tuple(
        (spec.name, spec.dtype in WIDE)
        for spec in signature.inputs
        if spec.dtype in WIDE or spec.dtype.is_float
    )


def _cannot(reason: str) -> MaasError:
    return MaasError(ErrorKind.FAILED_PRECONDITION, f"OpenVINO cannot run the model: {reason}")


def _refusals() -> tuple[type[Exception], ...]:
    """What OpenVINO raises: its frontends' own exceptions, and pybind11's."""
    from openvino import _pyopenvino as native

    found = (getattr(native, name) for name in dir(native))
    own = tuple(e for e in found if isinstance(e, type) and issubclass(e, Exception))
    return (*own, RuntimeError, ValueError, TypeError, IndexError)


def _reason(error: BaseException) -> str:
    """The last of OpenVINO's lines that is not about its own source files."""
    lines = [line.strip() for line in str(error).splitlines()]
    said = [line for line in lines if line and not line.startswith(("Check ", "Exception from "))]
    return one_sentence(said[-1] if said else error)
