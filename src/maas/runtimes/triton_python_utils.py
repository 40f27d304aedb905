"""What a `TritonPythonModel` imports as `triton_python_backend_utils`: Triton's names, own code.

Models see these classes only; the rest of the server never does. Source of names and meanings: the
Python backend's own documentation. What is not here says so when it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

_TYPES: tuple[tuple[str, Any], ...] = (
    ("TYPE_BOOL", np.bool_),
    ("TYPE_UINT8", np.uint8),
    ("TYPE_UINT16", np.uint16),
    ("TYPE_UINT32", np.uint32),
    ("TYPE_UINT64", np.uint64),
    ("TYPE_INT8", np.int8),
    ("TYPE_INT16", np.int16),
    ("TYPE_INT32", np.int32),
    ("TYPE_INT64", np.int64),
    ("TYPE_FP16", np.float16),
    ("TYPE_FP32", np.float32),
    ("TYPE_FP64", np.float64),
    ("TYPE_STRING", np.object_),
)
"""Triton's element types in the order of their numbers, from 1 on."""
TRITON_STRING_TO_NUMPY = dict(_TYPES)
TRITONSERVER_REQUEST_FLAG_SEQUENCE_START = 1
TRITONSERVER_REQUEST_FLAG_SEQUENCE_END = 2


class TritonModelException(Exception):  # noqa: N818 - the name is Triton's
    """What a model raises for a call that it cannot answer."""

    def message(self) -> str:
        """Its words."""
        return str(self)


class TritonError:
    """Why one request was not answered; `InferenceResponse(error=…)` carries it."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG = 0, 1, 2, 3
    UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = 4, 5, 6, 7

    def __init__(self, message: str, code: int = INTERNAL):
        self._message = message
        self._code = code

    def message(self) -> str:
        """Its words."""
        return self._message

    def code(self) -> int:
        """Which kind of error."""
        return self._code

    def __str__(self) -> str:
        return str(self._message)


class Tensor:
    """A named array. BYTES tensors are object arrays of `bytes`."""

    def __init__(self, name: str, numpy_array: np.ndarray):
        if not isinstance(numpy_array, np.ndarray):
            raise TritonModelException(
                f"tensor {name!r} was made of a {type(numpy_array).__name__}; expected a NumPy "
                "array"
            )
        if numpy_array.dtype.kind == "U":
            raise TritonModelException(
                f"tensor {name!r} holds NumPy texts; expected an array of np.object_ with bytes"
            )
        self._name = name
        self._array = numpy_array

    @staticmethod
    def from_dlpack(name: str, dlpack: Any) -> Tensor:
        """A tensor over another library's, which lies in this computer's memory."""
        return Tensor(name, np.from_dlpack(dlpack))

    def to_dlpack(self) -> Any:
        """The array as a DLPack capsule."""
        return self._array.__dlpack__()

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        kind, number = self._array.__dlpack_device__()
        return int(kind), int(number)

    def name(self) -> str:
        """Its name."""
        return self._name

    def as_numpy(self) -> np.ndarray:
        """Its values."""
        return self._array

    def shape(self) -> list[int]:
        """Its sizes."""
        return list(self._array.shape)

    def triton_dtype(self) -> int | None:
        """The number of its element type."""
        return numpy_to_triton_type(self._array.dtype)

    def is_cpu(self) -> bool:
        """Whether it lies in this computer's memory: always."""
        return True


class InferenceRequest:
    """One call, as `execute` gets it."""

    def __init__(
        self,
        inputs: Sequence[Tensor] = (),
        requested_output_names: Sequence[str] = (),
        model_name: str = "",
        model_version: int = -1,
        **_: Any,
    ):
        self._inputs = list(inputs)
        self._requested = list(requested_output_names)
        self._model_name = model_name
        self._model_version = model_version

    def inputs(self) -> list[Tensor]:
        """The tensors of the call."""
        return self._inputs

    def requested_output_names(self) -> list[str]:
        """Every output of the model."""
        return self._requested

    def model_name(self) -> str:
        """The model's."""
        return self._model_name

    def model_version(self) -> int:
        """The model's."""
        return self._model_version

    def request_id(self) -> str:
        """Empty: calls are batched before a model sees them."""
        return ""

    def correlation_id(self) -> int:
        """0: calls do not belong together."""
        return 0

    def flags(self) -> int:
        """0: no sequence begins or ends."""
        return 0

    def timeout(self) -> int:
        """0: what has expired never gets here."""
        return 0

    def parameters(self) -> str:
        """No parameters, as JSON."""
        return "{}"

    def is_cancelled(self) -> bool:
        """Whether nobody waits any longer: not known here."""
        return False

    def get_response_sender(self) -> NoReturn:
        """Refuses: the model is not decoupled."""
        raise TritonModelException(
            "a response sender is for decoupled models, which are not served here; return the "
            "responses from execute"
        )

    def exec(self, *_: Any, **__: Any) -> NoReturn:
        """Refuses to call another model."""
        raise TritonModelException(
            "calling another model from execute (InferenceRequest.exec) is not possible here: "
            "the sandbox reaches no other process"
        )

    async_exec = exec  # noqa: A003 - the name is Triton's


class InferenceResponse:
    """The answer to one request."""

    def __init__(
        self,
        output_tensors: Iterable[Tensor] = (),
        error: TritonError | None = None,
        **_: Any,
    ):
        self._tensors = list(output_tensors)
        self._error = error

    def output_tensors(self) -> list[Tensor]:
        """The tensors of the answer."""
        return self._tensors

    def has_error(self) -> bool:
        """Whether it is an error instead."""
        return self._error is not None

    def error(self) -> TritonError | None:
        """The error."""
        return self._error


