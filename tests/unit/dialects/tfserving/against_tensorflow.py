"""Compares our messages and our reading of tensors with TensorFlow's own, in a process by itself.

It defines messages of the same names in the default descriptor pool, and ours are in a private
one: that both live in one process is a part of what is tried. Prints `same` at the end.
"""

from __future__ import annotations

import os
import sys

os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool
from tensorflow.core.example import example_pb2
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import error_codes_pb2, meta_graph_pb2
from tensorflow_serving.apis import (
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from maas.core.errors import MaasError
from maas.core.tensor import DType, TensorSpec
from maas.dialects.tfserving.tensorproto import FORMS, read_tensor, write_tensor
from maas.protos import message, pool

FILES = ("tensorflow.proto", "tensorflow_error.proto", "tensorflow_serving.proto")
LOADED = (
    example_pb2, tensor_pb2, error_codes_pb2, meta_graph_pb2, model_service_pb2, predict_pb2,
    prediction_service_pb2,
)  # fmt: skip


def check_message(ours, theirs):
    """Every field of ours is one of theirs: name, number, type, label, oneof, packing."""
    shapes = descriptor_pb2.DescriptorProto(), descriptor_pb2.DescriptorProto()
    ours.CopyToProto(shapes[0])
    theirs.CopyToProto(shapes[1])
    known = {field.name: field for field in shapes[1].field}
    for field in shapes[0].field:
        other = known[field.name]
        for name in ("number", "type", "label", "type_name"):
            assert getattr(field, name) == getattr(other, name), (ours.full_name, field.name, name)
        mine, other_oneof = (
            shape.oneof_decl[one.oneof_index].name if one.HasField("oneof_index") else ""
            for shape, one in zip(shapes, (field, other), strict=True)
        )
        assert mine == other_oneof, (ours.full_name, field.name)
    for field in ours.fields:
        assert field.is_packed == theirs.fields_by_name[field.name].is_packed, field.full_name
    for nested in ours.nested_types:
        check_message(nested, theirs.nested_types_by_name[nested.name])
    for enum in ours.enum_types:
        check_enum(enum, theirs.enum_types_by_name[enum.name])


def check_enum(ours, theirs):
    for value in ours.values:
        assert theirs.values_by_name[value.name].number == value.number, value.name


def check_descriptors():
    default = descriptor_pool.Default()
    for name in FILES:
        file = pool().FindFileByName(name)
        for found in file.message_types_by_name.values():
            check_message(found, default.FindMessageTypeByName(found.full_name))
        for found in file.enum_types_by_name.values():
            check_enum(found, default.FindEnumTypeByName(found.full_name))
        for service in file.services_by_name.values():
            theirs = default.FindServiceByName(service.full_name)
            methods = {
                method.name: (method.input_type.full_name, method.output_type.full_name)
                for method in theirs.methods
            }
            assert methods == {
                method.name: (method.input_type.full_name, method.output_type.full_name)
                for method in service.methods
            }


def check_written():
    """What we write, TensorFlow reads: in Python and in C++."""
    rng = np.random.default_rng(0)
    for dtype in DType:
        if dtype is DType.BYTES:
            array = np.array([[b"a\x00", b"\xff", b""]], object)
        elif dtype.is_float:
            array = rng.standard_normal((2, 3)).astype(dtype.numpy)
        else:
            array = rng.integers(0, 2, (2, 3)).astype(dtype.numpy)
        for sent in (array, array[:0], array[0, 0:1].reshape(())):
            proto = message("tensorflow.TensorProto")()
            write_tensor(proto, sent)
            theirs = tensor_pb2.TensorProto.FromString(proto.SerializeToString())
            native = tf.io.parse_tensor(
                theirs.SerializeToString(), tf.dtypes.as_dtype(theirs.dtype)
            ).numpy()
            assert np.asarray(native, object).tolist() == sent.tolist(), (dtype, native)
            if sent.size:
                assert tf.make_ndarray(theirs).tolist() == sent.tolist(), dtype


def check_read():
    """What TensorFlow writes, we read; and what it fills up, we fill up alike."""
    for dtype in DType:
        texts = dtype is DType.BYTES
        array = np.array([[b"a", b"\xff"]] if texts else [[1, 0]]).astype(dtype.numpy)
        theirs = tf.make_tensor_proto(array)
        check_alike(theirs, dtype)
        field = FORMS[dtype].field
        one = b"x" if texts else 1
        for values in ([], [one], [one, b"" if texts else 0]):
            theirs = tensor_pb2.TensorProto(dtype=FORMS[dtype].number)
            for size in (2, 2):
                theirs.tensor_shape.dim.add().size = size
            getattr(theirs, field).extend(values)
            check_alike(theirs, dtype)
    content = tensor_pb2.TensorProto(dtype=7, tensor_content=b"\x01\x02abb")
    content.tensor_shape.dim.add().size = 2
    check_alike(content, DType.BYTES)


def check_alike(theirs, dtype):
    native = tf.io.parse_tensor(
        theirs.SerializeToString(), tf.dtypes.as_dtype(theirs.dtype)
    ).numpy()
    proto = message("tensorflow.TensorProto").FromString(theirs.SerializeToString())
    found = read_tensor(proto, TensorSpec("x", dtype, (None, None)), "input 'x'")
    assert found.tolist() == native.tolist(), (dtype, found, native)


def check_refused():
    """What C++ refuses, we do too."""
    for shape, content in (([2], b"\0" * 4), ([1], b"\0" * 8), ([-1], b"\0" * 4)):
        theirs = tensor_pb2.TensorProto(dtype=1, tensor_content=content)
        for size in shape:
            theirs.tensor_shape.dim.add().size = size
        refusals = 0
        try:
            tf.io.parse_tensor(theirs.SerializeToString(), tf.float32)
        except tf.errors.InvalidArgumentError:
            refusals += 1
        proto = message("tensorflow.TensorProto").FromString(theirs.SerializeToString())
        try:
            read_tensor(proto, TensorSpec("x", DType.FP32, (None,)), "input 'x'")
        except MaasError:
            refusals += 1
        assert refusals == 2, (shape, content)


if __name__ == "__main__":
    check_descriptors()
    check_written()
    check_read()
    check_refused()
    sys.stdout.write("same\n")
