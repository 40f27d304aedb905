"""GetModelMetadata's and GetModelStatus's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from maas.core.errors import invalid
from maas.core.messages import ModelView, VersionStatus
from maas.core.tensor import TensorSpec
from maas.dialects.tfserving.modelspec import write_spec
from maas.dialects.tfserving.status import METHOD_PREFIX, SIGNATURE_TYPE
from maas.dialects.tfserving.tensorproto import FORMS
from maas.protos import message

SIGNATURES = "signature_def"
"""The one metadata field that there is."""
_FAILED = 2
"""`UNKNOWN` among gRPC's codes: a version that failed says why in words."""


def check_fields(request: Any) -> None:
    """Checks which metadata a `GetModelMetadataRequest` asks for.

    Raises:
        MaasError: INVALID_ARGUMENT for none, or another than `signature_def`.
    """
    if not request.metadata_field:
        raise invalid(f"metadata_field is empty; expected {SIGNATURES!r}")
    for field in request.metadata_field:
        if field != SIGNATURES:
            raise invalid(f"metadata_field {field[:80]!r} is not known; expected {SIGNATURES!r}")


def metadata_response(view: ModelView) -> Any:
    """A `GetModelMetadataResponse` with the signatures."""
    table = message("tensorflow.serving.SignatureDefMap")()
    for name, signature in view.signatures.items():
        definition = table.signature_def[name]
        definition.method_name = METHOD_PREFIX + signature.method
        for spec in signature.inputs:
            _write_info(definition.inputs[spec.name], spec)
        for spec in signature.outputs:
            _write_info(definition.outputs[spec.name], spec)
    response = message("tensorflow.serving.GetModelMetadataResponse")()
    write_spec(response.model_spec, view.servable)
    response.metadata[SIGNATURES].type_url = SIGNATURE_TYPE
    response.metadata[SIGNATURES].value = table.SerializeToString(deterministic=True)
    return response


def _write_info(info: Any, spec: TensorSpec) -> None:
    info.name = spec.name
    info.dtype = FORMS[spec.dtype].number
    info.tensor_shape.SetInParent()
    for size in spec.shape:
        info.tensor_shape.dim.add().size = -1 if size is None else size


def status_response(statuses: Sequence[VersionStatus]) -> Any:
    """A `GetModelStatusResponse`, in the order given."""
    response = message("tensorflow.serving.GetModelStatusResponse")()
    for status in statuses:
        version = response.model_version_status.add()
        version.version = status.servable.version
        version.state = status.state.value  # the names are the protocol's own
        version.status.SetInParent()
        if status.reason:
            version.status.error_code = _FAILED
            version.status.error_message = status.reason
    return response