class ModelConfig:
    """What `auto_complete_config` fills in: the configuration as a dictionary."""

    def __init__(self, config: dict[str, Any]):
        self._config = config

    def as_dict(self) -> dict[str, Any]:
        """The configuration."""
        return self._config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Sets the largest batch.

        Raises:
            ValueError: the configuration has a larger one.
        """
        if self._config["max_batch_size"] > max_batch_size:
            raise ValueError(
                f"max_batch_size is {self._config['max_batch_size']} in the configuration and "
                f"{max_batch_size} in auto_complete_config"
            )
        self._config["max_batch_size"] = max_batch_size

    def set_dynamic_batching(self) -> None:
        """Has calls wait for each other. Here they never wait for nothing."""
        self._config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, policy: dict[str, Any]) -> None:
        """Says whether the model is decoupled."""
        self._config["model_transaction_policy"] = dict(policy)

    def add_input(self, tensor: dict[str, Any]) -> None:
        """Adds an input, or what the configuration leaves out of it.

        Raises:
            ValueError: it has no name, type or dims, or says otherwise than the configuration.
        """
        self._add("input", tensor, {"name", "data_type", "dims", "optional"})

    def add_output(self, tensor: dict[str, Any]) -> None:
        """Adds an output, as `add_input`."""
        self._add("output", tensor, {"name", "data_type", "dims"})

    def _add(self, what: str, tensor: dict[str, Any], known: set[str]) -> None:
        if not {"name", "data_type", "dims"} <= tensor.keys() <= known:
            raise ValueError(f"{what} {tensor} needs name, data_type and dims, and no more")
        for there in self._config[what]:
            if there["name"] == tensor["name"]:
                for key, empty in (("data_type", "TYPE_INVALID"), ("dims", [])):
                    if there.get(key, empty) not in (empty, tensor[key]):
                        raise ValueError(
                            f"{key} of {what} {tensor['name']!r} is {there[key]} in the "
                            f"configuration and {tensor[key]} in auto_complete_config"
                        )
                    there[key] = tensor[key]
                return
        self._config[what].append(dict(tensor))


class Logger:
    """Writes lines to the model's log."""

    INFO, WARNING, ERROR, VERBOSE = "INFO", "WARNING", "ERROR", "VERBOSE"

    @classmethod
    def log(cls, message: str, level: str = INFO) -> None:
        """Writes one line."""
        sys.stderr.write(f"{level}: {message}\n")

    @classmethod
    def log_info(cls, message: str) -> None:
        """Writes one line."""
        cls.log(message)

    @classmethod
    def log_warn(cls, message: str) -> None:
        """Writes one line."""
        cls.log(message, cls.WARNING)

    @classmethod
    def log_error(cls, message: str) -> None:
        """Writes one line."""
        cls.log(message, cls.ERROR)

    @classmethod
    def log_verbose(cls, message: str) -> None:
        """Writes nothing: no log is kept verbose."""


def get_input_tensor_by_name(inference_request: InferenceRequest, name: str) -> Tensor | None:
    """The input of that name, or None."""
    return next((t for t in inference_request.inputs() if t.name() == name), None)


def get_output_tensor_by_name(inference_response: InferenceResponse, name: str) -> Tensor | None:
    """The output of that name, or None."""
    return next((t for t in inference_response.output_tensors() if t.name() == name), None)


def get_input_config_by_name(model_config: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of an input, or None."""
    return next((each for each in model_config.get("input", ()) if each["name"] == name), None)


def get_output_config_by_name(model_config: dict[str, Any], name: str) -> dict[str, Any] | None:
    """What the configuration says of an output, or None."""
    return next((each for each in model_config.get("output", ()) if each["name"] == name), None)


def using_decoupled_model_transaction_policy(model_config: dict[str, Any]) -> bool:
    """Whether the model may answer a call any number of times: never here."""
    return bool(model_config.get("model_transaction_policy", {}).get("decoupled", False))


def triton_string_to_numpy(triton_type_string: str) -> Any:
    """`TYPE_FP32` → `numpy.float32`."""
    return TRITON_STRING_TO_NUMPY[triton_type_string]


def triton_to_numpy_type(data_type: int) -> Any:
    """A type's number → NumPy's type."""
    return _TYPES[data_type - 1][1] if 1 <= data_type <= len(_TYPES) else None


def numpy_to_triton_type(data_type: Any) -> int | None:
    """NumPy's type → a type's number."""
    wanted = np.dtype(data_type)
    if wanted.kind in "SO":
        return len(_TYPES)
    return next((n for n, (_, kind) in enumerate(_TYPES, 1) if np.dtype(kind) == wanted), None)


def serialize_byte_tensor(input_tensor: np.ndarray) -> bytes | None:
    """A BYTES tensor as it travels: each element after its length, 4 bytes little-endian."""
    if not input_tensor.size or input_tensor.dtype.kind not in "SO":
        return None
    items = [v if isinstance(v, bytes) else str(v).encode() for v in input_tensor.ravel().tolist()]
    return b"".join(len(item).to_bytes(4, "little") + item for item in items)


def deserialize_bytes_tensor(encoded_tensor: bytes) -> np.ndarray:
    """The elements of `serialize_byte_tensor`, as an object array [n] of bytes."""
    found, place = [], 0
    while place < len(encoded_tensor):
        size = int.from_bytes(encoded_tensor[place : place + 4], "little")
        found.append(encoded_tensor[place + 4 : place + 4 + size])
        place += 4 + size
    array = np.empty(len(found), dtype=object)
    array[:] = found
    return array


def __getattr__(name: str) -> NoReturn:
    raise AttributeError(
        f"triton_python_backend_utils has no {name!r} here; tensors, requests, responses, errors, "
        "configurations and the logger are what a model may use"
    )
