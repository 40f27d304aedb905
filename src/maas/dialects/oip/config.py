"""A model's configuration in Triton's terms (`model_config.proto`), and its JSON."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from msgspec import Struct

from maas.core.messages import ModelView
from maas.core.tensor import DType, TensorSpec
from maas.dialects.signatures import pick_signature

BACKENDS = {"onnxruntime_onnx": "onnxruntime", "tensorflow_savedmodel": "tensorflow"}
"""Backends of Triton's platforms; where it has none of that name, the platform's own is given."""


class TensorConfig(Struct, frozen=True):
    """One input or output.

    Args:
        name: its name.
        data_type: as `DataType` names it: `TYPE_FP32`.
        dims: sizes without the batch axis, -1 for any; never empty, as Triton has it.
        reshape: the sizes that the model itself has, where they are none.
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None


class ModelConfig(Struct, frozen=True):
    """One model's configuration.

    Args:
        name: the model's.
        platform: who serves it.
        backend: the same, as newer Tritons have it.
        max_batch_size: most rows run as one batch; 0 where there is no batch axis.
        versions: those that can be called.
        inputs: of the main signature.
        outputs: of the main signature.
    """

    name: str
    platform: str
    backend: str
    max_batch_size: int
    versions: tuple[int, ...]
    inputs: tuple[TensorConfig, ...]
    outputs: tuple[TensorConfig, ...]


def type_name(dtype: DType) -> str:
    """The element type as `model_config.proto` names it: `TYPE_STRING` for BYTES."""
    return "TYPE_STRING" if dtype is DType.BYTES else f"TYPE_{dtype.text}"


def model_config(view: ModelView, versions: Sequence[int], batch_rows: int) -> ModelConfig:
    """The configuration of a version.

    Args:
        view: the version.
        versions: of its model, those that can be called.
        batch_rows: most rows run as one batch, where there is a batch axis.
    """
    signature = pick_signature(view)
    batched = signature.batched
    return ModelConfig(
        view.servable.name,
        view.platform,
        BACKENDS.get(view.platform, view.platform),
        batch_rows if batched else 0,
        tuple(versions),
        tuple(_tensor(spec, batched=batched) for spec in signature.inputs),
        tuple(_tensor(spec, batched=batched) for spec in signature.outputs),
    )


def _tensor(spec: TensorSpec, *, batched: bool) -> TensorConfig:
    shape = spec.shape[1:] if batched else spec.shape
    dims = tuple(-1 if size is None else size for size in shape)
    return TensorConfig(spec.name, type_name(spec.dtype), dims or (1,), None if dims else ())


def encode_config(config: ModelConfig) -> bytes:
    """Writes `GET /v2/models/M[/versions/V]/config`."""
    answer: dict[str, object] = {
        "name": config.name,
        "platform": config.platform,
        "backend": config.backend,
        "version_policy": {"specific": {"versions": config.versions}},
        "max_batch_size": config.max_batch_size,
        "input": [_tensor_json(one) | _INPUT for one in config.inputs],
        "output": [_tensor_json(one) | _OUTPUT for one in config.outputs],
        "batch_input": [],
        "batch_output": [],
        "instance_group": [{"name": config.name, "kind": "KIND_CPU", "count": 1, "gpus": []}],
        "default_model_filename": "",
        "parameters": {},
        "model_warmup": [],
    }
    if config.max_batch_size:
        # Calls that wait while the engine is busy go together; none waits for others to come.
        answer["dynamic_batching"] = {"max_queue_delay_microseconds": 0}
    return orjson.dumps(answer)


_INPUT = {
    "format": "FORMAT_NONE",
    "is_shape_tensor": False,
    "allow_ragged_batch": False,
    "optional": False,
}
_OUTPUT = {"label_filename": "", "is_shape_tensor": False}


def _tensor_json(tensor: TensorConfig) -> dict[str, object]:
    found: dict[str, object] = {
        "name": tensor.name,
        "data_type": tensor.data_type,
        "dims": tensor.dims,
    }
    if tensor.reshape is not None:
        found["reshape"] = {"shape": tensor.reshape}
    return found
