"""Status and metadata → JSON bodies."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from maas.core.messages import ModelView, VersionStatus
from maas.core.signature import Signature
from maas.core.states import ServableState
from maas.core.tensor import DType, TensorSpec
from maas.dialects.openai.models import ListedModel, model_members

METHOD_PREFIX = "tensorflow/serving/"
"""Before `predict`, `classify` and `regress`."""
SIGNATURE_TYPE = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
TENSORFLOW_NAMES = {
    DType.BOOL: "DT_BOOL",
    DType.UINT8: "DT_UINT8",
    DType.UINT16: "DT_UINT16",
    DType.UINT32: "DT_UINT32",
    DType.UINT64: "DT_UINT64",
    DType.INT8: "DT_INT8",
    DType.INT16: "DT_INT16",
    DType.INT32: "DT_INT32",
    DType.INT64: "DT_INT64",
    DType.FP16: "DT_HALF",
    DType.FP32: "DT_FLOAT",
    DType.FP64: "DT_DOUBLE",
    DType.BF16: "DT_BFLOAT16",
    DType.BYTES: "DT_STRING",
}
"""Element types as `tensorflow/core/framework/types.proto` names them."""


def encode_status(statuses: Sequence[VersionStatus], written: ListedModel | None = None) -> bytes:
    """Writes `GET /v1/models/NAME[/versions/N|/labels/L]`, in the order given.

    `name` and `ready` are KServe's fields of the same path. A language model has OpenAI's, too.
    """
    return orjson.dumps(
        {
            **({} if written is None else model_members(written)),
            "name": statuses[0].servable.name if statuses else "",
            "ready": any(status.state is ServableState.AVAILABLE for status in statuses),
            "model_version_status": [
                {
                    "version": str(status.servable.version),
                    "state": status.state.value,
                    "status": {
                        "error_code": "UNKNOWN" if status.reason else "OK",
                        "error_message": status.reason,
                    },
                }
                for status in statuses
            ],
        }
    )


def encode_metadata(view: ModelView) -> bytes:
    """Writes `GET /v1/models/NAME…/metadata`; sizes are strings, "-1" for any."""
    signatures = {name: _signature(signature) for name, signature in view.signatures.items()}
    return orjson.dumps(
        {
            "model_spec": {
                "name": view.servable.name,
                "signature_name": "",
                "version": str(view.servable.version),
            },
            "metadata": {"signature_def": {"@type": SIGNATURE_TYPE, "signature_def": signatures}},
        }
    )


def _signature(signature: Signature) -> dict[str, object]:
    return {
        "inputs": {spec.name: _tensor(spec) for spec in signature.inputs},
        "outputs": {spec.name: _tensor(spec) for spec in signature.outputs},
        "method_name": METHOD_PREFIX + signature.method,
    }


def _tensor(spec: TensorSpec) -> dict[str, object]:
    sizes = ["-1" if size is None else str(size) for size in spec.shape]
    return {
        "dtype": TENSORFLOW_NAMES[spec.dtype],
        "tensor_shape": {
            "dim": [{"size": size, "name": ""} for size in sizes],
            "unknown_rank": False,
        },
        "name": spec.name,
    }
