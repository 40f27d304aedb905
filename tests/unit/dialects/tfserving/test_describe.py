"""GetModelMetadata and GetModelStatus."""

from __future__ import annotations

import msgspec
import pytest

from maas.core.errors import ErrorKind, MaasError
from maas.core.identity import ServableId
from maas.core.messages import VersionStatus
from maas.core.states import ServableState
from maas.core.tensor import DType
from maas.dialects.tfserving.describe import check_fields, metadata_response, status_response
from maas.dialects.tfserving.status import TENSORFLOW_NAMES
from maas.dialects.tfserving.tensorproto import FORMS
from maas.protos import message

Request = message("tensorflow.serving.GetModelMetadataRequest")


def test_metadata_is_a_map_in_an_any(iris):
    signature = msgspec.structs.replace(
        iris.signatures["serving_default"], name="other", method="classify"
    )
    view = msgspec.structs.replace(iris, signatures={**iris.signatures, "other": signature})
    response = metadata_response(view)
    assert (response.model_spec.name, response.model_spec.version.value) == ("m", 3)
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    table = message("tensorflow.serving.SignatureDefMap")()
    assert packed.Unpack(table)
    assert set(table.signature_def) == {"serving_default", "other"}
    found = table.signature_def["serving_default"]
    assert found.method_name == "tensorflow/serving/predict"
    assert table.signature_def["other"].method_name == "tensorflow/serving/classify"
    x = found.inputs["x"]
    assert (x.name, x.dtype) == ("x", FORMS[DType.FP32].number)
    assert [dim.size for dim in x.tensor_shape.dim] == [-1, 4]
    assert set(found.outputs) == {"label", "probabilities"}


@pytest.mark.parametrize("fields", [[], ["other"], ["signature_def", "other"]])
def test_another_field_than_the_signatures(fields):
    with pytest.raises(MaasError, match="expected 'signature_def'") as caught:
        check_fields(Request(metadata_field=fields))
    assert caught.value.kind is ErrorKind.INVALID_ARGUMENT


def test_the_field_there_is():
    check_fields(Request(metadata_field=["signature_def"]))


@pytest.mark.parametrize("state", list(ServableState))
def test_status(state):
    kind = message("tensorflow.serving.ModelVersionStatus")
    statuses = [
        VersionStatus(ServableId("m", 12), state),
        VersionStatus(ServableId("m", 2), ServableState.END, "it failed to load"),
    ]
    first, second = status_response(statuses).model_version_status
    assert (first.version, kind.State.Name(first.state)) == (12, state.value)
    assert first.HasField("status")
    assert (first.status.error_code, first.status.error_message) == (0, "")
    assert (second.status.error_code, second.status.error_message) == (2, "it failed to load")


def test_both_tables_of_types_agree():
    numbers = message("tensorflow.TensorProto").DESCRIPTOR.fields_by_name["dtype"].enum_type
    for dtype, form in FORMS.items():
        assert TENSORFLOW_NAMES[dtype] == form.name
        assert numbers.values_by_name[form.name].number == form.number
    assert set(FORMS) == set(DType)
